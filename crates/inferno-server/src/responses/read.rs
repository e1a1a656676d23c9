//! Reading the fields of a request.

use std::sync::Arc;

use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::items::Messages;
use super::request::{Asked, Style};
use super::tools;
use crate::app::App;
use crate::error::{ApiError, shown};
use crate::fields::{Fields, expected_at};
use crate::keys::Caller;
use crate::options::{self, NAME_BYTES};
use crate::unsupported;

/// Values of `include`. Those of tools that OpenAI runs ask for nothing here.
const INCLUDES: [&str; 8] = [
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
    "message.input_image.image_url",
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
];

/// Bytes of a word.
const WORD_BYTES: usize = 32;

impl Asked {
    /// Reads a request.
    ///
    /// # Errors
    /// 400: a field has a value that is not allowed, or is not supported. 404: it names an item that is not kept.
    pub(crate) fn read(body: Map<String, Value>, caller: &Caller, app: &App) -> Result<Asked, ApiError> {
        let mut fields = Fields::new(body);
        let previous = fields.string("previous_response_id", NAME_BYTES)?;
        let mut items = match &previous {
            Some(id) => earlier(id, caller, app)?,
            None => Vec::new(),
        };
        let n_past = items.len();
        let is_text = fields.peek("input").is_some_and(Value::is_string);
        let stores = fields.boolean("store")?.unwrap_or(true);
        let own = own_items(&mut fields, previous.is_some(), caller, app)?;
        items.extend(own.into_iter().map(|item| if stores { with_id(item, app) } else { item }));
        check_size(&items, app)?;
        let is_background = background(&mut fields, stores, app)?;
        let mut more = Map::new();
        let instructions = fields.string("instructions", app.settings.body_bytes)?;
        let max_output_tokens = fields.integer("max_output_tokens", 1..=i64::from(u32::MAX))?;
        insert(&mut more, "max_completion_tokens", max_output_tokens);
        let served = tools::read(fields.take("tools"), app.settings.tools)?;
        if !served.shown.is_empty() {
            more.insert("tools".into(), served.shown.into());
        }
        let choice = fields.take("tool_choice");
        if let Some(choice) = &choice {
            more.insert("tool_choice".into(), tools::choice(choice)?);
        }
        let (style, includes_logprobs) = includes(&mut fields)?;
        let top_logprobs = options::top(&mut fields, "top_logprobs")?;
        if includes_logprobs || top_logprobs.is_some_and(|top| top > 0) {
            more.insert("logprobs".into(), true.into());
            insert(&mut more, "top_logprobs", top_logprobs);
        }
        let (format, verbosity) = text(&mut fields)?;
        insert(&mut more, "response_format", response_format(&format)?);
        let (effort, summary) = reasoning(&mut fields)?;
        insert(&mut more, "reasoning_effort", effort.clone());
        let style = Style { summarizes: summary.is_some(), ..style };
        let truncation = word(&mut fields, "truncation", &["auto", "disabled"])?;
        stream_options(&mut fields)?;
        let metadata = metadata(&mut fields)?;
        let max_tool_calls = fields.count("max_tool_calls", 1..=u32::MAX as usize)?;
        let is_parallel = fields.peek("parallel_tool_calls").and_then(Value::as_bool).unwrap_or(true);
        let caller_words = ["prompt_cache_key", "safety_identifier", "user"].map(|name| {
            (name, fields.peek(name).filter(|value| value.is_string()).cloned().unwrap_or_default())
        });
        let mut chat = fields.into_rest();
        unsupported::check_response(&chat)?;
        chat.extend(more);
        let mut echo = Map::new();
        for (name, value) in [
            ("instructions", json!(instructions)),
            ("max_output_tokens", json!(max_output_tokens)),
            ("max_tool_calls", json!(max_tool_calls)),
            ("metadata", metadata),
            ("parallel_tool_calls", json!(is_parallel)),
            ("previous_response_id", json!(previous)),
            ("reasoning", json!({ "effort": effort, "summary": summary })),
            ("service_tier", json!("default")),
            ("store", json!(stores)),
            ("text", json!({ "format": format, "verbosity": verbosity })),
            ("tool_choice", choice.unwrap_or_else(|| json!("auto"))),
            ("tools", Value::Array(served.own)),
            ("top_logprobs", json!(top_logprobs.unwrap_or(0))),
            ("truncation", json!(truncation.as_deref().unwrap_or("disabled"))),
        ] {
            echo.insert(name.into(), value);
        }
        echo.extend(caller_words.map(|(name, value)| (name.to_owned(), value)));
        Ok(Asked {
            chat,
            instructions,
            items,
            n_past,
            is_text,
            tool_places: served.places,
            custom: served.custom,
            truncates: truncation.as_deref() == Some("auto"),
            stores,
            is_background,
            style,
            echo,
            warnings: served.warnings,
            n_cut: 0,
            messages: Messages::default(),
        })
    }
}

