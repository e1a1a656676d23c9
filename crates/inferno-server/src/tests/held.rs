//! Streams that wait: for their first token, for their turn, for too long.

use std::io::BufReader;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::harness::{Reply, Server, read_chunk, read_head, read_reply, start, start_with};
use super::raw::check_well;
use crate::Settings;

fn chat(max_tokens: usize) -> Value {
    let messages = json!([{ "role": "user", "content": "Tell me a story." }]);
    json!({ "messages": messages, "max_tokens": max_tokens, "ignore_eos": true, "stream": true, "seed": 1 })
}

fn rest(reader: &mut BufReader<TcpStream>, reply: &mut Reply) {
    while let Some(chunk) = read_chunk(reader).unwrap() {
        reply.body.extend(chunk);
    }
}

/// A server with one place, and what is done with `n` streams behind the one that has it.
fn queue(settings: Settings, n: usize) -> (Server, Vec<BufReader<TcpStream>>) {
    let server = start_with(settings, |config| config.limits.max_sequences = 1);
    *server.faults.delay.lock().unwrap() = Duration::from_millis(30);
    let mut streams = Vec::new();
    for i in 0..=n {
        let max_tokens = if i == 0 { 60 } else { 10 };
        streams.push(server.open_stream("/v1/chat/completions", &chat(max_tokens)));
        server.wait_until(|server| server.get("/v1/loads").json()["sequences_waiting"] == i);
        server.wait_until(|server| server.get("/v1/loads").json()["sequences_running"] == 1);
    }
    (server, streams)
}

#[test]
fn what_fails_before_the_first_token_has_a_status() {
    let (server, mut first) = queue(Settings::default(), 0);
    let mut body = chat(4);
    body["deadline_ms"] = 100.into();
    let reply = server.post("/v1/chat/completions", &body);
    assert_eq!(reply.error(), (504, "deadline_exceeded".into(), "null".into()));
    assert_eq!(reply.header("x-should-retry"), Some("false"));
    assert_eq!(read_reply(&mut first[0]).unwrap().events().last().unwrap(), "[DONE]");
    check_well(&server);
}

#[test]
fn a_stream_that_waits_is_opened_and_told_where_it_stands() {
    let ms = Duration::from_millis;
    let settings = Settings { hold: ms(50), keep_alive: ms(50), ..Settings::default() };
    let (server, mut streams) = queue(settings, 2);
    let mut last = streams.pop().unwrap();
    let mut reply = read_head(&mut last).unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("text/event-stream; charset=utf-8"));
    rest(&mut last, &mut reply);
    let text = reply.text();
    let mut parts = text.split("\n\n");
    let role: Value = serde_json::from_str(parts.next().unwrap().strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(role["choices"][0]["delta"], json!({ "role": "assistant", "content": "" }));
    let comments: Vec<&str> = parts.filter(|part| part.starts_with(':')).collect();
    // The engine is asked once in a second: until then nobody knows of it.
    let queued = comments.iter().find_map(|comment| comment.strip_prefix(": queued 2/2 eta "));
    let queued = queued.unwrap_or_else(|| panic!("{comments:?}"));
    let eta: f64 = queued.strip_suffix('s').unwrap().parse().unwrap();
    assert!((0.0..600.0).contains(&eta), "{eta}");
    assert!(text.ends_with("data: [DONE]\n\n"));
    // Whoever knows no comments sees a stream like any other.
    let n_roles = reply.events().iter().filter(|e| e["choices"][0]["delta"]["role"].is_string()).count();
    assert_eq!(n_roles, 1);
    check_well(&server);
}

#[test]
fn a_stream_that_is_fast_is_not_opened_before_its_first_token() {
    let server = start(Settings { hold: Duration::from_secs(60), ..Settings::default() });
    let reply = server.post("/v1/chat/completions", &chat(4));
    let text = reply.text();
    assert!(!text.split("\n\n").any(|part| part.starts_with(':')), "{text}");
    assert_eq!(reply.events().last().unwrap(), "[DONE]");
}

