//! What curl shows, to the byte, but for what differs from run to run.

use std::process::Command;

use super::{Served, serve};

const JSON: &str = "Content-Type: application/json";

/// Runs curl; `None` if there is none.
fn curl(served: &Served, path: &str, args: &[&str]) -> Option<String> {
    let url = format!("http://{}{path}", served.address);
    let output = Command::new("curl").args(["-sS", "-i", "-N"]).args(args).arg(url).output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(normal(&String::from_utf8(output.stdout).unwrap()))
}

/// Puts `…` where every run has something else.
fn normal(text: &str) -> String {
    let mut text = text.replace("\r\n", "\n");
    for (marker, ends) in [
        ("date: ", "\n"),
        ("\"id\":\"chatcmpl-", "\""),
        ("\"id\":\"cmpl-", "\""),
        ("x-request-id: req-", "\n"),
        ("\"created\":", ","),
        ("\"system_fingerprint\":\"", "\""),
        ("\"timings\":{", "}"),
        ("content-length: ", "\n"),
    ] {
        let mut from = 0;
        while let Some(at) = text[from..].find(marker) {
            let start = from + at + marker.len();
            let end = start + text[start..].find(ends).unwrap();
            text.replace_range(start..end, "…");
            from = start;
        }
    }
    text
}

#[track_caller]
fn check(path: &str, args: &[&str], expected: &str) {
    let served = serve(&[]);
    match curl(&served, path, args) {
        Some(found) => assert_eq!(found.trim_end(), expected.trim(), "\n{found}"),
        None => xtask::testing::skip("curl", "there is no curl"),
    }
}

#[test]
fn a_chat_in_one_piece() {
    let body = r#"{"messages": [{"role": "user", "content": "Tell me a story."}], "max_tokens": 4, "temperature": 0}"#;
    check("/v1/chat/completions", &["-H", JSON, "-d", body], CHAT);
}

#[test]
fn a_chat_as_a_stream() {
    let body = r#"{"messages": [{"role": "user", "content": "Tell me a story."}], "max_tokens": 1, "temperature": 0,
        "stream": true, "stream_options": {"include_usage": true}}"#;
    check("/v1/chat/completions", &["-H", JSON, "-d", body], STREAM);
}

#[test]
fn a_completion_in_one_piece() {
    let body = r#"{"prompt": "Once upon", "max_tokens": 3, "temperature": 0}"#;
    check("/v1/completions", &["-H", JSON, "-d", body], COMPLETION);
}

#[test]
fn errors_and_health() {
    check("/v1/completions", &["-H", JSON, "-d", r#"{"prompt": "Once", "temperature": 3}"#], INVALID);
    check("/v1/nowhere", &[], NOWHERE);
    check("/health", &[], HEALTH);
}

const CHAT: &str = r#"
HTTP/1.1 200 OK
content-type: application/json
x-request-id: req-…
content-length: …
date: …

{"id":"chatcmpl-…","object":"chat.completion","created":…,"model":"ember","system_fingerprint":"…","prompt_token_ids":null,"choices":[{"index":0,"message":{"role":"assistant","content":"Once upon a time","refusal":null},"logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null}],"usage":{"prompt_tokens":13,"completion_tokens":4,"total_tokens":17,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"timings":{…},"prefix_cache":{"cached_tokens":0,"reason":"whole"}}
"#;
const STREAM: &str = r#"
HTTP/1.1 200 OK
content-type: text/event-stream; charset=utf-8
cache-control: no-cache
x-accel-buffering: no
x-request-id: req-…
transfer-encoding: chunked
date: …

data: {"id":"chatcmpl-…","object":"chat.completion.chunk","created":…,"model":"ember","system_fingerprint":"…","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}

data: {"id":"chatcmpl-…","object":"chat.completion.chunk","created":…,"model":"ember","system_fingerprint":"…","choices":[{"index":0,"delta":{"content":"Once"},"logprobs":null,"finish_reason":null}],"usage":null}

data: {"id":"chatcmpl-…","object":"chat.completion.chunk","created":…,"model":"ember","system_fingerprint":"…","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"length","stop_reason":null}],"usage":null}

data: {"id":"chatcmpl-…","object":"chat.completion.chunk","created":…,"model":"ember","system_fingerprint":"…","choices":[],"usage":{"prompt_tokens":13,"completion_tokens":1,"total_tokens":14,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"timings":{…},"prefix_cache":{"cached_tokens":0,"reason":"whole"}}

data: [DONE]
"#;
const COMPLETION: &str = r#"
HTTP/1.1 200 OK
content-type: application/json
x-request-id: req-…
content-length: …
date: …

{"id":"cmpl-…","object":"text_completion","created":…,"model":"ember","system_fingerprint":"…","choices":[{"index":0,"text":" a time,","logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null,"prompt_token_ids":null}],"usage":{"prompt_tokens":2,"completion_tokens":3,"total_tokens":5,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"timings":{…},"prefix_cache":{"cached_tokens":0,"reason":"whole"}}
"#;
const INVALID: &str = r#"
HTTP/1.1 400 Bad Request
content-type: application/json
x-request-id: req-…
content-length: …
date: …

{"error":{"message":"`temperature` is 3, expected a number from 0 to 2","type":"invalid_request_error","param":"temperature","code":"invalid_value"}}
"#;
const NOWHERE: &str = r#"
HTTP/1.1 404 Not Found
content-type: application/json
x-request-id: req-…
content-length: …
date: …

{"error":{"message":"there is no `/v1/nowhere` here","type":"invalid_request_error","param":null,"code":"not_found"}}
"#;
const HEALTH: &str = r#"
HTTP/1.1 200 OK
content-type: application/json
x-request-id: req-…
content-length: …
date: …

{"status":"ok"}
"#;
