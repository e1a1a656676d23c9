//! The functions that a model may call, and whether it must: `tools` and `tool_choice`, and OpenAI's older `functions` and
//! `function_call`.

use inferno_grammar::{CallChoice, Tool};
use serde_json::{Map, Value, json};

use crate::error::{ApiError, shown};
use crate::fields::{Fields, expected_at};
use crate::settings::Settings;

/// The functions of a request that may be called. There is at least one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tools {
    /// All tools as the template shows them: `{"type": "function", "function": {…}}`.
    pub(crate) shown: Vec<Value>,
    /// The functions that may be called.
    pub(crate) callable: Vec<Tool>,
    pub(crate) choice: CallChoice,
    /// Whether there may be several calls.
    pub(crate) parallel: bool,
    /// Place of their schemas in the request, which errors name.
    pub(crate) schemas: SchemaPath,
}

/// Place of the tools' schemas in a request: `list[i]member`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SchemaPath {
    pub(crate) list: &'static str,
    pub(crate) member: &'static str,
}

impl Tools {
    /// Path of the parameters of `tool`, which is one of these.
    pub(crate) fn parameters_of(&self, tool: &Tool) -> String {
        let is_it = |shown: &Value| shown["function"]["name"] == tool.name.as_str();
        let i = self.shown.iter().position(is_it).unwrap_or_default();
        let SchemaPath { list, member } = self.schemas;
        format!("{list}[{i}]{member}")
    }
}

/// Bytes of a function's name.
const NAME_BYTES: usize = 256;

/// Values of `tool_choice`.
enum Choice {
    None,
    Auto,
    Required,
    /// One function, which must be called.
    Named(String),
    /// Some of the functions, and whether one must be called.
    Allowed(Vec<String>, CallChoice),
}

/// Reads the tools of a chat. With `tool_choice: "none"` there are none: the model is not told of them.
///
/// # Errors
/// A field is malformed, or names a function that is not among the tools.
pub(super) fn read(fields: &mut Fields, settings: &Settings) -> Result<Option<Tools>, ApiError> {
    let (name, items) = match (fields.take("tools"), fields.take("functions")) {
        (Some(_), Some(_)) => {
            let message = "`tools` and `functions` are both there, expected `tools` alone";
            return Err(ApiError::invalid("functions", message));
        }
        (Some(value), None) => ("tools", array("tools", value)?),
        (None, Some(value)) => {
            let wrap = |function| json!({ "type": "function", "function": function });
            ("functions", array("functions", value)?.into_iter().map(wrap).collect())
        }
        (None, None) => ("tools", Vec::new()),
    };
    if items.len() > settings.tools {
        let (n, most) = (items.len(), settings.tools);
        return Err(ApiError::invalid(name, format!("`{name}` has {n} tools, expected at most {most}")));
    }
    let are_bare = name == "functions";
    let (choice_name, choice) = choice(fields)?;
    // An answer to `functions` has one call.
    let parallel = fields.boolean("parallel_tool_calls")?.unwrap_or(true) && name == "tools";
    let mut shown = Vec::with_capacity(items.len());
    let mut all: Vec<Tool> = Vec::with_capacity(items.len());
    for (i, item) in items.into_iter().enumerate() {
        let path = format!("{name}[{i}]");
        let (item, tool) = self::tool(&path, item, are_bare)?;
        if all.iter().any(|other| other.name == tool.name) {
            let message = format!(
                "`{path}` is the second tool called `{}`: names must differ",
                self::name_shown(&tool)
            );
            return Err(ApiError::invalid(path, message));
        }
        shown.push(item);
        all.push(tool);
    }
    let (names, call_choice) = match choice {
        Choice::None => return Ok(None),
        Choice::Auto if all.is_empty() => return Ok(None),
        _ if all.is_empty() => {
            let message = format!("`{choice_name}` asks for a call and there are no `tools`");
            return Err(ApiError::invalid(choice_name, message));
        }
        Choice::Auto => (None, CallChoice::Auto),
        Choice::Required => (None, CallChoice::Required),
        Choice::Named(one) => (Some(vec![one]), CallChoice::Required),
        Choice::Allowed(some, choice) => (Some(some), choice),
    };
    let callable = match names {
        None => all,
        Some(names) => {
            if let Some(unknown) = names.iter().find(|name| !all.iter().any(|tool| tool.name == **name)) {
                let message = format!(
                    "`{choice_name}` names `{}`, which is not among the tools",
                    crate::error::shown(unknown)
                );
                return Err(ApiError::invalid(choice_name, message));
            }
            all.retain(|tool| names.contains(&tool.name));
            all
        }
    };
    let member = if are_bare { ".parameters" } else { ".function.parameters" };
    let schemas = SchemaPath { list: name, member };
    Ok(Some(Tools { shown, callable, choice: call_choice, parallel, schemas }))
}

