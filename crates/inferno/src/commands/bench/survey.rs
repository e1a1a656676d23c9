//! `inferno bench --report`: the usual work on models of usual shapes, beside what the device allows, as a file that a user can
//! send. Needs nothing but the program: the models are made in memory, with random weights.

mod models;
mod page;
mod row;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::plan::{Item, Plan, Work};
use super::runner::Runner;
use super::stats::Samples;
use crate::commands::doctor::{Found, row_flop};
use crate::commands::{note, print};
use crate::load::{self, Opened};
use crate::{cli, interrupt};
use models::Shape;
use page::Page;
use row::{Limits, Measured, Row};

/// Seconds of the samples of a row, about.
const ROW: f64 = 4.0;
/// Seconds that a row may take in all, by what is known before it: else it is left out.
const LONGEST: f64 = 20.0;
/// Samples of a row, if there is time.
const N_SAMPLES: usize = 3;
/// Steps of a sample, if there is time.
const N_STEPS: usize = 128;
/// Rows of the first step that tells how fast prompts are.
const FIRST_ROWS: usize = 32;

pub(super) fn survey(args: &cli::Bench, path: &Path) -> Result<ExitCode> {
    let json_path = args.json.then(|| path.with_extension("json"));
    ensure!(
        json_path.as_deref() != Some(path),
        "`{}` is where `--json` writes: name a page like `report.md`",
        path.display()
    );
    for path in std::iter::once(path).chain(json_path.as_deref()) {
        ensure!(!path.exists(), "`{}` exists: name another file (`--report FILE`)", path.display());
    }
    interrupt::listen()?;
    let start = Instant::now();
    note("measuring what the device allows");
    let mut found = Found::at_once();
    let mut is_finished = found.measure(&args.compute)?.is_some();
    let limits = Limits::of(&found);
    let mut page = Page::new(found, limits);
    if is_finished {
        for shape in models::asked(&args.model) {
            if survey_model(args, &shape, &mut page)?.is_none() {
                is_finished = false;
                break;
            }
        }
    }
    if !is_finished {
        note("stopped, no file is written");
        return Ok(ExitCode::from(interrupt::EXIT_CODE));
    }
    page.seconds = start.elapsed().as_secs_f64();
    let text = page.to_text();
    print(text.as_bytes())?;
    let write = |path: &Path, text: &str| {
        std::fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
    };
    write(path, &text)?;
    if let Some(path) = &json_path {
        write(path, &format!("{:#}\n", page.to_json()))?;
    }
    note(&format!("wrote `{}`", path.display()));
    Ok(ExitCode::SUCCESS)
}

/// Measures the rows of a model, or notes why there are none. `None` if Ctrl-C was pressed.
fn survey_model(args: &cli::Bench, shape: &Shape, page: &mut Page) -> Result<Option<()>> {
    let target = args.compute.target()?;
    if let Some(why) = shape.reason_against(&target, &page.limits)? {
        page.rows.push(Row::left_out(&shape.title, "all", why));
        return Ok(Some(()));
    }
    note(&format!("making and loading {}", shape.title));
    let mut model = match Surveyed::load(args, shape, target) {
        Ok(model) => model,
        // Memory that the system or the driver would not give: the other models are smaller.
        Err(e) => {
            page.rows.push(Row::left_out(&shape.title, "all", format!("{e:#}")));
            return Ok(Some(()));
        }
    };
    page.runs_on.get_or_insert_with(|| model.runs_on.to_string());
    for i in 0..model.items.len() {
        note(&format!("{}: {}", shape.title, row::title(model.items[i].work)));
        let Some(row) = model.row(i)? else { return Ok(None) };
        page.rows.push(row);
    }
    for work in &model.beyond {
        let why = format!("the context is {}", model.context_len);
        page.rows.push(Row::left_out(&shape.title, &row::title(*work), why));
    }
    Ok(Some(()))
}

/// A model that is loaded, and how fast it is as far as is known.
struct Surveyed {
    title: String,
    opened: Opened,
    runs_on: load::RunsOn,
    runner: Runner,
    items: Vec<Item>,
    /// Work that its context has no room for.
    beyond: Vec<Work>,
    context_len: usize,
    row_flop: f64,
    counters: Vec<Arc<AtomicU64>>,
    /// Seconds of a row of a prompt.
    prompt_row: Option<f64>,
}

