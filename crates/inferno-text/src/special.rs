//! Finding special tokens in a text.
//!
//! The result is llama.cpp's: the longest special token is searched first, in all of the text, from left to
//! right; then the next longest in what is left between; and so on. Where two occurrences overlap, the longer
//! token has it, wherever it starts. (A leftmost-longest search differs: of `ab` and `bcd` in `abcd` it takes
//! the first.) Here an automaton finds all occurrences in one pass, and they are then granted in that order. Only
//! where they are very many (runs of spaces, where runs of spaces are tokens) each token is searched on its own.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use crate::bounds::{Bounds, Meter, Stopped, reserve};
use crate::error::TokenizerError;
use crate::vocab::{TokenKind, Vocab};

/// Whether control tokens are recognised in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// Yes: the text is a template's, or a trusted caller's.
    Recognise,
    /// No: the text is a user's, and `<|im_start|>` in it is twelve characters. Only tokens of kind
    /// [`TokenKind::UserDefined`], which are part of how the model writes text, are still found.
    AsText,
}

/// The most bytes of one special token. Real ones have some dozens.
const LONGEST: usize = 1 << 10;
/// The most bytes of all of them. Real ones have some hundreds, where tokens are kept for later use 75 KiB, and
/// where those stand for sounds 600 KiB. An automaton takes some 60 times that to build.
const ALL: usize = 1 << 20;

/// Occurrences that are kept at once, of 8 bytes. Where there are more, each token is searched on its own.
const OCCURRENCES: usize = 2 << 20;
/// Occurrences between two questions whether the text is still wanted.
const WANTED: usize = 1 << 20;

/// The special tokens of a vocabulary, ready to be searched.
#[derive(Debug)]
pub(crate) struct SpecialTokens {
    all: Set,
    user_defined: Set,
    /// After which tokens white space is dropped, ascending.
    strip_right: Vec<u32>,
}

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part<'t> {
    Text(&'t str),
    Token(u32),
}

#[derive(Debug)]
pub(crate) struct Set {
    /// Longest text first; of equals the lowest id.
    tokens: Vec<Token>,
    /// Finds them; pattern `i` is token `i`. `None` if there are none.
    automaton: Option<AhoCorasick>,
}

#[derive(Debug)]
struct Token {
    id: u32,
    finder: memchr::memmem::Finder<'static>,
    /// White space after it is dropped.
    strips_right: bool,
}

impl SpecialTokens {
    /// `strips_right` says after which tokens white space is dropped.
    pub(crate) fn new(
        vocab: &Vocab,
        strips_right: impl Fn(u32) -> bool,
    ) -> Result<SpecialTokens, TokenizerError> {
        check_lengths(vocab)?;
        let set = |kinds: &[TokenKind]| {
            let ids = vocab.ids().filter(|&id| vocab.kind(id).is_some_and(|kind| kinds.contains(&kind)));
            Set::new(vocab, ids, &strips_right)
        };
        let all = set(&[TokenKind::Control, TokenKind::Unknown, TokenKind::UserDefined]);
        let mut strip_right: Vec<u32> =
            all.tokens.iter().filter(|token| token.strips_right).map(|token| token.id).collect();
        strip_right.sort_unstable();
        Ok(SpecialTokens { all, user_defined: set(&[TokenKind::UserDefined]), strip_right })
    }

    /// The parts of `text`, in order. No part is empty.
    pub(crate) fn partition<'t>(&self, text: &'t str, special: Special) -> Vec<Part<'t>> {
        self.partition_within(text, special, &mut Meter::new(Bounds::NONE))
    }

    /// The same, or nothing of use once `meter` has stopped.
    pub(crate) fn partition_within<'t>(
        &self,
        text: &'t str,
        special: Special,
        meter: &mut Meter<'_>,
    ) -> Vec<Part<'t>> {
        match special {
            Special::Recognise => self.all.partition_within(text, meter),
            Special::AsText => self.user_defined.partition_within(text, meter),
        }
    }

    /// Whether white space is dropped after any token.
    pub(crate) fn strips_any(&self) -> bool {
        !self.strip_right.is_empty()
    }

    /// Whether white space after this token is dropped.
    pub(crate) fn strips_right(&self, id: u32) -> bool {
        self.strip_right.binary_search(&id).is_ok()
    }
}

