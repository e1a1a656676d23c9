//! Adapters, and one of them opened.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use crate::kernels::MATRIX_THREADS;
use crate::memory::free_bytes;
use crate::pipelines::Compiled;
use crate::recorder::MOST_BUFFERS;
use crate::tuning::file::{TuningFile, fnv};
use inferno_model::error::BackendError;
use wgpu::{AdapterInfo, Backends, CooperativeScalarType, DeviceType, DownlevelFlags, Features, Limits};

/// Of the memory that a driver says may be used.
const BUDGET_PERCENT: u8 = 97;
/// Bytes of parameters that a kernel may have: all Vulkan devices have as many.
pub(crate) const IMMEDIATE_BYTES: u32 = 128;
/// Threads of the largest workgroup, and the bytes they share.
const GROUP_THREADS: u32 = 256;
pub(crate) const GROUP_BYTES: u32 = 24 << 10;
/// Features and bytes of a workgroup that kernels with cooperative matrices take: `matmul_many_matrices.wgsl`, `attend_matrices.wgsl`.
const MATRIX_FEATURES: Features =
    Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(Features::SHADER_F16).union(Features::SUBGROUP);
pub(crate) const MATRIX_BYTES: u32 = 32 << 10;

/// A GPU, or what acts as one, that this machine has.
#[derive(Debug)]
pub struct Found {
    adapter: wgpu::Adapter,
    info: AdapterInfo,
    /// What it lacks; `None` if models run on it.
    pub lack: Option<String>,
}

/// Which of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Choice {
    /// The fastest kind: discrete, then integrated, then others.
    #[default]
    Best,
    /// The one with that number in the list.
    Index(usize),
    /// The first whose name contains this, in any case.
    Name(String),
}

/// Why there is no device.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    /// The machine has none, or no driver for it.
    #[error("this machine has no GPU that can be used through Vulkan, Metal or DX12, or no driver for it")]
    None,
    /// None is called that, or has that number.
    #[error("there is no device `{asked}`, expected a number or a part of a name of: {known}")]
    Unknown {
        /// What was asked for.
        asked: String,
        /// The devices.
        known: String,
    },
    /// It is there and cannot run models.
    #[error("`{name}` cannot run models: {lack}")]
    Unfit {
        /// The device.
        name: String,
        /// What it lacks.
        lack: String,
    },
    /// The driver refused.
    #[error("`{name}` cannot be opened: {why}")]
    Refused {
        /// The device.
        name: String,
        /// The driver's words.
        why: String,
    },
}

impl FromStr for Choice {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Choice, Self::Err> {
        Ok(match text.parse() {
            Ok(index) => Choice::Index(index),
            Err(_) if text.eq_ignore_ascii_case("auto") => Choice::Best,
            Err(_) => Choice::Name(text.into()),
        })
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::Best => f.write_str("auto"),
            Choice::Index(index) => index.fmt(f),
            Choice::Name(name) => name.fmt(f),
        }
    }
}

/// All there are, the fastest kinds first. Drivers that fail are none.
pub fn adapters() -> Vec<Found> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = Backends::VULKAN | Backends::METAL | Backends::DX12;
    descriptor.flags = wgpu::InstanceFlags::empty();
    // Where a driver tells its budget, what would exceed it is refused, and not swapped out or fatal later.
    descriptor.memory_budget_thresholds.for_resource_creation = Some(BUDGET_PERCENT);
    let instance = wgpu::Instance::new(descriptor);
    let adapters = pollster::block_on(instance.enumerate_adapters(Backends::all()));
    let mut found: Vec<Found> = adapters.into_iter().map(Found::new).collect();
    found.sort_by_key(|f| match f.info.device_type {
        DeviceType::DiscreteGpu => 0,
        DeviceType::IntegratedGpu => 1,
        DeviceType::VirtualGpu => 2,
        DeviceType::Other => 3,
        DeviceType::Cpu => 4,
    });
    found
}

impl Found {
    fn new(adapter: wgpu::Adapter) -> Found {
        let info = adapter.get_info();
        let mut found = Found { adapter, info, lack: None };
        found.lack = found.lack();
        found
    }

    fn lack(&self) -> Option<String> {
        let limits = self.adapter.limits();
        if !self.adapter.features().contains(Features::IMMEDIATES)
            || limits.max_immediate_size < IMMEDIATE_BYTES
        {
            return Some("it takes no parameters with a dispatch (push constants)".into());
        }
        let least = [
            ("threads in a workgroup", limits.max_compute_invocations_per_workgroup, GROUP_THREADS),
            ("bytes in a workgroup", limits.max_compute_workgroup_storage_size, GROUP_BYTES),
            ("buffers in a kernel", limits.max_storage_buffers_per_shader_stage, MOST_BUFFERS as u32),
        ];
        least
            .into_iter()
            .find(|(_, has, needs)| has < needs)
            .map(|(what, has, needs)| format!("it has {has} {what}, {needs} are needed"))
    }

