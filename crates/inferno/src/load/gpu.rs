//! A GPU that computes, and how much of a model it gets: in builds that can use one.

use std::path::PathBuf;

use anyhow::{Result, anyhow, ensure};
use inferno_cpu::{Cpu, Isa};
use inferno_model::architecture::Architecture;
use inferno_model::batch::{Batch, PAGE_LEN, PageId, Want};
use inferno_model::error::{BackendError, LoadError, StepError};
use inferno_model::model::{KvRoom, Model};
use inferno_model::profile::Profile;
use inferno_model::revived::Revived;
use inferno_model::sample::SampleSpec;
use inferno_model::weights::Share;
pub(crate) use inferno_wgpu::StreamingRead as GpuRead;
use inferno_wgpu::{AdapterError, Choice, Found, Gpu, Wgpu, adapters};

use super::stages::Stages;
use super::{BackendChoice, Compute, GpuLayers, Opened};
use crate::commands::note;
use crate::kv_memory::{KvSpace, MostMemory};

/// A GPU that is open, and how it was chosen.
pub(crate) struct Opening {
    gpu: Gpu,
    name: String,
    compute: Compute,
}

impl Opening {
    fn new(gpu: Gpu, compute: &Compute) -> Opening {
        let name = gpu.name().to_owned();
        Opening { gpu, name, compute: compute.clone() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What the GPU's memory leaves for keys and values of a model whose tensors have so many bytes; `None` if the driver
    /// does not say.
    pub(crate) fn kv_space(&self, arch: &Architecture, tensor_bytes: u64) -> Option<KvSpace> {
        let all = arch.layers.len() as u64;
        let here = match self.compute.gpu_layers {
            GpuLayers::Auto => all,
            GpuLayers::Last(0) => return None,
            GpuLayers::Last(n) => all.min(n as u64),
        };
        let bytes = kv_bytes(self.gpu.free_bytes()?, tensor_bytes, (here, all));
        // A layer's are one buffer.
        let layer_bytes = self.gpu.binding_bytes() / 8 * 7;
        let bytes = bytes.min(layer_bytes.saturating_mul(all));
        let processor = KvSpace::of_processor(tensor_bytes);
        // With more for keys and values fewer layers are on the GPU.
        let most = processor.and_then(|processor| processor.most).map(|most| MostMemory {
            total: most.total.saturating_add(bytes),
            free: most.free.saturating_add(bytes),
        });
        let space = KvSpace { bytes, layer_bytes, why: "what the GPU's memory leaves", most };
        // Those of other layers take the processor's memory.
        let other = processor.filter(|_| here < all);
        Some(other.filter(|other| other.bytes < bytes).unwrap_or(space))
    }

    /// Of the processor: one drives the GPU.
    pub(crate) fn n_threads(&self) -> usize {
        if self.compute.gpu_layers == GpuLayers::Auto { 1 } else { self.compute.n_threads().get() }
    }
}

/// Bytes for keys and values of all layers, where `here` of `all` are on a GPU with so much memory.
fn kv_bytes(free: u64, tensor_bytes: u64, (here, all): (u64, u64)) -> u64 {
    // For activations, and what the driver needs.
    let spare = (free / 16).max(256 << 20);
    let tensors = tensor_bytes / all * here;
    let left = free.saturating_sub(tensors + tensors / 16 + spare);
    // Where the tensors do not fit, layers will go to the processor, and their keys and values with them.
    left.max(free / 4) / here * all
}

/// How a model is loaded to a GPU: again and again, if need be.
struct Placement {
    path: Option<PathBuf>,
    arch: Architecture,
    room: KvRoom,
    profile: Option<Profile>,
    compute: Compute,
}

impl Opened {
    /// Loads as many layers to the GPU as it is told to, or as there is memory for. If the device is lost later, it is opened
    /// and loaded anew.
    pub(crate) fn load_on_gpu(
        &self,
        arch: &Architecture,
        opening: Opening,
        room: &KvRoom,
        profile: Option<Profile>,
    ) -> Result<Box<dyn Model>, LoadError> {
        let Opening { gpu, compute, .. } = opening;
        let (path, arch, room) = (self.path.clone(), arch.clone(), room.clone());
        let placement = Placement { path, arch, room, profile, compute };
        let (model, n) = placement.load(self, gpu)?;
        let load = Box::new(move || {
            let opened = super::open(placement.path.as_deref()).map_err(|e| lost(&e))?;
            placement.load_some(&opened, placement.open_again()?, n)
        });
        Ok(Box::new(Revived::new(model, load)))
    }
}

impl Placement {
    /// The model, and how many layers of it are on the GPU.
    fn load(&self, opened: &Opened, gpu: Gpu) -> Result<(Box<dyn Model>, usize), LoadError> {
        let all = self.arch.layers.len();
        if let GpuLayers::Last(n) = self.compute.gpu_layers {
            let n = n.min(all);
            return Ok((self.load_some(opened, gpu, n)?, n));
        }
        let mut gpu = Some(gpu);
        for quarters in (1..=4).rev() {
            let n = (all * quarters).div_ceil(4);
            let gpu = gpu.take().map_or_else(|| self.open_again(), Ok)?;
            match self.load_some(opened, gpu, n) {
                Err(LoadError::Backend(e)) => {
                    note(&format!("warning: not with {n} of {all} layers on the GPU: {e}"));
                }
                other => return Ok((other?, n)),
            }
        }
        note("warning: the processor computes instead");
        Ok((self.load_some(opened, self.open_again()?, 0)?, 0))
    }

    /// The last `n` layers on the GPU, those before on the processor.
    fn load_some(&self, opened: &Opened, mut gpu: Gpu, n: usize) -> Result<Box<dyn Model>, LoadError> {
        let (arch, all) = (&self.arch, self.arch.layers.len());
        let (room, profile) = (&self.room, self.profile.clone());
        if let Some(folder) = cache_folder() {
            gpu.keep_pipelines(&folder);
        }
        let isa = self.compute.isa.unwrap_or_else(Isa::best);
        let cpu = || Cpu::new(isa, self.compute.n_threads());
        let mut model = match n {
            0 => return opened.load(arch, cpu()?, room, profile),
            n => {
                let mut stages = Stages::new(&opened.file, arch, room, profile);
                if n < all {
                    stages.push(Share::layers(0..all - n), cpu()?, None)?;
                }
                stages.push(Share::layers(all - n..all), Wgpu::new(gpu)?, None)?;
                stages.finish()?
            }
        };
        let n_pages = room.n_pages.iter().copied().min().unwrap_or(0);
        warm_up(&mut *model, n_pages).map_err(|e| BackendError { what: e.to_string() })?;
        Ok(model)
    }

    fn open_again(&self) -> Result<Gpu, LoadError> {
        let gpu = self.compute.gpu().map_err(|e| lost(&e))?;
        gpu.ok_or_else(|| lost(&anyhow!("there is none any more")))
    }
}

/// A step with one row, one with some and one with many: the driver compiles the kernels now and not when somebody waits, and
/// what does not work shows.
fn warm_up(model: &mut dyn Model, n_pages: usize) -> Result<(), StepError> {
    let n_groups = model.architecture().cache_groups.len();
    let most = model.architecture().context_len.min(PAGE_LEN * n_pages);
    let table = [PageId(0), PageId(1)];
    let spec = SampleSpec { temperature: 1.0, ..SampleSpec::GREEDY };
    for (n_rows, top_k) in [(1, 40), (PAGE_LEN, 0), (PAGE_LEN + 1, 0)] {
        let n_rows = n_rows.min(most);
        let mut batch = Batch::default();
        let tables = vec![&table[..n_rows.div_ceil(PAGE_LEN)]; n_groups];
        batch.push(&vec![0; n_rows], 0, &tables, Want::Sample(SampleSpec { top_k, ..spec }));
        model.step(&batch)?;
    }
    Ok(())
}

fn lost(e: &anyhow::Error) -> LoadError {
    LoadError::Backend(BackendError { what: format!("the GPU cannot be opened again: {e:#}") })
}

/// Where what can be made anew is kept from start to start.
fn cache_folder() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || folder("HOME").map(|home| home.join(".cache"));
    let cache = folder("XDG_CACHE_HOME").or_else(|| folder("LOCALAPPDATA")).or_else(home)?;
    Some(cache.join("inferno"))
}

/// `n_bytes` of the GPU's memory to measure how fast it reads them; `None` if the processor computes.
pub(crate) fn gpu_read(compute: &Compute, n_bytes: usize) -> Result<Option<GpuRead>> {
    let Some(gpu) = compute.gpu()? else { return Ok(None) };
    Ok(Some(GpuRead::new(gpu, n_bytes as u64)?))
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
        let has_wishes = self.device.is_some() || self.gpu_layers != GpuLayers::Auto;
        let is_asked = self.backend == BackendChoice::Wgpu || has_wishes;
        ensure!(
            self.backend != BackendChoice::Cpu || !has_wishes,
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
        "{index}  {} ({}, {}; {}{} MiB in a buffer{}{features})",
        found.name(),
        found.kind(),
        found.driver(),
        found
            .free_bytes()
            .map_or(String::new(), |free| format!("{:.1} GiB free, ", free as f64 / f64::from(1 << 30))),
        found.binding_bytes() >> 20,
        if features.is_empty() { "" } else { "; " },
    );
    if let Some(lack) = &found.lack {
        line += &format!(": cannot run models, {lack}");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_get_what_the_tensors_leave_and_a_quarter_at_least() {
        const GIB: u64 = 1 << 30;
        // 24 GiB less 8.5 of tensors and 1.5 to spare.
        assert_eq!(kv_bytes(24 * GIB, 8 * GIB, (32, 32)) / GIB, 14);
        // Half of the layers: 24 less 4.25 and 1.5, for half of the keys and values.
        assert_eq!(kv_bytes(24 * GIB, 8 * GIB, (16, 32)) / GIB, 36);
        // More than there is room for.
        assert_eq!(kv_bytes(24 * GIB, 60 * GIB, (32, 32)) / GIB, 6);
    }
}
