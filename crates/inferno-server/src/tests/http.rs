//! Bytes from strangers: each of these has one outcome, and the server is as well afterwards as before.

use std::io::Write;

use super::harness::start;
use super::raw::{Bare, Case, Closed, Error, Fine, check, chunked, get, outcome, talk, tokenize_with};
use crate::Settings;

mod bodies;
mod connections;
mod slow;
mod web;

fn case(name: &'static str, text: &str, outcome: super::raw::Outcome) -> Case {
    (name, text.as_bytes().to_vec(), outcome)
}

const END: &str = "Connection: close\r\n\r\n";

#[test]
fn what_is_no_http_is_refused() {
    let server = start(Settings::default());
    let head = |line: &str, headers: &str| format!("{line}\r\n{headers}{END}");
    check(
        &server,
        vec![
            case("http/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", Closed),
            ("tls", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), Bare(400)),
            case("http/0.9", "GET /health\r\n\r\n", Bare(400)),
            case("http/3.7", &head("GET /health HTTP/3.7", "Host: localhost\r\n"), Bare(400)),
            case("no method", &head(" /health HTTP/1.1", "Host: localhost\r\n"), Bare(400)),
            case("nonsense", "hello\r\n\r\n", Bare(400)),
            case(
                "a zero byte in a header",
                &head("GET /health HTTP/1.1", "Host: localhost\r\nA: \0\r\n"),
                Bare(400),
            ),
            case("a zero byte in a path", &head("GET /\0 HTTP/1.1", "Host: localhost\r\n"), Bare(400)),
            case(
                "a header without a name",
                &head("GET /health HTTP/1.1", "Host: localhost\r\n: a\r\n"),
                Bare(400),
            ),
            case("a space before a colon", &head("GET /health HTTP/1.1", "Host : localhost\r\n"), Bare(400)),
            case(
                "a folded header",
                &head("GET /health HTTP/1.1", "Host: localhost\r\nA: b\r\n c\r\n"),
                Bare(400),
            ),
            case("http/1.0", &head("GET /health HTTP/1.0", ""), Fine(200)),
            case(
                "empty lines before",
                &format!("\r\n\r\n{}", head("GET /health HTTP/1.1", "Host: a\r\n")),
                Error(421, "host_not_allowed"),
            ),
        ],
    );
}

#[test]
fn a_body_has_one_length() {
    let server = start(Settings::default());
    let lengths = |lengths: &str| {
        let head = "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
        format!("{head}{lengths}\r\n{{\"prompt\": \"a\"}}").into_bytes()
    };
    check(
        &server,
        vec![
            ("one", lengths("Content-Length: 15\r\n"), Fine(200)),
            ("the same twice", lengths("Content-Length: 15\r\nContent-Length: 15\r\n"), Fine(200)),
            ("two", lengths("Content-Length: 15\r\nContent-Length: 14\r\n"), Bare(400)),
            ("a list", lengths("Content-Length: 15, 15\r\n"), Bare(400)),
            ("negative", lengths("Content-Length: -1\r\n"), Bare(400)),
            ("with a sign", lengths("Content-Length: +15\r\n"), Bare(400)),
            ("a fraction", lengths("Content-Length: 15.0\r\n"), Bare(400)),
            ("beyond 64 bits", lengths("Content-Length: 18446744073709551616\r\n"), Bare(400)),
            ("64 bits", lengths("Content-Length: 18446744073709551615\r\n"), Bare(431)),
            (
                "nearly as many",
                lengths("Content-Length: 18446744073709551613\r\n"),
                Error(413, "body_too_large"),
            ),
            ("1 GiB", lengths("Content-Length: 1073741824\r\n"), Error(413, "body_too_large")),
            ("none", lengths(""), Error(400, "")),
        ],
    );
}

#[test]
fn chunks_are_counted_and_end_as_they_should() {
    let body_time = std::time::Duration::from_secs(1);
    let server = start(Settings { body_bytes: 1 << 16, body_time, ..Settings::default() });
    let whole = "f\r\n{\"prompt\": \"a\"}\r\n";
    let after = |rest: &str| chunked("", &format!("{whole}{rest}"));
    let many = "1\r\n \r\n".repeat(1 << 16);
    let trailers = (0..200).map(|i| format!("T-{i}: a\r\n")).collect::<String>();
    check(
        &server,
        vec![
            ("whole", after("0\r\n\r\n"), Fine(200)),
            ("a trailer", after("0\r\nA: b\r\n\r\n"), Fine(200)),
            ("an extension", chunked("", "f;a=b\r\n{\"prompt\": \"a\"}\r\n0\r\n\r\n"), Fine(200)),
            (
                "a size beyond 64 bits",
                chunked("", "fffffffffffffffff\r\n{\"prompt\": \"a\"}"),
                Error(400, ""),
            ),
            (
                "a huge size",
                chunked("", "7fffffffffffffff\r\n{\"prompt\": \"a\"}"),
                Error(408, "body_timeout"),
            ),
            ("a negative size", chunked("", "-1\r\n{\"prompt\": \"a\"}"), Error(400, "")),
            ("a size that is not a number", chunked("", "xyz\r\n{\"prompt\": \"a\"}"), Error(400, "")),
            ("no size", chunked("", "\r\n{\"prompt\": \"a\"}"), Error(400, "")),
            ("more data than its size", chunked("", "3\r\n{\"prompt\": \"a\"}\r\n0\r\n\r\n"), Error(400, "")),
            ("a bad trailer", after("0\r\n\0bad\r\n\r\n"), Error(400, "")),
            ("too many trailers", after(&format!("0\r\n{trailers}\r\n")), Error(400, "")),
            ("a long extension", chunked("", &format!("f;{}\r\n", "a".repeat(1 << 17))), Error(400, "")),
            ("too many bytes", chunked("", &format!("{many}{whole}0\r\n\r\n")), Error(413, "body_too_large")),
            ("an unknown coding", tokenize_with("Transfer-Encoding: gzip\r\n", "{}"), Bare(400)),
            ("chunked not last", tokenize_with("Transfer-Encoding: chunked, gzip\r\n", "{}"), Bare(400)),
        ],
    );
    // Who looks at the length only would take the rest for the next request.
    let both =
        chunked("Content-Length: 4\r\n", &format!("{whole}0\r\n\r\nGET /admin/requests HTTP/1.1\r\n\r\n"));
    let mut stream = server.connect();
    stream.write_all(&both).unwrap();
    let mut all = Vec::new();
    let _ = std::io::Read::read_to_end(&mut stream, &mut all);
    let all = String::from_utf8(all).unwrap();
    assert_eq!(all.matches("HTTP/1.1 ").count(), 1, "{all}");
}

