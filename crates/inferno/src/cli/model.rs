//! The model a command works on.

use std::num::NonZero;
use std::path::{Path, PathBuf};

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

/// A model as the first argument of a command, in place of `-m`.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ModelArgument {
    /// Model, in place of `-m`
    #[arg(value_name = "MODEL", conflicts_with = "model", value_parser = model_argument)]
    pub(crate) named: Option<PathBuf>,
}

/// The model that drafts for another one.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct DraftModel {
    /// Draft model for speculative decoding, as for `--model`: a small one with the same vocabulary, or `mtp` for the draft layer
    /// (multi-token prediction) in the model's own file. It proposes tokens where that makes answers faster; the answers are the same
    #[arg(long, value_name = "MODEL", env = "INFERNO_DRAFT", hide_env = true, alias = "model-draft")]
    pub(crate) draft: Option<PathBuf>,

    /// Number of tokens that the draft model proposes in a step. Default: as many as make answers fastest, none where they would not
    #[arg(
        long,
        value_name = "N",
        env = "INFERNO_DRAFT_TOKENS",
        hide_env = true,
        hide_short_help = true,
        requires = "draft"
    )]
    pub(crate) draft_tokens: Option<NonZero<usize>>,
}

impl ModelFile {
    /// Moves the model of `argument` to where `-m` puts it.
    pub(super) fn take(&mut self, argument: &mut ModelArgument) {
        if let Some(named) = argument.named.take() {
            self.model = Some(named);
        }
    }
}

/// Refuses what is a prompt rather than a model.
fn model_argument(text: &str) -> Result<PathBuf, &'static str> {
    let is_text = text.trim().is_empty() || text.contains(char::is_whitespace) && !text.contains("://");
    match text {
        _ if Path::new(text).exists() => Ok(text.into()),
        "serve" => {
            Err("expected a model, not a command: the flags of `inferno bench serve` stand behind `serve`")
        }
        _ if is_text => Err("expected a model: `inferno run \"PROMPT\"` answers a prompt"),
        _ => Ok(text.into()),
    }
}
