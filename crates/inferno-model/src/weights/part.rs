//! The tensors of one half of a layer.

use inferno_format::{DType, TensorEntry};

use super::{Kind, Loader, Tensors, check_float};
use crate::architecture::NormNames;
use crate::backend::{Backend, HostTensor, Source};
use crate::error::LoadError;

/// Loads the mixer or the feed-forward network of one layer: names are those in the file without `blk.N.`.
pub(crate) struct Part<'p, 'l, 'a, B> {
    pub(super) loader: &'p mut Loader<'l, 'a, B>,
    pub(super) layer: usize,
    pub(super) kind: Kind,
    /// The names of norms.
    pub(crate) norms: NormNames,
}

impl<B: Backend> Part<'_, '_, '_, B> {
    pub(super) fn full(&self, name: &str) -> String {
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

    /// A vector in a tensor of those dimensions, in GGUF order, that the layer must have.
    pub(crate) fn flat(&mut self, name: &str, dims: &[usize]) -> Result<B::Weight, LoadError> {
        let entry = self.loader.entry(&self.full(name), dims)?;
        check_float(entry)?;
        self.loader.upload(entry, 1, 1, dims.iter().product())
    }

    /// Whether the layer must have a tensor that only some families have: all layers with a part of this kind have it if one
    /// does.
    pub(crate) fn is_expected(&self, name: &str) -> bool {
        let Tensors { in_layers, arch, .. } = &*self.loader.tensors;
        in_layers.contains(&(self.kind, name)) || arch.required.contains(&name)
    }

    /// A vector that a family may have; if one layer with a part of this kind has it, all of them must.
    pub(crate) fn optional(&mut self, name: &str, len: usize) -> Result<Option<B::Weight>, LoadError> {
        self.is_expected(name).then(|| self.vector(name, len)).transpose()
    }

    /// The same for a vector that files have under one of several names; the first is the usual one.
    pub(crate) fn optional_of(&mut self, names: &[&str], len: usize) -> Result<Option<B::Weight>, LoadError> {
        let here = names.iter().find(|name| self.has(name)).or(names.first());
        let is_expected = names.iter().any(|name| self.is_expected(name));
        here.filter(|_| is_expected).map(|name| self.vector(name, len)).transpose()
    }

    /// A norm of the residual stream, which the layer must have if the family has one there.
    pub(crate) fn norm(&mut self, name: Option<&'static str>) -> Result<Option<B::Weight>, LoadError> {
        name.map(|name| self.vector(name, self.dim())).transpose()
    }

    /// A norm as wide as the residual stream, which files of the family may have.
    pub(crate) fn optional_norm(
        &mut self,
        name: Option<&'static str>,
    ) -> Result<Option<B::Weight>, LoadError> {
        name.map_or(Ok(None), |name| self.optional(name, self.dim()))
    }

    /// A vector of ones, for what has no weight.
    pub(crate) fn ones(&mut self, len: usize) -> Result<B::Weight, LoadError> {
        self.of_numbers("ones".into(), std::iter::repeat_n(1.0, len))
    }

    fn of_numbers(
        &mut self,
        name: String,
        numbers: impl Iterator<Item = f32>,
    ) -> Result<B::Weight, LoadError> {
        let bytes: Vec<u8> = numbers.flat_map(f32::to_le_bytes).collect();
        let (dtype, cols, source) = (DType::F32, bytes.len() / 4, Source::Memory(&bytes));
        self.loader.backend.upload(&HostTensor { name, dtype, n_experts: 1, rows: 1, cols, source })
    }

    /// A vector that the layer must have, with its numbers multiplied by `factor`.
    pub(crate) fn scaled_vector(
        &mut self,
        name: &str,
        len: usize,
        factor: f32,
    ) -> Result<B::Weight, LoadError> {
        let name = self.full(name);
        let numbers = self.loader.numbers(&name, len)?;
        self.of_numbers(name, numbers.into_iter().map(|x| x * factor))
    }

    /// A number on its own; if one layer with a part of this kind has it, all of them must.
    pub(crate) fn optional_number(&mut self, name: &str) -> Result<Option<f32>, LoadError> {
        let expected = self.loader.tensors.in_layers.contains(&(self.kind, name));
        expected.then(|| self.loader.numbers(&self.full(name), 1).map(|numbers| numbers[0])).transpose()
    }

    /// Leaves out a tensor that a file may have and the model does not compute with.
    pub(crate) fn leave_out(&mut self, name: &str) {
        let name = self.full(name);
        self.loader.tensors.used.insert(name);
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

    /// The two stacks of (n_experts, rows, cols) in a tensor that has the rows of both, one after the other, per expert.
    pub(crate) fn cut_stacked(&mut self, name: &str, shape: [usize; 3]) -> Result<[B::Weight; 2], LoadError> {
        self.loader.cut_stacked(&self.full(name), shape)
    }

    /// A vector of `len` for each of `n` experts.
    pub(crate) fn vectors(&mut self, name: &str, n: usize, len: usize) -> Result<B::Weight, LoadError> {
        self.loader.vectors(&self.full(name), n, len)
    }

    /// The same for two in one tensor, one after the other per expert.
    pub(crate) fn cut_vectors(
        &mut self,
        name: &str,
        n: usize,
        len: usize,
    ) -> Result<[B::Weight; 2], LoadError> {
        self.loader.cut_vectors(&self.full(name), n, len)
    }

    /// The matrices of all experts, (n_experts, rows, cols): `ffn_up` is `ffn_up_exps.weight`, or `ffn_up.0.weight` and so on.
    pub(crate) fn stacked(&mut self, name: &str, shape: [usize; 3]) -> Result<B::Weight, LoadError> {
        self.loader.stacked(self.layer, name, shape)
    }
}