/// Adds a field, if it has a value.
fn insert(chat: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        chat.insert(name.to_owned(), value.into());
    }
}

/// The conversation of an earlier response, with its output.
fn earlier(id: &str, caller: &Caller, app: &App) -> Result<Vec<Arc<Value>>, ApiError> {
    const NAME: &str = "previous_response_id";
    match app.responses.conversation(caller.tenant, id) {
        Some((items, true)) => Ok(items),
        Some((_, false)) => {
            let message = format!("the response `{}` has no output to go on from", shown(id));
            Err(ApiError {
                code: Some("previous_response_not_completed"),
                ..ApiError::invalid(NAME, message)
            })
        }
        None => {
            let message = format!(
                "the response `{}` is not kept: it had `store: false`, was deleted, or is older than those that are; \
                 send the whole conversation as `input`",
                shown(id)
            );
            Err(ApiError { code: Some("previous_response_not_found"), ..ApiError::invalid(NAME, message) })
        }
    }
}

/// Items of the request, references resolved.
fn own_items(
    fields: &mut Fields,
    has_previous: bool,
    caller: &Caller,
    app: &App,
) -> Result<Vec<Arc<Value>>, ApiError> {
    const EXPECTED: &str = "a string or an array of items";
    match fields.take("input") {
        Some(Value::String(text)) => {
            Ok(vec![Arc::new(json!({ "type": "message", "role": "user", "content": text }))])
        }
        Some(Value::Array(items)) => {
            let resolved = |(i, item): (usize, Value)| resolved(i, item, caller, app);
            items.into_iter().enumerate().map(resolved).collect()
        }
        Some(other) => Err(fields.expected("input", &other, EXPECTED)),
        None if has_previous => Ok(Vec::new()),
        None => Err(ApiError::missing("input", format!("`input` is missing: {EXPECTED}"))),
    }
}

/// The item that a reference means, or the item itself.
fn resolved(i: usize, item: Value, caller: &Caller, app: &App) -> Result<Arc<Value>, ApiError> {
    // A reference may have no type.
    let is_reference = match item["type"].as_str() {
        Some(kind) => kind == "item_reference",
        None => item["type"].is_null() && item["role"].is_null() && item["id"].is_string(),
    };
    if !is_reference {
        return Ok(Arc::new(item));
    }
    let path = format!("input[{i}].id");
    let Some(id) = item["id"].as_str() else {
        return Err(expected_at(&path, &item["id"], "the id of an item"));
    };
    match app.responses.item(caller.tenant, id) {
        Some(item) => Ok(item),
        None => {
            let message = format!(
                "the item `{}` is not kept: its response had `store: false`, was deleted, or is older than those that \
                 are; send the item itself",
                shown(id)
            );
            let error = ApiError::client(StatusCode::NOT_FOUND, "item_not_found", message);
            Err(ApiError { param: Some(path.into_boxed_str()), ..error })
        }
    }
}

/// The item with an id, by which it can be listed and referred to.
fn with_id(item: Arc<Value>, app: &App) -> Arc<Value> {
    if item["id"].is_string() {
        return item;
    }
    let mut item = Arc::unwrap_or_clone(item);
    let prefix = match item["type"].as_str() {
        Some("reasoning") => "rs_",
        Some("function_call") => "fc_",
        Some("function_call_output") => "fco_",
        Some("custom_tool_call") => "ctc_",
        Some("custom_tool_call_output") => "ctco_",
        Some("message") | None => "msg_",
        Some(_) => "item_",
    };
    let id = app.new_id(prefix);
    if let Some(members) = item.as_object_mut() {
        members.insert("id".into(), id.into());
    }
    Arc::new(item)
}

/// Checks that the conversation is no larger than a request could be that has it all: references and earlier responses make
/// a large one of few bytes.
fn check_size(items: &[Arc<Value>], app: &App) -> Result<(), ApiError> {
    let (n, most) = (items.len(), app.settings.messages);
    if n > most {
        let message =
            format!("`input` has {n} items with those of earlier responses, expected at most {most}");
        return Err(ApiError::invalid("input", message));
    }
    let n_bytes = items.iter().map(|item| text_bytes(item)).sum::<usize>();
    if n_bytes > app.settings.body_bytes {
        let most = app.settings.body_bytes;
        let message = format!(
            "`input` has {n_bytes} bytes with the items that it refers to and those of earlier responses, expected at \
             most {most}"
        );
        return Err(ApiError::invalid("input", message));
    }
    Ok(())
}

/// Bytes of the texts in an item, about.
fn text_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(text_bytes).sum(),
        Value::Object(pairs) => pairs.iter().map(|(key, value)| key.len() + text_bytes(value)).sum(),
        _ => 4,
    }
}

