//! Rust text told apart into code, literals and comments, in one pass and without parsing.

use std::ops::Range;

use super::{Finding, line_of};

/// A Rust file in four views of equal length: what a view leaves out is spaces, so that offsets and lines agree.
pub(super) struct Rust<'a> {
    pub path: &'a str,
    pub text: &'a str,
    /// Neither comments nor string and character literals.
    pub code: String,
    /// No comments.
    pub uncommented: String,
    /// Nothing but comments.
    pub comments: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Literal,
    Comment,
}

impl<'a> Rust<'a> {
    pub(super) fn scan(path: &'a str, text: &'a str) -> Self {
        let mut tokens = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let (kind, end) = token(text.as_bytes(), at);
            let end = end.min(text.len());
            tokens.push((kind, at..end));
            at = end;
        }
        let view = |kept: &[Kind]| {
            let mut view = String::with_capacity(text.len());
            for (kind, range) in &tokens {
                let part = &text[range.clone()];
                if kept.contains(kind) {
                    view.push_str(part);
                } else {
                    view.extend(part.bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }));
                }
            }
            view
        };
        Rust {
            path,
            text,
            code: view(&[Kind::Code]),
            uncommented: view(&[Kind::Code, Kind::Literal]),
            comments: view(&[Kind::Comment]),
        }
    }

    pub(super) fn finding(&self, offset: usize, rule: &'static str, advice: impl Into<String>) -> Finding {
        Finding { file: self.path.to_owned(), line: line_of(self.text, offset), rule, advice: advice.into() }
    }

    /// What stands under `#[cfg(test)]`.
    pub(super) fn test_items(&self) -> Vec<Range<usize>> {
        let marks = ["#[cfg(test)]", "#[cfg(all(test,"];
        let starts = marks.iter().flat_map(|mark| self.code.match_indices(mark));
        starts.map(|(start, _)| start..self.item_end(start)).collect()
    }

    /// The end of the item that starts at `start`: its first `;`, or the `}` of its first `{`.
    pub(super) fn item_end(&self, start: usize) -> usize {
        let mut depth = 0;
        for (i, b) in self.code.bytes().enumerate().skip(start) {
            match b {
                b'{' => depth += 1,
                b'}' if depth <= 1 => return i + 1,
                b'}' => depth -= 1,
                b';' if depth == 0 => return i + 1,
                _ => {}
            }
        }
        self.code.len()
    }
}

/// Runs of letters, digits and `_`, with their offsets.
pub(super) fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = 0;
    std::iter::from_fn(move || {
        let start = rest + text[rest..].find(is_word_char)?;
        let len = text[start..].find(|c| !is_word_char(c)).unwrap_or(text.len() - start);
        rest = start + len;
        Some((start, &text[start..rest]))
    })
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// What starts at `at`, and the first byte behind it (which may lie beyond the end of an unfinished file).
fn token(t: &[u8], at: usize) -> (Kind, usize) {
    let after = |mut i: usize, stop: &dyn Fn(usize) -> bool| {
        while i < t.len() && !stop(i) {
            i += 1;
        }
        i
    };
    match t[at] {
        b'/' if t[at..].starts_with(b"//") => (Kind::Comment, after(at, &|i| t[i] == b'\n')),
        b'/' if t[at..].starts_with(b"/*") => (Kind::Comment, block_comment_end(t, at)),
        b'"' => (Kind::Literal, string_end(t, at)),
        b'\'' => char_end(t, at).map_or((Kind::Code, at + 1), |end| (Kind::Literal, end)),
        b if is_word_byte(b) => {
            let end = after(at, &|i| !is_word_byte(t[i]));
            let quote = after(end, &|i| t[i] != b'#');
            // `r#type` is a name, `r#"text"#` is not.
            if matches!(&t[at..end], b"r" | b"br" | b"cr") && t.get(quote) == Some(&b'"') {
                let close: Vec<u8> = [b"\"", &t[end..quote]].concat();
                (Kind::Literal, after(quote + 1, &|i| t[i..].starts_with(&close)) + close.len())
            } else {
                (Kind::Code, end)
            }
        }
        _ => (Kind::Code, at + 1),
    }
}

/// Any byte of a character beyond ASCII counts, so that a token never ends inside of one.
fn is_word_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80
}

fn block_comment_end(t: &[u8], at: usize) -> usize {
    let mut depth = 0;
    let mut i = at;
    while i < t.len() {
        if t[i..].starts_with(b"/*") {
            depth += 1;
            i += 2;
        } else if t[i..].starts_with(b"*/") {
            depth -= 1;
            i += 2;
            if depth == 0 {
                break;
            }
        } else {
            i += 1;
        }
    }
    i
}

fn string_end(t: &[u8], at: usize) -> usize {
    let mut i = at + 1;
    while i < t.len() && t[i] != b'"' {
        i += if t[i] == b'\\' { 2 } else { 1 };
    }
    i + 1
}

/// `None` for the quote of a lifetime or a label.
fn char_end(t: &[u8], at: usize) -> Option<usize> {
    let first = *t.get(at + 1)?;
    if first == b'\\' {
        // The byte behind the backslash is not the end, even if it is a quote.
        return Some(at + 4 + t.get(at + 3..)?.iter().position(|&b| b == b'\'')?);
    }
    let len = match first {
        0..0x80 => 1,
        0x80..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0.. => 4,
    };
    (t.get(at + 1 + len) == Some(&b'\'')).then_some(at + len + 2)
}
