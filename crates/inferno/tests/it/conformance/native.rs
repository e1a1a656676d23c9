//! Faults of the routes of llama-server and vLLM.

use serde_json::json;

use super::edits::{append, body, chunks, remove, replace_body};
use super::{Asked, Fault, fault};

impl Asked {
    fn is_native(&self) -> bool {
        self.is("/completion")
    }
}

pub(super) const FAULTS: &[Fault] = &[
    fault("native.health", |asked, answer| {
        if asked.is("/health") {
            answer.status = 500;
        }
    }),
    fault("native.props", |asked, answer| {
        if asked.is("/props") {
            body(answer, |v| remove(v, "total_slots"));
        }
    }),
    fault("native.slots", |asked, answer| {
        if asked.is("/slots") {
            body(answer, |v| remove(&mut v[0], "is_processing"));
        }
    }),
    fault("native.tokenize", |asked, answer| {
        if asked.is("/detokenize") {
            body(answer, |v| v["content"] = json!("Once"));
        }
    }),
    fault("native.tokenize_pieces", |asked, answer| {
        if asked.is("/tokenize") && asked.has("with_pieces") {
            body(answer, |v| remove(&mut v["tokens"][0], "piece"));
        }
    }),
    fault("native.apply_template", |asked, answer| {
        if asked.is("/apply-template") {
            body(answer, |v| v["prompt"] = json!(""));
        }
    }),
    fault("native.completion.whole", |asked, answer| {
        if asked.is_native() && asked.n_members() == 3 {
            body(answer, |v| remove(v, "stop_type"));
        }
    }),
    fault("native.completion.stream", |asked, answer| {
        if asked.is_native() && asked.is_stream() {
            chunks(answer, |_, _, v| v["stop"] = json!(false));
        }
    }),
    fault("native.completion.probabilities", |asked, answer| {
        if asked.is_native() && asked.has("n_probs") {
            body(answer, |v| v["completion_probabilities"][0]["top_logprobs"] = json!([]));
        }
    }),
    fault("native.completion.equals", |asked, answer| {
        if asked.is("/v1/completions") && asked.body["max_tokens"] == 8 && asked.n_members() == 4 {
            body(answer, |v| append(&mut v["choices"][0]["text"], "!"));
        }
    }),
    fault("native.completion.error", |asked, answer| {
        if asked.is_native() && asked.body.is_null() {
            answer.status = 500;
        }
    }),
    fault("native.infill", |asked, answer| {
        if asked.is("/infill") {
            answer.status = 200;
            replace_body(answer, "{\"text\": \"a\"}".into());
        }
    }),
    fault("native.lora_adapters", |asked, answer| {
        if asked.is("/lora-adapters") {
            replace_body(answer, "{}".into());
        }
    }),
    fault("native.version", |asked, answer| {
        if asked.is("/version") {
            body(answer, |v| remove(v, "version"));
        }
    }),
    fault("native.vllm_tokenize", |asked, answer| {
        if asked.is("/tokenize") && asked.has("prompt") {
            body(answer, |v| v["count"] = json!(0));
        }
    }),
    fault("native.load", |asked, answer| {
        if asked.is("/load") {
            body(answer, |v| v["server_load"] = json!("0"));
        }
    }),
    fault("native.metrics", |asked, answer| {
        if asked.is("/metrics") {
            replace_body(answer, "running many\n".into());
        }
    }),
    fault("native.completion.nul", |asked, answer| {
        if asked.is_native() && asked.body == "NUL" {
            answer.status = 500;
        }
    }),
    fault("native.completion.huge", |asked, answer| {
        if asked.is_native() && asked.body == "huge" {
            answer.status = 200;
        }
    }),
];