fn background(fields: &mut Fields, stores: bool, app: &App) -> Result<bool, ApiError> {
    const NAME: &str = "background";
    if fields.boolean(NAME)? != Some(true) {
        return Ok(false);
    }
    if !stores || app.settings.responses == 0 {
        let message = "`background` is true and the response is not kept, so that its output could not be fetched: \
                       leave `store` out, or one of the two";
        return Err(ApiError::invalid(NAME, message));
    }
    Ok(true)
}

/// The form of the items that `include` asks for, and whether it asks for log-probabilities.
fn includes(fields: &mut Fields) -> Result<(Style, bool), ApiError> {
    let items = match fields.take("include") {
        None => Vec::new(),
        Some(Value::Array(items)) => items,
        Some(other) => return Err(fields.expected("include", &other, "an array of names")),
    };
    let unknown = items.iter().position(|item| !item.as_str().is_some_and(|name| INCLUDES.contains(&name)));
    if let Some(i) = unknown {
        let expected = format!("one of {}", INCLUDES.join(", "));
        return Err(expected_at(&format!("include[{i}]"), &items[i], &expected));
    }
    let has = |name: &str| items.iter().any(|item| item == name);
    Ok((Style { encrypts: has(INCLUDES[0]), summarizes: false }, has(INCLUDES[1])))
}

/// The form of the text, and its verbosity, which has no effect.
fn text(fields: &mut Fields) -> Result<(Value, String), ApiError> {
    let plain = json!({ "type": "text" });
    let Some(mut text) = fields.object("text")? else { return Ok((plain, "medium".to_owned())) };
    let format = text.take("format").unwrap_or(plain);
    Ok((format, text.string("verbosity", WORD_BYTES)?.unwrap_or_else(|| "medium".to_owned())))
}

/// The form as a chat has it; `None` for plain text.
fn response_format(format: &Value) -> Result<Option<Value>, ApiError> {
    const EXPECTED: &str = "\"text\", \"json_object\" or \"json_schema\"";
    match (format["type"].as_str(), format) {
        (Some("text"), _) => Ok(None),
        (Some("json_schema"), Value::Object(members)) => {
            let mut named = members.clone();
            named.shift_remove("type");
            Ok(Some(json!({ "type": "json_schema", "json_schema": named })))
        }
        (Some("json_object" | "structural_tag"), _) => Ok(Some(format.clone())),
        (_, Value::Object(_)) => Err(expected_at("text.format.type", &format["type"], EXPECTED)),
        _ => Err(expected_at("text.format", format, &format!("an object whose `type` is {EXPECTED}"))),
    }
}

/// The effort of reasoning, and the kind of its summary.
fn reasoning(fields: &mut Fields) -> Result<(Option<String>, Option<String>), ApiError> {
    const SUMMARIES: [&str; 3] = ["auto", "concise", "detailed"];
    let Some(mut reasoning) = fields.object("reasoning")? else { return Ok((None, None)) };
    let effort = reasoning.string("effort", WORD_BYTES)?;
    let summary = word(&mut reasoning, "summary", &SUMMARIES)?;
    // Its older name.
    let generated = word(&mut reasoning, "generate_summary", &SUMMARIES)?;
    Ok((effort, summary.or(generated)))
}

/// `include_obfuscation` is taken and nothing is added: padding hides lengths of tokens from others on the way.
fn stream_options(fields: &mut Fields) -> Result<(), ApiError> {
    let is_stream = fields.peek("stream") == Some(&Value::Bool(true));
    let Some(mut options) = fields.object("stream_options")? else { return Ok(()) };
    if !is_stream {
        let message = "`stream_options` is only allowed with `stream: true`";
        return Err(ApiError::invalid("stream_options", message));
    }
    options.boolean("include_obfuscation")?;
    Ok(())
}

fn metadata(fields: &mut Fields) -> Result<Value, ApiError> {
    const EXPECTED: &str =
        "an object of at most 16 strings of at most 512 characters, with names of at most 64";
    let Some(value) = fields.take("metadata") else { return Ok(json!({})) };
    let fits = |(name, value): (&String, &Value)| {
        name.chars().count() <= 64 && value.as_str().is_some_and(|text| text.chars().count() <= 512)
    };
    match value.as_object().is_some_and(|pairs| pairs.len() <= 16 && pairs.iter().all(fits)) {
        true => Ok(value),
        false => Err(fields.expected("metadata", &value, EXPECTED)),
    }
}

/// One of several words.
fn word(fields: &mut Fields, name: &str, words: &[&str]) -> Result<Option<String>, ApiError> {
    match fields.take(name) {
        None => Ok(None),
        Some(Value::String(word)) if words.contains(&word.as_str()) => Ok(Some(word)),
        Some(other) => {
            let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
            Err(fields.expected(name, &other, &words.join(" or ")))
        }
    }
}
