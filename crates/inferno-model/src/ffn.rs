//! Feed-forward networks: the half of a layer that works on every row on its own. A kind of network is a file with its shape,
//! its tensors and its forward pass.

mod both;
mod dense;
mod elsewhere;
mod experts;

pub use both::{Both, BothShape};
pub use dense::{Dense, DenseShape};
pub use elsewhere::FfnsElsewhere;
pub use experts::{Experts, ExpertsShape};

use crate::backend::Backend;
use crate::error::{BackendError, LoadError};
use crate::layer::Pass;
use crate::weights::Part;
use dense::DenseScratch;
use experts::ExpertsScratch;

/// The feed-forward network of a layer: `down(activation(gate(x)) * up(x))`, once or per chosen expert.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FfnShape {
    /// One network for every row.
    Dense(DenseShape),
    /// Every row chooses some of many.
    Experts(ExpertsShape),
    /// The sum of one of each.
    Both(BothShape),
}

impl FfnShape {
    /// The layer's mixture of experts, if it has one.
    pub fn experts(&self) -> Option<&ExpertsShape> {
        match self {
            FfnShape::Experts(shape) | FfnShape::Both(BothShape { experts: shape, .. }) => Some(shape),
            FfnShape::Dense(_) => None,
        }
    }

    /// The layer's network of every row, if it has one.
    pub fn dense(&self) -> Option<&DenseShape> {
        match self {
            FfnShape::Dense(shape) | FfnShape::Both(BothShape { dense: shape, .. }) => Some(shape),
            FfnShape::Experts(_) => None,
        }
    }
}

/// The function applied to the gate, or to what `ffn_up` gives in a network without one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// `x`: gate and up are multiplied as they are.
    Identity,
    /// `x / (1 + exp(-x))`.
    Silu,
    /// GELU in its tanh form: `x/2 * (1 + tanh(√(2/π) * (x + 0.044715 x³)))`.
    GeluTanh,
    /// `max(x, 0)²`.
    ReluSquared,
    /// SwiGLU with clamped inputs, of gate and up together: see [`clamped_swiglu`](crate::numerics::clamped_swiglu). Without a
    /// gate, up counts as zero.
    ClampedSwiglu,
    /// xIELU with a layer's parameters: see [`xielu`](crate::numerics::xielu).
    Xielu(Xielu),
}

/// Parameters of xIELU, ready to use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Xielu {
    /// Curvature above zero.
    pub alpha_p: f32,
    /// Weight of the exponential below zero.
    pub alpha_n: f32,
    /// Slope at zero.
    pub beta: f32,
    /// Upper bound of the exponential's argument, just below zero.
    pub eps: f32,
}

/// The tensors of a feed-forward network.
#[derive(Debug)]
#[allow(missing_docs, reason = "the variants are those of `FfnShape`")]
pub enum Ffn<W> {
    Dense(Dense<W>),
    Experts(Experts<W>),
    Both(Box<Both<W>>),
}

/// Activations of all feed-forward networks of a model: one entry per set of widths.
pub(crate) struct FfnScratch<T> {
    dense: Vec<DenseScratch<T>>,
    experts: Vec<ExpertsScratch<T>>,
    /// (n, dim), what one of both networks gives
    out: Option<T>,
}

impl<T> FfnScratch<T> {
    pub(crate) fn new<B: Backend<Buffer = T>>(
        shapes: impl Iterator<Item = FfnShape>,
        backend: &mut B,
    ) -> Result<Self, BackendError> {
        let mut scratch = FfnScratch { dense: Vec::new(), experts: Vec::new(), out: None };
        for shape in shapes {
            if let Some(shape) = shape.dense().filter(|shape| !scratch.dense.iter().any(|s| s.fits(shape))) {
                scratch.dense.push(DenseScratch::new(shape, backend)?);
            }
            if let Some(shape) =
                shape.experts().filter(|shape| !scratch.experts.iter().any(|s| s.fits(shape)))
            {
                scratch.experts.push(ExpertsScratch::new(shape, backend)?);
            }
            if let FfnShape::Both(BothShape { dim, .. }) = shape {
                scratch.out.get_or_insert(backend.buffer(dim)?);
            }
        }
        Ok(scratch)
    }
}

impl<W> Ffn<W> {
    pub(crate) fn load<B: Backend<Weight = W>>(
        part: &mut Part<'_, '_, '_, B>,
        shape: FfnShape,
    ) -> Result<Ffn<W>, LoadError> {
        match shape {
            FfnShape::Dense(shape) => Dense::load(part, shape).map(Ffn::Dense),
            FfnShape::Experts(shape) => Experts::load(part, shape).map(Ffn::Experts),
            FfnShape::Both(shape) => Both::load(part, shape).map(|both| Ffn::Both(Box::new(both))),
        }
    }

    /// Adds what the network gives to the residual stream.
    pub(crate) fn forward<B: Backend<Weight = W>>(
        &self,
        pass: &mut Pass<'_, B>,
        scratch: &mut FfnScratch<B::Buffer>,
    ) {
        const HAS: &str = "every shape has scratch";
        match self {
            Ffn::Dense(dense) => {
                let scratch = scratch.dense.iter_mut().find(|s| s.fits(&dense.shape));
                dense.forward(pass, scratch.expect(HAS));
            }
            Ffn::Experts(experts) => {
                let scratch = scratch.experts.iter_mut().find(|s| s.fits(&experts.shape));
                experts.forward(pass, scratch.expect(HAS));
            }
            Ffn::Both(both) => {
                let FfnScratch { dense, experts, out } = scratch;
                let dense = dense.iter_mut().find(|s| s.fits(&both.shape.dense));
                let experts = experts.iter_mut().find(|s| s.fits(&both.shape.experts));
                both.forward(pass, (dense.expect(HAS), experts.expect(HAS)), out.as_mut().expect(HAS));
            }
        }
    }
}
