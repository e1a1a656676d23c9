//! `--closed N`: what the engine adds to the steps of N sequences that only decode.

use anyhow::{Result, ensure};
use inferno_model::architecture::{CacheGroup, CacheKind};
use inferno_model::batch::PAGE_LEN;
use inferno_model::model::Model;
use serde_json::{Value as Json, json};

use super::drive::{Load, Run, drive};
use super::report::{hex, overhead_percent};
use super::workload::{Arrival, Part, Workload};
use crate::commands::bench::machine::Machine;
use crate::commands::bench::plan::{Item, Plan, Work};
use crate::commands::bench::report::table;
use crate::commands::bench::runner::Runner;
use crate::commands::bench::stats::{Samples, short};
use crate::commands::{note, print};
use crate::{cli, interrupt, load};

/// Tokens of a completion that only warms up.
const N_WARM_UP: usize = 4;

/// Prompts of one token, so that the engine's steps are those of `inferno bench --decode T --sequences N`: at every
/// position one row for each. Guesses are off. `None` if Ctrl-C was pressed.
pub(super) fn closed(args: &cli::BenchServe, n_sequences: usize) -> Result<Option<()>> {
    ensure!(
        args.draft.draft.is_none(),
        "`--closed` has the same steps without an engine beside it: leave `--draft` out"
    );
    let opened = load::open(&args.model)?;
    let arch = opened.architecture(None)?;
    let n_tokens = args.closed_tokens.get();
    ensure!(
        n_tokens < arch.context_len,
        "a prompt of 1 token and {n_tokens} of completion are more than the context of {}",
        arch.context_len
    );
    let work = Work::Decode { n_steps: n_tokens, depth: 0, n_sequences };
    let item = Plan::of(&[work]).items.pop().expect("one work is one item");
    let target = args.compute.target()?;
    let runs_on = target.runs_on(&opened);
    // Snapshots are a quarter of the states.
    let n_pages = |group: &CacheGroup| match group.kind {
        CacheKind::Pages { .. } | CacheKind::Latent { .. } => n_sequences * (1 + n_tokens).div_ceil(PAGE_LEN),
        CacheKind::State { .. } => n_sequences + n_sequences.div_ceil(3) + 1,
    };
    let n_pages: Vec<usize> = arch.cache_groups.iter().map(n_pages).collect();
    let model = opened.model(arch.clone(), n_pages.clone(), target, None)?;
    interrupt::listen()?;
    let mut closed = Closed { args, item, n_pages, n_sequences, samples: Vec::new() };
    let Some(mut model) = closed.warm_up(model)? else { return Ok(None) };
    for repeat in 1..=args.repeats {
        note(&format!("repeat {repeat} of {}", args.repeats));
        model = match closed.sample(model)? {
            Some(model) => model,
            None => return Ok(None),
        };
    }
    let machine = Machine::found();
    let text = match args.json {
        true => {
            let mut json = closed.to_json();
            json["inferno"] = env!("CARGO_PKG_VERSION").into();
            json["machine"] = machine.to_json();
            json["model"] = crate::commands::bench::model_json(&opened, &arch);
            json["settings"] = super::settings(args, &runs_on);
            format!("{json:#}\n")
        }
        false => super::heading(&runs_on, &opened, &machine) + "\n" + &closed.to_text(),
    };
    print(text.as_bytes())?;
    let differs = closed.samples.iter().find(|s| s.run.first_difference(&closed.samples[0].run).is_some());
    ensure!(differs.is_none(), "completions differ between repeats");
    Ok(Some(()))
}

struct Closed<'a> {
    args: &'a cli::BenchServe,
    item: Item,
    n_pages: Vec<usize>,
    n_sequences: usize,
    samples: Vec<Sample>,
}

/// The same steps without the engine and with it, one after the other.
struct Sample {
    kernel_seconds: f64,
    run: Run,
}

