//! One feed-forward network for every row.

use super::Activation;
use crate::backend::{Backend, GluMatmul, NormMatmul};
use crate::error::{BackendError, LoadError};
use crate::layer::Pass;
use crate::weights::Part;

/// One network for every row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DenseShape {
    /// Rows of `ffn_gate` and `ffn_up`.
    pub ffn_dim: usize,
    /// Applied to the gate.
    pub activation: Activation,
    /// Whether there is a gate: without one the network is `down(activation(up(x)))`.
    pub has_gate: bool,
}

/// The tensors of one network. A tensor the file does not have is `None`.
#[derive(Debug)]
pub struct Dense<W> {
    /// Widths and numbers of the network.
    pub shape: DenseShape,
    /// (dim,)
    pub ffn_norm: Option<W>,
    /// (ffn_dim, dim)
    pub ffn_gate: Option<W>,
    /// (ffn_dim, dim)
    pub ffn_up: W,
    /// (dim, ffn_dim)
    pub ffn_down: W,
    /// (dim,)
    pub post_ffw_norm: Option<W>,
}

/// Activations of a network. `n` is the number of rows.
pub(super) struct DenseScratch<T> {
    ffn_dim: usize,
    pub(super) gate: T, // (n, ffn_dim)
    up: T,              // (n, ffn_dim)
}

impl<T> DenseScratch<T> {
    pub(super) fn new<B: Backend<Buffer = T>>(shape: &DenseShape, b: &mut B) -> Result<Self, BackendError> {
        let ffn_dim = shape.ffn_dim;
        Ok(DenseScratch { ffn_dim, gate: b.buffer(ffn_dim)?, up: b.buffer(ffn_dim)? })
    }

    pub(super) fn fits(&self, shape: &DenseShape) -> bool {
        self.ffn_dim == shape.ffn_dim
    }

    /// Replaces the gate that [`Dense::expand`] computed by the input of `ffn_down`.
    pub(super) fn activate<B: Backend<Buffer = T>>(&mut self, b: &mut B, shape: &DenseShape) {
        match shape.has_gate {
            true => b.glu(&mut self.gate, &self.up, shape.activation),
            false => b.activate(&mut self.gate, shape.activation),
        }
    }
}

impl<W> Dense<W> {
    pub(super) fn load<B: Backend<Weight = W>>(
        part: &mut Part<'_, '_, '_, B>,
        shape: DenseShape,
    ) -> Result<Self, LoadError> {
        let (dim, ffn_dim) = (part.dim(), shape.ffn_dim);
        let norms = part.norms;
        let ffn_norm = part.norm(norms.before_ffn)?;
        let (ffn_gate, ffn_up) = if shape.has_gate {
            // Some files have the rows of gate and up in one tensor.
            let fused = !part.has("ffn_gate.weight") && part.n_rows("ffn_up.weight") == Some(2 * ffn_dim);
            let [ffn_gate, ffn_up] = match fused {
                true => part.cut("ffn_up.weight", [ffn_dim, ffn_dim], dim)?,
                false => part.matrices(["ffn_gate.weight", "ffn_up.weight"], [ffn_dim, ffn_dim], dim)?,
            };
            (Some(ffn_gate), ffn_up)
        } else {
            (None, part.matrix("ffn_up.weight", ffn_dim, dim)?)
        };
        let ffn_down = part.matrix("ffn_down.weight", dim, ffn_dim)?;
        let post_ffw_norm = part.optional_norm(norms.after_ffn)?;
        Ok(Dense { shape, ffn_norm, ffn_gate, ffn_up, ffn_down, post_ffw_norm })
    }

    /// The first half: products of the normed rows with gate and up.
    pub(super) fn expand<B: Backend<Weight = W>>(
        &self,
        pass: &mut Pass<'_, B>,
        s: &mut DenseScratch<B::Buffer>,
    ) {
        let Pass { b, stream, eps } = pass;
        let DenseScratch { gate, up, .. } = s;
        // Without a gate, `up` itself is what the activation is applied to.
        let (outs, weights): (&mut [&mut B::Buffer], &[&W]) = match &self.ffn_gate {
            Some(ffn_gate) => (&mut [&mut *gate, &mut *up], &[ffn_gate, &self.ffn_up]),
            None => (&mut [&mut *gate], &[&self.ffn_up]),
        };
        let (normed, x, norm) = (&mut stream.h, &stream.x, self.ffn_norm.as_ref());
        b.norm_matmul(NormMatmul { outs, weights, normed, x, norm, eps: *eps });
    }

    pub(super) fn forward<B: Backend<Weight = W>>(
        &self,
        pass: &mut Pass<'_, B>,
        s: &mut DenseScratch<B::Buffer>,
    ) {
        self.expand(pass, s);
        let Pass { b, stream, eps } = pass;
        let eps = *eps;
        b.glu_matmul(GluMatmul {
            gate: &mut s.gate,
            up: self.shape.has_gate.then_some(&s.up),
            activation: self.shape.activation,
            down: &self.ffn_down,
            branch: stream.branch(&None, &self.post_ffw_norm, eps),
        });
    }
}
