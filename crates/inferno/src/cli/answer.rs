//! Arguments of `inferno run` and `inferno chat`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::FalseyValueParser;

use super::{DraftModel, ModelArgument, ModelFile, Reasoning, Sampling};
use crate::habits::Habits;
use crate::load::Compute;
use crate::overrides::Overrides;
use crate::template::Choice;

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Prompt; several words are joined by spaces. Text on stdin follows it after a blank line; `-` as the last word waits
    /// for it. A model's name before it stands for `-m` (`inferno run qwen3:0.6b "Hello"`)
    #[arg(value_name = "PROMPT", allow_negative_numbers = true)]
    pub(crate) words: Vec<String>,

    /// Prompt, taken as it is even if it looks like the name of a model
    #[arg(value_name = "LITERAL PROMPT", last = true)]
    pub(crate) literal: Vec<String>,

    /// Text file put behind the prompt after a blank line; may be repeated
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,

    /// Continue the prompt as it is, without the chat template; control tokens in it are recognised
    #[arg(long, conflicts_with_all = ["system", "chat_template", "tools"])]
    pub(crate) raw: bool,

    /// Print one JSON object at the end, with text, token ids, usage, times and finish reason
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) answering: Answering,
}

#[derive(Debug, Args)]
pub(crate) struct Chat {
    #[command(flatten)]
    pub(crate) named: ModelArgument,

    /// Do not read or write the history of what was entered (`inferno/chat_history.jsonl` in $XDG_STATE_HOME or ~/.local/state)
    #[arg(long, env = "INFERNO_NO_HISTORY", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) no_history: bool,

    #[command(flatten)]
    pub(crate) answering: Answering,
}

/// Arguments that `run` and `chat` share.
#[derive(Debug, Args)]
pub(crate) struct Answering {
    #[command(flatten)]
    pub(crate) model: ModelFile,

    #[command(flatten)]
    pub(crate) draft: DraftModel,

    /// System message put before the prompt
    #[arg(long, alias = "system-prompt", value_name = "TEXT")]
    pub(crate) system: Option<String>,

    /// Chat template in place of the model's: a file with Jinja, `chatml`, or `none` for no chats
    #[arg(long, alias = "chat-template-file", value_name = "FILE")]
    pub(crate) chat_template: Option<Choice>,

    /// Maximum number of tokens to generate, -1 for no limit; default: until the model ends its answer or the context is full
    #[arg(short = 'n', long, aliases = ["n-predict", "predict"], value_name = "N", allow_negative_numbers = true, value_parser = max_tokens)]
    pub(crate) max_tokens: Option<i64>,

    /// Minimum number of tokens to generate: the model cannot end its answer, and no stop string counts, before them
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) min_tokens: u32,

    /// Text that ends the answer and is not part of it; may be repeated
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) stop: Vec<String>,

    /// Context length; default, and 0: the model's own
    #[arg(short, long, alias = "ctx-size", value_name = "N", env = "INFERNO_CONTEXT", hide_env = true)]
    pub(crate) context: Option<u32>,

    /// JSON file with the tools that the model may call, as in a request to a server; calls are shown, not made, and `chat` asks for their results
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json_schema", "grammar"])]
    pub(crate) tools: Option<PathBuf>,

    /// JSON schema that the answer must fit, or a file with one
    #[arg(long, short = 'j', alias = "json-schema-file", value_name = "SCHEMA", conflicts_with = "grammar")]
    pub(crate) json_schema: Option<String>,

    /// Grammar in GBNF that the answer must match, or a file with one
    #[arg(long, alias = "grammar-file", value_name = "GRAMMAR")]
    pub(crate) grammar: Option<String>,

    #[command(flatten)]
    pub(crate) reasoning: Reasoning,

    /// Also print the seed, load time, speeds, why an answer stopped, and a hash of its last logits
    #[arg(short, long)]
    pub(crate) verbose: bool,

    /// Seed of the random numbers: the same seed, prompt and settings give the same text. Default, and -1: another one every
    /// time
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = seed, help_heading = "Sampling")]
    pub(crate) seed: Option<Seed>,

    #[command(flatten, next_help_heading = "Sampling")]
    pub(crate) sampling: Sampling,

    #[command(flatten)]
    pub(crate) overrides: Overrides,

    #[command(flatten)]
    pub(crate) habits: Habits,

    #[command(flatten)]
    pub(crate) compute: Compute,
}

impl Answering {
    /// `None` is the model's own.
    pub(crate) fn context(&self) -> Option<u32> {
        self.context.filter(|&n| n > 0)
    }

    /// `None` is no limit.
    pub(crate) fn max_tokens(&self) -> Option<usize> {
        self.max_tokens.and_then(|n| usize::try_from(n).ok())
    }
}

/// A seed, or any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seed {
    /// Another one every time.
    Any,
    /// A given one.
    Of(u64),
}

/// -1 is any; other negative numbers are their bits, as in requests to a server.
pub(crate) fn seed(text: &str) -> Result<Seed, &'static str> {
    match (text.parse::<u64>(), text.parse::<i64>()) {
        (Ok(seed), _) => Ok(Seed::Of(seed)),
        (_, Ok(-1)) => Ok(Seed::Any),
        (_, Ok(seed)) => Ok(Seed::Of(seed as u64)),
        _ => Err("expected an integer of 64 bits, or -1 for another seed every time"),
    }
}

pub(crate) fn max_tokens(text: &str) -> Result<i64, &'static str> {
    let n = text.parse::<i64>().ok().filter(|&n| n == -1 || (1..=i64::from(u32::MAX)).contains(&n));
    n.ok_or("expected a number from 1 to 4294967295, or -1 for no limit")
}
