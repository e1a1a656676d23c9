//! Bodies: how large, how deep, what is in them.

use std::io::Write;

use super::super::harness::{Server, start};
use super::super::raw::{Error, Fine, check, check_well, get, outcome, reply, talk, tokenize, tokenize_with};
use crate::Settings;

/// A body of `n` bytes.
fn body_of(n: usize) -> Vec<u8> {
    let mut body = b"{\"content\": \"a\"".to_vec();
    body.resize(n - 1, b' ');
    body.push(b'}');
    body
}

#[test]
fn json_of_strangers_is_read_with_care() {
    let server = start(Settings::default());
    let object = |pairs: &str| tokenize(format!("{{\"content\": \"a\", {pairs}}}"));
    let deep = |n: usize| object(&format!("\"x\": {}{}", "[".repeat(n - 1), "]".repeat(n - 1)));
    let keys = |n: usize| object(&(0..n).map(|i| format!("\"k{i}\":0")).collect::<Vec<_>>().join(","));
    let invalid = Error(400, "invalid_json");
    check(
        &server,
        vec![
            ("nothing", tokenize(""), Error(400, "")),
            ("an array", tokenize("[]"), Error(400, "")),
            ("cut off", tokenize("{\"content\": \"a"), invalid.clone()),
            ("two objects", tokenize("{\"content\": \"a\"}{}"), invalid.clone()),
            ("no utf-8", tokenize(b"{\"content\": \"\xff\xfe\"}"), invalid.clone()),
            ("an overlong slash", tokenize(b"{\"content\": \"\xc0\xaf\"}"), invalid.clone()),
            ("a surrogate as bytes", tokenize(b"{\"content\": \"\xed\xa0\x80\"}"), invalid.clone()),
            ("a byte order mark", tokenize(b"\xef\xbb\xbf{\"content\": \"a\"}"), invalid.clone()),
            ("utf-16", tokenize(b"{\0\"\0c\0\"\0:\0\"\0a\0\"\0}\0"), invalid.clone()),
            ("a zero byte", tokenize("{\"content\": \"\0\"}"), invalid.clone()),
            ("a zero byte behind", tokenize("{\"content\": \"a\"}\0"), invalid.clone()),
            ("an escaped zero", tokenize("{\"content\": \"\\u0000\"}"), Fine(200)),
            ("half a surrogate", tokenize("{\"content\": \"\\ud800\"}"), invalid.clone()),
            ("32 deep", deep(32), Fine(200)),
            ("33 deep", deep(33), invalid.clone()),
            ("100,000 deep", deep(100_000), invalid.clone()),
            (
                "100,000 objects deep",
                object(&format!("\"x\": {}", "{\"a\":".repeat(100_000))),
                invalid.clone(),
            ),
            ("a million keys", keys(1_000_000 / 2), invalid.clone()),
            ("a key twice", object("\"a\": 1, \"a\": 1"), invalid.clone()),
            ("a key twice, escaped", object("\"a\": 1, \"\\u0061\": 1"), invalid.clone()),
            ("1e400", object("\"x\": 1e400"), invalid.clone()),
            ("-1e400", object("\"x\": -1e400"), invalid.clone()),
            ("1e-400", object("\"x\": 1e-400"), Fine(200)),
            ("-0", object("\"x\": -0"), Fine(200)),
            ("2^53 + 1", object("\"x\": 9007199254740993"), Fine(200)),
            ("a number of 1000 digits", object(&format!("\"x\": {}", "9".repeat(1000))), invalid.clone()),
            ("NaN", object("\"x\": NaN"), invalid.clone()),
            ("a comment", object("/* */ \"x\": 1"), invalid.clone()),
            ("a comma too many", tokenize("{\"content\": \"a\",}"), invalid),
        ],
    );
}

#[test]
fn numbers_are_not_rounded_to_something_else() {
    let server = start(Settings::default());
    let chat = |field: &str, path: &str| {
        let body = format!("{{\"prompt\": \"a\", \"max_tokens\": 1, {field}}}");
        let n = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {n}\r\n");
        format!("{head}Connection: close\r\n\r\n{body}").into_bytes()
    };
    let completion = |field: &str| chat(field, "/v1/completions");
    check(
        &server,
        vec![
            ("temperature -0", completion("\"temperature\": -0"), Fine(200)),
            ("temperature -0.0", completion("\"temperature\": -0.0"), Fine(200)),
            ("temperature 1e-400", completion("\"temperature\": 1e-400"), Fine(200)),
            ("temperature 1e400", completion("\"temperature\": 1e400"), Error(400, "invalid_json")),
            ("temperature 1e300", completion("\"temperature\": 1e300"), Error(400, "invalid_value")),
            ("seed 2^53 + 1", completion("\"seed\": 9007199254740993"), Fine(200)),
            ("seed 2^63", completion("\"seed\": 9223372036854775808"), Fine(200)),
            ("seed 2^64", completion("\"seed\": 18446744073709551616"), Error(400, "invalid_value")),
            ("n 1.5", completion("\"n\": 1.5"), Error(400, "invalid_value")),
            ("n 2^32 + 1", completion("\"n\": 4294967297"), Error(400, "invalid_value")),
        ],
    );
}

