//! The output matrix in fewer bits, by which drafts are sampled.

use std::thread;

use inferno_format::{DType, dequantize, quantize};

use super::Loader;
use crate::backend::{Backend, HostTensor, Source};
use crate::error::LoadError;

/// The type of the matrix.
const COARSE: DType = DType::Q4_0;

impl<B: Backend> Loader<'_, '_, B> {
    /// Reads and uploads the output matrix (vocab_size, dim) in 4 bits. `None` where the file has it in hardly more, and where a device
    /// samples: the logits of the best tokens are computed once more by the host.
    pub(super) fn coarse_output(&mut self) -> Result<Option<B::Weight>, LoadError> {
        let (dim, vocab_size) = (self.tensors.arch.dim, self.tensors.arch.vocab_size);
        let name = match self.dims("output.weight") {
            Some(_) => "output.weight",
            None => "token_embd.weight",
        };
        let entry = self.entry(name, &[dim, vocab_size])?;
        let bytes = |dtype: DType| dtype.row_bytes(dim).unwrap_or(0);
        let is_smaller = COARSE.block_len() <= dim && 3 * bytes(entry.dtype) >= 4 * bytes(COARSE);
        if !is_smaller || bytes(COARSE) == 0 || self.backend.device_sampling().is_some() {
            return Ok(None);
        }
        let tensor = self.tensor(name.into(), [1, vocab_size, dim], vec![(entry, 0)]);
        let Some(bytes) = rounded(&tensor)? else { return Ok(None) };
        let coarse = HostTensor { dtype: COARSE, source: Source::Memory(&bytes), ..tensor };
        self.backend.upload(&coarse).map(Some)
    }
}

/// The rows of a tensor in the coarse type, encoded on all cores; `None` if it holds numbers that the type has not.
fn rounded(tensor: &HostTensor<'_>) -> Result<Option<Vec<u8>>, LoadError> {
    /// Rows that are decoded at once.
    const SLAB: usize = 256;
    let n_threads = thread::available_parallelism().map_or(1, usize::from);
    let n_rows = tensor.n_rows().div_ceil(n_threads);
    let encode = |first: usize| -> Result<Option<Vec<u8>>, LoadError> {
        let (mut encoded, end) = (Vec::new(), tensor.n_rows().min(first + n_rows));
        for start in (first..end).step_by(SLAB) {
            let n = SLAB.min(end - start);
            let mut bytes = vec![0; n * tensor.row_bytes()];
            tensor.read_rows(start, &mut bytes)?;
            let mut numbers = vec![0.0; n * tensor.cols];
            dequantize(tensor.dtype, &bytes, &mut numbers).expect("the type was checked, and rows are whole");
            match quantize(COARSE, &numbers) {
                Ok(bytes) => encoded.extend(bytes),
                Err(_) => return Ok(None),
            }
        }
        Ok(Some(encoded))
    };
    let parts = thread::scope(|scope| {
        let workers = (0..tensor.n_rows()).step_by(n_rows).map(|first| scope.spawn(move || encode(first)));
        let workers: Vec<_> = workers.collect();
        let join = |worker: thread::ScopedJoinHandle<'_, _>| match worker.join() {
            Ok(part) => part,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        workers.into_iter().map(join).collect::<Result<Option<Vec<Vec<u8>>>, LoadError>>()
    });
    Ok(parts?.map(|parts| parts.concat()))
}
