//! The parameters that chats and completions share: how tokens are chosen, when it ends, what is told beside the text.

use std::sync::Arc;
use std::time::Duration;

use inferno_engine::{Grammar, Samplers, Sampling};
use inferno_grammar::{Closing, Compiled, Reasoned, ReasoningRules};
use inferno_text::{ReplyStart, StopStrings, StopText, Tokenizer};
use serde_json::Value;

use crate::error::{ApiError, shown};
use crate::fields::{Fields, agreed, expected_at, integer};
use crate::lines::LineLimits;
use crate::settings::Settings;
use crate::structure::{self, Structure};
use crate::truncation::Truncation;

mod samplers;
mod sampling;

/// What a request asks for beside its prompt.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The model's name as the client has it.
    pub(crate) model: Option<String>,
    pub(crate) n: u32,
    /// `None`: as the endpoint has it.
    pub(crate) max_tokens: Option<usize>,
    /// The prompt is read into the cache and nothing is generated: llama-server's `n_predict` is 0.
    pub(crate) only_reads: bool,
    /// As many as fit the context: `max_tokens` was -1.
    pub(crate) is_unlimited: bool,
    /// Whether an answer ends where the context does, if that comes before `max_tokens`; else such a limit is an error.
    pub(crate) ends_with_context: bool,
    pub(crate) sampling: Sampling,
    /// Samplers of `sampling` as they were asked for.
    pub(crate) samplers: Samplers,
    /// Truncation of prompts; `None`: a prompt that is too long is an error.
    pub(crate) truncation: Option<Truncation>,
    /// Notes on the prompt for the answer's `warnings`.
    pub(crate) notes: Vec<String>,
    /// Limits that end an answer at a line.
    pub(crate) lines: Option<LineLimits>,
    /// Not yet looked at any text: every choice has clones.
    pub(crate) stops: StopStrings,
    /// The strings that `stops` searches for.
    pub(crate) stop_strings: Arc<[String]>,
    pub(crate) keep_stop: bool,
    /// Control tokens are part of the text.
    pub(crate) show_control: bool,
    pub(crate) stream: Option<StreamOptions>,
    pub(crate) priority: i32,
    pub(crate) cache_salt: Option<String>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) return_token_ids: bool,
    /// Tokens are called `token_id:7` in log-probabilities.
    pub(crate) tokens_as_ids: bool,
    /// The prompt's own log-probabilities, with those of this many of the best tokens.
    pub(crate) prompt_logprobs: Option<usize>,
    /// The form that the answer must have.
    pub(crate) structure: Option<Structure>,
    /// The grammar of every choice.
    pub(crate) grammar: Option<Arc<Compiled>>,
    /// The rules of the reasoning before it, or of a budget alone.
    pub(crate) reasoning: Option<Arc<ReasoningRules>>,
    pub(crate) reply: ReplyOptions,
}

/// Circumstances by which the parts of an answer are told.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReplyOptions {
    pub(crate) start: ReplyStart,
    /// Whether reasoning that is told apart is left out of the response.
    pub(crate) hides_reasoning: bool,
}

/// How a stream is wanted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StreamOptions {
    pub(crate) include_usage: bool,
    /// Every event has the usage so far; only beside `include_usage`, as vLLM has it.
    pub(crate) continuous_usage: bool,
    pub(crate) return_progress: bool,
    /// Every event has times, as llama.cpp has it.
    pub(crate) timings_per_token: bool,
}

/// Priorities that a request may ask for; lower ones go first.
const PRIORITIES: std::ops::RangeInclusive<i64> = -100..=100;

/// A name is at most so long, and a salt.
pub(crate) const NAME_BYTES: usize = 256;