#[test]
fn bodies_are_bounded_exactly() {
    let server = start(Settings::default());
    let most = 8 << 20;
    let chunks = |n: usize| {
        let body = String::from_utf8(body_of(n)).unwrap();
        super::chunked("", &format!("{n:x}\r\n{body}\r\n0\r\n\r\n"))
    };
    let too_large = Error(413, "body_too_large");
    check(
        &server,
        vec![
            ("8 MiB", tokenize(body_of(most)), Fine(200)),
            ("8 MiB and a byte", tokenize(body_of(most + 1)), too_large.clone()),
            ("8 MiB in chunks", chunks(most), Fine(200)),
            ("8 MiB and a byte in chunks", chunks(most + 1), too_large),
        ],
    );
    let server = start(Settings { body_bytes: 100, ..Settings::default() });
    for (n, expected) in [(99, Fine(200)), (100, Fine(200)), (101, Error(413, "body_too_large"))] {
        let found = outcome(talk(&server, &tokenize(body_of(n))).as_ref());
        assert_eq!(found, Ok(expected), "{n}");
    }
}

#[test]
fn an_encoded_body_is_refused() {
    let server = start(Settings::default());
    let encoded = |encoding: &str| {
        let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xab\xae\x05\0\x43\xbf\xa6\xa3\x02\0\0\0";
        tokenize_with(&format!("Content-Encoding: {encoding}\r\n"), gzip)
    };
    let refused = Error(415, "unsupported_encoding");
    check(
        &server,
        vec![
            ("gzip", encoded("gzip"), refused.clone()),
            ("br", encoded("br"), refused.clone()),
            ("two", encoded("identity, gzip"), refused.clone()),
            ("no text", [b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: \xff\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}".as_slice()].concat(), refused),
            ("none", tokenize_with("Content-Encoding: identity\r\n", "{\"content\": \"a\"}"), Fine(200)),
            ("a strange type", tokenize_with("Content-Type: text/xml\r\n", "{\"content\": \"a\"}"), Fine(200)),
        ],
    );
}

#[test]
fn all_bodies_together_take_so_much_memory() {
    let server = start(Settings { bodies_bytes: 64 << 10, ..Settings::default() });
    let half = tokenize(body_of(40 << 10));
    let begin = || {
        let mut first = server.connect();
        first.write_all(&half[..half.len() - 10]).unwrap();
        first
    };
    let mut first = begin();
    // If the second one came first, the first one had no room.
    while outcome(talk(&server, &half).as_ref()) != Ok(Error(503, "bodies_full")) {
        first = begin();
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let refused = talk(&server, &half).unwrap();
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(talk(&server, &tokenize("{\"content\": \"a\"}")).unwrap().status, 200);
    first.write_all(&half[half.len() - 10..]).unwrap();
    assert_eq!(reply(first).unwrap().status, 200);
    // Its memory is there again.
    assert_eq!(talk(&server, &half).unwrap().status, 200);
    check_well(&server);
}

#[test]
fn a_request_has_one_name_in_and_out() {
    let server = start(Settings::default());
    let named = |server: &Server, headers: &str| {
        let reply = talk(server, &get("/v1/models", headers)).unwrap();
        reply.header("x-request-id").unwrap().to_owned()
    };
    assert_eq!(named(&server, "X-Request-Id: abc-123\r\n"), "abc-123");
    assert_eq!(named(&server, &format!("X-Request-Id: {}\r\n", "a".repeat(128))), "a".repeat(128));
    let made = [
        named(&server, ""),
        named(&server, "X-Request-Id: \r\n"),
        named(&server, &format!("X-Request-Id: {}\r\n", "a".repeat(129))),
        named(&server, "X-Request-Id: \u{e4}\r\n"),
    ];
    assert!(made.iter().all(|name| name.starts_with("req-")), "{made:?}");
    assert_eq!(made.iter().collect::<std::collections::HashSet<_>>().len(), 4);
    let refused = talk(&server, &get("/nowhere", "X-Request-Id: lost\r\n")).unwrap();
    assert_eq!(refused.header("x-request-id"), Some("lost"));
}