/// The tools of a file, in the form of a request's `tools`: as a template shows them, and as grammars know them.
///
/// # Errors
/// A tool is malformed: the place and what is expected.
pub fn read_tools(tools: Value) -> Result<(Vec<Value>, Vec<Tool>), String> {
    let mut fields = Fields::new(Map::from_iter([("tools".to_owned(), tools)]));
    match read(&mut fields, &Settings::default()) {
        Ok(Some(tools)) => Ok((tools.shown, tools.callable)),
        Ok(None) => Err("there are no tools".to_owned()),
        Err(error) => Err(error.message),
    }
}

fn name_shown(tool: &Tool) -> String {
    shown(&tool.name)
}

fn array(name: &str, value: Value) -> Result<Vec<Value>, ApiError> {
    match value {
        Value::Array(items) => Ok(items),
        other => Err(expected_at(name, &other, "an array of tools")),
    }
}

/// A tool as the template shows it, and as the grammar knows it. `is_bare`: the client sent the function alone, whose path
/// this is.
fn tool(path: &str, item: Value, is_bare: bool) -> Result<(Value, Tool), ApiError> {
    const EXPECTED: &str =
        "a tool like {\"type\": \"function\", \"function\": {\"name\": \"…\", \"parameters\": {…}}}";
    let Value::Object(mut item) = item else { return Err(expected_at(path, &item, EXPECTED)) };
    match item.get("type") {
        Some(Value::String(kind)) if kind == "function" => {}
        Some(Value::String(kind)) => {
            let message = format!(
                "`{path}` is a tool of type `{}`, which is not supported: only functions (`\"type\": \"function\"`) can be called",
                shown(kind)
            );
            return Err(ApiError::unsupported(format!("{path}.type"), message));
        }
        // Some clients leave the type out.
        None | Some(Value::Null) if item.contains_key("function") => {}
        other => {
            let found = other.unwrap_or(&Value::Null);
            return Err(expected_at(&format!("{path}.type"), found, "\"function\""));
        }
    }
    let at = |name: &str| if is_bare { format!("{path}.{name}") } else { format!("{path}.function.{name}") };
    // The Responses API has the members of a function beside its type.
    let function = match item.remove("function") {
        Some(Value::Object(function)) => function,
        other => {
            let path = if is_bare { path.to_owned() } else { format!("{path}.function") };
            return Err(expected_at(
                &path,
                &other.unwrap_or_default(),
                "an object with `name` and `parameters`",
            ));
        }
    };
    let name = match function.get("name") {
        Some(Value::String(name)) if (1..=NAME_BYTES).contains(&name.len()) => name.clone(),
        other => {
            let expected = format!("a string of 1 to {NAME_BYTES} bytes");
            return Err(expected_at(&at("name"), other.unwrap_or(&Value::Null), &expected));
        }
    };
    if let Some(description) = function.get("description").filter(|d| !(d.is_string() || d.is_null())) {
        return Err(expected_at(&at("description"), description, "a string"));
    }
    let strict = match function.get("strict").or_else(|| item.get("strict")) {
        None | Some(Value::Null) => false,
        Some(Value::Bool(strict)) => *strict,
        Some(other) => return Err(expected_at(&at("strict"), other, "true or false")),
    };
    let parameters = match function.get("parameters") {
        None | Some(Value::Null) => json!({}),
        Some(schema @ Value::Object(_)) => schema.clone(),
        Some(other) => return Err(expected_at(&at("parameters"), other, "a JSON schema: an object")),
    };
    // What a client may leave out, templates may go through; `strict` is not the model's business.
    let mut members = Map::new();
    for (key, value) in function {
        if !(value.is_null() || key == "strict") {
            members.insert(key, value);
        }
    }
    if !members.contains_key("parameters") {
        members.insert("parameters".into(), json!({ "type": "object", "properties": {} }));
    }
    let shown = json!({ "type": "function", "function": members });
    Ok((shown, Tool { name, parameters, strict }))
}

