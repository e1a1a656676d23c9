//! The parameters that chats and completions share: how tokens are chosen, when it ends, what is told beside the text.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use inferno_engine::Sampling;
use inferno_model::sample::SampleSpec;
use inferno_text::{StopStrings, StopText, Tokenizer};
use serde_json::Value;

use crate::error::{ApiError, shown};
use crate::fields::{Fields, agreed, expected_at, integer};
use crate::settings::Settings;

/// What a request asks for beside its prompt.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The model's name as the client has it.
    pub(crate) model: Option<String>,
    pub(crate) n: u32,
    /// `None`: as the endpoint has it.
    pub(crate) max_tokens: Option<usize>,
    /// As many as fit the context: `max_tokens` was -1.
    pub(crate) is_unlimited: bool,
    pub(crate) sampling: Sampling,
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
        tokenizer: &Tokenizer,
    ) -> Result<Options, ApiError> {
        let (max_tokens, is_unlimited) = max_tokens(fields)?;
        let sampling = sampling(fields, settings, tokenizer)?;
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
        if let Some(format) = fields.take("response_format") {
            response_format(&format)?;
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
            is_unlimited,
            sampling,
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
        })
    }
}

fn sampling(fields: &mut Fields, settings: &Settings, tokenizer: &Tokenizer) -> Result<Sampling, ApiError> {
    let vocab_size = tokenizer.vocab_size();
    let defaults = settings.defaults;
    let top_k = fields.integer("top_k", -1..=i64::from(i32::MAX))?;
    let spec = SampleSpec {
        temperature: temperature(fields)?.unwrap_or(defaults.temperature),
        top_k: top_k.map_or(defaults.top_k, |k| k.max(0) as usize),
        top_p: fields.number("top_p", 0.0..=1.0)?.unwrap_or(defaults.top_p),
        min_p: fields.number("min_p", 0.0..=1.0)?.unwrap_or(defaults.min_p),
        seed: seed(fields)?,
        choice_idx: 0,
    };
    let mut penalty = |name| Ok((name, fields.number(name, 0.01..=10.0)?));
    let repeat_penalty = agreed([penalty("repetition_penalty")?, penalty("repeat_penalty")?])?;
    let last_n = fields.integer("repeat_last_n", -1..=i64::from(u32::MAX))?;
    let (logit_bias, banned) = logit_bias(fields, settings, vocab_size)?;
    let allowed = fields.tokens("allowed_token_ids", settings.token_lists, vocab_size)?;
    if allowed.as_ref().is_some_and(Vec::is_empty) {
        let message = "`allowed_token_ids` is empty, expected at least one token id or none of it";
        return Err(ApiError::invalid("allowed_token_ids", message));
    }
    let sampling = Sampling {
        spec,
        repeat_penalty: repeat_penalty.unwrap_or(defaults.repeat_penalty),
        repeat_last_n: last_n.map_or(defaults.repeat_last_n, |n| usize::try_from(n).ok()),
        frequency_penalty: fields
            .number("frequency_penalty", -2.0..=2.0)?
            .unwrap_or(defaults.frequency_penalty),
        presence_penalty: fields.number("presence_penalty", -2.0..=2.0)?.unwrap_or(defaults.presence_penalty),
        logit_bias,
        allowed,
        banned,
        min_tokens: fields.count("min_tokens", 0..=u32::MAX as usize)?.unwrap_or(0),
        stop_tokens: fields.tokens("stop_token_ids", settings.token_lists, vocab_size)?.unwrap_or_default(),
        eos_tokens: tokenizer.end_of_generation().to_vec(),
        ignore_eos: fields.boolean("ignore_eos")?.unwrap_or(false),
        logprobs: None,
    };
    if leaves_nothing(&sampling) {
        let message = "of `allowed_token_ids` no token is left: `logit_bias`, `min_tokens` and `ignore_eos` exclude all";
        return Err(ApiError::invalid("allowed_token_ids", message));
    }
    Ok(sampling)
}

/// Is every token that may be chosen first also one that may not?
fn leaves_nothing(sampling: &Sampling) -> bool {
    let Sampling { allowed, banned, stop_tokens, eos_tokens, ignore_eos, min_tokens, .. } = sampling;
    let is_early = *min_tokens > 0;
    let excluded = |id: &u32| {
        banned.contains(id)
            || (is_early && stop_tokens.contains(id))
            || ((is_early || *ignore_eos) && eos_tokens.contains(id))
    };
    allowed.as_ref().is_some_and(|allowed| allowed.iter().all(excluded))
}

/// The most tokens of a completion, under each of its names, and whether it is as many as there is room for (-1, as
/// llama.cpp has it).
fn max_tokens(fields: &mut Fields) -> Result<(Option<usize>, bool), ApiError> {
    let mut limit = |name| Ok((name, fields.integer(name, -1..=i64::from(u32::MAX))?));
    let names = [limit("max_completion_tokens")?, limit("max_tokens")?, limit("n_predict")?];
    let limit = agreed(names)?;
    Ok((limit.and_then(|limit| usize::try_from(limit).ok()), limit == Some(-1)))
}

