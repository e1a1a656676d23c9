//! The processor.

use std::num::NonZeroUsize;

use inferno_cpu::{Cpu, Isa};
use inferno_format::Gguf;
use inferno_model::architecture::Architecture;
use inferno_model::backend::KvType;
use inferno_model::error::LoadError;
use inferno_model::model::{KvRoom, Model};
use inferno_model::profile::Profile;
use inferno_model::weights::{Share, WeightBytes};

use super::backends::{Compiled, Opening, Selected};
use super::stages::Stages;
use super::{Compute, Opened};
use crate::kv_memory::KvSpace;

pub(super) const BACKEND: Compiled = Compiled { devices: Vec::new, open, streaming_read: |_, _| Ok(None) };

/// An instruction set and a number of threads.
pub(super) struct Processor {
    pub(super) isa: Isa,
    pub(super) n_threads: NonZeroUsize,
}

fn open(compute: &Compute) -> Selected<dyn Opening> {
    let isa = compute.isa.map_or_else(|| Ok(Isa::best()), Isa::check)?;
    Ok(Some(Box::new(Processor { isa, n_threads: compute.n_threads() })))
}

impl Opening for Processor {
    fn name(&self) -> String {
        self.isa.to_string()
    }

    fn n_threads(&self) -> usize {
        self.n_threads.get()
    }

    fn half_kv(&self) -> KvType {
        self.isa.half_kv()
    }

    /// Memory is taken as it is written.
    fn takes_kv_in_advance(&self) -> bool {
        false
    }

    fn kv_space(&self, arch: &Architecture, file: &Gguf) -> Option<KvSpace> {
        KvSpace::of_processor(WeightBytes::of(arch, file).all)
    }

    fn load(
        self: Box<Self>,
        opened: &Opened,
        arch: &Architecture,
        room: &KvRoom,
        profile: Option<Profile>,
    ) -> Result<Box<dyn Model>, LoadError> {
        let mut stages = Stages::new(&opened.file, arch, room, profile);
        if opened.only_drafts {
            stages.tensors = stages.tensors.of_draft_model();
        }
        stages.push(Share::whole(arch), Cpu::new(self.isa, self.n_threads)?, None)?;
        stages.finish()
    }
}
