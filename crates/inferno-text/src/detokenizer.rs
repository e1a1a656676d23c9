//! Text that arrives token by token.

use std::ops::Deref;
use std::sync::Arc;

use crate::error::TokenizerError;
use crate::tokenizer::Tokenizer;
use crate::vocab::TokenKind;

/// Whether control tokens are part of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlTokens {
    /// All of them, as their names.
    Shown,
    /// None of them.
    Hidden,
    /// Listed ones, as their names: the marks of reasoning and tool calls.
    Only(Arc<[u32]>),
}

impl ControlTokens {
    fn hides(&self, id: u32) -> bool {
        match self {
            ControlTokens::Shown => false,
            ControlTokens::Hidden => true,
            ControlTokens::Only(shown) => !shown.contains(&id),
        }
    }
}

/// Turns tokens into text as they come, without ever handing out half a character.
///
/// All that [`push`](Self::push) or [`push_to`](Self::push_to) and [`finish`](Self::finish) give, put together, is the decoded text, with
/// U+FFFD for what is not UTF-8. `T` is a `&Tokenizer` or an `Arc<Tokenizer>`.
#[derive(Debug, Clone)]
pub struct Detokenizer<T> {
    tokenizer: T,
    control: ControlTokens,
    /// The start of a character whose rest has not come yet: at most three bytes between calls.
    pub(crate) pending: Vec<u8>,
    /// The next token starts a text, or follows a special token.
    is_start: bool,
}

impl Tokenizer {
    /// A detokenizer for a text of its own.
    pub fn detokenizer(&self, control: ControlTokens) -> Detokenizer<&Tokenizer> {
        Detokenizer::new(self, control)
    }
}

impl<T: Deref<Target = Tokenizer>> Detokenizer<T> {
    /// For a text of its own.
    pub fn new(tokenizer: T, control: ControlTokens) -> Detokenizer<T> {
        Detokenizer { tokenizer, control, pending: Vec::new(), is_start: true }
    }

    /// For the text that continues `prompt`: its first space is part of the text unless encoding would have put it
    /// there.
    pub fn after(tokenizer: T, prompt: &[u32], control: ControlTokens) -> Detokenizer<T> {
        let is_start = prompt.last().is_none_or(|&id| tokenizer.is_special(id));
        Detokenizer { is_start, ..Detokenizer::new(tokenizer, control) }
    }

    /// Takes the next token and returns the text that is now complete. It may be empty.
    pub fn push(&mut self, id: u32) -> Result<String, TokenizerError> {
        let mut text = String::new();
        self.push_to(id, &mut text)?;
        Ok(text)
    }

    /// Takes the next token and writes the text that is now complete to the end of `out`.
    pub fn push_to(&mut self, id: u32, out: &mut String) -> Result<(), TokenizerError> {
        self.append(id)?;
        self.take_complete(out);
        Ok(())
    }

    /// Takes the next token, of which nothing is decoded yet; returns the bytes that it adds.
    pub(crate) fn append(&mut self, id: u32) -> Result<usize, TokenizerError> {
        let piece = self.tokenizer.piece(id);
        let piece = piece.ok_or(TokenizerError::UnknownId { id, vocab_size: self.tokenizer.vocab_size() })?;
        let hidden = matches!(self.tokenizer.token_kind(id), Some(TokenKind::Control | TokenKind::Unknown))
            && self.control.hides(id);
        let piece = if hidden { b"" } else { self.tokenizer.without_prefix(piece, self.is_start) };
        self.pending.extend_from_slice(piece);
        let n = piece.len();
        self.is_start = self.tokenizer.is_special(id);
        Ok(n)
    }

    /// The rest of the text: U+FFFD if it ends within a character, else nothing.
    pub fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        text
    }

    /// Decodes what is complete.
    pub(crate) fn take_complete(&mut self, out: &mut String) {
        let used = complete(&self.pending, |run, _| out.push_str(run));
        self.pending.drain(..used);
    }
}

/// Decodes `bytes` up to a character whose rest is missing, and returns where that is. `each` is given runs of text and how
/// many of the bytes they stand for: those that are valid, and U+FFFD for as many as can be no character.
pub(crate) fn complete(bytes: &[u8], mut each: impl FnMut(&str, usize)) -> usize {
    let mut used = 0;
    loop {
        let error = match std::str::from_utf8(&bytes[used..]) {
            Ok(rest) => {
                each(rest, rest.len());
                return bytes.len();
            }
            Err(error) => error,
        };
        let valid = &bytes[used..used + error.valid_up_to()];
        each(std::str::from_utf8(valid).unwrap_or_default(), valid.len());
        used += valid.len();
        // No error length: the bytes may yet become a character.
        let Some(len) = error.error_len() else { return used };
        each("\u{fffd}", len);
        used += len;
    }
}
