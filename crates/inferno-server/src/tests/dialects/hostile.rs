//! Bodies of strangers on every route that takes one: an error of the route's own shape, and a server that goes on.

use serde_json::{Value, json};

use super::super::harness::{Reply, start_with};
use super::super::raw::check_well;
use super::super::start;
use crate::Settings;

/// The shape of errors for one kind of clients.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    OpenAi,
    Messages,
    Ollama,
    LlamaServer,
}

/// Routes with a body that each takes.
fn routes() -> Vec<(&'static str, Shape, Value)> {
    let messages = json!([{ "role": "user", "content": "Hi" }]);
    let chat = json!({ "model": "ember", "messages": messages, "max_tokens": 2 });
    let native = json!({ "prompt": "Hi", "n_predict": 2 });
    let short = json!({ "num_predict": 2 });
    vec![
        ("/v1/chat/completions", Shape::OpenAi, chat.clone()),
        ("/v1/completions", Shape::OpenAi, json!({ "prompt": "Hi", "max_tokens": 2 })),
        ("/v1/responses", Shape::OpenAi, json!({ "input": "Hi", "max_output_tokens": 16 })),
        ("/v1/responses/input_tokens", Shape::OpenAi, json!({ "input": "Hi" })),
        ("/invocations", Shape::OpenAi, chat.clone()),
        ("/v1/messages", Shape::Messages, chat.clone()),
        ("/v1/messages/count_tokens", Shape::Messages, json!({ "model": "ember", "messages": messages })),
        ("/api/chat", Shape::Ollama, json!({ "model": "ember", "messages": messages, "options": short })),
        ("/api/generate", Shape::Ollama, json!({ "model": "ember", "prompt": "Hi", "options": short })),
        ("/api/show", Shape::Ollama, json!({ "model": "ember" })),
        ("/completion", Shape::LlamaServer, native),
        ("/tokenize", Shape::OpenAi, json!({ "content": "Hi" })),
        ("/detokenize", Shape::OpenAi, json!({ "tokens": [1] })),
        ("/apply-template", Shape::OpenAi, json!({ "messages": messages })),
        ("/v1/chat/completions/input_tokens", Shape::OpenAi, json!({ "messages": messages })),
    ]
}

/// The shape of an error; `None` if it has none.
fn shape(reply: &Reply) -> Option<Shape> {
    let body = serde_json::from_slice::<Value>(&reply.body).ok()?;
    let error = body.get("error")?;
    let has_text = |name: &str| error[name].as_str().is_some_and(|text| !text.is_empty());
    if error.is_string() && body.as_object()?.len() == 1 {
        return Some(Shape::Ollama);
    }
    if !has_text("message") || !has_text("type") {
        return None;
    }
    match (body.get("type"), error.get("code")) {
        (Some(kind), None) => (kind == "error").then_some(Shape::Messages),
        (None, Some(code @ Value::Number(_))) => (*code == reply.status).then_some(Shape::LlamaServer),
        (None, Some(_)) => error.get("param").is_some().then_some(Shape::OpenAi),
        _ => None,
    }
}

/// A request with these bytes as its body.
fn request(path: &str, body: &[u8]) -> Vec<u8> {
    [head(path, body.len()).as_bytes(), body].concat()
}

fn head(path: &str, n_bytes: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {n_bytes}\r\nConnection: close\r\n\r\n"
    )
}

/// Bytes that make a body malformed.
enum Malformed {
    Body(Vec<u8>),
    /// Beside the members that a route wants.
    Members(Vec<u8>),
}

/// Malformed bodies for any route, with a name each.
fn malformed() -> Vec<(&'static str, Malformed)> {
    let whole = |bytes: &[u8]| Malformed::Body(bytes.to_vec());
    let member = |bytes: &[u8]| Malformed::Members(bytes.to_vec());
    let many: Vec<String> = (0..600).map(|i| format!("\"k{i}\":0")).collect();
    vec![
        ("nothing", whole(b"")),
        ("an array", whole(b"[]")),
        ("null", whole(b"null")),
        ("a text", whole(b"\"a\"")),
        ("cut off", whole(b"{\"a\": ")),
        ("no utf-8", member(b"\"x\": \"\xff\"")),
        ("half a surrogate", member(b"\"x\": \"\\ud800\"")),
        ("a zero byte", member(b"\"x\": \"\0\"")),
        ("a key twice", member(b"\"x\": 1, \"x\": 2")),
        ("1e400", member(b"\"x\": 1e400")),
        ("NaN", member(b"\"x\": NaN")),
        ("100,000 deep", member(format!("\"x\": {}", "[".repeat(100_000)).as_bytes())),
        ("33 deep", member(format!("\"x\": {}{}", "[".repeat(33), "]".repeat(33)).as_bytes())),
        ("600 keys", member(many.join(",").as_bytes())),
    ]
}

/// `good` with further members, as bytes.
fn with(good: &Value, members: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_string().into_bytes();
    bytes.pop();
    [&bytes, &b","[..], members, &b"}"[..]].concat()
}

#[test]
fn every_route_refuses_malformed_bodies_in_its_own_shape() {
    let server = start(Settings { json_nodes: 1000, ..Settings::default() });
    for (path, expected, good) in routes() {
        let check = |name: &str, status: u16, request: &[u8]| {
            let reply = server.raw(request);
            let found = (reply.status, shape(&reply));
            assert_eq!(found, (status, Some(expected)), "{path}, {name}: {}", reply.text());
        };
        let fine = server.raw(request(path, good.to_string().as_bytes()));
        assert_eq!(fine.status, 200, "{path}: {}", fine.text());
        for (name, body) in malformed() {
            let body = match body {
                Malformed::Body(bytes) => bytes,
                Malformed::Members(members) => with(&good, &members),
            };
            check(name, 400, &request(path, &body));
        }
        check("9 MiB", 413, head(path, 9 << 20).as_bytes());
    }
    server.wait_until(|server| server.is_idle());
    check_well(&server);
}

#[test]
fn every_route_refuses_members_of_another_type_in_its_own_shape() {
    // A small context: some of these requests have no other limit.
    let server = start_with(Settings::default(), |config| config.limits.n_pages = vec![2]);
    for (path, expected, good) in routes() {
        for member in good.as_object().unwrap().keys() {
            for value in [json!(-1), json!({ "a": 1 }), json!([[[1]]]), json!([{ "role": 1 }]), json!(1e308)]
            {
                let mut body = good.clone();
                body[member] = value.clone();
                let reply = server.post(path, &body);
                let is_refused = (400..500).contains(&reply.status) && shape(&reply) == Some(expected);
                // -1 may be no limit, and unknown options are ignored.
                let may_be = (member.contains("max") || member == "n_predict") && value == -1
                    || member == "options" && value.is_object();
                assert!(
                    is_refused || may_be && reply.status < 500,
                    "{path}, {member} {value}: {}",
                    reply.text()
                );
            }
            let mut body = good.clone();
            body.as_object_mut().unwrap().remove(member);
            let reply = server.post(path, &body);
            assert!(
                reply.status == 200 || shape(&reply) == Some(expected),
                "{path}, no {member}: {}",
                reply.text()
            );
            assert!(reply.status < 500, "{path}, no {member}: {}", reply.text());
        }
    }
    server.wait_until(|server| server.is_idle());
    check_well(&server);
}
