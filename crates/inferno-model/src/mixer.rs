//! Mixers: the half of a layer in which the rows of a sequence look at each other. A kind of mixer is a file with its shape,
//! its tensors and its forward pass.

mod attention;
mod delta_net;
mod kda;
mod latent;
mod mamba2;
mod parallel;
mod shared;
mod short_conv;

pub(crate) use attention::AttentionScratch;
pub use attention::{Attention, AttentionShape};
use delta_net::DeltaNetScratch;
pub use delta_net::{DeltaNet, DeltaNetShape};
use kda::KdaScratch;
pub use kda::{Kda, KdaShape};
use latent::LatentScratch;
pub use latent::{Latent, LatentShape, QueryRank};
use mamba2::Mamba2Scratch;
pub use mamba2::{Mamba2, Mamba2Shape};
pub use parallel::{Parallel, ParallelShape};
pub use shared::{Shared, SharedShape};
use short_conv::ShortConvScratch;
pub use short_conv::{ShortConv, ShortConvShape};

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
    /// A convolution and a state of every head.
    Mamba2(Mamba2Shape),
    /// A gated convolution over a few positions.
    ShortConv(ShortConvShape),
    /// Attention and Mamba-2, both of the same rows.
    Parallel(ParallelShape),
}

impl MixerShape {
    /// The attention over keys and values in heads that the mixer is or has.
    pub fn attention(&self) -> Option<&AttentionShape> {
        match self {
            MixerShape::Attention(shape)
            | MixerShape::Shared(SharedShape { attention: shape, .. })
            | MixerShape::Parallel(ParallelShape { attention: shape, .. }) => Some(shape),
            MixerShape::Latent(_)
            | MixerShape::DeltaNet(_)
            | MixerShape::Kda(_)
            | MixerShape::Mamba2(_)
            | MixerShape::ShortConv(_) => None,
        }
    }

    /// Query heads; of recurrent layers heads of their states.
    pub fn n_heads(&self) -> usize {
        match self {
            MixerShape::Latent(shape) => shape.n_heads,
            MixerShape::DeltaNet(DeltaNetShape { heads, .. }) | MixerShape::Kda(KdaShape { heads, .. }) => {
                heads.n_value_heads
            }
            MixerShape::Mamba2(shape) => shape.ssm.n_heads,
            _ => self.attention().map_or(0, |shape| shape.n_heads),
        }
    }

    /// Key heads that are stored; of recurrent layers key heads, or groups of heads.
    pub fn n_kv_heads(&self) -> usize {
        match self {
            MixerShape::Latent(_) => 1,
            MixerShape::DeltaNet(DeltaNetShape { heads, .. }) | MixerShape::Kda(KdaShape { heads, .. }) => {
                heads.n_key_heads
            }
            MixerShape::Mamba2(shape) => shape.ssm.n_groups,
            _ => self.attention().map_or(0, |shape| shape.n_kv_heads),
        }
    }

    /// Numbers in one query head, as it is projected; of recurrent layers in one head.
    pub fn head_width(&self) -> usize {
        match self {
            MixerShape::Latent(shape) => shape.nope_width + shape.rope_width,
            MixerShape::DeltaNet(DeltaNetShape { heads, .. }) | MixerShape::Kda(KdaShape { heads, .. }) => {
                heads.width
            }
            MixerShape::Mamba2(shape) => shape.ssm.head_width,
            _ => self.attention().map_or(0, |shape| shape.key_width),
        }
    }

