//! A request, the answer to it as the bytes that came, and the way between.

use std::time::Duration;

use serde_json::Value;

/// A request without host and key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Request {
    /// `GET`, `POST` or `DELETE`.
    pub method: &'static str,
    /// Path from the server's root, with a query if it has one.
    pub path: String,
    /// Headers besides host, key and length.
    pub headers: Vec<(&'static str, &'static str)>,
    /// Bytes of the body.
    pub body: Option<Vec<u8>>,
    /// Bytes of the answer after which the client closes the connection; `None` reads to the end.
    pub leave_after: Option<usize>,
    /// Sends a key that is not the user's.
    pub has_wrong_key: bool,
}

impl Request {
    /// A `GET`.
    pub fn get(path: &str) -> Request {
        let path = path.to_owned();
        Request {
            method: "GET",
            path,
            headers: Vec::new(),
            body: None,
            leave_after: None,
            has_wrong_key: false,
        }
    }

    /// A `POST` of JSON.
    pub fn post(path: &str, body: &Value) -> Request {
        Request::post_bytes(path, body.to_string().into_bytes())
    }

    /// A `POST` of bytes that are said to be JSON.
    pub fn post_bytes(path: &str, body: Vec<u8>) -> Request {
        let headers = vec![("content-type", "application/json")];
        Request { method: "POST", headers, body: Some(body), ..Request::get(path) }
    }

    /// The same with a header more.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &'static str) -> Request {
        self.headers.push((name, value));
        self
    }

    /// The same, whose client leaves after `n` bytes of the answer's body.
    #[must_use]
    pub fn leaving_after(mut self, n: usize) -> Request {
        self.leave_after = Some(n);
        self
    }

    /// The body as JSON, if it is.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(self.body.as_deref()?).ok()
    }
}

/// End of an answer's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// All of it came.
    Whole,
    /// The client left as the request says.
    Left,
    /// The connection broke, with the reason.
    Broken(String),
    /// The time for the request was over.
    TimedOut,
    /// There was more than a client takes.
    TooLong,
}

/// An answer as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// Bytes of the body.
    pub body: Vec<u8>,
    /// Pieces of the body: where each ends, and when it came after the request was sent. Ascending.
    pub pieces: Vec<(usize, Duration)>,
    /// End of the body.
    pub end: End,
}

impl Answer {
    /// The first header of a name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.0 == name).map(|header| header.1.as_str())
    }

    /// The body as text; bytes that are not UTF-8 are U+FFFD.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// When the byte at `offset` came, after the request was sent.
    pub fn time_of(&self, offset: usize) -> Duration {
        let i = self.pieces.partition_point(|piece| piece.0 <= offset);
        self.pieces.get(i).or(self.pieces.last()).map_or(Duration::ZERO, |piece| piece.1)
    }
}

/// A request without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// No connection.
    Unreachable(String),
    /// Nothing, or not all of a head, came in time.
    TimedOut(Duration),
    /// The bytes that came are no HTTP, or the connection ended before a head was there.
    Garbage(String),
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Broken::Unreachable(why) => write!(f, "no connection: {why}"),
            Broken::TimedOut(time) => write!(f, "no answer within {} s (`--timeout`)", time.as_secs_f64()),
            Broken::Garbage(why) => write!(f, "the answer is not HTTP: {why}"),
        }
    }
}

/// The way to a server.
pub trait Transport: Sync {
    /// Sends a request and reads the answer.
    ///
    /// # Errors
    /// There is no answer: no connection, no time left, or no HTTP.
    fn send(&self, request: &Request) -> Result<Answer, Broken>;
}
