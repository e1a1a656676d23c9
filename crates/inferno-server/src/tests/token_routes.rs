//! `/tokenize`, `/detokenize` and `/apply-template`, as clients of llama.cpp and of vLLM ask.

use serde_json::{Value, json};

use super::start;
use crate::Settings;

#[test]
fn text_becomes_tokens_and_text_again_in_both_dialects() {
    let server = start(Settings::default());
    let ask = |path: &str, body: Value| {
        let reply = server.post(path, &body);
        assert_eq!(reply.status, 200, "{path} {body}: {}", reply.text());
        reply.json()
    };
    let text = "Once upon a time 👍 é<|im_end|>";
    let plain = ask("/tokenize", json!({ "content": text }));
    assert_eq!(plain["count"], plain["tokens"].as_array().unwrap().len());
    assert_eq!(plain["max_model_len"], 2048);
    assert_eq!(plain["tokens"].as_array().unwrap().last().unwrap(), 5113);
    let same =
        [json!({ "prompt": text }), json!({ "prompt": text, "add_special_tokens": false, "model": "alias" })];
    for body in same {
        assert_eq!(ask("/tokenize", body)["tokens"], plain["tokens"]);
    }
    let as_text = ask("/tokenize", json!({ "content": text, "parse_special": false, "add_special": true }));
    assert_ne!(as_text["tokens"], plain["tokens"]);
    for tokens in [&plain["tokens"], &as_text["tokens"]] {
        let back = ask("/detokenize", json!({ "tokens": tokens }));
        assert_eq!(back, json!({ "content": text, "prompt": text }));
    }

    let pieces = ask("/tokenize", json!({ "content": text, "with_pieces": true }));
    let mut joined = Vec::new();
    for (token, id) in pieces["tokens"].as_array().unwrap().iter().zip(plain["tokens"].as_array().unwrap()) {
        assert_eq!(&token["id"], id);
        match &token["piece"] {
            Value::String(piece) => joined.extend_from_slice(piece.as_bytes()),
            bytes => joined.extend(bytes.as_array().unwrap().iter().map(|b| b.as_u64().unwrap() as u8)),
        }
    }
    assert_eq!(String::from_utf8(joined).unwrap(), text);

    let named = ask("/tokenize", json!({ "prompt": "Once upon", "return_token_strs": true }));
    let names: Vec<&str> = named["token_strs"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(names.concat(), "Once upon");
    assert_eq!(names.len(), named["tokens"].as_array().unwrap().len());
    assert!(named["tokens"][0].is_u64());
}

#[test]
fn a_chat_has_the_tokens_that_tokenize_shows() {
    let server = start(Settings::default());
    let body = json!({ "messages": [{ "role": "user", "content": "Hi" }], "max_tokens": 1 });
    let shown = server.post("/tokenize", &body).json()["count"].clone();
    let usage = server.post("/v1/chat/completions", &body).json()["usage"].clone();
    assert_eq!(usage["prompt_tokens"], shown);
    let prompt = server.post("/apply-template", &body).json()["prompt"].clone();
    assert_eq!(prompt, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
    assert_eq!(server.post("/tokenize", &json!({ "content": prompt })).json()["count"], shown);
    let mut open = body.clone();
    open["add_generation_prompt"] = json!(false);
    let prompt = server.post("/apply-template", &open).json()["prompt"].clone();
    assert_eq!(prompt, "<|im_start|>user\nHi<|im_end|>\n");
}

#[test]
fn what_is_no_text_and_no_token_is_refused() {
    let server = start(Settings::default());
    for (path, body, status, code, param) in [
        ("/tokenize", json!({}), 400, "missing_required_parameter", "content"),
        ("/tokenize", json!({ "content": null }), 400, "missing_required_parameter", "content"),
        ("/tokenize", json!({ "content": 1 }), 400, "invalid_value", "content"),
        ("/tokenize", json!({ "content": ["a"] }), 400, "invalid_value", "content"),
        ("/tokenize", json!({ "prompt": [1] }), 400, "invalid_value", "prompt"),
        ("/tokenize", json!({ "content": "a", "prompt": "a" }), 400, "invalid_value", "prompt"),
        ("/tokenize", json!({ "content": "a", "parse_special": 1 }), 400, "invalid_value", "parse_special"),
        ("/tokenize", json!({ "content": "a", "with_pieces": "x" }), 400, "invalid_value", "with_pieces"),
        ("/tokenize", json!({ "content": "a", "model": "b" }), 404, "model_not_found", "model"),
        ("/tokenize", json!({ "messages": [] }), 400, "invalid_value", "messages"),
        ("/detokenize", json!({}), 400, "missing_required_parameter", "tokens"),
        ("/detokenize", json!({ "tokens": "a" }), 400, "invalid_value", "tokens"),
        ("/detokenize", json!({ "tokens": [5120] }), 400, "invalid_value", "tokens[0]"),
        ("/detokenize", json!({ "tokens": [1, -1] }), 400, "invalid_value", "tokens[1]"),
        ("/detokenize", json!({ "tokens": [0.5] }), 400, "invalid_value", "tokens[0]"),
        ("/apply-template", json!({}), 400, "missing_required_parameter", "messages"),
    ] {
        let reply = server.post(path, &body);
        assert_eq!(reply.error(), (status, code.into(), param.into()), "{path} {body}: {}", reply.text());
    }
    for (path, body) in [("/tokenize", json!({ "content": "" })), ("/detokenize", json!({ "tokens": [] }))] {
        assert_eq!(server.post(path, &body).status, 200);
    }
}
