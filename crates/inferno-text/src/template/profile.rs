//! Properties of a template that callers prepare messages by, found by rendering probe messages.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ChatRenderer, RenderOptions};
use crate::reply::ReplyFormat;

/// The form of messages that a template expects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateProfile {
    /// Forms of `content` that system messages may have.
    pub system_content: ContentForm,
    /// Forms of `content` that user messages may have.
    pub user_content: ContentForm,
    /// Forms of `content` that assistant messages may have.
    pub assistant_content: ContentForm,
    /// Forms of `content` that tool results may have.
    pub tool_content: ContentForm,
    /// Whether the template renders a system message's text. If not, it refuses or drops it.
    pub takes_system: bool,
    /// Whether the template names the role `developer`.
    pub takes_developer: bool,
    /// Form of `arguments` in tool calls.
    pub arguments: ArgumentsForm,
    /// Format of the model's reasoning and tool calls.
    pub reply: ReplyFormat,
}

/// Forms of a message's `content` that a template renders in full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContentForm {
    /// A string only.
    #[default]
    Text,
    /// An array of parts only: `[{"type": "text", "text": "…"}]`.
    Parts,
    /// Either.
    Both,
}

impl ContentForm {
    /// A text in this form: a string, or one text part.
    pub fn of_text(self, text: String) -> serde_json::Value {
        match self {
            ContentForm::Text | ContentForm::Both => text.into(),
            ContentForm::Parts => json!([text_part(text)]),
        }
    }
}

/// A content part that is a text.
pub fn text_part(text: String) -> serde_json::Value {
    json!({ "type": "text", "text": text })
}

/// Form of a tool call's `arguments`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ArgumentsForm {
    /// An object, which the template writes as JSON or goes through.
    #[default]
    Object,
    /// A string of JSON, as clients send it.
    Text,
}

impl TemplateProfile {
    /// The forms of `content` for a role.
    pub fn content(&self, role: &str) -> ContentForm {
        match role {
            "system" | "developer" => self.system_content,
            "assistant" => self.assistant_content,
            "tool" | "function" => self.tool_content,
            _ => self.user_content,
        }
    }
}

/// Texts that no template writes by itself.
const FIRST: &str = "Kwyjibo";
const SECOND: &str = "Xyzzyva";

/// Renders probe messages. Whatever fails counts as not taken.
pub(super) fn probe(template: &dyn ChatRenderer, takes_developer: bool) -> TemplateProfile {
    let options =
        RenderOptions { now: SystemTime::UNIX_EPOCH, max_bytes: 1 << 20, ..RenderOptions::default() };
    let render = |messages: Value| {
        let messages = messages.as_array().map(Vec::as_slice).unwrap_or_default();
        template.render(messages, &options).ok().map(|rendered| rendered.probe_text())
    };
    let user = || json!({ "role": "user", "content": "Hi" });
    let form_in = |conversation: &dyn Fn(Value) -> Value| {
        let text = render(conversation(json!(format!("{FIRST} {SECOND}"))));
        let part = |text: &str| json!({ "type": "text", "text": text });
        let parts = render(conversation(json!([part(FIRST), part(SECOND)])));
        let is_whole = |text: &String| text.contains(FIRST) && text.contains(SECOND);
        let n_types = |text: &String| text.matches("type").count();
        let takes_text = text.as_ref().is_some_and(is_whole);
        // A list that is printed as a whole was not understood.
        let as_text = text.as_ref().map_or(0, n_types);
        let takes_parts = parts.as_ref().is_some_and(|parts| is_whole(parts) && n_types(parts) <= as_text);
        match (takes_text, takes_parts) {
            (true, true) => Some(ContentForm::Both),
            (true, false) => Some(ContentForm::Text),
            (false, true) => Some(ContentForm::Parts),
            // One that shows the first part alone.
            (false, false) => parts
                .is_some_and(|parts| parts.contains(FIRST) && n_types(&parts) <= as_text)
                .then_some(ContentForm::Parts),
        }
    };
    let user_content =
        form_in(&|content| json!([{ "role": "user", "content": content }])).unwrap_or_default();
    // Some templates want parts from the user as well, others refuse them.
    let user_said = |content: ContentForm| match content {
        ContentForm::Parts => json!({ "role": "user", "content": [{ "type": "text", "text": "Hi" }] }),
        _ => user(),
    };
    let user = || user_said(user_content);
    let system = form_in(&|content| json!([{ "role": "system", "content": content }, user()]));
    let assistant = form_in(&|content| json!([user(), { "role": "assistant", "content": content }, user()]));
    let called = |arguments: Value| {
        let function = json!({ "name": "probe", "arguments": arguments });
        json!({
            "role": "assistant", "content": "",
            "tool_calls": [{ "id": "abcdef123", "type": "function", "function": function }],
        })
    };
    let object = json!({ FIRST: SECOND });
    let takes_objects = render(json!([user(), called(object.clone())])).map(|shown| {
        shown.contains(FIRST) && shown.contains(SECOND) && !shown.contains(&format!("'{FIRST}'"))
    });
    let takes_strings = render(json!([user(), called(json!(object.to_string()))]))
        .map(|shown| shown.contains(FIRST) && shown.contains(SECOND));
    let arguments = match (takes_objects, takes_strings) {
        (Some(false) | None, Some(true)) => ArgumentsForm::Text,
        _ => ArgumentsForm::Object,
    };
    let result = |content: Value| {
        let arguments = match arguments {
            ArgumentsForm::Object => object.clone(),
            ArgumentsForm::Text => json!(object.to_string()),
        };
        let result =
            json!({ "role": "tool", "content": content, "name": "probe", "tool_call_id": "abcdef123" });
        json!([user(), called(arguments), result])
    };
    TemplateProfile {
        system_content: system.unwrap_or(user_content),
        user_content,
        assistant_content: assistant.unwrap_or(user_content),
        tool_content: form_in(&result).unwrap_or(user_content),
        takes_system: system.is_some(),
        takes_developer,
        arguments,
        reply: ReplyFormat::default(),
    }
}
