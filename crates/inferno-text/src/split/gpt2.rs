//! `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

use crate::class::{LETTER, NUMBER, SPACE, at};

/// Where the word at `pos` ends.
#[inline]
pub(super) fn word_end(text: &str, pos: usize) -> usize {
    let bytes = text.as_bytes();
    if bytes[pos] == b'\'' {
        let len = super::contraction(&bytes[pos..], |b| b);
        if len > 0 {
            return pos + len;
        }
    }
    let start = pos + usize::from(bytes[pos] == b' ');
    let (class, len) = at(text, start);
    if len == 0 || class & SPACE != 0 {
        return super::whitespace_end(text, pos);
    }
    let kind = class & (LETTER | NUMBER);
    let mut end = start + len;
    loop {
        let (class, len) = at(text, end);
        if len == 0 || class & SPACE != 0 || class & (LETTER | NUMBER) != kind {
            return end;
        }
        end += len;
    }
}
