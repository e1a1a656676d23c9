//! Answers that go on from the text of the last message: vLLM's `continue_final_message`, DeepSeek's and Mistral's `prefix`,
//! Kimi's `partial`.
//!
//! The conversation is rendered with a mark behind that text, and the prompt ends where the mark is: what the template writes
//! behind a message is left out.

use inferno_text::{Rendered, RenderedPart};
use serde_json::Value;

use crate::error::ApiError;
use crate::fields::Fields;

/// Reads `add_generation_prompt` and `continue_final_message`: whether the prompt ends with the start of an answer, and whether
/// the answer goes on from the last message.
pub(super) fn read(fields: &mut Fields) -> Result<(bool, bool), ApiError> {
    let continues = fields.boolean("continue_final_message")?.unwrap_or(false);
    match fields.boolean("add_generation_prompt")? {
        Some(true) if continues => {
            let message = "`continue_final_message` and `add_generation_prompt` are both true: a message that goes on \
                           needs no start of another one, leave `add_generation_prompt` out";
            Err(ApiError::invalid("continue_final_message", message))
        }
        adds => Ok((adds.unwrap_or(true), continues)),
    }
}

/// Takes `prefix` and `partial` off the messages, which no template knows; true if the last message has one.
///
/// # Errors
/// Another message has one.
pub(super) fn take_marks(messages: &mut [Value]) -> Result<bool, ApiError> {
    let last = messages.len() - 1;
    let mut continues = false;
    for (i, message) in messages.iter_mut().enumerate() {
        for name in ["prefix", "partial"] {
            let Some(members) = message.as_object_mut() else { continue };
            let is_set = members.get(name) == Some(&Value::Bool(true));
            if members.get(name).is_some_and(Value::is_boolean) {
                members.shift_remove(name);
            }
            if is_set && i < last {
                let path = format!("messages[{i}].{name}");
                let message = format!(
                    "`{path}` is true, expected it on the last message alone, which the answer goes on from"
                );
                return Err(ApiError::invalid(path, message));
            }
            continues |= is_set;
        }
    }
    Ok(continues)
}

/// Only an assistant's text can be gone on from.
pub(super) fn check(messages: &[Value], continues: bool) -> Result<(), ApiError> {
    let Some(last) = messages.last().filter(|_| continues) else { return Ok(()) };
    let path = format!("messages[{}]", messages.len() - 1);
    if last["role"] != "assistant" {
        let message =
            format!("`{path}` is not an assistant's, and only the text of an assistant can be continued");
        return Err(ApiError::invalid(path, message));
    }
    if last["tool_calls"].is_array() {
        let message = format!("`{path}` has `tool_calls`, and only a message of text can be continued");
        return Err(ApiError::invalid(path, message));
    }
    Ok(())
}

/// Reads vLLM's `echo`: whether the last message's text is told in front of the answer, which it is if both are of the same
/// role.
///
/// # Errors
/// The answer would be of another role than the assistant.
pub(super) fn echo(fields: &mut Fields, messages: &[Value], adds_prompt: bool) -> Result<bool, ApiError> {
    if fields.boolean("echo")? != Some(true) {
        return Ok(false);
    }
    let is_assistants = messages.last().is_some_and(|last| last["role"] == "assistant");
    if !is_assistants && !adds_prompt {
        let message = "`echo` is true, `add_generation_prompt` is false and the last message is not the assistant's, whose \
                       text alone is told again: leave out one of the two";
        return Err(ApiError::invalid("echo", message));
    }
    Ok(is_assistants)
}

/// Puts a mark behind the text of the last message, and returns it. No message has it.
pub(super) fn mark(messages: &mut [Value]) -> String {
    fn contains(value: &Value, mark: &str) -> bool {
        match value {
            Value::String(text) => text.contains(mark),
            Value::Array(items) => items.iter().any(|item| contains(item, mark)),
            Value::Object(pairs) => pairs.values().any(|value| contains(value, mark)),
            _ => false,
        }
    }
    let mut mark = "\u{f8ff}prefill\u{f8ff}".to_owned();
    while messages.iter().any(|message| contains(message, &mark)) {
        mark.push('\u{f8ff}');
    }
    match messages.last_mut().map(|last| &mut last["content"]) {
        Some(Value::String(text)) => text.push_str(&mark),
        Some(Value::Array(parts)) => match parts.last_mut().map(|part| &mut part["text"]) {
            Some(Value::String(text)) => text.push_str(&mark),
            _ => parts.push(inferno_text::text_part(mark.clone())),
        },
        _ => {}
    }
    mark
}

/// The prompt up to the last mark.
///
/// # Errors
/// The template left the mark out.
pub(super) fn cut(mut rendered: Rendered, mark: &str) -> Result<Rendered, ApiError> {
    let at = rendered.parts.iter().enumerate().rev().find_map(|(i, part)| match part {
        RenderedPart::Text(text) => text.rfind(mark).map(|start| (i, start)),
        RenderedPart::Token(_) => None,
    });
    let Some((i, start)) = at else {
        let message =
            "the chat template changes or leaves out the last message's text, so that it cannot be continued";
        return Err(ApiError::invalid("continue_final_message", message));
    };
    rendered.parts.truncate(i + 1);
    if let RenderedPart::Text(text) = &mut rendered.parts[i] {
        text.truncate(start);
        if text.is_empty() {
            rendered.parts.pop();
        }
    }
    Ok(rendered)
}
