//! Mixers: the half of a layer in which the rows of a sequence look at each other. A kind of mixer is a file with its shape,
//! its tensors and its forward pass.

mod attention;

pub(crate) use attention::AttentionScratch;
pub use attention::{Attention, AttentionShape};

use crate::backend::{Backend, LayerIdx};
use crate::error::{BackendError, LoadError};
use crate::layer::{Pass, Sequences};
use crate::weights::Part;

/// A layer's mixer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MixerShape {
    /// Softmax over the keys of a sequence, in one or many heads.
    Attention(AttentionShape),
}

/// The tensors of a layer's mixer.
#[derive(Debug)]
#[allow(missing_docs, reason = "the variants are those of `MixerShape`")]
pub enum Mixer<W> {
    Attention(Attention<W>),
}

/// Activations of all mixers of a model: one entry per set of widths.
pub(crate) struct MixerScratch<T> {
    attention: Vec<AttentionScratch<T>>,
}

impl<T> MixerScratch<T> {
    pub(crate) fn new<B: Backend<Buffer = T>>(
        shapes: impl Iterator<Item = MixerShape>,
        backend: &mut B,
    ) -> Result<Self, BackendError> {
        let mut attention: Vec<AttentionScratch<T>> = Vec::new();
        for shape in shapes {
            let MixerShape::Attention(shape) = shape;
            if !attention.iter().any(|s| s.fits(&shape)) {
                attention.push(AttentionScratch::new(&shape, backend)?);
            }
        }
        Ok(MixerScratch { attention })
    }
}

impl<W> Mixer<W> {
    pub(crate) fn load<B: Backend<Weight = W>>(
        part: &mut Part<'_, '_, '_, B>,
        shape: MixerShape,
    ) -> Result<Mixer<W>, LoadError> {
        match shape {
            MixerShape::Attention(shape) => Attention::load(part, shape).map(Mixer::Attention),
        }
    }

    /// Adds what the mixer of layer `layer` gives to the residual stream.
    pub(crate) fn forward<B: Backend<Weight = W>>(
        &self,
        pass: &mut Pass<'_, B>,
        sequences: &mut Sequences<'_, B>,
        scratch: &mut MixerScratch<B::Buffer>,
        layer: usize,
    ) {
        match self {
            Mixer::Attention(attention) => {
                let scratch = scratch.attention.iter_mut().find(|s| s.fits(&attention.shape));
                let layer = LayerIdx { layer, group: attention.shape.group };
                attention.forward(pass, sequences, scratch.expect("every shape has scratch"), layer);
            }
        }
    }
}
