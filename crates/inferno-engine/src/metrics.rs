//! What the engine has done, as plain numbers.

use std::time::Duration;

use inferno_model::architecture::MAX_CACHE_GROUPS;

use crate::cache::CacheCounts;
use crate::pages::PageCounts;
use crate::request::{Finish, Micros};
use crate::scheduler::ScheduleCounts;

/// Upper ends of a histogram's buckets in microseconds, but the last one's, which has none: 100 µs to 100 s.
pub const TIME_BUCKETS: [Micros; 25] = [
    100,
    200,
    500,
    1_000,
    2_000,
    3_000,
    5_000,
    7_500,
    10_000,
    15_000,
    20_000,
    30_000,
    50_000,
    75_000,
    100_000,
    150_000,
    200_000,
    300_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    30_000_000,
    100_000_000,
];

/// Upper ends of the buckets of rows in a step.
pub const ROW_BUCKETS: [u64; 12] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048];

/// Numbers by size; the last bucket is for those beyond all ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Histogram<const N: usize> {
    ends: &'static [u64; N],
    /// Numbers up to each end, and above the one before.
    pub counts: [u64; N],
    /// Numbers above the last end.
    pub above: u64,
    /// Their sum.
    pub sum: u64,
}

impl<const N: usize> Histogram<N> {
    /// Without numbers; `ends` are the upper ends of its buckets, and go up.
    pub const fn new(ends: &'static [u64; N]) -> Self {
        Histogram { ends, counts: [0; N], above: 0, sum: 0 }
    }

    /// A number more.
    pub fn add(&mut self, x: u64) {
        self.sum += x;
        match self.counts.get_mut(self.ends.partition_point(|&end| end < x)) {
            Some(count) => *count += 1,
            None => self.above += 1,
        }
    }

    /// The upper ends of the buckets.
    pub fn ends(&self) -> &'static [u64; N] {
        self.ends
    }

    /// How many numbers there are.
    pub fn n(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.above
    }
}

/// Requests and choices by how they ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FinishCounts {
    /// With a stop token.
    pub stop: u64,
    /// At their length.
    pub length: u64,
    /// With a stop condition.
    pub stop_condition: u64,
    /// With a complete grammar.
    pub grammar: u64,
    /// Given up by the client.
    pub cancelled: u64,
    /// Too late.
    pub deadline: u64,
    /// With an error.
    pub failed: u64,
}

/// The work of a draft model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DraftModelCounts {
    /// Tokens of it that were verified.
    pub proposed: u64,
    /// Of them, tokens that were right.
    pub accepted: u64,
    /// Its steps.
    pub steps: u64,
    /// Rows that it computed of tokens that the model had computed before: prompts, and tokens without proposals.
    pub rows_behind: u64,
    /// Microseconds that it took.
    pub time: Micros,
    /// Calls that failed. After three of them it proposes nothing.
    pub failures: u64,
}

