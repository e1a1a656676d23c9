//! From a path to a model on a device. The one place that chooses a backend, and the one that knows of features.

mod advice;
mod backends;
mod cpu;
mod flags;
mod stages;
#[cfg(any(feature = "wgpu", target_os = "macos"))]
mod wgpu;

pub(crate) use backends::{Checked, DeviceLimits, DeviceRead, devices};
pub(crate) use flags::{BackendChoice, Compute, GpuLayers, KvChoice, Units};

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::{Context, Result, bail, ensure};
use inferno_cpu::{Isa, StreamingRead};
use inferno_format::{DType, Gguf};
use inferno_model::architecture::Architecture;
use inferno_model::backend::KvType;
use inferno_model::model::{KvRoom, Model};
use inferno_model::profile::Profile;
use inferno_text::Tokenizer;

use crate::cli::ModelFile;
use crate::hub::{self, CtrlC, Found};
use crate::kv_memory::{KvSpace, context_that_fits};
use backends::Opening;

/// The backends of this build, in order of preference.
const BACKENDS: &[backends::Compiled] = &[
    #[cfg(any(feature = "wgpu", target_os = "macos"))]
    wgpu::BACKEND,
    cpu::BACKEND,
];
const HAS_GPUS: bool = cfg!(any(feature = "wgpu", target_os = "macos"));

/// A file with what messages call it.
pub(crate) struct Opened {
    pub(crate) name: String,
    pub(crate) file: Gguf,
    /// Names for clients: as it was asked for, then others. None for a file that was given by its path.
    pub(crate) names: Vec<String>,
    /// `None` for the model inside the program.
    path: Option<PathBuf>,
    /// The model drafts for another one and does nothing else.
    pub(crate) only_drafts: bool,
}

/// Opens a model: a file, one that is known by a name and downloaded if it is not in the cache, or the one inside the program.
pub(crate) fn open(model: &ModelFile) -> Result<Opened> {
    open_with(model, CtrlC::Stops)
}

/// [`open`], where Ctrl-C during a download does what `ctrl_c` says.
pub(crate) fn open_with(model: &ModelFile, ctrl_c: CtrlC) -> Result<Opened> {
    let Some(wanted) = &model.model else { return built_in() };
    match hub::find(wanted, model.offline, ctrl_c)? {
        Found::BuiltIn => built_in(),
        Found::File(path) => open_file(&path),
        Found::Cached { path, names } => Ok(Opened { name: names[0].clone(), names, ..open_file(&path)? }),
    }
}

/// Opens the file at `path`.
pub(crate) fn open_file(path: &Path) -> Result<Opened> {
    // The errors of a file name it themselves.
    Ok(Opened {
        name: path.display().to_string(),
        file: Gguf::open(path).map_err(|e| advice::with_advice(path, e))?,
        names: Vec::new(),
        path: Some(path.to_owned()),
        only_drafts: false,
    })
}

/// Opens a model that was open before: the file at `path`, or the model inside the program.
#[cfg(any(feature = "wgpu", target_os = "macos"))]
fn open_again(path: Option<&Path>) -> Result<Opened> {
    path.map_or_else(built_in, open_file)
}

#[cfg(feature = "ember")]
fn built_in() -> Result<Opened> {
    let name = crate::ember::NAME.into();
    Ok(Opened {
        name,
        file: crate::ember::open()?,
        names: vec!["ember".into()],
        path: None,
        only_drafts: false,
    })
}

#[cfg(not(feature = "ember"))]
fn built_in() -> Result<Opened> {
    bail!("this build has no model inside, name one (`-m qwen3:0.6b` or `-m FILE`)")
}

impl Opened {
    /// A model that only this process has: if its device is lost, it cannot be loaded again.
    pub(crate) fn without_path(name: String, file: Gguf) -> Opened {
        let path = Some(PathBuf::from("a model made for a measurement"));
        Opened { name, file, names: Vec::new(), path, only_drafts: false }
    }

    /// Whether it is the model inside the program.
    pub(crate) fn is_built_in(&self) -> bool {
        self.path.is_none()
    }

    /// Bytes of the tensors that loading reads: those of draft layers that do not draft are left out.
    pub(crate) fn tensor_bytes(&self, arch: &Architecture) -> u64 {
        let is_read = |name: &str| {
            let layer =
                name.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
            layer.is_none_or(|layer| arch.loaded_layer(layer).is_some())
        };
        self.file.tensors().iter().filter(|t| is_read(&t.name)).map(|t| t.n_bytes).sum()
    }

