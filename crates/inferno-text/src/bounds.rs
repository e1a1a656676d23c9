//! Encoding a stranger's text: no more work than the answer is worth.

use crate::tokenizer::Tokenizer;

/// Limits of an encoding ([`Tokenizer::encode_within`]).
#[derive(Clone, Copy)]
pub struct Bounds<'a> {
    /// Tokens beyond which the encoding stops.
    pub tokens: usize,
    /// Bytes of a word, which is merged as a whole and takes some 30 bytes of memory for each of its own. Words are what
    /// the pre-tokenizer leaves: a run of spaces is one.
    pub word: usize,
    /// Asked every few milliseconds; true stops the encoding.
    pub is_cancelled: &'a dyn Fn() -> bool,
}

/// An encoding that stopped before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// More tokens than [`Bounds::tokens`].
    #[error("the text has at least {at_least} tokens")]
    TooMany {
        /// Tokens of the text, at least.
        at_least: usize,
    },
    /// A longer word than [`Bounds::word`].
    #[error("the text has a run of {n_bytes} bytes that cannot be cut into words, expected at most {limit}")]
    Word {
        /// Its length.
        n_bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// [`Bounds::is_cancelled`] said so.
    #[error("the encoding was cancelled")]
    Cancelled,
    /// No memory for the tokens of a text or for the symbols of a word.
    #[error("there is not enough memory to encode the text")]
    OutOfMemory,
}

impl std::fmt::Debug for Bounds<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bounds")
            .field("tokens", &self.tokens)
            .field("word", &self.word)
            .finish_non_exhaustive()
    }
}

impl Bounds<'_> {
    /// No limits.
    pub const NONE: Bounds<'static> =
        Bounds { tokens: usize::MAX, word: usize::MAX, is_cancelled: &|| false };
}

/// Tokens between two looks at the limits.
const TOKENS: usize = 1 << 14;

/// The state of an encoding with bounds.
#[derive(Debug)]
pub(crate) struct Meter<'a> {
    bounds: Bounds<'a>,
    /// Number of tokens at which the limits are looked at next.
    due: usize,
    stopped: Option<Stopped>,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(bounds: Bounds<'a>) -> Meter<'a> {
        Meter { bounds, due: 0, stopped: None }
    }

    /// Whether an encoding that has made `n_tokens` goes on.
    #[inline]
    pub(crate) fn goes_on(&mut self, n_tokens: usize) -> bool {
        n_tokens < self.due || self.check(n_tokens)
    }

    #[cold]
    fn check(&mut self, n_tokens: usize) -> bool {
        if self.stopped.is_some() {
            return false;
        }
        if n_tokens > self.bounds.tokens {
            return self.stop(Stopped::TooMany { at_least: n_tokens });
        }
        self.due = n_tokens.saturating_add(TOKENS).min(self.bounds.tokens.saturating_add(1));
        self.is_wanted()
    }

    /// Asks whether the encoding is cancelled; false if it is.
    pub(crate) fn is_wanted(&mut self) -> bool {
        !(self.bounds.is_cancelled)() || self.stop(Stopped::Cancelled)
    }

    /// Whether a word of `n_bytes` may be merged.
    pub(crate) fn takes_word(&mut self, n_bytes: usize) -> bool {
        let limit = self.bounds.word;
        n_bytes <= limit || self.stop(Stopped::Word { n_bytes, limit })
    }

    /// Tokens that may still be made by an encoding that has made `n_tokens`.
    pub(crate) fn left(&self, n_tokens: usize) -> usize {
        self.bounds.tokens.saturating_sub(n_tokens)
    }

    /// Ends the encoding. The first reason counts.
    pub(crate) fn stop(&mut self, reason: Stopped) -> bool {
        self.stopped.get_or_insert(reason);
        self.due = 0;
        false
    }

    pub(crate) fn has_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    pub(crate) fn finish(self) -> Result<(), Stopped> {
        self.stopped.map_or(Ok(()), Err)
    }
}

/// Room for `n` more values, or the end of the encoding.
pub(crate) fn reserve<T>(values: &mut Vec<T>, n: usize, meter: &mut Meter<'_>) -> bool {
    values.try_reserve(n).is_ok() || meter.stop(Stopped::OutOfMemory)
}

/// For every two bytes the length of the longest token that starts with them, in bytes of text: from it follows how few
/// tokens a text can have, long before they are known.
#[derive(Debug)]
pub(crate) struct Reach {
    /// (256 * 256,), by first and second byte; at least 1.
    longest: Vec<u16>,
    /// By byte: no token stands for it, and it leaves none.
    vanishes: [bool; 256],
    /// Texts of which nothing can be said hold one of these.
    stretches: Option<memchr::memmem::Finder<'static>>,
    /// Nothing can be said of any text.
    is_blind: bool,
}

impl Reach {
    /// `pieces` are the bytes that tokens stand for in a text.
    pub(crate) fn new<'p>(pieces: impl Iterator<Item = &'p [u8]>) -> Reach {
        let mut reach =
            Reach { longest: vec![1; 1 << 16], vanishes: [false; 256], stretches: None, is_blind: false };
        for piece in pieces {
            reach.add(piece);
        }
        reach
    }

    pub(crate) fn add(&mut self, piece: &[u8]) {
        let len = u16::try_from(piece.len()).unwrap_or(u16::MAX);
        if let [first, second, ..] = *piece {
            let longest = &mut self.longest[usize::from(first) << 8 | usize::from(second)];
            *longest = len.max(*longest);
        }
    }

    /// No token stands for `byte`.
    pub(crate) fn vanishes(&mut self, byte: u8) {
        self.vanishes[usize::from(byte)] = true;
    }

    /// Occurrences of `text` can be covered by fewer bytes of a token.
    pub(crate) fn stretches(&mut self, text: &str) {
        self.stretches = Some(memchr::memmem::Finder::new(text).into_owned());
    }

    /// Bytes can be covered by no token.
    pub(crate) fn blind(&mut self) {
        self.is_blind = true;
    }

    /// The fewest tokens that `text` can have. It takes about 2 ns a byte.
    pub(crate) fn least(&self, text: &str) -> usize {
        let bytes = text.as_bytes();
        if self.is_blind || self.stretches.as_ref().is_some_and(|finder| finder.find(bytes).is_some()) {
            return 0;
        }
        // Of all ways to cover the text with tokens that are as long as they can be at their place:
        // `end` is as far as `n` of them get, `far` as far as one more gets.
        let (mut n, mut end, mut far) = (0, 0, 0);
        for (i, &byte) in bytes.iter().enumerate() {
            let second = bytes.get(i + 1).copied().unwrap_or(0);
            let longest = self.longest[usize::from(byte) << 8 | usize::from(second)];
            far = far.max(i + usize::from(longest));
            if i == end {
                if self.vanishes[usize::from(byte)] {
                    end = i + 1;
                } else {
                    n += 1;
                    end = far;
                }
            }
        }
        n
    }
}

impl Tokenizer {
    /// The fewest tokens that `text` can have, by the lengths of the vocabulary's tokens: no more than
    /// [`encode`](Self::encode) makes of it. It takes about 2 ns a byte.
    pub fn least_tokens(&self, text: &str) -> usize {
        self.reach.least(text)
    }
}

#[cfg(test)]
mod tests;
