//! Tool calls of earlier turns.

use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::fields::expected_at;
use crate::json::{self, Limits};

/// They must have the form that templates read.
pub(super) fn check(path: &str, calls: &Value) -> Result<(), ApiError> {
    let Value::Array(calls) = calls else {
        return Err(expected_at(path, calls, "an array of tool calls"));
    };
    for (i, call) in calls.iter().enumerate() {
        let function = &call["function"];
        if !function["name"].is_string() {
            let expected =
                "a call like {\"type\": \"function\", \"function\": {\"name\": \"…\", \"arguments\": \"…\"}}";
            return Err(expected_at(&format!("{path}[{i}]"), call, expected));
        }
        let arguments = &function["arguments"];
        if !(arguments.is_string() || arguments.is_object() || arguments.is_null()) {
            let path = format!("{path}[{i}].function.arguments");
            return Err(expected_at(&path, arguments, "a string of JSON"));
        }
    }
    Ok(())
}

/// The messages with `arguments` as objects that came as texts of one, as OpenAI has them; `None` if there are none. No
/// text at all is an object of nothing.
///
/// They may have as many parts together as a body.
pub(super) fn with_objects(messages: &[Value], limits: Limits) -> Option<Vec<Value>> {
    if !messages.iter().any(|message| message["tool_calls"].is_array()) {
        return None;
    }
    let mut messages = messages.to_vec();
    let mut left = limits.nodes;
    let mut changed = false;
    let calls = messages.iter_mut().filter_map(|message| message.get_mut("tool_calls")?.as_array_mut());
    for call in calls.flatten() {
        let Some(arguments) = call.get_mut("function").and_then(|f| f.get_mut("arguments")) else { continue };
        let object = match &*arguments {
            Value::String(text) if text.trim().is_empty() => Value::Object(Map::new()),
            Value::String(text) => json::bounded(text.as_bytes(), &mut left, limits).unwrap_or_default(),
            _ => continue,
        };
        if object.is_object() {
            *arguments = object;
            changed = true;
        }
    }
    changed.then_some(messages)
}

/// The messages with `arguments` as texts that came as objects; `None` if there are none.
pub(super) fn with_texts(messages: &[Value]) -> Option<Vec<Value>> {
    if !messages.iter().any(|message| message["tool_calls"].is_array()) {
        return None;
    }
    let mut messages = messages.to_vec();
    let mut changed = false;
    let calls = messages.iter_mut().filter_map(|message| message.get_mut("tool_calls")?.as_array_mut());
    for call in calls.flatten() {
        let Some(arguments) = call.get_mut("function").and_then(|f| f.get_mut("arguments")) else { continue };
        if arguments.is_object() {
            *arguments = Value::String(arguments.to_string());
            changed = true;
        }
    }
    changed.then_some(messages)
}