#[test]
fn heads_are_bounded_exactly() {
    let settings = Settings { headers: 20, header_bytes: 16 << 10, ..Settings::default() };
    let server = start(settings);
    // `get` has two of its own.
    let many = |n: usize| get("/health", &(2..n).map(|i| format!("H-{i}: a\r\n")).collect::<String>());
    let large = |n: usize| {
        let rest = n - get("/health", "A: \r\n").len();
        let bytes = get("/health", &format!("A: {}\r\n", "a".repeat(rest)));
        assert_eq!(bytes.len(), n);
        bytes
    };
    let long = |n: usize| get(&format!("/{}", "a".repeat(n)), "");
    check(
        &server,
        vec![
            ("a header less", many(19), Fine(200)),
            ("all headers", many(20), Fine(200)),
            ("a header more", many(21), Bare(431)),
            ("many headers", many(10_000), Bare(431)),
            ("a byte less", large((16 << 10) - 1), Fine(200)),
            ("all bytes", large(16 << 10), Fine(200)),
            ("a byte more", large((16 << 10) + 1), Bare(431)),
            ("100 KiB", large(100 << 10), Bare(431)),
            ("a long path", long(10_000), Error(404, "not_found")),
            ("a longer path", long(100_000), Bare(431)),
        ],
    );
}

#[test]
fn paths_and_methods_are_what_they_are() {
    let server = start(Settings::default());
    let method = |method: &str, path: &str| {
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{END}").into_bytes()
    };
    check(
        &server,
        vec![
            ("up", get("/../etc/passwd", ""), Error(404, "not_found")),
            ("up from below", get("/v1/../health", ""), Error(404, "not_found")),
            ("up, hidden", get("/v1/%2e%2e/health", ""), Error(404, "not_found")),
            ("a zero byte", get("/%00", ""), Error(404, "not_found")),
            ("a zero byte behind", get("/health%00", ""), Error(404, "not_found")),
            ("a model with a zero byte", get("/v1/models/%00", ""), Error(404, "model_not_found")),
            ("a model above", get("/v1/models/../../etc/passwd", ""), Error(404, "model_not_found")),
            ("a model that is not text", get("/v1/models/%ff%fe", ""), Error(400, "")),
            ("a request that is not text", method("DELETE", "/admin/requests/%ff"), Error(400, "")),
            ("a bad escape", get("/v1/models/%zz", ""), Error(404, "model_not_found")),
            ("two slashes", get("//health", ""), Error(404, "not_found")),
            ("a slash behind", get("/health/", ""), Fine(200)),
            ("in capitals", get("/HEALTH", ""), Error(404, "not_found")),
            ("a query", get("/health?a=%00&b", ""), Fine(200)),
            ("get for post", get("/v1/chat/completions", ""), Error(405, "method_not_allowed")),
            ("post for get", method("POST", "/v1/models"), Error(405, "method_not_allowed")),
            ("put", method("PUT", "/v1/completions"), Error(405, "method_not_allowed")),
            ("trace", method("TRACE", "/health"), Error(405, "method_not_allowed")),
            ("an unknown method", method("BREW", "/health"), Error(405, "method_not_allowed")),
            ("connect", method("CONNECT", "localhost:443"), Error(404, "not_found")),
            ("no path", method("GET", "*"), Error(404, "not_found")),
            ("an upgrade", get("/health", "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"), Fine(200)),
        ],
    );
    let head = talk(&server, b"HEAD /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    // Its length is that of the body that is not sent.
    assert!(head.is_none(), "a body after HEAD");
    let allowed = talk(&server, &method("PUT", "/v1/completions")).unwrap();
    assert_eq!(allowed.header("allow"), Some("POST"));
}

#[test]
fn an_expectation_is_met_before_the_body_is_read() {
    let server = start(Settings::default());
    let bytes = tokenize_with("Expect: 100-continue\r\n", "{\"prompt\": \"a\"}");
    let reply = talk(&server, &bytes).unwrap();
    assert_eq!(reply.status, 100);
    // Who is refused need not send it.
    let large = "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999999\r\nExpect: 100-continue\r\n\r\n";
    let reply = talk(&server, large.as_bytes());
    assert_eq!(outcome(reply.as_ref()), Ok(Error(413, "body_too_large")));
}
