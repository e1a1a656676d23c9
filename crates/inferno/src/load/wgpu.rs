//! GPUs that compute by way of wgpu, and how many layers of a model each gets.

mod cuts;
mod select;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::anyhow;
use inferno_cpu::{Cpu, Isa};
use inferno_engine::longest_sequence;
use inferno_format::Gguf;
use inferno_model::architecture::Architecture;
use inferno_model::backend::KvType;
use inferno_model::batch::{Batch, PAGE_LEN, PageId, Want};
use inferno_model::conformance::Group;
use inferno_model::error::{BackendError, LoadError, StepError};
use inferno_model::ffn::FfnsElsewhere;
use inferno_model::model::{KvRoom, Model};
use inferno_model::profile::{Profile, Profiled};
use inferno_model::revived::Revived;
use inferno_model::sample::SampleSpec;
use inferno_model::stage::FfnStage;
use inferno_model::weights::{Share, WeightBytes};
use inferno_wgpu::{Gpu, Limits, StreamingRead, Wgpu};

use super::backends::{Checked, Compiled, DeviceLimits, DeviceRead, Opening, Selected};
use super::stages::Stages;
use super::{Compute, GpuLayers, Opened, cpu};
use crate::commands::note;
use crate::kv_memory::{KvSpace, MostMemory};
use cuts::{cut_layers, kv_bytes, on_processor};
use select::{all_gpus, devices, gpus};

pub(super) const BACKEND: Compiled = Compiled { devices, open, streaming_read, limits, checked };

/// GPUs that are open, and the flags that chose them.
struct Gpus {
    gpus: Vec<Gpu>,
    /// The share of the layers that each gets.
    shares: Vec<f64>,
    compute: Compute,
}

fn open(compute: &Compute) -> Selected<dyn Opening> {
    let gpus = gpus(compute)?;
    if gpus.is_empty() {
        return Ok(None);
    }
    let shares = match &compute.tensor_split[..] {
        [] => {
            let free: Option<Vec<f64>> = gpus.iter().map(|gpu| gpu.free_bytes().map(|n| n as f64)).collect();
            free.filter(|free| free.iter().sum::<f64>() > 0.0).unwrap_or_else(|| vec![1.0; gpus.len()])
        }
        split => split.iter().map(|&share| f64::from(share)).collect(),
    };
    Ok(Some(Box::new(Gpus { gpus, shares, compute: compute.clone() })))
}

impl Opening for Gpus {
    fn name(&self) -> String {
        let names: Vec<&str> = self.gpus.iter().map(Gpu::name).collect();
        format!("wgpu on {}", names.join(" and "))
    }

    fn numerics(&self) -> String {
        self.gpus.iter().map(Gpu::numerics).collect::<Vec<_>>().join(", ")
    }

    /// One thread drives the GPUs, if they have everything.
    fn n_threads(&self) -> usize {
        let all = self.compute.gpu_layers == GpuLayers::Auto && n_cpu_moe(&self.compute) == 0;
        if all { 1 } else { self.compute.n_threads().get() }
    }

    fn half_kv(&self) -> KvType {
        KvType::F16
    }

    fn takes_kv_in_advance(&self) -> bool {
        true
    }

    fn dispatches(&self) -> Vec<Arc<AtomicU64>> {
        self.gpus.iter().map(Gpu::dispatches).collect()
    }

    fn device_bytes(&self) -> Option<u64> {
        self.gpus.iter().map(Gpu::free_bytes).sum()
    }

    fn kv_space(&self, arch: &Architecture, file: &Gguf) -> Option<KvSpace> {
        let weight_bytes = WeightBytes::of(arch, file).all;
        let processor = KvSpace::of_processor(weight_bytes);
        let all = arch.layers.len();
        let n = match self.compute.gpu_layers {
            GpuLayers::Auto => all,
            GpuLayers::Last(0) => return processor,
            GpuLayers::Last(n) => all.min(n),
        };
        let tensor_bytes = weight_bytes - on_processor(file, n_cpu_moe(&self.compute).min(all));
        let n_storing = |layers: Range<usize>| {
            let stored = arch.cache_groups.iter().flat_map(|group| &group.layers);
            stored.filter(|&layer| layers.contains(layer)).count() as u64
        };
        let storing = n_storing(0..all);
        // A page is on every GPU, with the layers that are there.
        let mut start = all - n;
        let here = cut_layers(arch, n, &self.shares).into_iter().map(|n_here| {
            let layers = start..start + n_here;
            start = layers.end;
            layers
        });
        let here: Vec<Range<usize>> = here.collect();
        let here = || self.gpus.iter().zip(here.iter().cloned()).filter(|(_, here)| !here.is_empty());
        let all = all as u64;
        let of_gpu = |(gpu, here): (&Gpu, Range<usize>)| {
            let layers = (here.len() as u64, all);
            Some(kv_bytes(gpu.free_bytes()?, tensor_bytes, layers, (n_storing(here), storing)))
        };
        let bytes: Option<Vec<u64>> = here().map(of_gpu).collect();
        let Some(bytes) = bytes.and_then(|bytes| bytes.into_iter().min()) else { return processor };
        // The keys and values of a layer are one buffer.
        let layer_bytes = here().map(|(gpu, _)| gpu.binding_bytes() / 8 * 7).min()?;
        let bytes = bytes.min(layer_bytes.saturating_mul(storing));
        // With more for keys and values fewer layers are on the GPU.
        let most = processor.and_then(|processor| processor.most).map(|most| MostMemory {
            total: most.total.saturating_add(bytes),
            free: most.free.saturating_add(bytes),
        });
        let space = KvSpace { bytes, layer_bytes, why: "what the GPU's memory leaves", most };
        // Those of other layers take the processor's memory.
        let other = processor.filter(|_| (n as u64) < all);
        Some(other.filter(|other| other.bytes < bytes).unwrap_or(space))
    }