impl Surveyed {
    fn load(args: &cli::Bench, shape: &Shape, target: load::Target) -> Result<Surveyed> {
        let opened = shape.open()?;
        let arch = opened.architecture(None)?;
        let context_len = arch.context_len;
        let (works, beyond): (Vec<Work>, Vec<Work>) =
            shape.works.iter().copied().partition(|work| work.n_positions() <= context_len);
        let plan = Plan::of(&works);
        let (runs_on, counters) = (target.runs_on(&opened), target.dispatches());
        let row_flop = row_flop(&opened, &arch);
        let model = opened.model(arch.clone(), plan.n_pages(&arch, 0), target, None)?;
        Ok(Surveyed {
            title: shape.title.clone(),
            opened,
            runs_on,
            runner: Runner::new(model, args.seed, args.chunk.get()),
            items: plan.items,
            beyond,
            context_len,
            row_flop,
            counters,
            prompt_row: None,
        })
    }

    /// Measures a row, or says why it is left out. `None` if Ctrl-C was pressed.
    fn row(&mut self, i: usize) -> Result<Option<Row>> {
        let mut item = self.items[i].clone();
        let whole = item.work;
        // What comes before the samples: a prompt, once for the depth or for the first sample.
        let n_before = match item.work {
            Work::Prompt { n_tokens } => 2 * n_tokens,
            Work::Decode { depth, n_sequences, .. } => depth * n_sequences,
        };
        if n_before > 0 {
            let Some(row) = self.prompt_row(&item)? else { return Ok(None) };
            let expected = row * n_before as f64;
            if expected > LONGEST {
                let why = format!("it would take about {expected:.0} s, and a row may take {LONGEST:.0}");
                return Ok(Some(Row::left_out(&self.title, &row::title(item.work), why)));
            }
        }
        if self.runner.prepare(&item)?.is_none() {
            return Ok(None);
        }
        if let Work::Decode { depth, n_sequences, .. } = item.work {
            const FEW: usize = 2;
            item.work = Work::Decode { n_steps: FEW, depth, n_sequences };
            let Some(first) = self.runner.sample(&item)? else { return Ok(None) };
            let fits = ROW / N_SAMPLES as f64 * FEW as f64 / first.seconds;
            item.work =
                Work::Decode { n_steps: (fits as usize).clamp(FEW, whole_steps(whole)), depth, n_sequences };
        }
        let (mut seconds, start) = (Samples::default(), Instant::now());
        let n_dispatches = self.n_dispatches();
        while seconds.0.is_empty() || seconds.0.len() < N_SAMPLES && start.elapsed().as_secs_f64() < ROW {
            let Some(sample) = self.runner.sample(&item)? else { return Ok(None) };
            seconds.0.push(sample.seconds);
        }
        let n_dispatches = (self.n_dispatches() - n_dispatches) as f64 / seconds.0.len() as f64;
        if let Work::Prompt { n_tokens } = item.work {
            self.prompt_row = Some(seconds.median() / n_tokens as f64);
        }
        let arch = self.opened.architecture(None)?;
        let measured = Measured {
            work: item.work,
            seconds,
            bytes_per_step: super::per_step(&self.opened.file, &arch, self.runs_on.kv_type, item.work),
            flop: self.row_flop * item.work.n_tokens() as f64,
            n_dispatches: (!self.counters.is_empty()).then_some(n_dispatches),
        };
        Ok(Some(Row::measured(&self.title, measured)))
    }

    /// Seconds of a row of a prompt: of the last one that was measured, or of a short step.
    fn prompt_row(&mut self, item: &Item) -> Result<Option<f64>> {
        if let Some(row) = self.prompt_row {
            return Ok(Some(row));
        }
        let n = FIRST_ROWS.min(item.work.n_positions());
        // The first one compiles and makes room.
        for _ in 0..2 {
            let Some(sample) = self.runner.rows(item, 0..n)? else { return Ok(None) };
            self.prompt_row = Some(sample.seconds / n as f64);
        }
        Ok(self.prompt_row)
    }

    fn n_dispatches(&self) -> u64 {
        self.counters.iter().map(|counter| counter.load(Ordering::Relaxed)).sum()
    }
}

fn whole_steps(work: Work) -> usize {
    match work {
        Work::Prompt { .. } => 0,
        Work::Decode { n_steps, .. } => n_steps,
    }
}
