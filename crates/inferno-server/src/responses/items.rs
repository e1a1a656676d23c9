//! Items of a conversation as messages of a chat.
//!
//! Reasoning, text and calls of one turn become one message of the assistant, as a chat has them: the prompt is the same in
//! both dialects, and so are the cached prefixes.

use serde_json::{Map, Value, json};

use crate::error::{ApiError, shown};
use crate::fields::expected_at;

/// Messages of a chat, and the places in the request that they come from.
#[derive(Debug, Default)]
pub(super) struct Messages {
    pub(super) all: Vec<Value>,
    origins: Vec<Origin>,
    /// Whether the last message is an assistant's whose turn may go on.
    is_open: bool,
    /// Items that are left out, by place and reason.
    pub(super) warnings: Vec<String>,
}

/// The place that a message comes from.
#[derive(Debug)]
struct Origin {
    path: String,
    /// Name of its content there, with the dot.
    content: &'static str,
    /// Places of its calls.
    calls: Vec<String>,
}

/// Text in front of `encrypted_content` that this server has written. Reasoning is not encrypted here, as it is no secret:
/// the field carries it for clients that send back nothing else.
pub(crate) const PLAIN: &str = "inferno:plain:";

/// Items that record work of OpenAI's own tools. Their results are part of the text that follows them.
const LEFT_OUT: [&str; 10] = [
    "web_search_call",
    "file_search_call",
    "code_interpreter_call",
    "image_generation_call",
    "mcp_list_tools",
    "mcp_call",
    "tool_search_call",
    "tool_search_output",
    "compaction",
    "compaction_trigger",
];

impl Messages {
    /// Adds the text of a field as a message.
    pub(super) fn text(&mut self, role: &str, path: &str, text: &str) {
        self.add(json!({ "role": role, "content": text }), path, "", false);
    }

    /// Adds an item.
    ///
    /// # Errors
    /// 400: it is malformed, or of a kind that is not known.
    pub(super) fn push(&mut self, path: &str, item: &Value) -> Result<(), ApiError> {
        let Value::Object(members) = item else {
            return Err(expected_at(
                path,
                item,
                "an item: an object with `type`, or with `role` and `content`",
            ));
        };
        let kind = match members.get("type") {
            Some(Value::String(kind)) => kind.as_str(),
            None | Some(Value::Null) if members.contains_key("role") => "message",
            other => {
                let found = other.unwrap_or(&Value::Null);
                return Err(expected_at(&format!("{path}.type"), found, "the kind of an item: a string"));
            }
        };
        match kind {
            "message" => self.message(path, members),
            "reasoning" => self.reasoning(path, members),
            "function_call" | "custom_tool_call" => self.call(path, members),
            "function_call_output" | "custom_tool_call_output" => self.result(path, members),
            kind if LEFT_OUT.contains(&kind) => {
                self.warnings.push(format!("`{path}` is of type `{kind}`, which the model is not shown"));
                Ok(())
            }
            kind => {
                let message = format!(
                    "`{path}` is an item of type `{}`, which is not supported: expected `message`, `reasoning`, \
                     `function_call` or `function_call_output`",
                    shown(kind)
                );
                Err(ApiError::unsupported(format!("{path}.type"), message))
            }
        }
    }

    fn message(&mut self, path: &str, item: &Map<String, Value>) -> Result<(), ApiError> {
        const ROLES: [&str; 4] = ["user", "assistant", "system", "developer"];
        let role = match item.get("role") {
            Some(Value::String(role)) if ROLES.contains(&role.as_str()) => role.as_str(),
            other => {
                let found = other.unwrap_or(&Value::Null);
                let expected = format!("one of {}", ROLES.join(", "));
                return Err(expected_at(&format!("{path}.role"), found, &expected));
            }
        };
        let content = item.get("content").cloned().unwrap_or_default();
        let is_assistant = role == "assistant";
        // Reasoning comes in front of the text that it belongs to.
        let last =
            self.all.last_mut().filter(|last| is_assistant && self.is_open && last["content"].is_null());
        match (last, self.origins.last_mut()) {
            (Some(last), Some(origin)) if last["tool_calls"].is_null() => {
                last["content"] = content;
                path.clone_into(&mut origin.path);
                origin.content = ".content";
            }
            _ => self.add(json!({ "role": role, "content": content }), path, ".content", is_assistant),
        }
        Ok(())
    }

