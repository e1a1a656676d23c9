//! Arguments of `inferno bench`.

use std::num::NonZero;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{BenchServe, ModelArgument, ModelFile};
use crate::load::Compute;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub(crate) struct Bench {
    #[command(subcommand)]
    pub(crate) command: Option<BenchCommand>,

    #[command(flatten)]
    pub(crate) named: ModelArgument,

    #[command(flatten)]
    pub(crate) model: ModelFile,

    /// Prompt lengths to measure, in tokens; 0 for none
    #[arg(short, long, value_name = "N,..", value_delimiter = ',', default_value = "512")]
    pub(crate) prompt: Vec<usize>,

    /// Numbers of decode steps to measure; 0 for none
    #[arg(short = 'n', long, value_name = "N,..", value_delimiter = ',', default_value = "128")]
    pub(crate) decode: Vec<usize>,

    /// Tokens in the context before decoding; they are not timed
    #[arg(short, long, value_name = "N,..", value_delimiter = ',', default_value = "0")]
    pub(crate) depth: Vec<usize>,

    /// Numbers of sequences to decode at once, each at `--depth`
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_value = "1")]
    pub(crate) sequences: Vec<usize>,

    /// Number of times that everything is measured
    #[arg(short, long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) repeats: u32,

    /// Tokens of a prompt per step
    #[arg(long, value_name = "N", default_value = "512")]
    pub(crate) chunk: NonZero<usize>,

    /// Seed of the random tokens
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Print one JSON object with every sample; with `--report` write it beside FILE
    #[arg(long)]
    pub(crate) json: bool,

    /// Also print the time of each operation. A GPU reads its clock around some of them, which stand for the others
    #[arg(long)]
    pub(crate) profile: bool,

    /// MiB of memory to read as the limit. Default: 640, or four times the largest cache if that is more; on a GPU 2048, or an
    /// eighth of its free memory if that is less
    #[arg(long, value_name = "N")]
    pub(crate) stream_mib: Option<NonZero<usize>>,

    /// Measure when told: a line on stdin is one repeat, answered by one line of JSON; the end of stdin ends it
    #[arg(long, conflicts_with_all = ["repeats", "json", "profile"])]
    pub(crate) paced: bool,

    /// Measure instead what is usual, on generated models of the shapes of Qwen3 0.6B and 8B, beside what the device allows: print
    /// the table as Markdown and write it to FILE, which can be sent to others. `-m` names another model. Work that takes
    /// too long on this machine is left out, and named
    #[arg(
        long,
        value_name = "FILE",
        num_args = 0..=1,
        default_missing_value = "inferno-report.md",
        conflicts_with_all = ["prompt", "decode", "depth", "sequences", "profile", "stream_mib", "paced", "repeats", "story"]
    )]
    pub(crate) report: Option<PathBuf>,

    /// Measure instead, one after the other, what KV cache, SIMD, threads, matrix units, quantization and batching are worth,
    /// on generated models. Takes minutes
    #[arg(long, conflicts_with_all = ["named", "model", "prompt", "decode", "depth", "sequences", "profile", "stream_mib", "paced", "isa", "kv"])]
    pub(crate) story: bool,

    #[command(flatten)]
    pub(crate) compute: Compute,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Test the engine under load, as a server puts it there, but without HTTP
    ///
    /// Requests come when a trace says, whether or not earlier ones are done, and wait if the engine is busy. Prompts are
    /// random tokens, equal where the trace says so; completions have the trace's length. Requests that do not fit the
    /// context or the KV pool are left out and counted. Times are those of whoever receives the tokens: to the first one
    /// from the moment the request was due. Percentiles are samples, not estimates.
    Serve(BenchServe),
}
