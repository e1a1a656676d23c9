//! What `inferno run` and `inferno chat` accept.

use std::path::PathBuf;

use clap::Args;

use super::{ModelFile, number};
use crate::load::Compute;

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Prompt; several words are joined by spaces. Text on stdin follows it after a blank line; `-` as the last word waits
    /// for it
    #[arg(value_name = "PROMPT", allow_negative_numbers = true)]
    pub(crate) words: Vec<String>,

    /// Prompt, taken as it is even if it looks like the name of a model
    #[arg(value_name = "PROMPT", last = true)]
    pub(crate) literal: Vec<String>,

    /// Text file put behind the prompt after a blank line; may be repeated
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,

    /// Continue the prompt as it is, without the chat template; control tokens in it are recognised
    #[arg(long, conflicts_with = "system")]
    pub(crate) raw: bool,

    #[command(flatten)]
    pub(crate) answering: Answering,
}

#[derive(Debug, Args)]
pub(crate) struct Chat {
    #[command(flatten)]
    pub(crate) answering: Answering,
}

/// How answers are made.
#[derive(Debug, Args)]
pub(crate) struct Answering {
    #[command(flatten)]
    pub(crate) model: ModelFile,

    /// System message put before the prompt
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,

    /// Most tokens of an answer; default: until the model ends it or the context is full
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tokens: Option<u32>,

    /// Context length; default: the model's own
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) context: Option<u32>,

    /// Also print the seed, load time, speeds, why an answer stopped, and a hash of its last logits
    #[arg(short, long)]
    pub(crate) verbose: bool,

    #[command(flatten)]
    pub(crate) sampling: Sampling,

    #[command(flatten)]
    pub(crate) compute: Compute,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct Sampling {
    /// Randomness, 0 to 100; 0 always takes the best token
    #[arg(short, long, value_name = "T", default_value_t = 0.6, value_parser = number(0.0..=100.0))]
    pub(crate) temperature: f32,

    /// Choose among this many of the best tokens; 0: all
    #[arg(long, value_name = "K", default_value_t = 40)]
    pub(crate) top_k: u32,

    /// Choose among the best tokens that together have this probability, 0.000001 to 1
    #[arg(long, value_name = "P", default_value_t = 1.0, value_parser = number(0.000_001..=1.0))]
    pub(crate) top_p: f32,

    /// Leave out tokens less probable than this fraction of the best one, 0 to 1
    #[arg(long, value_name = "P", default_value_t = 0.05, value_parser = number(0.0..=1.0))]
    pub(crate) min_p: f32,

    /// The same seed, prompt and settings give the same text; default: another one every time
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
}
