//! Steps that follow each other on the device: where nothing but the next tokens is to be decided, and the device decides
//! that, the host need not be asked.

use super::Core;
use crate::request::Micros;
use crate::scheduler::Plan;

/// Steps in a chain, at most.
const MOST_STEPS: usize = 16;
/// What a chain may take, about: who comes or cancels meanwhile waits for its end, and its tokens are told at once.
const CHAIN_TIME: Micros = 25_000;

impl Core {
    /// How many steps the plan is good for: 1 unless all of it are sequences with a token each to go on from. Makes sure
    /// of their pages.
    pub(super) fn chain_len(&mut self, plan: &Plan) -> usize {
        let has_others =
            plan.n_prompt_rows > 0 || !plan.drafts.is_empty() || self.scheduler.counts().waiting > 0;
        if self.model.chaining().is_none() || has_others {
            return 1;
        }
        let mut n = MOST_STEPS.min(self.steps_in_time(plan.n_rows));
        for span in &plan.spans {
            let live = &self.live[&span.id];
            if span.rows.len() != 1 || !live.suits_devices() {
                return 1;
            }
            n = n.min(live.max_tokens - live.usage.n_completion);
        }
        if n < 2 { 1 } else { self.scheduler.reach(plan, n) }
    }

    fn steps_in_time(&self, n_rows: usize) -> usize {
        let expected = self.scheduler.budget().expected(n_rows);
        expected.map_or(1, |expected| (CHAIN_TIME as f64 / expected.max(1.0)) as usize)
    }
}
