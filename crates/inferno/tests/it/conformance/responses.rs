//! Faults of Responses.

use serde_json::{Value, json};

use super::edits::{add, append, body, chunks, refuse, remove, replace, replace_body, set_type};
use super::{Asked, Fault, fault};

impl Asked {
    fn is_response(&self) -> bool {
        self.is("/v1/responses")
    }

    /// The plain request for a story.
    fn is_plain_response(&self) -> bool {
        self.is_response() && self.n_members() == 5 && self.is_told()
    }

    /// The stream of it.
    fn is_recorded_response(&self) -> bool {
        self.is_response() && self.n_members() == 6 && self.is_stream() && self.is_told()
    }

    fn is_told(&self) -> bool {
        self.body["input"].as_str().is_some_and(|input| input.len() < 100)
            && self.body["max_output_tokens"] == 32
            && self.body["model"] != "no-such-model"
            && self.body["store"] == false
    }

    pub(super) fn n_members(&self) -> usize {
        self.body.as_object().map_or(0, |body| body.len())
    }

    fn n_tools(&self) -> usize {
        self.body["tools"].as_array().map_or(0, Vec::len)
    }

    fn text(&self) -> String {
        self.body.to_string()
    }
}

/// The text of the first message.
fn said(response: &mut Value) -> &mut Value {
    let items = response["output"].as_array_mut().unwrap();
    let message = items.iter_mut().find(|item| item["type"] == "message").unwrap();
    &mut message["content"][0]["text"]
}

fn call(response: &mut Value) -> &mut Value {
    let items = response["output"].as_array_mut().unwrap();
    items.iter_mut().find(|item| item["type"] == "function_call").unwrap()
}

