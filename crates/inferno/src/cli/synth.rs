//! Arguments of `inferno synth`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use inferno_format::{DType, UnknownDType};

#[derive(Debug, Args)]
pub(crate) struct Synth {
    /// Shape of the model: the name of a known one, or a tiny one of a family; an unknown name lists them
    ///
    /// True sizes: qwen3- with 0.6b, 1.7b, 4b, 8b, 14b, 32b or 30b-a3b, llama-3.1-8b, llama-3.2-1b and -3b,
    /// mistral-small-3.2-24b, ministral-3- with 3b, 8b or 14b, gpt-oss-20b and -120b (experts always MXFP4), gemma-4- with e2b, e4b,
    /// 26b-a4b or 31b, deepseek-v2-lite, glm-4.7-flash, stories110m. Those of more than a billion weights are random blocks, written
    /// as fast as the disk takes them. tiny- with llama, mistral, mixtral, qwen2, qwen3, qwen3moe, phi3, gemma2, gemma3, gpt-oss,
    /// gemma4 or deepseek2.
    pub(crate) preset: String,

    /// File to write
    pub(crate) out: PathBuf,

    /// Write only the first N layers of the model
    #[arg(long, value_name = "N")]
    pub(crate) layers: Option<usize>,

    /// Number of first layers that nearly suffice: the same model with `--layers` of this number drafts for this one (`--draft`)
    ///
    /// The output of each later layer is multiplied by `--draft-difference`.
    #[arg(long, value_name = "N", conflicts_with = "layers", group = "drafting")]
    pub(crate) draft_layers: Option<usize>,

    /// Add a draft layer for multi-token prediction, which drafts for the model (`--draft mtp`)
    ///
    /// A copy of the last layer with full attention; the output of each other layer is multiplied by `--draft-difference`.
    #[arg(long, group = "drafting")]
    pub(crate) mtp: bool,

    /// Factor of what the layers add that do not draft: the smaller, the more often drafts are right
    #[arg(long, value_name = "FACTOR", default_value_t = 0.1, requires = "drafting")]
    pub(crate) draft_difference: f32,

    /// Type of the matrices; norms and biases are F32
    ///
    /// f32, f16, bf16, q8_0, q4_0, q4_k, q6_k, or llama.cpp's mixture q4_k_m: Q4_K, with Q6_K for the output
    /// and for `attn_v` and `ffn_down` of half of the layers. Matrices whose rows are no whole blocks of it are Q8_0.
    #[arg(long, value_name = "TYPE", default_value = "q8_0")]
    pub(crate) dtype: Encoding,

    /// GGUF file whose vocabulary and chat template the model gets; default: Ember's, padded to the preset's size
    #[arg(long, value_name = "FILE")]
    pub(crate) vocab_from: Option<PathBuf>,

    /// Seed of the weights: the same seed gives the same weights, in every type up to rounding
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Replace the file if it exists
    #[arg(long)]
    pub(crate) force: bool,
}

/// Type of a file's matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// All in one type.
    One(DType),
    /// Q4_K, and Q6_K where llama.cpp finds that it matters most.
    Q4KM,
}

impl FromStr for Encoding {
    type Err = UnknownDType;

    fn from_str(name: &str) -> Result<Encoding, UnknownDType> {
        match name.eq_ignore_ascii_case("q4_k_m") {
            true => Ok(Encoding::Q4KM),
            false => name.parse().map(Encoding::One),
        }
    }
}
