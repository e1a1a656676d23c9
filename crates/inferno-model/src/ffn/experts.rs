//! A mixture of experts: many feed-forward networks of which every row is routed to some, and possibly one for all rows.

use super::{Activation, DenseShape};
use crate::backend::{
    self, Backend, ExpertBiases, ExpertWeights, ExpertsAdd, GluMatmul, MatmulAdd, NormMatmul,
};
use crate::error::{BackendError, LoadError};
use crate::layer::Pass;
use crate::routing::Routing;
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
    /// Whether experts have a gate: without one each is `down(activation(up(x)))`.
    pub has_gate: bool,
    /// Width that rows are projected to before the experts and from after them (`ffn_latent_down`, `ffn_latent_up`); `None`:
    /// experts read and write rows as wide as the residual stream.
    pub latent_dim: Option<usize>,
    /// Selection and weights of a row's experts.
    pub routing: Routing,
    /// The network of all rows, whose output is added to that of the experts.
    pub shared: Option<DenseShape>,
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
    /// (n_experts,), added to the router's logits
    pub ffn_gate_inp_bias: Option<W>,
    /// (n_experts,), added to probabilities for the selection of experts
    pub exp_probs_b: Option<W>,
    /// The experts' own matrices: `dim` is `latent_dim` there, if there is one.
    pub experts: ExpertWeights<W>,
    /// Around the experts.
    pub latent: Option<LatentWeights<W>>,
    /// The network of all rows.
    pub shared: Option<Shared<W>>,
    /// (dim,)
    pub post_ffw_norm: Option<W>,
}

/// Projections of a row to the experts' width and back.
#[derive(Debug)]
pub struct LatentWeights<W> {
    /// (latent_dim, dim)
    pub ffn_latent_down: W,
    /// (dim, latent_dim)
    pub ffn_latent_up: W,
}

/// The tensors of a shared expert.
#[derive(Debug)]
pub struct Shared<W> {
    /// Applied to the gate.
    pub activation: Activation,
    /// (ffn_dim, dim)
    pub ffn_gate_shexp: Option<W>,
    /// (ffn_dim, dim)
    pub ffn_up_shexp: W,
    /// (dim, ffn_dim)
    pub ffn_down_shexp: W,
    /// (1, dim): the output is multiplied by the sigmoid of the product with this
    pub ffn_gate_inp_shexp: Option<W>,
}

/// Activations of a mixture. `n` is the number of rows.
pub(super) struct ExpertsScratch<T> {
    n_experts: usize,
    pub(super) router: T, // (n, n_experts)
    shared: Option<SharedScratch<T>>,
    latent: Option<LatentScratch<T>>,
}

struct LatentScratch<T> {
    latent_dim: usize,
    x: T,   // (n, latent_dim), what experts read
    out: T, // (n, latent_dim), what they give
}

struct SharedScratch<T> {
    ffn_dim: usize,
    gate: T,  // (n, ffn_dim)
    up: T,    // (n, ffn_dim)
    share: T, // (n, 1)
}

impl<T> ExpertsScratch<T> {
    pub(super) fn new<B: Backend<Buffer = T>>(shape: &ExpertsShape, b: &mut B) -> Result<Self, BackendError> {
        let shared = match shape.shared {
            Some(DenseShape { ffn_dim, .. }) => Some(SharedScratch {
                ffn_dim,
                gate: b.buffer(ffn_dim)?,
                up: b.buffer(ffn_dim)?,
                share: b.buffer(1)?,
            }),
            None => None,
        };
        let latent = match shape.latent_dim {
            Some(latent_dim) => {
                Some(LatentScratch { latent_dim, x: b.buffer(latent_dim)?, out: b.buffer(latent_dim)? })
            }
            None => None,
        };
        Ok(ExpertsScratch { n_experts: shape.n_experts, router: b.buffer(shape.n_experts)?, shared, latent })
    }

