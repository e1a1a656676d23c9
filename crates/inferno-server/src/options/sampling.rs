//! The parameters that say how tokens are chosen.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use inferno_engine::{Samplers, Sampling};
use inferno_model::sample::SampleSpec;
use inferno_text::Tokenizer;
use serde_json::Value;

use crate::error::ApiError;
use crate::fields::{Fields, agreed, expected_at, integer};
use crate::settings::Settings;

use super::samplers;

/// Reads them out of a body; `logprobs` differ between the endpoints, which read them themselves.
pub(super) fn read(
    fields: &mut Fields,
    settings: &Settings,
    tokenizer: &Arc<Tokenizer>,
) -> Result<(Sampling, Samplers), ApiError> {
    let vocab_size = tokenizer.vocab_size();
    let defaults = &settings.defaults;
    let asked = samplers::asked(fields);
    let top_k = fields.integer("top_k", -1..=i64::from(i32::MAX))?;
    let spec = SampleSpec {
        temperature: temperature(fields)?.unwrap_or(defaults.temperature),
        top_k: top_k.map_or(defaults.top_k, |k| k.max(0) as usize),
        top_p: fields.number("top_p", 0.0..=1.0)?.unwrap_or(defaults.top_p),
        min_p: fields.number("min_p", 0.0..=1.0)?.unwrap_or(defaults.min_p),
        seed: seed(fields, settings.seed)?,
        choice_idx: 0,
    };
    let mut penalty = |name| Ok((name, fields.number(name, 0.01..=10.0)?));
    let repeat_penalty = agreed([penalty("repetition_penalty")?, penalty("repeat_penalty")?])?;
    let mut last_n = |name| Ok((name, fields.integer(name, -1..=i64::from(u32::MAX))?));
    let last_n = agreed([last_n("repeat_last_n")?, last_n("penalty_last_n")?])?;
    let (logit_bias, mut banned) = logit_bias(fields, settings, vocab_size)?;
    banned.extend(tokenizer.suppressed());
    let allowed = fields.tokens("allowed_token_ids", settings.token_lists, vocab_size)?;
    if allowed.as_ref().is_some_and(Vec::is_empty) {
        let message = "`allowed_token_ids` is empty, expected at least one token id or none of it";
        return Err(ApiError::invalid("allowed_token_ids", message));
    }
    let mut sampling = Sampling {
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
        logprob_tokens: logprob_tokens(fields, vocab_size)?,
        ..Sampling::default()
    };
    let samplers = samplers::read(fields, defaults, tokenizer, (&asked, &mut sampling))?;
    if leaves_nothing(&sampling) {
        let message = "of `allowed_token_ids` no token is left: `logit_bias`, `min_tokens` and `ignore_eos` exclude all";
        return Err(ApiError::invalid("allowed_token_ids", message));
    }
    Ok((sampling, samplers))
}

/// Tokens whose log-probabilities are told in place of those of the best, as many as vLLM takes.
fn logprob_tokens(fields: &mut Fields, vocab_size: usize) -> Result<Arc<[u32]>, ApiError> {
    const NAME: &str = "logprob_token_ids";
    let tokens = fields.tokens(NAME, 128, vocab_size)?.unwrap_or_default();
    let has_logprobs = fields.peek("logprobs").is_some_and(|wanted| *wanted != Value::Bool(false));
    if !tokens.is_empty() && !has_logprobs {
        let message = format!("`{NAME}` is only allowed with `logprobs`");
        return Err(ApiError::invalid(NAME, message));
    }
    Ok(tokens.into())
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

/// The server's own seed, or another one for each request, where it names none; -1 is another one, as llama.cpp has it. The 64
/// bits may be signed or not.
fn seed(fields: &mut Fields, default: Option<u64>) -> Result<u64, ApiError> {
    // 53 bits: answers tell the seed, and clients whose numbers are doubles send it back as it is.
    let any = || RandomState::new().hash_one(()) >> 11;
    let Some(value) = fields.take("seed") else { return Ok(default.unwrap_or_else(any)) };
    match (value.as_u64(), integer(&value)) {
        (Some(seed), _) => Ok(seed),
        (None, Some(-1)) => Ok(any()),
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
