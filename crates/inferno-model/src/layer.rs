//! One layer: a mixer and a feed-forward network on the residual stream.

use crate::architecture::Architecture;
use crate::backend::{Backend, Branch};
use crate::batch::Batch;
use crate::error::BackendError;
use crate::ffn::{Ffn, FfnScratch};
use crate::mixer::{Mixer, MixerScratch};
use crate::per_layer::{PerLayerInput, PerLayerScratch};
use crate::rope::Angles;

/// The tensors of one layer. Either half may be absent.
#[derive(Debug)]
pub struct Layer<W> {
    /// Mixes the rows of a sequence with each other.
    pub mixer: Option<Mixer<W>>,
    /// Works on every row on its own.
    pub ffn: Option<Ffn<W>>,
    /// Adds the layer's own embedding of every token, after both halves.
    pub input: Option<PerLayerInput<W>>,
    /// The residual stream is multiplied by this at the end.
    pub output_scale: Option<f32>,
}

/// Activations that all layers share. `n` is the number of rows.
pub(crate) struct Stream<T> {
    pub(crate) x: T, // (n, dim), the residual stream
    pub(crate) h: T, // (n, dim), normed
    pub(crate) y: T, // (n, dim), what a half layer adds
    /// Of all that is added; `None` is one.
    residual_scale: Option<f32>,
}

impl<T> Stream<T> {
    pub(crate) fn new<B: Backend<Buffer = T>>(arch: &Architecture, b: &mut B) -> Result<Self, BackendError> {
        let (dim, residual_scale) = (arch.dim, arch.residual_scale);
        Ok(Stream { x: b.buffer(dim)?, h: b.buffer(dim)?, y: b.buffer(dim)?, residual_scale })
    }

    /// The end of a half layer. The norm, if there is one, overwrites `h`.
    pub(crate) fn branch<'a, W>(
        &'a mut self,
        bias: &'a Option<W>,
        norm: &'a Option<W>,
        eps: f32,
    ) -> Branch<'a, W, T> {
        let Stream { x, h, y, residual_scale } = self;
        Branch { x, y, h, bias: bias.as_ref(), norm: norm.as_ref(), eps, scale: *residual_scale }
    }
}

/// One step on its way through the layers.
pub(crate) struct Pass<'a, B: Backend> {
    pub(crate) b: &'a mut B,
    pub(crate) stream: &'a mut Stream<B::Buffer>,
    /// Added to the mean square in every norm.
    pub(crate) eps: f32,
}

/// The sequences of a step, as mixers see them.
pub(crate) struct Sequences<'a, B: Backend> {
    pub(crate) kv: &'a mut B::KvPool,
    /// One per [`Architecture::ropes`](crate::architecture::Architecture::ropes).
    pub(crate) angles: &'a [Angles],
    pub(crate) batch: &'a Batch,
}

impl<W> Layer<W> {
    /// Runs both halves of layer `layer` of the model on the residual stream.
    pub(crate) fn forward<B: Backend<Weight = W>>(
        &self,
        pass: &mut Pass<'_, B>,
        sequences: &mut Sequences<'_, B>,
        (mixers, ffns): (&mut MixerScratch<B::Buffer>, &mut FfnScratch<B::Buffer>),
        layer: usize,
    ) {
        if let Some(mixer) = &self.mixer {
            mixer.forward(pass, sequences, mixers, layer);
        }
        if let Some(ffn) = &self.ffn {
            ffn.forward(pass, ffns);
        }
    }

    /// Ends layer `layer` of the stage, once both halves have been added to the residual stream.
    pub(crate) fn finish<B: Backend<Weight = W>>(
        &self,
        pass: &mut Pass<'_, B>,
        per_layer: Option<&mut PerLayerScratch<B::Buffer>>,
        layer: usize,
    ) {
        if let (Some(input), Some(per_layer)) = (&self.input, per_layer) {
            input.forward(pass, per_layer, layer);
        }
        if let Some(scale) = self.output_scale {
            pass.b.scale(&mut pass.stream.x, scale);
        }
    }
}
