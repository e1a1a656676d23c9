//! One feed-forward network for every row and a mixture of experts beside it: their outputs are added, each with a norm of its
//! own before and after.
//!
//! Source: Gemma 4 in Hugging Face transformers (`modeling_gemma4.py`).

use super::dense::DenseScratch;
use super::experts::ExpertsScratch;
use super::{Dense, DenseShape, Experts, ExpertsShape};
use crate::architecture::NormNames;
use crate::backend::{Backend, Branch, ExpertsAdd, NormMatmul};
use crate::error::LoadError;
use crate::layer::Pass;
use crate::weights::Part;

/// A dense network and a mixture of experts that read the same rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BothShape {
    /// Width of the residual stream.
    pub dim: usize,
    /// The network of every row.
    pub dense: DenseShape,
    /// The mixture.
    pub experts: ExpertsShape,
}

/// The tensors of both. A tensor the file does not have is `None`.
#[derive(Debug)]
pub struct Both<W> {
    /// Widths and numbers of the networks.
    pub shape: BothShape,
    /// The network of every row; its norms are `ffn_norm` and `post_ffw_norm_1`.
    pub dense: Dense<W>,
    /// The mixture; its norms are `pre_ffw_norm_2` and `post_ffw_norm_2`, and its router has one of its own.
    pub experts: Experts<W>,
    /// (dim,), `ffn_gate_inp.scale` divided by √dim: the norm of what the router reads
    pub router_norm: W,
    /// (dim,), of the sum
    pub post_ffw_norm: Option<W>,
}

impl<W> Both<W> {
    pub(super) fn load<B: Backend<Weight = W>>(
        part: &mut Part<'_, '_, '_, B>,
        shape: BothShape,
    ) -> Result<Self, LoadError> {
        let norms = part.norms;
        part.norms = NormNames { after_ffn: Some("post_ffw_norm_1.weight"), ..norms };
        let dense = Dense::load(part, shape.dense)?;
        let (before_ffn, after_ffn) = (Some("pre_ffw_norm_2.weight"), Some("post_ffw_norm_2.weight"));
        part.norms = NormNames { before_ffn, after_ffn, ..norms };
        let experts = Experts::load(part, shape.experts)?;
        part.norms = norms;
        let router_norm =
            part.scaled_vector("ffn_gate_inp.scale", shape.dim, 1.0 / (shape.dim as f32).sqrt())?;
        let post_ffw_norm = part.optional_norm(norms.after_ffn)?;
        Ok(Both { shape, dense, experts, router_norm, post_ffw_norm })
    }

    /// `out` (n, dim) is scratch.
    pub(super) fn forward<B: Backend<Weight = W>>(
        &self,
        pass: &mut Pass<'_, B>,
        (dense, experts): (&mut DenseScratch<B::Buffer>, &mut ExpertsScratch<B::Buffer>),
        out: &mut B::Buffer,
    ) {
        self.dense.expand(pass, dense);
        let Pass { b, stream, eps } = pass;
        let eps = *eps;
        dense.activate(*b, &self.dense.shape);
        match &self.dense.post_ffw_norm {
            Some(norm) => {
                b.matmul(&mut [&mut *out], &[&self.dense.ffn_down], &dense.gate);
                b.rms_norm(&mut stream.y, out, norm, eps);
            }
            None => b.matmul(&mut [&mut stream.y], &[&self.dense.ffn_down], &dense.gate),
        }
        let Experts { shape: ExpertsShape { routing, activation, .. }, .. } = &self.experts;
        b.norm_matmul(NormMatmul {
            outs: &mut [&mut experts.router],
            weights: &[&self.experts.ffn_gate_inp],
            normed: &mut stream.h,
            x: &stream.x,
            norm: Some(&self.router_norm),
            eps,
        });
        if let Some(bias) = &self.experts.ffn_gate_inp_bias {
            b.add_bias(&mut experts.router, bias);
        }
        b.rms_norm(&mut stream.h, &stream.x, &self.experts.ffn_norm, eps);
        b.experts_add(ExpertsAdd {
            router: &experts.router,
            weights: self.experts.experts.as_ref(),
            exp_probs_b: self.experts.exp_probs_b.as_ref(),
            routing,
            activation: *activation,
            branch: Branch {
                x: &mut stream.y,
                y: out,
                h: &mut stream.h,
                bias: None,
                norm: self.experts.post_ffw_norm.as_ref(),
                eps,
                scale: None,
            },
        });
        stream.branch(&None, &self.post_ffw_norm, eps).add(*b);
    }
}
