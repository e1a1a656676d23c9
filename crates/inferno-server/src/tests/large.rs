//! Large requests: refused before they cost much, and no obstacle to other requests.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::harness::{Server, post};
use super::raw::{Error, Fine, narrow, outcome, reset, talk, tokenize};
use super::start;
use crate::Settings;

/// Tokens that the model takes.
fn context(server: &Server) -> usize {
    server.get("/v1/models").json()["data"][0]["max_model_len"].as_u64().unwrap() as usize
}

/// The least number of tokens that the server says a prompt has.
#[track_caller]
fn at_least(server: &Server, path: &str, body: &Value) -> u64 {
    let reply = server.post(path, body);
    assert_eq!(reply.error().0, 400);
    let error = &reply.json()["error"];
    assert_eq!(error["code"], "context_length_exceeded", "{error}");
    let message = error["message"].as_str().unwrap();
    let n = error["n_prompt_tokens"].as_u64().unwrap();
    assert!(message.contains(&format!("at least {n} tokens")), "{message}");
    assert!(message.contains(&format!("maximum context length is {} tokens", context(server))), "{message}");
    n
}

#[test]
fn a_prompt_that_cannot_fit_is_refused_with_what_is_known_of_its_length() {
    let server = start(Settings::default());
    for text in
        [" ".repeat(2 << 20), "1".repeat(2 << 20), "<".repeat(2 << 20), "Once upon a time. ".repeat(100_000)]
    {
        let n_bytes = text.len() as u64;
        let chat = json!({ "messages": [{ "role": "user", "content": text }] });
        let requests = [
            ("/v1/completions", json!({ "prompt": text })),
            ("/v1/completions", json!({ "prompt": ["short", text] })),
            ("/v1/chat/completions", chat),
        ];
        for (path, body) in requests {
            let n = at_least(&server, path, &body);
            assert!(n > 2 * context(&server) as u64 && n <= n_bytes + 10, "{n}");
        }
    }
    // A little too long is counted.
    let n = context(&server) + 500;
    let digits = "1".repeat(n);
    let requests = [
        ("/v1/completions", json!({ "prompt": digits })),
        ("/v1/chat/completions", json!({ "messages": [{ "role": "user", "content": digits }] })),
    ];
    for (path, body) in requests {
        let error = server.post(path, &body).json()["error"].clone();
        let found = error["n_prompt_tokens"].as_u64().unwrap() as usize;
        let message = error["message"].as_str().unwrap();
        assert!(
            (n..n + 20).contains(&found) && message.contains(&format!("it has {found} tokens")),
            "{message}"
        );
    }
}

#[test]
fn a_request_does_not_wait_for_large_ones_whose_clients_have_left() {
    let server = start(Settings::default());
    let flood = post("/v1/completions", "", &json!({ "prompt": " ".repeat(8_000_000) }));
    for _ in 0..12 {
        let mut stream = server.connect();
        stream.write_all(flood.as_bytes()).unwrap();
        reset(stream);
    }
    let start = Instant::now();
    let good = json!({ "prompt": "Once upon a time", "max_tokens": 1, "user": "a".repeat(40_000) });
    let reply = server.post("/v1/completions", &good);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(reply.status, 200, "{}", reply.text());
    server.wait_until(|server| server.metric("inferno_request_memory_bytes") == 0.0);
}

#[test]
fn an_answer_counts_until_it_is_written() {
    let limit = 12 << 20;
    let server = start(Settings { bodies_bytes: limit, ..Settings::default() });
    let body = json!({ "messages": [{ "role": "user", "content": "a".repeat(4_000_000) }] });
    let mut readers = Vec::new();
    for _ in 0..2 {
        let mut stream = narrow(server.address);
        stream.write_all(post("/apply-template", "", &body).as_bytes()).unwrap();
        readers.push(stream);
        let most = 4_000_000.0 * readers.len() as f64;
        // The bodies are gone, the answers are not.
        server
            .wait_until(|server| (most..most * 1.1).contains(&server.metric("inferno_request_memory_bytes")));
    }
    let large = tokenize(format!("{{\"content\":\"a\"{}}}", " ".repeat(6 << 20)));
    assert_eq!(outcome(talk(&server, &large).as_ref()), Ok(Error(503, "bodies_full")));
    assert_eq!(server.post("/tokenize", &json!({ "content": "a" })).status, 200);
    drop(readers);
    server.wait_until(|server| server.metric("inferno_request_memory_bytes") == 0.0);
    assert_eq!(outcome(talk(&server, &large).as_ref()), Ok(Fine(200)));
}

#[test]
fn tokens_count_until_they_are_written() {
    let server = start(Settings::default());
    let body = json!({ "content": "1 ".repeat(1 << 20), "with_pieces": true });
    let mut stream = narrow(server.address);
    stream.write_all(post("/tokenize", "", &body).as_bytes()).unwrap();
    let expected = f64::from(8 << 20);
    // Of the answer, which is fourteen times as long as the request, nothing counts but the tokens.
    server.wait_until(|server| {
        let used = server.metric("inferno_request_memory_bytes");
        (expected..2.0 * expected).contains(&used)
    });
    drop(stream);
    server.wait_until(|server| server.metric("inferno_request_memory_bytes") == 0.0);
}
