//! Marks of a form, such as a call format's, as ways out of texts that may go on for ever.

use llguidance::TokenParser;
use toktrie::{TokTrie, TokenId, parse_numeric_token};

use super::take;

/// Marks in the order in which a walk to the end of an answer tries them. Bytes as llguidance writes them: a control token is
/// `FF`, and its number in brackets.
#[derive(Debug, Default)]
pub(super) struct Exits(Vec<Vec<u8>>);

/// Bytes of a mark that are still to come.
#[derive(Debug, Default)]
pub(super) struct Rest(Vec<u8>);

impl Exits {
    pub(super) fn new(marks: Vec<Vec<u8>>) -> Exits {
        Exits(marks)
    }

    /// The mark to write next, without what the answer has of it already.
    pub(super) fn find(&self, parser: &mut TokenParser) -> Option<Rest> {
        self.0.iter().find_map(|mark| {
            let written = parser.final_bytes();
            let n_written = (1..mark.len()).rev().find(|&n| written.ends_with(&mark[..n]));
            let starts = n_written.into_iter().chain([0]);
            starts
                .map(|start| &mark[start..])
                .find(|rest| leads_on(parser, mark, rest))
                .map(|rest| Rest(rest.to_vec()))
        })
    }
}

impl Rest {
    /// The token to write next, if one is left that `parser` takes.
    pub(super) fn next(&mut self, parser: &mut TokenParser) -> Option<TokenId> {
        let (token, n_bytes) = first_token(parser.token_env.tok_trie(), &self.0)?;
        match parser.validate_token(token).unwrap_or(false) {
            true => {
                self.0.drain(..n_bytes);
                Some(token)
            }
            false => {
                self.0.clear();
                None
            }
        }
    }

    /// Leaves out the bytes of forced tokens; all if other bytes were forced.
    pub(super) fn skip(&mut self, trie: &TokTrie, forced: &[TokenId]) {
        let bytes = trie.decode_raw(forced);
        match self.0.starts_with(&bytes) {
            true => drop(self.0.drain(..bytes.len())),
            false => self.0.clear(),
        }
    }
}

/// Whether `rest` may come next, and `mark` does not come again behind it, as in a text of which both were a part.
fn leads_on(parser: &mut TokenParser, mark: &[u8], rest: &[u8]) -> bool {
    let Some(mut after) = with(parser, rest) else { return false };
    with(&mut after, mark).is_none()
}

/// A copy of `parser` that has taken `bytes`, if it can take them.
fn with(parser: &mut TokenParser, mut bytes: &[u8]) -> Option<TokenParser> {
    // Most marks fail at their first token: before anything is copied.
    let (first, _) = first_token(parser.token_env.tok_trie(), bytes)?;
    if !parser.validate_token(first).unwrap_or(false) {
        return None;
    }
    let mut parser = parser.clone();
    while !bytes.is_empty() {
        let (token, n_bytes) = first_token(parser.token_env.tok_trie(), bytes)?;
        if !take(&mut parser, &[token]) {
            return None;
        }
        bytes = &bytes[n_bytes..];
    }
    Some(parser)
}

/// The longest token with which `bytes` begin, and the number of its bytes.
fn first_token(trie: &TokTrie, bytes: &[u8]) -> Option<(TokenId, usize)> {
    let is_control = |&byte: &u8| byte == TokTrie::SPECIAL_TOKEN_MARKER;
    if let Some((_, number)) = bytes.split_first().filter(|(first, _)| is_control(first)) {
        return parse_numeric_token(number).map(|(n_bytes, token)| (token, n_bytes + 1));
    }
    let text = &bytes[..bytes.iter().position(is_control).unwrap_or(bytes.len())];
    if text.is_empty() {
        return None;
    }
    let (token, n_bytes) = trie.prefix_token_id(text);
    (n_bytes > 0).then_some((token, n_bytes))
}
