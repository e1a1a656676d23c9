//! Streams that go on without their client.

use std::time::Duration;

use serde_json::{Value, json};

use super::harness::{Reply, Server, read_chunk, read_head};
use super::start;
use crate::Settings;

fn body(n: usize) -> Value {
    json!({ "prompt": "Once upon a time", "temperature": 0, "max_tokens": n, "ignore_eos": true, "stream": true })
}

fn header(name: &str) -> String {
    format!("X-Conversation-Id: {name}\r\n")
}

fn text(reply: &Reply) -> String {
    let events = reply.events();
    assert_eq!(events.last(), Some(&json!("[DONE]")));
    events.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect()
}

/// Begins a stream and leaves after its first bytes.
fn leave(server: &Server, name: &str, n: usize) {
    use std::io::{BufReader, Write};
    let mut stream = server.connect();
    stream.write_all(super::harness::post("/v1/completions", &header(name), &body(n)).as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    assert_eq!(read_head(&mut reader).unwrap().status, 200);
    read_chunk(&mut reader).unwrap().unwrap();
}

fn look_up(server: &Server, name: &str) -> Value {
    server.post("/v1/streams/lookup", &json!({ "conversation_ids": [name] })).json()
}

#[test]
fn a_stream_goes_on_without_its_client_and_is_taken_up_again() {
    let server = start(Settings::default());
    let odd = server.post("/v1/streams/lookup", &json!({ "conversation_ids": ["a", 1] }));
    assert_eq!((odd.status, &odd.json()["error"]["param"]), (400, &json!("conversation_ids")));
    let alone = text(&server.post("/v1/completions", &body(12)));
    *server.faults.delay.lock().unwrap() = Duration::from_millis(5);
    // A name with a model behind it, as llama-server's page writes it.
    leave(&server, "chat-1::org/model", 12);
    let reply = server.get("/v1/stream?conv_id=chat-1%3A%3Aorg%2Fmodel&from=0");
    assert_eq!(reply.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(text(&reply), alone);
    let part = server.get("/v1/stream?conv_id=chat-1%3A%3Aorg%2Fmodel&from=20");
    assert_eq!(part.body, reply.body[20..]);
    let end = server.get(&format!("/v1/stream?conv_id=chat-1%3A%3Aorg%2Fmodel&from={}", reply.body.len()));
    assert_eq!((end.status, end.body.len()), (200, 0));
    let found = look_up(&server, "chat-1");
    assert_eq!(
        (&found[0]["conversation_id"], &found[0]["is_done"]),
        (&json!("chat-1::org/model"), &json!(true))
    );
    assert_eq!((&found[0]["total_bytes"], found.as_array().unwrap().len()), (&json!(reply.body.len()), 1));
    assert!(found[0]["completed_at"].as_u64() >= found[0]["started_at"].as_u64());
    assert_eq!(look_up(&server, "chat"), json!([]));
    // A client that stays gets the same.
    let whole = server.post_with("/v1/completions", &header("chat-2"), &body(12));
    assert_eq!(text(&whole), alone);
    assert_eq!(server.get("/v1/stream?conv_id=chat-2").body, whole.body);
    server.wait_until(Server::is_idle);
}

#[test]
fn a_stream_is_stopped_by_its_name_and_by_the_next_one() {
    let server = start(Settings::default());
    *server.faults.delay.lock().unwrap() = Duration::from_millis(5);
    leave(&server, "a", 1500);
    std::thread::sleep(Duration::from_millis(50));
    assert!(!server.is_idle(), "it goes on");
    let stop = "DELETE /v1/stream?conv_id=a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!((server.raw(stop).status, server.raw(stop).status), (204, 204));
    server.wait_until(Server::is_idle);
    assert_eq!(server.get("/v1/stream?conv_id=a").status, 404);
    leave(&server, "b", 1500);
    let next = server.post_with("/v1/completions", &header("b"), &body(3));
    server.wait_until(Server::is_idle);
    assert_eq!(server.get("/v1/stream?conv_id=b").body, next.body);
    // A whole answer and an error leave the conversation's stream as it is.
    let mut whole = body(2);
    whole["stream"] = false.into();
    assert_eq!(server.post_with("/v1/completions", &header("b"), &whole).status, 200);
    assert_eq!(server.post_with("/v1/completions", &header("b"), &json!({ "stream": true })).status, 400);
    assert_eq!(server.get("/v1/stream?conv_id=b").body, next.body);
    for (path, status) in [
        ("/v1/stream", 400),
        ("/v1/stream?conv_id=", 400),
        ("/v1/stream?conv_id=b&from=x", 400),
        ("/v1/stream?conv_id=c", 404),
    ] {
        let reply = server.get(path);
        assert_eq!((reply.status, &reply.json()["error"]["code"]), (status, &json!(status)), "{path}");
    }
    let long = header(&"x".repeat(300));
    assert_eq!(server.post_with("/v1/completions", &long, &body(1)).status, 400);
}

#[test]
fn streams_are_bounded_and_belong_to_their_key() {
    let keys = ["sk-a", "sk-b"].map(|secret| crate::keys::tests::named(secret, secret, crate::Role::User));
    let settings =
        Settings { kept_streams: 2, kept_stream_bytes: 400, keys: keys.into(), ..Settings::default() };
    let server = start(settings);
    let get = |key: &str, path: &str| {
        server.raw(format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
        ))
    };
    for name in ["one", "two", "three"] {
        let headers = format!("Authorization: Bearer sk-a\r\n{}", header(name));
        let reply = server.post_with("/v1/completions", &headers, &body(6));
        assert_eq!(reply.status, 200, "{}", reply.text());
        let path = format!("/v1/stream?conv_id={name}");
        // The first bytes are dropped, the last are there.
        assert_eq!(get("sk-a", &path).status, 400);
        let bearer = "Authorization: Bearer sk-a\r\n";
        let found =
            server.post_with("/v1/streams/lookup", bearer, &json!({ "conversation_ids": [name] })).json();
        let from = found[0]["total_bytes"].as_u64().unwrap() - 400;
        assert_eq!(get("sk-a", &format!("{path}&from={}", from - 1)).status, 400);
        let last = get("sk-a", &format!("{path}&from={from}"));
        assert_eq!(last.body.len(), 400);
        assert!(last.text().ends_with("data: [DONE]\n\n"), "{}", last.text());
        assert_eq!(get("sk-b", &path).status, 404);
    }
    assert_eq!(get("sk-a", "/v1/stream?conv_id=one").status, 404);
    let off = start(Settings { kept_streams: 0, ..Settings::default() });
    assert_eq!(off.post_with("/v1/completions", &header("a"), &body(2)).status, 200);
    assert_eq!(off.get("/v1/stream?conv_id=a").status, 404);
}
