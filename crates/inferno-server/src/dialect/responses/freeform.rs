//! The input of a custom tool's call, out of the arguments `{"input": "…"}` that the model writes.

use std::mem;

/// Decodes the string of `input` as it comes. Arguments of another form are taken as they are.
#[derive(Debug, Default)]
pub(super) struct Freeform {
    state: State,
    /// Text that is not decoded: a head or an escape that is not whole.
    rest: String,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum State {
    /// In front of the string.
    #[default]
    Head,
    String,
    /// Behind the string.
    Behind,
    /// The arguments have another form.
    Other,
}

/// Tokens in front of the string, between which there may be blanks.
const HEAD: [&str; 4] = ["{", "\"input\"", ":", "\""];

impl Freeform {
    /// Takes more of the arguments. Returns more of the input.
    pub(super) fn push(&mut self, text: &str) -> String {
        self.rest.push_str(text);
        if self.state == State::Head {
            match behind_head(&self.rest) {
                Head::Partial => return String::new(),
                Head::Whole(n) => {
                    self.rest.drain(..n);
                    self.state = State::String;
                }
                Head::Other => self.state = State::Other,
            }
        }
        match self.state {
            State::String => self.decode(),
            State::Other => mem::take(&mut self.rest),
            State::Head | State::Behind => String::new(),
        }
    }

    fn decode(&mut self) -> String {
        let mut out = String::with_capacity(self.rest.len());
        let mut at = 0;
        while let Some(n) = self.rest[at..].find(['\\', '"']) {
            out.push_str(&self.rest[at..at + n]);
            at += n;
            if self.rest[at..].starts_with('"') {
                self.state = State::Behind;
                self.rest.clear();
                return out;
            }
            let Some((c, n)) = escape(&self.rest[at..]) else {
                self.rest.drain(..at);
                return out;
            };
            out.push(c);
            at += n;
        }
        out.push_str(&self.rest[at..]);
        self.rest.clear();
        out
    }
}

enum Head {
    Partial,
    /// The string begins behind this number of bytes.
    Whole(usize),
    Other,
}

fn behind_head(text: &str) -> Head {
    let mut rest = text;
    for token in HEAD {
        rest = rest.trim_start();
        match rest.strip_prefix(token) {
            Some(behind) => rest = behind,
            None if token.starts_with(rest) => return Head::Partial,
            None => return Head::Other,
        }
    }
    Head::Whole(text.len() - rest.len())
}

/// The character of the escape that `text` begins with, and its length; `None` where it is not whole.
fn escape(text: &str) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let c = match text.as_bytes().get(1)? {
        b'n' => '\n',
        b't' => '\t',
        b'r' => '\r',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'u' if text.len() < 6 => return None,
        b'u' => {
            let high = unit(0).unwrap_or(0xfffd);
            let goes_on = b"\\u".starts_with(&text.as_bytes()[6..text.len().min(8)]);
            if (0xd800..0xdc00).contains(&high) && goes_on && text.len() < 12 {
                return None;
            }
            let pair = unit(6).filter(|low| (0xdc00..0xe000).contains(low)).map(|low| [high, low]);
            if let Some(Ok(c)) = pair.and_then(|pair| char::decode_utf16(pair).next()) {
                return Some((c, 12));
            }
            return Some((char::from_u32(high.into()).unwrap_or(char::REPLACEMENT_CHARACTER), 6));
        }
        _ => text[1..].chars().next()?,
    };
    Some((c, 1 + c.len_utf8()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_is_that_of_the_arguments_however_they_are_cut() {
        for input in ["", "*** Begin Patch\n\t\"a\\b\" /é", "\u{1f600}\u{0}\u{7f}x", "ends with \\"] {
            let ascii = |text: &str| -> String {
                let unit = |unit: u16| match u8::try_from(unit).map(char::from) {
                    Ok(c @ (' ' | 'a'..='z')) => c.to_string(),
                    _ => format!("\\u{unit:04x}"),
                };
                text.encode_utf16().map(unit).collect()
            };
            let json = serde_json::to_string(input).unwrap();
            for arguments in [
                format!("{{\"input\":{json}}}"),
                format!(" {{ \"input\" : {json} }}\n"),
                format!("{{\"input\": \"{}\"}}", ascii(input)),
            ] {
                for size in 1..=arguments.len() {
                    let chars: Vec<char> = arguments.chars().collect();
                    let mut freeform = Freeform::default();
                    let pieces = chars.chunks(size).map(|piece| freeform.push(&String::from_iter(piece)));
                    assert_eq!(pieces.collect::<String>(), input, "{arguments} by {size}");
                }
            }
        }
    }

    #[test]
    fn other_arguments_are_taken_as_they_are() {
        for arguments in ["{\"text\": \"a\"}", "*** Begin", "{}", "{\"input\": 3}"] {
            let mut freeform = Freeform::default();
            let pieces = arguments.chars().map(|c| freeform.push(&c.to_string()));
            assert_eq!(pieces.collect::<String>(), arguments);
        }
    }

    #[test]
    fn half_a_surrogate_is_no_character() {
        let mut freeform = Freeform::default();
        assert_eq!(freeform.push("{\"input\": \"\\ud83dx\\udc00\\ud83d\\n"), "\u{fffd}x\u{fffd}\u{fffd}\n");
    }
}
