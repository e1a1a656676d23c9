//! BPE: words of a text, cut by the pre-tokenizer, are merged in the order of the merges. They start as bytes, or as characters
//! where the pre-tokenizer spells tokens in UTF-8.

mod merge;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU8, Ordering};

use foldhash::fast::RandomState;
use inferno_format::{Metadata, MetadataError, Strings};

use crate::bounds::{Meter, Reach, Stopped};
use crate::error::TokenizerError;
use crate::split::Pre;
use crate::text_map::{TextMap, Texts};
use crate::vocab::{MARKED_SPACE, Spelling, TokenKind, Vocab, check_size, parse_byte};

/// A vocabulary of merges. Symbols are what merges take and make: ids below the number of tokens are tokens,
/// those above are strings that only merges name.
#[derive(Debug)]
pub(crate) struct Bpe {
    pre: &'static Pre,
    /// Ids of the tokens that text can lead to, by the bytes they stand for.
    words: TextMap,
    /// Memo by token: whether its bytes, as a word, merge to that one token, or [`NOT_ASKED`].
    whole: Vec<AtomicU8>,
    /// The symbol each byte starts as, or, of characters, the byte tokens of those that are no symbol. [`NONE`]: it is
    /// left out.
    bytes: [u32; 256],
    /// Symbols of characters that only merges name; empty where words start as bytes.
    characters: HashMap<char, u32, RandomState>,
    /// Nothing merges to a space behind another character: lines are cut into words.
    by_words: bool,
    /// What two symbols, in the halves of the key, merge to.
    merges: HashMap<u64, Merge, RandomState>,
    /// The bytes of the symbols past the tokens.
    extra: Texts,
    /// Stands in for a byte that has no token; without it, such a byte is left out.
    unknown: Option<u32>,
}

/// The merge of two symbols.
#[derive(Debug, Clone, Copy)]
struct Merge {
    /// Merges with a lower rank go first. No two have the same.
    rank: u32,
    symbol: u32,
}

/// No symbol.
const NONE: u32 = u32::MAX;

const NOT_ASKED: u8 = 0;
const WHOLE: u8 = 1;
const NOT_WHOLE: u8 = 2;

/// Words of more bytes are checked before they are merged.
const LONG_WORD: usize = 1 << 14;

impl Bpe {
    /// Reads the merges, and completes the kinds of `vocab`.
    pub(crate) fn from_metadata(
        m: &Metadata,
        pre: &'static Pre,
        vocab: &mut Vocab,
    ) -> Result<Bpe, TokenizerError> {
        let merges = merges_of(m)?;
        vocab.find_ends(m, |text| {
            merges.iter().any(|merge| {
                merge.len() == text.len() + 1
                    && split_merge(merge).is_some_and(|(l, r)| text.strip_prefix(l) == Some(r))
            })
        });
        let mut bytes = Vec::new();
        let from_text = vocab.ids().filter(|&id| comes_from_text(pre.spelling, vocab, id, &mut bytes));
        let words = TextMap::new(&vocab.pieces, from_text);
        let mut bpe = Bpe {
            pre,
            words,
            whole: vocab.ids().map(|_| AtomicU8::new(NOT_ASKED)).collect(),
            bytes: [NONE; 256],
            characters: HashMap::default(),
            by_words: pre.spelling == Spelling::Spaces,
            merges: HashMap::default(),
            extra: Texts::default(),
            unknown: vocab.unknown,
        };
        bpe.add_merges(merges, vocab);
        Ok(bpe)
    }

