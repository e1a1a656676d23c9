//! Whole answers, and the list of models.

use serde_json::{Value, json};

use super::{PATH, story, story_with, text};
use crate::dialect::rules::{PROMPT, has_type, without};
use crate::exchange::Request;
use crate::probe::{Probe, Stop, Verdict, demand};

pub(super) fn models(probe: &Probe<'_>) -> Verdict {
    let models = probe.get("/v1/models")?.shaped("Models")?;
    demand!(models["data"].as_array().is_some_and(|all| !all.is_empty()), "no model is listed");
    Ok(())
}

pub(super) fn one_model(probe: &Probe<'_>) -> Verdict {
    let model = probe.get(&format!("/v1/models/{}", quoted(&probe.model)))?;
    let model = model.offered()?.shaped("Model")?;
    demand!(model["id"] == probe.model.as_str(), "the model's id is {}, not {:?}", model["id"], probe.model);
    Ok(())
}

/// A name as a part of a path.
fn quoted(name: &str) -> String {
    let byte = |b: u8| match b {
        b if b.is_ascii_alphanumeric() || b"-._~:/".contains(&b) => char::from(b).to_string(),
        b => format!("%{b:02X}"),
    };
    name.bytes().map(byte).collect()
}

pub(super) fn content_type(probe: &Probe<'_>) -> Verdict {
    has_type(&*probe.post(PATH, &story(probe))?, "application/json")
}

pub(super) fn shape(probe: &Probe<'_>) -> Verdict {
    let body = probe.post(PATH, &story(probe))?.shaped("ChatCompletion")?;
    demand!(body["choices"].as_array().is_some_and(|all| all.len() == 1), "there is not one choice");
    demand!(body["choices"][0]["index"] == 0, "the index of the only choice is not 0");
    Ok(())
}

pub(super) fn usage(probe: &Probe<'_>) -> Verdict {
    let answer = probe.post(PATH, &story(probe))?;
    adds_up(&answer.ok()?.json()?["usage"], 32)
}

/// The usage of an answer of at most `most` tokens.
pub(in crate::dialect) fn adds_up(usage: &Value, most: u64) -> Verdict {
    let count = |name: &str| {
        usage[name].as_u64().ok_or_else(|| Stop::failed(format!("`usage.{name}` is not a count")).at(usage))
    };
    let (prompt, completion, total) =
        (count("prompt_tokens")?, count("completion_tokens")?, count("total_tokens")?);
    demand!(prompt + completion == total, "usage does not add up: {prompt} + {completion} is not {total}");
    demand!(prompt > 0, "a prompt of 0 tokens");
    demand!(
        (1..=most).contains(&completion),
        "{completion} tokens of completion, though `max_tokens` is {most}"
    );
    Ok(())
}

pub(super) fn length(probe: &Probe<'_>) -> Verdict {
    let answer = probe.post(PATH, &story_with(probe, &json!({ "max_tokens": 3 })))?;
    is_cut(&answer.ok()?.json()?, 3)
}

pub(super) fn max_completion_tokens(probe: &Probe<'_>) -> Verdict {
    let request = without(story_with(probe, &json!({ "max_completion_tokens": 3 })), "max_tokens");
    let answer = probe.post(PATH, &request)?;
    is_cut(&answer.ok()?.json()?, 3)
}

/// An answer that ended after `n` tokens says so.
pub(in crate::dialect) fn is_cut(body: &Value, n: u64) -> Verdict {
    let used = body["usage"]["completion_tokens"].as_u64();
    if used.is_some_and(|used| used < n) {
        return Err(Stop::skipped(format!("the model ended its answer within {n} tokens")));
    }
    let (reason, used) = (&body["choices"][0]["finish_reason"], &body["usage"]["completion_tokens"]);
    demand!(*used == n, "{used} tokens of completion, though the limit is {n}");
    demand!(reason == "length", "finish_reason is {reason}, expected \"length\"");
    Ok(())
}

pub(super) fn content_parts(probe: &Probe<'_>) -> Verdict {
    let whole = text(&*probe.post(PATH, &story(probe))?)?;
    let parts = json!([{ "role": "user", "content": [{ "type": "text", "text": PROMPT }] }]);
    let found = text(&*probe.post(PATH, &story_with(probe, &json!({ "messages": parts })))?)?;
    demand!(found == whole, "the same text as a part has another answer: {found:?}, as a string {whole:?}");
    Ok(())
}

pub(super) fn developer(probe: &Probe<'_>) -> Verdict {
    let messages = json!([
        { "role": "developer", "content": "Answer in one sentence." },
        { "role": "user", "content": PROMPT }
    ]);
    text(&*probe.post(PATH, &story_with(probe, &json!({ "messages": messages, "max_tokens": 8 })))?)?;
    Ok(())
}

pub(super) fn new_fields(probe: &Probe<'_>) -> Verdict {
    let whole = text(&*probe.post(PATH, &story(probe))?)?;
    let fields = json!({
        "user": "u", "metadata": { "k": "v" }, "store": false, "service_tier": "auto", "prompt_cache_key": "k",
        "safety_identifier": "s", "verbosity": "medium"
    });
    let found = text(&*probe.ask(Request::post(PATH, &story_with(probe, &fields)))?)?;
    demand!(found == whole, "fields about the caller change the answer: {found:?}, without them {whole:?}");
    Ok(())
}
