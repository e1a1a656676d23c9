//! Flags for the backend, the device and what a model takes of them.

use std::num::NonZeroUsize;

use clap::builder::FalseyValueParser;
use inferno_cpu::Isa;
use inferno_model::backend::KvType;

/// Flags for the device and the computation.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Computation")]
pub(crate) struct Compute {
    /// Backend: auto, cpu or wgpu (a GPU through Metal, Vulkan or DX12). auto selects a GPU if this build can use it and the
    /// machine has one; `inferno doctor` lists them
    #[arg(
        long,
        value_name = "NAME",
        default_value = "auto",
        value_parser = backend,
        env = "INFERNO_BACKEND",
        hide_env_values = true
    )]
    pub(crate) backend: BackendChoice,

    /// GPU to use: its number in `inferno doctor` or a part of its name, or several numbers with commas, which share the
    /// layers. Default: the one that is probably fastest
    #[arg(long, value_name = "DEVICE", env = "INFERNO_DEVICE", hide_env_values = true)]
    pub(crate) device: Option<String>,

    /// Number of layers on the GPU, counted from the last one, or auto: all, or as many as fit its memory. The processor
    /// computes the others
    #[arg(
        long,
        alias = "n-gpu-layers",
        value_name = "N",
        default_value_t,
        allow_negative_numbers = true,
        env = "INFERNO_GPU_LAYERS",
        hide_env_values = true
    )]
    pub(crate) gpu_layers: GpuLayers,

    /// Shares of the layers that each of several GPUs gets, in the order of `--device`, as in 3,2. Default: by free memory
    #[arg(
        long,
        value_name = "N,..",
        value_delimiter = ',',
        value_parser = gpu_share,
        env = "INFERNO_TENSOR_SPLIT",
        hide_env_values = true
    )]
    pub(crate) tensor_split: Vec<f32>,

    /// Compute all experts of a mixture on the processor, and everything else on the GPU
    #[arg(long, env = "INFERNO_CPU_MOE", hide_env_values = true, value_parser = FalseyValueParser::new())]
    pub(crate) cpu_moe: bool,

    /// Number of layers, counted from the first one, whose experts are computed on the processor
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "cpu_moe",
        env = "INFERNO_N_CPU_MOE",
        hide_env_values = true
    )]
    pub(crate) n_cpu_moe: Option<usize>,

    /// Instruction set: scalar, neon, avx2, avx-vnni, avx512 or amx. Default: the best one this machine has
    #[arg(long, value_name = "LEVEL", env = "INFERNO_ISA", hide_env_values = true)]
    pub(crate) isa: Option<Isa>,

    /// Number of threads that compute. Default: the number of available processors
    #[arg(long, value_name = "N", env = "INFERNO_THREADS", hide_env_values = true)]
    pub(crate) threads: Option<NonZeroUsize>,

    /// Type of the KV cache: auto, f32, f16, bf16 or q8_0. auto is f32 for a model in F32, else bf16 with amx and f16
    /// without
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

/// Which backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum BackendChoice {
    /// A GPU if there is one.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// A GPU.
    Wgpu,
}

fn gpu_share(text: &str) -> Result<f32, &'static str> {
    let share = text.trim().parse().ok().filter(|share: &f32| share.is_finite() && *share >= 0.0);
    share.ok_or("expected numbers from zero on, like 3,2")
}

fn backend(name: &str) -> Result<BackendChoice, String> {
    match name {
        "auto" => Ok(BackendChoice::Auto),
        "cpu" => Ok(BackendChoice::Cpu),
        "wgpu" => Ok(BackendChoice::Wgpu),
        "cuda" | "vulkan" | "metal" | "rocm" | "hip" | "dx12" | "opencl" | "sycl" | "gpu" => {
            let name = if name == "gpu" { "backend of that name" } else { &format!("{name} backend") };
            Err(format!(
                "no {name}: GPUs compute through wgpu, which is Metal, Vulkan or DX12 (`--backend wgpu`)"
            ))
        }
        _ => Err("expected auto, cpu or wgpu".into()),
    }
}

/// How much of a model a GPU gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum GpuLayers {
    /// What there is memory for.
    #[default]
    Auto,
    /// So many layers at most.
    Last(usize),
}

impl std::str::FromStr for GpuLayers {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<GpuLayers, Self::Err> {
        match text.parse() {
            Ok(n) => Ok(GpuLayers::Last(n)),
            // llama.cpp's words for the same.
            Err(_) if matches!(text, "auto" | "all" | "-1") => Ok(GpuLayers::Auto),
            Err(_) => Err("expected auto, or a number of layers"),
        }
    }
}

impl std::fmt::Display for GpuLayers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            GpuLayers::Auto => f.write_str("auto"),
            GpuLayers::Last(n) => n.fmt(f),
        }
    }
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
    /// See [`super::Target::kv_type`].
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
