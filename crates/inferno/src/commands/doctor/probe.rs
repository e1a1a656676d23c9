//! A cut of a model at work on the device that the model would have.

use std::time::Duration;

use anyhow::Result;
use inferno_model::architecture::Architecture;
use inferno_model::backend::KvType;

use crate::commands::bench::{Item, Plan, Runner, Samples, Work, per_step};
use crate::load::{Compute, Opened, RunsOn};

/// Rows of a prompt's step, as `bench` and `serve` have them.
const ROWS: usize = 512;
/// Rows of the shortest step that stands for it.
const FEWEST_ROWS: usize = 32;
/// Rows of the step that shows what positions before it cost.
const LATER_ROWS: usize = 64;
/// Time of one measurement of decoding and of a prompt's step, about.
const TIME: Duration = Duration::from_millis(250);
/// Time that a prompt's step may take.
const MOST: Duration = Duration::from_millis(600);
/// Rows of a step whose time per row is about that of a step of 512 rows. GPUs take much longer per row in shorter steps.
const ENOUGH_ROWS: usize = 128;
/// Limit of the time of such a step on a device that is slow even with the smallest cut.
const LONGEST: Duration = Duration::from_secs(8);
const SEED: u64 = 1;

/// Seconds that the work of a cut takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Times {
    /// A decode step of one sequence with a short context.
    pub(super) step: f64,
    /// A row of a prompt, in steps of `rows` rows from its beginning.
    pub(super) row: f64,
    /// Rows of such a step.
    pub(super) rows: usize,
    /// A row, for every position before its step.
    pub(super) position: f64,
}

/// A loaded cut, and the measurements so far.
pub(super) struct Probe {
    pub(super) runs_on: RunsOn,
    /// Bytes that a decode step reads.
    pub(super) step_bytes: f64,
    /// Operations on weights per row of a prompt.
    pub(super) row_flop: f64,
    runner: Runner,
    decode: Item,
    n_steps: usize,
    rows: usize,
    most_rows: usize,
    /// Seconds of a row, about.
    row: f64,
    later: usize,
    /// Of steps, of a prompt's rows, and of a few rows at the beginning and later.
    samples: [Samples; 4],
}

impl Probe {
    /// Loads a cut to the device that `compute` selects, and finds out how long its measurements may be. `most_rows` is the
    /// number of rows that have as many rows per expert as 512 of the whole model. `None` if Ctrl-C was pressed.
    ///
    /// # Errors
    /// There is no memory for it, or the device fails.
    pub(super) fn load(cut: &Opened, compute: &Compute, most_rows: usize) -> Result<Option<Probe>> {
        let arch = cut.architecture(None)?;
        let target = compute.target()?;
        let runs_on = target.runs_on(cut);
        let n_positions = arch.context_len.min(2 * ROWS);
        let decode = Work::Decode { n_steps: n_positions, depth: 0, n_sequences: 1 };
        let mut plan = Plan::of(&[decode]);
        let n_pages = plan.n_pages(&arch, 2);
        let decode = plan.items.pop().expect("one item");
        let model = cut.model(arch.clone(), n_pages, target, None)?;
        let most_rows = most_rows.clamp(FEWEST_ROWS, ROWS).min(n_positions);
        let mut probe = Probe {
            step_bytes: step_bytes(cut, &arch, runs_on.kv_type),
            row_flop: row_flop(cut, &arch),
            runner: Runner::new(model, SEED, ROWS),
            decode,
            n_steps: 4.min(n_positions),
            rows: most_rows.min(FEWEST_ROWS),
            most_rows,
            row: 0.0,
            later: n_positions - LATER_ROWS.min(n_positions / 2),
            samples: [const { Samples(Vec::new()) }; 4],
            runs_on,
        };
        // Buffers grow and caches fill; then the clock tells how much can be measured.
        let (Some(_), Some(_)) = (probe.steps()?, probe.prompt()?) else { return Ok(None) };
        let (Some(step), Some(row)) = (probe.steps()?, probe.prompt()?) else { return Ok(None) };
        probe.n_steps = ((TIME.as_secs_f64() / step) as usize).clamp(4, 128).min(n_positions);
        probe.row = row;
        probe.grow(most_rows, MOST)?.map_or(Ok(None), |()| Ok(Some(probe)))
    }

    /// Makes a prompt's steps as long as `most` allows, and at most `most_rows` rows. `None` if Ctrl-C was pressed.
    fn grow(&mut self, most_rows: usize, most: Duration) -> Result<Option<()>> {
        while self.rows < most_rows && 2.0 * self.rows as f64 * self.row <= most.as_secs_f64() {
            self.rows = (2 * self.rows).min(most_rows);
        }
        // The first step of another size makes room for it; longer ones take less per row.
        let Some(row) = self.prompt()? else { return Ok(None) };
        self.row = self.row.min(row);
        Ok(Some(()))
    }