    /// Where the file is; `None` for the model inside the program.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Number of parameters, and the type that most of them have.
    pub(crate) fn size(&self) -> (u64, &'static str) {
        let mut by_type: BTreeMap<&'static str, u64> = BTreeMap::new();
        for tensor in self.file.tensors() {
            *by_type.entry(tensor.dtype.name()).or_default() += tensor.n_elements() as u64;
        }
        let most = by_type.iter().max_by_key(|(_, n)| **n).map_or(DType::F32.name(), |(name, _)| name);
        (by_type.values().sum(), most)
    }

    /// The model on one line: name, family, parameters, type, context.
    pub(crate) fn summary(&self, arch: &Architecture) -> String {
        let own = self
            .file
            .metadata()
            .opt_str("general.name")
            .ok()
            .flatten()
            .filter(|name| !name.trim().is_empty());
        let (n_params, dtype) = self.size();
        let (family, context_len) = (arch.family, arch.context_len);
        let name: String = own.unwrap_or(&self.name).chars().take(64).collect();
        format!("{name}: {family}, {} parameters, {dtype}, context {context_len}", count(n_params))
    }

    /// A warning where the file does not name its pre-tokenizer.
    pub(crate) fn pre_tokenizer_warning(&self, tokenizer: &Tokenizer) -> Option<String> {
        tokenizer.pre_tokenizer_is_missing().then(|| {
            format!(
                "`{}` does not name its pre-tokenizer (`tokenizer.ggml.pre`): texts are cut into words by a default, and \
                 answers may be worse; `--override-kv tokenizer.ggml.pre=str:NAME` names it",
                self.name
            )
        })
    }

    pub(crate) fn tokenizer(&self) -> Result<Tokenizer> {
        Tokenizer::from_metadata(self.file.metadata())
            .with_context(|| format!("cannot use the vocabulary of `{}`", self.name))
    }

    pub(crate) fn architecture(&self, context_len: Option<usize>) -> Result<Architecture> {
        let arch = self.is_model().and_then(|()| Ok(Architecture::read(&self.file, context_len)?));
        let arch = arch.and_then(|arch| {
            let is_empty = self.file.tensors().is_empty();
            ensure!(
                !is_empty,
                "it has a vocabulary and no weights: it serves `tokenize`, and tests of tokenizers"
            );
            Ok(arch)
        });
        arch.with_context(|| format!("cannot use `{}` as a model", self.name))
    }

    /// Refuses GGUF files that go with a model and are none.
    fn is_model(&self) -> Result<()> {
        let metadata = self.file.metadata();
        let text = |key| metadata.opt_str(key).ok().flatten().unwrap_or_default();
        match (text("general.type"), text("general.architecture")) {
            ("adapter", _) => {
                bail!("it is a LoRA adapter, and adapters are not supported: merge it into its model")
            }
            ("mmproj", _) | (_, "clip") => bail!(
                "it is a multimodal projector (`mmproj`), which goes with a model: name the model's file. Images are not \
                 supported yet"
            ),
            ("imatrix", _) => bail!("it is an importance matrix for quantization: name the model's file"),
            _ => Ok(()),
        }
    }

    /// Loads the weights, with room for `n_pages` of keys and values in each cache group. Every operation is timed if
    /// there is a profile for it.
    pub(crate) fn model(
        &self,
        arch: Architecture,
        n_pages: Vec<usize>,
        target: Target,
        profile: Option<Profile>,
    ) -> Result<Box<dyn Model>> {
        let room = KvRoom { n_pages, kv_type: target.kv_type(self) };
        let model = target.opening.load(self, &arch, &room, profile);
        model.with_context(|| format!("cannot load `{}`", self.name))
    }
}

/// A number of parameters, as models' names have it.
pub(crate) fn count(n: u64) -> String {
    match n {
        0..1_000 => n.to_string(),
        1_000..1_000_000 => format!("{:.1} K", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} M", n as f64 / 1e6),
        _ => format!("{:.2} B", n as f64 / 1e9),
    }
}

/// What a model is going to run on.
pub(crate) struct Target {
    kv: KvChoice,
    opening: Box<dyn Opening>,
}

/// The same, to be said in reports.
#[derive(Debug, Clone)]
pub(crate) struct RunsOn {
    /// Instruction set or GPU.
    pub(crate) level: String,
    /// Definitions that bits depend on, beside the level.
    pub(crate) numerics: String,
    /// Of the processor, that compute.
    pub(crate) n_threads: usize,
    pub(crate) kv_type: KvType,
}

