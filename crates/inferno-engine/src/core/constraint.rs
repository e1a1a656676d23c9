//! A sequence's grammar: the tokens it forces, and masks for the others.

use std::collections::VecDeque;

use crate::sampler::{Grammar, TokenMask};

/// A grammar at work on one sequence.
pub(super) struct Constraint {
    grammar: Box<dyn Grammar>,
    mask: TokenMask,
    /// Tokens that must come next, in order, and are not committed yet.
    forced: VecDeque<u32>,
    /// Whether the grammar has said which tokens it forces after the committed ones.
    is_asked: bool,
    /// Room to ask in.
    room: Vec<u32>,
}

impl Constraint {
    pub(super) fn new(grammar: Box<dyn Grammar>, vocab_size: usize) -> Constraint {
        let mask = TokenMask::new(vocab_size);
        Constraint { grammar, mask, forced: VecDeque::new(), is_asked: false, room: Vec::new() }
    }

    /// Removes and returns the token that must come next; `None` where there is a choice, or where the grammar is complete.
    ///
    /// # Panics
    /// The grammar forces a token that the vocabulary does not have.
    pub(super) fn take_forced(&mut self) -> Option<u32> {
        self.ask();
        self.forced.pop_front()
    }

    /// Tokens that must come next, `most` of them or fewer, as far as the grammar has been asked.
    pub(super) fn forced(&mut self, most: usize) -> impl Iterator<Item = u32> {
        self.ask();
        self.forced.iter().copied().take(most)
    }

    fn ask(&mut self) {
        if self.is_asked || !self.forced.is_empty() || self.grammar.finished() {
            return;
        }
        self.room.clear();
        self.grammar.forced(&mut self.room);
        self.room.iter().for_each(|&token| self.check(token));
        self.forced.extend(&self.room);
        self.is_asked = true;
    }

    fn check(&self, token: u32) {
        let vocab_size = self.mask.n_tokens();
        assert!(
            (token as usize) < vocab_size,
            "the grammar takes token {token} of a vocabulary of {vocab_size}"
        );
    }

    /// The tokens that may come next.
    pub(super) fn mask(&mut self) -> &TokenMask {
        self.mask.allow_all();
        self.grammar.mask(&mut self.mask);
        &self.mask
    }

    /// The token to take in place of `sampled`.
    pub(super) fn settle(&mut self, sampled: u32) -> u32 {
        let token = self.grammar.settle(sampled);
        self.check(token);
        token
    }

    /// Takes the next token.
    pub(super) fn commit(&mut self, token: u32) {
        self.grammar.commit(token);
        self.is_asked = false;
    }

    pub(super) fn finished(&self) -> bool {
        self.grammar.finished()
    }
}