#[test]
fn a_waiting_stream_has_signs_of_life_while_nothing_moves() {
    let ms = Duration::from_millis;
    let settings = Settings { hold: ms(50), keep_alive: ms(50), ..Settings::default() };
    let server = start(settings);
    server.faults.block(true);
    let mut stream = server.open_stream("/v1/chat/completions", &chat(4));
    assert_eq!(read_head(&mut stream).unwrap().status, 200);
    let start = Instant::now();
    let mut text = String::new();
    while text.matches("\n\n: ").count() < 3 {
        text += &String::from_utf8(read_chunk(&mut stream).unwrap().unwrap()).unwrap();
    }
    assert!(start.elapsed() < Duration::from_secs(10));
    server.faults.block(false);
    let mut reply = Reply { status: 200, headers: Vec::new(), body: Vec::new() };
    rest(&mut stream, &mut reply);
    assert!(reply.text().ends_with("data: [DONE]\n\n"));
    check_well(&server);
}

#[test]
fn a_deadline_ends_what_waits_and_what_runs() {
    let ms = Duration::from_millis;
    let (server, mut streams) = queue(Settings { hold: ms(50), ..Settings::default() }, 0);
    let mut body = chat(900);
    body["deadline_ms"] = 150.into();
    // Its head is out by then.
    let waiting = server.post("/v1/chat/completions", &body);
    assert_eq!(waiting.status, 200);
    let events = waiting.events();
    assert_eq!(events.last().unwrap()["error"]["code"], "deadline_exceeded");
    assert!(!waiting.text().contains("[DONE]"));
    let mut first = read_head(&mut streams[0]).unwrap();
    rest(&mut streams[0], &mut first);
    assert_eq!(first.events().last().unwrap(), "[DONE]");
    let running = server.post("/v1/chat/completions", &body);
    let events = running.events();
    assert_eq!(events.last().unwrap()["error"]["type"], "timeout_error");
    assert!(
        events.iter().any(|e| e["choices"][0]["delta"]["content"].as_str().is_some_and(|t| !t.is_empty()))
    );
    body["stream"] = false.into();
    assert_eq!(server.post("/v1/chat/completions", &body).error().0, 504);
    check_well(&server);
    // The server's own deadline is the longest there is.
    let server = start(Settings { deadline: Some(ms(100)), ..Settings::default() });
    *server.faults.delay.lock().unwrap() = ms(20);
    body["deadline_ms"] = 60_000.into();
    assert_eq!(server.post("/v1/chat/completions", &body).error().0, 504);
}

#[test]
fn progress_is_told_to_those_who_ask() {
    let server = start_with(Settings::default(), |config| config.limits.max_rows = 64);
    let prompt = "The dragon flew over the hill. ".repeat(30);
    let n = server.post("/tokenize", &json!({ "prompt": prompt })).json()["count"].as_u64().unwrap();
    let mut body = json!({ "prompt": prompt, "max_tokens": 2, "stream": true, "return_progress": true });
    let progress = |events: &[Value]| -> Vec<[u64; 3]> {
        let of = |e: &Value| {
            let p = e.get("prompt_progress")?;
            assert!(e["choices"].as_array().unwrap().is_empty());
            Some(["total", "cache", "processed"].map(|name| p[name].as_u64().unwrap()))
        };
        events.iter().filter_map(of).collect()
    };
    let first = progress(&server.post("/v1/completions", &body).events());
    assert!(first.len() as u64 > n / 64, "{first:?}");
    assert!(first.windows(2).all(|two| two[0][2] <= two[1][2]), "{first:?}");
    assert_eq!((first[0], *first.last().unwrap()), ([n, 0, 0], [n, 0, n]));
    let second = progress(&server.post("/v1/completions", &body).events());
    let cached = (n - 1) / 32 * 32;
    assert_eq!((second[0], *second.last().unwrap()), ([n, cached, cached], [n, cached, n]));
    for path in ["/v1/completions", "/completion"] {
        body["timings_per_token"] = true.into();
        let events = server.post(path, &body).events();
        let timings: Vec<&Value> =
            events.iter().filter(|e| e.get("prompt_progress").is_some()).map(|e| &e["timings"]).collect();
        let n_computed: Vec<u64> = timings.iter().map(|t| t["prompt_n"].as_u64().unwrap()).collect();
        assert_eq!((n_computed[0], *n_computed.last().unwrap()), (0, n - cached), "{path}");
        assert_eq!((&timings[0]["prompt_ms"], &timings[0]["predicted_n"]), (&json!(0.0), &json!(0)));
        assert!(timings.last().unwrap()["prompt_ms"].as_f64().unwrap() > 0.0);
    }
    body["return_progress"] = false.into();
    assert_eq!(progress(&server.post("/v1/completions", &body).events()), Vec::<[u64; 3]>::new());
}