    /// As its driver calls it.
    pub fn name(&self) -> &str {
        &self.info.name
    }

    /// `discrete GPU`, `CPU` and the like.
    pub fn kind(&self) -> &'static str {
        match self.info.device_type {
            DeviceType::DiscreteGpu => "discrete GPU",
            DeviceType::IntegratedGpu => "integrated GPU",
            DeviceType::VirtualGpu => "virtual GPU",
            DeviceType::Other => "other",
            DeviceType::Cpu => "CPU",
        }
    }

    /// Is there hardware behind it that is faster than the CPU?
    pub fn is_gpu(&self) -> bool {
        matches!(
            self.info.device_type,
            DeviceType::DiscreteGpu | DeviceType::IntegratedGpu | DeviceType::VirtualGpu
        )
    }

    /// `Vulkan`, `Metal` or `DX12`, and the driver.
    pub fn driver(&self) -> String {
        driver(&self.info)
    }

    /// The largest buffer that a kernel sees at once, in bytes.
    pub fn binding_bytes(&self) -> u64 {
        binding_bytes(&self.adapter.limits())
    }

    /// Bytes of its memory that can be had now; `None` if the driver does not say.
    pub fn free_bytes(&self) -> Option<u64> {
        free_bytes(&self.adapter)
    }

    /// What the kernels make use of where it is there.
    pub fn features(&self) -> Vec<&'static str> {
        let mut features = Vec::new();
        match self.matrices() {
            Some(8) => features.push("cooperative matrices of 8 x 8"),
            Some(_) => features.push("cooperative matrices of 16 x 16"),
            None => {}
        }
        if self.adapter.features().contains(Features::TIMESTAMP_QUERY) {
            features.push("timestamps");
        }
        features
    }

    /// Rows and columns of the largest matrices that its subgroups multiply in half precision with sums in f32.
    fn matrices(&self) -> Option<u32> {
        let limits = self.adapter.limits();
        if !self.adapter.features().contains(MATRIX_FEATURES)
            || limits.max_compute_workgroup_storage_size < MATRIX_BYTES
            // A workgroup has more than one of them.
            || self.info.subgroup_max_size >= MATRIX_THREADS
        {
            return None;
        }
        let all = self.adapter.cooperative_matrix_properties();
        let has = |size| {
            all.iter().any(|m| {
                [m.m_size, m.n_size, m.k_size] == [size; 3]
                    && m.ab_type == CooperativeScalarType::F16
                    && m.cr_type == CooperativeScalarType::F32
            })
        };
        [16, 8].into_iter().find(|&size| has(size))
    }
}

fn driver(info: &AdapterInfo) -> String {
    let api = match info.backend {
        wgpu::Backend::Vulkan => "Vulkan",
        wgpu::Backend::Metal => "Metal",
        wgpu::Backend::Dx12 => "DX12",
        _ => "other",
    };
    format!("{api} {} {}", info.driver, info.driver_info).trim_end().to_owned()
}

fn binding_bytes(limits: &Limits) -> u64 {
    limits.max_storage_buffer_binding_size.min(limits.max_buffer_size)
}

/// What a device has said went wrong: the first of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Failure(Arc<Mutex<Option<String>>>);

impl Failure {
    pub(crate) fn note(&self, what: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(what);
    }

