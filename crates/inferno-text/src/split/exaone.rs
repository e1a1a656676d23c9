//! `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|`
//! `\s*[\r\n]|\s+(?!\S)|\s+`: words with single spaces between them are one.

use super::words::{other_end, space_end};
use crate::class::{LETTER, MARK, NEWLINE, NUMBER, SPACE, at};

/// Where the word at `pos` ends.
pub(super) fn word_end(text: &str, pos: usize) -> usize {
    let bytes = text.as_bytes();
    if bytes[pos] == b'\'' {
        let len = super::contraction(&bytes[pos..], |b| b.to_ascii_lowercase());
        if len > 0 {
            return pos + len;
        }
    }
    let (class, len) = at(text, pos);
    let start = if class & (NEWLINE | LETTER | NUMBER) == 0 { pos + len } else { pos };
    if at(text, start).0 & LETTER != 0 {
        return phrase_end(text, start);
    }
    if class & NUMBER != 0 {
        return pos + len;
    }
    let start = pos + usize::from(bytes[pos] == b' ');
    let end = other_end(text, start, SPACE | LETTER | NUMBER);
    if end > start {
        return end + usize::from(matches!(bytes.get(end), Some(b'\r' | b'\n')));
    }
    space_end(text, pos)
}

/// The end of letters, their marks, and single spaces before letters.
fn phrase_end(text: &str, mut pos: usize) -> usize {
    loop {
        let (class, len) = at(text, pos);
        if class & (LETTER | MARK) != 0 {
            pos += len;
        } else if text.as_bytes().get(pos) == Some(&b' ') && at(text, pos + 1).0 & LETTER != 0 {
            pos += 1;
        } else {
            return pos;
        }
    }
}
