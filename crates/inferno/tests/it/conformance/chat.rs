//! Faults of chat completions.

use std::time::Duration;

use serde_json::json;

use super::edits::{
    add, append, body, chunks, insert_chunk, refuse, remove, replace, replace_body, set_type,
};
use super::{Asked, Fault, fault};

const PATH: &str = "/v1/chat/completions";

impl Asked {
    fn is_chat(&self) -> bool {
        self.is(PATH) && !self.has_wrong_key
    }

    /// The plain request for a story.
    pub(super) fn is_story(&self) -> bool {
        self.is_chat() && self.body.as_object().is_some_and(|body| body.len() == 4) && self.is_plain()
    }

    /// The stream of it that most checks look at.
    fn is_recorded(&self) -> bool {
        self.is_chat() && self.has("stream_options") && self.body["max_tokens"] == 32
    }

    fn is_plain(&self) -> bool {
        self.body["max_tokens"] == 32
            && self.body["messages"][0]["content"].as_str().is_some_and(|text| text.len() < 100)
            && self.has("model")
            && self.body["model"] != "no-such-model"
            && self.body["temperature"] == 0
    }

    fn has_choice(&self, choice: &str) -> bool {
        self.is_chat() && self.body["tool_choice"] == choice
    }

    fn n_messages(&self) -> usize {
        self.body["messages"].as_array().map_or(0, Vec::len)
    }

    fn schema(&self) -> &str {
        let format = &self.body["response_format"];
        format["json_schema"]["name"].as_str().or(format["type"].as_str()).unwrap_or_default()
    }
}

