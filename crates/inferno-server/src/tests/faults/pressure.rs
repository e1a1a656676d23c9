//! F2 and F3: more is wanted than there are pages.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::harness::{Server, start, start_with};
use super::super::raw::check_well;
use super::{story, texts};
use crate::Settings;

#[test]
fn four_times_more_than_there_is_room_for_finishes_with_the_same_texts() {
    // Each needs 3 pages: 12 of them need four times 9.
    let bodies: Vec<Value> = (0..12).map(|i| story(&format!("{i} Once upon a time"), 66)).collect();
    let calm = texts(&start(Settings::default()), &bodies);
    assert!(calm.iter().all(Result::is_ok), "{calm:?}");
    let server = start_with(Settings::default(), |config| config.limits.n_pages = vec![9]);
    assert_eq!(texts(&server, &bodies), calm);
    assert!(server.metric("inferno_preemptions_total") > 0.0);
    check_well(&server);
}

#[test]
fn what_never_fits_is_refused_at_once() {
    let server = start_with(Settings::default(), |config| config.limits.n_pages = vec![4]);
    // 128 positions: the prompt is one token.
    assert_eq!(server.post("/v1/completions", &story("a", 127)).status, 200);
    let refused = server.post("/v1/completions", &story("a", 129));
    assert_eq!(refused.error(), (400, "context_length_exceeded".into(), "null".into()));
    assert_eq!(refused.json()["error"]["n_ctx"], 128);
    let long = server.post("/v1/completions", &story(&"The dragon flew. ".repeat(100), 1));
    assert_eq!(long.error(), (400, "context_length_exceeded".into(), "null".into()));
    check_well(&server);
}

/// One runs and `max_waiting` wait: there is no room for another.
fn crowded(max_waiting: usize) -> (Server, Vec<std::net::TcpStream>) {
    let server = start_with(Settings::default(), |config| {
        config.limits.max_sequences = 1;
        config.max_waiting = max_waiting;
    });
    *server.faults.delay.lock().unwrap() = Duration::from_millis(5);
    let open =
        |server: &Server, n: usize| server.open_stream("/v1/completions", &story("Once", n)).into_inner();
    let mut all = vec![open(&server, 100)];
    server.wait_until(|server| server.get("/v1/loads").json()["sequences_running"] == 1);
    server.faults.block(true);
    for n in 0..max_waiting {
        all.push(open(&server, 4));
        server.wait_until(|server| server.get("/v1/loads").json()["requests"] == n + 2);
    }
    (server, all)
}

#[test]
fn a_full_queue_answers_at_once_and_says_when_to_come_back() {
    let (server, all) = crowded(2);
    // It is not read far enough to be tokenized.
    let body = story(&"word ".repeat(200_000), 4);
    let start = Instant::now();
    let refused = server.post("/v1/completions", &body);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(refused.error(), (429, "rate_limit_exceeded".into(), "null".into()));
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(refused.json()["error"]["type"], "rate_limit_error");
    assert_eq!(server.metric("inferno_refused_total{reason=\"rate_limit_exceeded\"}"), 1.0);
    server.faults.block(false);
    for stream in all {
        assert_eq!(super::super::raw::reply(stream).unwrap().status, 200);
    }
    assert_eq!(server.post("/v1/completions", &story("a", 2)).status, 200);
    // What never fits is no matter of time: one runs, and two wait.
    let mut much = story("a", 2);
    much["n"] = 4.into();
    assert_eq!(server.post("/v1/completions", &much).error(), (400, "invalid_value".into(), "n".into()));
    check_well(&server);
}
