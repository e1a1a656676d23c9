//! Tools of a request as those of a chat.
//!
//! A custom tool, which takes a text, is a function with one string, `input`. Clients send tools that OpenAI runs itself beside
//! their own, whatever the server is. The model is not told of them, and the response says so; a request that demands one of
//! them is refused.

use serde_json::{Map, Value, json};

use crate::error::{ApiError, shown};
use crate::fields::expected_at;

/// Tools of a request.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Served {
    /// Functions as a chat has them.
    pub(super) shown: Vec<Value>,
    /// Functions and custom tools as they came.
    pub(super) own: Vec<Value>,
    /// Their places among the request's tools.
    pub(super) places: Vec<usize>,
    /// Names of the custom tools.
    pub(super) custom: Vec<String>,
    /// Tools that are left out, and formats that are not enforced.
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
            Some("custom") => {
                let (function, has_grammar) = custom(&path, members)?;
                if let Some(name) = function["name"].as_str() {
                    served.custom.push(name.to_owned());
                }
                if has_grammar {
                    served.warnings.push(format!(
                        "`{path}.format` is a grammar, which is not enforced: the model reads it behind the tool's description"
                    ));
                }
                served.shown.push(json!({ "type": "function", "function": function }));
                served.own.push(item);
                served.places.push(i);
            }
            Some(kind) => {
                let kind = shown(kind);
                served.warnings.push(format!(
                    "`{path}` is of type `{kind}`, which is not served here: the model is told of functions and custom tools \
                     only"
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

/// The function that a custom tool is for the model, and whether its input has a grammar.
fn custom(path: &str, tool: &Map<String, Value>) -> Result<(Value, bool), ApiError> {
    let text = |name: &str| match tool.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(other) => Err(expected_at(&format!("{path}.{name}"), other, "a string")),
    };
    let mut description = text("description")?.unwrap_or_default().to_owned();
    let format = tool.get("format").filter(|format| !format.is_null());
    let grammar = match format.map(|format| (format, format["type"].as_str())) {
        None | Some((_, Some("text"))) => None,
        Some((format, Some("grammar"))) => Some(format),
        Some((Value::Object(_), _)) => {
            let found = &tool["format"]["type"];
            return Err(expected_at(&format!("{path}.format.type"), found, "\"text\" or \"grammar\""));
        }
        Some((other, _)) => {
            return Err(expected_at(&format!("{path}.format"), other, "an object with `type`"));
        }
    };
    if let Some(format) = grammar {
        let member = |name: &str| {
            let expected = || expected_at(&format!("{path}.format.{name}"), &format[name], "a string");
            format[name].as_str().ok_or_else(expected)
        };
        let (syntax, definition) = (member("syntax")?, member("definition")?);
        let gap = if description.is_empty() { "" } else { "\n\n" };
        description = format!("{description}{gap}Grammar of the input ({syntax}):\n{definition}");
    }
    let input = json!({ "type": "string", "description": "The tool's whole input, as a text" });
    let parameters = json!({
        "type": "object", "properties": { "input": input }, "required": ["input"], "additionalProperties": false,
    });
    let name = tool.get("name").cloned().unwrap_or_default();
    let function =
        json!({ "name": name, "description": description, "parameters": parameters, "strict": true });
    Ok((function, grammar.is_some()))
}

/// Reads `tool_choice`, as a chat has it.
///
/// # Errors
/// 400: it demands a tool that is neither a function nor a custom tool.
pub(super) fn choice(value: &Value) -> Result<Value, ApiError> {
    const NAME: &str = "tool_choice";
    let refused = |kind: &str| {
        let message = format!(
            "`{NAME}` asks for a tool of type `{}`, which is not served here: only functions and custom tools can be \
             called",
            shown(kind)
        );
        Err(ApiError::unsupported(NAME, message))
    };
    // For the model it is a function.
    let as_function = |tool: &Value| {
        let mut tool = tool.clone();
        if tool["type"] == "custom" {
            tool["type"] = "function".into();
        }
        tool
    };
    match value["type"].as_str() {
        None | Some("function" | "custom") => Ok(as_function(value)),
        Some("allowed_tools") => {
            let mut value = value.clone();
            if let Some(tools) = value["tools"].as_array_mut() {
                let n = tools.len();
                tools.iter_mut().for_each(|tool| *tool = as_function(tool));
                tools.retain(|tool| tool["type"].as_str().is_none_or(|kind| kind == "function"));
                if n > 0 && tools.is_empty() {
                    let message = format!(
                        "`{NAME}.tools` has no function and no custom tool, and only these can be called"
                    );
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
        let tools = json!([{ "type": "web_search" }, function, { "type": "local_shell" }]);
        let served = read(Some(tools), 8).unwrap();
        let shown =
            json!({ "type": "function", "function": { "name": "f", "parameters": {}, "strict": true } });
        assert_eq!((served.shown, served.own, served.places), (vec![shown], vec![function], vec![1]));
        let [search, shell] = &served.warnings[..] else { panic!("{:?}", served.warnings) };
        assert!(search.contains("`tools[0]` is of type `web_search`") && shell.contains("`tools[2]`"));
        assert_eq!(read(None, 8).unwrap(), Served::default());
    }

    #[test]
    fn a_custom_tool_is_a_function_of_one_text() {
        let grammar = json!({ "type": "grammar", "syntax": "lark", "definition": "start: /a/" });
        let tools = json!([
            { "type": "custom", "name": "a", "description": "A.", "format": grammar },
            { "type": "custom", "name": "b", "format": { "type": "text" } },
        ]);
        let served = read(Some(tools.clone()), 8).unwrap();
        assert_eq!((&served.custom, &served.places), (&vec!["a".to_owned(), "b".to_owned()], &vec![0, 1]));
        assert_eq!(served.own, *tools.as_array().unwrap());
        let [a, b] = [0, 1].map(|i| &served.shown[i]["function"]);
        assert_eq!(a["description"], "A.\n\nGrammar of the input (lark):\nstart: /a/");
        assert_eq!((&b["description"], &b["parameters"]["required"]), (&json!(""), &json!(["input"])));
        assert!(served.warnings[0].contains("`tools[0].format`") && served.warnings.len() == 1);
        for (format, param) in [
            (json!("text"), "tools[0].format"),
            (json!({ "type": "json" }), "tools[0].format.type"),
            (json!({ "type": "grammar", "syntax": "lark" }), "tools[0].format.definition"),
        ] {
            let tools = json!([{ "type": "custom", "name": "a", "format": format }]);
            assert_eq!(read(Some(tools), 8).unwrap_err().param.as_deref(), Some(param));
        }
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
            (json!({ "type": "custom", "name": "f" }), f.clone()),
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
