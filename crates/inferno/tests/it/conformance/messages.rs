//! Faults of Messages.

use serde_json::{Value, json};

use super::edits::{add, append, body, chunks, remove, replace, replace_body, set_type};
use super::{Asked, Fault, fault};

impl Asked {
    fn is_message(&self) -> bool {
        self.is("/v1/messages") && !self.has_wrong_key
    }

    /// The plain request for a story.
    fn is_plain_message(&self) -> bool {
        self.is_message() && self.n_members() == 4 && self.is_short()
    }

    /// The stream of it.
    fn is_recorded_message(&self) -> bool {
        self.is_message() && self.n_members() == 5 && self.is_stream() && self.is_short()
    }

    fn is_short(&self) -> bool {
        self.body["messages"][0]["content"].as_str().is_some_and(|text| text.len() < 100)
            && self.body["max_tokens"] == 32
            && self.body["model"] != "no-such-model"
    }

    fn choice(&self) -> &str {
        self.body["tool_choice"]["type"].as_str().unwrap_or_default()
    }
}

/// The text of the first block.
fn said(message: &mut Value) -> &mut Value {
    &mut message["content"][0]["text"]
}

fn call(message: &mut Value) -> &mut Value {
    let blocks = message["content"].as_array_mut().unwrap();
    blocks.iter_mut().find(|block| block["type"] == "tool_use").unwrap()
}

/// Changes events of one type.
fn events(answer: &mut inferno_conformance::Answer, kind: &str, mut edit: impl FnMut(&mut Value)) {
    chunks(answer, |_, _, v| {
        if v["type"] == kind {
            edit(v);
        }
    });
}

pub(super) const FAULTS: &[Fault] = &[
    fault("messages.answer.shape", |asked, answer| {
        if asked.is_plain_message() {
            body(answer, |v| remove(v, "stop_sequence"));
        }
    }),
    Fault {
        check: "messages.answer.usage",
        edit: |asked, answer| {
            if asked.is_plain_message() {
                body(answer, |v| v["usage"]["output_tokens"] = json!(33));
            }
        },
        also: &["messages.stream.equals_whole"],
    },
    fault("messages.answer.length", |asked, answer| {
        if asked.is_message() && asked.body["max_tokens"] == 3 {
            body(answer, |v| v["stop_reason"] = json!("length"));
        }
    }),
    fault("messages.answer.blocks", |asked, answer| {
        if asked.is_message() && asked.body["messages"][0]["content"][0]["type"] == "text" {
            body(answer, |v| append(said(v), "!"));
        }
    }),
    fault("messages.answer.system", |asked, answer| {
        if asked.is_message() && asked.body["system"].is_array() {
            answer.status = 400;
        }
    }),
    fault("messages.answer.beta", |asked, answer| {
        if asked.is("/v1/messages?beta=true") {
            answer.status = 404;
        }
    }),
    fault("messages.answer.fields", |asked, answer| {
        if asked.is_message() && asked.has("metadata") {
            body(answer, |v| append(said(v), "!"));
        }
    }),
    fault("messages.answer.thinking_history", |asked, answer| {
        if asked.is_message() && asked.body.to_string().contains("signature") {
            answer.status = 400;
        }
    }),
    fault("messages.answer.equals_chat", |asked, answer| {
        if asked.is_story() {
            body(answer, |v| append(&mut v["choices"][0]["message"]["content"], "!"));
        }
    }),
    fault("messages.stop", |asked, answer| {
        if asked.is_message() && asked.has("stop_sequences") {
            body(answer, |v| v["stop_sequence"] = json!(null));
        }
    }),
    fault("messages.count", |asked, answer| {
        if asked.is("/v1/messages/count_tokens") {
            body(answer, |v| add(&mut v["input_tokens"], 1));
        }
    }),
    fault("messages.stream.type", |asked, answer| {
        if asked.is_recorded_message() {
            set_type(answer, "text/plain");
        }
    }),
    fault("messages.stream.events", |asked, answer| {
        if asked.is_recorded_message() {
            replace(answer, "event: content_block_delta\n", "event: delta\n");
        }
    }),
    fault("messages.stream.order", |asked, answer| {
        if asked.is_recorded_message() {
            events(answer, "content_block_stop", |v| v["index"] = json!(1));
        }
    }),
    fault("messages.stream.equals_whole", |asked, answer| {
        if asked.is_recorded_message() {
            events(answer, "message_delta", |v| add(&mut v["usage"]["output_tokens"], 1));
        }
    }),
    Fault {
        check: "messages.tools.named",
        edit: |asked, answer| {
            if asked.choice() == "tool" && !asked.is_stream() {
                body(answer, |v| call(v)["input"] = json!({ "city": "Oslo" }));
            }
        },
        also: &["messages.tools.stream", "messages.tools.round_trip"],
    },
    fault("messages.tools.any", |asked, answer| {
        if asked.choice() == "any" {
            body(answer, |v| v["stop_reason"] = json!("end_turn"));
        }
    }),
    fault("messages.tools.stream", |asked, answer| {
        if asked.choice() == "tool" && asked.is_stream() {
            events(answer, "content_block_start", |v| {
                v["content_block"]["input"] = json!({ "city": "Paris" })
            });
        }
    }),
    fault("messages.tools.round_trip", |asked, answer| {
        let text = asked.body.to_string();
        if asked.is_message() && text.contains("tool_result") && !text.contains("toolu_a\"") {
            answer.status = 400;
        }
    }),
    fault("messages.tools.parallel_results", |asked, answer| {
        if asked.is_message() && asked.body.to_string().contains("\"toolu_a\"") {
            answer.status = 400;
        }
    }),
    fault("messages.error.bad_json", |asked, answer| {
        if asked.is_message() && asked.body.is_null() {
            body(answer, |v| remove(v, "type"));
        }
    }),
    fault("messages.error.max_tokens", |asked, answer| {
        if asked.is_message() && asked.body.is_object() && !asked.has("max_tokens") {
            answer.status = 422;
        }
    }),
    fault("messages.error.wrong_type", |asked, answer| {
        if asked.is_message() && asked.body["max_tokens"] == "many" {
            answer.status = 500;
        }
    }),
    fault("messages.error.model", |asked, answer| {
        if asked.is_message() && asked.body["model"] == "no-such-model" {
            body(answer, |v| v["error"]["type"] = json!("model_not_found"));
        }
    }),
    fault("messages.error.too_long", |asked, answer| {
        if asked.is_message()
            && asked.body["messages"][0]["content"].as_str().is_some_and(|text| text.len() > 2000)
        {
            body(answer, |v| v["error"]["message"] = json!("no"));
        }
    }),
    fault("messages.error.block", |asked, answer| {
        if asked.is_message() && asked.body.to_string().contains("hologram") {
            answer.status = 200;
        }
    }),
    fault("messages.error.stream", |asked, answer| {
        if asked.is_message() && asked.is_stream() && !asked.has("messages") {
            answer.status = 200;
        }
    }),
    fault("messages.error.key", |asked, answer| {
        if asked.has_wrong_key && asked.is("/v1/messages") {
            replace_body(answer, "{}".into());
        }
    }),
    fault("messages.error.nul", |asked, answer| {
        if asked.is_message() && asked.body == "NUL" {
            answer.status = 500;
        }
    }),
    fault("messages.error.huge", |asked, answer| {
        if asked.is_message() && asked.body == "huge" {
            answer.status = 200;
        }
    }),
];
