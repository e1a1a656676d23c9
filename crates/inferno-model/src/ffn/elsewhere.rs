//! Feed-forward networks on a backend of their own, apart from the mixers of their layers.

use std::ops::Range;

use super::{Ffn, FfnScratch};
use crate::backend::Backend;
use crate::error::{LoadError, StepError};
use crate::layer::{Pass, Stream};
use crate::stage::FfnStage;
use crate::weights::Tensors;

/// The feed-forward networks of some layers on one backend.
pub struct FfnsElsewhere<B: Backend> {
    backend: B,
    layers: Range<usize>,
    /// One per layer.
    ffns: Vec<Option<Ffn<B::Weight>>>,
    stream: Stream<B::Buffer>,
    scratch: FfnScratch<B::Buffer>,
    norm_eps: f32,
}

impl<B: Backend> FfnsElsewhere<B> {
    /// Loads the networks of `layers` onto `backend`.
    pub fn load(tensors: &mut Tensors<'_>, layers: Range<usize>, mut backend: B) -> Result<Self, LoadError> {
        let arch = tensors.architecture();
        let load = |i| Ffn::load_alone(tensors, i, &mut backend);
        let ffns = layers.clone().map(load).collect::<Result<_, _>>()?;
        let stream = Stream::new(arch, &mut backend)?;
        let shapes = arch.layers[layers.clone()].iter().filter_map(|layer| layer.ffn);
        let scratch = FfnScratch::new(shapes, &mut backend)?;
        Ok(FfnsElsewhere { backend, layers, ffns, stream, scratch, norm_eps: arch.norm_eps })
    }
}

impl<B: Backend + Send> FfnStage for FfnsElsewhere<B>
where
    B::Weight: Send,
    B::Buffer: Send,
{
    fn has(&self, layer: usize) -> bool {
        self.layers.contains(&layer)
    }

    fn forward(&mut self, layer: usize, hidden: &mut Vec<f32>) -> Result<(), StepError> {
        let FfnsElsewhere { backend, layers, ffns, stream, scratch, norm_eps } = self;
        let Some(ffn) = &ffns[layer - layers.start] else { return Ok(()) };
        backend.write(&mut stream.x, hidden);
        ffn.forward(&mut Pass { b: backend, stream, eps: *norm_eps }, scratch);
        backend.read(&stream.x, hidden)
    }
}
