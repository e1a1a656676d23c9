//! Parameters that other servers have and this one does not: to ignore them would give answers that nobody asked for.
//!
//! What is in none of these lists and in no reader is unknown: clients may send what is newer than this server, and it
//! is ignored.

use serde_json::{Map, Value};

use crate::error::ApiError;

/// Does nothing if it has this value.
enum Neutral {
    /// null, false, 0, "", [] and {}
    Empty,
    Number(f64),
    Text(&'static [&'static str]),
    /// An array of nothing but these.
    Words(&'static [&'static str]),
}

use Neutral::{Empty, Number, Text, Words};

const GRAMMAR: &str = "structured output is not there yet: describe the form in the prompt";
const TOOLS: &str = "tool calls are not there yet: describe the tools in the prompt";
const SAMPLER: &str = "this sampler is not there yet: leave it out";
const LENGTH: &str = "the name here is `max_completion_tokens` or `max_tokens`";

/// Name, the value that does nothing, and what to do instead.
const KNOWN: [(&str, Neutral, &str); 59] = [
    ("tools", Empty, TOOLS),
    ("functions", Empty, TOOLS),
    ("tool_choice", Text(&["none", "auto"]), TOOLS),
    ("function_call", Text(&["none", "auto"]), TOOLS),
    ("grammar", Empty, GRAMMAR),
    ("json_schema", Empty, GRAMMAR),
    ("structured_outputs", Empty, GRAMMAR),
    ("guided_json", Empty, GRAMMAR),
    ("guided_regex", Empty, GRAMMAR),
    ("guided_choice", Empty, GRAMMAR),
    ("guided_grammar", Empty, GRAMMAR),
    ("regex", Empty, GRAMMAR),
    ("ebnf", Empty, GRAMMAR),
    ("structural_tag", Empty, GRAMMAR),
    ("typical_p", Number(1.0), SAMPLER),
    ("top_n_sigma", Number(-1.0), SAMPLER),
    ("dynatemp_range", Empty, SAMPLER),
    ("mirostat", Empty, SAMPLER),
    ("mirostat_mode", Empty, SAMPLER),
    ("xtc_probability", Empty, SAMPLER),
    ("dry_multiplier", Empty, SAMPLER),
    ("adaptive_target", Number(-1.0), SAMPLER),
    ("samplers", Empty, "the order of the samplers is fixed: leave it out"),
    ("bad_words", Empty, "use `logit_bias` with -100 for their tokens"),
    ("use_beam_search", Empty, "beam search is not there: use `n`"),
    ("best_of", Number(1.0), "use `n` with `logprobs`, and choose"),
    (
        "suffix",
        Empty,
        "completion between two texts is not there: write the model's own format into `prompt`",
    ),
    ("truncate_prompt_tokens", Empty, "nothing is cut here: shorten the prompt"),
    ("truncate_sequence", Empty, "nothing is cut here: shorten the prompt"),
    ("prompt_embeds", Empty, "embeddings are not taken as a prompt"),
    ("documents", Empty, "write them into the messages"),
    ("lora", Empty, "adapters are not there"),
    ("lora_request", Empty, "adapters are not there"),
    ("audio", Empty, "the model writes text only"),
    ("modalities", Words(&["text"]), "the model writes text only"),
    ("chat_template", Empty, "templates in requests are not taken: the model's own is used"),
    ("continue_final_message", Empty, "use `/v1/completions` with the text of `/apply-template`"),
    ("thinking_budget", Empty, "a budget for thinking is not there: use `max_completion_tokens`"),
    ("thinking_budget_tokens", Empty, "a budget for thinking is not there: use `max_completion_tokens`"),
    ("thinking_token_budget", Empty, "a budget for thinking is not there: use `max_completion_tokens`"),
    (
        "reasoning_budget_tokens",
        Number(-1.0),
        "a budget for thinking is not there: use `max_completion_tokens`",
    ),
    ("reasoning_format", Text(&["none"]), "thinking is part of the text here"),
    ("logprob_token_ids", Empty, "use `top_logprobs`"),
    ("prompt_logprobs", Empty, "use `/v1/completions` with `echo` and `logprobs`"),
    ("post_sampling_probs", Empty, "log-probabilities are the model's own, before anything"),
    // Those that only one of the endpoints reads.
    ("echo", Empty, "use `/v1/completions`"),
    ("top_logprobs", Empty, "the name here is `logprobs`, a number"),
    ("n_predict", Empty, LENGTH),
    ("max_length", Empty, LENGTH),
    ("max_new_tokens", Empty, LENGTH),
    ("n_probs", Empty, "the names here are `logprobs` and `top_logprobs`"),
    ("min_new_tokens", Empty, "the name here is `min_tokens`"),
    ("no_stop_trim", Empty, "the name here is `include_stop_str_in_output`"),
    ("id_slot", Number(-1.0), "there are no slots: equal prefixes are shared by themselves"),
    ("t_max_predict_ms", Empty, "use `deadline_ms`"),
    ("n_discard", Empty, "a context is never shifted"),
    ("input_audio", Empty, "the model reads text only"),
    ("image_url", Empty, "the model reads text only"),
    ("images", Empty, "the model reads text only"),
];

/// # Errors
/// One of `rest` is known to others and asks for something.
pub(crate) fn check(rest: &Map<String, Value>) -> Result<(), ApiError> {
    for (name, neutral, advice) in &KNOWN {
        if let Some(value) = rest.get(*name)
            && !neutral.is(value)
        {
            return Err(ApiError::unsupported(*name, format!("`{name}` is not supported: {advice}")));
        }
    }
    Ok(())
}

impl Neutral {
    fn is(&self, value: &Value) -> bool {
        match (self, value) {
            (_, Value::Null | Value::Bool(false)) => true,
            (_, Value::String(text)) if text.is_empty() => true,
            (Words(words), Value::Array(items)) => {
                items.iter().all(|item| item.as_str().is_some_and(|item| words.contains(&item)))
            }
            (_, Value::Array(items)) => items.is_empty(),
            (_, Value::Object(pairs)) => pairs.is_empty(),
            (Empty, Value::Number(n)) => n.as_f64() == Some(0.0),
            (Number(x), Value::Number(n)) => n.as_f64() == Some(*x),
            (Text(texts), Value::String(text)) => texts.contains(&text.as_str()),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check_one(body: Value) -> Option<Box<str>> {
        check(body.as_object().unwrap()).err().and_then(|e| e.param)
    }

    #[test]
    fn what_does_nothing_is_taken_and_what_asks_for_something_is_not() {
        let nothing = json!({
            "tools": [], "tool_choice": "none", "best_of": 1, "suffix": null, "mirostat": 0, "dry_multiplier": 0.0,
            "typical_p": 1, "grammar": "", "use_beam_search": false, "prompt_cache_key": "x", "verbosity": "low",
        });
        assert_eq!(check_one(nothing), None);
        for (name, value) in [
            ("tools", json!([{}])),
            ("tool_choice", json!("required")),
            ("best_of", json!(2)),
            ("suffix", json!("x")),
            ("mirostat", json!(2)),
            ("typical_p", json!(0.5)),
            ("use_beam_search", json!(true)),
            ("truncate_prompt_tokens", json!(5)),
            ("chat_template", json!("{{ messages }}")),
        ] {
            assert_eq!(check_one(json!({ name: value })).as_deref(), Some(name));
        }
    }

    #[test]
    fn no_parameter_is_listed_twice() {
        for (i, (name, ..)) in KNOWN.iter().enumerate() {
            assert!(KNOWN[..i].iter().all(|other| other.0 != *name), "{name}");
        }
    }
}