    /// Loads as many layers to the GPUs as they are told to take, or as there is memory for. If a device is lost later, all are
    /// opened and the model is loaded again.
    fn load(
        self: Box<Self>,
        opened: &Opened,
        arch: &Architecture,
        room: &KvRoom,
        profile: Option<Profile>,
    ) -> Result<Box<dyn Model>, LoadError> {
        let Gpus { gpus, shares, compute } = *self;
        let has_experts =
            arch.layers.iter().any(|layer| layer.ffn.is_some_and(|ffn| ffn.experts().is_some()));
        if n_cpu_moe(&compute) > 0 && !has_experts {
            note("warning: the model has no experts: `--cpu-moe` and `--n-cpu-moe` change nothing");
        }
        let n_moe = if has_experts { n_cpu_moe(&compute) } else { 0 };
        let (path, arch, room) = (opened.path.clone(), arch.clone(), room.clone());
        let placement = Placement { path, arch, room, profile, compute, shares, n_moe };
        let (model, n) = placement.load(opened, gpus)?;
        let load = Box::new(move || {
            let opened = super::open_again(placement.path.as_deref()).map_err(|e| lost(&e))?;
            placement.load_some(&opened, placement.open_again()?, n)
        });
        Ok(Box::new(Revived::new(model, load)))
    }
}

/// Layers whose experts the processor computes, counted from the first one.
fn n_cpu_moe(compute: &Compute) -> usize {
    if compute.cpu_moe { usize::MAX } else { compute.n_cpu_moe.unwrap_or(0) }
}

/// Everything that loads a model to GPUs, once or again.
struct Placement {
    path: Option<PathBuf>,
    arch: Architecture,
    room: KvRoom,
    profile: Option<Profile>,
    compute: Compute,
    shares: Vec<f64>,
    n_moe: usize,
}

impl Placement {
    /// The model, and how many layers of it are on GPUs.
    fn load(&self, opened: &Opened, gpus: Vec<Gpu>) -> Result<(Box<dyn Model>, usize), LoadError> {
        let all = self.arch.layers.len();
        if let GpuLayers::Last(n) = self.compute.gpu_layers {
            let n = n.min(all);
            return Ok((self.load_some(opened, gpus, n)?, n));
        }
        let mut gpus = Some(gpus);
        // Layers that share keys and values stay together.
        let numbers = (1..=4).rev().map(|quarters| (all * quarters).div_ceil(4));
        for n in numbers.filter(|n| self.arch.can_cut(all - n)) {
            let gpus = gpus.take().map_or_else(|| self.open_again(), Ok)?;
            match self.load_some(opened, gpus, n) {
                Err(LoadError::Backend(e)) => {
                    note(&format!("warning: not with {n} of {all} layers on the GPU: {e}"));
                }
                other => return Ok((other?, n)),
            }
        }
        note("warning: the processor computes instead");
        Ok((self.load_some(opened, self.open_again()?, 0)?, 0))
    }

    /// The last `n` layers on GPUs, those before on the processor.
    fn load_some(&self, opened: &Opened, gpus: Vec<Gpu>, n: usize) -> Result<Box<dyn Model>, LoadError> {
        let all = self.arch.layers.len();
        let (isa, n_threads) = (self.compute.isa.unwrap_or_else(Isa::best), self.compute.n_threads());
        if n == 0 {
            let processor = Box::new(cpu::Processor { isa, n_threads });
            return processor.load(opened, &self.arch, &self.room, self.profile.clone());
        }
        let cpu = || Cpu::new(isa, n_threads);
        let mut stages = Stages::new(&opened.file, &self.arch, &self.room, self.profile.clone());
        if n < all {
            stages.push(Share::layers(0..all - n), cpu()?, None)?;
        }
        let mut start = all - n;
        for (mut gpu, n_here) in
            gpus.into_iter().zip(cut_layers(&self.arch, n, &self.shares)).filter(|(_, n)| *n > 0)
        {
            if let Some(folder) = cache_folder() {
                gpu.keep_pipelines(&folder);
                if let Some(why) = gpu.keep_tuning(&folder) {
                    tracing::debug!("variants of kernels are measured again: {why}");
                }
            }
            let layers = start..start + n_here;
            let without_ffn = start..layers.end.min(self.n_moe).max(start);
            let ffns = match without_ffn.is_empty() {
                true => None,
                false => Some(stages.ffns(without_ffn.clone(), cpu()?)?),
            };
            start = layers.end;
            stages.push(Share { layers, without_ffn }, Wgpu::new(gpu)?, ffns)?;
        }
        let mut model = stages.finish()?;
        let most = longest_sequence(&model.architecture().cache_groups, &self.room.n_pages);
        warm_up(&mut *model, most).map_err(|e| BackendError { what: e.to_string() })?;
        Ok(model)
    }