impl Closed<'_> {
    fn n_tokens(&self) -> usize {
        self.item.work.n_tokens()
    }

    fn warm_up(&self, model: Box<dyn Model>) -> Result<Option<Box<dyn Model>>> {
        let mut runner = self.runner(model);
        if runner.prepare(&self.item)?.is_none() {
            return Ok(None);
        }
        let (model, run) = self.engine(runner.into_model(), N_WARM_UP.min(self.args.closed_tokens.get()))?;
        Ok(run.map(|_| model))
    }

    fn sample(&mut self, model: Box<dyn Model>) -> Result<Option<Box<dyn Model>>> {
        let mut runner = self.runner(model);
        let Some(kernel) = runner.sample(&self.item)? else { return Ok(None) };
        let (model, run) = self.engine(runner.into_model(), self.args.closed_tokens.get())?;
        let Some(run) = run else { return Ok(None) };
        self.samples.push(Sample { kernel_seconds: kernel.seconds, run });
        Ok(Some(model))
    }

    fn runner(&self, model: Box<dyn Model>) -> Runner {
        Runner::new(model, self.args.seed, self.args.engine.budget.get())
    }

    fn engine(&self, model: Box<dyn Model>, n_completion: usize) -> Result<(Box<dyn Model>, Option<Run>)> {
        let arrival =
            |id: usize| Arrival { at: 0.0, parts: vec![Part { id: id as u64, end: 1 }], n_completion };
        let arrivals = (0..self.n_sequences).map(arrival).collect();
        let prefix_cache = !self.args.engine.no_prefix_cache;
        let load = Load {
            workload: &Workload { arrivals, ..Workload::default() },
            config: super::config(&self.args.engine, self.n_pages.clone(), self.n_sequences, prefix_cache),
            spec: super::spec(self.args),
            speculate: false,
            schema: None,
        };
        drive(model, &load)
    }

    /// Tokens per second without the engine, with it, and of its time in the model alone; what is lost, and the engine's
    /// own count of time outside the model, in percent.
    fn results(&self) -> [Samples; 5] {
        let n = self.n_tokens() as f64;
        let of = |f: &dyn Fn(&Sample) -> f64| Samples(self.samples.iter().map(f).collect());
        [
            of(&|s| n / s.kernel_seconds),
            of(&|s| n / s.run.seconds),
            of(&|s| 1e6 * n / (s.run.metrics.step_time.sum - s.run.metrics.overhead_time.sum) as f64),
            of(&|s| 100.0 * (1.0 - s.kernel_seconds / s.run.seconds)),
            of(&|s| overhead_percent(&s.run.metrics)),
        ]
    }

    fn to_text(&self) -> String {
        let [kernels, engine, model, lost, overhead] = self.results();
        let Some(last) = self.samples.last() else { return String::new() };
        let rows = [
            [self.item.work.name(), String::new()],
            ["without the engine, tok/s".into(), kernels.text(short)],
            ["with it, tok/s".into(), engine.text(short)],
            ["… of its time in the model".into(), model.text(short)],
            ["lost, %".into(), lost.text(short)],
            ["… outside the model".into(), overhead.text(short)],
            ["steps".into(), last.run.metrics.steps.to_string()],
            ["hash of the completions".into(), hex(last.run.tokens_hash())],
        ];
        format!("medians (least … most) of {} repeats in turn\n\n{}", self.samples.len(), table(&rows))
    }

    fn to_json(&self) -> Json {
        let [kernels, engine, model, lost, overhead] = self.results();
        let runs = self.samples.iter().map(|s| {
            json!({
                "kernel_seconds": s.kernel_seconds,
                "engine_seconds": s.run.seconds,
                "steps": s.run.metrics.steps,
                "tokens_hash": hex(s.run.tokens_hash()),
            })
        });
        json!({
            "name": self.item.work.name(),
            "tokens": self.n_tokens(),
            "kernel_tokens_per_s": kernels.to_json(),
            "engine_tokens_per_s": engine.to_json(),
            "model_tokens_per_s": model.to_json(),
            "lost_percent": lost.to_json(),
            "overhead_percent": overhead.to_json(),
            "runs": runs.collect::<Vec<_>>(),
        })
    }
}
