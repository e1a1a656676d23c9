//! Measurements on one model: steps, and how long they took.

use std::ops::Range;
use std::time::Instant;

use anyhow::Result;
use inferno_engine::logits_hash;
use inferno_model::architecture::{CacheGroup, CacheKind};
use inferno_model::batch::{Batch, PageId, Want};
use inferno_model::model::Model;
use inferno_model::sample::SampleSpec;

use super::plan::{Item, Work};
use crate::interrupt;

/// Steps at a time, where a device chooses tokens.
const CHAIN: usize = 16;

/// One measurement's outcome.
#[derive(Debug, Clone, Copy)]
pub(in crate::commands) struct Sample {
    pub(in crate::commands) seconds: f64,
    /// Of the last step's logits, all rows of it.
    pub(in crate::commands) logits_hash: u64,
}

/// When a piece of work ended (`None`: there was nothing to do), and the hash of its last logits.
#[derive(Default)]
struct Done {
    at: Option<Instant>,
    logits_hash: u64,
}

/// A model at work. Tokens are random, the same in every repeat: a function of the seed, the sequence and the position.
pub(in crate::commands) struct Runner {
    model: Box<dyn Model>,
    seed: u64,
    /// Rows of a prompt per step.
    chunk: usize,
    batch: Batch,
    tokens: Vec<u32>,
    /// The page of a sequence's state, under every number.
    states: Vec<PageId>,
}

impl Done {
    fn since(&self, start: Instant) -> Sample {
        let seconds = self.at.map_or(0.0, |at| (at - start).as_secs_f64());
        Sample { seconds, logits_hash: self.logits_hash }
    }
}

impl Runner {
    pub(in crate::commands) fn new(model: Box<dyn Model>, seed: u64, chunk: usize) -> Runner {
        Runner { model, seed, chunk, batch: Batch::default(), tokens: Vec::new(), states: Vec::new() }
    }

    pub(in crate::commands) fn into_model(self) -> Box<dyn Model> {
        self.model
    }

    /// Computes the positions up to the item's depth, and a few rows of its work, so that memory, caches and buffers
    /// are what they will be. `None` if Ctrl-C was pressed.
    pub(in crate::commands) fn prepare(&mut self, item: &Item) -> Result<Option<()>> {
        for sequence in 0..item.tables.len() {
            if self.prompt(item, sequence, item.work.depth())?.is_none() {
                return Ok(None);
            }
        }
        let work = match item.work {
            Work::Prompt { n_tokens } => Work::Prompt { n_tokens: n_tokens.min(self.chunk) },
            Work::Decode { n_steps, depth, n_sequences } => {
                Work::Decode { n_steps: n_steps.min(2), depth, n_sequences }
            }
        };
        Ok(self.sample(&Item { work, tables: item.tables.clone(), states: item.states.clone() })?.map(|_| ()))
    }

    /// Does the item's work once. `None` if Ctrl-C was pressed.
    pub(in crate::commands) fn sample(&mut self, item: &Item) -> Result<Option<Sample>> {
        let start = Instant::now();
        let done = match item.work {
            Work::Prompt { n_tokens } => self.prompt(item, 0, n_tokens)?,
            Work::Decode { n_steps, depth, .. } => self.decode(item, depth..depth + n_steps)?,
        };
        Ok(done.map(|done| done.since(start)))
    }

    /// One step that computes the positions of a sequence, to the last one's logits. Positions before them are taken as they
    /// are stored, computed or not.
    pub(in crate::commands) fn rows(
        &mut self,
        item: &Item,
        positions: Range<usize>,
    ) -> Result<Option<Sample>> {
        let start = Instant::now();
        self.batch.clear();
        self.push(item, 0, positions, Want::Logits);
        Ok(self.step(true)?.map(|done| done.since(start)))
    }

    /// Does the work of a decode as if nothing were kept: for every step the sequence's rows from the first on.
    /// `None` if Ctrl-C was pressed.
    pub(in crate::commands) fn without_cache(&mut self, item: &Item) -> Result<Option<Sample>> {
        let start = Instant::now();
        let mut done = Done::default();
        for n in item.work.depth() + 1..=item.work.n_positions() {
            let Some(prompt) = self.prompt(item, 0, n)? else { return Ok(None) };
            done = prompt;
        }
        Ok(Some(done.since(start)))
    }

    /// The first `n` positions of a sequence, chunk by chunk; of the last one the logits.
    fn prompt(&mut self, item: &Item, sequence: usize, n: usize) -> Result<Option<Done>> {
        let mut done = Done::default();
        for start in (0..n).step_by(self.chunk) {
            let end = n.min(start + self.chunk);
            self.batch.clear();
            let want = if end == n { Want::Logits } else { Want::Nothing };
            self.push(item, sequence, start..end, want);
            let Some(step) = self.step(end == n)? else { return Ok(None) };
            done = step;
        }
        Ok(Some(done))
    }

    /// All sequences one position further, again and again. A device that chooses tokens does many steps at a time, as the
    /// engine has it, and the last one for its logits.
    fn decode(&mut self, item: &Item, positions: Range<usize>) -> Result<Option<Done>> {
        let mut done = Done::default();
        let Range { start: mut position, end } = positions;
        while position < end {
            let chains = self.model.chaining().is_some();
            let n = if chains { (end - 1 - position).clamp(1, CHAIN) } else { 1 };
            let want = if n > 1 { Want::Sample(SampleSpec::GREEDY) } else { Want::Logits };
            self.batch.clear();
            for sequence in 0..item.tables.len() {
                self.push(item, sequence, position..position + 1, want);
            }
            position += n;
            if n > 1
                && let Some(chaining) = self.model.chaining()
            {
                chaining.chain(&self.batch, n)?;
                continue;
            }
            let Some(step) = self.step(position == end)? else { return Ok(None) };
            done = step;
        }
        Ok(Some(done))
    }

    fn push(&mut self, item: &Item, sequence: usize, positions: Range<usize>, want: Want) {
        let start = positions.start;
        let arch = self.model.architecture();
        let token = |position| {
            let noise = mix(mix(self.seed ^ (sequence as u64) << 32) ^ position as u64);
            (noise % arch.vocab_size as u64) as u32
        };
        self.tokens.clear();
        self.tokens.extend(positions.map(token));
        let table = &item.tables[sequence][..];
        self.states.clear();
        self.states.resize(table.len(), item.states[sequence]);
        let of = |group: &CacheGroup| match group.kind {
            CacheKind::Pages { .. } | CacheKind::Latent { .. } => table,
            CacheKind::State { .. } => &self.states,
        };
        let tables: Vec<&[PageId]> = arch.cache_groups.iter().map(of).collect();
        self.batch.push(&self.tokens, start, &tables, want);
    }

    /// Runs the batch. The logits of the last step are hashed, after the clock is read.
    fn step(&mut self, is_last: bool) -> Result<Option<Done>> {
        if interrupt::requested() {
            return Ok(None);
        }
        let output = self.model.step(&self.batch)?;
        let at = Some(Instant::now());
        let hashes =
            output.rows().iter().filter(|_| is_last).map(|&row| output.logits(row).map_or(0, logits_hash));
        let logits_hash = hashes.reduce(|all, row| mix(all) ^ row).unwrap_or(0);
        Ok(Some(Done { at, logits_hash }))
    }
}

/// The output function of SplitMix64 (Steele, Lea, Flood 2014).
pub(in crate::commands) fn mix(x: u64) -> u64 {
    let z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}
