//! Faults of completions.

use serde_json::json;

use super::edits::{
    add, append, body, chunks, insert_chunk, refuse, remove, replace, replace_body, set_type,
};
use super::{Asked, Fault, fault};

impl Asked {
    fn is_completion(&self) -> bool {
        self.is("/v1/completions")
    }

    /// The plain request.
    fn is_plain_completion(&self) -> bool {
        let n = self.body.as_object().map_or(0, |body| body.len());
        self.is_completion()
            && n == 4
            && self.body["max_tokens"] == 32
            && self.body["prompt"] == "Once upon a time"
    }

    /// The stream of it.
    fn is_recorded_completion(&self) -> bool {
        self.is_completion() && self.has("stream_options") && self.has("prompt")
    }
}

pub(super) const FAULTS: &[Fault] = &[
    fault("completions.answer.type", |asked, answer| {
        if asked.is_plain_completion() {
            set_type(answer, "text/plain");
        }
    }),
    fault("completions.answer.shape", |asked, answer| {
        if asked.is_plain_completion() {
            body(answer, |v| remove(v, "created"));
        }
    }),
    fault("completions.answer.usage", |asked, answer| {
        if asked.is_plain_completion() {
            body(answer, |v| add(&mut v["usage"]["total_tokens"], 1));
        }
    }),
    fault("completions.answer.length", |asked, answer| {
        if asked.is_completion() && asked.body["max_tokens"] == 3 {
            body(answer, |v| v["choices"][0]["finish_reason"] = json!("stop"));
        }
    }),
    fault("completions.answer.default_length", |asked, answer| {
        if asked.is_completion() && asked.has("prompt") && !asked.has("max_tokens") {
            body(answer, |v| v["usage"]["completion_tokens"] = json!(17));
        }
    }),
    fault("completions.prompt.many", |asked, answer| {
        if asked.is_completion() && asked.body["prompt"][0].is_string() {
            body(answer, |v| v["choices"][1]["index"] = json!(0));
        }
    }),
    fault("completions.prompt.tokens", |asked, answer| {
        if asked.is_completion() && asked.body["prompt"][0].is_number() {
            body(answer, |v| v["usage"]["prompt_tokens"] = json!(9));
        }
    }),
    fault("completions.stream.type", |asked, answer| {
        if asked.is_recorded_completion() {
            set_type(answer, "text/plain");
        }
    }),
    fault("completions.stream.chunks", |asked, answer| {
        if asked.is_recorded_completion() {
            chunks(answer, |_, _, v| v["object"] = json!("text_completion.chunk"));
        }
    }),
    fault("completions.stream.one_id", |asked, answer| {
        if asked.is_recorded_completion() {
            chunks(answer, |i, _, v| append(&mut v["id"], &i.to_string()));
        }
    }),
    fault("completions.stream.finish_once", |asked, answer| {
        if asked.is_recorded_completion() {
            chunks(answer, |i, _, v| {
                if i == 0 {
                    v["choices"][0]["finish_reason"] = json!("stop");
                }
            });
        }
    }),
    fault("completions.stream.usage_last", |asked, answer| {
        if asked.is_recorded_completion() {
            insert_chunk(answer, |v| {
                v["choices"] = json!([{ "index": 0, "text": "", "finish_reason": null, "logprobs": null }]);
            });
        }
    }),
    fault("completions.stream.done", |asked, answer| {
        if asked.is_recorded_completion() {
            replace(answer, "data: [DONE]\n\n", "data: [DONE]\n\ndata: [DONE]\n\n");
        }
    }),
    fault("completions.stream.equals_whole", |asked, answer| {
        if asked.is_recorded_completion() {
            chunks(answer, |i, _, v| {
                if i == 1 {
                    v["choices"][0]["text"] = json!("");
                }
            });
        }
    }),
    fault("completions.logprobs", |asked, answer| {
        if asked.body["logprobs"] == 2 && asked.is_completion() {
            body(answer, |v| v["choices"][0]["logprobs"]["token_logprobs"] = json!([-1.0]));
        }
    }),
    fault("completions.echo", |asked, answer| {
        if asked.has("echo") {
            body(answer, |v| v["choices"][0]["logprobs"]["token_logprobs"][0] = json!(-1.0));
        }
    }),
    fault("completions.stop", |asked, answer| {
        if asked.has("stop") && asked.is_completion() {
            body(answer, |v| v["choices"][0]["finish_reason"] = json!("length"));
        }
    }),
    fault("completions.n", |asked, answer| {
        if asked.has("n") && asked.is_completion() {
            body(answer, |v| v["choices"][1]["index"] = json!(2));
        }
    }),
    fault("completions.seed", |asked, answer| {
        if asked.has("seed") && asked.is_completion() && asked.i == 1 {
            body(answer, |v| append(&mut v["choices"][0]["text"], "!"));
        }
    }),
    fault("completions.error.bad_json", |asked, answer| {
        if asked.is_completion() && asked.body.is_null() {
            answer.status = 500;
        }
    }),
    fault("completions.error.missing", |asked, answer| {
        if asked.is_completion() && asked.body.is_object() && !asked.has("prompt") && !asked.is_stream() {
            replace_body(answer, "{\"error\": \"no prompt\"}".into());
        }
    }),
    fault("completions.error.wrong_type", |asked, answer| {
        if asked.is_completion() && asked.body["prompt"].is_object() {
            answer.status = 200;
        }
    }),
    fault("completions.error.too_long", |asked, answer| {
        if asked.is_completion() && asked.body["prompt"].as_str().is_some_and(|text| text.len() > 2000) {
            refuse(answer, 400);
        }
    }),
    fault("completions.error.stream", |asked, answer| {
        if asked.is_completion() && asked.is_stream() && !asked.has("prompt") {
            answer.status = 200;
        }
    }),
    fault("completions.load", |asked, answer| {
        if asked.is_completion() && asked.body["max_tokens"] == 24 && asked.i == 1 {
            chunks(answer, |i, _, v| {
                if i == 0 {
                    append(&mut v["choices"][0]["text"], "!");
                }
            });
        }
    }),
    fault("completions.error.nul", |asked, answer| {
        if asked.is_completion() && asked.body == "NUL" {
            answer.status = 500;
        }
    }),
    fault("completions.error.huge", |asked, answer| {
        if asked.is_completion() && asked.body == "huge" {
            answer.status = 200;
        }
    }),
];
