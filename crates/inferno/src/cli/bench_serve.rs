//! What `inferno bench serve` accepts.

use std::num::NonZero;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use super::{DraftModel, ModelArgument, ModelFile, number};
use crate::kv_memory::KvMemory;
use crate::load::Compute;

#[derive(Debug, Args)]
pub(crate) struct BenchServe {
    #[command(flatten)]
    pub(crate) named: ModelArgument,

    #[command(flatten)]
    pub(crate) model: ModelFile,

    #[command(flatten)]
    pub(crate) draft: DraftModel,

    /// Requests to repeat: Azure's CSV (TIMESTAMP,ContextTokens,GeneratedTokens) or Mooncake's JSON lines (timestamp,
    /// input_length, output_length, hash_ids); default: made-up chats with shared system prompts
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,

    /// How many: the first of the trace
    #[arg(short = 'n', long, value_name = "N", default_value = "64")]
    pub(crate) requests: NonZero<usize>,

    /// Multiplies the lengths of prompts, of what they share, and of completions; rounded, to 1 at least
    #[arg(long, value_name = "F", default_value = "1", value_parser = positive)]
    pub(crate) length_scale: f64,

    /// Requests per second in the mean, the pattern of arrivals stretched to it, or `max`: all at once; default: 0.7 of
    /// the rate at which the first ones are served when all of them are there at once
    #[arg(long, value_name = "R")]
    pub(crate) rate: Option<Rate>,

    /// Randomness of the completions, 0 to 100; 0 always takes the best token. Other sampling is that of `run`
    #[arg(short, long, value_name = "T", default_value_t = 0.0, value_parser = number(0.0..=100.0))]
    pub(crate) temperature: f32,

    /// Chooses the tokens of the prompts, the made-up requests, and what is drawn
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// How often everything is measured
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) repeats: u32,

    /// One JSON object with every sample
    #[arg(long)]
    pub(crate) json: bool,

    /// The same requests with everything on, and without batching, prefix cache and speculation, in turn. Completions
    /// must be equal: else the exit code is 1
    #[arg(long, conflicts_with_all = ["no_batching", "no_prefix_cache", "no_speculation"])]
    pub(crate) compare: bool,

    /// Instead: N sequences decode at once, all of the same length, beside the same steps without the engine
    #[arg(
        long,
        value_name = "N",
        conflicts_with_all = ["trace", "requests", "length_scale", "rate", "compare", "sequences", "kv_memory", "no_batching"]
    )]
    pub(crate) closed: Option<NonZero<usize>>,

    /// With `--closed`: tokens of each completion
    #[arg(long, value_name = "N", default_value = "128", requires = "closed")]
    pub(crate) closed_tokens: NonZero<usize>,

    /// Instead: short prompts whose answers the JSON schema in FILE constrains, all at once, beside answers of the same
    /// lengths without it, in turn
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["trace", "length_scale", "rate", "compare", "closed"]
    )]
    pub(crate) json_schema: Option<PathBuf>,

    /// With `--json-schema`: maximum number of tokens of an answer
    #[arg(long, value_name = "N", default_value = "256", requires = "json_schema")]
    pub(crate) answer_tokens: NonZero<usize>,

    #[command(flatten)]
    pub(crate) kv: KvMemory,

    #[command(flatten)]
    pub(crate) engine: EngineKnobs,

    #[command(flatten)]
    pub(crate) compute: Compute,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Engine")]
pub(crate) struct EngineKnobs {
    /// Rows of a step, at most
    #[arg(long, value_name = "N", default_value = "512")]
    pub(crate) budget: NonZero<usize>,

    /// How long a step should take in which sequences decode, at most
    #[arg(long, value_name = "MS", default_value = "250")]
    pub(crate) step_target: NonZero<u32>,

    /// Compute every prompt in full
    #[arg(long)]
    pub(crate) no_prefix_cache: bool,

    /// One sequence at a time
    #[arg(long)]
    pub(crate) no_batching: bool,

    /// No guesses at what comes next
    #[arg(long)]
    pub(crate) no_speculation: bool,
}

/// How fast requests come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rate {
    PerSecond(f64),
    AllAtOnce,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        match text {
            "max" => Ok(Rate::AllAtOnce),
            _ => positive(text).map(Rate::PerSecond).map_err(|e| e + ", or `max`"),
        }
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x.is_finite() && x > 0.0 => Ok(x),
        _ => Err("expected a number above 0".into()),
    }
}
