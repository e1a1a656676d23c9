//! The tensors of one half of a layer.

use inferno_format::TensorEntry;

use super::{Kind, Loader, Tensors};
use crate::backend::Backend;
use crate::error::LoadError;

/// Loads the mixer or the feed-forward network of one layer: names are those in the file without `blk.N.`.
pub(crate) struct Part<'p, 'l, 'a, B> {
    pub(super) loader: &'p mut Loader<'l, 'a, B>,
    pub(super) layer: usize,
    pub(super) kind: Kind,
}

impl<B: Backend> Part<'_, '_, '_, B> {
    fn full(&self, name: &str) -> String {
        format!("blk.{}.{name}", self.layer)
    }

    /// Width of the residual stream.
    pub(crate) fn dim(&self) -> usize {
        self.loader.tensors.arch.dim
    }

    /// Whether the layer has a tensor of that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.loader.tensors.file.tensor(&self.full(name)).is_some()
    }

    /// Rows of the tensor of that name, if the layer has it.
    pub(crate) fn n_rows(&self, name: &str) -> Option<usize> {
        self.loader.tensors.file.tensor(&self.full(name)).map(TensorEntry::n_rows)
    }

    /// A vector that the layer must have.
    pub(crate) fn vector(&mut self, name: &str, len: usize) -> Result<B::Weight, LoadError> {
        self.loader.vector(&self.full(name), len)
    }

    /// A vector that a family may have; if one layer with a part of this kind has it, all of them must.
    pub(crate) fn optional(&mut self, name: &str, len: usize) -> Result<Option<B::Weight>, LoadError> {
        let Tensors { in_layers, arch, .. } = &*self.loader.tensors;
        let expected = in_layers.contains(&(self.kind, name)) || arch.required.contains(&name);
        expected.then(|| self.vector(name, len)).transpose()
    }

    /// A matrix that the layer must have.
    pub(crate) fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<B::Weight, LoadError> {
        self.loader.matrix(&self.full(name), rows, cols)
    }

    /// Matrices that have the same input.
    pub(crate) fn matrices<const N: usize>(
        &mut self,
        names: [&str; N],
        rows: [usize; N],
        cols: usize,
    ) -> Result<[B::Weight; N], LoadError> {
        self.loader.matrices(&names.map(|name| self.full(name)), rows, cols)
    }

    /// Cuts a matrix into several by rows.
    pub(crate) fn cut<const N: usize>(
        &mut self,
        name: &str,
        rows: [usize; N],
        cols: usize,
    ) -> Result<[B::Weight; N], LoadError> {
        self.loader.cut(&self.full(name), rows, cols)
    }

    /// The matrices of all experts, (n_experts, rows, cols): `ffn_up` is `ffn_up_exps.weight`, or `ffn_up.0.weight` and so on.
    pub(crate) fn stacked(&mut self, name: &str, shape: [usize; 3]) -> Result<B::Weight, LoadError> {
        self.loader.stacked(self.layer, name, shape)
    }
}
