//! A request of Messages as one of chats: `system` is a message, blocks become messages, names become those of chats.

use std::sync::atomic::Ordering;

use serde_json::{Map, Value, json};

use super::{blocks, nonce, tools};
use crate::app::App;
use crate::error::{ApiError, shown};
use crate::fields::{Fields, expected_at};
use crate::settings::Settings;

/// A request in the words of chats.
#[derive(Debug)]
pub(super) struct Request {
    /// Body of the chat.
    pub(super) chat: Map<String, Value>,
    /// Whether anything has a `cache_control`.
    pub(super) marks_cache: bool,
    /// Whether `context_management` asks for edits.
    pub(super) edits_context: bool,
    /// Whether `diagnostics` names an earlier answer.
    pub(super) diagnoses: bool,
    /// Name of the field that has the schema of the answer.
    pub(super) schema: Option<&'static str>,
}

/// Parameters of chats that this dialect has under another name or not at all, and what to do instead.
const FOREIGN: [(&[&str], &str); 7] = [
    (&["max_completion_tokens", "n_predict"], "the name here is `max_tokens`"),
    (&["stop"], "the name here is `stop_sequences`"),
    (&["functions", "function_call"], "the names here are `tools` and `tool_choice`"),
    (&["parallel_tool_calls"], "use `disable_parallel_tool_use` of `tool_choice`"),
    (
        &["continue_final_message", "add_generation_prompt", "echo"],
        "an answer goes on from a last message of the assistant's",
    ),
    (&["stream_options"], "usage is part of every answer: leave it out"),
    (
        &[
            "n",
            "truncate_prompt_tokens",
            "n_cmpl",
            "logprobs",
            "top_logprobs",
            "prompt_logprobs",
            "return_token_ids",
            "return_progress",
            "timings_per_token",
        ],
        "an answer here has no place for it: use `/v1/chat/completions`",
    ),
];

/// Parameters of an answer, which change no count of a prompt's tokens.
const UNCOUNTED: [&str; 5] = ["max_tokens", "temperature", "top_p", "top_k", "stream"];

/// Words of `output_config.effort`, which templates know as `reasoning_effort`.
const EFFORTS: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];

impl Request {
    /// Reads a request for an answer.
    ///
    /// # Errors
    /// 400: a field is missing or malformed, or asks for what the server does not have.
    pub(super) fn read(body: Map<String, Value>, app: &App) -> Result<Request, ApiError> {
        let mut fields = Fields::new(body);
        let most = u32::MAX as usize;
        let Some(max_tokens) = fields.count("max_tokens", 1..=most)? else {
            let message = "`max_tokens` is missing: the most tokens of the answer, an integer from 1 on";
            return Err(ApiError::missing("max_tokens", message));
        };
        let mut request = Request::of(fields, app)?;
        request.chat.insert("max_tokens".into(), max_tokens.into());
        Ok(request)
    }

    /// Reads a request whose tokens are counted.
    ///
    /// # Errors
    /// See [`read`](Self::read).
    pub(super) fn read_counted(body: Map<String, Value>, app: &App) -> Result<Request, ApiError> {
        let mut fields = Fields::new(body);
        for name in UNCOUNTED {
            fields.take(name);
        }
        Request::of(fields, app)
    }

    fn of(mut fields: Fields, app: &App) -> Result<Request, ApiError> {
        check_foreign(&fields)?;
        let settings = &app.settings;
        let mut members = Map::new();
        let mut marks_cache = fields.take("cache_control").is_some();
        let system = system(&mut fields, app, &mut marks_cache)?;
        let (messages, continues) = blocks::read(&mut fields, settings, &mut marks_cache)?;
        members.insert("messages".into(), system.into_iter().chain(messages).collect());
        if continues {
            members.insert("continue_final_message".into(), true.into());
        }
        members.extend(tools::read(&mut fields, &mut marks_cache)?);
        if let Some(stops) = stops(&mut fields, settings)? {
            members.insert("stop".into(), stops);
        }
        if let Some(thinking) = thinking(&mut fields, &mut members)? {
            members.insert("thinking".into(), thinking);
        }
        let schema = output(&mut fields, &mut members)?;
        if fields.has("container") {
            let message = "`container` is not supported: no code is run on this server";
            return Err(ApiError::unsupported("container", message));
        }
        let edits_context = match fields.take("context_management") {
            None => false,
            Some(Value::Object(management)) => management.get("edits").is_some_and(|edits| !edits.is_null()),
            Some(other) => return Err(expected_at("context_management", &other, "an object")),
        };
        let diagnoses = match fields.take("diagnostics") {
            None => false,
            Some(Value::Object(asked)) => asked.get("previous_message_id").is_some_and(|id| !id.is_null()),
            Some(other) => return Err(expected_at("diagnostics", &other, "an object")),
        };
        // The rest means the same in chats, or is known to none.
        let mut chat = fields.into_rest();
        chat.extend(members);
        Ok(Request { chat, marks_cache, edits_context, diagnoses, schema })
    }
}

fn check_foreign(fields: &Fields) -> Result<(), ApiError> {
    for (names, advice) in FOREIGN {
        if let Some(name) = names.iter().find(|name| fields.has(name)) {
            let message = format!("`{name}` is not a parameter of `/v1/messages`: {advice}");
            return Err(ApiError::unsupported(*name, message));
        }
    }
    Ok(())
}