    fn add_merges(&mut self, merges: &Strings, vocab: &Vocab) {
        let mut extra_ids: HashMap<Vec<u8>, u32> = HashMap::new();
        let mut symbol = |bytes: &[u8]| -> u32 {
            self.words.get(&vocab.pieces, bytes).unwrap_or_else(|| {
                *extra_ids.entry(bytes.to_vec()).or_insert_with_key(|bytes| {
                    self.extra.push(bytes);
                    (vocab.len() + self.extra.len() - 1) as u32
                })
            })
        };
        match self.pre.spelling {
            Spelling::Bytes => (0..=255).for_each(|byte| self.bytes[usize::from(byte)] = symbol(&[byte])),
            Spelling::Spaces | Spelling::Plain => self.bytes = byte_tokens(vocab),
        }
        let reserved: HashSet<&[u8], RandomState> =
            vocab.ids().filter(|&id| is_reserved(vocab, id)).filter_map(|id| vocab.texts.get(id)).collect();
        self.merges.reserve(merges.len());
        let (mut both, mut left_bytes, mut right_bytes) = (Vec::new(), Vec::new(), Vec::new());
        let spelling = self.pre.spelling;
        for (rank, merge) in (0..).zip(merges.iter()) {
            // A merge of characters that stand for no byte cannot be reached, and text must not lead to a
            // control token.
            let Some((left, right)) = split_merge(merge) else { continue };
            let Some(left) = spelling.bytes_of(left.as_bytes(), &mut left_bytes) else { continue };
            let Some(right) = spelling.bytes_of(right.as_bytes(), &mut right_bytes) else { continue };
            both.clear();
            both.extend_from_slice(left);
            both.extend_from_slice(right);
            if reserved.contains(both.as_slice()) {
                continue;
            }
            self.by_words &= both.windows(2).all(|pair| pair[0] == b' ' || pair[1] != b' ');
            let key = pair(symbol(left), symbol(right));
            self.merges.entry(key).or_insert_with(|| Merge { rank, symbol: symbol(&both) });
        }
        if spelling == Spelling::Bytes {
            return;
        }
        for (bytes, id) in extra_ids {
            let text = String::from_utf8(bytes).unwrap_or_default();
            let mut chars = text.chars();
            if let (Some(c), None) = (chars.next(), chars.next()) {
                self.characters.insert(c, id);
            }
        }
    }

    /// Tells `reach` which bytes the model drops.
    pub(crate) fn limit(&self, reach: &mut Reach) {
        let n_tokens = self.whole.len() as u32;
        for byte in 0..=255 {
            if self.bytes[usize::from(byte)] >= n_tokens && self.unknown.is_none() {
                reach.vanishes(byte);
            }
        }
        if self.pre.spelling == Spelling::Spaces {
            // A space's token covers its own three bytes too.
            reach.stretches("\u{2581}");
        }
    }

    /// Appends the tokens of `text`, or as many as `meter` lets through.
    pub(crate) fn encode(
        &self,
        vocab_reach: (&Vocab, &Reach),
        text: &str,
        meter: &mut Meter<'_>,
        out: &mut Vec<u32>,
    ) {
        if self.pre.spelling == Spelling::Spaces && text.contains(MARKED_SPACE) {
            let mut spaced = String::new();
            if spaced.try_reserve(text.len()).is_err() {
                meter.stop(Stopped::OutOfMemory);
                return;
            }
            spaced.extend(text.chars().map(|c| if c == MARKED_SPACE { ' ' } else { c }));
            return self.encode(vocab_reach, &spaced, meter, out);
        }
        let (vocab, reach) = vocab_reach;
        let mut merger = merge::Merger::default();
        let mut encode = |word: &str| {
            if !meter.goes_on(out.len()) {
                return;
            }
            if word.len() > LONG_WORD {
                let at_least = out.len() + reach.least(word);
                if at_least > out.len() + meter.left(out.len()) {
                    meter.stop(Stopped::TooMany { at_least });
                    return;
                }
                if !meter.takes_word(word.len()) {
                    return;
                }
            }
            self.encode_word(vocab, word.as_bytes(), (&mut merger, meter), out);
        };
        if self.by_words {
            self.pre.splitter.split(text, &mut |line| split_before_spaces(line, &mut encode));
        } else {
            self.pre.splitter.split(text, &mut encode);
        }
    }

    /// The symbols that a word starts as.
    fn start(&self, vocab: &Vocab, word: &[u8], symbols: &mut Vec<u32>) {
        if self.pre.spelling == Spelling::Bytes {
            symbols.extend(word.iter().map(|&b| self.bytes[usize::from(b)]));
            return;
        }
        for c in std::str::from_utf8(word).expect("words are cut between characters").chars() {
            let mut buffer = [0; 4];
            let bytes = c.encode_utf8(&mut buffer).as_bytes();
            match self.words.get(&vocab.pieces, bytes).or_else(|| self.characters.get(&c).copied()) {
                Some(symbol) => symbols.push(symbol),
                None => symbols.extend(
                    bytes.iter().map(|&b| self.bytes[usize::from(b)]).filter(|&symbol| symbol != NONE),
                ),
            }
        }
    }

