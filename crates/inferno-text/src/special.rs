//! Finding special tokens in a text.
//!
//! The result is llama.cpp's: the longest special token is searched first, in all of the text, from left to
//! right; then the next longest in what is left between; and so on. Where two occurrences overlap, the longer
//! token has it, wherever it starts. (A leftmost-longest search differs: of `ab` and `bcd` in `abcd` it takes
//! the first.) An automaton first says which tokens occur at all, so that the search costs a pass over the text for
//! each of these few and not for each of the hundreds there are.

use aho_corasick::{AhoCorasick, MatchKind};

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

/// The special tokens of a vocabulary.
#[derive(Debug)]
pub(crate) struct SpecialTokens {
    all: Set,
    user_defined: Set,
    /// Control and unknown tokens.
    reserved: Set,
}

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part<'t> {
    Text(&'t str),
    Token(u32),
}

#[derive(Debug)]
struct Set {
    /// Longest text first; of equals the lowest id.
    tokens: Vec<Token>,
    /// Finds them; pattern `i` is token `i`. `None` if there are none, or too many to search for.
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
    pub(crate) fn new(vocab: &Vocab, strips_right: impl Fn(u32) -> bool) -> SpecialTokens {
        let set = |kinds: &[TokenKind]| {
            let ids = vocab.ids().filter(|&id| vocab.kind(id).is_some_and(|kind| kinds.contains(&kind)));
            Set::new(vocab, ids, &strips_right)
        };
        SpecialTokens {
            all: set(&[TokenKind::Control, TokenKind::Unknown, TokenKind::UserDefined]),
            user_defined: set(&[TokenKind::UserDefined]),
            reserved: set(&[TokenKind::Control, TokenKind::Unknown]),
        }
    }

    /// The parts of `text`, in order. No part is empty.
    pub(crate) fn partition<'t>(&self, text: &'t str, special: Special) -> Vec<Part<'t>> {
        match special {
            Special::Recognise => self.all.partition(text),
            Special::AsText => self.user_defined.partition(text),
        }
    }

    /// The parts of a template's output, in which messages are marked: control tokens, and the text between.
    pub(crate) fn partition_reserved<'t>(&self, text: &'t str) -> Vec<Part<'t>> {
        self.reserved.partition(text)
    }

    /// The texts that must not arise from a user's text.
    pub(crate) fn reserved_texts(&self) -> Vec<&str> {
        self.reserved.tokens.iter().filter_map(|t| std::str::from_utf8(t.finder.needle()).ok()).collect()
    }
}

impl Set {
    fn new(vocab: &Vocab, ids: impl Iterator<Item = u32>, strips_right: &impl Fn(u32) -> bool) -> Set {
        let text = |id: u32| vocab.texts.get(id).unwrap_or_default();
        let mut ids: Vec<u32> = ids.collect();
        ids.sort_by_key(|&id| (std::cmp::Reverse(text(id).len()), id));
        let automaton = (!ids.is_empty())
            .then(|| {
                AhoCorasick::builder()
                    .match_kind(MatchKind::Standard)
                    .build(ids.iter().map(|&id| text(id)))
                    .ok()
            })
            .flatten();
        let token = |id| Token {
            id,
            finder: memchr::memmem::Finder::new(text(id)).into_owned(),
            strips_right: strips_right(id),
        };
        Set { tokens: ids.into_iter().map(token).collect(), automaton }
    }

    fn partition<'t>(&self, text: &'t str) -> Vec<Part<'t>> {
        let mut parts = vec![Part::Text(text)];
        for token in self.occurring(text) {
            let mut next = Vec::with_capacity(parts.len());
            for part in parts {
                match part {
                    Part::Text(text) => token.cut(text, &mut next),
                    Part::Token(_) => next.push(part),
                }
            }
            parts = next;
        }
        parts.retain(|part| *part != Part::Text(""));
        parts
    }

    /// The tokens that are somewhere in the text, longest first.
    fn occurring(&self, text: &str) -> impl Iterator<Item = &Token> {
        let mut occurs = vec![false; if self.is_in(text) { self.tokens.len() } else { 0 }];
        if !occurs.is_empty() {
            for m in self.automaton.iter().flat_map(|a| a.find_overlapping_iter(text)) {
                occurs[m.pattern().as_usize()] = true;
            }
        }
        self.tokens.iter().zip(occurs).filter_map(|(token, occurs)| occurs.then_some(token))
    }

    fn is_in(&self, text: &str) -> bool {
        self.automaton.as_ref().is_some_and(|a| a.is_match(text))
    }
}

impl Token {
    fn cut<'t>(&self, text: &'t str, parts: &mut Vec<Part<'t>>) {
        let mut rest = text;
        while let Some(at) = self.finder.find(rest.as_bytes()) {
            parts.push(Part::Text(&rest[..at]));
            parts.push(Part::Token(self.id));
            rest = &rest[at + self.finder.needle().len()..];
            if self.strips_right {
                rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
            }
        }
        parts.push(Part::Text(rest));
    }
}
