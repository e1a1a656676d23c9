//! A short ending of an answer, so that it is whole within its limit.
//!
//! A walk on a copy of the parser takes what is forced, and elsewhere prefers the end, what closes, and short values. It finds
//! a short ending, not always the shortest there is, and the same one for the same tokens before.

mod exits;

use std::sync::Arc;

use llguidance::TokenParser;
use toktrie::{TokTrie, TokenId};

use crate::budget::Budget;
use exits::{Exits, Rest};

/// Tokens of the longest ending that is looked for.
const LONGEST: usize = 2048;

/// Times that a token which the grammar names may have come for a walk to prefer it.
const MOST_NAMED: usize = 3;

/// Where at most this many characters are allowed, each is tried for the end of the answer.
const MOST_TRIED: usize = 12;

/// Single characters that endings are made of, those preferred first: what closes stands in [`ClosingTokens`] by name.
const FILLERS: &str =
    "01Zz.-:@/T,{[ tfnaAbBcCdDeE23456789gGhHxX_=<>()+*#$%&'!?;|~^\\`\nijklmopqrsuvwyIJKLMNOPQRSUVWY\t";

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
    /// Marks that end texts of any characters, and what holds those.
    exits: Exits,
    /// Tokens that the grammar names, preferred where there is no ending without them: the end of a text of any tokens.
    named: Vec<TokenId>,
}

/// The walk with [`FILLERS`] since something was closed.
struct Fillers {
    /// Times each was taken.
    used: Vec<u32>,
    /// Characters that were allowed where one was taken last.
    were_allowed: Vec<usize>,
}

impl Fillers {
    fn new(n: usize) -> Fillers {
        Fillers { used: vec![0; n], were_allowed: Vec::new() }
    }

    fn reset(&mut self) {
        self.used.fill(0);
        self.were_allowed.clear();
    }