    /// Scores are multiplied by this; zero in a layer without any.
    pub fn scale(&self) -> f32 {
        match self {
            MixerShape::Latent(shape) => shape.scale,
            MixerShape::DeltaNet(DeltaNetShape { heads, .. }) | MixerShape::Kda(KdaShape { heads, .. }) => {
                1.0 / (heads.width as f32).sqrt()
            }
            _ => self.attention().map_or(0.0, |shape| shape.scale),
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
    Mamba2(Mamba2<W>),
    ShortConv(ShortConv<W>),
    Parallel(Parallel<W>),
}

/// Activations of all mixers of a model: one entry per set of widths.
pub(crate) struct MixerScratch<T> {
    attention: Vec<AttentionScratch<T>>,
    latent: Vec<LatentScratch<T>>,
    delta_net: Vec<DeltaNetScratch<T>>,
    kda: Vec<KdaScratch<T>>,
    mamba2: Vec<Mamba2Scratch<T>>,
    short_conv: Vec<ShortConvScratch<T>>,
}

/// Every shape of a model has scratch.
const HAS: &str = "every shape has scratch";

impl<T> MixerScratch<T> {
    pub(crate) fn new<B: Backend<Buffer = T>>(
        shapes: impl Iterator<Item = MixerShape>,
        backend: &mut B,
    ) -> Result<Self, BackendError> {
        let mut scratch = MixerScratch {
            attention: Vec::new(),
            latent: Vec::new(),
            delta_net: Vec::new(),
            kda: Vec::new(),
            mamba2: Vec::new(),
            short_conv: Vec::new(),
        };
        for shape in shapes {
            match shape {
                MixerShape::Attention(shape) | MixerShape::Shared(SharedShape { attention: shape, .. }) => {
                    scratch.add_attention(&shape, backend)?;
                }
                MixerShape::Latent(shape) => {
                    if !scratch.latent.iter().any(|s| s.fits(&shape)) {
                        scratch.latent.push(LatentScratch::new(&shape, backend)?);
                    }
                }
                MixerShape::DeltaNet(shape) => {
                    if !scratch.delta_net.iter().any(|s| s.fits(&shape)) {
                        scratch.delta_net.push(DeltaNetScratch::new(&shape, backend)?);
                    }
                }
                MixerShape::Kda(shape) => {
                    if !scratch.kda.iter().any(|s| s.fits(&shape)) {
                        scratch.kda.push(KdaScratch::new(&shape, backend)?);
                    }
                }
                MixerShape::Mamba2(shape) => scratch.add_mamba2(&shape, backend)?,
                MixerShape::ShortConv(shape) => {
                    if !scratch.short_conv.iter().any(|s| s.fits(&shape)) {
                        scratch.short_conv.push(ShortConvScratch::new(&shape, backend)?);
                    }
                }
                MixerShape::Parallel(ParallelShape { attention, mamba2 }) => {
                    scratch.add_attention(&attention, backend)?;
                    scratch.add_mamba2(&mamba2, backend)?;
                }
            }
        }
        Ok(scratch)
    }

    fn add_attention<B: Backend<Buffer = T>>(
        &mut self,
        shape: &AttentionShape,
        backend: &mut B,
    ) -> Result<(), BackendError> {
        if !self.attention.iter().any(|s| s.fits(shape)) {
            self.attention.push(AttentionScratch::new(shape, backend)?);
        }
        Ok(())
    }

    fn add_mamba2<B: Backend<Buffer = T>>(
        &mut self,
        shape: &Mamba2Shape,
        backend: &mut B,
    ) -> Result<(), BackendError> {
        if !self.mamba2.iter().any(|s| s.fits(shape)) {
            self.mamba2.push(Mamba2Scratch::new(shape, backend)?);
        }
        Ok(())
    }

    fn of(&mut self, shape: &AttentionShape) -> &mut AttentionScratch<T> {
        self.attention.iter_mut().find(|s| s.fits(shape)).expect(HAS)
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
            MixerShape::Mamba2(shape) => Mamba2::load(part, shape).map(Mixer::Mamba2),
            MixerShape::ShortConv(shape) => ShortConv::load(part, shape).map(Mixer::ShortConv),
            MixerShape::Parallel(shape) => Parallel::load(part, shape).map(Mixer::Parallel),
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
                latent.forward(pass, sequences, scratch.expect(HAS), layer);
            }
            Mixer::DeltaNet(delta_net) => {
                let scratch = scratch.delta_net.iter_mut().find(|s| s.fits(&delta_net.shape));
                let layer = LayerIdx { layer, group: delta_net.shape.group };
                delta_net.forward(pass, sequences, scratch.expect(HAS), layer);
            }
            Mixer::Kda(kda) => {
                let scratch = scratch.kda.iter_mut().find(|s| s.fits(&kda.shape));
                let layer = LayerIdx { layer, group: kda.shape.group };
                kda.forward(pass, sequences, scratch.expect(HAS), layer);
            }
            Mixer::Mamba2(mamba2) => {
                let scratch = scratch.mamba2.iter_mut().find(|s| s.fits(&mamba2.shape));
                mamba2.forward(pass, sequences, scratch.expect(HAS), layer);
            }
            Mixer::ShortConv(conv) => {
                let scratch = scratch.short_conv.iter_mut().find(|s| s.fits(&conv.shape));
                conv.forward(pass, sequences, scratch.expect(HAS), layer);
            }
            Mixer::Parallel(parallel) => {
                let MixerScratch { attention, mamba2, .. } = scratch;
                let attention = attention.iter_mut().find(|s| s.fits(&parallel.attention.shape));
                let mamba2 = mamba2.iter_mut().find(|s| s.fits(&parallel.mamba2.shape));
                parallel.forward(pass, sequences, (attention.expect(HAS), mamba2.expect(HAS)), layer);
            }
        }
    }
}
