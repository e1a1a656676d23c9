//! SentencePiece BPE: characters merge to the token with the highest score; what is left without a token is
//! spelled in byte tokens.

use std::collections::BinaryHeap;

use inferno_format::Metadata;

use crate::bounds::{Meter, Reach, Stopped, reserve};
use crate::error::TokenizerError;
use crate::text_map::TextMap;
use crate::vocab::{TokenKind, Vocab, parse_byte, token_scores};

/// A vocabulary of scores.
#[derive(Debug)]
pub(crate) struct Spm {
    /// Ids of the tokens that text can lead to, by their text.
    words: TextMap,
    /// Score of each token, as an integer of the same order.
    scores: Vec<u32>,
    /// Token of each byte; `unknown` where there is none.
    bytes: [Option<u32>; 256],
    /// No token is longer, in bytes.
    longest: usize,
    /// No token has a space behind another character: none reaches into the next word, so words merge by themselves.
    by_words: bool,
    /// Text that follows nothing or a special token gets a space in front.
    pub(crate) add_space_prefix: bool,
}

/// A piece of the text on its way to being a token. Places and lengths are `u32`: see [`PART`].
#[derive(Debug, Clone, Copy)]
struct Symbol {
    start: u32,
    /// 0 once it is merged into the one on its left.
    len: u32,
    prev: u32,
    next: u32,
}

/// Two neighbours that made a token when they were found. Ordered by score, then by place, the leftmost first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    /// The score above the complement of the left one's place.
    order: u64,
    /// Of both together: another length later means that one has merged otherwise.
    len: u32,
}

const NONE: u32 = u32::MAX;

/// The most bytes that are merged at a time. No request is as long.
const PART: usize = 1 << 30;

/// Parts of more bytes are checked before they are merged.
const LONG_PART: usize = 1 << 14;

/// Merges between two questions whether the text is still wanted, which is some milliseconds.
const MERGES: u32 = 1 << 16;

/// Where the first word of `text` ends, with the spaces in front of it: before the first space behind another
/// character.
fn word_end(text: &str) -> usize {
    let word = text.trim_start_matches('\u{2581}');
    let spaces = text.len() - word.len();
    word.find('\u{2581}').map_or(text.len(), |end| spaces + end)
}

impl Spm {
    pub(crate) fn from_metadata(m: &Metadata, vocab: &mut Vocab) -> Result<Spm, TokenizerError> {
        let scores = token_scores(m, vocab.len())?;
        let add_space_prefix = m.opt_bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
        vocab.find_ends(m, |_| false);
        let mut bytes = [vocab.unknown; 256];
        let mut longest = 0;
        for id in vocab.ids() {
            let text = vocab.texts.get(id).unwrap_or_default();
            longest = longest.max(text.len());
            if let Some(byte) = parse_byte(text) {
                bytes[usize::from(byte)] = Some(id);
            }
        }
        // As SentencePiece has it, no text is a control, unknown or byte token.
        let from_text = |id: &u32| {
            matches!(
                vocab.kinds[*id as usize],
                TokenKind::Normal | TokenKind::UserDefined | TokenKind::Unused
            )
        };
        let by_words = !vocab.ids().filter(from_text).any(|id| {
            let text = vocab.texts.get(id).and_then(|text| std::str::from_utf8(text).ok());
            text.is_none_or(|text| word_end(text) < text.len())
        });
        let words = TextMap::new(&vocab.texts, vocab.ids().filter(from_text));
        let scores = scores.into_iter().map(in_order).collect();
        Ok(Spm { words, scores, bytes, longest, by_words, add_space_prefix })
    }

    /// Tells `reach` which bytes the model drops or covers differently.
    pub(crate) fn limit(&self, vocab: &Vocab, reach: &mut Reach) {
        // A byte for each of its own three.
        reach.stretches("\u{2581}");
        if self.add_space_prefix {
            for piece in vocab.ids().filter_map(|id| vocab.pieces.get(id)?.strip_prefix(b" ")) {
                reach.add(piece);
            }
        }
        for byte in (0..=255).filter(|&byte| self.bytes[usize::from(byte)].is_none()) {
            reach.vanishes(byte);
        }
    }

