//! Messages of content blocks as messages of chats: text stays, `tool_use` becomes a call, `tool_result` a message of its
//! own, `thinking` the reasoning of its message. Messages of one role that follow each other are one.

use inferno_text::text_part;
use serde_json::{Map, Value, json};

use crate::error::{ApiError, shown};
use crate::fields::{Fields, expected_at};
use crate::settings::Settings;

/// Reads `messages`; true if the answer goes on from the last of them, as it does from one of the assistant's.
///
/// # Errors
/// 400: a message or a block is malformed, or of a kind that the model cannot read; the error has its place.
pub(super) fn read(
    fields: &mut Fields,
    settings: &Settings,
    marks_cache: &mut bool,
) -> Result<(Vec<Value>, bool), ApiError> {
    let items = match fields.take("messages") {
        Some(Value::Array(items)) => items,
        Some(other) => return Err(fields.expected("messages", &other, "an array of messages")),
        None => return Err(ApiError::missing("messages", "`messages` is missing: an array of messages")),
    };
    let most = settings.messages;
    if !(1..=most).contains(&items.len()) {
        let message = format!("`messages` has {} messages, expected 1 to {most}", items.len());
        return Err(ApiError::invalid("messages", message));
    }
    let last = items.len() - 1;
    let mut turns = Turns { messages: Vec::with_capacity(items.len()), marks_cache };
    for (i, item) in items.into_iter().enumerate() {
        turns.add(&format!("messages[{i}]"), item)?;
    }
    let end = turns.messages.last().filter(|message| message["role"] == "assistant");
    if end.is_some_and(|message| message.get("tool_calls").is_some()) {
        let path = format!("messages[{last}]");
        let message =
            format!("`{path}` calls tools and is the last message, expected their results behind it");
        return Err(ApiError::invalid(path, message));
    }
    let continues = end.is_some();
    Ok((turns.messages, continues))
}

/// The texts of blocks that can be nothing else.
///
/// # Errors
/// 400: a block is malformed, or no text.
pub(super) fn texts(path: &str, items: Vec<Value>, marks_cache: &mut bool) -> Result<Vec<String>, ApiError> {
    let text = |(i, item): (usize, Value)| -> Result<String, ApiError> {
        let path = format!("{path}[{i}]");
        match block(&path, item, marks_cache)? {
            Block::Text(text) => Ok(text),
            other => Err(other.misplaced(&path, "a block of type `text`")),
        }
    };
    items.into_iter().enumerate().map(text).collect()
}

/// A content block.
enum Block {
    Text(String),
    Thinking(String),
    /// Reasoning that Anthropic's servers alone can read.
    Redacted,
    /// A call in the form of chats.
    ToolUse(Value),
    /// A result: a message of its own.
    ToolResult(Value),
}

impl Block {
    fn kind(&self) -> &'static str {
        match self {
            Block::Text(_) => "text",
            Block::Thinking(_) => "thinking",
            Block::Redacted => "redacted_thinking",
            Block::ToolUse(_) => "tool_use",
            Block::ToolResult(_) => "tool_result",
        }
    }

    fn misplaced(&self, path: &str, expected: &str) -> ApiError {
        let message = format!("`{path}` is of type `{}`, expected {expected}", self.kind());
        ApiError::invalid(path, message)
    }
}

/// Messages so far.
struct Turns<'a> {
    messages: Vec<Value>,
    marks_cache: &'a mut bool,
}