/// Threads for the masks of grammars, at most: 32 masks of 50 µs beside a step of a millisecond.
const MOST_MASK_THREADS: usize = 4;

impl RunsOn {
    /// Number of threads that compute masks of grammars while the model computes: as many as it leaves cores idle.
    pub(crate) fn n_mask_threads(&self) -> usize {
        let n_cores = std::thread::available_parallelism().map_or(1, usize::from);
        n_cores.saturating_sub(self.n_threads).min(MOST_MASK_THREADS)
    }
}

impl std::fmt::Display for RunsOn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let threads = if self.n_threads == 1 { "thread" } else { "threads" };
        write!(f, "{} ({} {threads}, KV {})", self.level, self.n_threads, self.kv_type.name())
    }
}

impl Target {
    /// This machine's processor.
    pub(crate) fn best() -> Target {
        let opening = Box::new(cpu::Processor { isa: Isa::best(), n_threads: NonZeroUsize::MIN });
        Target { kv: KvChoice::Auto, opening }
    }

    /// What keys and values are stored as: nothing is rounded if the model's matrices are not, else they take 16 bits.
    pub(crate) fn kv_type(&self, opened: &Opened) -> KvType {
        match self.kv {
            KvChoice::Type(kv_type) => kv_type,
            KvChoice::Auto => {
                let mut matrices = opened.file.tensors().iter().filter(|t| t.n_rows() > 1);
                if matrices.all(|t| t.dtype == DType::F32) { KvType::F32 } else { self.opening.half_kv() }
            }
        }
    }

    /// The part of a model that GPUs take which needs `bytes` in all, in the quarters in which loading tries; `None` if the
    /// processor computes.
    pub(crate) fn share_of_devices(&self, bytes: u64) -> Option<f64> {
        let free = self.opening.device_bytes()? as f64;
        Some([1.0, 0.75, 0.5, 0.25].into_iter().find(|share| share * bytes as f64 <= free).unwrap_or(0.0))
    }

    /// What keys and values may have of the memory where they will be.
    pub(crate) fn kv_space(&self, opened: &Opened, arch: &Architecture) -> Option<KvSpace> {
        self.opening.kv_space(arch, &opened.file)
    }

    /// The longest context that keys and values of one sequence have memory for, if steps compute up to `max_rows` of its
    /// rows; `None` if nothing is known to limit it. The processor's memory is taken as it is written, and not in advance.
    pub(crate) fn context_that_fits(
        &self,
        opened: &Opened,
        arch: &Architecture,
        max_rows: usize,
    ) -> Option<usize> {
        if !self.opening.takes_kv_in_advance() {
            return None;
        }
        Some(context_that_fits(arch, self.kv_type(opened), max_rows, &self.kv_space(opened, arch)?))
    }

    /// Counters of the dispatches on each device; none for the processor.
    pub(crate) fn dispatches(&self) -> Vec<Arc<AtomicU64>> {
        self.opening.dispatches()
    }

    pub(crate) fn runs_on(&self, opened: &Opened) -> RunsOn {
        RunsOn {
            level: self.opening.name(),
            numerics: self.opening.numerics(),
            n_threads: self.opening.n_threads(),
            kv_type: self.kv_type(opened),
        }
    }
}

impl Compute {
    /// The best instruction set that has `units`; `None` if this machine has none.
    pub(crate) fn with(units: Units, threads: NonZeroUsize) -> Option<Compute> {
        let fits = |isa: &Isa| match units {
            Units::Scalar => *isa == Isa::Scalar,
            Units::Vector => !matches!(isa, Isa::Scalar | Isa::Amx),
            Units::Matrix => *isa == Isa::Amx,
            Units::Best => true,
        };
        let isa = Isa::available().into_iter().rfind(fits)?;
        let backend = BackendChoice::Cpu;
        Some(Compute { backend, isa: Some(isa), threads: Some(threads), ..Compute::default() })
    }

    /// The same threads and instruction set, without GPUs.
    pub(crate) fn on_processor(&self) -> Compute {
        let Compute { isa, threads, kv, .. } = *self;
        Compute { backend: BackendChoice::Cpu, isa, threads, kv, ..Compute::default() }
    }

    /// `n_bytes` of memory to measure how fast these threads read it with this instruction set.
    pub(crate) fn streaming_read(&self, n_bytes: usize) -> Result<StreamingRead> {
        Ok(StreamingRead::new(self.isa.unwrap_or_else(Isa::best), self.n_threads(), n_bytes)?)
    }

    /// The number of threads to use.
    pub(crate) fn n_threads(&self) -> NonZeroUsize {
        self.threads.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
    }
}
