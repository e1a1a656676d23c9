//! Tools of Messages as those of chats.

use serde_json::{Map, Value, json};

use crate::error::{ApiError, shown};
use crate::fields::{Fields, expected_at};

/// Bytes of a tool's name.
const NAME_BYTES: usize = 256;

/// Members of a tool that a template may show. Others say how Anthropic's servers keep the tool.
const SHOWN: [&str; 4] = ["name", "description", "strict", "input_examples"];

/// Reads `tools` and `tool_choice`: members of a chat.
///
/// # Errors
/// 400: a tool is malformed or runs on Anthropic's servers, or the choice is malformed.
pub(super) fn read(fields: &mut Fields, marks_cache: &mut bool) -> Result<Map<String, Value>, ApiError> {
    let mut members = Map::new();
    match fields.take("tools") {
        None => {}
        Some(Value::Array(items)) => {
            let tool = |(i, item): (usize, Value)| tool(&format!("tools[{i}]"), item, marks_cache);
            members
                .insert("tools".into(), items.into_iter().enumerate().map(tool).collect::<Result<_, _>>()?);
        }
        Some(other) => return Err(fields.expected("tools", &other, "an array of tools")),
    }
    if let Some(value) = fields.take("tool_choice") {
        let (choice, is_single) = choice(&value)?;
        members.insert("tool_choice".into(), choice);
        members.insert("parallel_tool_calls".into(), (!is_single).into());
    }
    Ok(members)
}

fn tool(path: &str, item: Value, marks_cache: &mut bool) -> Result<Value, ApiError> {
    const EXPECTED: &str = "a tool like {\"name\": \"…\", \"input_schema\": {…}}";
    let Value::Object(mut tool) = item else { return Err(expected_at(path, &item, EXPECTED)) };
    match tool.get("type") {
        None | Some(Value::Null) => {}
        Some(Value::String(kind)) if kind == "custom" => {}
        Some(Value::String(kind)) => {
            let message = format!(
                "`{path}` is a tool of type `{}`, which Anthropic's servers have: here only tools with an \
                 `input_schema` can be called",
                shown(kind)
            );
            return Err(ApiError::unsupported(format!("{path}.type"), message));
        }
        Some(other) => return Err(expected_at(&format!("{path}.type"), other, "\"custom\"")),
    }
    let at = |name: &str| format!("{path}.{name}");
    let is_name = |name: &str| (1..=NAME_BYTES).contains(&name.len());
    let name = tool.get("name").unwrap_or(&Value::Null);
    if !name.as_str().is_some_and(is_name) {
        return Err(expected_at(&at("name"), name, &format!("a string of 1 to {NAME_BYTES} bytes")));
    }
    if let Some(other) = tool.get("description").filter(|value| !(value.is_string() || value.is_null())) {
        return Err(expected_at(&at("description"), other, "a string"));
    }
    if let Some(other) = tool.get("strict").filter(|value| !(value.is_boolean() || value.is_null())) {
        return Err(expected_at(&at("strict"), other, "true or false"));
    }
    let schema = match tool.swap_remove("input_schema") {
        Some(schema @ Value::Object(_)) => schema,
        other => {
            return Err(expected_at(
                &at("input_schema"),
                &other.unwrap_or_default(),
                "a JSON schema: an object",
            ));
        }
    };
    *marks_cache |= tool.get("cache_control").is_some_and(|control| !control.is_null());
    let mut function: Map<String, Value> = SHOWN
        .iter()
        .filter_map(|&name| Some((name.to_owned(), tool.swap_remove(name).filter(|value| !value.is_null())?)))
        .collect();
    function.insert("parameters".into(), schema);
    Ok(json!({ "type": "function", "function": function }))
}

/// The choice in the words of chats, and whether there may be one call alone.
fn choice(value: &Value) -> Result<(Value, bool), ApiError> {
    const NAME: &str = "tool_choice";
    const EXPECTED: &str = "{\"type\": \"auto\"}, {\"type\": \"any\"}, {\"type\": \"none\"} or {\"type\": \"tool\", \"name\": \"…\"}";
    let choice = match value["type"].as_str() {
        Some("auto") => "auto".into(),
        Some("any") => "required".into(),
        Some("none") => "none".into(),
        Some("tool") => match value["name"].as_str().filter(|name| !name.is_empty()) {
            Some(name) => json!({ "type": "function", "function": { "name": name } }),
            None => {
                return Err(expected_at("tool_choice.name", &value["name"], "the name of one of the tools"));
            }
        },
        _ => return Err(expected_at(NAME, value, EXPECTED)),
    };
    match &value["disable_parallel_tool_use"] {
        Value::Null => Ok((choice, false)),
        Value::Bool(is_single) => Ok((choice, *is_single)),
        other => Err(expected_at("tool_choice.disable_parallel_tool_use", other, "true or false")),
    }
}
