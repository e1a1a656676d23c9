//! Tool calls and their results in the messages of earlier turns: checked and completed.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};

use crate::error::ApiError;
use crate::fields::expected_at;
use crate::json::{self, Limits};

/// Checks the calls of all messages, parses their arguments, and completes what clients leave out: ids of calls, ids and
/// names of results. OpenAI's older `function_call` and role `function` become `tool_calls` and `tool`.
///
/// # Errors
/// A call or a result is malformed; the error has its place.
pub(super) fn complete(messages: &mut [Value], limits: Limits) -> Result<(), ApiError> {
    let mut left = limits.nodes;
    // Calls whose results have not come: id and name.
    let mut open: VecDeque<(String, String)> = VecDeque::new();
    let mut names: Vec<(String, String)> = Vec::new();
    for (i, message) in messages.iter_mut().enumerate() {
        let Some(message) = message.as_object_mut() else { continue };
        modernize(message);
        match message.get("role").and_then(Value::as_str) {
            Some("assistant") => {
                let path = format!("messages[{i}].tool_calls");
                let Some(calls) = message.get_mut("tool_calls") else { continue };
                let Value::Array(calls) = calls else {
                    return Err(expected_at(&path, calls, "an array of tool calls"));
                };
                open.clear();
                for (j, call) in calls.iter_mut().enumerate() {
                    let path = format!("{path}[{j}]");
                    let (id, name) = self::call(&path, call, || format!("call_{i}_{j}"), &mut left, limits)?;
                    open.push_back((id.clone(), name.clone()));
                    names.push((id, name));
                }
                if calls.is_empty() {
                    message.shift_remove("tool_calls");
                }
            }
            Some("tool") => {
                let path = format!("messages[{i}].tool_call_id");
                let id = match message.get("tool_call_id") {
                    None => open.front().map(|call| call.0.clone()),
                    Some(Value::String(id)) => Some(id.clone()),
                    Some(other) => return Err(expected_at(&path, other, "the `id` of a tool call")),
                };
                let Some(id) = id else { continue };
                open.retain(|call| call.0 != id);
                let name = names.iter().rev().find(|call| call.0 == id).map(|call| call.1.clone());
                message.entry("tool_call_id").or_insert(id.into());
                if let Some(name) = name {
                    message.entry("name").or_insert(name.into());
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// OpenAI's names of before 2023 are today's.
fn modernize(message: &mut Map<String, Value>) {
    if message.get("role").is_some_and(|role| role == "function") {
        message.insert("role".into(), "tool".into());
    }
    let has_calls = message.get("tool_calls").is_some_and(|calls| !calls.is_null());
    match message.shift_remove("function_call") {
        Some(function @ Value::Object(_)) if !has_calls => {
            message.insert("tool_calls".into(), json!([{ "type": "function", "function": function }]));
        }
        _ => {}
    }
}

/// Checks a call, makes its arguments an object, and returns its id and its name.
fn call(
    path: &str,
    call: &mut Value,
    new_id: impl Fn() -> String,
    left: &mut usize,
    limits: Limits,
) -> Result<(String, String), ApiError> {
    const EXPECTED: &str =
        "a call like {\"type\": \"function\", \"function\": {\"name\": \"…\", \"arguments\": \"…\"}}";
    let name = match call["function"]["name"].as_str() {
        Some(name) => name.to_owned(),
        None => return Err(expected_at(path, call, EXPECTED)),
    };
    let Some(members) = call.as_object_mut() else { return Err(expected_at(path, call, EXPECTED)) };
    let id = match members.get("id") {
        None | Some(Value::Null) => new_id(),
        Some(Value::String(id)) if id.is_empty() => new_id(),
        Some(Value::String(id)) => id.clone(),
        Some(other) => return Err(expected_at(&format!("{path}.id"), other, "a string")),
    };
    let path = format!("{path}.function.arguments");
    let expected = "an object, or a string of JSON that is one";
    let arguments = &members["function"]["arguments"];
    match arguments {
        Value::Null | Value::Object(_) => {}
        Value::String(text) if text.trim().is_empty() => {}
        Value::String(text) => match json::bounded(text.as_bytes(), left, limits) {
            Ok(Value::Null | Value::Object(_)) => {}
            Ok(_) => return Err(expected_at(&path, arguments, expected)),
            Err(error) => {
                let message =
                    format!("`{path}` is not JSON as it is taken here: {error}; expected {expected}");
                return Err(ApiError::invalid(path, message));
            }
        },
        other => return Err(expected_at(&path, other, expected)),
    }
    let has_none = arguments.is_null();
    // Keys that are there keep their places, which templates that write a whole call show.
    members.insert("id".into(), id.clone().into());
    members.entry("type").or_insert("function".into());
    if let Some(function) = members.get_mut("function").and_then(Value::as_object_mut).filter(|_| has_none) {
        function.insert("arguments".into(), Value::Object(Map::new()));
    }
    Ok((id, name))
}
