//! Mixers: the half of a layer in which the rows of a sequence look at each other. A kind of mixer is a file with its shape,
//! its tensors and its forward pass.

mod attention;
mod delta_net;
mod kda;
mod latent;
mod shared;

pub(crate) use attention::AttentionScratch;
pub use attention::{Attention, AttentionShape};
use delta_net::DeltaNetScratch;
pub use delta_net::{DeltaNet, DeltaNetShape};
use kda::KdaScratch;
pub use kda::{Kda, KdaShape};
use latent::LatentScratch;
pub use latent::{Latent, LatentShape, QueryRank};
pub use shared::{Shared, SharedShape};

use crate::backend::{Backend, LayerIdx};
use crate::error::{BackendError, LoadError};
use crate::layer::{Pass, Sequences};
use crate::weights::Part;

/// A layer's mixer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MixerShape {
    /// Softmax over the keys of a sequence, in one or many heads.
    Attention(AttentionShape),
    /// The same, over the keys and values that another layer stores.
    Shared(SharedShape),
    /// The same over one latent row a position.
    Latent(LatentShape),
    /// Matrices that every row decays, corrects and reads.
    DeltaNet(DeltaNetShape),
    /// The same with a decay for every row of a matrix.
    Kda(KdaShape),
}

impl MixerShape {
    /// Query heads; of recurrent layers value heads.
    pub fn n_heads(&self) -> usize {
        match self {
            MixerShape::Attention(shape) | MixerShape::Shared(SharedShape { attention: shape, .. }) => {
                shape.n_heads
            }
            MixerShape::Latent(shape) => shape.n_heads,
            MixerShape::DeltaNet(DeltaNetShape { heads, .. }) | MixerShape::Kda(KdaShape { heads, .. }) => {
                heads.n_value_heads
            }
        }
    }

    /// Key heads that are stored; of recurrent layers key heads.
    pub fn n_kv_heads(&self) -> usize {
        match self {
            MixerShape::Attention(shape) | MixerShape::Shared(SharedShape { attention: shape, .. }) => {
                shape.n_kv_heads
            }
            MixerShape::Latent(_) => 1,
            MixerShape::DeltaNet(DeltaNetShape { heads, .. }) | MixerShape::Kda(KdaShape { heads, .. }) => {
                heads.n_key_heads
            }
        }
    }

    /// Numbers in one query head, as it is projected.
    pub fn head_width(&self) -> usize {
        match self {
            MixerShape::Attention(shape) | MixerShape::Shared(SharedShape { attention: shape, .. }) => {
                shape.key_width
            }
            MixerShape::Latent(shape) => shape.nope_width + shape.rope_width,
            MixerShape::DeltaNet(DeltaNetShape { heads, .. }) | MixerShape::Kda(KdaShape { heads, .. }) => {
                heads.width
            }
        }
    }

    /// Scores are multiplied by this.
    pub fn scale(&self) -> f32 {
        match self {
            MixerShape::Attention(shape) | MixerShape::Shared(SharedShape { attention: shape, .. }) => {
                shape.scale
            }
            MixerShape::Latent(shape) => shape.scale,
            MixerShape::DeltaNet(DeltaNetShape { heads, .. }) | MixerShape::Kda(KdaShape { heads, .. }) => {
                1.0 / (heads.width as f32).sqrt()
            }
        }
    }
}

/// The tensors of a layer's mixer.
#[derive(Debug)]
#[allow(missing_docs, reason = "the variants are those of `MixerShape`")]
pub enum Mixer<W> {
    Attention(Attention<W>),
    Shared(Shared<W>),
    Latent(Latent<W>),
    DeltaNet(DeltaNet<W>),
    Kda(Kda<W>),
}

/// Activations of all mixers of a model: one entry per set of widths.
pub(crate) struct MixerScratch<T> {
    attention: Vec<AttentionScratch<T>>,
    latent: Vec<LatentScratch<T>>,
    delta_net: Vec<DeltaNetScratch<T>>,
    kda: Vec<KdaScratch<T>>,
}