fn check_lengths(vocab: &Vocab) -> Result<(), TokenizerError> {
    let mut n_all = 0;
    for id in vocab.ids() {
        let Some(kind @ (TokenKind::Control | TokenKind::Unknown | TokenKind::UserDefined)) = vocab.kind(id)
        else {
            continue;
        };
        let n_bytes = vocab.texts.get(id).map_or(0, <[u8]>::len);
        if n_bytes > LONGEST {
            return Err(TokenizerError::SpecialTooLong { id, kind, n_bytes, limit: LONGEST });
        }
        n_all += n_bytes;
    }
    if n_all > ALL {
        return Err(TokenizerError::SpecialTooMany { n_bytes: n_all, limit: ALL });
    }
    Ok(())
}

impl Set {
    fn new(vocab: &Vocab, ids: impl Iterator<Item = u32>, strips_right: &impl Fn(u32) -> bool) -> Set {
        let text = |id: u32| vocab.texts.get(id).unwrap_or_default();
        let mut ids: Vec<u32> = ids.collect();
        ids.sort_by_key(|&id| (std::cmp::Reverse(text(id).len()), id));
        let automaton = (!ids.is_empty()).then(|| automaton(ids.iter().map(|&id| text(id))));
        let token = |id| Token {
            id,
            finder: memchr::memmem::Finder::new(text(id)).into_owned(),
            strips_right: strips_right(id),
        };
        Set { tokens: ids.into_iter().map(token).collect(), automaton }
    }

