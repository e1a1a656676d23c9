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

/// A text of more pieces than one, with characters that several tokens make up.
fn long_text() -> String {
    "Once upon a time \u{1f44d}\u{1f3fd} é\n\"\\\u{1} <|im_end|> ".repeat(4000)
}

#[test]
fn long_answers_come_in_pieces_and_are_the_same() {
    let server = start(Settings::default());
    let text = long_text();
    let plain = server.post("/tokenize", &json!({ "content": text }));
    assert_eq!(plain.header("transfer-encoding"), Some("chunked"));
    let plain = plain.json();
    let tokens = plain["tokens"].as_array().unwrap();
    assert_eq!(plain["count"], tokens.len());
    let ask = json!({ "content": text, "with_pieces": true, "return_token_strs": true });
    let pieces = server.post("/tokenize", &ask).json();
    let ids: Vec<&Value> = pieces["tokens"].as_array().unwrap().iter().map(|token| &token["id"]).collect();
    assert!(ids.iter().copied().eq(tokens));
    assert_eq!(pieces["token_strs"].as_array().unwrap().len(), tokens.len());
    let back = server.post("/detokenize", &json!({ "tokens": tokens }));
    assert_eq!(back.header("transfer-encoding"), Some("chunked"));
    assert_eq!(back.json(), json!({ "content": text, "prompt": text }));
    // Half a character at the end, and short answers, which have a length.
    let half: Vec<Value> = server.post("/tokenize", &json!({ "content": "é\u{1f44d}" })).json()["tokens"]
        .as_array()
        .unwrap()
        .clone();
    let reply = server.post("/detokenize", &json!({ "tokens": half[..half.len() - 1] }));
    assert!(reply.header("content-length").is_some());
    let reply = reply.json();
    assert_eq!(reply["content"], reply["prompt"]);
    assert_eq!(reply["content"], "é\u{fffd}");
}

#[test]
fn texts_and_tokens_have_limits_of_their_own() {
    let settings = Settings { tokenize_bytes: 100, detokenize_tokens: 5, ..Settings::default() };
    let server = start(settings);
    for (n, status) in [(99, 200), (100, 200), (101, 400)] {
        for name in ["content", "prompt"] {
            let reply = server.post("/tokenize", &json!({ name: "a".repeat(n) }));
            assert_eq!(reply.status, status, "{n}");
            if status == 400 {
                assert_eq!(reply.error(), (400, "invalid_value".into(), name.into()));
            }
        }
        // Names and roles count too.
        let messages = json!([{ "role": "user", "content": "a".repeat(n) }]);
        let reply = server.post("/tokenize", &json!({ "messages": messages }));
        assert_eq!(reply.error(), (400, "invalid_value".into(), "messages".into()));
    }
    for (n, status) in [(4, 200), (5, 200), (6, 400)] {
        assert_eq!(server.post("/detokenize", &json!({ "tokens": vec![1; n] })).status, status);
    }
}

#[test]
fn a_word_of_megabytes_is_refused_with_its_length() {
    let server = start(Settings::default());
    let reply = server.post("/tokenize", &json!({ "content": " ".repeat((1 << 20) + 1) }));
    assert_eq!(reply.error(), (400, "invalid_value".into(), "content".into()));
    assert!(reply.text().contains("1048577 bytes"), "{}", reply.text());
    // In words there is no such limit.
    let reply = server.post("/tokenize", &json!({ "content": "a 1 ".repeat(1 << 19) }));
    assert_eq!(reply.status, 200);
}

#[test]
fn evaluations_find_the_special_tokens_and_the_template_without_a_hub() {
    let server = start(Settings::default());
    let reply = server.get("/tokenizer_info");
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    let info = reply.json();
    assert_eq!(info["tokenizer_class"], "PreTrainedTokenizerFast");
    let context = server.get("/v1/models/ember").json()["max_model_len"].clone();
    assert_eq!((&info["eos_token"], &info["model_max_length"]), (&json!("<|im_end|>"), &context));
    assert!(info["chat_template"].as_str().unwrap().contains("<|im_start|>"));
    assert!(info["additional_special_tokens"].as_array().unwrap().contains(&json!("<|im_end|>")));
    let eos =
        server.post("/tokenize", &json!({ "prompt": "<|im_end|>", "add_special_tokens": false })).json();
    let id = eos["tokens"][0].to_string();
    assert_eq!(info["added_tokens_decoder"][&id]["content"], "<|im_end|>");
    assert_eq!(info["added_tokens_decoder"][&id]["special"], true);
    assert_eq!(server.get("/tokenizer_info").json(), info);
}