/// The temperature; `do_sample: false`, as transformers has it, is another way to ask for 0.
fn temperature(fields: &mut Fields) -> Result<Option<f32>, ApiError> {
    let temperature = fields.number("temperature", 0.0..=2.0)?;
    match (fields.boolean("do_sample")?, temperature) {
        (Some(false), Some(temperature)) if temperature > 0.0 => {
            let message =
                format!("`do_sample` is false and `temperature` is {temperature}, expected 0 or none");
            Err(ApiError::invalid("do_sample", message))
        }
        (Some(true), Some(0.0)) => {
            let message = "`do_sample` is true and `temperature` is 0, expected more or none";
            Err(ApiError::invalid("do_sample", message))
        }
        (Some(false), _) => Ok(Some(0.0)),
        (_, temperature) => Ok(temperature),
    }
}

/// Another one for every request that names none; -1 is none, as llama.cpp has it. The 64 bits may be signed or not.
fn seed(fields: &mut Fields) -> Result<u64, ApiError> {
    let Some(value) = fields.take("seed") else { return Ok(RandomState::new().hash_one(())) };
    match (value.as_u64(), integer(&value)) {
        (Some(seed), _) => Ok(seed),
        (None, Some(-1)) => Ok(RandomState::new().hash_one(())),
        (None, Some(seed)) => Ok(seed as u64),
        (None, None) => {
            let expected = format!("an integer of 64 bits, from {} to {}", i64::MIN, u64::MAX);
            Err(fields.expected("seed", &value, &expected))
        }
    }
}

/// An object from token id to bias, or pairs of them; `false` bans the token.
#[allow(clippy::type_complexity, reason = "two lists")]
fn logit_bias(
    fields: &mut Fields,
    settings: &Settings,
    vocab_size: usize,
) -> Result<(Vec<(u32, f32)>, Vec<u32>), ApiError> {
    const NAME: &str = "logit_bias";
    let (mut biases, mut banned) = (Vec::new(), Vec::new());
    let Some(value) = fields.take(NAME) else { return Ok((biases, banned)) };
    let pairs: Vec<(Value, Value)> = match value {
        Value::Object(map) => map.into_iter().map(|(id, bias)| (Value::String(id), bias)).collect(),
        Value::Array(items) => {
            let pair = |(i, item): (usize, Value)| match item {
                Value::Array(mut pair) if pair.len() == 2 => {
                    let bias = pair.pop().unwrap_or_default();
                    Ok((pair.pop().unwrap_or_default(), bias))
                }
                other => Err(expected_at(&format!("{NAME}[{i}]"), &other, "a pair of token id and bias")),
            };
            items.into_iter().enumerate().map(pair).collect::<Result<_, _>>()?
        }
        other => return Err(fields.expected(NAME, &other, "an object from token id to a number")),
    };
    if pairs.len() > settings.logit_bias {
        let (n, most) = (pairs.len(), settings.logit_bias);
        return Err(ApiError::invalid(NAME, format!("`{NAME}` has {n} entries, expected at most {most}")));
    }
    for (id, bias) in pairs {
        let number = match &id {
            Value::String(text) => text.parse::<u64>().ok(),
            other => other.as_u64(),
        };
        let Some(token) = number.filter(|&id| id < vocab_size as u64).map(|id| id as u32) else {
            let last = vocab_size - 1;
            return Err(expected_at(NAME, &id, &format!("token ids from 0 to {last} as keys")));
        };
        // As "1" and "01", say: the sum might be more than may be asked for.
        if banned.contains(&token) || biases.iter().any(|&(other, _)| other == token) {
            return Err(ApiError::invalid(NAME, format!("`{NAME}` has the token {token} twice")));
        }
        match bias.as_f64().filter(|x| (-100.0..=100.0).contains(x)) {
            Some(bias) => biases.push((token, bias as f32)),
            None if bias == Value::Bool(false) => banned.push(token),
            None => {
                return Err(expected_at(&format!("{NAME}.{token}"), &bias, "a number from -100 to 100"));
            }
        }
    }
    Ok((biases, banned))
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

fn response_format(format: &Value) -> Result<(), ApiError> {
    match format["type"].as_str() {
        Some("text") => Ok(()),
        Some(other @ ("json_object" | "json_schema")) => Err(ApiError::unsupported(
            "response_format",
            format!(
                "`response_format` of type `{other}` is not supported yet: describe the form in the prompt"
            ),
        )),
        _ => Err(expected_at("response_format", format, "`{\"type\": \"text\"}`")),
    }
}

/// Is that a name of the model?
pub(crate) fn check_model(
    asked: Option<&str>,
    card: &crate::app::Card,
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
