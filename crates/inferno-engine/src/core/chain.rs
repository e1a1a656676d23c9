//! Steps that follow each other on the device: where nothing but the next tokens is to be decided, and the device decides
//! that, the host need not be asked.
//!
//! Sequences that need the host (for a grammar, penalties or log-probabilities) do not end the chain of the others. They are in
//! its first step, and wait for its end:
//!
//! ```text
//! step              1   2   3   4 | 5   6   7   8
//! sampled there     a   a   a   a | a   a   a   a
//! needs the host    b             | b
//! ```
//!
//! So the chain is bounded by what they lose. Each step after the first costs every waiting sequence the time of a step and saves
//! every chained one the way to the host: with `n` chained sequences beside `m` waiting ones there are at most `n / m` of them.
//! And the chain ends in time for waiting sequences to be faster than anyone reads.

use super::Core;
use crate::request::Micros;
use crate::scheduler::{Plan, PlanSpan};

/// Steps in a chain, at most.
pub(super) const MOST_STEPS: usize = 16;
/// What a chain may take, about: who comes or cancels meanwhile waits for its end, and its tokens are told at once.
const CHAIN_TIME: Micros = 25_000;
/// The same where sequences that need the host wait for the end.
const SHARED_CHAIN_TIME: Micros = 10_000;

impl Core {
    /// Number of steps that the plan is good for: 1 unless all of its sequences decode, without guesses, and nothing waits.
    /// `chained` becomes the spans that take part in all steps, none if it is 1, and they have pages for them.
    pub(super) fn chain_len(&mut self, plan: &Plan, chained: &mut Vec<PlanSpan>) -> usize {
        chained.clear();
        let is_guessed = |span: &PlanSpan| !span.drafts.is_empty() && !self.drafts.are_forced(span.id);
        // Rows that recurrent layers compute once more.
        let is_long = |span: &PlanSpan| span.rows.len() > 1 && self.live[&span.id].suits_devices();
        let has_others = plan.n_prompt_rows > 0
            || plan.spans.iter().any(|span| is_guessed(span) || is_long(span))
            || self.scheduler.counts().waiting > 0;
        if has_others || self.model.chaining().is_none() {
            return 1;
        }
        let mut n = MOST_STEPS.min(self.steps_in(CHAIN_TIME, plan.n_rows));
        for span in &plan.spans {
            let live = &self.live[&span.id];
            if live.suits_devices() {
                n = n.min(live.max_tokens - live.usage.n_completion);
                chained.push(span.clone());
            }
        }
        let n_waiting = plan.spans.len() - chained.len();
        if let Some(shared) = chained.len().checked_div(n_waiting) {
            n = n.min(1 + shared).min(self.steps_in(SHARED_CHAIN_TIME, plan.n_rows));
        }
        if n > 1 && !chained.is_empty() {
            n = self.scheduler.reach(chained, n);
        }
        if n < 2 || chained.is_empty() {
            chained.clear();
            return 1;
        }
        n
    }

    fn steps_in(&self, time: Micros, n_rows: usize) -> usize {
        let expected = self.scheduler.budget().expected(n_rows);
        expected.map_or(1, |expected| (time as f64 / expected.max(1.0)) as usize)
    }
}