/// The name under which a client chooses, and its choice.
fn choice(fields: &mut Fields) -> Result<(&'static str, Choice), ApiError> {
    const NAME: &str = "tool_choice";
    const EXPECTED: &str =
        "\"auto\", \"none\", \"required\", or {\"type\": \"function\", \"function\": {\"name\": \"…\"}}";
    let value = match (fields.take(NAME), fields.take("function_call")) {
        (Some(_), Some(_)) => {
            let message = "`tool_choice` and `function_call` are both there, expected `tool_choice` alone";
            return Err(ApiError::invalid("function_call", message));
        }
        (Some(value), None) => value,
        (None, Some(value)) => return Ok(("function_call", function_call(&value)?)),
        (None, None) => return Ok((NAME, Choice::Auto)),
    };
    let name_of = |value: &Value| {
        let name = value["function"]["name"].as_str().or_else(|| value["name"].as_str());
        name.filter(|name| !name.is_empty()).map(str::to_owned)
    };
    let choice = match (&value, value["type"].as_str()) {
        (Value::String(word), _) => match word.as_str() {
            "none" => Choice::None,
            "auto" => Choice::Auto,
            // Anthropic's and Mistral's word for it.
            "required" | "any" => Choice::Required,
            _ => return Err(expected_at(NAME, &value, EXPECTED)),
        },
        (_, Some("function")) => match name_of(&value) {
            Some(name) => Choice::Named(name),
            None => {
                let path = "tool_choice.function.name";
                return Err(expected_at(path, &value["function"]["name"], "the name of one of the tools"));
            }
        },
        (_, Some("allowed_tools")) => allowed(&value)?,
        _ => return Err(expected_at(NAME, &value, EXPECTED)),
    };
    Ok((NAME, choice))
}

/// `{"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": […]}}`, whose members may be beside the type.
fn allowed(value: &Value) -> Result<Choice, ApiError> {
    let (path, inside) = match &value["allowed_tools"] {
        Value::Null => ("tool_choice", value),
        inside => ("tool_choice.allowed_tools", inside),
    };
    let choice = match &inside["mode"] {
        Value::Null => CallChoice::Auto,
        Value::String(mode) if mode == "auto" => CallChoice::Auto,
        Value::String(mode) if mode == "required" => CallChoice::Required,
        other => return Err(expected_at(&format!("{path}.mode"), other, "\"auto\" or \"required\"")),
    };
    let path = format!("{path}.tools");
    let tools = inside["tools"].as_array().filter(|tools| !tools.is_empty());
    let Some(tools) = tools else {
        return Err(expected_at(&path, &inside["tools"], "an array of one or more tools"));
    };
    let name = |(i, tool): (usize, &Value)| {
        let name = tool["function"]["name"].as_str().or_else(|| tool["name"].as_str());
        let expected = "a tool like {\"type\": \"function\", \"function\": {\"name\": \"…\"}}";
        name.map(str::to_owned).ok_or_else(|| expected_at(&format!("{path}[{i}]"), tool, expected))
    };
    Ok(Choice::Allowed(tools.iter().enumerate().map(name).collect::<Result<_, _>>()?, choice))
}

fn function_call(value: &Value) -> Result<Choice, ApiError> {
    match (value.as_str(), value["name"].as_str()) {
        (Some("none"), _) => Ok(Choice::None),
        (Some("auto"), _) => Ok(Choice::Auto),
        (None, Some(name)) => Ok(Choice::Named(name.to_owned())),
        _ => Err(expected_at("function_call", value, "\"none\", \"auto\" or {\"name\": \"…\"}")),
    }
}

#[cfg(test)]
mod tests;
