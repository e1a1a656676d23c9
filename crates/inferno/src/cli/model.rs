//! The model a command works on.

use std::path::PathBuf;

use clap::Args;
use clap::builder::FalseyValueParser;

/// A model: a file, a name, or the one inside the program.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ModelFile {
    /// Model: a GGUF file (any file of a split one), a name like qwen3:0.6b, or OWNER/REPOSITORY:QUANT of the Hugging Face hub;
    /// one that is not in the cache is downloaded. Default: Ember, the small model inside the program
    #[arg(
        short,
        long,
        value_name = "MODEL",
        env = "INFERNO_MODEL",
        hide_env = true,
        aliases = ["hf-repo", "model-url"]
    )]
    pub(crate) model: Option<PathBuf>,

    /// Download nothing: take models from the cache alone (also: HF_HUB_OFFLINE=1)
    #[arg(long, env = "INFERNO_OFFLINE", hide_env = true, hide_short_help = true, value_parser = FalseyValueParser::new())]
    pub(crate) offline: bool,
}
