//! Messages in the form that the model's template takes, where it takes less than clients send.

use inferno_text::{ArgumentsForm, CallIds, TemplateProfile, result_text};
use serde_json::{Map, Value, json};

use crate::json::{self, Limits};
use crate::settings::Settings;

/// Calls of all messages, to be changed.
fn calls(messages: &mut [Value]) -> impl Iterator<Item = &mut Value> {
    messages.iter_mut().filter_map(|message| message.get_mut("tool_calls")?.as_array_mut()).flatten()
}

/// The messages as the template of `profile` takes them, with the text that shows `tools` where it shows none itself.
pub(super) fn of(
    messages: &[Value],
    tools: Option<&[Value]>,
    profile: &TemplateProfile,
    limits: Limits,
) -> Vec<Value> {
    let reply = &profile.reply;
    let mut messages = messages.to_vec();
    // Most templates write arguments as JSON themselves, some paste the text that clients send.
    let is_text = profile.arguments == ArgumentsForm::Text && reply.takes_calls;
    if is_text {
        with_texts(&mut messages)
    } else {
        with_objects(&mut messages, limits)
    }
    if reply.call_ids == CallIds::NineAlphanumeric {
        with_short_ids(&mut messages);
    }
    if !reply.takes_calls {
        messages.iter_mut().for_each(|message| with_written_calls(message, profile));
    } else if !reply.takes_parallel_calls {
        messages = one_by_one(messages);
    }
    if reply.calls_want_null_content {
        messages.iter_mut().for_each(without_content);
    }
    if !reply.takes_results {
        messages = with_written_results(messages, profile);
    }
    messages.iter_mut().for_each(|message| name_reasoning(message, &reply.reasoning_fields));
    if let Some(tools) = tools.filter(|_| reply.needs_system_text) {
        add_system_text(&mut messages, reply.system_text(tools), profile);
    }
    messages
}

/// The messages as the template of `profile` takes them, with the text that shows `tools` where it shows none itself:
/// arguments of calls, their ids and results, earlier reasoning. The form of `content` is left as it is.
pub fn for_template(messages: &[Value], tools: Option<&[Value]>, profile: &TemplateProfile) -> Vec<Value> {
    of(messages, tools, profile, Limits::of(&Settings::default()))
}

/// Arguments that came as texts of an object, as OpenAI has them, become objects. No text at all is an object of nothing.
fn with_objects(messages: &mut [Value], limits: Limits) {
    let mut left = limits.nodes;
    for call in calls(messages) {
        let Some(arguments) = call.get_mut("function").and_then(|f| f.get_mut("arguments")) else { continue };
        if let Value::String(text) = &*arguments {
            let object = json::bounded(text.as_bytes(), &mut left, limits).ok();
            *arguments = object.filter(Value::is_object).unwrap_or_else(|| Value::Object(Map::new()));
        }
    }
}

/// Arguments that came as objects become texts.
fn with_texts(messages: &mut [Value]) {
    for call in calls(messages) {
        let Some(arguments) = call.get_mut("function").and_then(|f| f.get_mut("arguments")) else { continue };
        if arguments.is_object() {
            *arguments = Value::String(arguments.to_string());
        }
    }
}

/// Ids of nine letters or digits, the same for equal ids.
fn with_short_ids(messages: &mut [Value]) {
    let shorten = |id: &mut Value| {
        if let Some(text) = id.as_str() {
            *id = short_id(text).into();
        }
    };
    for message in messages {
        if let Some(calls) = message.get_mut("tool_calls").and_then(Value::as_array_mut) {
            calls.iter_mut().filter_map(|call| call.get_mut("id")).for_each(shorten);
        }
        if let Some(id) = message.get_mut("tool_call_id") {
            shorten(id);
        }
    }
}

fn short_id(id: &str) -> String {
    if id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return id.to_owned();
    }
    // FNV-1a: the same in every build, so that prompts are.
    let mut hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut digit = || {
        let digit = DIGITS[(hash % 62) as usize];
        hash /= 62;
        digit as char
    };
    (0..9).map(|_| digit()).collect()
}

/// A message's text in any form.
pub(super) fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

fn set_text(message: &mut Value, text: String, profile: &TemplateProfile) {
    let form = profile.content(message["role"].as_str().unwrap_or_default());
    message["content"] = form.of_text(text);
}

