//! The likelihood that drafts of a sequence are right, and the number of them that pays.

use super::MAX_DRAFT;

/// After drafts that did not pay, the number of tokens without; doubled every time.
const FIRST_PAUSE: usize = 8;
const LONGEST_PAUSE: usize = 256;
/// Drafts of a step before past steps tell their cost: with the row that they follow they fill a group of four, as kernels take rows.
const FIRST_DRAFTS: usize = 3;
/// Likelihood of a draft after a pause, at least.
const AFRESH: f64 = 0.3;
/// Drafts of a model that are tried after a pause, whether or not they seem to pay, and those of one step.
const TRIAL: usize = 8;
const TRIAL_STEP: usize = 3;

/// Times of the next step, in microseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Costs {
    /// Without drafts.
    pub(super) step: f64,
    pub(super) n_sequences: usize,
    /// By the number of drafts: the time that they add.
    pub(super) added: [f64; MAX_DRAFT + 1],
}

/// Knowledge of a sequence's drafts from one source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trust {
    /// Likelihood that a draft is right if those before it are.
    pub(super) accepted: f64,
    /// No drafts until the sequence has this number of tokens.
    pub(super) resume_at: usize,
    pause: usize,
    /// Weight of the last draft in `accepted`.
    newest: f64,
    /// Drafts of a trial, and those that are left of it.
    trial: usize,
    n_to_try: usize,
    n_learned: usize,
}

/// Weight of the last draft where it counts most, and the number of first drafts for which that is so.
const QUICK: f64 = 0.15;
const N_QUICK: usize = 8;
/// Likelihood at which a draft is worth a trial.
const HOPE: f64 = 0.9;

impl Trust {
    /// Text may change any time: the last drafts count most.
    pub(super) fn of_text() -> Trust {
        Trust {
            accepted: 0.7,
            resume_at: 0,
            pause: FIRST_PAUSE,
            newest: QUICK,
            trial: 0,
            n_to_try: 0,
            n_learned: 0,
        }
    }

    /// Two models agree about as often from one token to the next.
    pub(super) fn of_model() -> Trust {
        Trust { newest: 0.05, trial: TRIAL, ..Trust::of_text() }
    }

    /// Drafts of a step, up to `max`, that are to be tried, whether or not they seem to pay: as long as they would if most were right,
    /// or once in a long time, as their cost may have changed.
    pub(super) fn n_to_try(&self, max: usize, costs: Option<&Costs>) -> usize {
        if self.n_to_try == 0 {
            return 0;
        }
        let hopeful = Trust { accepted: HOPE, ..*self };
        let is_due = usize::from(self.pause == LONGEST_PAUSE && self.n_to_try == self.trial);
        best_number(&hopeful, max.min(TRIAL_STEP).min(self.n_to_try), costs).max(is_due.min(max))
    }

    /// The first `n_accepted` of `n_drafted` drafts were right.
    pub(super) fn learn(&mut self, n_drafted: usize, n_accepted: usize) {
        // A draft after a wrong one was not tried.
        for i in 0..(n_accepted + 1).min(n_drafted) {
            let right = if i < n_accepted { 1.0 } else { 0.0 };
            let newest = if self.n_to_try > 0 || self.n_learned < N_QUICK { QUICK } else { self.newest };
            self.accepted += newest * (right - self.accepted);
            self.n_to_try = self.n_to_try.saturating_sub(1);
            self.n_learned += 1;
        }
        if n_accepted == n_drafted && self.n_to_try == 0 {
            self.pause = FIRST_PAUSE;
        }
    }

    /// No drafts for a while, longer each time: the sequence has `len` tokens.
    pub(super) fn pause_at(&mut self, len: usize) {
        self.resume_at = len + self.pause;
        self.pause = (2 * self.pause).min(LONGEST_PAUSE);
        // By then the text may have changed.
        self.accepted = self.accepted.max(AFRESH);
        self.n_to_try = self.trial;
    }
}

/// The number of drafts, up to `max`, with which tokens come fastest.
pub(super) fn best_number(trust: &Trust, max: usize, costs: Option<&Costs>) -> usize {
    if costs.is_none() {
        return max.min(FIRST_DRAFTS);
    }
    let numbers = (0..=max.min(MAX_DRAFT)).map(|n| (n, gain(trust, n, costs)));
    numbers.fold((0, 1.0), |best, new| if new.1 > best.1 { new } else { best }).0
}

/// The factor by which `n` drafts speed the step up: with them it has more tokens, and takes longer.
pub(super) fn gain(trust: &Trust, n: usize, costs: Option<&Costs>) -> f64 {
    let right: f64 =
        std::iter::successors(Some(trust.accepted), |chance| Some(chance * trust.accepted)).take(n).sum();
    let Some(Costs { step, n_sequences, added }) = costs else { return 1.0 + right };
    (1.0 + right / *n_sequences as f64) / (1.0 + added[n.min(MAX_DRAFT)] / step.max(1e-9))
}
