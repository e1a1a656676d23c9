//! A compiled grammar at work on one answer.

use std::collections::VecDeque;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use inferno_engine::{Grammar, TokenMask};
use llguidance::TokenParser;
use llguidance::panic_utils::catch_unwind;
use toktrie::SimpleVob;

/// Masks the tokens of one answer, and closes it within its limit.
pub struct Constraint {
    parser: TokenParser,
    max_tokens: usize,
    n_taken: usize,
    /// Forced tokens that are not taken yet. While there are any, each is all that its mask allows.
    forced: VecDeque<u32>,
    /// Whether `forced` is known for the tokens so far.
    forced_is_known: bool,
    /// The mask for the tokens so far, if it is known and nothing is forced.
    allowed: Option<SimpleVob>,
    failure: Option<String>,
    closing: Closing,
}

/// Whether an answer was ended early, so that it is whole; readable while and after the engine has the constraint.
#[derive(Debug, Clone, Default)]
pub struct Closing(Arc<AtomicBool>);

impl Closing {
    /// Were tokens replaced so that the answer ends within its limit?
    pub fn was_needed(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Notes that it was.
    pub(crate) fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Constraint {
    pub(crate) fn new(parser: TokenParser, max_tokens: usize) -> Constraint {
        Constraint {
            parser,
            max_tokens,
            n_taken: 0,
            forced: VecDeque::new(),
            forced_is_known: false,
            allowed: None,
            failure: None,
            closing: Closing::default(),
        }
    }

    /// A view of whether the answer was closed, to be kept while the engine has the constraint.
    pub fn closing(&self) -> Closing {
        self.closing.clone()
    }

    /// Notes it in `closing` from now on.
    pub(crate) fn set_closing(&mut self, closing: Closing) {
        self.closing = closing;
    }

    fn find_forced(&mut self) {
        if self.forced_is_known || self.failure.is_some() || self.parser.stopped() {
            return;
        }
        self.forced_is_known = true;
        let parser = &mut self.parser;
        match catch_unwind(AssertUnwindSafe(|| Ok(parser.compute_ff_tokens()))) {
            Ok(tokens) => self.forced.extend(tokens),
            Err(e) => self.fail(&e.to_string()),
        }
    }

    fn fail(&mut self, error: &str) {
        let reason = error.split("\n<").next().unwrap_or_default();
        self.failure.get_or_insert_with(|| format!("the answer's grammar failed: {reason}"));
    }
}

impl Grammar for Constraint {
    fn mask(&mut self, mask: &mut TokenMask) {
        self.find_forced();
        if let Some(&token) = self.forced.front() {
            let is_allowed = mask.is_allowed(token);
            mask.ban_all();
            if is_allowed {
                mask.allow(token);
            }
            return;
        }
        if self.allowed.is_none() && self.failure.is_none() {
            let parser = &mut self.parser;
            match catch_unwind(AssertUnwindSafe(|| parser.compute_mask())) {
                Ok(allowed) => self.allowed = Some(allowed),
                Err(e) => self.fail(&e.to_string()),
            }
        }
        match &self.allowed {
            Some(allowed) => mask.intersect_half_words(allowed.as_slice()),
            None => mask.ban_all(),
        }
    }

    fn commit(&mut self, token: u32) {
        self.n_taken += 1;
        self.allowed = None;
        if self.forced.front() == Some(&token) {
            self.forced.pop_front();
        } else {
            self.forced.clear();
        }
        self.forced_is_known = !self.forced.is_empty();
        if self.failure.is_some() || self.parser.stopped() {
            return;
        }
        let parser = &mut self.parser;
        let took = catch_unwind(AssertUnwindSafe(|| {
            parser.consume_token(token)?;
            parser.check_stop()
        }));
        if let Err(e) = took {
            self.fail(&e.to_string());
        }
    }

    fn forced(&mut self, tokens: &mut Vec<u32>) {
        self.find_forced();
        tokens.extend(&self.forced);
    }

    fn finished(&self) -> bool {
        self.failure.is_none() && self.parser.stopped()
    }

    fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Constraint")
            .field("max_tokens", &self.max_tokens)
            .field("n_taken", &self.n_taken)
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}
