//! Guesses of what comes next, verified in the same step as the tokens they follow: they change speed and nothing else.
//!
//! They come from the sequence's own text ([`lookup`]); [`Drafts`] decides how many pay, per sequence, by how often they were
//! right and by what a row costs.

mod lookup;

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::request::SeqId;
use crate::scheduler::Drafter;

/// Guesses at once.
const MAX_DRAFT: usize = 8;
/// Forced tokens that are computed at once as drafts, at most.
pub(crate) const MAX_FORCED_DRAFT: usize = 32;
/// After guesses that did not pay, so many tokens without; doubled every time.
const FIRST_PAUSE: usize = 8;
const LONGEST_PAUSE: usize = 256;

/// What a step costs: so much in any case, and so much a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepCost {
    pub(crate) base: f64,
    pub(crate) per_row: f64,
}

/// Guesses for all sequences, and how well they did.
#[derive(Debug, Default)]
pub(crate) struct Drafts {
    records: HashMap<SeqId, Record, RandomState>,
    /// Tokens that come next for certain, but not before their logits are there: never empty.
    forced: HashMap<SeqId, Vec<u32>, RandomState>,
    /// Of the next step, if past ones tell: the cost, and how many decode.
    pub(crate) next: Option<(StepCost, usize)>,
}

#[derive(Debug)]
struct Record {
    /// How likely a guess is right.
    accepted: f64,
    /// No guesses until the sequence has so many tokens.
    resume_at: usize,
    pause: usize,
}

impl Drafts {
    /// The sequence may have guesses.
    pub(crate) fn add(&mut self, id: SeqId) {
        self.records.insert(id, Record { accepted: 0.7, resume_at: 0, pause: FIRST_PAUSE });
    }

    pub(crate) fn remove(&mut self, id: SeqId) {
        self.records.remove(&id);
        self.forced.remove(&id);
    }

    /// Sets the tokens that come next for certain; where there are any, nothing is guessed.
    pub(crate) fn force(&mut self, id: SeqId, tokens: impl Iterator<Item = u32>) {
        let mut tokens = tokens.peekable();
        if tokens.peek().is_none() {
            self.forced.remove(&id);
            return;
        }
        let forced = self.forced.entry(id).or_default();
        forced.clear();
        forced.extend(tokens);
    }

    /// Whether the sequence's drafts are forced tokens.
    pub(crate) fn are_forced(&self, id: SeqId) -> bool {
        self.forced.contains_key(&id)
    }

    /// Of so many guesses so many were right; the sequence has `len` tokens now.
    pub(crate) fn learn(&mut self, id: SeqId, n_drafted: usize, n_accepted: usize, len: usize) {
        let Some(record) = self.records.get_mut(&id).filter(|_| n_drafted > 0) else { return };
        // A guess after a wrong one was not tried.
        for i in 0..(n_accepted + 1).min(n_drafted) {
            let right = if i < n_accepted { 1.0 } else { 0.0 };
            record.accepted = 0.85 * record.accepted + 0.15 * right;
        }
        if n_accepted == n_drafted {
            record.pause = FIRST_PAUSE;
        } else if n_accepted == 0 {
            record.pause_at(len);
        }
    }

    /// How many guesses pay: what the step takes longer must bring more tokens than the step brings now.
    fn worth(&self, record: &Record, max: usize) -> usize {
        let Some((cost, n_decoding)) = self.next else { return max.min(MAX_DRAFT / 2) };
        let n = n_decoding.max(1) as f64;
        let step = cost.base + cost.per_row * n;
        // A guess costs `per_row`, and tokens come at n a step: so likely must it be right.
        let break_even = n * cost.per_row / step.max(1e-9);
        let chances = std::iter::successors(Some(record.accepted), |chance| Some(chance * record.accepted));
        chances.take(max.min(MAX_DRAFT)).take_while(|&chance| chance > break_even).count()
    }
}

impl Record {
    fn pause_at(&mut self, len: usize) {
        self.resume_at = len + self.pause;
        self.pause = (2 * self.pause).min(LONGEST_PAUSE);
        // Next time one guess is tried: the text may have changed.
        self.accepted = self.accepted.max(0.3);
    }
}

impl Drafter for Drafts {
    fn draft(&mut self, id: SeqId, tokens: &[u32], max: usize, out: &mut Vec<u32>) {
        if let Some(forced) = self.forced.get(&id) {
            out.extend(forced.iter().take(max));
            return;
        }
        let Some(record) = self.records.get(&id).filter(|r| r.resume_at <= tokens.len()) else { return };
        let n = self.worth(record, max);
        if n > 0 {
            lookup::draft(tokens, n, out);
        } else if let Some(record) = self.records.get_mut(&id) {
            record.pause_at(tokens.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_stop_where_they_do_not_pay_and_go_on_where_they_do() {
        let id = SeqId(1);
        let tokens: Vec<u32> = (0..40).map(|i| i % 10).collect();
        let n = |drafts: &mut Drafts| {
            let mut out = Vec::new();
            drafts.draft(id, &tokens, 8, &mut out);
            out.len()
        };
        let mut drafts = Drafts::default();
        drafts.add(id);
        // One sequence, and rows that cost next to nothing.
        drafts.next = Some((StepCost { base: 100.0, per_row: 1.0 }, 1));
        assert_eq!(n(&mut drafts), 8);
        // Many sequences: every row costs what a token brings.
        drafts.next = Some((StepCost { base: 10.0, per_row: 10.0 }, 32));
        assert_eq!(n(&mut drafts), 0);
        drafts.remove(id);
        drafts.add(id);
        drafts.next = Some((StepCost { base: 100.0, per_row: 1.0 }, 1));
        drafts.learn(id, 8, 0, tokens.len());
        assert_eq!(n(&mut drafts), 0, "it pauses after guesses that were all wrong");
    }
}
