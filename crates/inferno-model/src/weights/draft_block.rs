//! The tensors of a draft layer.

use super::{Loader, unfit_type};
use crate::backend::{Backend, HostTensor, Source};
use crate::error::LoadError;
use crate::layer::Layer;

/// A draft layer with the tensors before and after it (`blk.N.nextn.`).
///
/// `eh_proj` (dim, 2 dim) multiplies an embedding and a hidden row, one behind the other. It is loaded in two halves.
#[derive(Debug)]
pub struct DraftBlock<W> {
    /// (dim,), the norm of embeddings
    pub enorm: W,
    /// (dim,), the norm of hidden rows
    pub hnorm: W,
    /// (dim, dim), the first columns of `eh_proj`
    pub embedding_proj: W,
    /// (dim, dim), the other columns of `eh_proj`
    pub hidden_proj: W,
    /// The layer.
    pub layer: Layer<W>,
    /// (dim,); `None` where the model's `output_norm` serves.
    pub shared_head_norm: Option<W>,
    /// (vocab_size, dim); `None` where the model's embedding serves.
    pub embed_tokens: Option<W>,
    /// (vocab_size, dim); `None` where the model's output matrix serves.
    pub shared_head_head: Option<W>,
}

impl<B: Backend> Loader<'_, '_, B> {
    pub(super) fn draft_block(&mut self, i: usize) -> Result<DraftBlock<B::Weight>, LoadError> {
        let (dim, vocab_size) = (self.tensors.arch.dim, self.tensors.arch.vocab_size);
        let name = |name: &str| format!("blk.{i}.nextn.{name}.weight");
        let [embedding_proj, hidden_proj] = self.columns(&name("eh_proj"), dim)?;
        Ok(DraftBlock {
            enorm: self.vector(&name("enorm"), dim)?,
            hnorm: self.vector(&name("hnorm"), dim)?,
            embedding_proj,
            hidden_proj,
            layer: self.layer(i, true)?,
            shared_head_norm: self
                .has(&name("shared_head_norm"))
                .then(|| self.vector(&name("shared_head_norm"), dim))
                .transpose()?,
            embed_tokens: self.optional_matrix(&name("embed_tokens"), vocab_size, dim)?,
            shared_head_head: self.optional_matrix(&name("shared_head_head"), vocab_size, dim)?,
        })
    }

    fn has(&self, name: &str) -> bool {
        self.dims(name).is_some()
    }

    fn optional_matrix(
        &mut self,
        name: &str,
        rows: usize,
        cols: usize,
    ) -> Result<Option<B::Weight>, LoadError> {
        self.has(name).then(|| self.matrix(name, rows, cols)).transpose()
    }

    /// The left and the right half of a matrix (dim, 2 dim), as matrices.
    fn columns(&mut self, name: &str, dim: usize) -> Result<[B::Weight; 2], LoadError> {
        let entry = self.entry(name, &[2 * dim, dim])?;
        let fits = |dtype: inferno_format::DType| dtype.can_dequantize() && dtype.row_bytes(dim).is_some();
        if !fits(entry.dtype) {
            return Err(unfit_type(entry, fits));
        }
        let (file, dtype) = (self.tensors.file, entry.dtype);
        let mut half = |half| {
            // As rows of dim numbers, of which a row of the matrix is two.
            let parts = (0..dim).map(|row| (entry, 2 * row + half)).collect();
            let source = Source::File { file, parts };
            self.backend.upload(&HostTensor {
                name: name.into(),
                dtype,
                n_experts: 1,
                rows: dim,
                cols: dim,
                source,
            })
        };
        Ok([half(0)?, half(1)?])
    }
}