/// The calls go to the message's content, as the model would write them.
fn with_written_calls(message: &mut Value, profile: &TemplateProfile) {
    let calls = message.as_object_mut().and_then(|message| message.shift_remove("tool_calls"));
    let Some(Value::Array(calls)) = calls else { return };
    let mut texts = vec![text_of(&message["content"])];
    texts.retain(|text| !text.is_empty());
    let empty = Map::new();
    let call = |call: &'_ Value| {
        let function = &call["function"];
        (
            function["name"].as_str().unwrap_or_default().to_owned(),
            function["arguments"].as_object().unwrap_or(&empty).clone(),
        )
    };
    let calls: Vec<(String, Map<String, Value>)> = calls.iter().map(call).collect();
    let calls: Vec<_> = calls.iter().map(|(name, arguments)| (name.as_str(), arguments)).collect();
    texts.push(profile.reply.calls.write(&calls));
    set_text(message, texts.join("\n"), profile);
}

/// A message of calls alone has no content.
fn without_content(message: &mut Value) {
    if message["tool_calls"].is_array() && text_of(&message["content"]).is_empty() {
        message["content"] = Value::Null;
    }
}

/// Results become a user's messages, those that follow each other one.
fn with_written_results(messages: Vec<Value>, profile: &TemplateProfile) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::with_capacity(messages.len());
    let mut follows = false;
    for message in messages {
        let is_result = message["role"] == "tool";
        if !is_result {
            // Two messages of a user in a row are more than many templates take.
            if follows
                && message["role"] == "user"
                && let Some(last) = all.last_mut()
            {
                let text = format!("{}\n\n{}", text_of(&last["content"]), text_of(&message["content"]));
                set_text(last, text, profile);
            } else {
                all.push(message);
            }
            follows = false;
            continue;
        }
        let text = result_text(&text_of(&message["content"]));
        match all.last_mut().filter(|_| follows) {
            Some(last) => {
                let text = format!("{}\n{text}", text_of(&last["content"]));
                set_text(last, text, profile);
            }
            None => {
                let mut message = json!({ "role": "user" });
                set_text(&mut message, text, profile);
                all.push(message);
            }
        }
        follows = true;
    }
    all
}

/// Several calls of one message become messages of one call each, every one with its result behind it.
fn one_by_one(messages: Vec<Value>) -> Vec<Value> {
    let mut all = Vec::with_capacity(messages.len());
    let mut messages = messages.into_iter().peekable();
    while let Some(mut message) = messages.next() {
        let n_calls = message["tool_calls"].as_array().map_or(0, Vec::len);
        if n_calls < 2 {
            all.push(message);
            continue;
        }
        let calls = message["tool_calls"].take().as_array().cloned().unwrap_or_default();
        let mut results = Vec::new();
        while let Some(result) = messages.next_if(|next| next["role"] == "tool") {
            results.push(result);
        }
        for (i, call) in calls.into_iter().enumerate() {
            let result = results.iter().position(|result| result["tool_call_id"] == call["id"]);
            let mut one = message.clone();
            if i > 0 {
                one["content"] = match &message["content"] {
                    Value::Array(_) => Value::Array(Vec::new()),
                    _ => "".into(),
                };
                if let Some(one) = one.as_object_mut() {
                    one.shift_remove("reasoning_content");
                }
            }
            one["tool_calls"] = Value::Array(vec![call]);
            all.push(one);
            all.extend(result.map(|i| results.remove(i)));
        }
        all.append(&mut results);
    }
    all
}

/// Earlier reasoning goes to the fields that the template reads.
fn name_reasoning(message: &mut Value, fields: &[String]) {
    if fields.is_empty() || fields.iter().any(|field| field == "reasoning_content") {
        return;
    }
    if let Some(message) = message.as_object_mut()
        && let Some(reasoning) = message.shift_remove("reasoning_content")
    {
        message.insert(fields[0].clone(), reasoning);
    }
}

/// The text goes to the system message, or where there can be none to the first message of a user.
fn add_system_text(messages: &mut Vec<Value>, text: String, profile: &TemplateProfile) {
    let is_system = |message: &Value| message["role"] == "system" || message["role"] == "developer";
    if messages.first().is_some_and(is_system) {
        let old = text_of(&messages[0]["content"]);
        let text = if old.is_empty() { text } else { format!("{old}\n\n{text}") };
        set_text(&mut messages[0], text, profile);
    } else if profile.takes_system {
        let mut message = json!({ "role": "system" });
        set_text(&mut message, text, profile);
        messages.insert(0, message);
    } else if let Some(first) = messages.iter_mut().find(|message| message["role"] == "user") {
        let text = format!("{text}\n\n{}", text_of(&first["content"]));
        set_text(first, text, profile);
    }
}

#[cfg(test)]
mod tests;
