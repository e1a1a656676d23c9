//! Faults of Ollama's API.

use inferno_conformance::Answer;
use serde_json::{Value, json};

use super::edits::{append, body, remove, replace_body, set_type};
use super::{Asked, Fault, fault};

impl Asked {
    fn is_ollama(&self) -> bool {
        self.is("/api/chat")
    }

    fn options(&self) -> usize {
        self.body["options"].as_object().map_or(0, |options| options.len())
    }

    /// The plain request for a story, whole.
    fn is_plain_ollama(&self) -> bool {
        self.is_ollama() && self.n_members() == 4 && self.body["stream"] == false && self.is_dragon()
    }

    /// The stream of it.
    fn is_recorded_ollama(&self) -> bool {
        self.is_ollama() && self.n_members() == 3 && self.is_dragon()
    }

    fn is_dragon(&self) -> bool {
        self.options() == 2
            && self.body["options"]["num_predict"] == 32
            && self.body["messages"].is_array()
            && !self.is_of_other_model()
    }

    fn is_of_other_model(&self) -> bool {
        let model = self.body["model"].as_str().unwrap_or_default();
        model == "no-such-model" || model.ends_with(":latest")
    }
}

/// Changes the lines of a stream: each with its number and the number of all.
fn lines(answer: &mut Answer, edit: impl Fn(usize, usize, &mut Value)) {
    let text = answer.text();
    let n = text.lines().count();
    let edited = text.lines().enumerate().map(|(i, line)| {
        let mut value = serde_json::from_str(line).unwrap();
        edit(i, n, &mut value);
        format!("{value}\n")
    });
    replace_body(answer, edited.collect());
}

pub(super) const FAULTS: &[Fault] = &[
    fault("ollama.version", |asked, answer| {
        if asked.is("/api/version") {
            body(answer, |v| v["version"] = json!(1));
        }
    }),
    fault("ollama.tags", |asked, answer| {
        if asked.is("/api/tags") {
            body(answer, |v| remove(&mut v["models"][0], "details"));
        }
    }),
    fault("ollama.show", |asked, answer| {
        if asked.is("/api/show") {
            body(answer, |v| remove(v, "model_info"));
        }
    }),
    fault("ollama.ps", |asked, answer| {
        if asked.is("/api/ps") {
            body(answer, |v| v["models"][0]["size_vram"] = json!("0"));
        }
    }),
    fault("ollama.chat.shape", |asked, answer| {
        if asked.is_plain_ollama() {
            body(answer, |v| v["message"]["role"] = json!("model"));
        }
    }),
    fault("ollama.chat.done", |asked, answer| {
        if asked.is_plain_ollama() {
            body(answer, |v| {
                v["total_duration"] = json!(31);
                v["eval_duration"] = json!(30);
            });
        }
    }),
    fault("ollama.chat.length", |asked, answer| {
        if asked.is_ollama() && asked.body["options"]["num_predict"] == 3 {
            body(answer, |v| v["done_reason"] = json!("limit"));
        }
    }),
    fault("ollama.chat.stop", |asked, answer| {
        let stop = asked.body["options"]["stop"][0].as_str();
        if let Some(stop) = stop.filter(|_| asked.is_ollama()) {
            body(answer, |v| append(&mut v["message"]["content"], stop));
        }
    }),
    fault("ollama.chat.seed", |asked, answer| {
        if asked.is_ollama() && !asked.body["options"]["seed"].is_null() && asked.i == 1 {
            body(answer, |v| append(&mut v["message"]["content"], "!"));
        }
    }),
    fault("ollama.chat.latest", |asked, answer| {
        if asked.is_ollama() && asked.body["model"].as_str().is_some_and(|model| model.ends_with(":latest")) {
            answer.status = 404;
        }
    }),
    fault("ollama.chat.load", |asked, answer| {
        if asked.is_ollama() && asked.body["messages"] == json!([]) {
            answer.status = 400;
        }
    }),
    fault("ollama.chat.equals_chat", |asked, answer| {
        if asked.is_story() {
            body(answer, |v| append(&mut v["choices"][0]["message"]["content"], "!"));
        }
    }),
    fault("ollama.stream.type", |asked, answer| {
        if asked.is_recorded_ollama() {
            set_type(answer, "text/event-stream");
        }
    }),
    fault("ollama.stream.lines", |asked, answer| {
        if asked.is_recorded_ollama() {
            lines(answer, |i, n, v| {
                if i + 1 < n {
                    remove(v, "created_at");
                }
            });
        }
    }),
    fault("ollama.stream.done_last", |asked, answer| {
        if asked.is_recorded_ollama() {
            lines(answer, |_, _, v| v["done"] = json!(false));
        }
    }),
    fault("ollama.stream.equals_whole", |asked, answer| {
        if asked.is_recorded_ollama() {
            lines(answer, |i, _, v| {
                if i == 0 {
                    append(&mut v["message"]["content"], "!");
                }
            });
        }
    }),
    fault("ollama.generate.shape", |asked, answer| {
        if asked.is("/api/generate") && !asked.is_stream() {
            body(answer, |v| remove(v, "eval_count"));
        }
    }),
    fault("ollama.generate.stream", |asked, answer| {
        if asked.is("/api/generate") && asked.is_stream() {
            lines(answer, |i, _, v| {
                if i == 0 {
                    append(&mut v["response"], "!");
                }
            });
        }
    }),
    fault("ollama.format.schema", |asked, answer| {
        if asked.is_ollama() && asked.body["format"].is_object() {
            body(answer, |v| v["message"]["content"] = json!("{\"name\": \"Ann\"}"));
        }
    }),
    fault("ollama.format.json", |asked, answer| {
        if asked.is_ollama() && asked.body["format"].is_string() {
            body(answer, |v| v["message"]["content"] = json!("Ann"));
        }
    }),
    fault("ollama.tools.call", |asked, answer| {
        if asked.is_ollama() && asked.has("tools") && asked.body["options"]["num_predict"] == 128 {
            let call = json!({ "function": { "name": "get_weather", "arguments": "{\"city\": \"Paris\"}" } });
            body(answer, |v| v["message"]["tool_calls"] = json!([call]));
        }
    }),
    fault("ollama.tools.round_trip", |asked, answer| {
        if asked.is_ollama() && asked.has("tools") && asked.body["options"]["num_predict"] == 8 {
            answer.status = 500;
        }
    }),
    fault("ollama.embed", |asked, answer| {
        if asked.is("/api/embed") {
            answer.status = 200;
            replace_body(answer, "{\"embeddings\": [[0.5]]}".into());
        }
    }),
    fault("ollama.error.bad_json", |asked, answer| {
        if asked.is_ollama() && asked.body.is_null() {
            replace_body(answer, "{\"error\": {\"message\": \"no JSON\"}}".into());
        }
    }),
    fault("ollama.error.model", |asked, answer| {
        if asked.is_ollama() && asked.body["model"] == "no-such-model" {
            answer.status = 400;
        }
    }),
    fault("ollama.error.wrong_type", |asked, answer| {
        if asked.is_ollama() && asked.body["messages"] == "Hi" {
            answer.status = 500;
        }
    }),
    fault("ollama.error.nul", |asked, answer| {
        if asked.is_ollama() && asked.body == "NUL" {
            answer.status = 500;
        }
    }),
    fault("ollama.error.huge", |asked, answer| {
        if asked.is_ollama() && asked.body == "huge" {
            answer.status = 200;
        }
    }),
];