impl<T> MixerScratch<T> {
    pub(crate) fn new<B: Backend<Buffer = T>>(
        shapes: impl Iterator<Item = MixerShape>,
        backend: &mut B,
    ) -> Result<Self, BackendError> {
        let mut attention: Vec<AttentionScratch<T>> = Vec::new();
        let mut latent: Vec<LatentScratch<T>> = Vec::new();
        let mut delta_net: Vec<DeltaNetScratch<T>> = Vec::new();
        let mut kda: Vec<KdaScratch<T>> = Vec::new();
        for shape in shapes {
            match shape {
                MixerShape::Attention(shape) | MixerShape::Shared(SharedShape { attention: shape, .. }) => {
                    if !attention.iter().any(|s| s.fits(&shape)) {
                        attention.push(AttentionScratch::new(&shape, backend)?);
                    }
                }
                MixerShape::Latent(shape) => {
                    if !latent.iter().any(|s| s.fits(&shape)) {
                        latent.push(LatentScratch::new(&shape, backend)?);
                    }
                }
                MixerShape::DeltaNet(shape) => {
                    if !delta_net.iter().any(|s| s.fits(&shape)) {
                        delta_net.push(DeltaNetScratch::new(&shape, backend)?);
                    }
                }
                MixerShape::Kda(shape) => {
                    if !kda.iter().any(|s| s.fits(&shape)) {
                        kda.push(KdaScratch::new(&shape, backend)?);
                    }
                }
            }
        }
        Ok(MixerScratch { attention, latent, delta_net, kda })
    }

    fn of(&mut self, shape: &AttentionShape) -> &mut AttentionScratch<T> {
        self.attention.iter_mut().find(|s| s.fits(shape)).expect("every shape has scratch")
    }
}

impl<W> Mixer<W> {
    pub(crate) fn load<B: Backend<Weight = W>>(
        part: &mut Part<'_, '_, '_, B>,
        shape: MixerShape,
    ) -> Result<Mixer<W>, LoadError> {
        match shape {
            MixerShape::Attention(shape) => Attention::load(part, shape).map(Mixer::Attention),
            MixerShape::Shared(shape) => Shared::load(part, shape).map(Mixer::Shared),
            MixerShape::Latent(shape) => Latent::load(part, shape).map(Mixer::Latent),
            MixerShape::DeltaNet(shape) => DeltaNet::load(part, shape).map(Mixer::DeltaNet),
            MixerShape::Kda(shape) => Kda::load(part, shape).map(Mixer::Kda),
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
                let layer = LayerIdx { layer, group: attention.shape.group };
                attention.forward(pass, sequences, scratch.of(&attention.shape), layer);
            }
            Mixer::Shared(shared) => shared.forward(pass, sequences, scratch.of(&shared.shape.attention)),
            Mixer::Latent(latent) => {
                let scratch = scratch.latent.iter_mut().find(|s| s.fits(&latent.shape));
                let layer = LayerIdx { layer, group: latent.shape.group };
                latent.forward(pass, sequences, scratch.expect("every shape has scratch"), layer);
            }
            Mixer::DeltaNet(delta_net) => {
                let scratch = scratch.delta_net.iter_mut().find(|s| s.fits(&delta_net.shape));
                let layer = LayerIdx { layer, group: delta_net.shape.group };
                delta_net.forward(pass, sequences, scratch.expect("every shape has scratch"), layer);
            }
            Mixer::Kda(kda) => {
                let scratch = scratch.kda.iter_mut().find(|s| s.fits(&kda.shape));
                let layer = LayerIdx { layer, group: kda.shape.group };
                kda.forward(pass, sequences, scratch.expect("every shape has scratch"), layer);
            }
        }
    }
}
