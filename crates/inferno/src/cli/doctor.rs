//! Arguments of `inferno doctor`.

use clap::Args;

use crate::load::Compute;

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Models to forecast, downloaded or not: GGUF files, names like qwen3:4b or qwen3:4b-q8_0, repositories of the hub
    /// (OWNER/REPOSITORY, with or without :QUANT), shapes of `synth` like qwen3-4b or qwen3-4b:q8_0. Default: well-known models
    /// that fit
    #[arg(value_name = "MODEL")]
    pub(crate) models: Vec<String>,

    /// Compare what this machine's devices compute with the definition of every operation, and with two small models: each
    /// instruction set of the processor and each GPU, or the ones that `--isa`, `--backend` and `--device` name. A difference is
    /// named with its operation and shape, and the exit code is 1
    #[arg(long, conflicts_with_all = ["models", "kv"])]
    pub(crate) check: bool,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) compute: Compute,
}
