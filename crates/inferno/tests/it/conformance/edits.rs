//! Ways to break an answer.

use inferno_conformance::Answer;
use serde_json::{Value, json};

use super::Asked;

impl Asked {
    pub(super) fn is(&self, path: &str) -> bool {
        self.path == path
    }

    pub(super) fn has(&self, member: &str) -> bool {
        !self.body[member].is_null()
    }

    pub(super) fn is_stream(&self) -> bool {
        self.body["stream"] == true
    }
}

/// Changes a body of JSON.
pub(super) fn body(answer: &mut Answer, edit: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    edit(&mut value);
    replace_body(answer, value.to_string());
}

/// Changes the chunks of a stream: each as JSON with its number and the number of all. A chunk that becomes null goes.
pub(super) fn chunks(answer: &mut Answer, mut edit: impl FnMut(usize, usize, &mut Value)) {
    let text = answer.text();
    let n = text.split("\n\n").filter(|event| event.contains("data: {")).count();
    let mut i = 0;
    let mut out = String::new();
    for event in text.split_inclusive("\n\n") {
        let Some((head, data)) = event.split_once("data: {") else {
            out += event;
            continue;
        };
        let mut value: Value = serde_json::from_str(&format!("{{{}", data.trim_end())).unwrap();
        edit(i, n, &mut value);
        i += 1;
        if !value.is_null() {
            out += &format!("{head}data: {value}\n\n");
        }
    }
    replace_body(answer, out);
}

/// Puts an event in front of the last chunk.
pub(super) fn insert_chunk(answer: &mut Answer, edit: impl FnOnce(&mut Value)) {
    let text = answer.text();
    let last = text.rfind("data: {").unwrap();
    let end = last + text[last..].find("\n\n").unwrap();
    let mut value: Value = serde_json::from_str(&text[last + 6..end]).unwrap();
    edit(&mut value);
    replace_body(answer, format!("{}data: {value}\n\n{}", &text[..last], &text[last..]));
}

pub(super) fn replace(answer: &mut Answer, from: &str, to: &str) {
    replace_body(answer, answer.text().replace(from, to));
}

/// An answer with another status and an error of OpenAI's shape.
pub(super) fn refuse(answer: &mut Answer, status: u16) {
    answer.status = status;
    let error =
        json!({ "error": { "message": "no", "type": "invalid_request_error", "param": null, "code": null } });
    replace_body(answer, error.to_string());
}

pub(super) fn replace_body(answer: &mut Answer, text: String) {
    let end = answer.pieces.last().map(|piece| piece.1).unwrap_or_default();
    answer.body = text.into_bytes();
    answer.pieces = vec![(answer.body.len(), end)];
}

pub(super) fn set_type(answer: &mut Answer, value: &str) {
    answer.headers.retain(|header| header.0 != "content-type");
    answer.headers.push(("content-type".into(), value.into()));
}

/// Removes a member of an object.
pub(super) fn remove(value: &mut Value, member: &str) {
    value.as_object_mut().unwrap().remove(member);
}

/// Adds `more` to a string.
pub(super) fn append(value: &mut Value, more: &str) {
    *value = json!(format!("{}{more}", value.as_str().unwrap_or_default()));
}

/// Adds `more` to a count.
pub(super) fn add(value: &mut Value, more: u64) {
    *value = json!(value.as_u64().unwrap_or_default() + more);
}