    /// Appends the tokens of `text`, which follows nothing or a special token if `is_start`, or as many as `meter` lets
    /// through.
    pub(crate) fn encode(
        &self,
        (vocab, reach): (&Vocab, &Reach),
        (text, is_start): (&str, bool),
        meter: &mut Meter<'_>,
        out: &mut Vec<u32>,
    ) {
        let mut escaped = String::new();
        if escaped.try_reserve(text.len() + text.len() / 2 + 3).is_err() {
            meter.stop(Stopped::OutOfMemory);
            return;
        }
        if self.add_space_prefix && is_start {
            escaped.push('\u{2581}');
        }
        for part in text.split_inclusive(' ') {
            match part.strip_suffix(' ') {
                Some(word) => escaped.extend([word, "\u{2581}"]),
                None => escaped.push_str(part),
            }
        }
        let mut rest = escaped.as_str();
        while !rest.is_empty() && meter.goes_on(out.len()) {
            let end = if self.by_words { word_end(rest) } else { rest.len() };
            let (part, after) = rest.split_at(rest.floor_char_boundary(end.min(PART)));
            if part.len() > LONG_PART {
                // The prefix may be a token that stands for nothing in the text, and spaces are three bytes here.
                let at_least = out.len() + reach.least(&part.replace('\u{2581}', " ")).saturating_sub(1);
                if at_least > out.len() + meter.left(out.len()) {
                    meter.stop(Stopped::TooMany { at_least });
                    return;
                }
                if !meter.takes_word(part.len()) {
                    return;
                }
            }
            self.encode_part(vocab, part, meter, out);
            rest = after;
        }
    }

    /// Appends the tokens of a part that no token reaches out of.
    fn encode_part(&self, vocab: &Vocab, text: &str, meter: &mut Meter<'_>, out: &mut Vec<u32>) {
        for symbol in self.merge(vocab, text, meter).iter().filter(|s| s.len > 0) {
            let text = &text.as_bytes()[symbol.start as usize..][..symbol.len as usize];
            match self.words.get(&vocab.texts, text) {
                Some(id) => out.push(id),
                None => out.extend(text.iter().filter_map(|&b| self.bytes[usize::from(b)])),
            }
        }
    }

    /// The symbols that `text` merges to; none if `meter` stops it.
    fn merge(&self, vocab: &Vocab, text: &str, meter: &mut Meter<'_>) -> Vec<Symbol> {
        let (mut symbols, mut pairs) = (Vec::new(), Vec::new());
        let n_chars = if text.len() > LONG_PART { text.chars().count() } else { text.len() };
        if !reserve(&mut symbols, n_chars, meter) || !reserve(&mut pairs, n_chars, meter) {
            return Vec::new();
        }
        symbols.extend((0u32..).zip(text.char_indices()).map(|(i, (start, c))| Symbol {
            start: start as u32,
            len: c.len_utf8() as u32,
            prev: i.wrapping_sub(1),
            next: i + 1,
        }));
        if let Some(last) = symbols.last_mut() {
            last.next = NONE;
        }
        let n = symbols.len() as u32;
        pairs.extend((0..n).filter_map(|i| self.pair(vocab, text, &symbols, i)));
        let mut pairs: BinaryHeap<Pair> = pairs.into();
        let mut n_merges: u32 = 0;
        while let Some(Pair { order, len }) = pairs.pop() {
            n_merges += 1;
            if n_merges.is_multiple_of(MERGES) && !meter.is_wanted() {
                return Vec::new();
            }
            let left = !(order as u32);
            let Symbol { len: left_len, prev, next: right, .. } = symbols[left as usize];
            if left_len == 0 || right == NONE || left_len + symbols[right as usize].len != len {
                continue;
            }
            let after = symbols[right as usize].next;
            symbols[right as usize].len = 0;
            symbols[left as usize].len = len;
            symbols[left as usize].next = after;
            if after != NONE {
                symbols[after as usize].prev = left;
            }
            pairs.extend(self.pair(vocab, text, &symbols, left));
            if prev != NONE {
                pairs.extend(self.pair(vocab, text, &symbols, prev));
            }
        }
        symbols
    }

    /// What the symbol at `left` and its right neighbour make, if it is a token.
    fn pair(&self, vocab: &Vocab, text: &str, symbols: &[Symbol], left: u32) -> Option<Pair> {
        let Symbol { start, len, next, .. } = symbols[left as usize];
        let len = len + symbols.get(next as usize)?.len;
        if len as usize > self.longest {
            return None;
        }
        let id = self.words.get(&vocab.texts, &text.as_bytes()[start as usize..][..len as usize])?;
        Some(Pair { order: u64::from(self.scores[id as usize]) << 32 | u64::from(!left), len })
    }
}

/// An integer that compares as the score does; NaN is below all.
fn in_order(score: f32) -> u32 {
    if score.is_nan() {
        return 0;
    }
    let bits = (score + 0.0).to_bits(); // -0 becomes 0
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

#[cfg(test)]
mod tests;
