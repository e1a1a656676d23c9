//! What every client does first.

use serde_json::json;

use super::start;
use crate::Settings;

#[test]
fn a_chat_is_the_same_whole_and_as_a_stream() {
    let server = start(Settings::default());
    let body = json!({
        "model": "ember", "messages": [{"role": "user", "content": "Tell me a story."}], "max_tokens": 12, "seed": 3,
    });
    let whole = server.post("/v1/chat/completions", &body);
    assert_eq!(whole.status, 200, "{}", whole.text());
    let whole = whole.json();
    let mut streamed = body.clone();
    streamed["stream"] = true.into();
    streamed["stream_options"] = json!({ "include_usage": true });
    let events = server.post("/v1/chat/completions", &streamed).events();
    let deltas = events.iter().filter(|e| e["choices"][0].is_object()).map(|e| &e["choices"][0]);
    let text: String = deltas.clone().filter_map(|c| c["delta"]["content"].as_str()).collect();
    assert_eq!(whole["choices"][0]["message"]["content"], text);
    assert_eq!(deltas.clone().filter(|c| c["delta"]["role"].is_string()).count(), 1);
    let reasons: Vec<&str> = deltas.filter_map(|c| c["finish_reason"].as_str()).collect();
    assert_eq!(reasons, ["length"]);
    assert_eq!(events.last().unwrap(), "[DONE]");
    assert_eq!(events[events.len() - 2]["usage"]["completion_tokens"], 12);
    assert_eq!(whole["usage"]["completion_tokens"], 12);
}

#[test]
fn a_model_is_known_by_its_names_only() {
    let server = start(Settings::default());
    for name in ["ember", "alias", "default"] {
        assert_eq!(server.get(&format!("/v1/models/{name}")).status, 200);
    }
    assert_eq!(server.get("/v1/models/gpt-5").error(), (404, "model_not_found".into(), "model".into()));
}