    pub(super) fn fits(&self, shape: &ExpertsShape) -> bool {
        let shared = self.shared.as_ref().map(|s| s.ffn_dim);
        let latent = self.latent.as_ref().map(|s| s.latent_dim);
        self.n_experts == shape.n_experts
            && shared == shape.shared.map(|s| s.ffn_dim)
            && latent == shape.latent_dim
    }
}

impl<W> Experts<W> {
    pub(super) fn load<B: Backend<Weight = W>>(
        part: &mut Part<'_, '_, '_, B>,
        shape: ExpertsShape,
    ) -> Result<Self, LoadError> {
        let ExpertsShape { n_experts, ffn_dim, latent_dim, .. } = shape;
        let (dim, norms) = (part.dim(), part.norms);
        let norm_name = norms.before_ffn.unwrap_or("ffn_norm.weight");
        Ok(Experts {
            shape,
            ffn_norm: part.vector(norm_name, dim)?,
            ffn_gate_inp: part.matrix("ffn_gate_inp.weight", n_experts, dim)?,
            ffn_gate_inp_bias: part.optional("ffn_gate_inp.bias", n_experts)?,
            exp_probs_b: part.optional_of(&["exp_probs_b.bias", "exp_probs_b"], n_experts)?,
            experts: load_experts(part, [n_experts, ffn_dim, latent_dim.unwrap_or(dim)], shape.has_gate)?,
            latent: match latent_dim {
                Some(latent_dim) => Some(LatentWeights {
                    ffn_latent_down: part.matrix("ffn_latent_down.weight", latent_dim, dim)?,
                    ffn_latent_up: part.matrix("ffn_latent_up.weight", dim, latent_dim)?,
                }),
                None => None,
            },
            shared: shape.shared.map(|shape| Shared::load(part, shape)).transpose()?,
            // No family has a norm after the sum with a shared expert.
            post_ffw_norm: match shape.shared {
                None => part.optional_norm(norms.after_ffn)?,
                Some(_) => None,
            },
        })
    }

    pub(super) fn forward<B: Backend<Weight = W>>(
        &self,
        pass: &mut Pass<'_, B>,
        s: &mut ExpertsScratch<B::Buffer>,
    ) {
        let Pass { b, stream, eps } = pass;
        let eps = *eps;
        let ExpertsShape { routing, activation, .. } = &self.shape;
        let ExpertsScratch { router, shared: scratch, latent, .. } = s;
        let mut shared = self.shared.as_ref().zip(scratch.as_mut());
        let mut latent = self.latent.as_ref().zip(latent.as_mut());
        // Router, shared expert and experts have the same input.
        let (mut outs, mut weights) = (vec![&mut *router], vec![&self.ffn_gate_inp]);
        if let Some((w, s)) = &mut shared {
            let SharedScratch { gate, up, share, .. } = &mut **s;
            // Without a gate, `up` itself is what the activation is applied to.
            match &w.ffn_gate_shexp {
                Some(ffn_gate_shexp) => {
                    outs.extend([gate, up]);
                    weights.extend([ffn_gate_shexp, &w.ffn_up_shexp]);
                }
                None => {
                    outs.push(gate);
                    weights.push(&w.ffn_up_shexp);
                }
            }
            if let Some(ffn_gate_inp_shexp) = &w.ffn_gate_inp_shexp {
                outs.push(share);
                weights.push(ffn_gate_inp_shexp);
            }
        }
        if let Some((w, s)) = &mut latent {
            outs.push(&mut s.x);
            weights.push(&w.ffn_latent_down);
        }
        let (normed, x, norm) = (&mut stream.h, &stream.x, Some(&self.ffn_norm));
        let (outs, weights) = (&mut outs[..], &weights[..]);
        b.norm_matmul(NormMatmul { outs, weights, normed, x, norm, eps });
        if let Some(bias) = &self.ffn_gate_inp_bias {
            b.add_bias(router, bias);
        }
        let (weights, exp_probs_b, activation) =
            (self.experts.as_ref(), self.exp_probs_b.as_ref(), *activation);
        match latent {
            None => b.experts_add(ExpertsAdd {
                router,
                weights,
                exp_probs_b,
                routing,
                activation,
                branch: stream.branch(&None, &self.post_ffw_norm, eps),
            }),
            Some((w, LatentScratch { x, out, .. })) => {
                b.experts(out, backend::Experts { x, router, weights, exp_probs_b, routing, activation });
                let branch = stream.branch(&None, &self.post_ffw_norm, eps);
                b.matmul_add(MatmulAdd { input: out, weight: &w.ffn_latent_up, branch });
            }
        }
        if let Some((w, s)) = shared {
            if w.ffn_gate_inp_shexp.is_some() {
                // The output's factor, applied to what it is linear in.
                b.sigmoid_gate(&mut s.up, &s.share);
            }
            b.glu_matmul(GluMatmul {
                gate: &mut s.gate,
                up: w.ffn_gate_shexp.is_some().then_some(&s.up),
                activation: w.activation,
                down: &w.ffn_down_shexp,
                branch: stream.branch(&None, &None, eps),
            });
        }
    }
}