    /// Takes one of those `allowed`: the least used, so that a walk that needs a certain character comes to it, and of those
    /// one that the last character has made possible, as it leads on where others may repeat.
    fn preferred(&mut self, allowed: &[usize]) -> Option<usize> {
        let key = |&i: &usize| (self.used[i], self.were_allowed.contains(&i));
        let preferred = allowed.iter().copied().min_by_key(key)?;
        self.used[preferred] += 1;
        self.were_allowed = allowed.to_vec();
        Some(preferred)
    }
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
        // Byte by byte, as what is forced within them is: an ending that was found is then the one that comes.
        let tokens_of =
            |sample: &String| sample.bytes().filter_map(|byte| trie.token_id_at_bytes(&[byte])).collect();
        let samples = samples.iter().map(tokens_of).collect();
        Walk { tokens, samples, exits: Exits::default(), named: Vec::new() }
    }

    /// The same walk, which takes `marks` of the form before other characters, the first that lead on: bytes, of which a control
    /// token is `FF` and its number in brackets.
    pub(crate) fn by_marks(self, marks: Vec<Vec<u8>>) -> Walk {
        Walk { exits: Exits::new(marks), ..self }
    }

    /// The same walk, which prefers these tokens of the grammar to all others, each a few times.
    pub(crate) fn preferring(self, named: Vec<TokenId>) -> Walk {
        Walk { named, ..self }
    }

    /// The token that ends an answer, if the model has one.
    pub(crate) fn end(&self) -> Option<TokenId> {
        self.tokens.end
    }

    /// Appends the tokens of an ending after those that `parser` has taken. It is whole without a token that ends the answer.
    /// Returns whether there is one of at most `most` tokens, found within `budget`, if that is there.
    pub(crate) fn ending(
        &self,
        parser: &TokenParser,
        most: usize,
        budget: Option<Budget>,
        tokens: &mut Vec<u32>,
    ) -> bool {
        // The copy shares the automata of terminals, which are caches.
        let mut parser = parser.clone();
        let most = tokens.len() + most.min(LONGEST);
        let mut fillers = Fillers::new(self.tokens.fillers.len());
        let n_start = tokens.len();
        let mut mark = Rest::default();
        loop {
            if budget.is_some_and(|budget| budget.is_spent()) {
                return false;
            }
            if parser.stopped() {
                return parser.error_message().is_none() && tokens.len() <= most;
            }
            if parser.is_accepting() {
                return tokens.len() <= most;
            }
            let n_before = tokens.len();
            tokens.extend(parser.compute_ff_tokens());
            if tokens.len() == n_before {
                tokens.extend(self.of_mark(&mut parser, &mut mark, &mut fillers));
            } else {
                mark.skip(parser.token_env.tok_trie(), &tokens[n_before..]);
            }
            if tokens.len() == n_before {
                let named = self.named(&mut parser, &tokens[n_start..]);
                tokens.extend(named);
            }
            if tokens.len() == n_before {
                let is_fresh = fillers.used.iter().all(|&n| n == 0);
                match self.samples.iter().find(|sample| is_fresh && self.fits(&mut parser, sample)) {
                    Some(sample) => {
                        tokens.extend(sample);
                        fillers.used.fill(1);
                    }
                    None => match self.next(&mut parser, &mut fillers) {
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

    /// The next token of a mark: of the one that has begun, or of one that leads to the end.
    fn of_mark(&self, parser: &mut TokenParser, mark: &mut Rest, fillers: &mut Fillers) -> Option<TokenId> {
        mark.next(parser).or_else(|| {
            *mark = self.exits.find(parser)?;
            fillers.reset();
            mark.next(parser)
        })
    }

    /// Of the tokens that the grammar names and that may come here, the one that has come least among those `taken`.
    fn named(&self, parser: &mut TokenParser, taken: &[TokenId]) -> Option<TokenId> {
        let n_taken = |token: &TokenId| taken.iter().filter(|&other| other == token).count();
        let mut all: Vec<(usize, TokenId)> =
            self.named.iter().map(|token| (n_taken(token), *token)).collect();
        all.sort_by_key(|&(n, _)| n);
        let may_come = |&&(n, token): &&(usize, TokenId)| {
            n < MOST_NAMED && parser.validate_token(token).unwrap_or(false)
        };
        all.iter().find(may_come).map(|&(_, token)| token)
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
    fn next(&self, parser: &mut TokenParser, fillers: &mut Fillers) -> Option<TokenId> {
        let mut takes = |token: Option<TokenId>| token.filter(|&t| parser.validate_token(t).unwrap_or(false));
        let quote = takes(self.tokens.quote);
        // Within a string a quote closes; elsewhere it opens one.
        if quote.is_some() && self.tokens.letters.iter().any(|&letter| takes(Some(letter)).is_some()) {
            fillers.reset();
            return quote;
        }
        for closer in [self.tokens.brace, self.tokens.bracket] {
            if let Some(token) = takes(closer) {
                fillers.reset();
                return Some(token);
            }
        }
        let allowed = |&i: &usize| takes(Some(self.tokens.fillers[i])).is_some();
        let allowed: Vec<usize> = (0..fillers.used.len()).filter(allowed).collect();
        // A digit is the shortest value, then a string.
        let is_value = fillers.used.first() == Some(&0) && allowed.first() == Some(&0);
        if let Some(quote) = quote.filter(|_| !is_value) {
            return Some(quote);
        }
        let ends = |&&i: &&usize| {
            let mut parser = parser.clone();
            take(&mut parser, &[self.tokens.fillers[i]]) && parser.is_accepting()
        };
        let few = if is_value || allowed.len() > MOST_TRIED { &[] } else { allowed.as_slice() };
        let last = few.iter().find(ends);
        match last.copied().or_else(|| fillers.preferred(&allowed)) {
            Some(i) => Some(self.tokens.fillers[i]),
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
