//! As much of HTTP/1.1 as a client of a local server needs: RFC 9112, bodies by length, in chunks, or until the end.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The head of a response is smaller than this.
const MOST_HEAD: usize = 64 << 10;

pub(crate) struct Connection {
    stream: BufReader<Timed>,
}

/// A socket that may have a time at which nothing more is read.
pub(crate) struct Timed {
    stream: TcpStream,
    deadline: Option<Instant>,
}

impl Read for Timed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let Some(deadline) = self.deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
        }
        self.stream.read(into)
    }
}

impl Connection {
    /// Waits at most `patience` for the connection, and later for every byte.
    pub(crate) fn open(address: SocketAddr, patience: Duration) -> io::Result<Connection> {
        let stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let timed = Timed { stream, deadline: None };
        Ok(Connection { stream: BufReader::with_capacity(4 << 10, timed) })
    }

    /// From then on nothing is read; `patience` no longer counts.
    pub(crate) fn end_at(&mut self, deadline: Instant) {
        self.stream.get_mut().deadline = Some(deadline);
    }

    pub(crate) fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.stream.get_mut().stream.write_all(request)
    }

    pub(crate) fn head(&mut self) -> io::Result<Head> {
        Head::read(&mut self.stream)
    }

    pub(crate) fn body(&mut self, head: &Head) -> io::Result<Body<'_, BufReader<Timed>>> {
        Body::new(&mut self.stream, head)
    }
}

/// A request with a JSON body, or none. `connection` is `keep-alive` or `close`.
pub(crate) fn request(method: &str, path: &str, connection: &str, body: &str) -> Vec<u8> {
    let content = match body.is_empty() {
        true => String::new(),
        false => format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()),
    };
    format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: {connection}\r\n{content}\r\n{body}")
        .into_bytes()
}

#[derive(Debug, PartialEq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
}

impl Head {
    pub(crate) fn read(from: &mut impl BufRead) -> io::Result<Head> {
        let mut from = from.take(MOST_HEAD as u64);
        let line = line(&mut from)?;
        let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| wrong(format!("`{line}` is not a status line of HTTP/1.1")))?;
        let mut headers = Vec::new();
        loop {
            let line = self::line(&mut from)?;
            if line.is_empty() {
                return Ok(Head { status, headers });
            }
            let (name, value) =
                line.split_once(':').ok_or_else(|| wrong(format!("`{line}` is not a header field")))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.0 == name).map(|header| header.1.as_str())
    }

    /// May another request follow, once the body is read?
    pub(crate) fn keeps_alive(&self) -> bool {
        let closes = self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        !closes && (self.is_chunked() || self.header("content-length").is_some())
    }

    fn is_chunked(&self) -> bool {
        self.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    }
}

/// The body of a response; at its end there is nothing to read.
pub(crate) struct Body<'a, R> {
    from: &'a mut R,
    rest: Rest,
}

/// What is left of a body.
enum Rest {
    Bytes(u64),
    /// Of this chunk. `None` before the first one.
    Chunks(Option<u64>),
    UntilClose,
}

impl<'a, R: BufRead> Body<'a, R> {
    pub(crate) fn new(from: &'a mut R, head: &Head) -> io::Result<Body<'a, R>> {
        let rest = match head.header("content-length") {
            _ if head.is_chunked() => Rest::Chunks(None),
            Some(n) => Rest::Bytes(n.parse().map_err(|_| wrong(format!("`{n}` is not a content-length")))?),
            None => Rest::UntilClose,
        };
        Ok(Body { from, rest })
    }

    /// The whole body as text.
    pub(crate) fn text(mut self) -> io::Result<String> {
        let mut text = String::new();
        self.read_to_string(&mut text)?;
        Ok(text)
    }

    /// The size of the next chunk, behind the end of the last one.
    fn next_chunk(&mut self) -> io::Result<u64> {
        if matches!(self.rest, Rest::Chunks(Some(_))) && !line(self.from)?.is_empty() {
            return Err(wrong("a chunk is longer than it says".into()));
        }
        let line = line(self.from)?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let n =
            u64::from_str_radix(digits, 16).map_err(|_| wrong(format!("`{line}` is not a chunk size")))?;
        if n == 0 {
            while !self::line(self.from)?.is_empty() {}
        }
        Ok(n)
    }
}

impl<R: BufRead> BufRead for Body<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if matches!(self.rest, Rest::Chunks(None | Some(0))) {
            self.rest = match self.next_chunk()? {
                0 => Rest::Bytes(0),
                n => Rest::Chunks(Some(n)),
            };
        }
        let n = match self.rest {
            Rest::Bytes(0) => return Ok(&[]),
            Rest::Bytes(n) | Rest::Chunks(Some(n)) => n,
            Rest::Chunks(None) | Rest::UntilClose => return self.from.fill_buf(),
        };
        let bytes = self.from.fill_buf()?;
        if bytes.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended within a body"));
        }
        Ok(&bytes[..bytes.len().min(usize::try_from(n).unwrap_or(usize::MAX))])
    }

    fn consume(&mut self, n: usize) {
        self.from.consume(n);
        if let Rest::Bytes(left) | Rest::Chunks(Some(left)) = &mut self.rest {
            *left -= n as u64;
        }
    }
}

impl<R: BufRead> Read for Body<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(into)?;
        self.consume(n);
        Ok(n)
    }
}

/// A line without its end.
fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    match line.pop() {
        Some('\n') => {}
        _ => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended within a head")),
    }
    if line.ends_with('\r') {
        line.pop();
    }
    Ok(line)
}

fn wrong(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
