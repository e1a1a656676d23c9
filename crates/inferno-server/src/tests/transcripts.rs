//! Streams and whole answers, byte by byte, except for ids and times.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Server, start};
use crate::Settings;

/// The answer's bytes with placeholders for what differs from run to run.
fn normal(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(normal_line).collect();
    format!("{}\n", lines.join("\n").trim_end())
}

fn normal_line(line: &str) -> String {
    let (prefix, data) = match line.strip_prefix("data: ") {
        Some(data) => ("data: ", data),
        None => ("", line),
    };
    let Ok(mut value) = serde_json::from_str::<Value>(data) else { return line.to_owned() };
    replace(&mut value);
    if let Some(timings) = value.get_mut("timings").and_then(Value::as_object_mut) {
        for (name, found) in timings.iter_mut() {
            if !(name.ends_with("_n") || name.starts_with("draft")) {
                *found = "X".into();
            }
        }
    }
    format!("{prefix}{value}")
}

/// Puts placeholders for ids and times.
fn replace(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, found) in members.iter_mut() {
                match name.as_str() {
                    "id" => *found = "ID".into(),
                    "created" | "created_at" => *found = "T".into(),
                    name if name.ends_with("_duration") => *found = "X".into(),
                    _ => replace(found),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(replace),
        _ => {}
    }
}

#[track_caller]
fn check(server: &Server, name: &str, path: &str, body: &Value) {
    let reply = server.post(path, body);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let found = normal(&reply.text());
    let file = xtask::testing::root().join("crates/inferno-server/src/tests/transcripts").join(name);
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    if std::env::var_os("INFERNO_UPDATE").is_some() {
        std::fs::write(&file, &found).unwrap();
        return;
    }
    assert_eq!(found, expected, "{name}: INFERNO_UPDATE=1 writes it");
}

#[test]
fn plain_answers_keep_their_bytes() {
    let server = start(Settings::default());
    // Tokens that come together are told together: here each comes alone.
    *server.faults.delay.lock().unwrap() = Duration::from_millis(20);
    let chat = json!({
        "messages": [{ "role": "user", "content": "Tell me a story." }], "max_tokens": 3, "temperature": 0,
    });
    let text = json!({ "prompt": "Once upon", "max_tokens": 3, "temperature": 0 });
    let cases = [
        ("plain", json!({})),
        (
            "usage",
            json!({ "stream": true, "stream_options": { "include_usage": true, "continuous_usage_stats": true } }),
        ),
        ("tokens", json!({ "stream": true, "return_token_ids": true, "stop": ["zzz"] })),
        ("tokens_whole", json!({ "return_token_ids": true, "stop": ["zzz"] })),
        ("two", json!({ "stream": true, "n": 2, "max_tokens": 1 })),
    ];
    for (name, members) in &cases {
        for (kind, path, body) in
            [("chat", "/v1/chat/completions", &chat), ("completion", "/v1/completions", &text)]
        {
            let mut body = body.clone();
            for (name, value) in members.as_object().unwrap() {
                body[name] = value.clone();
            }
            check(&server, &format!("{kind}_{name}.txt"), path, &body);
        }
    }
    let scored =
        json!({ "prompt": "Once upon", "max_tokens": 2, "temperature": 0, "logprobs": 0, "echo": true });
    check(&server, "completion_scored.txt", "/v1/completions", &scored);
    let mut streamed = scored.clone();
    streamed["stream"] = true.into();
    check(&server, "completion_scored_stream.txt", "/v1/completions", &streamed);
}

#[test]
fn other_dialects_keep_their_bytes() {
    let server = start(Settings::default());
    *server.faults.delay.lock().unwrap() = Duration::from_millis(20);
    let user = json!([{ "role": "user", "content": "Tell me a story." }]);
    let message = json!({ "messages": user, "max_tokens": 3, "temperature": 0 });
    let options = json!({ "num_predict": 3, "temperature": 0 });
    let chat = json!({ "messages": user, "options": options });
    let text = json!({ "prompt": "Once upon", "raw": true, "options": options });
    for (kind, path, body, is_stream) in [
        ("messages", "/v1/messages", &message, false),
        ("ollama_chat", "/api/chat", &chat, true),
        ("ollama_generate", "/api/generate", &text, true),
    ] {
        for (form, streams) in [("whole", false), ("stream", true)] {
            let mut body = body.clone();
            if streams != is_stream {
                body["stream"] = streams.into();
            }
            check(&server, &format!("{kind}_{form}.txt"), path, &body);
        }
    }
}
