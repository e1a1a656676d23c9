//! Answers read and requests sent in pieces of any size, and connections that are dropped at any byte.

use std::io::{Read, Write};
use std::time::Duration;

use xtask::testing::Random;

use super::super::harness::{Reply, Server, post, read_reply};
use super::super::raw::reply;
use super::super::start;
use super::{Case, cases, check_shape, said, text};
use crate::Settings;

/// At most `most` bytes of the answer to a request, read in pieces of random size.
fn read_some(server: &Server, Case { path, body, .. }: &Case, most: usize, random: &mut Random) -> Vec<u8> {
    let mut stream = server.open_stream(path, body).into_inner();
    let (mut bytes, mut piece) = (Vec::new(), [0; 64]);
    while bytes.len() < most {
        let n = (1 + random.below(piece.len())).min(most - bytes.len());
        match stream.read(&mut piece[..n]).unwrap() {
            0 => break,
            n => bytes.extend_from_slice(&piece[..n]),
        }
    }
    bytes
}

#[test]
fn a_connection_dropped_at_any_byte_leaves_the_other_streams_and_no_page() {
    let server = start(Settings::default());
    let all = cases(2);
    let alone: Vec<(String, usize)> = all
        .iter()
        .map(|case| {
            let bytes = read_some(&server, case, usize::MAX, &mut Random(1));
            (said(case, &read_reply(&mut &bytes[..]).unwrap()), bytes.len())
        })
        .collect();
    let (server, all, alone) = (&server, &all, &alone);
    std::thread::scope(|scope| {
        for i in 0..48 {
            scope.spawn(move || {
                let (mut random, which) = (Random(i as u64), i % all.len());
                let (case, (text, n_bytes)) = (&all[which], &alone[which]);
                if i % 2 == 0 {
                    read_some(server, case, random.below(*n_bytes), &mut random);
                } else {
                    let bytes = read_some(server, case, usize::MAX, &mut random);
                    assert_eq!(said(case, &read_reply(&mut &bytes[..]).unwrap()), *text, "{}", case.path);
                }
            });
        }
    });
    server.wait_until(Server::is_idle);
}

/// Sends a request in pieces of random size, with a pause behind each one that ends within a character.
fn send(server: &Server, request: &[u8], random: &mut Random) -> Reply {
    let mut stream = server.connect();
    stream.set_nodelay(true).unwrap();
    let mut rest = request;
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at((1 + random.below(40)).min(rest.len()));
        stream.write_all(piece).unwrap();
        if piece.last().is_some_and(|byte| *byte >= 0x80) {
            std::thread::sleep(Duration::from_millis(3));
        }
        rest = behind;
    }
    reply(stream).unwrap()
}

#[test]
fn a_request_in_any_pieces_is_the_request() {
    let server = start(Settings::default());
    for (i, mut case) in cases(3).into_iter().enumerate() {
        // Characters of two, three and four bytes.
        let body = case.body.to_string().replace("Tell me", "Erz\u{e4}hl \u{2013} \u{1f409}");
        case.body = serde_json::from_str(&body).unwrap();
        let request = post(case.path, "", &case.body);
        assert!(!request.is_ascii());
        let reply = send(&server, request.as_bytes(), &mut Random(i as u64));
        assert_eq!(said(&case, &reply), text(&server, &case), "{}", case.path);
    }
}

#[test]
fn zeros_and_too_many_bytes_are_refused_in_the_shape_of_the_dialect() {
    let most = 16 << 10;
    let server = start(Settings { body_bytes: most, ..Settings::default() });
    for (i, Case { path, body, .. }) in cases(1).into_iter().enumerate() {
        let text = body.to_string();
        let with = |name: &str, value: &str| format!("{},\"{name}\":{value}}}", &text[..text.len() - 1]);
        for (status, body) in [
            (400, format!("{text}\0")),
            (400, format!("\0{text}")),
            (400, with("x", "\"\0\"")),
            (400, with("x\0", "1")),
            (413, with("x", &format!("\"{}\"", "a".repeat(most)))),
        ] {
            let head = post(path, "", &().into()).split("\r\n\r\n").next().unwrap().to_owned();
            let head = head.replace("Content-Length: 4", &format!("Content-Length: {}", body.len()));
            let request = format!("{head}\r\n\r\n{body}");
            let reply = match status {
                413 => server.raw(request),
                _ => send(&server, request.as_bytes(), &mut Random(i as u64)),
            };
            assert_eq!(reply.status, status, "{path}: {}", reply.text());
            check_shape(path, &reply.json());
        }
    }
    server.wait_until(Server::is_idle);
}
