//! F7: the end of a server with work left.

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::super::harness::{Reply, Server, read_chunk, read_head, read_reply, start, start_with};
use super::{story, streamed, text_of};
use crate::{Ended, Settings};

/// A stream whose head has been read.
fn begun(server: &Server, prompt: &str, max_tokens: usize) -> (Reply, BufReader<TcpStream>) {
    let mut stream = server.open_stream("/v1/completions", &streamed(story(prompt, max_tokens)));
    let head = read_head(&mut stream).unwrap();
    assert_eq!(head.status, 200);
    (head, stream)
}

/// The rest of a stream.
fn rest((mut reply, mut stream): (Reply, BufReader<TcpStream>)) -> Reply {
    while let Some(chunk) = read_chunk(&mut stream).unwrap() {
        reply.body.extend(chunk);
    }
    reply
}

#[test]
fn what_runs_may_finish_and_nothing_new_begins() {
    const N: usize = 32;
    let mut server = start(Settings { hold: Duration::from_millis(1), ..Settings::default() });
    let calm = server.post("/v1/completions", &story("Once", 12)).json();
    *server.faults.delay.lock().unwrap() = Duration::from_millis(40);
    let streams: Vec<_> = (0..N).map(|_| begun(&server, "Once", 12)).collect();
    let mut idle = BufReader::new(server.connect());
    let ask = b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n";
    idle.get_mut().write_all(ask).unwrap();
    assert_eq!(read_reply(&mut idle).unwrap().status, 200);
    server.stop();
    server.wait_until(|server| server.get("/ready").status == 503);
    assert_eq!(server.get("/ready").error(), (503, "shutting_down".into(), "null".into()));
    // It still is healthy: whoever looks must not end it before its time.
    assert_eq!(server.get("/health").status, 200);
    assert_eq!(server.get("/v1/loads").json()["draining"], true);
    idle.get_mut().write_all(ask).unwrap();
    let ready = read_reply(&mut idle).unwrap();
    assert_eq!((ready.status, ready.header("connection")), (503, Some("close")));
    for path in ["/v1/completions", "/v1/chat/completions", "/tokenize"] {
        let refused = server.post(path, &story("Once", 12));
        assert_eq!(refused.error(), (503, "shutting_down".into(), "null".into()), "{path}");
        assert!(refused.header("retry-after").is_some());
    }
    for stream in streams {
        let events = rest(stream).events();
        assert_eq!(events.last().unwrap(), "[DONE]");
        assert_eq!(calm["choices"][0]["text"], text_of(&events));
    }
    assert_eq!(server.join(), Ended::Drained);
    assert!(TcpStream::connect(server.address).is_err());
}

#[test]
fn what_is_not_done_in_time_is_told_so() {
    let settings = Settings {
        drain: Duration::from_millis(300),
        hold: Duration::from_millis(1),
        keep_alive: Duration::from_millis(20),
        ..Settings::default()
    };
    // Some run, some wait, and nothing moves.
    let mut server = start_with(settings, |config| config.limits.max_sequences = 2);
    *server.faults.delay.lock().unwrap() = Duration::from_millis(20);
    let streams: Vec<_> = (0..6).map(|i| begun(&server, &format!("{i} Once"), 900)).collect();
    let whole = server.open_stream("/v1/completions", &story("Once", 900)).into_inner();
    server.wait_until(|server| server.get("/v1/loads").json()["requests"] == 7);
    server.faults.block(true);
    // Those that wait look for their place, which a step that hangs does not tell.
    std::thread::sleep(Duration::from_millis(1200));
    let start = Instant::now();
    server.stop();
    for stream in streams {
        let events = rest(stream).events();
        assert_eq!(events.last().unwrap()["error"]["code"], "shutting_down");
    }
    let whole = super::super::raw::reply(whole).unwrap();
    assert_eq!(whole.error(), (503, "shutting_down".into(), "null".into()));
    assert_eq!(server.join(), Ended::Drained);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn an_idle_server_ends_at_once() {
    let mut server = start(Settings::default());
    let open: Vec<TcpStream> = (0..20).map(|_| server.connect()).collect();
    let start = Instant::now();
    server.stop();
    assert_eq!(server.join(), Ended::Drained);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    drop(open);
}

#[test]
fn a_server_whose_engine_is_gone_says_so_and_ends() {
    let mut server = start(Settings::default());
    *server.faults.delay.lock().unwrap() = Duration::from_millis(20);
    let stream = begun(&server, "Once", 900);
    server.break_engine();
    let events = rest(stream).events();
    assert_eq!(events.last().unwrap()["error"]["code"], "internal_error");
    assert_eq!(server.join(), Ended::EngineStopped);
}
