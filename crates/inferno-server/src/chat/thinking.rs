//! Whether and how hard a model shall think, under the names that servers have for it. Templates know the variables
//! `enable_thinking` and `reasoning_effort`.

use serde_json::Value;

use crate::error::ApiError;
use crate::fields::{Fields, agreed};

/// Bytes of a word.
const WORD_BYTES: usize = 32;

/// Reads `enable_thinking` (true or false), `thinking` of GLM, DeepSeek and Anthropic (`{"type": "disabled"}`), Ollama's
/// `think` (true, false or a word) and OpenAI's `reasoning_effort` (a word).
pub(super) fn read(fields: &mut Fields) -> Result<(Option<bool>, Option<String>), ApiError> {
    let own = fields.boolean("enable_thinking")?;
    let effort = fields.string("reasoning_effort", WORD_BYTES)?;
    let (think, level) = think(fields)?;
    let names = [("enable_thinking", own), ("thinking", thinking(fields)?), ("think", think)];
    match (effort, level) {
        (Some(effort), Some(level)) if effort != level => {
            let message = "`think` and `reasoning_effort` differ, expected one of them";
            Err(ApiError::invalid("think", message))
        }
        (effort, level) => Ok((agreed(names)?, effort.or(level))),
    }
}

fn think(fields: &mut Fields) -> Result<(Option<bool>, Option<String>), ApiError> {
    match fields.take("think") {
        None => Ok((None, None)),
        Some(Value::Bool(think)) => Ok((Some(think), None)),
        Some(Value::String(level)) if (1..=WORD_BYTES).contains(&level.len()) => Ok((None, Some(level))),
        Some(other) => {
            let expected = format!("true, false, or a string of 1 to {WORD_BYTES} bytes");
            Err(fields.expected("think", &other, &expected))
        }
    }
}

fn thinking(fields: &mut Fields) -> Result<Option<bool>, ApiError> {
    const EXPECTED: &str = "true, false, {\"type\": \"enabled\"} or {\"type\": \"disabled\"}";
    let value = match fields.take("thinking") {
        None => return Ok(None),
        Some(Value::Bool(think)) => return Ok(Some(think)),
        Some(value) => value,
    };
    if !value["budget_tokens"].is_null() {
        let message = "`thinking.budget_tokens` is not supported: use `max_completion_tokens`";
        return Err(ApiError::unsupported("thinking.budget_tokens", message));
    }
    match value["type"].as_str() {
        Some("enabled") => Ok(Some(true)),
        Some("disabled") => Ok(Some(false)),
        _ => Err(fields.expected("thinking", &value, EXPECTED)),
    }
}
