//! How many connections there may be, and what one of them may carry.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::super::harness::{Server, read_head, read_reply, start};
use super::super::raw::{Error, check_well, outcome, reply};
use crate::Settings;

const ASK: &[u8] = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A connection that has been answered and now waits.
fn idle(server: &Server) -> BufReader<TcpStream> {
    let mut stream = BufReader::new(server.connect());
    ask(&mut stream);
    stream
}

fn ask(stream: &mut BufReader<TcpStream>) {
    stream.get_mut().write_all(ASK).unwrap();
    assert_eq!(read_reply(stream).unwrap().status, 200);
}

/// A connection with a request: the server has asked for its body.
fn busy(server: &Server) -> BufReader<TcpStream> {
    let mut stream = BufReader::new(server.connect());
    let head =
        "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 15\r\n\r\n";
    stream.get_mut().write_all(head.as_bytes()).unwrap();
    assert_eq!(read_head(&mut stream).unwrap().status, 100);
    stream
}

#[test]
fn a_thousand_requests_in_a_row_are_answered_in_order() {
    let server = start(Settings::default());
    let stream = server.connect();
    let mut writer = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        let request =
            |i: usize| format!("GET /health HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: r{i}\r\n\r\n");
        writer.write_all((0..1000).map(request).collect::<String>().as_bytes()).unwrap();
    });
    let mut reader = BufReader::new(stream);
    for i in 0..1000 {
        let reply = read_reply(&mut reader).unwrap();
        assert_eq!((reply.status, reply.header("x-request-id")), (200, Some(format!("r{i}").as_str())));
    }
    sender.join().unwrap();
    check_well(&server);
}

