//! Whether, how hard and how long a model reasons, and how its reasoning is told: under the names that servers have for it.
//! Templates know the variables `enable_thinking` and `reasoning_effort`.

use inferno_text::TemplateProfile;
use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::fields::{Fields, agreed, integer};
use crate::settings::Settings;

/// A request's wishes for the model's reasoning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Thinking {
    /// `None`: as the template has it.
    pub(crate) enabled: Option<bool>,
    /// `reasoning_effort` as the template gets it.
    pub(crate) effort: Option<String>,
    /// Tokens of reasoning at most; `None` is no limit.
    pub(crate) budget: Option<usize>,
    /// Whether reasoning is told apart from the answer; else it stays in the content as the model wrote it. `None`: as the
    /// operator has it.
    pub(crate) splits: Option<bool>,
    /// Whether reasoning that is told apart is part of the response.
    pub(crate) shows: bool,
}

/// Bytes of a word.
const WORD_BYTES: usize = 32;

/// Names of the budget, those of llama.cpp, vLLM, SGLang and Qwen.
const BUDGETS: [&str; 6] = [
    "reasoning_budget",
    "reasoning_budget_tokens",
    "thinking_budget_tokens",
    "thinking_budget",
    "thinking_token_budget",
    "max_thinking_tokens",
];

/// Reads `enable_thinking` (true or false), `thinking` of GLM, DeepSeek and Anthropic (`{"type": "disabled"}`), Ollama's
/// `think` (true, false or a word), OpenAI's `reasoning_effort` (a word), the budget under its names, and how reasoning is
/// told: llama-server's `reasoning_format`, vLLM's `include_reasoning`, SGLang's `separate_reasoning`.
///
/// # Errors
/// A field is malformed, or two names of one parameter differ.
pub(super) fn read(fields: &mut Fields) -> Result<Thinking, ApiError> {
    let own = fields.boolean("enable_thinking")?;
    let effort = fields.string("reasoning_effort", WORD_BYTES)?;
    let (think, level) = think(fields)?;
    let (thinking, tokens) = thinking(fields)?;
    let effort = match (effort, level) {
        (Some(effort), Some(level)) if effort != level => {
            let message = "`think` and `reasoning_effort` differ, expected one of them";
            return Err(ApiError::invalid("think", message));
        }
        (effort, level) => effort.or(level),
    };
    let enabled = agreed([("enable_thinking", own), ("thinking", thinking), ("think", think)])?;
    let enabled = enabled.or((effort.as_deref() == Some("none")).then_some(false));
    let mut budget = [("thinking.budget_tokens", tokens); 7];
    for (slot, name) in budget[1..].iter_mut().zip(BUDGETS) {
        *slot = (name, fields.integer(name, -1..=i64::from(u32::MAX))?);
    }
    let budget = agreed(budget)?.and_then(|n| usize::try_from(n).ok());
    let is_stream = fields.peek("stream") == Some(&Value::Bool(true));
    let format = format(fields, is_stream)?;
    let separate = fields.boolean("separate_reasoning")?;
    let splits = agreed([("reasoning_format", format), ("separate_reasoning", separate)])?;
    let shows = fields.boolean("include_reasoning")?.unwrap_or(true);
    Ok(Thinking { enabled, effort, budget, splits, shows })
}

impl Thinking {
    /// Fills in what the operator and the template decide, and sets the template's variables.
    pub(super) fn set(
        &mut self,
        variables: &mut Map<String, Value>,
        settings: &Settings,
        profile: Option<&TemplateProfile>,
    ) {
        if let Some(effort) = self.effort.take() {
            if effort == "none" {
                variables.entry("enable_thinking").or_insert(Value::Bool(false));
            } else if let Some(enabled) = self.enabled {
                variables.insert("enable_thinking".into(), enabled.into());
            }
            variables.entry("reasoning_effort").or_insert(Value::String(effort));
        } else if let Some(enabled) = self.enabled {
            variables.insert("enable_thinking".into(), enabled.into());
        }
        let names = profile.map_or(&[][..], |profile| &profile.reply.thinking_variables);
        let named = names
            .iter()
            .chain([&"enable_thinking".to_owned()])
            .find_map(|name| variables.get(name)?.as_bool());
        self.enabled = named.or(settings.thinking);
        if let Some(enabled) = self.enabled {
            // A template's own names for it.
            for name in names.iter().map(String::as_str).chain(["enable_thinking"]) {
                variables.entry(name).or_insert(enabled.into());
            }
        }
        self.splits = Some(self.splits.unwrap_or(settings.splits_reasoning));
        self.budget = self.budget.or(settings.thinking_budget);
        // A model whose template has no switch is made to end its reasoning at once.
        let has_switch = !names.is_empty();
        if self.enabled == Some(false) && !has_switch {
            self.budget = Some(0);
        }
    }
}