impl Turns<'_> {
    fn add(&mut self, path: &str, item: Value) -> Result<(), ApiError> {
        let Value::Object(mut message) = item else {
            return Err(expected_at(path, &item, "an object with `role` and `content`"));
        };
        let role = message.swap_remove("role").unwrap_or_default();
        let content = format!("{path}.content");
        let blocks = match message.swap_remove("content") {
            Some(Value::String(text)) => vec![Block::Text(text)],
            Some(Value::Array(items)) => {
                let block =
                    |(i, item): (usize, Value)| block(&format!("{content}[{i}]"), item, self.marks_cache);
                items.into_iter().enumerate().map(block).collect::<Result<_, _>>()?
            }
            None | Some(Value::Null) => {
                let message = format!("`{content}` is missing: a string, or an array of content blocks");
                return Err(ApiError::missing(content, message));
            }
            Some(other) => {
                return Err(expected_at(&content, &other, "a string or an array of content blocks"));
            }
        };
        match role.as_str() {
            Some("user") => self.user(&content, blocks),
            Some("assistant") => self.assistant(&content, blocks),
            Some("system") => self.system(&content, blocks),
            _ => Err(expected_at(&format!("{path}.role"), &role, "\"user\" or \"assistant\"")),
        }
    }

    /// Results come first, as templates want them right behind their calls.
    fn user(&mut self, path: &str, blocks: Vec<Block>) -> Result<(), ApiError> {
        if blocks.is_empty() {
            let message = format!("`{path}` is empty, expected one block or more");
            return Err(ApiError::invalid(path, message));
        }
        let mut parts = Vec::new();
        for (i, block) in blocks.into_iter().enumerate() {
            match block {
                Block::Text(text) => parts.push(text_part(text)),
                Block::ToolResult(result) => self.messages.push(result),
                other => {
                    return Err(
                        other.misplaced(&format!("{path}[{i}]"), "`text` or `tool_result` from a user")
                    );
                }
            }
        }
        if !parts.is_empty() {
            self.push("user", parts);
        }
        Ok(())
    }

    fn assistant(&mut self, path: &str, blocks: Vec<Block>) -> Result<(), ApiError> {
        let (mut parts, mut thoughts, mut calls) = (Vec::new(), Vec::new(), Vec::new());
        for (i, block) in blocks.into_iter().enumerate() {
            match block {
                Block::Text(text) => parts.push(text_part(text)),
                Block::Thinking(text) => thoughts.push(text),
                Block::Redacted => {}
                Block::ToolUse(call) => calls.push(call),
                other => {
                    let expected = "`text`, `thinking` or `tool_use` from the assistant";
                    return Err(other.misplaced(&format!("{path}[{i}]"), expected));
                }
            }
        }
        let message = self.push("assistant", parts);
        if !thoughts.is_empty() {
            let before = message.get("reasoning_content").and_then(Value::as_str).map(str::to_owned);
            let all: Vec<String> = before.into_iter().chain(thoughts).collect();
            message.insert("reasoning_content".into(), all.join("\n").into());
        }
        if !calls.is_empty() {
            match message.get_mut("tool_calls").and_then(Value::as_array_mut) {
                Some(before) => before.append(&mut calls),
                None => drop(message.insert("tool_calls".into(), calls.into())),
            }
        }
        Ok(())
    }

    fn system(&mut self, path: &str, blocks: Vec<Block>) -> Result<(), ApiError> {
        let text = |(i, block): (usize, Block)| match block {
            Block::Text(text) => Ok(text_part(text)),
            other => Err(other.misplaced(&format!("{path}[{i}]"), "`text` in a system message")),
        };
        let parts = blocks.into_iter().enumerate().map(text).collect::<Result<_, _>>()?;
        self.push("system", parts);
        Ok(())
    }

    /// Adds parts to the last message if it is of this role, or else as a new one.
    fn push(&mut self, role: &str, mut parts: Vec<Value>) -> &mut Map<String, Value> {
        if !self.messages.last().is_some_and(|last| last["role"] == role) {
            self.messages.push(json!({ "role": role, "content": [] }));
        }
        let last = self.messages.last_mut().and_then(Value::as_object_mut).expect("a message was pushed");
        if let Some(content) = last.get_mut("content").and_then(Value::as_array_mut) {
            content.append(&mut parts);
        }
        last
    }
}

/// Reads a block.
fn block(path: &str, item: Value, marks_cache: &mut bool) -> Result<Block, ApiError> {
    let Value::Object(mut members) = item else {
        return Err(expected_at(path, &item, "a block like {\"type\": \"text\", \"text\": \"…\"}"));
    };
    let kind = members.swap_remove("type").unwrap_or_default();
    *marks_cache |= members.get("cache_control").is_some_and(|control| !control.is_null());
    let mut string = |name: &str| match members.swap_remove(name) {
        Some(Value::String(text)) => Ok(text),
        other => Err(expected_at(&format!("{path}.{name}"), &other.unwrap_or_default(), "a string")),
    };
    match kind.as_str() {
        Some("text") => Ok(Block::Text(string("text")?)),
        Some("thinking") => Ok(Block::Thinking(string("thinking")?)),
        Some("redacted_thinking") => Ok(Block::Redacted),
        Some("tool_use") => {
            let (id, name) = (string("id")?, string("name")?);
            let input = match members.swap_remove("input") {
                Some(input @ Value::Object(_)) => input,
                None | Some(Value::Null) => json!({}),
                Some(other) => return Err(expected_at(&format!("{path}.input"), &other, "an object")),
            };
            let function = json!({ "name": name, "arguments": input });
            Ok(Block::ToolUse(json!({ "id": id, "type": "function", "function": function })))
        }
        Some("tool_result") => {
            let id = string("tool_use_id")?;
            result(path, id, members, marks_cache).map(Block::ToolResult)
        }
        Some(kind @ ("image" | "document" | "file" | "container_upload")) => {
            let message =
                format!("`{path}` is of type `{kind}`, which is not supported: the model reads text only");
            Err(ApiError::unsupported(path, message))
        }
        Some(kind) => {
            let message = format!(
                "`{path}` is of type `{}`, which is not supported: write its text into a block of type `text`",
                shown(kind)
            );
            Err(ApiError::unsupported(path, message))
        }
        None => Err(expected_at(&format!("{path}.type"), &kind, "the type of a content block")),
    }
}

/// A result of a call as a message. The text of an error says so.
fn result(
    path: &str,
    id: String,
    mut members: Map<String, Value>,
    marks_cache: &mut bool,
) -> Result<Value, ApiError> {
    let mut texts = match members.swap_remove("content") {
        None | Some(Value::Null) => vec![String::new()],
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(items)) => self::texts(&format!("{path}.content"), items, marks_cache)?,
        Some(other) => {
            let expected = "a string or an array of text blocks";
            return Err(expected_at(&format!("{path}.content"), &other, expected));
        }
    };
    let is_error = match members.swap_remove("is_error") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(is_error)) => is_error,
        Some(other) => return Err(expected_at(&format!("{path}.is_error"), &other, "true or false")),
    };
    let says_so = texts
        .first()
        .is_some_and(|text| text.get(..ERROR.len()).is_some_and(|start| start.eq_ignore_ascii_case(ERROR)));
    if is_error && !says_so {
        match texts.first_mut() {
            Some(first) => first.insert_str(0, "Error: "),
            None => texts.push("Error".to_owned()),
        }
    }
    let parts: Vec<Value> = texts.into_iter().map(text_part).collect();
    Ok(json!({ "role": "tool", "tool_call_id": id, "content": parts }))
}

/// Start of a text that tells of an error by itself.
const ERROR: &str = "error";
