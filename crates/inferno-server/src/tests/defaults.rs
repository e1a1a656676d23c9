//! Seed and length of requests that do not say, as the operator sets them.

use serde_json::{Value, json};

use super::harness::start_with;
use super::start;
use crate::Settings;

/// A random completion of `members`.
fn random(members: Value) -> Value {
    let mut body = json!({ "prompt": "Once upon a time", "temperature": 2, "ignore_eos": true });
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body
}

#[test]
fn requests_without_a_seed_have_the_servers() {
    let server = start(Settings { seed: Some(7), ..Settings::default() });
    let text = |members: Value| {
        let mut members = members;
        members["max_tokens"] = 30.into();
        let reply = server.post("/v1/completions", &random(members));
        reply.json()["choices"][0]["text"].as_str().unwrap().to_owned()
    };
    let own = text(json!({}));
    assert_eq!((text(json!({})), text(json!({ "seed": 7 }))), (own.clone(), own.clone()));
    for other in [json!(8), json!(-1)] {
        assert_ne!(text(json!({ "seed": other })), own, "{other}");
    }
    let settings = |members: Value| {
        server.post("/completion", &random(members)).json()["generation_settings"]["seed"].clone()
    };
    assert_eq!(settings(json!({ "n_predict": 1 })), 7);
    assert_ne!(settings(json!({ "n_predict": 1, "seed": u32::MAX })), 7);
    let params = server.get("/props").json()["default_generation_settings"]["params"].clone();
    assert_eq!((&params["seed"], &params["n_predict"]), (&json!(7), &json!(-1)));
}

#[test]
fn answers_have_the_servers_length_where_a_request_does_not_say() {
    let chat = json!({ "messages": [{ "role": "user", "content": "Hi" }], "ignore_eos": true });
    let start = |max_tokens: usize| {
        let settings = Settings { max_tokens: Some(max_tokens), ..Settings::default() };
        start_with(settings, |config| config.limits.n_pages = vec![2])
    };
    let server = start(5);
    let n = |path: &str, body: &Value, members: Value| {
        let mut body = body.clone();
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        server.post(path, &body).json()["timings"]["predicted_n"].clone()
    };
    for (path, body) in [
        ("/v1/completions", random(json!({}))),
        ("/v1/chat/completions", chat),
        ("/completion", random(json!({}))),
    ] {
        assert_eq!(n(path, &body, json!({})), 5, "{path}");
        assert_eq!(n(path, &body, json!({ "max_tokens": 3 })), 3, "{path}");
        assert!(n(path, &body, json!({ "max_tokens": -1 })).as_u64().unwrap() > 30, "{path}");
    }
    let params = server.get("/props").json()["default_generation_settings"]["params"].clone();
    assert_eq!((&params["seed"], &params["n_predict"]), (&json!(u32::MAX), &json!(5)));

    // A default that the context has no room for is no error, what a request asks for is.
    let server = start(500);
    let whole = server.post("/v1/completions", &random(json!({})));
    assert_eq!(whole.json()["choices"][0]["finish_reason"], "length", "{}", whole.text());
    let reply = server.post("/v1/completions", &random(json!({ "max_tokens": 500 })));
    assert_eq!(reply.json()["error"]["code"], "context_length_exceeded");
}