/// Whether reasoning is told apart. `deepseek-legacy` leaves it in the content of streams, as llama-server does.
fn format(fields: &mut Fields, is_stream: bool) -> Result<Option<bool>, ApiError> {
    const NAME: &str = "reasoning_format";
    const EXPECTED: &str = "\"auto\", \"none\", \"deepseek\" or \"deepseek-legacy\"";
    match fields.take(NAME) {
        None => Ok(None),
        Some(value) => match value.as_str() {
            Some("" | "auto") => Ok(None),
            Some("none") => Ok(Some(false)),
            Some("deepseek") => Ok(Some(true)),
            Some("deepseek-legacy") => Ok(Some(!is_stream)),
            _ => Err(fields.expected(NAME, &value, EXPECTED)),
        },
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

/// Whether the model reasons, and the budget beside it.
fn thinking(fields: &mut Fields) -> Result<(Option<bool>, Option<i64>), ApiError> {
    const EXPECTED: &str = "true, false, {\"type\": \"enabled\"} or {\"type\": \"disabled\"}";
    let value = match fields.take("thinking") {
        None => return Ok((None, None)),
        Some(Value::Bool(think)) => return Ok((Some(think), None)),
        Some(value) => value,
    };
    let budget = match &value["budget_tokens"] {
        Value::Null => None,
        found => match integer(found).filter(|n| (-1..=i64::from(u32::MAX)).contains(n)) {
            Some(n) => Some(n),
            None => {
                let expected = format!("an integer from -1 to {}", u32::MAX);
                return Err(crate::fields::expected_at("thinking.budget_tokens", found, &expected));
            }
        },
    };
    match value["type"].as_str() {
        // Anthropic's newer models decide themselves.
        Some("adaptive" | "auto") => Ok((None, budget)),
        Some("enabled") => Ok((Some(true), budget)),
        Some("disabled") => Ok((Some(false), None)),
        _ => Err(fields.expected("thinking", &value, EXPECTED)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_all(body: Value) -> Result<Thinking, ApiError> {
        super::read(&mut Fields::new(body.as_object().unwrap().clone()))
    }

    #[test]
    fn every_name_sets_its_part() {
        let plain = Thinking { enabled: None, effort: None, budget: None, splits: None, shows: true };
        let of = |change: fn(&mut Thinking)| {
            let mut thinking = plain.clone();
            change(&mut thinking);
            thinking
        };
        for (body, expected) in [
            (json!({}), plain.clone()),
            (json!({ "reasoning_format": "auto", "include_reasoning": true }), plain.clone()),
            (json!({ "enable_thinking": false }), of(|t| t.enabled = Some(false))),
            (json!({ "think": true, "enable_thinking": true }), of(|t| t.enabled = Some(true))),
            (
                json!({ "thinking": { "type": "disabled", "budget_tokens": 9 } }),
                of(|t| t.enabled = Some(false)),
            ),
            (
                json!({ "thinking": { "type": "enabled", "budget_tokens": 9 } }),
                of(|t| (t.enabled, t.budget) = (Some(true), Some(9))),
            ),
            (json!({ "reasoning_effort": "low" }), of(|t| t.effort = Some("low".into()))),
            (
                json!({ "reasoning_effort": "none" }),
                of(|t| (t.effort, t.enabled) = (Some("none".into()), Some(false))),
            ),
            (json!({ "thinking_budget": 0 }), of(|t| t.budget = Some(0))),
            (json!({ "reasoning_budget": -1 }), plain.clone()),
            (json!({ "thinking_token_budget": 5, "reasoning_budget_tokens": 5 }), of(|t| t.budget = Some(5))),
            (json!({ "reasoning_format": "none" }), of(|t| t.splits = Some(false))),
            (
                json!({ "reasoning_format": "deepseek-legacy", "stream": true }),
                of(|t| t.splits = Some(false)),
            ),
            (json!({ "reasoning_format": "deepseek-legacy" }), of(|t| t.splits = Some(true))),
            (json!({ "separate_reasoning": false }), of(|t| t.splits = Some(false))),
            (json!({ "include_reasoning": false }), of(|t| t.shows = false)),
        ] {
            assert_eq!(read_all(body.clone()).unwrap(), expected, "{body}");
        }
    }

    #[test]
    fn wrong_values_and_contradictions_are_refused() {
        for (body, param) in [
            (json!({ "reasoning_format": "xml" }), "reasoning_format"),
            (json!({ "reasoning_format": 1 }), "reasoning_format"),
            (json!({ "reasoning_format": "none", "separate_reasoning": true }), "separate_reasoning"),
            (json!({ "thinking_budget": -2 }), "thinking_budget"),
            (json!({ "thinking_budget": 0.5 }), "thinking_budget"),
            (json!({ "thinking_budget": 1, "reasoning_budget": 2 }), "thinking_budget"),
            (json!({ "thinking": { "type": "enabled", "budget_tokens": "x" } }), "thinking.budget_tokens"),
            (json!({ "thinking": { "type": "x" } }), "thinking"),
            (json!({ "think": true, "enable_thinking": false }), "think"),
            (json!({ "think": "low", "reasoning_effort": "high" }), "think"),
            (json!({ "include_reasoning": 1 }), "include_reasoning"),
        ] {
            let error = read_all(body.clone()).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param), "{body}: {}", error.message);
        }
    }
}