impl<W> Shared<W> {
    fn load<B: Backend<Weight = W>>(
        part: &mut Part<'_, '_, '_, B>,
        shape: DenseShape,
    ) -> Result<Self, LoadError> {
        let DenseShape { ffn_dim, activation, has_gate } = shape;
        let dim = part.dim();
        let (ffn_gate_shexp, ffn_up_shexp) = if has_gate {
            let names = ["ffn_gate_shexp.weight", "ffn_up_shexp.weight"];
            let [gate, up] = part.matrices(names, [ffn_dim, ffn_dim], dim)?;
            (Some(gate), up)
        } else {
            (None, part.matrix("ffn_up_shexp.weight", ffn_dim, dim)?)
        };
        let ffn_down_shexp = part.matrix("ffn_down_shexp.weight", dim, ffn_dim)?;
        // Only networks with a gate have a factor of their output: it is applied to `up`, which that is linear in.
        let has_share = has_gate && part.is_expected("ffn_gate_inp_shexp.weight");
        let gate = has_share.then(|| part.matrix("ffn_gate_inp_shexp.weight", 1, dim)).transpose()?;
        Ok(Shared { activation, ffn_gate_shexp, ffn_up_shexp, ffn_down_shexp, ffn_gate_inp_shexp: gate })
    }
}

/// The experts' matrices and biases: gate and up in tensors of their own, or in one.
fn load_experts<B: Backend>(
    part: &mut Part<'_, '_, '_, B>,
    shape: [usize; 3],
    has_gate: bool,
) -> Result<ExpertWeights<B::Weight>, LoadError> {
    let [n_experts, ffn_dim, dim] = shape;
    let (ffn_gate_exps, ffn_up_exps) = match part.has("ffn_gate_up_exps.weight") {
        true if has_gate => {
            let [gate, up] = part.cut_stacked("ffn_gate_up_exps.weight", shape)?;
            (Some(gate), up)
        }
        _ if has_gate => (Some(part.stacked("ffn_gate", shape)?), part.stacked("ffn_up", shape)?),
        _ => (None, part.stacked("ffn_up", shape)?),
    };
    let ffn_down_exps = part.stacked("ffn_down", [n_experts, dim, ffn_dim])?;
    let biases = if has_gate && part.is_expected("ffn_down_exps.bias") {
        let [gate, up] = match part.has("ffn_gate_up_exps.bias") {
            true => part.cut_vectors("ffn_gate_up_exps.bias", n_experts, ffn_dim)?,
            false => [
                part.vectors("ffn_gate_exps.bias", n_experts, ffn_dim)?,
                part.vectors("ffn_up_exps.bias", n_experts, ffn_dim)?,
            ],
        };
        Some(ExpertBiases { gate, up, down: part.vectors("ffn_down_exps.bias", n_experts, dim)? })
    } else {
        None
    };
    let scales = part.optional("ffn_down_exps.scale", n_experts)?;
    Ok(ExpertWeights { ffn_gate_exps, ffn_up_exps, ffn_down_exps, biases, scales })
}
