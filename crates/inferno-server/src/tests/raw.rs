//! Bytes in, bytes out: what connections do that no client's library would.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::harness::{PATIENCE, Reply, Server, read_reply};

/// How a connection ends that has sent its bytes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    /// An answer that is no error.
    Fine(u16),
    /// OpenAI's error object, with this code.
    Error(u16, &'static str),
    /// A status line alone: what came was no HTTP.
    Bare(u16),
    /// No answer.
    Closed,
}

pub(super) use Outcome::{Bare, Closed, Error, Fine};

/// What a connection sends, and what comes of it.
pub(super) type Case = (&'static str, Vec<u8>, Outcome);

/// Runs every case on a connection of its own; after each the server is as well as before.
#[track_caller]
pub(super) fn check(server: &Server, cases: Vec<Case>) {
    let mut wrong = Vec::new();
    for (name, bytes, expected) in cases {
        let reply = talk(server, &bytes);
        let found = outcome(reply.as_ref());
        if found.as_ref() != Ok(&expected) {
            wrong.push(format!("{name}: expected {expected:?}, found {found:?}"));
        }
        check_well(server);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The server answers, and nothing is left of what was before.
#[track_caller]
pub(super) fn check_well(server: &Server) {
    assert_eq!(server.get("/health").status, 200);
    server.wait_until(Server::is_idle);
}

/// Sends bytes, and reads an answer if there is one.
pub(super) fn talk(server: &Server, bytes: &[u8]) -> Option<Reply> {
    let mut stream = server.connect();
    // The answer may come before all is sent.
    let _ = stream.write_all(bytes);
    reply(stream)
}

/// The answer on a connection, if there is one before its end.
pub(super) fn reply(stream: TcpStream) -> Option<Reply> {
    match read_reply(&mut BufReader::new(stream)) {
        Ok(reply) => Some(reply),
        Err(error) => {
            assert!(error.kind() != std::io::ErrorKind::WouldBlock, "neither an answer nor an end");
            None
        }
    }
}

/// An answer as an outcome, or what is wrong with it.
pub(super) fn outcome(reply: Option<&Reply>) -> Result<Outcome, String> {
    let Some(reply) = reply else { return Ok(Closed) };
    if reply.status < 400 {
        return Ok(Fine(reply.status));
    }
    if reply.body.is_empty() {
        return Ok(Bare(reply.status));
    }
    let text = String::from_utf8_lossy(&reply.body);
    let body: Value = serde_json::from_str(&text).map_err(|e| format!("{}: {e}: {text}", reply.status))?;
    let error = &body["error"];
    let is_openai = error["message"].as_str().is_some_and(|m| !m.is_empty())
        && error["type"].is_string()
        && (error["param"].is_null() || error["param"].is_string())
        && (error["code"].is_null() || error["code"].is_string())
        && reply.header("content-type") == Some("application/json");
    let code = error["code"].as_str().unwrap_or("");
    match is_openai {
        true => Ok(Error(reply.status, code.to_owned().leak())),
        false => Err(format!("{}: no error object: {text}", reply.status)),
    }
}

/// A connection that takes few bytes at a time.
pub(super) fn narrow(address: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(address).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Ends a connection as a program does that dies: what the server sends next is answered with a reset.
pub(super) fn reset(stream: TcpStream) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        stream.set_nonblocking(true).unwrap();
        let stream = tokio::net::TcpStream::from_std(stream).unwrap();
        stream.set_zero_linger().unwrap();
    });
}

/// A request without a body.
pub(super) fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Connection: close\r\n\r\n").into_bytes()
}

/// A request to `/tokenize` whose body is `body`.
pub(super) fn tokenize(body: impl AsRef<[u8]>) -> Vec<u8> {
    tokenize_with("", body)
}

/// The same with more headers.
pub(super) fn tokenize_with(headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let n = body.len();
    let head = format!(
        "POST /tokenize HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {n}\r\nConnection: close\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// A request to `/tokenize` whose body comes in chunks, as they are written on the wire.
pub(super) fn chunked(headers: &str, chunks: &str) -> Vec<u8> {
    format!(
        "POST /tokenize HTTP/1.1\r\nHost: localhost\r\n{headers}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
         {chunks}"
    )
    .into_bytes()
}
