//! Requests to the other endpoints, right and wrong, and the answers to them when nothing else runs.

use serde_json::{Value as Json, json};

use crate::load::Result;
use crate::load::client::{Client, excerpt};
use crate::load::target::Target;

/// A request whose answer is known.
pub(super) struct Other {
    method: &'static str,
    path: &'static str,
    body: String,
    status: u16,
    /// Without what changes from answer to answer.
    answer: Json,
}

/// Fields that differ from answer to answer: names, times, and what was found in the cache.
const CHANGING: [&str; 16] = [
    "id",
    "created",
    "created_at",
    "completed_at",
    "timings",
    "request_id",
    "item_id",
    "call_id",
    "prompt_tokens_details",
    "input_tokens_details",
    "cache_read_input_tokens",
    "prefix_cache",
    "total_duration",
    "load_duration",
    "prompt_eval_duration",
    "eval_duration",
];

impl Other {
    /// Asks once more, and compares.
    pub(super) fn ask_again(&self, client: &mut Client) -> Result<()> {
        let (status, answer) = ask(client, self.method, self.path, &self.body)?;
        if status != self.status {
            return Err(format!(
                "`{}` has status {status}, alone it had {}: {}",
                self.path,
                self.status,
                excerpt(&answer.to_string())
            ));
        }
        if let Some((at, now, alone)) = difference(&answer, &self.answer) {
            return Err(format!(
                "`{}` is answered by other words than alone, at `{at}`: {now}, alone {alone}",
                self.path
            ));
        }
        Ok(())
    }
}

/// All of them with their answers, asked of a server that does nothing else.
///
/// # Errors
/// One has another kind of status than it is to have.
pub(super) fn known(target: &Target) -> Result<Vec<Other>> {
    let mut client = Client::new(target);
    let mut others = Vec::new();
    for (kind, method, path, body) in requests(&target.model) {
        let (status, answer) = ask(&mut client, method, path, &body)?;
        if status / 100 != kind {
            let answer = excerpt(&answer.to_string());
            return Err(format!("`{path}` has status {status} and not one of {kind}00: {answer}"));
        }
        others.push(Other { method, path, body, status, answer });
    }
    Ok(others)
}

fn ask(client: &mut Client, method: &str, path: &str, body: &str) -> Result<(u16, Json)> {
    let (status, text) = client.exchange(method, path, body)?;
    let mut answer: Json = serde_json::from_str(&text)
        .map_err(|_| format!("`{path}` has status {status} and no JSON: {}", excerpt(&text)))?;
    strip(&mut answer);
    Ok((status, answer))
}

/// Where two values differ first, and how.
fn difference(a: &Json, b: &Json) -> Option<(String, String, String)> {
    let within =
        |at: String, found: (String, String, String)| (format!("/{at}{}", found.0), found.1, found.2);
    match (a, b) {
        (Json::Object(a), Json::Object(b)) if a.keys().eq(b.keys()) => {
            a.iter().find_map(|(name, a)| Some(within(name.clone(), difference(a, &b[name])?)))
        }
        (Json::Array(a), Json::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(i, (a, b))| Some(within(i.to_string(), difference(a, b)?)))
        }
        _ if a == b => None,
        _ => Some((String::new(), excerpt(&a.to_string()), excerpt(&b.to_string()))),
    }
}

/// Drops what changes.
fn strip(json: &mut Json) {
    match json {
        Json::Object(fields) => {
            fields.retain(|name, _| !CHANGING.contains(&name.as_str()));
            fields.values_mut().for_each(strip);
        }
        Json::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

type Request = (u16, &'static str, &'static str, String);

/// Hundreds of the status that is to come, and the request.
fn requests(model: &str) -> Vec<Request> {
    let chat = "/v1/chat/completions";
    let messages = json!([{ "role": "user", "content": "Tell me about a dog and a red ball." }]);
    let chats = |more: Json| {
        let mut body = json!({ "model": model, "messages": messages, "max_tokens": 40, "seed": 5 });
        if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
            body.extend(more.clone());
        }
        body.to_string()
    };
    let schema = json!({
        "type": "object",
        "properties": { "name": { "type": "string", "maxLength": 12 }, "age": { "type": "integer" } },
        "required": ["name", "age"],
        "additionalProperties": false,
    });
    let tool = json!({ "type": "function", "function": { "name": "look", "parameters": schema } });
    let schema = json!({ "type": "json_schema", "json_schema": { "name": "person", "schema": schema } });
    vec![
        (2, "POST", chat, chats(json!({}))),
        (2, "POST", chat, chats(json!({ "n": 2, "logprobs": true, "top_logprobs": 3, "temperature": 1.2 }))),
        (2, "POST", chat, chats(json!({ "response_format": schema, "max_tokens": 60 }))),
        (2, "POST", chat, chats(json!({ "tools": [tool], "tool_choice": "required", "max_tokens": 60 }))),
        (2, "POST", chat, chats(json!({ "stop": ["and"], "frequency_penalty": 0.5, "logit_bias": { "7": 3 } }))),
        (
            2,
            "POST",
            "/v1/completions",
            json!({ "model": model, "prompt": ["Once upon", "The end of"], "n": 2, "logprobs": 2, "max_tokens": 12, "seed": 9 })
                .to_string(),
        ),
        (
            2,
            "POST",
            "/v1/messages",
            json!({ "model": model, "messages": messages, "max_tokens": 30, "temperature": 0 }).to_string(),
        ),
        (
            2,
            "POST",
            "/v1/responses",
            json!({ "model": model, "input": "Tell me about the rain.", "max_output_tokens": 30, "temperature": 0 })
                .to_string(),
        ),
        (2, "POST", "/api/chat", chats(json!({ "stream": false, "options": { "seed": 5, "num_predict": 20 } }))),
        (2, "POST", "/tokenize", json!({ "content": "The sun and the rain." }).to_string()),
        (2, "GET", "/v1/models", String::new()),
        (4, "POST", chat, chats(json!({ "temperature": -1 }))),
        (4, "POST", chat, chats(json!({ "max_tokens": 1_u64 << 40 }))),
        (4, "POST", chat, "{\"messages\": [".into()),
        (4, "POST", chat, chats(json!({ "messages": [{ "role": "user", "content": "word ".repeat(20_000) }] }))),
        (4, "GET", "/v1/nothing", String::new()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_compared_without_what_changes() {
        let answer = |text: &str, id: u64| {
            let mut answer =
                json!({ "id": id, "choices": [{ "text": "a" }, { "text": text, "timings": { "ms": id } }] });
            strip(&mut answer);
            answer
        };
        assert_eq!(difference(&answer("b", 1), &answer("b", 2)), None);
        let found = difference(&answer("b", 1), &answer("c", 1)).unwrap();
        assert_eq!(found, ("/choices/1/text".into(), "\"b\"".into(), "\"c\"".into()));
        let found = difference(&json!({ "a": 1 }), &json!({ "b": 1 })).unwrap();
        assert_eq!(found.0, "");
    }
}
