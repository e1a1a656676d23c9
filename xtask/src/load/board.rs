//! What the threads of a scenario share.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// So many failures are enough.
const MOST_FAILURES: usize = 100;
/// And so many are shown.
const MOST_SHOWN: usize = 5;

#[derive(Default)]
pub(super) struct Board {
    is_over: AtomicBool,
    /// 0 is what belongs to no phase.
    phase: AtomicUsize,
    failures: Mutex<Failures>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Failures {
    pub(super) n: usize,
    /// Of the first ones.
    pub(super) texts: Vec<String>,
}

/// Ends what goes on when it is dropped, by an error or a panic too.
pub(super) struct Ender<'a>(&'a AtomicBool);

impl<'a> Ender<'a> {
    pub(super) fn new(flag: &'a AtomicBool) -> Ender<'a> {
        Ender(flag)
    }
}

impl Drop for Ender<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

impl Board {
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }

    pub(super) fn ender(&self) -> Ender<'_> {
        Ender::new(&self.is_over)
    }

    pub(super) fn phase(&self) -> usize {
        self.phase.load(Relaxed)
    }

    pub(super) fn begin(&self, phase: usize) {
        self.phase.store(phase, Relaxed);
    }

    /// Says why a good request failed; many of these end everything.
    pub(super) fn fail(&self, why: String) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.n += 1;
        if failures.n <= MOST_SHOWN {
            eprintln!("FAILED: {why}");
            failures.texts.push(why);
        }
        if failures.n == MOST_FAILURES {
            eprintln!("{MOST_FAILURES} failures are enough");
            self.is_over.store(true, Relaxed);
        }
    }

    pub(super) fn failures(&self) -> Failures {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Failures {
    /// The bar that there are none.
    pub(super) fn broken(&self) -> Option<String> {
        (self.n > 0).then(|| format!("{} good requests failed, the first: {}", self.n, self.texts[0]))
    }
}