pub(super) const FAULTS: &[Fault] = &[
    fault("chat.models.list", |asked, answer| {
        if asked.is("/v1/models") {
            body(answer, |v| v["object"] = json!("array"));
        }
    }),
    fault("chat.models.one", |asked, answer| {
        if asked.path.starts_with("/v1/models/") {
            body(answer, |v| v["id"] = json!("other"));
        }
    }),
    fault("chat.answer.type", |asked, answer| {
        if asked.is_story() {
            set_type(answer, "text/plain");
        }
    }),
    fault("chat.answer.shape", |asked, answer| {
        if asked.is_story() {
            body(answer, |v| remove(&mut v["choices"][0]["message"], "role"));
        }
    }),
    fault("chat.answer.usage", |asked, answer| {
        if asked.is_story() {
            body(answer, |v| add(&mut v["usage"]["total_tokens"], 1));
        }
    }),
    fault("chat.answer.length", |asked, answer| {
        if asked.is_chat() && asked.body["max_tokens"] == 3 {
            body(answer, |v| v["choices"][0]["finish_reason"] = json!("stop"));
        }
    }),
    fault("chat.answer.max_completion_tokens", |asked, answer| {
        if asked.is_chat() && asked.has("max_completion_tokens") {
            body(answer, |v| v["usage"]["completion_tokens"] = json!(5));
        }
    }),
    fault("chat.answer.content_parts", |asked, answer| {
        let parts = &asked.body["messages"][0]["content"];
        if asked.is_chat() && parts.as_array().is_some_and(|parts| parts.len() == 1) {
            body(answer, |v| append(&mut v["choices"][0]["message"]["content"], "!"));
        }
    }),
    fault("chat.answer.developer", |asked, answer| {
        if asked.is_chat() && asked.body["messages"][0]["role"] == "developer" {
            refuse(answer, 400);
        }
    }),
    fault("chat.answer.new_fields", |asked, answer| {
        if asked.is_chat() && asked.has("metadata") {
            refuse(answer, 400);
        }
    }),
    fault("chat.stream.type", |asked, answer| {
        if asked.is_recorded() {
            set_type(answer, "application/json");
        }
    }),
    fault("chat.stream.framing", |asked, answer| {
        if asked.is_recorded() {
            replace(answer, "data: {", "event: chunk\ndata: {");
        }
    }),
    fault("chat.stream.chunks", |asked, answer| {
        if asked.is_recorded() {
            chunks(answer, |_, _, v| remove(v, "created"));
        }
    }),
    fault("chat.stream.ai_sdk", |asked, answer| {
        if asked.is_recorded() {
            chunks(answer, |i, _, v| {
                if i == 0 {
                    v["choices"][0]["delta"]["role"] = json!("tool");
                }
            });
        }
    }),
    fault("chat.stream.one_id", |asked, answer| {
        if asked.is_recorded() {
            chunks(answer, |i, _, v| append(&mut v["id"], &i.to_string()));
        }
    }),
    fault("chat.stream.one_model", |asked, answer| {
        if asked.is_recorded() {
            chunks(answer, |i, _, v| add(&mut v["created"], i as u64));
        }
    }),
    fault("chat.stream.role_first", |asked, answer| {
        if asked.is_recorded() {
            chunks(answer, |i, n, v| {
                if i + 1 < n {
                    v["choices"][0]["delta"]["role"] = json!("assistant");
                }
            });
        }
    }),
    fault("chat.stream.finish_once", |asked, answer| {
        if asked.is_recorded() {
            insert_chunk(answer, |v| {
                v["usage"] = json!(null);
                v["choices"] = json!([{ "index": 0, "delta": { "tool_calls": [] }, "finish_reason": null }]);
            });
        }
    }),
    fault("chat.stream.usage_last", |asked, answer| {
        if asked.is_recorded() {
            insert_chunk(answer, |v| {
                v["choices"] = json!([{ "index": 0, "delta": {}, "finish_reason": null }])
            });
        }
    }),
    fault("chat.stream.no_empty_choices", |asked, answer| {
        let body = asked.body.as_object().map_or(0, |body| body.len());
        if asked.is_chat() && asked.is_stream() && asked.is_plain() && body == 5 {
            insert_chunk(answer, |v| v["choices"] = json!([]));
        }
    }),
    fault("chat.stream.done", |asked, answer| {
        if asked.is_recorded() {
            replace(answer, "data: [DONE]\n\n", "");
        }
    }),
    fault("chat.stream.equals_whole", |asked, answer| {
        if asked.is_recorded() {
            chunks(answer, |i, _, v| {
                if i == 0 {
                    append(&mut v["choices"][0]["delta"]["content"], "!");
                }
            });
        }
    }),
    fault("chat.stream.flows", |asked, answer| {
        if asked.is_chat() && asked.body["max_tokens"] == 96 {
            answer.pieces.iter_mut().for_each(|piece| piece.1 = Duration::from_millis(900));
        }
    }),
    fault("chat.stream.utf8", |asked, answer| {
        if asked.is_chat() && asked.schema() == "wide" {
            replace(answer, "é", "\u{fffd}\u{fffd}");
        }
    }),
    fault("chat.stream.leaving", |asked, answer| {
        if asked.is_story() && asked.i == 1 {
            body(answer, |v| append(&mut v["choices"][0]["message"]["content"], "!"));
        }
    }),
    fault("chat.error.bad_json", |asked, answer| {
        if asked.is_chat() && asked.body.is_null() && answer.status == 400 && !answer.text().contains("zip") {
            answer.status = 500;
        }
    }),
    fault("chat.error.missing", |asked, answer| {
        if asked.is_chat() && !asked.is_stream() && asked.body.is_object() && !asked.has("messages") {
            replace_body(answer, "Bad Request".into());
        }
    }),
    fault("chat.error.wrong_type", |asked, answer| {
        if asked.is_chat() && asked.body["max_tokens"] == "many" {
            answer.status = 500;
        }
    }),
    fault("chat.error.range", |asked, answer| {
        if asked.is_chat() && asked.body["temperature"] == -3 {
            answer.status = 200;
        }
    }),
    fault("chat.error.model", |asked, answer| {
        if asked.is_chat() && asked.body["model"] == "no-such-model" {
            replace_body(answer, "{\"message\": \"no such model\"}".into());
        }
    }),
    fault("chat.error.too_long", |asked, answer| {
        if asked.is_chat()
            && asked.body["messages"][0]["content"].as_str().is_some_and(|text| text.len() > 2000)
        {
            refuse(answer, 400);
        }
    }),
    fault("chat.error.part", |asked, answer| {
        if asked.is_chat() && asked.body.to_string().contains("hologram") {
            answer.status = 200;
        }
    }),
    fault("chat.error.encoding", |asked, answer| {
        if asked.is_chat() && asked.body.is_null() && answer.status == 415 {
            answer.status = 500;
        }
    }),
    fault("chat.error.path", |asked, answer| {
        if asked.is("/v1/no/such/path") {
            replace_body(answer, "<html>Not Found</html>".into());
        }
    }),
    fault("chat.error.stream", |asked, answer| {
        if asked.is_chat() && asked.is_stream() && !asked.has("messages") {
            answer.status = 200;
            replace_body(answer, format!("data: {}\n\n", answer.text()));
        }
    }),
    fault("chat.error.key", |asked, answer| {
        if asked.has_wrong_key {
            answer.status = 200;
        }
    }),
    fault("chat.tools.required", |asked, answer| {
        if asked.has_choice("required") && !asked.is_stream() && !asked.has("parallel_tool_calls") {
            body(answer, |v| v["choices"][0]["finish_reason"] = json!("stop"));
        }
    }),
    fault("chat.tools.named", |asked, answer| {
        if asked.is_chat() && asked.body["tool_choice"].is_object() {
            body(answer, |v| {
                v["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] = json!("{}")
            });
        }
    }),
    fault("chat.tools.none", |asked, answer| {
        if asked.has_choice("none") {
            let call =
                json!({ "id": "c", "type": "function", "function": { "name": "f", "arguments": "{}" } });
            body(answer, |v| v["choices"][0]["message"]["tool_calls"] = json!([call]));
        }
    }),
    fault("chat.tools.auto", |asked, answer| {
        if asked.has_choice("auto") {
            body(answer, |v| {
                v["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] = json!("no JSON")
            });
        }
    }),
    fault("chat.tools.stream", |asked, answer| {
        if asked.has_choice("required") && asked.is_stream() {
            chunks(answer, |_, _, v| {
                if let Some(call) = v.pointer_mut("/choices/0/delta/tool_calls/0") {
                    call["id"] = json!("call_1");
                }
            });
        }
    }),
    fault("chat.tools.round_trip", |asked, answer| {
        if asked.has("tools") && asked.n_messages() == 3 && !asked.body.to_string().contains("call_a") {
            refuse(answer, 400);
        }
    }),
    fault("chat.tools.parallel_results", |asked, answer| {
        if asked.has("tools") && asked.n_messages() == 4 {
            refuse(answer, 500);
        }
    }),
    fault("chat.tools.parallel_ids", |asked, answer| {
        if asked.is_chat() && asked.has("parallel_tool_calls") {
            body(answer, |v| {
                for call in v["choices"][0]["message"]["tool_calls"].as_array_mut().unwrap() {
                    call["id"] = json!("call_1");
                }
            });
        }
    }),
    fault("chat.tools.bad_history", |asked, answer| {
        if asked.has("tools") && asked.n_messages() == 3 && asked.body.to_string().contains("call_a") {
            refuse(answer, 500);
        }
    }),
    Fault {
        check: "chat.schema.strict",
        edit: |asked, answer| {
            if asked.schema() == "member" && !asked.is_stream() {
                replace(answer, r#"\"age\""#, r#"\"agee\""#);
            }
        },
        also: &["chat.schema.stream"],
    },
    fault("chat.schema.stream", |asked, answer| {
        if asked.schema() == "member" && asked.is_stream() {
            chunks(answer, |i, _, v| {
                if i == 0 {
                    append(&mut v["choices"][0]["delta"]["content"], " ");
                }
            });
        }
    }),
    fault("chat.schema.json_object", |asked, answer| {
        if asked.schema() == "json_object" {
            body(answer, |v| v["choices"][0]["message"]["content"] = json!("[1]"));
        }
    }),
    fault("chat.schema.bad", |asked, answer| {
        if asked.schema() == "bad" {
            answer.status = 200;
        }
    }),
    fault("chat.stop.whole", |asked, answer| {
        if asked.body["stop"].is_array() && asked.is_chat() {
            let stop = asked.body["stop"][0].as_str().unwrap_or_default();
            body(answer, |v| append(&mut v["choices"][0]["message"]["content"], stop));
        }
    }),
    fault("chat.stop.stream", |asked, answer| {
        if asked.body["stop"].is_string() && asked.is_chat() {
            let stop = asked.body["stop"].as_str().unwrap_or_default();
            insert_chunk(answer, |v| {
                v["choices"] =
                    json!([{ "index": 0, "delta": { "content": &stop[..1] }, "finish_reason": null }]);
            });
        }
    }),
    fault("chat.logprobs.whole", |asked, answer| {
        if asked.has("logprobs") && asked.is_chat() && !asked.is_stream() {
            body(answer, |v| v["choices"][0]["logprobs"]["content"][0]["logprob"] = json!(0.5));
        }
    }),
    fault("chat.logprobs.stream", |asked, answer| {
        if asked.has("logprobs") && asked.is_chat() && asked.is_stream() {
            chunks(answer, |i, _, v| {
                if i == 1 {
                    v["choices"][0]["logprobs"] = json!(null);
                }
            });
        }
    }),
    fault("chat.n.whole", |asked, answer| {
        if asked.has("n") && asked.is_chat() && !asked.is_stream() {
            body(answer, |v| v["choices"][1]["index"] = json!(0));
        }
    }),
    fault("chat.n.stream", |asked, answer| {
        if asked.has("n") && asked.is_chat() && asked.is_stream() {
            chunks(answer, |_, _, v| {
                let index = v["choices"][0]["index"].as_u64().unwrap_or_default();
                v["choices"][0]["index"] = json!(1 - index);
            });
        }
    }),
    fault("chat.seed", |asked, answer| {
        if asked.has("seed") && asked.is_chat() && asked.i == 1 {
            body(answer, |v| append(&mut v["choices"][0]["message"]["content"], "!"));
        }
    }),
    fault("chat.greedy", |asked, answer| {
        if asked.is_story() && asked.i == 2 {
            body(answer, |v| append(&mut v["choices"][0]["message"]["content"], "!"));
        }
    }),
    fault("chat.load", |asked, answer| {
        if asked.is_chat() && asked.body["max_tokens"] == 24 && asked.i == 1 {
            body(answer, |v| append(&mut v["choices"][0]["message"]["content"], "!"));
        }
    }),
    fault("chat.error.nul", |asked, answer| {
        if asked.is_chat() && asked.body == "NUL" {
            answer.status = 500;
        }
    }),
    fault("chat.error.nul", |asked, answer| {
        if asked.is_chat() && asked.body.to_string().contains(r"Tell\u0000me") {
            answer.status = 500;
        }
    }),
    fault("chat.error.huge", |asked, answer| {
        if asked.is_chat() && asked.body == "huge" {
            answer.status = 200;
        }
    }),
];
