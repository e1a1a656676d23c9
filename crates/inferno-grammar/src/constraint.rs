//! A compiled grammar at work on one answer.

use std::collections::VecDeque;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use inferno_engine::{Grammar, TokenMask};
use llguidance::panic_utils::catch_unwind;
use toktrie::SimpleVob;

use crate::closing::Walk;
use crate::spacing::Parsers;

/// Masks the tokens of one answer, and closes it within its limit.
pub struct Constraint {
    parsers: Parsers,
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
    walk: Arc<Walk>,
    watch: Watch,
    reserve: Reserve,
}

/// When the ending of an answer is looked after.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch {
    /// Tokens left from which on it is; 0 where it never is.
    pub(crate) from: usize,
    /// Tokens by which a token of letters and digits alone may lengthen the ending; `None` where that is not known.
    pub(crate) plain_growth: Option<usize>,
}

/// Knowledge of the ending of the answer so far.
#[derive(Debug, Default)]
struct Reserve {
    /// Tokens that an ending takes at most.
    at_most: Option<usize>,
    /// The ending, if it is known.
    ending: Option<VecDeque<u32>>,
    /// Reused from walk to walk.
    walked: Vec<u32>,
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
    /// `walk` finds endings, which are looked after as `watch` says.
    pub(crate) fn new(parsers: Parsers, max_tokens: usize, walk: Arc<Walk>, watch: Watch) -> Constraint {
        Constraint {
            walk,
            watch,
            reserve: Reserve::default(),
            parsers,
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

    /// `sampled`, or the next token of the known ending where the answer could not end in time after it.
    fn token_in_time(&mut self, sampled: u32) -> u32 {
        let n_left = self.max_tokens.saturating_sub(self.n_taken);
        if let (Some(at_most), Some(growth)) = (self.reserve.at_most, self.watch.plain_growth)
            && at_most + growth < n_left
            && is_plain(self.parsers.trie().token(sampled))
            && self.parsers.agree_on(sampled)
        {
            self.reserve.at_most = Some(at_most + growth);
            return sampled;
        }
        // Before the sampled token is tried, which may have no ending in time.
        if self.reserve.ending.is_none() {
            self.reserve.walked.clear();
            if self.parsers.ending(&self.walk, n_left, &mut self.reserve.walked) {
                self.reserve.know();
            }
        }
        // An answer that is whole already ends here.
        let planned =
            self.reserve.ending.as_ref().and_then(|ending| ending.front().copied().or(self.walk.end()));
        match planned {
            Some(planned) if planned != sampled && !self.can_end_after(sampled, n_left) => planned,
            _ => sampled,
        }
    }

    /// Whether the answer can end within `n_left` tokens that begin with `token`. Its ending is then known.
    fn can_end_after(&mut self, token: u32, n_left: usize) -> bool {
        let mut parsers = self.parsers.clone();
        if parsers.take(token).is_err() {
            // What is wrong is found when the token is taken.
            return true;
        }
        self.reserve.walked.clear();
        self.reserve.walked.push(token);
        let fits = n_left > 0 && parsers.ending(&self.walk, n_left - 1, &mut self.reserve.walked);
        if fits {
            self.reserve.know();
        }
        fits
    }

    fn find_forced(&mut self) {
        if self.forced_is_known || self.failure.is_some() || self.parsers.stopped() {
            return;
        }
        self.forced_is_known = true;
        let parsers = &mut self.parsers;
        match catch_unwind(AssertUnwindSafe(|| Ok(parsers.forced()))) {
            Ok(tokens) => self.forced.extend(tokens),
            Err(e) => self.fail(&e.to_string()),
        }
    }

    fn fail(&mut self, error: &str) {
        let reason = error.split("\n<").next().unwrap_or_default();
        self.failure.get_or_insert_with(|| format!("the answer's grammar failed: {reason}"));
    }
}

impl Reserve {
    /// The ending is the one that was walked last.
    fn know(&mut self) {
        self.at_most = Some(self.walked.len());
        self.ending = Some(self.walked.iter().copied().collect());
    }

    /// `token` has been taken.
    fn take(&mut self, token: u32) {
        self.at_most = self.at_most.map(|n| n.saturating_sub(1));
        if self.ending.as_mut().is_some_and(|ending| ending.pop_front() != Some(token)) {
            self.ending = None;
        }
    }
}

/// Letters, digits and spaces: no JSON begins or ends with them but numbers and `true`, `false` and `null`.
fn is_plain(token: &[u8]) -> bool {
    token.iter().all(|b| b.is_ascii_alphanumeric() || *b == b' ' || *b >= 0x80)
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
            let parsers = &mut self.parsers;
            match catch_unwind(AssertUnwindSafe(|| Ok(parsers.mask()))) {
                Ok(Ok(allowed)) => self.allowed = Some(allowed),
                Ok(Err(e)) => self.fail(&e),
                Err(e) => self.fail(&e.to_string()),
            }
        }
        match &self.allowed {
            Some(allowed) => mask.intersect_half_words(allowed.as_slice()),
            None => mask.ban_all(),
        }
    }

    fn settle(&mut self, sampled: u32) -> u32 {
        let n_left = self.max_tokens.saturating_sub(self.n_taken);
        if n_left > self.watch.from || self.failure.is_some() || self.parsers.stopped() {
            return sampled;
        }
        match catch_unwind(AssertUnwindSafe(|| Ok(self.token_in_time(sampled)))) {
            Ok(token) => {
                if token != sampled {
                    self.closing.note();
                }
                token
            }
            Err(e) => {
                self.fail(&e.to_string());
                sampled
            }
        }
    }

    fn commit(&mut self, token: u32) {
        self.n_taken += 1;
        self.reserve.take(token);
        self.allowed = None;
        if self.forced.front() == Some(&token) {
            self.forced.pop_front();
        } else {
            self.forced.clear();
        }
        self.forced_is_known = !self.forced.is_empty();
        if self.failure.is_some() || self.parsers.stopped() {
            return;
        }
        let parsers = &mut self.parsers;
        match catch_unwind(AssertUnwindSafe(|| Ok(parsers.take(token)))) {
            Ok(Ok(())) => {}
            Ok(Err(e)) => self.fail(&e),
            Err(e) => self.fail(&e.to_string()),
        }
    }

    fn forced(&mut self, tokens: &mut Vec<u32>) {
        self.find_forced();
        tokens.extend(&self.forced);
    }

    fn finished(&self) -> bool {
        self.failure.is_none() && self.parsers.stopped()
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
