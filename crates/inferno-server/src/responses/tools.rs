//! Tools of a request as those of a chat.
//!
//! Clients send tools that OpenAI runs itself beside their own functions, whatever the server is. The model is not told of
//! them, and the response says so; a request that demands one of them is refused.

use serde_json::{Map, Value, json};

use crate::error::{ApiError, shown};
use crate::fields::expected_at;

/// Tools of a request.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Served {
    /// Functions as a chat has them.
    pub(super) shown: Vec<Value>,
    /// Functions as they came.
    pub(super) own: Vec<Value>,
    /// Places of the functions among the request's tools.
    pub(super) places: Vec<usize>,
    /// Tools that are left out.
    pub(super) warnings: Vec<String>,
}

/// Members of a function that a template may show.
const MEMBERS: [&str; 4] = ["name", "description", "parameters", "strict"];

/// Reads `tools`, of which there may be `most`.
///
/// # Errors
/// 400: they are no array of tools. Functions themselves are checked by the chat.
pub(super) fn read(tools: Option<Value>, most: usize) -> Result<Served, ApiError> {
    let items = match tools {
        None => return Ok(Served::default()),
        Some(Value::Array(items)) => items,
        Some(other) => return Err(expected_at("tools", &other, "an array of tools")),
    };
    if items.len() > most {
        let message = format!("`tools` has {} tools, expected at most {most}", items.len());
        return Err(ApiError::invalid("tools", message));
    }
    let mut served = Served::default();
    for (i, item) in items.into_iter().enumerate() {
        let path = format!("tools[{i}]");
        let Value::Object(members) = &item else {
            return Err(expected_at(&path, &item, "a tool like {\"type\": \"function\", \"name\": \"…\"}"));
        };
        match members.get("type").and_then(Value::as_str) {
            Some("function") => {
                served.shown.push(json!({ "type": "function", "function": function(members) }));
                served.own.push(item);
                served.places.push(i);
            }
            Some(kind) => {
                let kind = shown(kind);
                served.warnings.push(format!(
                    "`{path}` is of type `{kind}`, which is not served here: the model is told of functions only"
                ));
            }
            None => return Err(expected_at(&format!("{path}.type"), &item["type"], "\"function\"")),
        }
    }
    Ok(served)
}

fn function(tool: &Map<String, Value>) -> Value {
    // Some clients send the form of a chat.
    if let Some(function @ Value::Object(_)) = tool.get("function") {
        return function.clone();
    }
    let known = tool.iter().filter(|(name, _)| MEMBERS.contains(&name.as_str()));
    known.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Reads `tool_choice`, as a chat has it.
///
/// # Errors
/// 400: it demands a tool that is not a function.
pub(super) fn choice(value: &Value) -> Result<Value, ApiError> {
    const NAME: &str = "tool_choice";
    let refused = |kind: &str| {
        let message = format!(
            "`{NAME}` asks for a tool of type `{}`, which is not served here: only functions can be called",
            shown(kind)
        );
        Err(ApiError::unsupported(NAME, message))
    };
    match value["type"].as_str() {
        None | Some("function") => Ok(value.clone()),
        Some("allowed_tools") => {
            let mut value = value.clone();
            if let Some(tools) = value["tools"].as_array_mut() {
                let n = tools.len();
                tools.retain(|tool| tool["type"].as_str().is_none_or(|kind| kind == "function"));
                if n > 0 && tools.is_empty() {
                    let message = format!("`{NAME}.tools` has no function, and only functions can be called");
                    return Err(ApiError::unsupported(format!("{NAME}.tools"), message));
                }
            }
            Ok(value)
        }
        Some(kind) => refused(kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_served_and_other_tools_are_named() {
        let function =
            json!({ "type": "function", "name": "f", "parameters": {}, "strict": true, "async": false });
        let tools = json!([{ "type": "web_search" }, function, { "type": "custom", "name": "patch" }]);
        let served = read(Some(tools), 8).unwrap();
        let shown =
            json!({ "type": "function", "function": { "name": "f", "parameters": {}, "strict": true } });
        assert_eq!((served.shown, served.own, served.places), (vec![shown], vec![function], vec![1]));
        let [search, custom] = &served.warnings[..] else { panic!("{:?}", served.warnings) };
        assert!(search.contains("`tools[0]` is of type `web_search`") && custom.contains("`tools[2]`"));
        assert_eq!(read(None, 8).unwrap(), Served::default());
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for (tools, param) in [
            (json!("f"), "tools"),
            (json!(["f"]), "tools[0]"),
            (json!([{ "name": "f" }]), "tools[0].type"),
            (json!([{ "type": "a" }, { "type": "a" }, { "type": "a" }]), "tools"),
        ] {
            let error = read(Some(tools.clone()), 2).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param), "{tools}");
        }
    }

    #[test]
    fn a_choice_of_a_tool_that_is_not_served_is_refused() {
        let allowed = |tools: Value| json!({ "type": "allowed_tools", "mode": "auto", "tools": tools });
        let (f, search) = (json!({ "type": "function", "name": "f" }), json!({ "type": "web_search" }));
        for (value, expected) in [
            (json!("auto"), json!("auto")),
            (f.clone(), f.clone()),
            (allowed(json!([f, search])), allowed(json!([f]))),
        ] {
            assert_eq!(choice(&value).unwrap(), expected);
        }
        for value in [search.clone(), json!({ "type": "mcp", "server_label": "x" }), allowed(json!([search]))]
        {
            assert_eq!(choice(&value).unwrap_err().code, Some("unsupported_parameter"), "{value}");
        }
    }
}
