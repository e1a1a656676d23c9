//! From a path to a model on a device. The one place that chooses a backend, and the one that knows of features.

use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::{Context, Result};
use inferno_cpu::{Cpu, Isa};
use inferno_format::{DType, Gguf};
use inferno_model::architecture::Architecture;
use inferno_model::backend::KvType;
use inferno_model::error::LoadError;
use inferno_model::profile::{Profile, Profiled};
use inferno_model::transformer::{KvRoom, Model, Transformer};
use inferno_text::Tokenizer;

/// How a model is run.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Computation")]
pub(crate) struct Compute {
    /// Instruction set: scalar, neon, avx2, avx-vnni, avx512 or amx; default: the best one this machine has
    #[arg(long, value_name = "LEVEL", env = "INFERNO_ISA", hide_env_values = true)]
    pub(crate) isa: Option<Isa>,

    /// Threads that compute, the main one included; default: as many as processors may be used
    #[arg(long, value_name = "N", env = "INFERNO_THREADS", hide_env_values = true)]
    pub(crate) threads: Option<NonZeroUsize>,

    /// How keys and values are stored: auto, f32, f16, bf16 or q8_0; auto is f32 for a model in F32, else bf16 with amx and
    /// f16 without
    #[arg(
        long,
        value_name = "TYPE",
        default_value = "auto",
        value_parser = kv_choice,
        env = "INFERNO_KV",
        hide_env_values = true
    )]
    pub(crate) kv: KvChoice,
}

/// What of a processor computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Units {
    /// No vectors.
    Scalar,
    /// The widest vectors, but no tiles.
    Vector,
    /// Tiles.
    Matrix,
    /// Whatever is fastest.
    Best,
}

/// A type for keys and values, or the one that suits the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum KvChoice {
    /// See [`Opened::kv_type`].
    #[default]
    Auto,
    /// This one.
    Type(KvType),
}

fn kv_choice(name: &str) -> Result<KvChoice, String> {
    let types = KvType::ALL.into_iter().find(|t| t.name() == name).map(KvChoice::Type);
    let found = types.or((name == "auto").then_some(KvChoice::Auto));
    found.ok_or_else(|| {
        let names = KvType::ALL.map(KvType::name).join(", ");
        format!("expected auto, or one of: {names}")
    })
}

/// A file with what messages call it.
pub(crate) struct Opened {
    pub(crate) name: String,
    pub(crate) file: Gguf,
}

/// Opens the file at `path`, or the model inside the program.
pub(crate) fn open(path: Option<&Path>) -> Result<Opened> {
    match path {
        // The errors of a file name it themselves.
        Some(path) => Ok(Opened { name: path.display().to_string(), file: Gguf::open(path)? }),
        None => built_in(),
    }
}

#[cfg(feature = "ember")]
fn built_in() -> Result<Opened> {
    Ok(Opened { name: crate::ember::NAME.into(), file: crate::ember::open()? })
}

#[cfg(not(feature = "ember"))]
fn built_in() -> Result<Opened> {
    anyhow::bail!("this build has no model inside, name a GGUF file (`-m FILE`)")
}

impl Opened {
    pub(crate) fn tokenizer(&self) -> Result<Tokenizer> {
        Tokenizer::from_metadata(self.file.metadata())
            .with_context(|| format!("cannot use the vocabulary of `{}`", self.name))
    }

    pub(crate) fn architecture(&self, context_len: Option<usize>) -> Result<Architecture> {
        Architecture::read(&self.file, context_len)
            .with_context(|| format!("cannot use `{}` as a model", self.name))
    }

    /// What keys and values are stored as: nothing is rounded if the model's matrices are not, else they take 16 bits.
    pub(crate) fn kv_type(&self, choice: KvChoice, isa: Isa) -> KvType {
        match choice {
            KvChoice::Type(kv_type) => kv_type,
            KvChoice::Auto => {
                let mut matrices = self.file.tensors().iter().filter(|t| t.n_rows() > 1);
                if matrices.all(|t| t.dtype == DType::F32) { KvType::F32 } else { isa.half_kv() }
            }
        }
    }

    /// Loads the weights, with room for `n_pages` of keys and values. Every operation is timed if there is a profile
    /// for it.
    pub(crate) fn model(
        &self,
        arch: Architecture,
        n_pages: usize,
        compute: &Compute,
        profile: Option<Profile>,
    ) -> Result<Box<dyn Model>> {
        let isa = compute.isa()?;
        let n_pages = vec![n_pages; arch.cache_groups.len()];
        let room = KvRoom { n_pages, kv_type: self.kv_type(compute.kv, isa) };
        let backend = Cpu::new(isa, compute.n_threads())?;
        let model: Result<Box<dyn Model>, LoadError> = match profile {
            None => Transformer::load(&self.file, arch, backend, &room).map(|m| Box::new(m) as _),
            Some(profile) => {
                let backend = Profiled::new(backend, profile);
                Transformer::load(&self.file, arch, backend, &room).map(|m| Box::new(m) as _)
            }
        };
        model.with_context(|| format!("cannot load `{}`", self.name))
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
        Some(Compute { isa: Some(isa), threads: Some(threads), kv: KvChoice::Auto })
    }

    /// The instruction set to use.
    pub(crate) fn isa(&self) -> Result<Isa> {
        Ok(self.isa.map_or_else(|| Ok(Isa::best()), Isa::check)?)
    }

    /// The number of threads to use.
    pub(crate) fn n_threads(&self) -> NonZeroUsize {
        self.threads.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
    }
}
