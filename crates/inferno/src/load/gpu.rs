//! A GPU that computes, and how much of a model it gets: in builds that can use one.

use anyhow::{Result, ensure};
use inferno_cpu::{Cpu, Isa};
use inferno_model::architecture::Architecture;
use inferno_model::error::{BackendError, LoadError};
use inferno_model::profile::Profile;
use inferno_model::split::Split;
use inferno_model::transformer::{KvRoom, Model};
use inferno_wgpu::{AdapterError, Choice, Found, Gpu, Wgpu, adapters};

use super::{BackendChoice, Compute, GpuLayers, Opened};
use crate::commands::note;

/// A GPU that is open, and how it was chosen.
pub(crate) struct Opening {
    gpu: Option<Gpu>,
    name: String,
    compute: Compute,
}

impl Opening {
    fn new(gpu: Gpu, compute: &Compute) -> Opening {
        let name = gpu.name().to_owned();
        Opening { gpu: Some(gpu), name, compute: compute.clone() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Of the processor: one drives the GPU.
    pub(crate) fn n_threads(&self) -> usize {
        if self.compute.gpu_layers == GpuLayers::Auto { 1 } else { self.compute.n_threads().get() }
    }

    /// The GPU the first time, and then the same without what was loaded to it.
    fn take(&mut self) -> Result<Gpu, LoadError> {
        let gpu = self.gpu.take().or_else(|| self.compute.gpu().ok().flatten());
        let gone = || BackendError { what: "the GPU cannot be opened again".into() };
        Ok(gpu.ok_or_else(gone)?)
    }
}

impl Opened {
    /// Loads as many layers to the GPU as it is told to, or as there is memory for.
    pub(crate) fn load_on_gpu(
        &self,
        arch: &Architecture,
        mut opening: Opening,
        room: &KvRoom,
        profile: Option<Profile>,
    ) -> Result<Box<dyn Model>, LoadError> {
        let all = arch.layers.len();
        if let GpuLayers::Last(n) = opening.compute.gpu_layers {
            let gpu = opening.take()?;
            return self.load_some(arch, (gpu, n.min(all)), &opening.compute, room, profile);
        }
        for quarters in (1..=4).rev() {
            let n = (all * quarters).div_ceil(4);
            let gpu = opening.take()?;
            match self.load_some(arch, (gpu, n), &opening.compute, room, profile.clone()) {
                Err(LoadError::Backend(e)) => {
                    note(&format!("warning: not with {n} of {all} layers on the GPU: {e}"))
                }
                other => return other,
            }
        }
        note("warning: the processor computes instead");
        let gpu = opening.take()?;
        self.load_some(arch, (gpu, 0), &opening.compute, room, profile)
    }

    fn load_some(
        &self,
        arch: &Architecture,
        (gpu, n): (Gpu, usize),
        compute: &Compute,
        room: &KvRoom,
        profile: Option<Profile>,
    ) -> Result<Box<dyn Model>, LoadError> {
        let (arch, all) = (arch.clone(), arch.layers.len());
        if n == all {
            return self.load(arch, Wgpu::new(gpu)?, room, profile);
        }
        let isa = compute.isa.unwrap_or_else(Isa::best);
        let cpu = Cpu::new(isa, compute.n_threads())?;
        if n == 0 {
            return self.load(arch, cpu, room, profile);
        }
        self.load(arch, Split::new(cpu, Wgpu::new(gpu)?, all - n), room, profile)
    }
}

/// A line about every GPU.
pub(crate) fn devices() -> Vec<String> {
    adapters().iter().enumerate().map(|(i, found)| describe(i, found)).collect()
}

impl Compute {
    /// The GPU to use; `None` for the processor.
    pub(crate) fn open_gpu(&self) -> Result<Option<Opening>> {
        Ok(self.gpu()?.map(|gpu| Opening::new(gpu, self)))
    }

    fn gpu(&self) -> Result<Option<Gpu>> {
        let is_asked = self.backend == BackendChoice::Wgpu || self.device.is_some();
        ensure!(
            self.backend != BackendChoice::Cpu
                || (self.device.is_none() && self.gpu_layers == GpuLayers::Auto),
            "`--backend cpu` uses no GPU: leave out `--device` and `--gpu-layers`, or the backend"
        );
        if self.backend == BackendChoice::Cpu || (!is_asked && self.isa.is_some()) {
            return Ok(None);
        }
        let opened = match &self.device {
            Some(device) => Gpu::open(&device.parse::<Choice>().unwrap_or_default()),
            None if is_asked => Gpu::open(&Choice::Best),
            // What only acts as a GPU is slower than the processor it runs on.
            None => match adapters().into_iter().find(|f| f.is_gpu() && f.lack.is_none()) {
                Some(found) => Gpu::of(found),
                None => return Ok(None),
            },
        };
        match opened {
            Ok(gpu) => Ok(Some(gpu)),
            Err(e @ AdapterError::Unknown { .. }) => Err(e.into()),
            Err(e) => {
                note(&format!("warning: {e}: the processor computes instead"));
                Ok(None)
            }
        }
    }
}

fn describe(index: usize, found: &Found) -> String {
    let features = found.features().join(", ");
    let mut line = format!(
        "{index}  {} ({}, {}; {} MiB in a buffer{}{features})",
        found.name(),
        found.kind(),
        found.driver(),
        found.binding_bytes() >> 20,
        if features.is_empty() { "" } else { "; " },
    );
    if let Some(lack) = &found.lack {
        line += &format!(": cannot run models, {lack}");
    }
    line
}
