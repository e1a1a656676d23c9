//! Faults, and what is left of them: nothing, but for the request that had one.

use serde_json::{Value, json};

use super::harness::Server;

mod disconnects;
mod drain;
mod panics;
mod pressure;
mod stalls;

/// A completion of exactly `max_tokens` tokens, the same every time.
fn story(prompt: &str, max_tokens: usize) -> Value {
    json!({ "prompt": prompt, "max_tokens": max_tokens, "ignore_eos": true, "temperature": 0.9, "seed": 7 })
}

fn streamed(mut body: Value) -> Value {
    body["stream"] = true.into();
    body
}

/// A request that is answered on a thread of its own.
type Asked<'s, T> = std::thread::ScopedJoinHandle<'s, T>;

/// Asks all at once; the texts, or what went wrong.
fn texts(server: &Server, bodies: &[Value]) -> Vec<Result<String, u16>> {
    let ask = |body: &Value| {
        let reply = server.post("/v1/completions", body);
        match reply.status {
            200 => Ok(reply.json()["choices"][0]["text"].as_str().unwrap().to_owned()),
            status => Err(status),
        }
    };
    std::thread::scope(|scope| {
        let asked: Vec<Asked<'_, _>> = bodies.iter().map(|body| scope.spawn(move || ask(body))).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    })
}

/// The text of a stream of completions.
fn text_of(events: &[Value]) -> String {
    events.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect()
}