impl Options {
    /// Reads them out of a body. `logprobs` differ between the endpoints: they read them themselves.
    pub(crate) fn read(
        fields: &mut Fields,
        settings: &Settings,
        tokenizer: &Arc<Tokenizer>,
    ) -> Result<Options, ApiError> {
        let only_reads = fields.peek("n_predict").and_then(integer) == Some(0);
        let (asked, is_unlimited) = max_tokens(fields)?;
        let default = settings.max_tokens.filter(|_| asked.is_none() && !is_unlimited);
        let max_tokens = asked.or(default);
        let (sampling, samplers) = sampling::read(fields, settings, tokenizer)?;
        if let Some(max_tokens) = max_tokens
            && sampling.min_tokens > max_tokens
        {
            let min_tokens = sampling.min_tokens;
            return Err(ApiError::invalid(
                "min_tokens",
                format!("`min_tokens` is {min_tokens}, expected at most `max_tokens`, which is {max_tokens}"),
            ));
        }
        let mut count = |name| Ok((name, fields.count(name, 1..=settings.n)?));
        let n = agreed([count("n")?, count("n_cmpl")?])?.unwrap_or(1);
        // The best of as many as are told are all of them.
        if fields.peek("best_of").and_then(Value::as_u64) == Some(n as u64) {
            fields.take("best_of");
        }
        let structure = structure::read(fields, settings)?;
        let prompt_logprobs = top(fields, "prompt_logprobs")?;
        if prompt_logprobs.is_some() && fields.peek("stream") == Some(&Value::Bool(true)) {
            let message = "`prompt_logprobs` are not told in a stream: leave out `stream`";
            return Err(ApiError::invalid("prompt_logprobs", message));
        }
        let salt = fields.string("cache_salt", NAME_BYTES)?;
        if salt.as_deref() == Some("") {
            return Err(ApiError::invalid(
                "cache_salt",
                "`cache_salt` is empty, expected a text or none at all",
            ));
        }
        let deadline = fields.integer("deadline_ms", 1..=86_400_000)?;
        let deadline = deadline.map(|ms| Duration::from_millis(ms as u64));
        let keep_stop = fields.boolean("include_stop_str_in_output")?.unwrap_or(false);
        let stop_text = if keep_stop { StopText::Kept } else { StopText::Dropped };
        let stop_strings = stops(fields, settings)?;
        Ok(Options {
            model: fields.string("model", NAME_BYTES)?,
            n: n as u32,
            max_tokens,
            only_reads,
            is_unlimited,
            ends_with_context: default.is_some(),
            sampling,
            samplers,
            truncation: Truncation::read(fields)?,
            notes: Vec::new(),
            lines: None,
            stops: StopStrings::new(Arc::clone(&stop_strings), stop_text),
            stop_strings,
            keep_stop,
            show_control: !fields.boolean("skip_special_tokens")?.unwrap_or(true),
            stream: stream(fields)?,
            priority: fields.integer("priority", PRIORITIES)?.unwrap_or(0) as i32,
            cache_salt: salt,
            deadline: [deadline, settings.deadline].into_iter().flatten().min(),
            return_token_ids: fields.boolean("return_token_ids")?.unwrap_or(false),
            tokens_as_ids: fields.boolean("return_tokens_as_token_ids")?.unwrap_or(false),
            structure,
            grammar: None,
            reasoning: None,
            reply: ReplyOptions::default(),
            prompt_logprobs,
        })
    }
}

impl Options {
    /// The constraint of a choice of at most `max_tokens` tokens, and a view of whether it was closed; `None` where any
    /// tokens may come, or none at all.
    pub(crate) fn constrain(&self, max_tokens: usize) -> Option<(Box<dyn Grammar>, Closing)> {
        if max_tokens == 0 {
            return None;
        }
        if let Some(rules) = &self.reasoning {
            let reasoned = Reasoned::new(Arc::clone(rules), self.grammar.clone(), max_tokens);
            let closing = reasoned.closing();
            return Some((Box::new(reasoned), closing));
        }
        let constraint = self.grammar.as_ref()?.constrain(max_tokens);
        let closing = constraint.closing();
        Some((Box::new(constraint), closing))
    }

