//! Flags for sampling, shared by `run`, `chat` and `serve`.

use clap::Args;
use clap::builder::FalseyValueParser;

use super::number;
use crate::sampling::{Order, Texts, Wishes, order, sequence};

/// Sampling parameters, each `None` unless given.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Sampling {
    /// Randomness, 0 to 100; 0 always takes the best token. Default: the model's own, or 0.6
    #[arg(short, long, alias = "temp", value_name = "T", env = "INFERNO_TEMPERATURE", hide_env = true, allow_negative_numbers = true, value_parser = number(0.0..=100.0))]
    pub(crate) temperature: Option<f32>,

    /// Sample among this many of the best tokens; 0 or -1: all. Default: the model's own, or 40
    #[arg(long, value_name = "K", env = "INFERNO_TOP_K", hide_env = true, allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-1..=i64::from(i32::MAX)))]
    pub(crate) top_k: Option<i64>,

    /// Sample among the best tokens that together have this probability, 0 to 1; 1: all. Default: the model's own, or 1
    #[arg(long, value_name = "P", env = "INFERNO_TOP_P", hide_env = true, allow_negative_numbers = true, value_parser = number(0.0..=1.0))]
    pub(crate) top_p: Option<f32>,

    /// Leave out tokens less probable than this fraction of the best one, 0 to 1. Default: the model's own, or 0.05
    #[arg(long, value_name = "P", env = "INFERNO_MIN_P", hide_env = true, allow_negative_numbers = true, value_parser = number(0.0..=1.0))]
    pub(crate) min_p: Option<f32>,

    /// Penalty for tokens already in the prompt or the answer, 0.01 to 10; 1: none. Default: the model's own, or 1
    #[arg(long, value_name = "X", env = "INFERNO_REPEAT_PENALTY", hide_env = true, allow_negative_numbers = true, value_parser = number(0.01..=10.0))]
    pub(crate) repeat_penalty: Option<f32>,

    /// Last tokens that `--repeat-penalty` looks at; 0: none, -1: all. Default: the model's own, or all
    #[arg(long, value_name = "N", env = "INFERNO_REPEAT_LAST_N", hide_env = true, allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-1..=i64::from(u32::MAX)))]
    pub(crate) repeat_last_n: Option<i64>,

    /// Penalty for tokens already in the answer, -2 to 2. Default: the model's own, or 0
    #[arg(long, value_name = "X", env = "INFERNO_PRESENCE_PENALTY", hide_env = true, allow_negative_numbers = true, value_parser = number(-2.0..=2.0))]
    pub(crate) presence_penalty: Option<f32>,

    /// Penalty for each time a token is in the answer already, -2 to 2. Default: the model's own, or 0
    #[arg(long, value_name = "X", env = "INFERNO_FREQUENCY_PENALTY", hide_env = true, allow_negative_numbers = true, value_parser = number(-2.0..=2.0))]
    pub(crate) frequency_penalty: Option<f32>,

    /// Keep tokens within this many standard deviations of the best logit; 0 and less: all. Default: all
    #[arg(long = "top-n-sigma", alias = "top-nsigma", value_name = "N", env = "INFERNO_TOP_N_SIGMA", hide_env = true, hide_short_help = true, allow_negative_numbers = true, value_parser = number(-1.0..=100.0))]
    pub(crate) top_n_sigma: Option<f32>,

    /// Locally typical sampling: keep the tokens nearest to the expected information up to this probability; 1: all. Default: 1
    #[arg(long = "typical-p", alias = "typical", value_name = "P", env = "INFERNO_TYPICAL_P", hide_env = true, hide_short_help = true, allow_negative_numbers = true, value_parser = number(0.0..=1.0))]
    pub(crate) typical_p: Option<f32>,

    /// Probability with which XTC leaves out all likely tokens except the least likely of them; 0: never. Default: the model's own, or 0
    #[arg(long = "xtc-probability", value_name = "P", env = "INFERNO_XTC_PROBABILITY", hide_env = true, hide_short_help = true, allow_negative_numbers = true, value_parser = number(0.0..=1.0))]
    pub(crate) xtc_probability: Option<f32>,

    /// Probability from which a token is likely for XTC; above 0.5: no two are. Default: the model's own, or 0.1
    #[arg(long = "xtc-threshold", value_name = "P", env = "INFERNO_XTC_THRESHOLD", hide_env = true, hide_short_help = true, allow_negative_numbers = true, value_parser = number(0.0..=1.0))]
    pub(crate) xtc_threshold: Option<f32>,

    /// Dynamic temperature: by how much the temperature moves up and down with the entropy; 0: not at all. Default: 0
    #[arg(long = "dynatemp-range", value_name = "X", env = "INFERNO_DYNATEMP_RANGE", hide_env = true, hide_short_help = true, allow_negative_numbers = true, value_parser = number(0.0..=100.0))]
    pub(crate) dynatemp_range: Option<f32>,

    /// Exponent of the share of entropy in dynamic temperature. Default: 1
    #[arg(long = "dynatemp-exp", value_name = "X", env = "INFERNO_DYNATEMP_EXP", hide_env = true, hide_short_help = true, allow_negative_numbers = true, value_parser = number(0.0..=100.0))]
    pub(crate) dynatemp_exponent: Option<f32>,

    /// DRY: penalty for a token that makes a repetition longer, multiplied by the base for every token beyond the allowed length; 0: none. Default: 0
    #[arg(long = "dry-multiplier", value_name = "X", env = "INFERNO_DRY_MULTIPLIER", hide_env = true, hide_short_help = true, allow_negative_numbers = true, value_parser = number(0.0..=100.0))]
    pub(crate) dry_multiplier: Option<f32>,

    /// Base of DRY's penalty, from 1 on. Default: 1.75
    #[arg(long = "dry-base", value_name = "X", env = "INFERNO_DRY_BASE", hide_env = true, hide_short_help = true, allow_negative_numbers = true, value_parser = number(1.0..=100.0))]
    pub(crate) dry_base: Option<f32>,

    /// Length of a repetition from which DRY penalizes. Default: 2
    #[arg(long = "dry-allowed-length", value_name = "N", env = "INFERNO_DRY_ALLOWED_LENGTH", hide_env = true, hide_short_help = true, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(0..=i64::from(i32::MAX)))]
    pub(crate) dry_allowed_length: Option<u32>,

    /// Last tokens that DRY searches for repetitions; 0: none, -1: all. Default: 64
    #[arg(long = "dry-penalty-last-n", value_name = "N", env = "INFERNO_DRY_PENALTY_LAST_N", hide_env = true, hide_short_help = true, allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-1..=i64::from(i32::MAX)))]
    pub(crate) dry_last_n: Option<i64>,

    /// Text across which nothing counts as a repetition for DRY; may be repeated, and replaces the default: a line's end, `:`, `"`
    /// and `*`. `none` is no such text
    #[arg(long = "dry-sequence-breaker", value_name = "TEXT", env = "INFERNO_DRY_SEQUENCE_BREAKER", hide_env = true, hide_short_help = true, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) dry_sequence_breakers: Vec<String>,

    /// Mirostat sampling in place of the filters: 1 or 2; 0: off. Default: the model's own, or 0
    #[arg(long = "mirostat", value_name = "N", env = "INFERNO_MIROSTAT", hide_env = true, hide_short_help = true, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(0..=2))]
    pub(crate) mirostat: Option<u32>,

    /// Mirostat's target: surprise of a token in bits. Default: the model's own, or 5
    #[arg(long = "mirostat-ent", value_name = "TAU", env = "INFERNO_MIROSTAT_ENT", hide_env = true, hide_short_help = true, allow_negative_numbers = true, value_parser = number(0.0..=100.0))]
    pub(crate) mirostat_tau: Option<f32>,

    /// Mirostat's learning rate. Default: the model's own, or 0.1
    #[arg(long = "mirostat-lr", value_name = "ETA", env = "INFERNO_MIROSTAT_LR", hide_env = true, hide_short_help = true, allow_negative_numbers = true, value_parser = number(0.0..=10.0))]
    pub(crate) mirostat_eta: Option<f32>,

    /// Samplers in the order in which they are applied, with `;` between them; the others are off. Default: the model's own, or
    /// penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature
    #[arg(long, value_name = "NAMES", env = "INFERNO_SAMPLERS", hide_env = true, hide_short_help = true, value_parser = order)]
    pub(crate) samplers: Option<Order>,

    /// The same by letters; the default is edskypmxt
    #[arg(long = "sampling-seq", alias = "sampler-seq", value_name = "LETTERS", env = "INFERNO_SAMPLING_SEQ", hide_env = true, hide_short_help = true, conflicts_with = "samplers", value_parser = sequence)]
    pub(crate) sampling_seq: Option<Order>,

    /// Ignore the sampling defaults in the model's file (`general.sampling.*`)
    #[arg(long, env = "INFERNO_NO_MODEL_DEFAULTS", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) no_model_defaults: bool,
}

impl Sampling {
    /// The parameters that were given.
    pub(crate) fn wishes(&self) -> Wishes {
        Wishes {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repeat_penalty: self.repeat_penalty,
            repeat_last_n: self.repeat_last_n,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            top_n_sigma: self.top_n_sigma,
            typical_p: self.typical_p,
            xtc_probability: self.xtc_probability,
            xtc_threshold: self.xtc_threshold,
            dynatemp_range: self.dynatemp_range,
            dynatemp_exponent: self.dynatemp_exponent,
            dry_multiplier: self.dry_multiplier,
            dry_base: self.dry_base,
            dry_allowed_length: self.dry_allowed_length,
            dry_last_n: self.dry_last_n,
            dry_sequence_breakers: match &self.dry_sequence_breakers[..] {
                [] => None,
                [none] if none == "none" => Some(Texts(Vec::new())),
                texts => Some(Texts(texts.to_vec())),
            },
            mirostat: self.mirostat,
            mirostat_tau: self.mirostat_tau,
            mirostat_eta: self.mirostat_eta,
            samplers: self.samplers.clone().or_else(|| self.sampling_seq.clone()),
        }
    }
}
