//! A compiled grammar at work on one answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use inferno_engine::{Grammar, TokenMask};

/// Masks the tokens of one answer, and closes it within its limit.
#[derive(Debug)]
pub struct Constraint {
    _max_tokens: usize,
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
}

impl Constraint {
    pub(crate) fn new(max_tokens: usize) -> Constraint {
        Constraint { _max_tokens: max_tokens, closing: Closing::default() }
    }

    /// A view of whether the answer was closed, to be kept while the engine has the constraint.
    pub fn closing(&self) -> Closing {
        self.closing.clone()
    }
}

impl Grammar for Constraint {
    fn mask(&mut self, _mask: &mut TokenMask) {}

    fn commit(&mut self, _token: u32) {}

    fn finished(&self) -> bool {
        false
    }
}