    /// Tokens of the shortest answer; 0 where any will do.
    pub(crate) fn shortest(&self) -> usize {
        match (&self.grammar, &self.reasoning) {
            (Some(grammar), Some(rules)) => rules.shortest(grammar),
            (Some(grammar), None) => grammar.shortest(),
            (None, _) => 0,
        }
    }
}

/// The most tokens of a completion, under each of its names, and whether it is as many as there is room for (-1, as
/// llama.cpp has it).
fn max_tokens(fields: &mut Fields) -> Result<(Option<usize>, bool), ApiError> {
    let mut limit = |name| Ok((name, fields.integer(name, -1..=i64::from(u32::MAX))?));
    let names = [limit("max_completion_tokens")?, limit("max_tokens")?, limit("n_predict")?];
    let limit = agreed(names)?;
    Ok((limit.and_then(|limit| usize::try_from(limit).ok()), limit == Some(-1)))
}

fn stops(fields: &mut Fields, settings: &Settings) -> Result<Arc<[String]>, ApiError> {
    let items = match fields.take("stop") {
        None => Vec::new(),
        Some(text @ Value::String(_)) => vec![text],
        Some(Value::Array(items)) => items,
        Some(other) => return Err(fields.expected("stop", &other, "a string or an array of strings")),
    };
    if items.len() > settings.stops {
        let (n, most) = (items.len(), settings.stops);
        return Err(ApiError::invalid("stop", format!("`stop` has {n} strings, expected at most {most}")));
    }
    let stop = |item: Value| match item {
        Value::String(text) if (1..=settings.stop_bytes).contains(&text.len()) => Ok(text),
        other => {
            let expected = format!("strings of 1 to {} bytes", settings.stop_bytes);
            Err(expected_at("stop", &other, &expected))
        }
    };
    items.into_iter().map(stop).collect()
}

fn stream(fields: &mut Fields) -> Result<Option<StreamOptions>, ApiError> {
    let is_stream = fields.boolean("stream")?.unwrap_or(false);
    let return_progress = fields.boolean("return_progress")?.unwrap_or(false);
    // A whole answer has its times anyway.
    let timings_per_token = fields.boolean("timings_per_token")?.unwrap_or(false);
    let options = fields.object("stream_options")?;
    if !is_stream {
        if options.is_some() || return_progress {
            let name = if options.is_some() { "stream_options" } else { "return_progress" };
            return Err(ApiError::invalid(name, format!("`{name}` is only allowed with `stream: true`")));
        }
        return Ok(None);
    }
    let (include_usage, continuous_usage) = match options {
        Some(mut options) => (
            options.boolean("include_usage")?.unwrap_or(false),
            options.boolean("continuous_usage_stats")?.unwrap_or(false),
        ),
        None => (false, false),
    };
    Ok(Some(StreamOptions { include_usage, continuous_usage, return_progress, timings_per_token }))
}

/// Is that a name of the model?
pub(crate) fn check_model(
    asked: Option<&str>,
    card: &crate::app::Served,
    settings: &Settings,
) -> Result<(), ApiError> {
    match asked {
        Some(asked) if !settings.any_model && !card.is_called(asked) => {
            Err(ApiError::unknown_model(asked, &shown(card.id())))
        }
        _ => Ok(()),
    }
}

/// How many of the best tokens are told, of at most `most`.
pub(crate) fn top(fields: &mut Fields, name: &str) -> Result<Option<usize>, ApiError> {
    let most = inferno_engine::MAX_TOP_LOGPROBS;
    let Some(value) = fields.take(name) else { return Ok(None) };
    match integer(&value).filter(|n| (0..=most as i64).contains(n)) {
        Some(n) => Ok(Some(n as usize)),
        None => Err(fields.expected(name, &value, &format!("an integer from 0 to {most}"))),
    }
}
