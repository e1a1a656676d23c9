//! SentencePiece BPE: characters merge to the token with the highest score; what is left without a token is
//! spelled in byte tokens.

use std::collections::BinaryHeap;

use inferno_format::Metadata;

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
    /// Text that follows nothing or a special token gets a space in front.
    pub(crate) add_space_prefix: bool,
}

/// A piece of the text on its way to being a token.
#[derive(Debug, Clone, Copy)]
struct Symbol {
    start: usize,
    /// 0 once it is merged into the one on its left.
    len: usize,
    prev: usize,
    next: usize,
}

/// Two neighbours that make a token. Ordered by score, then by place, the leftmost first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    score: u32,
    left: std::cmp::Reverse<usize>,
    right: usize,
    /// Of both, when the pair was found: another length later means another pair.
    len: usize,
}

const NONE: usize = usize::MAX;

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
        let words = TextMap::new(&vocab.texts, vocab.ids().filter(from_text));
        let scores = scores.into_iter().map(in_order).collect();
        Ok(Spm { words, scores, bytes, longest, add_space_prefix })
    }

    /// Appends the tokens of `text`, which follows nothing or a special token if `is_start`.
    pub(crate) fn encode(&self, vocab: &Vocab, text: &str, is_start: bool, out: &mut Vec<u32>) {
        let mut escaped = String::with_capacity(text.len() + text.len() / 2 + 3);
        if self.add_space_prefix && is_start {
            escaped.push('\u{2581}');
        }
        for part in text.split_inclusive(' ') {
            match part.strip_suffix(' ') {
                Some(word) => escaped.extend([word, "\u{2581}"]),
                None => escaped.push_str(part),
            }
        }
        let symbols = self.merge(vocab, &escaped);
        for symbol in symbols.iter().filter(|s| s.len > 0) {
            let text = &escaped.as_bytes()[symbol.start..symbol.start + symbol.len];
            match self.words.get(&vocab.texts, text) {
                Some(id) => out.push(id),
                None => out.extend(text.iter().filter_map(|&b| self.bytes[usize::from(b)])),
            }
        }
    }

    fn merge(&self, vocab: &Vocab, text: &str) -> Vec<Symbol> {
        let mut symbols: Vec<Symbol> = text
            .char_indices()
            .enumerate()
            .map(|(i, (start, c))| Symbol { start, len: c.len_utf8(), prev: i.wrapping_sub(1), next: i + 1 })
            .collect();
        if let Some(last) = symbols.last_mut() {
            last.next = NONE;
        }
        let mut pairs: BinaryHeap<Pair> =
            (1..symbols.len()).filter_map(|i| self.pair(vocab, text, &symbols, i - 1, i)).collect();
        while let Some(Pair { left: std::cmp::Reverse(left), right, len, .. }) = pairs.pop() {
            if symbols[left].len == 0
                || symbols[right].len == 0
                || symbols[left].len + symbols[right].len != len
            {
                continue;
            }
            symbols[left].len = len;
            symbols[right].len = 0;
            let (before, after) = (symbols[left].prev, symbols[right].next);
            symbols[left].next = after;
            if after != NONE {
                symbols[after].prev = left;
                pairs.extend(self.pair(vocab, text, &symbols, left, after));
            }
            if before != NONE {
                pairs.extend(self.pair(vocab, text, &symbols, before, left));
            }
        }
        symbols
    }

    fn pair(&self, vocab: &Vocab, text: &str, symbols: &[Symbol], left: usize, right: usize) -> Option<Pair> {
        let start = symbols[left].start;
        let len = symbols[left].len + symbols[right].len;
        if len > self.longest {
            return None;
        }
        let id = self.words.get(&vocab.texts, &text.as_bytes()[start..start + len])?;
        Some(Pair { score: self.scores[id as usize], left: std::cmp::Reverse(left), right, len })
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
