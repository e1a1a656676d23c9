//! Tables that stay on the host.

use inferno_format::{DType, dequantize};

use crate::backend::HostTensor;
use crate::error::{BackendError, LoadError};

/// A table in the file's own encoding, of which the host looks up rows: for embeddings that no device multiplies by.
#[derive(Debug)]
pub(crate) struct HostTable {
    dtype: DType,
    /// Numbers in a row.
    cols: usize,
    row_bytes: usize,
    bytes: Vec<u8>,
}

impl HostTable {
    pub(crate) fn read(tensor: &HostTensor<'_>) -> Result<HostTable, LoadError> {
        let row_bytes = tensor.row_bytes();
        let n_bytes = tensor.n_rows() * row_bytes;
        let mut bytes = Vec::new();
        if bytes.try_reserve_exact(n_bytes).is_err() {
            let what = format!("no memory for the {n_bytes} bytes of tensor `{}`", tensor.name);
            return Err(BackendError { what }.into());
        }
        bytes.resize(n_bytes, 0);
        tensor.read_rows(0, &mut bytes)?;
        Ok(HostTable { dtype: tensor.dtype, cols: tensor.cols, row_bytes, bytes })
    }

    /// out (rows.len(), columns.len()) = those columns of the named rows, times `scale`. `row` is scratch.
    pub(crate) fn look_up(
        &self,
        rows: &[u32],
        columns: std::ops::Range<usize>,
        scale: f32,
        (out, row): (&mut Vec<f32>, &mut Vec<f32>),
    ) {
        out.clear();
        row.resize(self.cols, 0.0);
        for &i in rows {
            let bytes = &self.bytes[i as usize * self.row_bytes..][..self.row_bytes];
            dequantize(self.dtype, bytes, row).expect("whole rows of a type that can be decoded");
            out.extend(row[columns.clone()].iter().map(|x| x * scale));
        }
    }
}
