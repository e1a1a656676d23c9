//! Tensors with rows, or matrices, for each head: cut head by head, and transposed.

use inferno_format::{DType, TensorEntry, dequantize, quantize};

use super::part::Part;
use super::{Loader, check_float};
use crate::backend::{Backend, HostTensor, Source};
use crate::error::{BackendError, LoadError};

impl<B: Backend> Part<'_, '_, '_, B> {
    /// Matrices in one tensor: (n_matrices, rows, cols).
    pub(crate) fn tensor(&mut self, name: &str, shape: [usize; 3]) -> Result<B::Weight, LoadError> {
        let [n_matrices, rows, cols] = shape;
        let entry = self.loader.entry(&self.full(name), &[cols, rows, n_matrices])?;
        self.loader.upload(entry, n_matrices, rows, cols)
    }

    /// Cuts a matrix whose rows are heads of two parts each, into the rows of the first parts of all heads and those of the
    /// second ones.
    pub(crate) fn cut_heads(
        &mut self,
        name: &str,
        n_heads: usize,
        widths: [usize; 2],
        cols: usize,
    ) -> Result<[B::Weight; 2], LoadError> {
        let name = self.full(name);
        let entry = self.loader.entry(&name, &[cols, n_heads * (widths[0] + widths[1])])?;
        self.loader.upload_together(&self.loader.heads(&name, entry, n_heads, widths))
    }

    /// The same where the rows of two other matrices follow the heads.
    pub(crate) fn cut_heads_and_rows(
        &mut self,
        name: &str,
        n_heads: usize,
        widths: [usize; 2],
        rows: [usize; 2],
        cols: usize,
    ) -> Result<[B::Weight; 4], LoadError> {
        let name = self.full(name);
        let end = n_heads * (widths[0] + widths[1]);
        let entry = self.loader.entry(&name, &[cols, end + rows[0] + rows[1]])?;
        let [first, second] = self.loader.heads(&name, entry, n_heads, widths);
        let rest = [(end, rows[0]), (end + rows[0], rows[1])]
            .map(|(start, rows)| self.loader.tensor(name.clone(), [1, rows, cols], vec![(entry, start)]));
        let [third, fourth] = rest;
        self.loader.upload_together(&[first, second, third, fourth])
    }

    /// Cuts a matrix with, for each head, rows of `widths[0]` and then of `widths[1]` numbers into matrices for each head: those
    /// of the first rows transposed, (n_heads, cols, widths[0]), and those of the second ones, (n_heads, widths[1], cols).
    ///
    /// A transposed row has no blocks of the file's type: floats stay as they are, quantized numbers become F16.
    pub(crate) fn cut_and_transpose_heads(
        &mut self,
        name: &str,
        n_heads: usize,
        widths: [usize; 2],
        cols: usize,
    ) -> Result<[B::Weight; 2], LoadError> {
        let name = self.full(name);
        let head: usize = widths.iter().sum();
        let entry = self.loader.entry(&name, &[cols, n_heads * head])?;
        let start_of = |start: usize| (0..n_heads).map(|h| (entry, h * head + start)).collect();
        let first = self.loader.tensor(name.clone(), [n_heads, widths[0], cols], start_of(0));
        let second = self.loader.tensor(name, [n_heads, widths[1], cols], start_of(widths[0]));
        Ok([self.loader.upload_transposed(&first)?, self.loader.backend.upload(&second)?])
    }

    /// The weights of a convolution, (channels, kernel) or (channels, 1, kernel) in the file, as `kernel` vectors of `channels`.
    pub(crate) fn taps(
        &mut self,
        name: &str,
        kernel: usize,
        channels: usize,
    ) -> Result<B::Weight, LoadError> {
        let name = self.full(name);
        let has_groups = self.loader.dims(&name).is_some_and(|dims| dims.len() > 2 && dims[1] == 1);
        let dims = if has_groups { vec![kernel, 1, channels] } else { vec![kernel, channels] };
        let numbers = self.loader.numbers_of(&name, &dims)?;
        let transposed = (0..kernel).flat_map(|tap| numbers[tap..].iter().step_by(kernel));
        let bytes: Vec<u8> = transposed.flat_map(|x| x.to_le_bytes()).collect();
        let (dtype, source) = (DType::F32, Source::Memory(&bytes));
        let tensor = HostTensor { name, dtype, n_experts: kernel, rows: 1, cols: channels, source };
        self.loader.backend.upload_vectors(&tensor)
    }

    /// A vector that the layer must have, which some files have as a column, (len, 1).
    pub(crate) fn column(&mut self, name: &str, len: usize) -> Result<B::Weight, LoadError> {
        let name = self.full(name);
        let is_column = self.loader.dims(&name).is_some_and(|dims| dims.len() > 1 && dims[0] == 1);
        let dims = if is_column { vec![1, len] } else { vec![len] };
        let entry = self.loader.entry(&name, &dims)?;
        check_float(entry)?;
        self.loader.upload(entry, 1, 1, len)
    }

    /// Notes that a tensor holds what others of the layer hold as well, if the file has it.
    pub(crate) fn passes_over(&mut self, name: &str) {
        let name = self.full(name);
        self.loader.tensors.used.insert(name);
    }
}

impl<'a, B: Backend> Loader<'_, 'a, B> {
    /// The rows of the first parts of all heads, and those of the second ones, in a matrix that begins with heads.
    fn heads(
        &self,
        name: &str,
        entry: &'a TensorEntry,
        n_heads: usize,
        widths: [usize; 2],
    ) -> [HostTensor<'a>; 2] {
        let head = widths[0] + widths[1];
        [(0, widths[0]), (widths[0], widths[1])].map(|(start, width)| {
            let parts = (0..n_heads).map(|h| (entry, h * head + start)).collect();
            self.tensor(name.into(), [1, n_heads * width, entry.dims[0]], parts)
        })
    }

    /// Uploads (n_experts, rows, cols) as (n_experts, cols, rows).
    fn upload_transposed(&mut self, tensor: &HostTensor<'_>) -> Result<B::Weight, LoadError> {
        let HostTensor { n_experts, rows, cols, dtype, .. } = *tensor;
        let dtype_out = if dtype.is_float() { dtype } else { DType::F16 };
        let mut bytes = Vec::new();
        let n_bytes = dtype_out.row_bytes(n_experts * rows * cols).expect("floats have no blocks");
        if bytes.try_reserve_exact(n_bytes).is_err() {
            let what = format!("no memory for {n_bytes} bytes to transpose tensor `{}`", tensor.name);
            return Err(BackendError { what }.into());
        }
        let mut matrix = vec![0; rows * tensor.row_bytes()];
        let (mut numbers, mut turned) = (vec![0.0; rows * cols], vec![0.0; rows * cols]);
        for expert in 0..n_experts {
            tensor.read_rows(expert * rows, &mut matrix)?;
            dequantize(dtype, &matrix, &mut numbers).expect("the type was checked, and rows are whole");
            for (row, numbers) in numbers.chunks_exact(cols).enumerate() {
                turned[row..].iter_mut().step_by(rows).zip(numbers).for_each(|(turned, x)| *turned = *x);
            }
            bytes.extend(quantize(dtype_out, &turned).expect("floats are written as they are"));
        }
        self.backend.upload(&HostTensor {
            name: tensor.name.clone(),
            dtype: dtype_out,
            n_experts,
            rows: cols,
            cols: rows,
            source: Source::Memory(&bytes),
        })
    }
}
