//! Many feed-forward networks, of which every row chooses some.

use super::Activation;
use crate::backend::{Backend, ExpertWeights, ExpertsAdd, NormMatmul};
use crate::error::{BackendError, LoadError};
use crate::layer::Pass;
use crate::weights::Part;

/// A mixture of experts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExpertsShape {
    /// Networks to choose from.
    pub n_experts: usize,
    /// Rows of one expert's `ffn_gate_exps` and `ffn_up_exps`.
    pub ffn_dim: usize,
    /// Applied to the gate.
    pub activation: Activation,
    /// How a row chooses.
    pub routing: Routing,
}

/// How a row chooses and weighs its experts from the router's logits: softmax over all of them, then the best.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Routing {
    /// Experts per row. Ties go to the lowest id.
    pub n_used: usize,
    /// The chosen experts' weights are divided by their sum.
    pub renormalize: bool,
    /// And multiplied by this.
    pub scale: f32,
}

/// The tensors of a mixture of experts. A tensor the file does not have is `None`.
#[derive(Debug)]
pub struct Experts<W> {
    /// Widths and numbers of the network.
    pub shape: ExpertsShape,
    /// (dim,)
    pub ffn_norm: W,
    /// (n_experts, dim), the router
    pub ffn_gate_inp: W,
    /// The experts' own matrices.
    pub experts: ExpertWeights<W>,
    /// (dim,)
    pub post_ffw_norm: Option<W>,
}

/// Activations of a mixture. `n` is the number of rows.
pub(super) struct ExpertsScratch<T> {
    n_experts: usize,
    router: T, // (n, n_experts)
}

impl<T> ExpertsScratch<T> {
    pub(super) fn new<B: Backend<Buffer = T>>(shape: &ExpertsShape, b: &mut B) -> Result<Self, BackendError> {
        Ok(ExpertsScratch { n_experts: shape.n_experts, router: b.buffer(shape.n_experts)? })
    }

    pub(super) fn fits(&self, shape: &ExpertsShape) -> bool {
        self.n_experts == shape.n_experts
    }
}

impl<W> Experts<W> {
    pub(super) fn load<B: Backend<Weight = W>>(
        part: &mut Part<'_, '_, '_, B>,
        shape: ExpertsShape,
    ) -> Result<Self, LoadError> {
        let ExpertsShape { n_experts, ffn_dim, .. } = shape;
        let dim = part.dim();
        Ok(Experts {
            shape,
            ffn_norm: part.vector("ffn_norm.weight", dim)?,
            ffn_gate_inp: part.matrix("ffn_gate_inp.weight", n_experts, dim)?,
            experts: ExpertWeights {
                ffn_gate_exps: part.stacked("ffn_gate", [n_experts, ffn_dim, dim])?,
                ffn_up_exps: part.stacked("ffn_up", [n_experts, ffn_dim, dim])?,
                ffn_down_exps: part.stacked("ffn_down", [n_experts, dim, ffn_dim])?,
            },
            post_ffw_norm: part.optional("post_ffw_norm.weight", dim)?,
        })
    }

    pub(super) fn forward<B: Backend<Weight = W>>(
        &self,
        pass: &mut Pass<'_, B>,
        s: &mut ExpertsScratch<B::Buffer>,
    ) {
        let Pass { b, stream, eps } = pass;
        let ExpertsShape { routing, activation, .. } = &self.shape;
        b.norm_matmul(NormMatmul {
            outs: &mut [&mut s.router],
            weights: &[&self.ffn_gate_inp],
            normed: &mut stream.h,
            x: &stream.x,
            norm: &self.ffn_norm,
            eps: *eps,
        });
        b.experts_add(ExpertsAdd {
            router: &s.router,
            weights: self.experts.as_ref(),
            routing,
            activation: *activation,
            branch: stream.branch(&None, &self.post_ffw_norm, *eps),
        });
    }
}