    /// Share of this cut that is small enough for prompt steps of [`ENOUGH_ROWS`] within [`MOST`]; `None` if this cut is.
    pub(super) fn share_for_prompts(&self) -> Option<f64> {
        let rows = ENOUGH_ROWS.min(self.most_rows);
        (self.rows < rows).then(|| MOST.as_secs_f64() / (rows as f64 * self.row))
    }

    /// Lengthens the prompt steps of the smallest cut to [`ENOUGH_ROWS`], or to what [`LONGEST`] allows. `None` if Ctrl-C was
    /// pressed.
    pub(super) fn take_enough_rows(&mut self) -> Result<Option<()>> {
        let most_rows = ENOUGH_ROWS.min(self.most_rows);
        loop {
            // Longer steps take less per row: each one tells whether the next one fits.
            let rows = self.rows;
            if self.grow(most_rows.min(2 * rows), LONGEST)?.is_none() {
                return Ok(None);
            }
            if self.rows == rows || self.rows == most_rows {
                return Ok(Some(()));
            }
        }
    }

    /// Measures decoding once. `None` if Ctrl-C was pressed.
    pub(super) fn measure_steps(&mut self) -> Result<Option<()>> {
        let Some(sample) = self.steps()? else { return Ok(None) };
        self.samples[0].0.push(sample);
        Ok(Some(()))
    }

    /// Measures prompt steps once; those that take half of [`LONGEST`] are not measured again. `None` if Ctrl-C was pressed.
    pub(super) fn measure_prompts(&mut self) -> Result<Option<()>> {
        let is_long = 2.0 * self.rows as f64 * self.row > LONGEST.as_secs_f64();
        if is_long && !self.samples[1].0.is_empty() {
            return Ok(Some(()));
        }
        let samples = [self.prompt()?, self.few(0)?, self.few(self.later)?];
        for (samples, sample) in self.samples[1..].iter_mut().zip(samples) {
            let Some(sample) = sample else { return Ok(None) };
            samples.0.push(sample);
        }
        Ok(Some(()))
    }

    /// Median of the seconds of a decode step so far.
    pub(super) fn step(&self) -> f64 {
        self.samples[0].median()
    }

    /// Medians of the measurements so far; those of decode steps are `step`.
    pub(super) fn times(&self, step: f64) -> Times {
        let [_, row, first, later] = self.samples.each_ref().map(Samples::median);
        // As many rows take longer where there are positions before them.
        let position = ((later - first) / self.later as f64).max(0.0);
        Times { step, row, rows: self.rows, position }
    }

    /// Seconds of a decode step.
    fn steps(&mut self) -> Result<Option<f64>> {
        let work = Work::Decode { n_steps: self.n_steps, depth: 0, n_sequences: 1 };
        let Item { tables, states, .. } = &self.decode;
        let item = Item { work, tables: tables.clone(), states: states.clone() };
        Ok(self.runner.sample(&item)?.map(|sample| sample.seconds / self.n_steps as f64))
    }

    /// Seconds of a row at the beginning of a prompt.
    pub(super) fn prompt(&mut self) -> Result<Option<f64>> {
        let sample = self.runner.rows(&self.decode, 0..self.rows)?;
        Ok(sample.map(|sample| sample.seconds / self.rows as f64))
    }

    /// Seconds of a row in a step of few that begins at `start`.
    fn few(&mut self, start: usize) -> Result<Option<f64>> {
        let n = LATER_ROWS.min(self.later);
        let sample = self.runner.rows(&self.decode, start..start + n)?;
        Ok(sample.map(|sample| sample.seconds / n as f64))
    }
}

/// Bytes that a decode step of one sequence cannot avoid reading.
pub(super) fn step_bytes(opened: &Opened, arch: &Architecture, kv_type: KvType) -> f64 {
    let work = Work::Decode { n_steps: 128.min(arch.context_len), depth: 0, n_sequences: 1 };
    per_step(&opened.file, arch, kv_type, work).unwrap_or(0.0)
}

/// Operations on the weights of layers per row of a prompt: two for each weight that the row meets.
pub(in crate::commands) fn row_flop(opened: &Opened, arch: &Architecture) -> f64 {
    let mixture = arch.layers.iter().find_map(|layer| layer.ffn.as_ref()?.experts());
    let used = mixture.map_or(1.0, |mixture| mixture.routing.n_used as f64 / mixture.n_experts as f64);
    let drafts = arch.layers.len()..arch.layers.len() + arch.n_draft_layers;
    let weights = opened.file.tensors().iter().filter(|t| t.n_rows() > 1).map(|t| {
        let Some((layer, name)) = t.name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) else {
            return if t.name == "per_layer_model_proj.weight" { t.n_elements() as f64 } else { 0.0 };
        };
        match layer.parse().is_ok_and(|layer: usize| drafts.contains(&layer)) {
            true => 0.0,
            false if name.contains("_exps.") => t.n_elements() as f64 * used,
            false => t.n_elements() as f64,
        }
    });
    2.0 * weights.sum::<f64>()
}