    /// Tokens of these texts, after none of which white space is dropped.
    pub(crate) fn of_texts<'t>(texts: impl Iterator<Item = (u32, &'t str)>) -> Set {
        let mut texts: Vec<(u32, &str)> = texts.collect();
        texts.sort_by_key(|&(id, text)| (std::cmp::Reverse(text.len()), id));
        let automaton = (!texts.is_empty()).then(|| automaton(texts.iter().map(|(_, text)| text.as_bytes())));
        let token = |(id, text): (u32, &str)| Token {
            id,
            finder: memchr::memmem::Finder::new(text).into_owned(),
            strips_right: false,
        };
        Set { tokens: texts.into_iter().map(token).collect(), automaton }
    }

    /// The parts of `text`, in order. No part is empty.
    pub(crate) fn partition<'t>(&self, text: &'t str) -> Vec<Part<'t>> {
        self.partition_within(text, &mut Meter::new(Bounds::NONE))
    }

    /// The same, or nothing of use once `meter` has stopped.
    pub(crate) fn partition_within<'t>(&self, text: &'t str, meter: &mut Meter<'_>) -> Vec<Part<'t>> {
        let Some(automaton) = self.automaton.as_ref().filter(|a| a.is_match(text)) else {
            return if text.is_empty() { Vec::new() } else { vec![Part::Text(text)] };
        };
        let most = (64 + text.len() * 4).min(OCCURRENCES);
        let mut found: Vec<(u32, u32)> = Vec::new();
        let mut is_crowded = text.len() > u32::MAX as usize;
        let mut occurring = vec![false; self.tokens.len()];
        for (i, m) in automaton.find_overlapping_iter(text).enumerate() {
            if i % WANTED == WANTED - 1 && !meter.is_wanted() {
                return Vec::new();
            }
            occurring[m.pattern().as_usize()] = true;
            is_crowded |= found.len() == most;
            if is_crowded {
                continue;
            }
            if !reserve(&mut found, 1, meter) {
                return Vec::new();
            }
            found.push((m.pattern().as_u32(), m.start() as u32));
        }
        if is_crowded {
            drop(found);
            return self.partition_one_by_one(text, &occurring, meter);
        }
        found.sort_unstable();
        self.grant(text, &found, meter)
    }

    /// Grants the occurrences, which are in the order of their claims.
    fn grant<'t>(&self, text: &'t str, found: &[(u32, u32)], meter: &mut Meter<'_>) -> Vec<Part<'t>> {
        let mut taken = Vec::new();
        if !reserve(&mut taken, text.len(), meter) {
            return Vec::new();
        }
        taken.resize(text.len(), false);
        let mut granted = Vec::new();
        for &(index, start) in found {
            let (token, start) = (&self.tokens[index as usize], start as usize);
            let mut end = start + token.len();
            // What was granted before is no shorter: if it overlaps, it has one of the ends.
            if taken[start] || taken[end - 1] {
                continue;
            }
            if granted.len() >= meter.left(0) {
                meter.stop(Stopped::TooMany { at_least: granted.len() + 1 });
                return Vec::new();
            }
            let after = token.stripped(&text[end..]);
            let mut free = text.as_bytes()[end..text.len() - after.len()].iter().zip(&taken[end..]);
            end += free.position(|(_, taken)| *taken).unwrap_or(text.len() - after.len() - end);
            taken[start..end].fill(true);
            granted.push((start, end, token.id));
        }
        drop(taken);
        granted.sort_unstable();
        let mut parts = Vec::with_capacity(granted.len() * 2 + 1);
        let mut pos = 0;
        for (start, end, id) in granted {
            parts.extend([Part::Text(&text[pos..start]), Part::Token(id)]);
            pos = end;
        }
        parts.push(Part::Text(&text[pos..]));
        parts.retain(|part| *part != Part::Text(""));
        parts
    }

    /// The definition, of the tokens that occur at all.
    fn partition_one_by_one<'t>(
        &self,
        text: &'t str,
        occurring: &[bool],
        meter: &mut Meter<'_>,
    ) -> Vec<Part<'t>> {
        let mut parts = vec![Part::Text(text)];
        for (token, _) in self.tokens.iter().zip(occurring).filter(|(_, occurs)| **occurs) {
            let mut next = Vec::with_capacity(parts.len());
            for part in parts {
                match part {
                    Part::Text(text) => token.cut(text, &mut next),
                    Part::Token(_) => next.push(part),
                }
            }
            next.retain(|part| *part != Part::Text(""));
            parts = next;
            // Tokens and the texts between them.
            let n_tokens = parts.len() / 2;
            if n_tokens > meter.left(0) {
                meter.stop(Stopped::TooMany { at_least: n_tokens });
            }
            if meter.has_stopped() || !meter.is_wanted() {
                return Vec::new();
            }
        }
        parts
    }
}

/// Left to itself the crate would choose a DFA for up to a hundred texts, which is a KiB for each of their bytes.
fn automaton<'t>(texts: impl Iterator<Item = &'t [u8]>) -> AhoCorasick {
    AhoCorasick::builder()
        .match_kind(MatchKind::Standard)
        .kind(Some(AhoCorasickKind::ContiguousNFA))
        .build(texts)
        .expect("their bytes are few enough to be counted")
}

/// `text` without the white space at its start, as tokens that drop it see it.
pub(crate) fn without_leading_space(text: &str) -> &str {
    text.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b')
}

impl Token {
    fn len(&self) -> usize {
        self.finder.needle().len()
    }

    fn cut<'t>(&self, text: &'t str, parts: &mut Vec<Part<'t>>) {
        let mut rest = text;
        while let Some(at) = self.finder.find(rest.as_bytes()) {
            parts.extend([Part::Text(&rest[..at]), Part::Token(self.id)]);
            rest = self.stripped(&rest[at + self.len()..]);
        }
        parts.push(Part::Text(rest));
    }

    /// What is left of the text after an occurrence.
    fn stripped<'t>(&self, after: &'t str) -> &'t str {
        if !self.strips_right {
            return after;
        }
        without_leading_space(after)
    }
}

#[cfg(test)]
mod tests;