    fn reasoning(&mut self, path: &str, item: &Map<String, Value>) -> Result<(), ApiError> {
        let texts = |name: &str| match item.get(name) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::Array(parts)) => {
                Ok(parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n\n"))
            }
            Some(other) => Err(expected_at(&format!("{path}.{name}"), other, "an array of parts")),
        };
        let (content, summary) = (texts("content")?, texts("summary")?);
        let own =
            item.get("encrypted_content").and_then(Value::as_str).and_then(|text| text.strip_prefix(PLAIN));
        let text = match (content.is_empty(), own) {
            (false, _) => content,
            (true, Some(own)) => own.to_owned(),
            // What another server has encrypted cannot be read here; the summary is all there is.
            (true, None) => summary,
        };
        if text.is_empty() {
            return Ok(());
        }
        let goes_on = |last: &&mut Value| last["content"].is_null() && last["tool_calls"].is_null();
        match self.all.last_mut().filter(|last| self.is_open && goes_on(last)) {
            Some(last) => {
                let earlier = last["reasoning_content"].as_str().unwrap_or_default();
                last["reasoning_content"] = format!("{earlier}\n\n{text}").into();
            }
            None => {
                let message = json!({ "role": "assistant", "content": null, "reasoning_content": text });
                self.add(message, path, "", true);
            }
        }
        Ok(())
    }

    fn call(&mut self, path: &str, item: &Map<String, Value>) -> Result<(), ApiError> {
        let name = text(path, item, "name", "the name of a function")?;
        let has_id = item.get("call_id").is_none_or(Value::is_null) && item.contains_key("id");
        let id = text(path, item, if has_id { "id" } else { "call_id" }, "the id of a call")?;
        // A custom tool takes one text.
        let arguments = match (item.get("arguments"), item.get("input")) {
            (Some(arguments), _) => arguments.clone(),
            (None, Some(input)) => json!({ "input": input }),
            (None, None) => Value::Null,
        };
        let call =
            json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } });
        if !self.is_open {
            self.add(json!({ "role": "assistant", "content": null }), path, "", true);
        }
        if let (Some(last), Some(origin)) = (self.all.last_mut(), self.origins.last_mut()) {
            match last["tool_calls"].as_array_mut() {
                Some(calls) => calls.push(call),
                None => last["tool_calls"] = json!([call]),
            }
            origin.calls.push(path.to_owned());
        }
        Ok(())
    }

    fn result(&mut self, path: &str, item: &Map<String, Value>) -> Result<(), ApiError> {
        let id = text(path, item, "call_id", "the id of a call")?;
        let output = match item.get("output") {
            Some(output @ (Value::String(_) | Value::Array(_))) => output.clone(),
            other => {
                let found = other.unwrap_or(&Value::Null);
                let expected = "a string or an array of text parts";
                return Err(expected_at(&format!("{path}.output"), found, expected));
            }
        };
        let message = json!({ "role": "tool", "tool_call_id": id, "content": output });
        self.add(message, path, ".output", false);
        Ok(())
    }

    fn add(&mut self, message: Value, path: &str, content: &'static str, is_open: bool) {
        self.all.push(message);
        self.origins.push(Origin { path: path.to_owned(), content, calls: Vec::new() });
        self.is_open = is_open;
    }

    /// The request's name of a field of a message, which a chat calls `param`.
    pub(super) fn name(&self, param: &str) -> Option<String> {
        let (message, rest) = param.strip_prefix("messages[")?.split_once(']')?;
        let origin = self.origins.get(message.parse::<usize>().ok()?)?;
        if let Some(call) = rest.strip_prefix(".tool_calls[") {
            let (call, rest) = call.split_once(']')?;
            let path = origin.calls.get(call.parse::<usize>().ok()?)?;
            return Some(format!("{path}{}", rest.strip_prefix(".function").unwrap_or(rest)));
        }
        match rest.strip_prefix(".content") {
            Some(rest) => Some(format!("{}{}{rest}", origin.path, origin.content)),
            None => Some(format!("{}{rest}", origin.path)),
        }
    }
}

/// Whether an item is the result of an earlier call.
pub(super) fn is_result(item: &Value) -> bool {
    item["type"].as_str().is_some_and(|kind| kind.ends_with("_call_output"))
}

/// Whether an item instructs the model.
pub(super) fn is_instruction(item: &Value) -> bool {
    matches!(item["role"].as_str(), Some("system" | "developer"))
}

/// A text of an item that must be there.
fn text<'a>(
    path: &str,
    item: &'a Map<String, Value>,
    name: &str,
    expected: &str,
) -> Result<&'a str, ApiError> {
    match item.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        other => Err(expected_at(&format!("{path}.{name}"), other.unwrap_or(&Value::Null), expected)),
    }
}

#[cfg(test)]
mod tests;
