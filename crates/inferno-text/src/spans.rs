//! Where each token is in the text that tokens become.

use std::collections::VecDeque;
use std::ops::{Deref, Range};

use crate::detokenizer::{ControlTokens, Detokenizer, complete};
use crate::error::TokenizerError;
use crate::tokenizer::Tokenizer;

/// A token's place in the decoded text.
///
/// Both ranges cover whole characters: all of those that the token has a part in. Tokens that share a character have
/// ranges that overlap by it. A token without text (a hidden control token) has empty ranges, at the place where it came.
/// The starts never descend, and no range goes beyond the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSpan {
    /// Its id.
    pub token: u32,
    /// Bytes of the text.
    pub bytes: Range<usize>,
    /// Characters of the text; U+FFFD, which stands for bytes that are not UTF-8, is one.
    pub chars: Range<usize>,
}

/// A [`Detokenizer`] that also says where in the text each token is.
///
/// The text is the detokenizer's. A token's span comes with the last character that it has a part in, so that a token may
/// come several calls later than it was pushed; spans come in the order of the tokens, and [`finish`](Self::finish) gives
/// the rest.
///
/// ```text
/// tokens     C3        A9 21      <eos>      (hidden)
/// text        é         !
/// chars      0..1      0..2       2..2
/// ```
#[derive(Debug, Clone)]
pub struct SpanDetokenizer<T> {
    detokenizer: Detokenizer<T>,
    /// The end of the text so far.
    end: Place,
    /// Bytes of all tokens so far, of which `end.raw` have become text.
    n_raw: usize,
    open: VecDeque<Open>,
}

/// A place between two characters.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// Bytes that the tokens stand for before it.
    raw: usize,
    bytes: usize,
    chars: usize,
}

/// A token whose span is not known yet.
#[derive(Debug, Clone)]
struct Open {
    token: u32,
    /// Its bytes, of those that all tokens stand for.
    raw: Range<usize>,
    start: Option<Place>,
}

impl Tokenizer {
    /// The text of `ids` as [`decode`](Self::decode) has it, with U+FFFD for what is not UTF-8, and the span of each. The
    /// first `n_hidden` tokens have no text.
    ///
    /// # Errors
    /// When there is no such token.
    pub fn decode_spans(
        &self,
        ids: &[u32],
        n_hidden: usize,
    ) -> Result<(String, Vec<TokenSpan>), TokenizerError> {
        let (mut text, mut spans) = (String::new(), Vec::with_capacity(ids.len()));
        let mut hidden = SpanDetokenizer::new(self, ControlTokens::Shown);
        for (i, &id) in ids.iter().enumerate() {
            match i < n_hidden {
                true => hidden.push_hidden(id, &mut spans),
                false => hidden.push(id, &mut text, &mut spans)?,
            }
        }
        hidden.finish(&mut text, &mut spans);
        Ok((text, spans))
    }
}

impl<T: Deref<Target = Tokenizer>> SpanDetokenizer<T> {
    /// For a text of its own.
    pub fn new(tokenizer: T, control: ControlTokens) -> SpanDetokenizer<T> {
        SpanDetokenizer::of(Detokenizer::new(tokenizer, control))
    }

    /// For the text that continues `prompt`, as [`Detokenizer::after`]. Spans count from the end of the prompt.
    pub fn after(tokenizer: T, prompt: &[u32], control: ControlTokens) -> SpanDetokenizer<T> {
        SpanDetokenizer::of(Detokenizer::after(tokenizer, prompt, control))
    }

    fn of(detokenizer: Detokenizer<T>) -> SpanDetokenizer<T> {
        SpanDetokenizer { detokenizer, end: Place::default(), n_raw: 0, open: VecDeque::new() }
    }

    /// Takes the next token; writes the text that is now complete to the end of `text`, and the spans that are now known to
    /// the end of `spans`.
    ///
    /// # Errors
    /// When there is no such token.
    pub fn push(
        &mut self,
        id: u32,
        text: &mut String,
        spans: &mut Vec<TokenSpan>,
    ) -> Result<(), TokenizerError> {
        let n = self.detokenizer.append(id)?;
        self.open(id, n);
        let SpanDetokenizer { detokenizer, end, open, .. } = self;
        complete(&detokenizer.pending, |run, n_raw| {
            let is_one = run == "\u{fffd}";
            for c in run.chars() {
                step(end, open, if is_one { n_raw } else { c.len_utf8() }, c.len_utf8(), spans);
            }
        });
        self.detokenizer.take_complete(text);
        self.close(spans);
        Ok(())
    }

    /// Takes a token that is no part of the text, whatever it stands for.
    pub fn push_hidden(&mut self, id: u32, spans: &mut Vec<TokenSpan>) {
        self.open(id, 0);
        self.close(spans);
    }

    /// The rest of the text, U+FFFD if it ends within a character, and the spans of all tokens that have none yet.
    pub fn finish(&mut self, text: &mut String, spans: &mut Vec<TokenSpan>) {
        let rest = self.detokenizer.finish();
        if !rest.is_empty() {
            let n_raw = self.n_raw - self.end.raw;
            step(&mut self.end, &mut self.open, n_raw, rest.len(), spans);
        }
        self.close(spans);
        text.push_str(&rest);
    }

    fn open(&mut self, token: u32, n_raw: usize) {
        self.open.push_back(Open { token, raw: self.n_raw..self.n_raw + n_raw, start: None });
        self.n_raw += n_raw;
    }

    fn close(&mut self, spans: &mut Vec<TokenSpan>) {
        close(self.end, &mut self.open, spans);
    }
}

/// One more character, which takes `n_raw` bytes of tokens and `n_bytes` of text.
fn step(
    end: &mut Place,
    open: &mut VecDeque<Open>,
    n_raw: usize,
    n_bytes: usize,
    spans: &mut Vec<TokenSpan>,
) {
    let start = *end;
    *end = Place { raw: start.raw + n_raw, bytes: start.bytes + n_bytes, chars: start.chars + 1 };
    for token in open.iter_mut().take_while(|token| token.raw.start < end.raw) {
        token.start.get_or_insert(start);
    }
    close(*end, open, spans);
}

/// Tells the spans of all tokens that end here or before.
fn close(end: Place, open: &mut VecDeque<Open>, spans: &mut Vec<TokenSpan>) {
    while let Some(token) = open.pop_front_if(|token| token.raw.end <= end.raw) {
        let start = token.start.unwrap_or(end);
        let end = if token.raw.is_empty() { start } else { end };
        spans.push(TokenSpan {
            token: token.token,
            bytes: start.bytes..end.bytes,
            chars: start.chars..end.chars,
        });
    }
}
