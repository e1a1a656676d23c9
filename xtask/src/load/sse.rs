//! Server-sent events: lines `data: ..`, an empty line at the end of each event, lines that start with `:` are comments.

use std::io::{self, BufRead};

pub(crate) struct Events<R> {
    from: R,
    line: Vec<u8>,
    data: Vec<u8>,
}

impl<R: BufRead> Events<R> {
    pub(crate) fn new(from: R) -> Events<R> {
        Events { from, line: Vec::new(), data: Vec::new() }
    }

    /// The data of the next event; `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        self.data.clear();
        let mut has_data = false;
        loop {
            self.line.clear();
            if self.from.read_until(b'\n', &mut self.line)? == 0 {
                return match has_data {
                    true => Err(wrong("the stream ended within an event".into())),
                    false => Ok(None),
                };
            }
            let Some(line) = self.line.strip_suffix(b"\n") else {
                return Err(wrong(format!(
                    "the stream ended within `{}`",
                    String::from_utf8_lossy(&self.line)
                )));
            };
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() && has_data {
                return Ok(Some(&self.data));
            } else if let Some(data) = line.strip_prefix(b"data:") {
                if has_data {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
                has_data = true;
            } else if !is_ignored(line) {
                return Err(wrong(format!("`{}` is not a line of an event", String::from_utf8_lossy(line))));
            }
        }
    }
}

fn is_ignored(line: &[u8]) -> bool {
    line.is_empty() || [&b":"[..], b"event:", b"id:", b"retry:"].iter().any(|start| line.starts_with(start))
}

fn wrong(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
