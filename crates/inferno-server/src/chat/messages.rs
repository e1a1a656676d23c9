//! Messages as clients send them, checked one by one.

use inferno_text::{ChatRenderer, ContentForm, text_part};
use serde_json::Value;

use crate::error::ApiError;
use crate::fields::expected_at;

/// Roles of messages. `developer` is the newer name of `system`.
const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];

/// Checks a message, and brings it into the form that templates know.
pub(super) fn read(i: usize, message: Value, template: Option<&dyn ChatRenderer>) -> Result<Value, ApiError> {
    let path = |name: &str| format!("messages[{i}].{name}");
    let Value::Object(mut message) = message else {
        return Err(expected_at(&format!("messages[{i}]"), &message, "an object with `role` and `content`"));
    };
    let role = match message.get("role") {
        Some(Value::String(role)) if ROLES.contains(&role.as_str()) => role.clone(),
        other => {
            let found = other.unwrap_or(&Value::Null);
            return Err(expected_at(&path("role"), found, &format!("one of {}", ROLES.join(", "))));
        }
    };
    let profile = template.map(ChatRenderer::profile);
    let is_system = role == "developer" && !profile.is_some_and(|profile| profile.takes_developer);
    let role = if is_system { "system" } else { role.as_str() };
    let form = profile.map_or(ContentForm::Text, |profile| profile.content(role));
    let refusal = message.get("refusal").filter(|refusal| refusal.is_string()).cloned();
    let content = match (message.get_mut("content").map(Value::take), refusal) {
        (Some(Value::String(text)), _) => form.of_text(text),
        (Some(Value::Array(parts)), _) => {
            let texts = texts(&path("content"), parts)?;
            match form {
                ContentForm::Text => Value::String(texts.join("\n")),
                ContentForm::Parts | ContentForm::Both => texts.into_iter().map(text_part).collect(),
            }
        }
        // The words in which OpenAI's models decline.
        (None | Some(Value::Null), Some(Value::String(refusal))) if role == "assistant" => {
            message.insert("refusal".into(), Value::Null);
            form.of_text(refusal)
        }
        // An answer of calls alone, of thoughts alone, or of nothing.
        (None | Some(Value::Null), _) if role == "assistant" => match form {
            ContentForm::Text | ContentForm::Both => "".into(),
            ContentForm::Parts => Value::Array(Vec::new()),
        },
        (None | Some(Value::Null), _) => {
            let message = format!("`{}` is missing: a string, or an array of text parts", path("content"));
            return Err(ApiError::missing(path("content"), message));
        }
        (Some(other), _) => {
            return Err(expected_at(&path("content"), &other, "a string or an array of text parts"));
        }
    };
    message.insert("role".into(), role.into());
    message.insert("content".into(), content);
    // Keys keep their order, which templates that write a whole message show. Of the two names for an assistant's
    // thoughts templates know the longer one.
    let has_both = message.get("reasoning_content").is_some_and(|thoughts| !thoughts.is_null());
    let known =
        message.into_iter().filter(|(key, value)| !(value.is_null() || has_both && key == "reasoning"));
    let renamed = known.map(|(key, value)| match key.as_str() {
        "reasoning" => ("reasoning_content".to_owned(), value),
        _ => (key, value),
    });
    Ok(Value::Object(renamed.collect()))
}

/// Kinds of parts that hold no text.
const MEDIA: [&str; 16] = [
    "image_url",
    "image",
    "input_image",
    "image_file",
    "image_embeds",
    "audio",
    "audio_url",
    "input_audio",
    "audio_embeds",
    "video",
    "video_url",
    "input_video",
    "file",
    "input_file",
    "file_url",
    "document",
];

/// The texts of parts.
fn texts(path: &str, parts: Vec<Value>) -> Result<Vec<String>, ApiError> {
    let text = |(i, part): (usize, Value)| {
        let path = format!("{path}[{i}]");
        let kind = part["type"].as_str();
        // Some clients leave the kind out, and name the member by it.
        let keys = part.as_object().into_iter().flat_map(|part| part.keys().map(String::as_str));
        if let Some(kind) = kind.into_iter().chain(keys).find(|kind| MEDIA.contains(kind)) {
            let message =
                format!("`{path}` is of type `{kind}`, which is not supported: the model reads text only");
            return Err(ApiError::unsupported(path, message));
        }
        match (kind, &part["text"], &part["refusal"]) {
            (Some("text" | "input_text" | "output_text"), Value::String(text), _)
            | (Some("refusal"), _, Value::String(text)) => Ok(text.clone()),
            _ => Err(expected_at(&path, &part, "a part like {\"type\": \"text\", \"text\": \"…\"}")),
        }
    };
    parts.into_iter().enumerate().map(text).collect()
}
