//! Requests of Ollama in the words of chats and of completions.

use serde_json::{Map, Value, json};

use crate::app::App;
use crate::error::ApiError;
use crate::fields::{Fields, expected_at, integer};
use crate::options::NAME_BYTES;

/// Options that say how a model is kept in memory, which is the server's business.
const KEPT: [&str; 14] = [
    "num_keep",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "num_thread",
    "numa",
    "low_vram",
    "f16_kv",
    "logits_all",
    "vocab_only",
    "use_mmap",
    "use_mlock",
    "embedding_only",
    // A prompt that is longer than the server's context is refused and never cut, whatever this is.
    "num_ctx",
];

/// Parameters of chats for which an answer here has no place.
const FOREIGN: [&str; 9] = [
    "n",
    "truncate_prompt_tokens",
    "n_cmpl",
    "functions",
    "function_call",
    "stream_options",
    "prompt_logprobs",
    "return_token_ids",
    "return_progress",
];

/// Body of the routes about a model.
#[derive(Debug)]
pub(crate) struct AboutModel {
    pub(crate) name: Option<String>,
    pub(crate) is_stream: bool,
}

impl AboutModel {
    /// Reads a body.
    ///
    /// # Errors
    /// 400: a field has another type.
    pub(crate) fn read(body: Map<String, Value>) -> Result<AboutModel, ApiError> {
        let mut fields = Fields::new(body);
        Ok(AboutModel { name: named(&mut fields)?, is_stream: fields.boolean("stream")?.unwrap_or(true) })
    }

    /// The name, which must be there.
    ///
    /// # Errors
    /// 400: it is missing or empty.
    pub(crate) fn required(self) -> Result<String, ApiError> {
        let name = self.name.filter(|name| !name.is_empty());
        name.ok_or_else(|| ApiError::missing("model", "`model` is missing: the name of a model"))
    }
}

/// Takes the model's name out of a request: `model`, or `name` as older clients have it.
///
/// # Errors
/// 400: it is no string.
pub(crate) fn named(fields: &mut Fields) -> Result<Option<String>, ApiError> {
    let (model, name) = (fields.string("model", NAME_BYTES)?, fields.string("name", NAME_BYTES)?);
    Ok(model.or(name))
}

/// A name without the tag that says nothing; as it is where the model has it so.
pub(crate) fn untagged<'a>(name: &'a str, app: &App) -> &'a str {
    match app.card.is_called(name) {
        true => name,
        false => name.strip_suffix(":latest").unwrap_or(name),
    }
}

/// `body` with the name under which the server knows its model.
pub(super) fn with_model(mut body: Map<String, Value>, name: Option<&str>, app: &App) -> Map<String, Value> {
    if let Some(name) = name {
        body.insert("model".into(), untagged(name, app).into());
    }
    body
}

/// Whether a request has nothing in `member` to answer: it asks for the model to be loaded, or to be given up.
pub(crate) fn asks_for_nothing(body: &Map<String, Value>, member: &str) -> bool {
    match body.get(member) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    }
}

/// `/api/chat` as a chat, and notes on what is not followed.
pub(super) fn chat(mut fields: Fields) -> Result<(Map<String, Value>, Vec<String>), ApiError> {
    // Ollama ignores it, so that clients which send it have had answers without it.
    let notes = match fields.take("system") {
        None => Vec::new(),
        Some(Value::String(text)) if text.is_empty() => Vec::new(),
        Some(_) => vec![
            "`system` is ignored, as by Ollama: `/api/chat` takes a message whose `role` is \"system\""
                .to_owned(),
        ],
    };
    let mut members = shared(&mut fields)?;
    let messages = match fields.take("messages") {
        Some(Value::Array(messages)) => messages,
        Some(other) => return Err(fields.expected("messages", &other, "an array of messages")),
        None => return Err(ApiError::missing("messages", "`messages` is missing: an array of messages")),
    };
    let messages =
        messages.into_iter().enumerate().map(|(i, item)| message(i, item)).collect::<Result<Vec<_>, _>>()?;
    // An answer goes on from a last message of the assistant's.
    let continues = messages.last().is_some_and(|last| {
        last["role"] == "assistant"
            && last["tool_calls"].as_array().is_none_or(Vec::is_empty)
            && last["content"].as_str().is_some_and(|text| !text.is_empty())
    });
    if continues {
        members.insert("continue_final_message".into(), true.into());
    }
    members.insert("messages".into(), messages.into());
    Ok((merged(fields, members), notes))
}

