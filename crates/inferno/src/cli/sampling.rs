//! Flags for sampling, shared by `run`, `chat` and `serve`.

use clap::Args;
use clap::builder::FalseyValueParser;

use super::number;
use crate::sampling::Wishes;

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
        }
    }
}
