//! Attention and Mamba-2 side by side (Falcon-H1): both read the same normed rows, and both are added.

use super::attention::{Attention, AttentionScratch, AttentionShape};
use super::mamba2::{Mamba2, Mamba2Scratch, Mamba2Shape};
use crate::backend::{Backend, LayerIdx};
use crate::error::LoadError;
use crate::layer::{Pass, Sequences};
use crate::weights::Part;

/// Both mixers of a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ParallelShape {
    /// With a norm before it and none after it.
    pub attention: AttentionShape,
    /// Reads the rows that attention's norm gives.
    pub mamba2: Mamba2Shape,
}

/// The tensors of both.
#[derive(Debug)]
pub struct Parallel<W> {
    /// Attention.
    pub attention: Attention<W>,
    /// Mamba-2, without a norm of its own.
    pub mamba2: Mamba2<W>,
}

impl<W> Parallel<W> {
    pub(super) fn load<B: Backend<Weight = W>>(
        part: &mut Part<'_, '_, '_, B>,
        shape: ParallelShape,
    ) -> Result<Self, LoadError> {
        let attention = Attention::load(part, shape.attention)?;
        part.norms.before_mixer = None;
        Ok(Parallel { attention, mamba2: Mamba2::load(part, shape.mamba2)? })
    }

    pub(super) fn forward<B: Backend<Weight = W>>(
        &self,
        pass: &mut Pass<'_, B>,
        sequences: &mut Sequences<'_, B>,
        (attention, mamba2): (&mut AttentionScratch<B::Buffer>, &mut Mamba2Scratch<B::Buffer>),
        layer: usize,
    ) {
        let idx = LayerIdx { layer, group: self.attention.shape.group };
        self.attention.forward(pass, sequences, attention, idx);
        // Attention leaves the normed rows as they are.
        self.mamba2.forward_beside(pass, sequences, mamba2, layer);
    }
}
