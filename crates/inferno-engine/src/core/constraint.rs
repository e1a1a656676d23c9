//! A sequence's grammar: the tokens it forces, and masks for the others.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use crate::sampler::{Grammar, TokenMask};

/// A grammar at work on one sequence.
pub(super) struct Constraint {
    grammar: Box<dyn Grammar>,
    mask: TokenMask,
    /// Whether `mask` is of the next token already.
    has_mask: bool,
    /// Tokens that must come next, in order, and are not committed yet.
    forced: VecDeque<u32>,
    /// Whether the grammar has said which tokens it forces after the committed ones.
    is_asked: bool,
    /// Room to ask in.
    room: Vec<u32>,
    /// A panic on another thread, which goes on where its result is needed.
    panicked: Option<Box<dyn Any + Send>>,
    spent: Spent,
}

/// Time that a grammar took.
#[derive(Debug, Clone, Default)]
pub(super) struct Spent {
    /// In all of its calls.
    pub(super) all: Duration,
    /// For each mask.
    pub(super) masks: Vec<Duration>,
}

impl Constraint {
    pub(super) fn new(grammar: Box<dyn Grammar>, vocab_size: usize) -> Constraint {
        Constraint {
            grammar,
            mask: TokenMask::new(vocab_size),
            has_mask: false,
            forced: VecDeque::new(),
            is_asked: false,
            room: Vec::new(),
            panicked: None,
            spent: Spent::default(),
        }
    }

    /// Removes and returns the token that must come next; `None` where there is a choice, or where the grammar is complete.
    ///
    /// # Panics
    /// The grammar forces a token that the vocabulary does not have.
    pub(super) fn take_forced(&mut self) -> Option<u32> {
        self.ask();
        self.forced.pop_front()
    }

    /// Tokens that must come next, `most` of them or fewer.
    pub(super) fn forced(&mut self, most: usize) -> impl Iterator<Item = u32> {
        self.ask();
        self.forced.iter().copied().take(most)
    }

    fn ask(&mut self) {
        self.go_on_panicking();
        if self.is_asked || !self.forced.is_empty() || self.grammar.finished() {
            return;
        }
        let before = Instant::now();
        self.room.clear();
        self.grammar.forced(&mut self.room);
        self.room.iter().for_each(|&token| self.check(token));
        self.forced.extend(&self.room);
        self.is_asked = true;
        self.spent.all += before.elapsed();
    }

    fn check(&self, token: u32) {
        let vocab_size = self.mask.n_tokens();
        assert!(
            (token as usize) < vocab_size,
            "the grammar takes token {token} of a vocabulary of {vocab_size}"
        );
    }

    /// Whether [`Constraint::prepare`] has something to do.
    pub(super) fn is_prepared(&self) -> bool {
        self.has_mask || !self.forced.is_empty() || self.panicked.is_some()
    }

    /// Computes what the next token takes, on any thread: a panic is kept for the one that needs it.
    pub(super) fn prepare(&mut self) {
        let result = catch_unwind(AssertUnwindSafe(|| {
            self.ask();
            if self.forced.is_empty() && !self.grammar.finished() {
                self.compute_mask();
            }
        }));
        self.panicked = result.err();
    }

    /// Finds the tokens that may come next, unless that is done.
    pub(super) fn compute_mask(&mut self) {
        self.go_on_panicking();
        if !self.has_mask {
            let before = Instant::now();
            self.mask.allow_all();
            self.grammar.mask(&mut self.mask);
            self.has_mask = true;
            let took = before.elapsed();
            self.spent.all += took;
            self.spent.masks.push(took);
        }
    }

    /// The tokens that [`Constraint::compute_mask`] has found.
    pub(super) fn mask(&self) -> &TokenMask {
        &self.mask
    }

    /// The token to take in place of `sampled`.
    pub(super) fn settle(&mut self, sampled: u32) -> u32 {
        let before = Instant::now();
        let token = self.grammar.settle(sampled);
        self.check(token);
        self.spent.all += before.elapsed();
        token
    }

    /// Takes the next token.
    pub(super) fn commit(&mut self, token: u32) {
        let before = Instant::now();
        (self.is_asked, self.has_mask) = (false, false);
        self.grammar.commit(token);
        self.spent.all += before.elapsed();
    }

    pub(super) fn finished(&self) -> bool {
        self.grammar.finished()
    }

    /// The reason for which the mask means nothing.
    pub(super) fn failure(&self) -> Option<String> {
        self.grammar.failure().map(str::to_owned)
    }

    /// Tells the time that was spent since the last call.
    pub(super) fn take_spent(&mut self, tell: impl FnOnce(&Spent)) {
        tell(&self.spent);
        self.spent.all = Duration::ZERO;
        self.spent.masks.clear();
    }

    fn go_on_panicking(&mut self) {
        if let Some(panic) = self.panicked.take() {
            resume_unwind(panic);
        }
    }
}