/// Counters since the start, and what is now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metrics {
    /// Sequences.
    pub sequences: ScheduleCounts,
    /// Pages of the KV pool, in all cache groups.
    pub pages: PageCounts,
    /// Pages by cache group; the model has as many as it has groups, the others are zero.
    pub group_pages: [PageCounts; MAX_CACHE_GROUPS],
    /// The prefix cache.
    pub cache: CacheCounts,
    /// Microseconds spent in steps.
    pub busy_time: Micros,
    /// Steps.
    pub steps: u64,
    /// Those that followed another one on the device, without the engine between.
    pub chained_steps: u64,
    /// Sequences of all steps: a sequence counts once for each step that has rows of it.
    pub step_sequences: u64,
    /// Prompt tokens that were computed.
    pub prompt_tokens: u64,
    /// Tokens that were chosen.
    pub completion_tokens: u64,
    /// Of them, tokens that a grammar left no choice about.
    pub forced_tokens: u64,
    /// Drafts that were verified: one for each sequence and step with draft tokens of it.
    pub drafts: u64,
    /// Guesses that were verified, and those that were right.
    pub drafted_tokens: u64,
    /// See above.
    pub accepted_tokens: u64,
    /// Microseconds that drafts have saved, about: less than 0 if they took longer than what they saved.
    pub saved_by_drafts: i64,
    /// The draft model's part in the above; zeros without one.
    pub draft_model: DraftModelCounts,
    /// Choices that ended.
    pub finished: FinishCounts,
    /// Times that a step failed and was taken up again.
    pub restarts: u64,
    /// What a step took in the model, and beside it.
    pub step_time: Histogram<25>,
    /// Time of a step that is not the model's: scheduling, sampling, events.
    pub overhead_time: Histogram<25>,
    /// Time that grammars took in all: masks, forced tokens, and following what was sampled. On the engine's thread, or on
    /// others while the model computed.
    pub grammar_time: Duration,
    /// Time to compute a mask.
    pub mask_time: Histogram<25>,
    /// Rows of a step.
    pub step_rows: Histogram<12>,
    /// From submission to the first place in a step.
    pub queue_time: Histogram<25>,
    /// From submission to the first token.
    pub time_to_first_token: Histogram<25>,
    /// Between two tokens of a choice.
    pub inter_token_latency: Histogram<25>,
}

impl Metrics {
    pub(crate) fn add_grammar_time(&mut self, all: Duration, masks: &[Duration]) {
        self.grammar_time += all;
        masks.iter().for_each(|mask| self.mask_time.add((mask.as_nanos() as u64).div_ceil(1000)));
    }

    /// Share of the KV pool's pages that sequences hold, from 0 to 1: of the cache group that is the fullest.
    pub fn kv_usage(&self) -> f64 {
        let usage = |pages: &PageCounts| pages.held as f64 / pages.total().max(1) as f64;
        self.group_pages.iter().map(usage).fold(0.0, f64::max)
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        let time = Histogram::new(&TIME_BUCKETS);
        Metrics {
            sequences: ScheduleCounts::default(),
            pages: PageCounts::default(),
            group_pages: [PageCounts::default(); MAX_CACHE_GROUPS],
            cache: CacheCounts::default(),
            busy_time: 0,
            steps: 0,
            chained_steps: 0,
            step_sequences: 0,
            prompt_tokens: 0,
            completion_tokens: 0,
            forced_tokens: 0,
            drafts: 0,
            drafted_tokens: 0,
            accepted_tokens: 0,
            saved_by_drafts: 0,
            draft_model: DraftModelCounts::default(),
            finished: FinishCounts::default(),
            restarts: 0,
            step_time: time,
            overhead_time: time,
            grammar_time: Duration::ZERO,
            mask_time: time,
            step_rows: Histogram::new(&ROW_BUCKETS),
            queue_time: time,
            time_to_first_token: time,
            inter_token_latency: time,
        }
    }
}

impl FinishCounts {
    pub(crate) fn add(&mut self, finish: &Finish) {
        *match finish {
            Finish::Stop => &mut self.stop,
            Finish::Length => &mut self.length,
            Finish::StopCondition => &mut self.stop_condition,
            Finish::Grammar => &mut self.grammar,
            Finish::Cancelled => &mut self.cancelled,
            Finish::Deadline => &mut self.deadline,
            Finish::Failed(_) => &mut self.failed,
        } += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_falls_into_the_first_bucket_that_holds_it() {
        let mut rows = Histogram::new(&ROW_BUCKETS);
        [0, 1, 2, 3, 4, 2048, 2049].into_iter().for_each(|x| rows.add(x));
        assert_eq!((rows.counts[..3].to_vec(), rows.counts[11], rows.above), (vec![2, 1, 2], 1, 1));
        assert_eq!((rows.n(), rows.sum), (7, 4107));
    }
}
