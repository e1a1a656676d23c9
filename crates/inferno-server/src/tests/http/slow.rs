//! Clients that are slow on purpose, and clients that are gone.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use super::super::harness::{PATIENCE, Server, post, read_chunk, read_head, start, start_with};
use super::super::raw::{Closed, Error, check_well, get, narrow, outcome, reply, reset, talk};
use crate::Settings;

const SHORT: Duration = Duration::from_millis(300);
/// What ends after `SHORT` has ended after this, on a busy machine too.
const LONG: Duration = Duration::from_secs(10);

/// Sends a byte every so often, until the connection is closed.
fn drip(mut stream: TcpStream, bytes: &[u8]) -> Duration {
    let start = Instant::now();
    stream.set_read_timeout(Some(Duration::from_millis(30))).unwrap();
    for byte in bytes {
        if stream.write_all(&[*byte]).is_err() || matches!(stream.read(&mut [0; 1024]), Ok(0)) {
            return start.elapsed();
        }
        assert!(start.elapsed() < LONG, "it still listens");
    }
    panic!("all was sent");
}

fn long_story(max_tokens: u32) -> serde_json::Value {
    json!({ "prompt": "Once", "max_tokens": max_tokens, "ignore_eos": true, "stream": true, "n": 8 })
}

#[test]
fn a_head_that_drips_in_is_not_waited_for() {
    let server = start(Settings { header_time: SHORT, ..Settings::default() });
    let head = get("/health", &"A: b\r\n".repeat(50));
    let drippers: Vec<_> = (0..32)
        .map(|_| {
            let (stream, head) = (server.connect(), head.clone());
            std::thread::spawn(move || drip(stream, &head))
        })
        .collect();
    assert_eq!(server.get("/health").status, 200);
    for dripper in drippers {
        assert!(dripper.join().unwrap() >= SHORT);
    }
    // And one that says nothing at all.
    let silent = server.connect();
    let start = Instant::now();
    assert_eq!(outcome(reply(silent).as_ref()), Ok(Closed));
    assert!(start.elapsed() >= SHORT / 2 && start.elapsed() < LONG);
    check_well(&server);
}

#[test]
fn a_body_that_drips_in_is_not_waited_for() {
    let server = start(Settings { body_time: SHORT, ..Settings::default() });
    let begun = "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{";
    let slow: Vec<TcpStream> = (0..32)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(begun.as_bytes()).unwrap();
            stream
        })
        .collect();
    assert_eq!(server.get("/health").status, 200);
    for stream in slow {
        assert_eq!(outcome(reply(stream).as_ref()), Ok(Error(408, "body_timeout")));
    }
    let mut stream = server.connect();
    stream.write_all(begun.as_bytes()).unwrap();
    assert!(drip(stream, &[b' '; 999]) >= SHORT);
    check_well(&server);
}

#[test]
fn a_reader_that_takes_nothing_is_given_up_however_few_events_wait() {
    for pending_events in [8, usize::MAX] {
        let server = start(Settings { write_time: SHORT, pending_events, ..Settings::default() });
        give_up_readers(&server);
    }
}

fn give_up_readers(server: &Server) {
    let readers: Vec<TcpStream> = (0..2)
        .map(|_| {
            let mut stream = narrow(server.address);
            let mut body = long_story(900);
            // More bytes than the system keeps for it.
            body["logprobs"] = 5.into();
            stream.write_all(post("/v1/completions", "", &body).as_bytes()).unwrap();
            stream
        })
        .collect();
    server.wait_until(|server| server.metric("inferno_requests_abandoned_total") == 2.0);
    check_well(server);
    for reader in readers {
        let mut reader = BufReader::new(reader);
        assert_eq!(read_head(&mut reader).unwrap().status, 200);
        while let Ok(Some(_)) = read_chunk(&mut reader) {}
        // Cut off: no chunk of length zero, no `[DONE]`.
        assert!(read_chunk(&mut reader).is_err());
    }
    server.wait_until(|server| server.metric("inferno_connections") == 1.0);
}

