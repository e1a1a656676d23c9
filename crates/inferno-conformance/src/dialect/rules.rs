//! Rules that several APIs share.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::exchange::{Answer, Request};
use crate::probe::{Probe, Stop, Verdict, demand, fits};

/// A prompt that any model has an answer of some length to.
pub(super) const PROMPT: &str = "Tell me a story about a dragon.";
/// Subjects of the stories that are asked for at once.
const SUBJECTS: [&str; 8] = ["dragon", "cat", "river", "king", "garden", "robot", "bird", "mountain"];
/// Longest prompt that is sent to exceed a context, in words.
const MOST_WORDS: u64 = 300_000;

/// An object with the members of another instead of, or beside, its own.
pub(super) fn merged(mut base: Value, more: &Value) -> Value {
    if let (Some(base), Some(more)) = (base.as_object_mut(), more.as_object()) {
        for (key, value) in more {
            base.insert(key.clone(), value.clone());
        }
    }
    base
}

/// The request without a member.
pub(super) fn without(mut base: Value, key: &str) -> Value {
    if let Some(object) = base.as_object_mut() {
        object.remove(key);
    }
    base
}

/// The answer's content type is this one.
pub(super) fn has_type(answer: &Answer, expected: &str) -> Verdict {
    answer.ok()?;
    let found = answer.header("content-type").unwrap_or("absent");
    let essence = found.split(';').next().unwrap_or_default().trim();
    demand!(essence.eq_ignore_ascii_case(expected), "content-type is {found}, expected {expected}");
    Ok(())
}

/// A refusal with one of these statuses, whose body has the shape of the dialect's errors.
pub(super) fn refused(answer: &Answer, statuses: &[u16], shape: &str) -> Verdict {
    answer.refused(statuses)?;
    let body = answer.json().map_err(|stop| stop.at(answer.text()))?;
    fits(shape, &body)
}

/// A body that is no JSON.
pub(super) fn bad_json(path: &str) -> Request {
    Request::post_bytes(path, b"{\"model\": \"m\", ".to_vec())
}

/// A text that exceeds the context which the server states.
///
/// # Errors
/// The server states none, or it is too long to be exceeded.
pub(super) fn too_long(probe: &Probe<'_>) -> Result<String, Stop> {
    let Some(n) = context(probe) else {
        return Err(Stop::skipped("neither /v1/models nor /props states the length of the context"));
    };
    if n > MOST_WORDS {
        return Err(Stop::skipped(format!("a prompt for a context of {n} tokens would have megabytes")));
    }
    let n = usize::try_from(n).unwrap_or(usize::MAX);
    Ok("dragon ".repeat(n + 64))
}

/// Tokens of the context, where the server states them.
fn context(probe: &Probe<'_>) -> Option<u64> {
    let models = probe.get("/v1/models").ok()?.json().ok()?;
    let all = models["data"].as_array()?;
    let model = all.iter().find(|model| model["id"] == probe.model.as_str()).or(all.first())?;
    let stated = [&model["max_model_len"], &model["context_length"], &model["meta"]["n_ctx"]];
    if let Some(n) = stated.into_iter().find_map(Value::as_u64) {
        return Some(n);
    }
    let props = probe.get("/props").ok()?.json().ok()?;
    props["default_generation_settings"]["n_ctx"].as_u64().or(model["meta"]["n_ctx_train"].as_u64())
}

/// A refusal of a long prompt that says that it is about the context.
pub(super) fn is_too_long(answer: &Answer, shape: &str) -> Verdict {
    refused(answer, &[400, 413], shape)?;
    let text = answer.text().to_lowercase();
    let is_told = ["context", "too long", "too many tokens"].iter().any(|words| text.contains(words));
    demand!(is_told, "the error does not say that the prompt is too long for the context");
    Ok(())
}

/// The same requests alone and all at once have the same texts.
///
/// `request` makes one about a subject, and `text` reads the answer.
pub(super) fn same_under_load(
    probe: &Probe<'_>,
    request: impl Fn(&str) -> Request,
    text: impl Fn(&Answer) -> Result<String, Stop>,
) -> Verdict {
    let requests: Vec<Request> = (0..probe.concurrency)
        .map(|i| {
            let number = if i < SUBJECTS.len() { String::new() } else { format!(" number {i}") };
            request(&format!("{}{number}", SUBJECTS[i % SUBJECTS.len()]))
        })
        .collect();
    let mut alone = Vec::new();
    for request in &requests {
        alone.push(text(&*probe.ask(request.clone())?)?);
    }
    let together = probe.ask_together(&requests);
    for ((request, answer), alone) in requests.into_iter().zip(together).zip(alone) {
        let answer = answer
            .map_err(|broken| Stop::failed(format!("of {} requests at once: {broken}", probe.concurrency)))?;
        let found = text(&answer);
        probe.show(request, answer);
        let found = found?;
        demand!(
            found == alone,
            "of {} requests at once one has another text than alone: {:?}, alone {:?}",
            probe.concurrency,
            crate::probe::cut(&found, 120),
            crate::probe::cut(&alone, 120)
        );
    }
    Ok(())
}

