//! Expressions that start a word at a capital:
//! `[^\r\n\p{L}\p{N}]?U*W+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?U+W*(?i:'s|…)?|\p{N}{1,3}|`
//! ` ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
//! with U = `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]` and W = `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`.

use super::words::{digits_end, other_end, space_end};
use crate::class::{HAN, LETTER, LOWER, NEWLINE, NUMBER, SPACE, UPPER, at, run_end};

/// Where the expressions differ.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cased {
    /// The most digits in a word.
    digits: usize,
    /// A contraction stays with its word.
    contractions: bool,
    /// Slashes behind line ends belong to the punctuation before them.
    slashes: bool,
    /// `[\p{Han}]+` is a word before all else, and `\p{Han}` is neither in U nor in W.
    han: bool,
}

pub(super) const GPT4O: Cased = Cased { digits: 3, contractions: true, slashes: true, han: false };
pub(super) const TEKKEN: Cased = Cased { digits: 1, contractions: false, ..GPT4O };
pub(super) const YOUTU: Cased = Cased { digits: 1, ..GPT4O };
pub(super) const KIMI: Cased = Cased { slashes: false, han: true, ..GPT4O };

impl Cased {
    /// Where the word at `pos` ends.
    pub(super) fn word_end(&self, text: &str, pos: usize) -> usize {
        let (class, len) = at(text, pos);
        if self.han && class & HAN != 0 {
            return run_end(text, pos, HAN);
        }
        let may_lead = class & (NEWLINE | LETTER | NUMBER) == 0;
        // The order of a backtracking engine: each alternative first with the leading character, then without.
        let found = None
            .or_else(|| may_lead.then(|| self.small(text, pos + len)).flatten())
            .or_else(|| self.small(text, pos))
            .or_else(|| may_lead.then(|| self.capitals(text, pos + len)).flatten())
            .or_else(|| self.capitals(text, pos));
        if let Some(end) = found {
            let rest = &text.as_bytes()[end..];
            let fold = |b: u8| b.to_ascii_lowercase();
            return end + if self.contractions { super::contraction(rest, fold) } else { 0 };
        }
        if class & NUMBER != 0 {
            return digits_end(text, pos + len, self.digits - 1);
        }
        let start = pos + usize::from(text.as_bytes()[pos] == b' ');
        let end = other_end(text, start, SPACE | LETTER | NUMBER);
        if end > start {
            let is_tail = |b: &u8| matches!(b, b'\r' | b'\n') || self.slashes && *b == b'/';
            return end + text.as_bytes()[end..].iter().take_while(|b| is_tail(b)).count();
        }
        space_end(text, pos)
    }

    /// `U*W+`. U and W overlap: U* takes all it can, and gives back to the last character that is also W.
    fn small(&self, text: &str, start: usize) -> Option<usize> {
        let (mut pos, mut given_back) = (start, None);
        loop {
            let (class, len) = at(text, pos);
            if !self.is_in(class, UPPER) {
                let end = self.run_end(text, pos, LOWER);
                return if end > pos { Some(end) } else { given_back };
            }
            pos += len;
            if class & LOWER != 0 {
                given_back = Some(pos);
            }
        }
    }

    /// `U+W*`, where no `U*W+` matches: there is no W in the run.
    fn capitals(&self, text: &str, start: usize) -> Option<usize> {
        let end = self.run_end(text, start, UPPER);
        (end > start).then(|| self.run_end(text, end, LOWER))
    }

    fn is_in(&self, class: u16, mask: u16) -> bool {
        class & mask != 0 && !(self.han && class & HAN != 0)
    }

    fn run_end(&self, text: &str, mut pos: usize, mask: u16) -> usize {
        loop {
            let (class, len) = at(text, pos);
            if !self.is_in(class, mask) {
                return pos;
            }
            pos += len;
        }
    }
}
