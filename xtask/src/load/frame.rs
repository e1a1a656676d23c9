//! Most events of a stream differ in their text alone. What stands around it is compared as bytes with an event that
//! was parsed, and the text is scanned; so such an event is known to be right without parsing it.

/// What stands around the text.
#[derive(Debug, PartialEq)]
pub(super) struct Frame {
    before: Vec<u8>,
    after: Vec<u8>,
}

const KEY: &[u8] = b"\"content\":\"";

impl Frame {
    /// Of an event whose text is `text`; `None` if it stands there in a way that has to be parsed.
    pub(super) fn of(event: &[u8], text: &str) -> Option<Frame> {
        let start = KEY.len() + event.windows(KEY.len()).position(|bytes| bytes == KEY)?;
        let len = plain_string(&event[start..])?;
        let (before, rest) = event.split_at(start);
        // Another string with that key would not be the text, and an escape would be longer.
        (&rest[..len] == text.as_bytes())
            .then(|| Frame { before: before.to_vec(), after: rest[len..].to_vec() })
    }

    /// The text in the event, as it is written there; `None` if the event must be parsed.
    pub(super) fn text<'e>(&self, event: &'e [u8]) -> Option<&'e [u8]> {
        let rest = event.strip_prefix(&self.before[..])?;
        let len = plain_string(rest)?;
        let is_text = std::str::from_utf8(&rest[..len]).is_ok();
        (is_text && rest[len..] == self.after[..]).then_some(&rest[..len])
    }
}

/// Bytes before the quote that ends a JSON string; `None` if there is no such quote, a byte that may not be there, or
/// an escape by number, of which not all are right.
fn plain_string(bytes: &[u8]) -> Option<usize> {
    let mut i = 0;
    loop {
        match bytes.get(i)? {
            b'"' => return Some(i),
            b'\\' if matches!(bytes.get(i + 1)?, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                i += 2
            }
            b'\\' | 0..0x20 => return None,
            _ => i += 1,
        }
    }
}