/// Six characters in the middle of a text, and the text before they first occur.
///
/// # Errors
/// The text is too short.
pub(super) fn stop_within(text: &str) -> Result<(String, String), Stop> {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() < 24 {
        return Err(Stop::skipped(format!(
            "an answer of {} characters is too short to be stopped within",
            chars.len()
        )));
    }
    let middle = chars.len() / 2;
    let stop: String = chars[middle..middle + 6].iter().collect();
    let before = text.split(&stop).next().unwrap_or_default().to_owned();
    Ok((stop, before))
}

/// Clients that leave while an answer comes, and a request after them.
///
/// # Errors
/// The server has no answer for the request any more, or another.
pub(super) fn survives_leaving(
    probe: &Probe<'_>,
    long: Request,
    after: Request,
    text: impl Fn(&Answer) -> Result<String, Stop>,
) -> Verdict {
    let before = text(&*probe.ask(after.clone())?)?;
    let leaving = vec![long.leaving_after(1); probe.concurrency];
    for answer in probe.ask_together(&leaving) {
        answer?.ok()?;
    }
    let found = text(&*probe.ask_again(after)?)?;
    demand!(found == before, "the next answer is {found:?}, before clients left it was {before:?}");
    Ok(())
}

/// Arguments or an answer for the schema of [`person`].
pub(super) fn is_person(text: &str) -> Verdict {
    let value: Value = serde_json::from_str(text.trim())
        .map_err(|e| Stop::failed(format!("the text is not JSON: {e}")).at(text))?;
    let name = value["name"].as_str().is_some_and(|name| name == "Ann" || name == "Bob");
    let age = value["age"].as_u64().is_some_and(|age| age <= 99);
    let n = value.as_object().map_or(0, |object| object.len());
    let keeps = name && age && value["is_member"].is_boolean() && n == 3;
    if keeps { Ok(()) } else { Err(Stop::failed("the text breaks the schema").at(text)) }
}

/// A schema with a few types.
pub(super) fn person() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "enum": ["Ann", "Bob"] },
            "age": { "type": "integer", "minimum": 0, "maximum": 99 },
            "is_member": { "type": "boolean" }
        },
        "required": ["name", "age", "is_member"],
        "additionalProperties": false
    })
}

/// A text whose characters have one to four bytes, so that tokens cut them.
pub(super) const WIDE: &str = "né 日本語 🎉🐉 ok";

/// A schema that has one answer: an object with [`WIDE`] in it.
pub(super) fn wide() -> Value {
    json!({
        "type": "object",
        "properties": { "text": { "type": "string", "enum": [WIDE] } },
        "required": ["text"],
        "additionalProperties": false
    })
}

/// The only answer to [`wide`].
pub(super) fn is_wide(text: &str) -> Verdict {
    demand!(!text.contains('\u{fffd}'), "a character was cut: U+FFFD in {text:?}");
    let value: Value = serde_json::from_str(text.trim())
        .map_err(|e| Stop::failed(format!("the text is not JSON: {e}")).at(text))?;
    demand!(
        value["text"] == WIDE,
        "the text is {}, and the schema allows nothing but {WIDE:?}",
        value["text"]
    );
    Ok(())
}

/// Parameters of the tool `get_weather`.
pub(super) fn weather() -> Value {
    json!({
        "type": "object",
        "properties": { "city": { "type": "string", "enum": ["Paris", "Rome"] } },
        "required": ["city"],
        "additionalProperties": false
    })
}

/// Description of the tool `get_weather`.
pub(super) const WEATHER: &str = "Current weather of a city";
/// A question for which the tool is needed.
pub(super) const ASK_WEATHER: &str = "What is the weather in Paris? Use the tool.";

/// Arguments that the tool takes.
pub(super) fn is_city(arguments: &Value) -> Verdict {
    let city = arguments["city"].as_str();
    demand!(
        city.is_some_and(|city| city == "Paris" || city == "Rome"),
        "the arguments {arguments} break the schema of the tool"
    );
    Ok(())
}

/// Members whose values are the same in all of these objects.
pub(super) fn same_in_all(values: &[&Value], member: &str) -> Verdict {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for value in values {
        *counts.entry(value[member].to_string()).or_default() += 1;
    }
    let mut found: Vec<&String> = counts.keys().collect();
    found.sort();
    let shown: Vec<&str> = found.iter().map(|name| name.as_str()).take(3).collect();
    demand!(counts.len() < 2, "`{member}` changes within the stream: {}", shown.join(", "));
    Ok(())
}
