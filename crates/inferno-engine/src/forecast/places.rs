//! Sequences in the places of an engine, played forward in time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Ending, Experience, MAX_ESTIMATE};
use crate::request::{Micros, SeqId};
use inferno_model::batch::PAGE_LEN;

/// A sequence and what is left of it to compute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Job {
    pub(crate) id: SeqId,
    /// Tokens whose keys and values are still to be computed, of a prompt or of what was preempted.
    pub(crate) n_rows: f64,
    /// Tokens so far, of prompt and completion.
    pub(crate) n_tokens: usize,
    /// Tokens of the completion so far.
    pub(crate) n_completion: usize,
    /// Tokens of the completion, at most.
    pub(crate) limit: usize,
    pub(crate) ending: Ending,
}

/// When a sequence starts, and when it has its first token, in microseconds from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) start: Micros,
    pub(crate) first_token: Micros,
}

fn limited(time: f64) -> Micros {
    (time as Micros).min(MAX_ESTIMATE)
}

/// The pages of a cache group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pool {
    pub(crate) n_free: usize,
    /// Pages of a sequence, at most.
    pub(crate) most_each: usize,
}

/// Room for sequences, and the sequences in it.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    max_sequences: usize,
    max_rows: usize,
    pools: Vec<Pool>,
    experience: Experience,
    /// Microseconds from now.
    time: f64,
    /// When the last one that was admitted started.
    last_start: f64,
    /// Steps in which all that run decoded, from now.
    steps: f64,
    /// Running sequences: the step at which each ends, and its pages where no window is.
    running: BinaryHeap<Reverse<(u64, usize)>>,
}

impl Default for Places {
    /// One place, of which nothing is known.
    fn default() -> Places {
        Places::new(Experience::default(), (1, 512), Vec::new())
    }
}

impl Places {
    pub(crate) fn new(
        experience: Experience,
        (max_sequences, max_rows): (usize, usize),
        pools: Vec<Pool>,
    ) -> Places {
        let running = BinaryHeap::new();
        let (time, last_start, steps) = (0.0, 0.0, 0.0);
        Places { max_sequences, max_rows, pools, experience, time, last_start, steps, running }
    }

    /// When the last one that was admitted starts, in microseconds from now.
    pub(crate) fn last_start(&self) -> Micros {
        limited(self.last_start)
    }

    /// When another one like `job` would start.
    pub(crate) fn next_start(mut self, job: &Job) -> Micros {
        self.admit(job).start
    }

    pub(crate) fn experience(&self) -> &Experience {
        &self.experience
    }

    /// Puts a sequence in that runs already.
    pub(crate) fn run(&mut self, job: &Job) {
        self.place(job);
    }

    /// Waits until there is a place for a sequence, and puts it in.
    pub(crate) fn admit(&mut self, job: &Job) -> Turn {
        let n_pages = job.n_tokens.div_ceil(PAGE_LEN);
        let is_full = |pool: &Pool| n_pages.min(pool.most_each) > pool.n_free;
        while self.running.len() >= self.max_sequences || self.pools.iter().any(is_full) {
            if !self.end_one() {
                break;
            }
        }
        self.last_start = self.time;
        let start = limited(self.time);
        self.place(job);
        // The first token comes with the last of these rows.
        Turn { start, first_token: limited(self.time) }
    }

    /// Advances by `time`, with no new arrivals.
    pub(crate) fn pass(&mut self, time: Micros) {
        let until = time as f64;
        while let Some(Reverse((end, _))) = self.running.peek() {
            let took = (*end as f64 - self.steps).max(0.0) * self.step();
            if self.time + took > until {
                self.steps += (until - self.time).max(0.0) / self.step().max(1.0);
                break;
            }
            self.end_one();
        }
        self.time = (self.time - until).max(0.0);
        self.last_start = (self.last_start - until).max(0.0);
    }

    fn step(&self) -> f64 {
        self.experience.speed.step(self.running.len())
    }

    fn place(&mut self, job: &Job) {
        let Experience { speed, lengths, .. } = &self.experience;
        self.time += match job.n_rows > 1.0 {
            true => speed.prompt(job.n_rows, self.max_rows, self.running.is_empty()),
            false => 0.0,
        };
        // Lengths differ: of many sequences some end soon. The golden ratio spreads the parts evenly over any that follow
        // each other, and the same sequence has the same part whenever one asks.
        let part = (job.id.0 as f64 * 0.618_033_988_749_895).fract();
        let n_left = match job.ending {
            Ending::AtLimit => lengths.left(job.n_completion, job.limit, job.ending, 0.5),
            Ending::Anywhere => {
                let whole = lengths.left(0, job.limit, job.ending, part);
                match whole.checked_sub(job.n_completion) {
                    Some(left) if left > 0 => left,
                    // It is longer than its part said.
                    _ => lengths.left(job.n_completion, job.limit, job.ending, (part + 0.5).fract()),
                }
            }
        };
        let n_pages = (job.n_tokens + n_left / 2).div_ceil(PAGE_LEN);
        for pool in &mut self.pools {
            pool.n_free = pool.n_free.saturating_sub(n_pages.min(pool.most_each));
        }
        let end = self.steps + n_left as f64 / speed.tokens_per_step();
        self.running.push(Reverse((end.ceil() as u64, n_pages)));
    }

    /// Goes on until the next sequence ends; false if none runs.
    fn end_one(&mut self) -> bool {
        let step = self.step();
        let Some(Reverse((end, n_pages))) = self.running.pop() else { return false };
        let n = (end as f64 - self.steps).max(0.0);
        self.time += n * step;
        self.steps += n;
        self.pools.iter_mut().for_each(|pool| pool.n_free += n_pages.min(pool.most_each));
        true
    }
}