pub(super) const FAULTS: &[Fault] = &[
    fault("responses.answer.shape", |asked, answer| {
        if asked.is_plain_response() {
            body(answer, |v| remove(v, "parallel_tool_calls"));
        }
    }),
    fault("responses.answer.usage", |asked, answer| {
        if asked.is_plain_response() {
            body(answer, |v| add(&mut v["usage"]["total_tokens"], 1));
        }
    }),
    fault("responses.answer.incomplete", |asked, answer| {
        if asked.is_response()
            && asked.body["max_output_tokens"] == 16
            && asked.n_members() == 5
            && asked.body["input"].is_string()
        {
            body(answer, |v| v["status"] = json!("completed"));
        }
    }),
    fault("responses.answer.items", |asked, answer| {
        if asked.is_response()
            && asked.body["input"][0]["type"] == "message"
            && asked.body["max_output_tokens"] == 32
        {
            body(answer, |v| append(said(v), "!"));
        }
    }),
    fault("responses.answer.instructions", |asked, answer| {
        if asked.is_response() && asked.has("instructions") {
            body(answer, |v| v["instructions"] = json!(null));
        }
    }),
    fault("responses.answer.history", |asked, answer| {
        if asked.is_response() && asked.body["input"][0]["role"] == "developer" {
            refuse(answer, 400);
        }
    }),
    fault("responses.answer.fields", |asked, answer| {
        if asked.is_response() && asked.has("include") {
            refuse(answer, 400);
        }
    }),
    fault("responses.answer.equals_chat", |asked, answer| {
        if asked.is_story() {
            body(answer, |v| append(&mut v["choices"][0]["message"]["content"], "!"));
        }
    }),
    fault("responses.answer.schema", |asked, answer| {
        if asked.is_response() && asked.body["text"]["format"]["name"] == "member" {
            body(answer, |v| *said(v) = json!("{\"name\": \"Ann\"}"));
        }
    }),
    fault("responses.stream.type", |asked, answer| {
        if asked.is_recorded_response() {
            set_type(answer, "application/json");
        }
    }),
    fault("responses.stream.events", |asked, answer| {
        if asked.is_recorded_response() {
            chunks(answer, |_, _, v| {
                if v["type"] == "response.output_text.delta" {
                    remove(v, "logprobs");
                }
            });
        }
    }),
    fault("responses.stream.names", |asked, answer| {
        if asked.is_recorded_response() {
            replace(answer, "event: response.output_text.delta\n", "");
        }
    }),
    fault("responses.stream.sequence", |asked, answer| {
        if asked.is_recorded_response() {
            chunks(answer, |_, _, v| v["sequence_number"] = json!(7));
        }
    }),
    fault("responses.stream.order", |asked, answer| {
        if asked.is_recorded_response() {
            // A response that begins a second time.
            chunks(answer, |_, _, v| {
                if v["type"] == "response.in_progress" {
                    v["type"] = json!("response.created");
                }
            });
            replace(answer, "event: response.in_progress\n", "event: response.created\n");
        }
    }),
    fault("responses.stream.ids", |asked, answer| {
        if asked.is_recorded_response() {
            chunks(answer, |i, n, v| {
                if i + 1 == n {
                    append(&mut v["response"]["output"][0]["id"], "x");
                }
            });
        }
    }),
    fault("responses.stream.deltas", |asked, answer| {
        if asked.is_recorded_response() {
            chunks(answer, |_, _, v| {
                if v["type"] == "response.output_text.delta" {
                    append(&mut v["delta"], "!");
                }
            });
        }
    }),
    fault("responses.stream.ends", |asked, answer| {
        if asked.is_recorded_response() {
            chunks(answer, |i, n, v| {
                if i + 1 == n {
                    v["response"]["status"] = json!("in_progress");
                }
            });
        }
    }),
    fault("responses.stream.equals_whole", |asked, answer| {
        if asked.is_recorded_response() {
            chunks(answer, |i, n, v| {
                if i + 1 == n {
                    add(&mut v["response"]["usage"]["output_tokens"], 1);
                }
            });
        }
    }),
    fault("responses.tools.forced", |asked, answer| {
        if asked.is_response() && asked.body["tool_choice"].is_object() {
            body(answer, |v| call(v)["arguments"] = json!("{}"));
        }
    }),
    fault("responses.tools.stream", |asked, answer| {
        if asked.is_response() && asked.is_stream() && asked.has("tools") {
            chunks(answer, |_, _, v| {
                if v["type"] == "response.function_call_arguments.done" {
                    v["arguments"] = json!("{}");
                }
            });
        }
    }),
    fault("responses.tools.round_trip", |asked, answer| {
        if asked.is_response() && asked.text().contains("function_call_output") {
            refuse(answer, 400);
        }
    }),
    fault("responses.tools.unknown", |asked, answer| {
        if asked.is_response() && asked.n_tools() == 3 {
            refuse(answer, 400);
        }
    }),
    fault("responses.kept.previous", |asked, answer| {
        if asked.is_response() && asked.has("previous_response_id") && answer.status == 200 {
            body(answer, |v| append(said(v), "!"));
        }
    }),
    fault("responses.kept.get", |asked, answer| {
        if asked.path.starts_with("/v1/responses/resp")
            && asked.i == 0
            && answer.text().contains("\"max_output_tokens\":32")
        {
            body(answer, |v| append(said(v), "!"));
        }
    }),
    fault("responses.kept.items", |asked, answer| {
        if asked.path.ends_with("/input_items") {
            body(answer, |v| v["data"] = json!([]));
        }
    }),
    fault("responses.kept.delete", |_, answer| {
        if answer.text().contains("\"deleted\":true") {
            body(answer, |v| v["deleted"] = json!(false));
        }
    }),
    Fault {
        check: "responses.kept.not_stored",
        edit: |asked, answer| {
            if asked.path.starts_with("/v1/responses/resp") && answer.status == 404 {
                answer.status = 200;
            }
        },
        also: &["responses.kept.delete"],
    },
    fault("responses.error.bad_json", |asked, answer| {
        if asked.is_response() && asked.body.is_null() {
            answer.status = 500;
        }
    }),
    fault("responses.error.wrong_type", |asked, answer| {
        if asked.is_response() && asked.body["max_output_tokens"] == "many" {
            answer.status = 500;
        }
    }),
    fault("responses.error.model", |asked, answer| {
        if asked.is_response() && asked.body["model"] == "no-such-model" {
            replace_body(answer, "{\"message\": \"no such model\"}".into());
        }
    }),
    fault("responses.error.too_long", |asked, answer| {
        if asked.is_response() && asked.body["input"].as_str().is_some_and(|text| text.len() > 2000) {
            refuse(answer, 400);
        }
    }),
    fault("responses.error.part", |asked, answer| {
        if asked.is_response() && asked.text().contains("hologram") {
            answer.status = 200;
        }
    }),
    fault("responses.error.previous", |asked, answer| {
        if asked.is_response() && asked.text().contains("resp_000000000000") {
            answer.status = 200;
        }
    }),
    fault("responses.error.stream", |asked, answer| {
        if asked.is_response() && asked.is_stream() && asked.body["input"] == 7 {
            answer.status = 200;
        }
    }),
    fault("responses.background.begin", |asked, answer| {
        if asked.is_response() && asked.body["background"] == true {
            body(answer, |v| v["status"] = json!("completed"));
        }
    }),
    fault("responses.background.retrieve", |asked, answer| {
        let has_ended =
            !answer.text().contains("\"in_progress\"") && !answer.text().contains("\"cancelled\"");
        if asked.path.starts_with("/v1/responses/resp")
            && answer.text().contains("\"background\":true")
            && has_ended
        {
            body(answer, |v| append(said(v), "!"));
        }
    }),
    fault("responses.background.cancel", |asked, answer| {
        if asked.path.ends_with("/cancel") {
            body(answer, |v| v["status"] = json!("in_progress"));
        }
    }),
    fault("responses.error.nul", |asked, answer| {
        if asked.is_response() && asked.body == "NUL" {
            answer.status = 500;
        }
    }),
    fault("responses.error.huge", |asked, answer| {
        if asked.is_response() && asked.body == "huge" {
            answer.status = 200;
        }
    }),
];