/// `/api/generate` as a chat of a system message and one of a user.
pub(super) fn generate(mut fields: Fields) -> Result<Map<String, Value>, ApiError> {
    let mut members = shared(&mut fields)?;
    fields.boolean("raw")?;
    if fields.has("tools") {
        let message = "`tools` is not a parameter of `/api/generate`: use `/api/chat`";
        return Err(ApiError::unsupported("tools", message));
    }
    let mut messages = Vec::new();
    for (name, role) in [("system", "system"), ("prompt", "user")] {
        match fields.take(name) {
            None => {}
            Some(Value::String(text)) if text.is_empty() => {}
            Some(Value::String(text)) => messages.push(json!({ "role": role, "content": text })),
            Some(other) => return Err(fields.expected(name, &other, "a string")),
        }
    }
    members.insert("messages".into(), messages.into());
    Ok(merged(fields, members))
}

/// `/api/generate` with `raw` as a completion.
pub(super) fn raw(mut fields: Fields) -> Result<Map<String, Value>, ApiError> {
    let mut members = shared(&mut fields)?;
    fields.boolean("raw")?;
    // Without a template there is no reasoning to switch off.
    if fields.peek("think") == Some(&Value::Bool(false)) {
        fields.take("think");
    }
    if fields.peek("max_tokens").is_none() {
        members.entry("max_tokens").or_insert((-1).into());
    }
    Ok(merged(fields, members))
}

/// The members that the server knows under their own name, and those of `members`, which have become others.
fn merged(fields: Fields, members: Map<String, Value>) -> Map<String, Value> {
    let mut body = fields.into_rest();
    body.extend(members);
    body
}

/// Reads what all routes share: `stream`, `options`, `format`, and what asks for nothing here.
fn shared(fields: &mut Fields) -> Result<Map<String, Value>, ApiError> {
    if let Some(name) = FOREIGN.into_iter().find(|name| fields.has(name)) {
        let message = format!(
            "`{name}` is not a parameter of `/api`, whose answers have no place for it: use `/v1/chat/completions`"
        );
        return Err(ApiError::unsupported(name, message));
    }
    let mut members = options(fields)?;
    members.insert("stream".into(), fields.boolean("stream")?.unwrap_or(true).into());
    // Prompts are never cut, contexts never shifted.
    for name in ["truncate", "shift"] {
        fields.boolean(name)?;
    }
    fields.take("keep_alive");
    match fields.take("format") {
        None => {}
        Some(Value::String(word)) if word.is_empty() => {}
        Some(Value::String(word)) if word == "json" => {
            members.insert("response_format".into(), json!({ "type": "json_object" }));
        }
        Some(schema @ Value::Object(_)) => {
            let schema = json!({ "name": "format", "schema": schema });
            members.insert("response_format".into(), json!({ "type": "json_schema", "json_schema": schema }));
        }
        Some(other) => return Err(fields.expected("format", &other, "\"json\" or a JSON schema")),
    }
    Ok(members)
}

/// `options` as members of the body.
fn options(fields: &mut Fields) -> Result<Map<String, Value>, ApiError> {
    let options = match fields.take("options") {
        None => return Ok(Map::new()),
        Some(Value::Object(options)) => options,
        Some(other) => return Err(fields.expected("options", &other, "an object")),
    };
    let mut members = Map::new();
    for (name, value) in options {
        if value.is_null() || KEPT.contains(&name.as_str()) {
            continue;
        }
        if name != "num_predict" {
            members.insert(name, value);
            continue;
        }
        match integer(&value) {
            // -1 is no limit, -2 the rest of the context.
            Some(n) if n < 0 => {}
            Some(n @ 1..=0xffff_ffff) => drop(members.insert("max_tokens".into(), n.into())),
            _ => {
                let expected = format!("an integer from 1 to {}, or -1 for no limit", u32::MAX);
                return Err(expected_at("options.num_predict", &value, &expected));
            }
        }
    }
    Ok(members)
}

/// A message with the names that chats have.
fn message(i: usize, item: Value) -> Result<Value, ApiError> {
    let Value::Object(mut message) = item else {
        return Err(expected_at(&format!("messages[{i}]"), &item, "an object with `role` and `content`"));
    };
    match message.shift_remove("images") {
        None | Some(Value::Null) => {}
        Some(Value::Array(images)) if images.is_empty() => {}
        Some(_) => {
            let path = format!("messages[{i}].images");
            let message = format!("`{path}` is not supported: the model reads text only");
            return Err(ApiError::unsupported(path, message));
        }
    }
    for (name, other) in [("tool_name", "name"), ("thinking", "reasoning_content")] {
        if let Some(value) = message.shift_remove(name) {
            message.entry(other).or_insert(value);
        }
    }
    message.entry("content").or_insert("".into());
    Ok(message.into())
}
