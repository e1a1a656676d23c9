//! Llama 3's expression and its kin:
//! `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`

use crate::class::{LETTER, MARK, NEWLINE, NUMBER, SPACE, at, run_end};

/// Where the kin differ.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    /// The most digits in a word.
    digits: usize,
    /// What words are made of: `\p{L}`, or `[\p{L}\p{M}]`.
    letters: u16,
    /// Line ends belong to the punctuation before them.
    newlines_join: bool,
    /// A contraction is a word of its own.
    contractions: bool,
}

/// Up to three digits.
pub(super) const LLAMA3: Words =
    Words { digits: 3, letters: LETTER, newlines_join: true, contractions: true };
/// Digits one by one.
pub(super) const QWEN2: Words = Words { digits: 1, ..LLAMA3 };
/// Combining marks are letters.
pub(super) const QWEN35: Words = Words { letters: LETTER | MARK, ..QWEN2 };
/// Punctuation leaves line ends alone.
pub(super) const SEED_CODER: Words = Words { newlines_join: false, ..QWEN2 };
/// All digits together.
pub(super) const MINICPM5: Words = Words { digits: usize::MAX, ..LLAMA3 };
/// Turkish puts suffixes behind an apostrophe.
pub(super) const UFAKZEKA: Words = Words { contractions: false, ..QWEN2 };

impl Words {
    /// Where the word at `pos` ends.
    #[inline]
    pub(super) fn word_end(&self, text: &str, pos: usize) -> usize {
        let bytes = text.as_bytes();
        let (class, len) = at(text, pos);
        if class & self.letters != 0 {
            return run_end(text, pos + len, self.letters);
        }
        if class & NUMBER != 0 {
            return digits_end(text, pos + len, self.digits - 1);
        }
        if self.contractions && bytes[pos] == b'\'' {
            let len = super::contraction(&bytes[pos..], |b| b.to_ascii_lowercase());
            if len > 0 {
                return pos + len;
            }
        }
        let (next, next_len) = at(text, pos + len);
        if next & self.letters != 0 && class & NEWLINE == 0 {
            return run_end(text, pos + len + next_len, self.letters);
        }
        let not_other = SPACE | NUMBER | self.letters;
        let other =
            if bytes[pos] == b' ' { next_len > 0 && next & not_other == 0 } else { class & SPACE == 0 };
        if other {
            let end = other_end(text, pos + len, not_other);
            return if self.newlines_join { run_end(text, end, NEWLINE) } else { end };
        }
        space_end(text, pos)
    }
}

/// `\p{N}{0,n}`
#[inline]
pub(super) fn digits_end(text: &str, mut pos: usize, n: usize) -> usize {
    for _ in 0..n {
        let (class, len) = at(text, pos);
        if class & NUMBER == 0 {
            break;
        }
        pos += len;
    }
    pos
}

/// The end of the run of characters that have none of the bits of `mask`.
#[inline]
pub(super) fn other_end(text: &str, mut pos: usize, mask: u16) -> usize {
    loop {
        let (class, len) = at(text, pos);
        if len == 0 || class & mask != 0 {
            return pos;
        }
        pos += len;
    }
}

/// `\s*[\r\n]+|\s+(?!\S)|\s+`: up to the last line end of the white space if it has one.
#[inline]
pub(super) fn space_end(text: &str, pos: usize) -> usize {
    let (mut end, mut last, mut after_newline) = (pos, pos, pos);
    loop {
        let (class, len) = at(text, end);
        if class & SPACE == 0 {
            return match () {
                () if after_newline > pos => after_newline,
                () if len == 0 || last == pos => end,
                () => last,
            };
        }
        last = end;
        end += len;
        if class & NEWLINE != 0 {
            after_newline = end;
        }
    }
}