#[test]
fn a_reader_for_whom_ever_more_events_wait_is_given_up_though_it_takes_some() {
    let write_time = Duration::from_secs(1);
    let server = start(Settings { write_time, pending_events: 8, ..Settings::default() });
    let mut reader = narrow(server.address);
    let mut body = long_story(900);
    body["logprobs"] = 5.into();
    reader.write_all(post("/v1/completions", "", &body).as_bytes()).unwrap();
    let start = Instant::now();
    let mut piece = [0; 256];
    while server.metric("inferno_requests_abandoned_total") == 0.0 {
        assert!(start.elapsed() < PATIENCE, "it is still served");
        if matches!(reader.read(&mut piece), Ok(0) | Err(_)) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(server.metric("inferno_requests_abandoned_total"), 1.0);
    check_well(&server);
}

#[test]
fn a_reader_that_takes_nothing_keeps_no_place_when_its_tokens_are_made() {
    let settings = Settings { write_time: 6 * LONG, ..Settings::default() };
    let server = start_with(settings, |config| config.limits.max_sequences = 8);
    let mut reader = narrow(server.address);
    let mut body = long_story(100);
    // More bytes than the system keeps for it.
    body["logprobs"] = 5.into();
    reader.write_all(post("/v1/completions", "", &body).as_bytes()).unwrap();
    server.wait_until(|server| {
        server.metric("inferno_completion_tokens_total") >= 8.0 * 100.0 && server.is_idle()
    });
    check_well(&server);
    // Its answer has waited for it: the system does not hold so much.
    let mut all = Vec::new();
    reader.read_to_end(&mut all).unwrap();
    assert!(all.len() > 256 << 10 && all.ends_with(b"data: [DONE]\n\n\r\n0\r\n\r\n"), "{}", all.len());
}

#[test]
fn a_reader_that_is_only_slow_gets_all() {
    let server = start(Settings { write_time: SHORT, pending_events: 100_000, ..Settings::default() });
    let mut stream = narrow(server.address);
    let mut body = long_story(100);
    body["logprobs"] = 5.into();
    stream.write_all(post("/v1/completions", "", &body).as_bytes()).unwrap();
    let mut all = Vec::new();
    let mut piece = [0; 16 << 10];
    loop {
        match stream.read(&mut piece).unwrap() {
            0 => break,
            n => all.extend_from_slice(&piece[..n]),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(String::from_utf8(all).unwrap().ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"));
    check_well(&server);
}

#[test]
fn half_open_connections_cost_nobody_else_anything() {
    let server = start(Settings { header_time: SHORT, ..Settings::default() });
    let open: Vec<TcpStream> = (0..300).map(|_| server.connect()).collect();
    assert_eq!(server.get("/health").status, 200);
    server.wait_until(|server| server.metric("inferno_connections") == 1.0);
    for stream in open {
        assert_eq!(outcome(reply(stream).as_ref()), Ok(Closed));
    }
    check_well(&server);
}

#[test]
fn who_is_gone_is_not_worked_for() {
    let server = start(Settings::default());
    let request = post("/v1/completions", "", &long_story(900));
    let send = |server: &Server, n: usize| {
        let mut stream = server.connect();
        stream.write_all(&request.as_bytes()[..n]).unwrap();
        stream
    };
    let head = request.find("\r\n\r\n").unwrap();
    for n in [1, head / 2, head + 2, head + 4, head + 10, request.len() - 1] {
        reset(send(&server, n));
        drop(send(&server, n));
        check_well(&server);
    }
    for end in [reset, drop::<TcpStream>] {
        let mut stream = send(&server, request.len());
        stream.read_exact(&mut [0; 500]).unwrap();
        end(stream);
        check_well(&server);
    }
    assert_eq!(server.metric("inferno_requests_abandoned_total"), 2.0);
    // Whole answers too.
    let mut body = long_story(900);
    body["stream"] = false.into();
    let mut stream = server.connect();
    stream.write_all(post("/v1/completions", "", &body).as_bytes()).unwrap();
    server.wait_until(|server| !server.is_idle());
    reset(stream);
    check_well(&server);
    assert_eq!(server.metric("inferno_requests_abandoned_total"), 3.0);
    // And all prompts of a request.
    body["prompt"] = json!(["Once", "Twice", "Thrice"]);
    body["n"] = 2.into();
    let mut stream = server.connect();
    stream.write_all(post("/v1/completions", "", &body).as_bytes()).unwrap();
    server.wait_until(|server| server.metric("inferno_sequences_running") == 6.0);
    let n_cancelled = || server.metric("inferno_finished_total{reason=\"cancelled\"}");
    let n_before = n_cancelled();
    reset(stream);
    check_well(&server);
    assert_eq!(n_cancelled() - n_before, 6.0);
    server.wait_until(|server| server.metric("inferno_http_requests_in_flight") == 1.0);
}

#[test]
fn a_connection_without_a_request_is_closed_after_a_while() {
    let server = start(Settings { idle_time: SHORT, ..Settings::default() });
    let mut stream = BufReader::new(server.connect());
    for _ in 0..3 {
        stream.get_mut().write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let reply = super::super::harness::read_reply(&mut stream).unwrap();
        assert_eq!((reply.status, reply.header("connection")), (200, None));
    }
    let start = Instant::now();
    assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
    assert!(start.elapsed() >= SHORT / 2 && start.elapsed() < LONG);
    assert_eq!(talk(&server, &get("/health", "")).unwrap().status, 200);
}