#[test]
fn a_body_that_no_route_reads_leaves_the_connection_open() {
    let server = start(Settings::default());
    for (method, path, status) in [("POST", "/nowhere", 404), ("PUT", "/v1/models", 405)] {
        let mut stream = BufReader::new(server.connect());
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 15\r\n\r\n");
        stream.get_mut().write_all(head.as_bytes()).unwrap();
        // Later than an answer to the head alone would be.
        std::thread::sleep(Duration::from_millis(50));
        stream.get_mut().write_all(br#"{"content": ""}"#).unwrap();
        assert_eq!(read_reply(&mut stream).unwrap().status, status, "{path}");
        ask(&mut stream);
    }
    check_well(&server);
}

#[test]
fn idle_connections_make_room_for_new_ones() {
    let server = start(Settings { connections: 4, ..Settings::default() });
    let mut all: Vec<_> = (0..3).map(|_| idle(&server)).collect();
    // The fourth has room.
    all.push(idle(&server));
    all.iter_mut().for_each(ask);
    // The fifth takes the place of the one that has waited for the longest.
    let mut fifth = idle(&server);
    assert_eq!(all[0].read(&mut [0; 16]).unwrap(), 0);
    all[1..].iter_mut().for_each(ask);
    ask(&mut fifth);
    drop((all, fifth));
    server.wait_until(|server| server.metric("inferno_connections") == 1.0);
    // One more may have been turned out by whoever asked that.
    assert!(server.metric("inferno_connections_evicted_total") >= 1.0);
    assert_eq!(server.metric("inferno_connections_refused_total"), 0.0);
}

#[test]
fn busy_connections_make_room_for_nobody() {
    // A body that is a fifth of this late has stopped.
    let header_time = Duration::from_secs(600);
    let server = start(Settings { connections: 2, header_time, ..Settings::default() });
    server.wait_until(|server| server.metric("inferno_connections") == 1.0);
    let mut all = [busy(&server), busy(&server)];
    for _ in 0..3 {
        assert_eq!(outcome(reply(server.connect()).as_ref()), Ok(Error(503, "connections_full")));
    }
    for stream in &mut all {
        stream.get_mut().write_all(b"{\"content\":\"a\"}").unwrap();
        assert_eq!(read_reply(stream).unwrap().status, 200);
    }
    // They have their answers, and make room.
    server.wait_until(|server| outcome(reply_to_health(server).as_ref()) == Ok(super::Fine(200)));
    assert!(server.metric("inferno_connections_refused_total") >= 3.0);
}

fn reply_to_health(server: &Server) -> Option<super::super::harness::Reply> {
    super::talk(server, &super::get("/health", ""))
}

#[test]
fn an_address_has_so_many_connections_and_no_more() {
    let header_time = Duration::from_secs(600);
    let settings = Settings { connections_per_address: Some(3), header_time, ..Settings::default() };
    let server = start(settings);
    server.wait_until(|server| server.metric("inferno_connections") == 1.0);
    let mut all: Vec<_> = (0..3).map(|_| idle(&server)).collect();
    // Its own connections make room for its next one.
    all.push(idle(&server));
    assert_eq!(all[0].read(&mut [0; 16]).unwrap(), 0);
    all[1..].iter_mut().for_each(ask);
    drop(all);
    // Three that are at work do not.
    let mut all: Vec<_> = (0..3).map(|_| busy(&server)).collect();
    let found = outcome(reply(server.connect()).as_ref());
    assert_eq!(found, Ok(Error(503, "connections_full")));
    for stream in &mut all {
        stream.get_mut().write_all(b"{\"content\":\"a\"}").unwrap();
        assert_eq!(read_reply(stream).unwrap().status, 200);
    }
}

#[test]
fn connections_that_ask_nothing_keep_nobody_out() {
    let server = start(Settings { connections: 40, ..Settings::default() });
    let mut patient = idle(&server);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let is_over = || stop.load(std::sync::atomic::Ordering::Relaxed);
    let begin = |bytes: &[u8]| {
        let mut stream = server.connect();
        let _ = stream.write_all(bytes);
        stream
    };
    // Silent ones and halves of a head, renewed all the time.
    let begun: [&[u8]; 2] = [b"", b"POST /v1/completions HT"];
    std::thread::scope(|scope| {
        for bytes in begun {
            scope.spawn(|| {
                while !is_over() {
                    let _flood: Vec<TcpStream> = (0..100).map(|_| begin(bytes)).collect();
                    std::thread::sleep(Duration::from_millis(300));
                }
            });
        }
        let good: Vec<_> = (0..100)
            .map(|_| {
                std::thread::sleep(Duration::from_millis(10));
                outcome(reply_to_health(&server).as_ref())
            })
            .collect();
        // One that asked before the flood and kept its connection is still there.
        ask(&mut patient);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(good.iter().all(|found| *found == Ok(super::Fine(200))), "{good:?}");
    });
}

#[test]
fn bodies_that_never_come_keep_nobody_out() {
    let server =
        start(Settings { connections: 4, header_time: Duration::from_secs(1), ..Settings::default() });
    let begun = b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{";
    let mut all: Vec<TcpStream> = (0..4).map(|_| server.connect()).collect();
    for stream in &mut all {
        stream.write_all(begun).unwrap();
    }
    // A fifth of the time for a head later they have stopped.
    std::thread::sleep(Duration::from_millis(400));
    for _ in 0..3 {
        assert_eq!(outcome(reply_to_health(&server).as_ref()), Ok(super::Fine(200)));
    }
}

#[test]
fn a_connection_whose_request_is_on_its_way_outlives_a_flood() {
    let server = start(Settings { connections: 40, ..Settings::default() });
    server.wait_until(|server| server.metric("inferno_connections") == 1.0);
    let mut flood: Vec<TcpStream> = (0..40).map(|_| server.connect()).collect();
    for _ in 0..20 {
        let mut slow = BufReader::new(server.connect());
        slow.get_mut().write_all(&ASK[..10]).unwrap();
        flood.extend((0..10).map(|_| server.connect()));
        std::thread::sleep(Duration::from_millis(20));
        slow.get_mut().write_all(&ASK[10..]).unwrap();
        assert_eq!(read_reply(&mut slow).unwrap().status, 200);
    }
}