/// The system prompt as a message: a text, or blocks of text.
fn system(fields: &mut Fields, app: &App, marks_cache: &mut bool) -> Result<Option<Value>, ApiError> {
    let mut texts = match fields.take("system") {
        None => return Ok(None),
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(items)) => blocks::texts("system", items, marks_cache)?,
        Some(other) => return Err(fields.expected("system", &other, "a string or an array of text blocks")),
    };
    if !app.settings.keeps_billing_header && nonce::strip(&mut texts) {
        let is_told = app.has_told_nonce.swap(true, Ordering::Relaxed);
        if !is_told {
            tracing::info!(
                "the line `{}` is taken off system prompts: it differs in every request, so that no prompt would \
                 be found in the prefix cache (`--keep-billing-header` keeps it)",
                nonce::NAME
            );
        }
    }
    texts.retain(|text| !text.is_empty());
    let parts: Vec<Value> = texts.into_iter().map(inferno_text::text_part).collect();
    Ok((!parts.is_empty()).then(|| json!({ "role": "system", "content": parts })))
}

fn stops(fields: &mut Fields, settings: &Settings) -> Result<Option<Value>, ApiError> {
    const NAME: &str = "stop_sequences";
    let items = match fields.take(NAME) {
        None => return Ok(None),
        Some(Value::Array(items)) => items,
        Some(other) => return Err(fields.expected(NAME, &other, "an array of strings")),
    };
    if items.len() > settings.stops {
        let (n, most) = (items.len(), settings.stops);
        return Err(ApiError::invalid(NAME, format!("`{NAME}` has {n} strings, expected at most {most}")));
    }
    let most = settings.stop_bytes;
    let is_wrong = |item: &&Value| !item.as_str().is_some_and(|text| (1..=most).contains(&text.len()));
    match items.iter().find(is_wrong) {
        Some(wrong) => Err(expected_at(NAME, wrong, &format!("strings of 1 to {most} bytes"))),
        None => Ok(Some(items.into())),
    }
}

/// `thinking` without `display`, which says whether reasoning is shown.
fn thinking(fields: &mut Fields, members: &mut Map<String, Value>) -> Result<Option<Value>, ApiError> {
    let mut thinking = match fields.take("thinking") {
        None => return Ok(None),
        Some(Value::Object(thinking)) => thinking,
        Some(other) => {
            let expected = "an object like {\"type\": \"enabled\", \"budget_tokens\": 1024}";
            return Err(fields.expected("thinking", &other, expected));
        }
    };
    match thinking.swap_remove("display") {
        None | Some(Value::Null) => {}
        // Reasoning is never summarized: a client that takes summaries gets all of it.
        Some(Value::String(word)) if word == "summarized" || word == "full" => {}
        Some(Value::String(word)) if word == "omitted" => {
            members.insert("include_reasoning".into(), false.into());
        }
        Some(other) => {
            return Err(expected_at("thinking.display", &other, "\"summarized\" or \"omitted\""));
        }
    }
    Ok(Some(thinking.into()))
}

/// `output_config` with the effort and the form of the answer, and the form's older name `output_format`; returns the name of
/// the schema.
fn output(fields: &mut Fields, members: &mut Map<String, Value>) -> Result<Option<&'static str>, ApiError> {
    let older = fields.take("output_format");
    let Some(mut config) = fields.object("output_config")? else {
        return format("output_format", older, members);
    };
    if let Some(effort) = config.take("effort") {
        match effort.as_str().filter(|word| EFFORTS.contains(word)) {
            Some(word) => members.insert("reasoning_effort".into(), word.into()),
            None => {
                let expected = format!("one of {}", EFFORTS.join(", "));
                return Err(config.expected("effort", &effort, &expected));
            }
        };
    }
    match (config.take("format"), older) {
        (Some(_), Some(_)) => {
            let message = "`output_format` and `output_config.format` are both there, expected one of them";
            Err(ApiError::invalid("output_format", message))
        }
        (None, older) => format("output_format", older, members),
        (newer, None) => format("output_config.format", newer, members),
    }
}

fn format(
    name: &'static str,
    value: Option<Value>,
    members: &mut Map<String, Value>,
) -> Result<Option<&'static str>, ApiError> {
    let Some(mut value) = value else { return Ok(None) };
    let schema = match name {
        "output_format" => "output_format.schema",
        _ => "output_config.format.schema",
    };
    match value["type"].as_str() {
        Some("json_schema") => {}
        Some(other) => {
            let message = format!("`{name}.type` is \"{}\", expected \"json_schema\"", shown(other));
            return Err(ApiError::invalid(format!("{name}.type"), message));
        }
        None => {
            let expected = "a form like {\"type\": \"json_schema\", \"schema\": {…}}";
            return Err(expected_at(name, &value, expected));
        }
    }
    match value["schema"].take() {
        found @ Value::Object(_) => {
            let form = json!({ "type": "json_schema", "json_schema": { "name": "answer", "schema": found } });
            members.insert("response_format".into(), form);
            Ok(Some(schema))
        }
        other => Err(expected_at(schema, &other, "a JSON schema: an object")),
    }
}