    pub(crate) fn is_noted(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    pub(crate) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A device that is open.
#[derive(Debug)]
pub struct Gpu {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) failure: Failure,
    /// Of a binding, at most.
    pub(crate) binding_bytes: u64,
    /// Of a part of a tensor, at most.
    pub(crate) part_bytes: u64,
    free_bytes: Option<u64>,
    info: AdapterInfo,
    /// Rows and columns of its cooperative matrices, if it has some.
    pub(crate) matrices: Option<u32>,
    /// Has it an instruction that widens half precision?
    pub(crate) widens_halves: bool,
    n_buffers: u32,
    /// Of all buffers.
    n_bytes: u64,
    pub(crate) compiled: Arc<Compiled>,
    /// Where drivers keep what they made of kernels, if they take it from us.
    pub(crate) pipelines: Option<PipelineFile>,
    /// Dispatches of kernels so far.
    pub(crate) n_dispatches: Arc<AtomicU64>,
    /// Variants of kernels that were the fastest at an earlier start.
    pub(crate) tuned: Option<TuningFile>,
}

/// What a driver made of kernels, kept on disk for the next start.
#[derive(Debug)]
pub(crate) struct PipelineFile {
    pub(crate) cache: wgpu::PipelineCache,
    path: PathBuf,
}

impl PipelineFile {
    /// Writes it, all or nothing. A disk that takes nothing is no harm but to the next start.
    pub(crate) fn save(&self) {
        if let Some(data) = self.cache.get_data() {
            replace(&self.path, &data);
        }
    }
}

/// Replaces a file of a cache, all or nothing.
pub(crate) fn replace(path: &Path, data: &[u8]) {
    let partial = path.with_extension(std::process::id().to_string());
    let written = std::fs::write(&partial, data).and_then(|()| std::fs::rename(&partial, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
}

/// A buffer on the device, or another hold on it.
#[derive(Debug, Clone)]
pub(crate) struct Storage {
    pub(crate) buffer: wgpu::Buffer,
    /// No other one has it.
    pub(crate) id: u32,
    pub(crate) n_bytes: u64,
}

impl Gpu {
    /// Opens the device of that choice.
    pub fn open(choice: &Choice) -> Result<Gpu, AdapterError> {
        let mut all = adapters();
        if all.is_empty() {
            return Err(AdapterError::None);
        }
        let found = match choice {
            Choice::Best => all.iter().position(|f| f.lack.is_none()).or(Some(0)),
            Choice::Index(index) => (*index < all.len()).then_some(*index),
            Choice::Name(name) => {
                let name = name.to_lowercase();
                all.iter().position(|f| f.name().to_lowercase().contains(&name))
            }
        };
        let Some(found) = found else {
            let known: Vec<String> =
                all.iter().enumerate().map(|(i, f)| format!("{i} {}", f.name())).collect();
            return Err(AdapterError::Unknown { asked: choice.to_string(), known: known.join(", ") });
        };
        Gpu::of(all.swap_remove(found))
    }

    /// Opens that one.
    pub fn of(found: Found) -> Result<Gpu, AdapterError> {
        let name = found.info.name.clone();
        if let Some(lack) = found.lack {
            return Err(AdapterError::Unfit { name, lack });
        }
        let limits = found.adapter.limits();
        let wanted =
            Features::TIMESTAMP_QUERY | Features::TIMESTAMP_QUERY_INSIDE_PASSES | Features::PIPELINE_CACHE;
        let plain = wgpu::DeviceDescriptor {
            label: Some("inferno"),
            required_features: Features::IMMEDIATES | found.adapter.features() & wanted,
            required_limits: limits.clone(),
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        };
        let request = |descriptor: &_| pollster::block_on(found.adapter.request_device(descriptor));
        let mut matrices = found.matrices();
        let with_matrices = matrices.and_then(|_| {
            let mut descriptor = plain.clone();
            descriptor.required_features |= MATRIX_FEATURES;
            // SAFETY: an experimental feature may have bugs. Two kernels make use of this one, which keep to what is known
            // to work, and are tried and compared with others before they are used.
            descriptor.experimental_features = unsafe { wgpu::ExperimentalFeatures::enabled() };
            request(&descriptor).ok()
        });
        let opened = match with_matrices {
            Some(opened) => Ok(opened),
            None => {
                matrices = None;
                request(&plain)
            }
        };
        let (device, queue) = opened.map_err(|e| AdapterError::Refused { name, why: e.to_string() })?;
        let failure = Failure::default();
        let (noted, lost) = (failure.clone(), failure.clone());
        device.on_uncaptured_error(Arc::new(move |e: wgpu::Error| noted.note(e.to_string())));
        device.set_device_lost_callback(move |reason, message| {
            lost.note(format!("the device is lost ({reason:?}): {message}"));
        });
        Ok(Gpu {
            device,
            queue,
            failure,
            binding_bytes: binding_bytes(&limits),
            part_bytes: binding_bytes(&limits),
            free_bytes: free_bytes(&found.adapter),
            info: found.info,
            matrices,
            widens_halves: found
                .adapter
                .get_downlevel_capabilities()
                .flags
                .contains(DownlevelFlags::SHADER_F16_IN_F32),
            n_buffers: 0,
            n_bytes: 0,
            compiled: Arc::default(),
            pipelines: None,
            n_dispatches: Arc::default(),
            tuned: None,
        })
    }

    /// Another hold on the device, for another backend on it. Kernels are compiled once for both.
    pub fn share(&self) -> Gpu {
        Gpu {
            device: self.device.clone(),
            queue: self.queue.clone(),
            failure: self.failure.clone(),
            info: self.info.clone(),
            compiled: self.compiled.clone(),
            pipelines: None,
            n_dispatches: Arc::default(),
            tuned: None,
            n_buffers: 0,
            n_bytes: 0,
            ..*self
        }
    }

    /// Keeps what the driver makes of kernels in a file of `folder`, and takes what is there from earlier starts.
    pub fn keep_pipelines(&mut self, folder: &Path) {
        let key = wgpu::util::pipeline_cache_key(&self.info);
        let Some(key) = key.filter(|_| self.device.features().contains(Features::PIPELINE_CACHE)) else {
            return;
        };
        if std::fs::create_dir_all(folder).is_err() {
            return;
        }
        let path = folder.join(key);
        let data = std::fs::read(&path).ok();
        let descriptor = wgpu::PipelineCacheDescriptor { label: None, data: data.as_deref(), fallback: true };
        // SAFETY: the file's name is the device's, its data is what this program got from `PipelineCache::get_data`, and
        // drivers check the header they wrote; whoever can write to the user's cache can run programs as that user.
        let cache = unsafe { self.device.create_pipeline_cache(&descriptor) };
        self.pipelines = Some(PipelineFile { cache, path });
    }

    /// Keeps which variants of kernels are the fastest in a file of `folder`, and takes what is there from earlier starts with the
    /// same device, driver and kernels. Gives the reason why a file that is there is not used.
    pub fn keep_tuning(&mut self, folder: &Path) -> Option<String> {
        if let Err(e) = std::fs::create_dir_all(folder) {
            return Some(format!("`{}` cannot be made: {e}", folder.display()));
        }
        let AdapterInfo { name, vendor, device, .. } = &self.info;
        let key = fnv(&format!("{name} {vendor:x} {device:x} {}", self.driver()));
        let (file, ignored) = TuningFile::open(folder.join(format!("tuning-{key:016x}")));
        self.tuned = Some(file);
        ignored
    }

    /// Ends the device as if it was lost: for tests of what comes then.
    pub fn lose(&self) -> impl Fn() + Send + use<> {
        let device = self.device.clone();
        move || device.destroy()
    }

    /// As its driver calls it.
    pub fn name(&self) -> &str {
        &self.info.name
    }

    /// `Vulkan`, `Metal` or `DX12`, and the driver.
    pub fn driver(&self) -> String {
        driver(&self.info)
    }

    /// Numerics of the device, on which bits depend beside its name: its driver, and the size of its cooperative matrices, whether
    /// or not they passed the check of attention.
    pub fn numerics(&self) -> String {
        let matrices = self.matrices.map_or_else(String::new, |size| format!(" matrices of {size}"));
        self.driver() + &matrices
    }

    /// A counter of the dispatches of kernels on it.
    pub fn dispatches(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.n_dispatches)
    }

    /// The fewest threads that it runs in step.
    pub(crate) fn subgroup_size(&self) -> u32 {
        self.info.subgroup_min_size
    }

    /// Is it the processor, in disguise?
    pub(crate) fn is_processor(&self) -> bool {
        self.info.device_type == DeviceType::Cpu
    }

    /// Bytes of its memory that could be had when it was opened; `None` if the driver does not say.
    pub fn free_bytes(&self) -> Option<u64> {
        self.free_bytes
    }

    /// The largest buffer that a kernel sees at once, in bytes.
    pub fn binding_bytes(&self) -> u64 {
        self.binding_bytes
    }

    /// Cuts tensors into parts of at most so many bytes, as if no binding might be larger: for tests of what comes then.
    pub fn cut_tensors_at(&mut self, n_bytes: u64) {
        self.part_bytes = n_bytes;
    }

    /// A buffer of zeros; `what` is what it is for.
    pub(crate) fn storage(
        &mut self,
        n_bytes: u64,
        what: &dyn Fn() -> String,
    ) -> Result<Storage, BackendError> {
        let refused = |why: &str| BackendError {
            what: format!("{} takes {n_bytes} bytes on `{}`: {why}", what(), self.info.name),
        };
        // Nothing binds an empty buffer.
        let size = n_bytes.next_multiple_of(16).max(16);
        if size > self.binding_bytes {
            return Err(refused(&format!("a buffer has {} at most", self.binding_bytes)));
        }
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
        let buffer = self.device.create_buffer(&descriptor);
        if let Some(e) = pollster::block_on(memory.pop()) {
            return Err(refused(&format!("its memory is full ({} are in use; {e})", self.n_bytes)));
        }
        self.n_buffers += 1;
        self.n_bytes += size;
        Ok(Storage { buffer, id: self.n_buffers, n_bytes: size })
    }

    /// Forgets a buffer that is not used any more.
    pub(crate) fn release(&mut self, storage: Storage) {
        self.n_bytes -= storage.n_bytes;
    }

    /// Waits until all that was submitted is done.
    pub(crate) fn wait(&self) {
        if let Err(e) = self.device.poll(wgpu::PollType::wait_indefinitely()) {
            self.failure.note(e.to_string());
        }
    }
}
