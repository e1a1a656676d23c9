//! A short ending of an answer, so that it is whole within its limit.
//!
//! A walk on a copy of the parser takes what is forced, and elsewhere prefers the end, what closes, and short values. It finds
//! a short ending, not always the shortest there is, and the same one for the same tokens before.

use std::sync::Arc;

use llguidance::TokenParser;
use toktrie::{TokTrie, TokenId};

/// Tokens of the longest ending that is looked for.
const LONGEST: usize = 2048;

/// Single characters that endings are made of, those preferred first: what closes stands in [`ClosingTokens`] by name.
const FILLERS: &str =
    "01.-:@/TZ,{[ tfnaAbBcCdDeE23456789gGhHxX_=<>()+*#$%&'!?;|~^\\`\nijklmopqrsuvwyzIJKLMNOPQRSUVWY\t";

/// The tokens that endings are made of, for one vocabulary.
#[derive(Debug)]
pub(crate) struct ClosingTokens {
    quote: Option<TokenId>,
    brace: Option<TokenId>,
    bracket: Option<TokenId>,
    /// Characters that stand in strings, and at no other place of JSON where a quote may stand.
    letters: Vec<TokenId>,
    fillers: Vec<TokenId>,
    end: Option<TokenId>,
}

/// The walk for the answers to one grammar.
#[derive(Debug)]
pub(crate) struct Walk {
    tokens: Arc<ClosingTokens>,
    /// Tokens of texts that strings of the grammar may have to hold.
    samples: Vec<Vec<TokenId>>,
}

impl ClosingTokens {
    /// The tokens of `trie`; an answer ends with the token `end`, if the model has one.
    pub(crate) fn new(trie: &TokTrie, end: Option<TokenId>) -> ClosingTokens {
        let token = |c: char| trie.token_id_at_bytes(c.to_string().as_bytes());
        ClosingTokens {
            quote: token('"'),
            brace: token('}'),
            bracket: token(']'),
            letters: ['x', 'E', '7', ' '].into_iter().filter_map(token).collect(),
            fillers: FILLERS.chars().filter_map(token).collect(),
            end,
        }
    }
}

impl Walk {
    /// The walk for a grammar whose strings may have to be `samples`, as they stand in JSON.
    pub(crate) fn new(trie: &TokTrie, tokens: Arc<ClosingTokens>, samples: &[String]) -> Walk {
        let samples = samples.iter().map(|sample| trie.greedy_tokenize(sample.as_bytes())).collect();
        Walk { tokens, samples }
    }

    /// The token that ends an answer, if the model has one.
    pub(crate) fn end(&self) -> Option<TokenId> {
        self.tokens.end
    }

    /// Appends the tokens of an ending after those that `parser` has taken. It is whole without a token that ends the answer.
    /// Returns whether there is one of at most `most` tokens.
    pub(crate) fn ending(&self, parser: &TokenParser, most: usize, tokens: &mut Vec<u32>) -> bool {
        // The copy shares the automata of terminals, which are caches.
        let mut parser = parser.clone();
        let most = tokens.len() + most.min(LONGEST);
        let mut used = vec![0u32; self.tokens.fillers.len()];
        loop {
            if parser.stopped() {
                return parser.error_message().is_none() && tokens.len() <= most;
            }
            if parser.is_accepting() {
                return tokens.len() <= most;
            }
            let n_before = tokens.len();
            tokens.extend(parser.compute_ff_tokens());
            if tokens.len() == n_before {
                let is_fresh = used.iter().all(|&n| n == 0);
                match self.samples.iter().find(|sample| is_fresh && self.fits(&mut parser, sample)) {
                    Some(sample) => {
                        tokens.extend(sample);
                        used.fill(1);
                    }
                    None => match self.next(&mut parser, &mut used) {
                        Some(token) => tokens.push(token),
                        None => return false,
                    },
                }
            }
            if tokens.len() > most || !take(&mut parser, &tokens[n_before..]) {
                return false;
            }
        }
    }

    /// Whether `sample` makes a string that could not be closed without it one that can.
    fn fits(&self, parser: &mut TokenParser, sample: &[TokenId]) -> bool {
        let Some(quote) = self.tokens.quote else { return false };
        let mut closed = sample.to_vec();
        closed.push(quote);
        let takes = |parser: &mut TokenParser, tokens: &[TokenId]| {
            parser.validate_tokens_raw(tokens).is_ok_and(|n| n == tokens.len())
        };
        !takes(parser, &[quote]) && takes(parser, &closed)
    }

    /// The preferred token where there is a choice.
    fn next(&self, parser: &mut TokenParser, used: &mut [u32]) -> Option<TokenId> {
        let mut takes = |token: Option<TokenId>| token.filter(|&t| parser.validate_token(t).unwrap_or(false));
        let quote = takes(self.tokens.quote);
        // Within a string a quote closes; elsewhere it opens one.
        if quote.is_some() && self.tokens.letters.iter().any(|&letter| takes(Some(letter)).is_some()) {
            used.fill(0);
            return quote;
        }
        for closer in [self.tokens.brace, self.tokens.bracket] {
            if let Some(token) = takes(closer) {
                used.fill(0);
                return Some(token);
            }
        }
        // A digit is the shortest value, then a string.
        if used.first() == Some(&0)
            && let Some(zero) = takes(self.tokens.fillers.first().copied())
        {
            used[0] = 1;
            return Some(zero);
        }
        if quote.is_some() {
            return quote;
        }
        // The least used, so that a walk that needs a certain character comes to it.
        let allowed = (0..used.len()).filter(|&i| takes(Some(self.tokens.fillers[i])).is_some());
        match allowed.min_by_key(|&i| used[i]) {
            Some(i) => {
                used[i] += 1;
                Some(self.tokens.fillers[i])
            }
            None => self.first_allowed(parser),
        }
    }

    /// Of all tokens the first of the shortest.
    fn first_allowed(&self, parser: &mut TokenParser) -> Option<TokenId> {
        let mask = parser.compute_mask().ok()?;
        let trie = parser.token_env.tok_trie();
        let is_end = |token: &TokenId| Some(*token) == self.tokens.end;
        mask.iter().filter(|token| !is_end(token)).min_by_key(|&token| (trie.token_len(token), token))
    }
}

/// Takes `tokens`; whether all could be taken.
fn take(parser: &mut TokenParser, tokens: &[u32]) -> bool {
    tokens
        .iter()
        .all(|&token| !parser.stopped() && parser.consume_token(token).is_ok() && parser.check_stop().is_ok())
}
