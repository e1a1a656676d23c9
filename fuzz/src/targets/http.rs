//! Bytes on a connection: whatever they are, the server answers or closes, and the next client has its answer.
//!
//! The client closes its side behind the last byte. No answer is an internal error.

use super::server::{Side, exchange, response};
use crate::Target;

pub(crate) const TARGET: Target = Target {
    name: "http",
    check,
    max_len: 2 << 10,
    seeds,
    words: &[
        "GET ",
        "POST ",
        "HEAD ",
        "OPTIONS ",
        "DELETE ",
        "PRI * HTTP/2.0",
        " HTTP/1.1\r\n",
        " HTTP/1.0\r\n",
        "Host: localhost\r\n",
        "Content-Length: ",
        "Transfer-Encoding: chunked\r\n",
        "Connection: close\r\n",
        "Connection: keep-alive\r\n",
        "Expect: 100-continue\r\n",
        "Authorization: Bearer x\r\n",
        "Origin: http://localhost\r\n",
        "Content-Encoding: gzip\r\n",
        "Upgrade: h2c\r\n",
        "\r\n\r\n",
        "0\r\n\r\n",
        "5\r\nhello\r\n",
        "/v1/models",
        "/health",
        "/metrics",
        "/live",
        "/",
        "//",
        "/v1/models/toy",
        "/v1/responses/x",
        "/admin/requests",
        "/openapi.json",
        "?a=b&c=%00",
        "%2e%2e",
        "x-request-id: ",
        "Last-Event-ID: 0-0\r\n",
        "Accept: text/html\r\n",
        "/page/main.js",
        "Content-Type: application/json\r\n",
    ],
};

fn seeds() -> Vec<Vec<u8>> {
    let requests = [
        "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\nGET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n{\"content\": \"hi\"}\r\n0\r\n\r\n",
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 15\r\n\r\n{\"prompt\": \"a\"}",
        "OPTIONS /v1/models HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nAccess-Control-Request-Method: POST\r\n\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n{}{}{",
        "HEAD / HTTP/1.0\r\n\r\n",
        "DELETE /v1/responses/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ];
    requests.map(|text| text.as_bytes().to_vec()).to_vec()
}

fn check(data: &[u8]) {
    let answer = exchange(&[data], Side::Closed);
    if let Some(status) = answer.get(9..12).filter(|_| answer.starts_with(b"HTTP/1.")) {
        let is_failure = status[0] == b'5' && ![&b"501"[..], b"503", b"505"].contains(&status);
        assert!(!is_failure, "{}", String::from_utf8_lossy(&answer));
    } else {
        assert!(answer.is_empty(), "no response: {}", String::from_utf8_lossy(&answer));
    }
    let request = b"GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let live = exchange(&[request], Side::Open);
    assert_eq!(
        response(&live).map(|(response, _)| response.status),
        Some(200),
        "the next client has no answer"
    );
}
