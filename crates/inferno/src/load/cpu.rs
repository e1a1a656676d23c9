//! The processor.

use std::num::NonZeroUsize;

use inferno_cpu::{Cpu, Isa};
use inferno_format::Gguf;
use inferno_model::architecture::Architecture;
use inferno_model::backend::KvType;
use inferno_model::conformance::{Group, Precision, Promise};
use inferno_model::error::LoadError;
use inferno_model::model::{KvRoom, Model};
use inferno_model::profile::Profile;
use inferno_model::weights::{Share, WeightBytes};

use super::backends::{Checked, Compiled, Opening, Selected};
use super::stages::Stages;
use super::{BackendChoice, Compute, Opened};
use crate::kv_memory::KvSpace;

pub(super) const BACKEND: Compiled = Compiled {
    devices: Vec::new,
    open,
    streaming_read: |_, _| Ok(None),
    limits: |_| Ok(Vec::new()),
    checked,
};
/// Every instruction set has the bits of the reference.
const PROMISE: Promise = Promise { operations: Precision::Bits, attention: Precision::Bits };
/// Threads of a check: more than one, so that rows and outputs are divided.
const CHECK_THREADS: NonZeroUsize = NonZeroUsize::new(2).expect("more than zero");

/// An instruction set and a number of threads.
pub(super) struct Processor {
    pub(super) isa: Isa,
    pub(super) n_threads: NonZeroUsize,
}

fn open(compute: &Compute) -> Selected<dyn Opening> {
    let isa = compute.isa.map_or_else(|| Ok(Isa::best()), Isa::check)?;
    Ok(Some(Box::new(Processor { isa, n_threads: compute.n_threads() })))
}

/// All instruction sets of this machine, or the one of `--isa`; none if a GPU is asked for.
fn checked(compute: &Compute) -> anyhow::Result<Vec<Box<dyn Checked>>> {
    if compute.backend == BackendChoice::Wgpu || compute.device.is_some() {
        return Ok(Vec::new());
    }
    let levels = match compute.isa {
        Some(isa) => vec![Isa::check(isa)?],
        None => Isa::available(),
    };
    Ok(levels.into_iter().map(|isa| Box::new(CheckedLevel(isa)) as Box<dyn Checked>).collect())
}

/// An instruction set to check.
struct CheckedLevel(Isa);

impl Checked for CheckedLevel {
    fn name(&self) -> String {
        self.0.to_string()
    }

    fn check(&self, group: Group) -> Result<(), String> {
        group.check(|| Cpu::new(self.0, CHECK_THREADS).expect("the machine has this level"), PROMISE)
    }
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