    #[inline]
    fn encode_word(
        &self,
        vocab: &Vocab,
        word: &[u8],
        (merger, meter): (&mut merge::Merger, &mut Meter<'_>),
        out: &mut Vec<u32>,
    ) {
        let Some(id) = self.words.get(&vocab.pieces, word) else {
            return self.merge_word(vocab, word, (merger, meter), out);
        };
        let whole = &self.whole[id as usize];
        match whole.load(Ordering::Relaxed) {
            WHOLE => out.push(id),
            NOT_WHOLE => self.merge_word(vocab, word, (merger, meter), out),
            _ => {
                let start = out.len();
                self.merge_word(vocab, word, (merger, meter), out);
                if meter.has_stopped() {
                    return;
                }
                let is_newlines = self.pre.whole_newlines && word.iter().all(|&b| b == b'\n');
                if self.pre.ignore_merges || is_newlines {
                    out.truncate(start);
                    out.push(id);
                }
                let is_whole = out[start..] == [id];
                whole.store(if is_whole { WHOLE } else { NOT_WHOLE }, Ordering::Relaxed);
            }
        }
    }

    fn merge_word(
        &self,
        vocab: &Vocab,
        word: &[u8],
        (merger, meter): (&mut merge::Merger, &mut Meter<'_>),
        out: &mut Vec<u32>,
    ) {
        let n_tokens = self.whole.len() as u32;
        for &symbol in merger.merge(self, vocab, word, meter) {
            if symbol < n_tokens {
                out.push(symbol);
                continue;
            }
            for &byte in self.extra.get(symbol - n_tokens).unwrap_or_default() {
                let id = self.bytes[usize::from(byte)];
                out.extend(Some(id).filter(|&id| id < n_tokens).or(self.unknown));
            }
        }
    }

    #[inline]
    fn merge_of(&self, left: u32, right: u32) -> Option<Merge> {
        self.merges.get(&pair(left, right)).copied()
    }
}

#[inline]
fn pair(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

/// Calls `emit` with the parts of `line` that start at spaces behind another character.
fn split_before_spaces(line: &str, emit: &mut impl FnMut(&str)) {
    let bytes = line.as_bytes();
    let mut start = 0;
    for at in memchr::memchr_iter(b' ', bytes).filter(|&at| at > 0 && bytes[at - 1] != b' ') {
        emit(&line[start..at]);
        start = at;
    }
    emit(&line[start..]);
}

/// The tokens `<0xHH>` by their byte, or the unknown token where there is none.
fn byte_tokens(vocab: &Vocab) -> [u32; 256] {
    let mut tokens = [vocab.unknown.unwrap_or(NONE); 256];
    for id in vocab.ids() {
        if let Some(byte) = vocab.texts.get(id).and_then(parse_byte) {
            tokens[usize::from(byte)] = id;
        }
    }
    tokens
}

/// Whether a word of text may be this token: its text, read as it is spelled, is what it stands for.
fn comes_from_text(spelling: Spelling, vocab: &Vocab, id: u32, bytes: &mut Vec<u8>) -> bool {
    let kind = vocab.kind(id);
    matches!(kind, Some(TokenKind::Normal | TokenKind::Unused | TokenKind::UserDefined))
        && vocab.texts.get(id).and_then(|text| spelling.bytes_of(text, bytes)) == vocab.pieces.get(id)
}

fn is_reserved(vocab: &Vocab, id: u32) -> bool {
    matches!(vocab.kind(id), Some(TokenKind::Control | TokenKind::Unknown))
}

fn merges_of(m: &Metadata) -> Result<&Strings, TokenizerError> {
    let key = "tokenizer.ggml.merges";
    let missing = || MetadataError::Missing { key: key.into(), expected: "an array of strings" };
    let merges = m.opt_strings(key)?.ok_or_else(missing)?;
    check_size(key, merges)?;
    Ok(merges)
}

/// A merge is written as its two parts with a space between; the first part may itself start with a space.
fn split_merge(merge: &str) -> Option<(&str, &str)> {
    let first = merge.chars().next()?.len_utf8();
    let space = first + merge[first..].find(' ')?;
    Some((&merge[..space], &merge[space + 1..]))
}