    fn open_again(&self) -> Result<Vec<Gpu>, LoadError> {
        let gpus = gpus(&self.compute).map_err(|e| lost(&e))?;
        if gpus.is_empty() { Err(lost(&anyhow!("there is none any more"))) } else { Ok(gpus) }
    }
}

impl Stages<'_> {
    /// Loads the feed-forward networks of `layers` onto the processor, for the stage that has the mixers of these layers.
    fn ffns(&mut self, layers: Range<usize>, backend: Cpu) -> Result<Box<dyn FfnStage>, LoadError> {
        Ok(match &self.profile {
            None => Box::new(FfnsElsewhere::load(&mut self.tensors, layers, backend)?),
            Some(profile) => {
                let backend = Profiled::new(backend, profile.clone());
                Box::new(FfnsElsewhere::load(&mut self.tensors, layers, backend)?)
            }
        })
    }
}

/// A step with one row, one with some and one with many: the driver compiles the kernels now and not when somebody waits, and
/// what does not work shows.
fn warm_up(model: &mut dyn Model, most: usize) -> Result<(), StepError> {
    let most = model.architecture().context_len.min(most);
    let spec = SampleSpec { temperature: 1.0, ..SampleSpec::GREEDY };
    for (n_rows, top_k) in [(1, 40), (PAGE_LEN, 0), (PAGE_LEN + 1, 0)] {
        let n_rows = n_rows.min(most);
        let mut batch = Batch::default();
        let groups = &model.architecture().cache_groups;
        let tables: Vec<Vec<PageId>> = groups.iter().map(|group| group.table_for(0, n_rows)).collect();
        let tables: Vec<&[PageId]> = tables.iter().map(Vec::as_slice).collect();
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

fn streaming_read(compute: &Compute, n_bytes: Option<usize>) -> Selected<dyn DeviceRead> {
    // Of several GPUs it is the first.
    let Some(gpu) = gpus(compute)?.into_iter().next() else { return Ok(None) };
    Ok(Some(Box::new(StreamingRead::new(gpu, n_bytes.map(|n| n as u64))?)))
}

fn limits(compute: &Compute) -> anyhow::Result<Vec<DeviceLimits>> {
    let measure = |mut gpu: Gpu| {
        let (name, driver) = (gpu.name().to_owned(), gpu.driver());
        let Limits { dispatch, matrices } = Limits::measure(&mut gpu)?;
        let read = StreamingRead::new(gpu, None)?.measure();
        Ok(DeviceLimits {
            name,
            driver,
            dispatch_by_host: dispatch.by_host,
            dispatch_by_device: dispatch.by_device,
            dispatch: dispatch.seconds(),
            read,
            flop: matrices.flop_per_s,
            matrices: match matrices.size {
                Some(size) => format!("half-precision matrices of {size} x {size}"),
                None => "f32".into(),
            },
        })
    };
    gpus(compute)?.into_iter().map(measure).collect()
}

/// The GPUs that the flags select, or all; none if only the processor is asked for.
fn checked(compute: &Compute) -> anyhow::Result<Vec<Box<dyn Checked>>> {
    Ok(all_gpus(compute)?.into_iter().map(|gpu| Box::new(CheckedGpu(gpu)) as Box<dyn Checked>).collect())
}

/// A GPU to check.
struct CheckedGpu(Gpu);

impl Checked for CheckedGpu {
    fn name(&self) -> String {
        format!("{} ({})", self.0.name(), self.0.driver())
    }

    fn check(&self, group: Group) -> Result<(), String> {
        let new = || Wgpu::new(self.0.share()).unwrap_or_else(|e| panic!("a backend on this GPU: {e}"));
        group.check(new, inferno_wgpu::PROMISE)
    }
}

impl DeviceRead for StreamingRead {
    fn n_bytes(&self) -> usize {
        StreamingRead::n_bytes(self) as usize
    }

    fn measure(&mut self) -> f64 {
        StreamingRead::measure(self)
    }
}
