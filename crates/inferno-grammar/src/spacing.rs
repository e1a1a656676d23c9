//! The parsers of one answer. Where its form leaves open whether a space stands behind each `:` and `,`, or behind none, there
//! is a parser for either, and an answer is one that either takes.
//!
//! The first separator decides between them, so that all spaces behind it are forced, and with them what follows: in most
//! vocabularies the name of a property is then forced up to its value, where a separator that may be `,` or `, ` is sampled.

use llguidance::TokenParser;
use toktrie::{SimpleVob, TokTrie};

use crate::closing::Walk;

/// Parsers that take the same tokens so far: one at least, that of the shortest answers first.
#[derive(Clone)]
pub(crate) struct Parsers(Vec<TokenParser>);

impl Parsers {
    /// Parsers that have started, the one of the shortest answers first.
    pub(crate) fn new(parsers: Vec<TokenParser>) -> Parsers {
        assert!(!parsers.is_empty(), "an answer has a parser");
        Parsers(parsers)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &TokenParser> {
        self.0.iter()
    }

    pub(crate) fn trie(&self) -> &TokTrie {
        self.0[0].token_env.tok_trie()
    }

    /// Whether the answer is over.
    pub(crate) fn stopped(&self) -> bool {
        self.0.iter().all(TokenParser::stopped)
    }

    /// Whether `token` decides nothing.
    pub(crate) fn agree_on(&mut self, token: u32) -> bool {
        self.0.len() == 1 || self.0.iter_mut().all(|parser| takes(parser, token))
    }

    /// Tokens that come next, whatever is decided.
    pub(crate) fn forced(&mut self) -> Vec<u32> {
        let mut forced = self.0[0].compute_ff_tokens();
        for parser in &mut self.0[1..] {
            let other = parser.compute_ff_tokens();
            let n_equal = forced.iter().zip(&other).take_while(|(a, b)| a == b).count();
            forced.truncate(n_equal);
        }
        forced
    }

    /// Tokens that any of the parsers takes.
    ///
    /// # Errors
    /// All parsers fail.
    pub(crate) fn mask(&mut self) -> Result<SimpleVob, String> {
        let mut masks = self.keep_ok(TokenParser::compute_mask)?;
        let mut mask = masks.swap_remove(0);
        masks.iter().for_each(|other| mask.or(other));
        Ok(mask)
    }

    /// Takes the next token. Parsers that do not take it are left out.
    ///
    /// # Errors
    /// No parser takes it.
    pub(crate) fn take(&mut self, token: u32) -> Result<(), String> {
        self.keep(|parser| takes(parser, token));
        self.keep_ok(|parser| {
            parser.consume_token(token)?;
            parser.check_stop()
        })?;
        self.keep(|parser| !parser.stopped());
        Ok(())
    }

    /// Appends an ending of at most `most` tokens to `tokens`; whether there is one.
    pub(crate) fn ending(&self, walk: &Walk, most: usize, tokens: &mut Vec<u32>) -> bool {
        let n_before = tokens.len();
        self.0.iter().any(|parser| {
            tokens.truncate(n_before);
            walk.ending(parser, most, None, tokens)
        })
    }

    /// Leaves out the parsers that `is_kept` is false for, unless it is for all.
    fn keep(&mut self, is_kept: impl FnMut(&mut TokenParser) -> bool) {
        if self.0.len() > 1 {
            let kept: Vec<bool> = self.0.iter_mut().map(is_kept).collect();
            if kept.contains(&true) {
                let mut kept = kept.into_iter();
                self.0.retain(|_| kept.next() == Some(true));
            }
        }
    }

    /// Results of `f` for each parser, without those that fail; the error of the first if all do.
    fn keep_ok<T, E: ToString>(
        &mut self,
        f: impl FnMut(&mut TokenParser) -> Result<T, E>,
    ) -> Result<Vec<T>, String> {
        let mut results: Vec<Result<T, E>> = self.0.iter_mut().map(f).collect();
        if results.iter().all(Result::is_err) {
            return results.swap_remove(0).map(|of| vec![of]).map_err(|e| e.to_string());
        }
        let mut is_ok = results.iter().map(Result::is_ok);
        self.0.retain(|_| is_ok.next() == Some(true));
        Ok(results.into_iter().filter_map(Result::ok).collect())
    }
}

fn takes(parser: &mut TokenParser, token: u32) -> bool {
    parser.validate_token(token).unwrap_or(false)
}
