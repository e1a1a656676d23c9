//! `inferno bench serve`: the engine under load, as a server puts it there, without HTTP.

mod closed;
mod drive;
mod made_up;
mod report;
mod schema;
mod trace;
mod workload;

use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use inferno_engine::{Config, Limits, Micros};
use inferno_model::batch::PAGE_LEN;
use inferno_model::model::Model;
use inferno_model::sample::SampleSpec;
use serde_json::{Value as Json, json};

use super::machine::Machine;
use crate::cli::{self, EngineKnobs, Rate};
use crate::commands::{note, print};
use crate::draft::{self, Draft};
use crate::hub::CtrlC;
use crate::kv_memory::KvPlan;
use crate::{interrupt, load};
use drive::{Load, Run, drive};
use report::{Measured, Report};
use schema::{Schema, with_lengths_of};
use workload::Workload;

/// Of the rate at which requests are served when all are there at once: busy, and not drowned.
const SHARE_OF_RATE: f64 = 0.7;
/// Requests that show the rate, for every sequence that runs at once; and those that only warm up.
const N_MEASURE_RATE: usize = 2;
const N_WARM_UP: usize = 4;

/// What is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Variant {
    batching: bool,
    prefix_cache: bool,
    speculation: bool,
    answers: Answers,
}

/// Form of the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answers {
    /// Any, of the workload's lengths.
    Any,
    /// Of the schema.
    Constrained,
    /// Any, of the lengths of the constrained ones.
    SameLengths,
}

const ALL: Variant = Variant { batching: true, prefix_cache: true, speculation: true, answers: Answers::Any };

pub(super) fn serve(args: &cli::BenchServe) -> Result<ExitCode> {
    let finished = match args.closed {
        Some(n_sequences) => closed::closed(args, n_sequences.get())?,
        None => open(args)?,
    };
    if finished.is_none() {
        note("stopped");
        return Ok(ExitCode::from(interrupt::EXIT_CODE));
    }
    Ok(ExitCode::SUCCESS)
}

/// Requests that come whether or not others are done. `None` if Ctrl-C was pressed.
fn open(args: &cli::BenchServe) -> Result<Option<()>> {
    let n_requests = args.requests.get();
    let opened = load::open(&args.model)?;
    let mut arch = opened.architecture(None)?;
    let draft = Draft::open(&args.draft, &args.model, &args.compute, CtrlC::Stops, (&opened, &mut arch))?;
    let context_len = arch.context_len;
    let schema = args.json_schema.as_ref().map(|path| Schema::read(path, opened.tokenizer()?)).transpose()?;
    let arrivals = match (&args.trace, &schema) {
        (Some(path), _) => trace::read(path, n_requests)?,
        (None, Some(schema)) => schema.arrivals(n_requests, args.answer_tokens.get()),
        (None, None) => made_up::arrivals(n_requests, args.seed),
    };
    let mut workload = Workload::new(arrivals, args.length_scale, context_len);
    let target = args.compute.target()?;
    let runs_on = target.runs_on(&opened);
    let space = target.kv_space(&opened, &arch);
    let (space, pages) = draft::room(draft.as_ref(), &arch, runs_on.kv_type, space);
    let kv = args.kv.plan_with(&arch, runs_on.kv_type, space, args.engine.budget.get(), pages)?;
    workload.fit(kv.longest / PAGE_LEN);
    ensure!(
        !workload.arrivals.is_empty(),
        "none of the requests fits the context of {context_len} positions and a KV pool of {}: `--length-scale` makes \
         them shorter",
        kv.positions
    );
    note(&kv.to_string());
    let machine = Machine::found();
    let model = opened.model(arch.clone(), kv.n_pages.clone(), target, None)?;
    let model = draft::beside(draft, model, &kv.n_pages)?;
    interrupt::listen()?;
    let n_mask_threads = runs_on.n_mask_threads();
    let mut bench = Bench { args, kv, model: Some(model), schema, free: None, n_mask_threads };
    let Some(per_second) = bench.rate(&workload)? else { return Ok(None) };
    let workload = workload.at_rate(per_second);
    let Some(measured) = bench.measure(&workload)? else { return Ok(None) };

    let report = Report {
        heading: heading(&runs_on, &opened, &machine) + "\n" + &bench.workload_text(&workload, per_second),
        machine: machine.to_json(),
        model: super::model_json(&opened, &arch),
        settings: bench.settings(&runs_on),
        workload: workload_json(&workload, per_second),
        measured,
        is_same: args.json_schema.is_none(),
    };
    let text = if args.json { format!("{:#}\n", report.to_json()) } else { report.to_text() };
    print(text.as_bytes())?;
    if let Some(difference) = report.first_difference() {
        bail!(difference);
    }
    Ok(Some(()))
}

/// A model that goes from engine to engine.
struct Bench<'a> {
    args: &'a cli::BenchServe,
    kv: KvPlan,
    /// `None` while an engine has it.
    model: Option<Box<dyn Model>>,
    schema: Option<Schema>,
    /// The workload with the lengths of constrained answers, when they are known.
    free: Option<Workload>,
    n_mask_threads: usize,
}

impl Bench<'_> {
    /// Every variant once, as often as asked for. `None` if Ctrl-C was pressed.
    fn measure(&mut self, workload: &Workload) -> Result<Option<Vec<Measured>>> {
        let variants = Variant::of(self.args);
        let mut measured: Vec<Measured> =
            variants.iter().map(|v| Measured { name: v.name(), runs: Vec::new() }).collect();
        for repeat in 1..=self.args.repeats {
            for (variant, measured) in variants.iter().zip(&mut measured) {
                note(&format!("repeat {repeat} of {}: {}", self.args.repeats, variant.name()));
                let Some(run) = self.run(*variant, workload)? else { return Ok(None) };
                measured.runs.push(run);
            }
        }
        Ok(Some(measured))
    }

    /// Requests per second, as asked for or as found out; the model is warm after that.
    fn rate(&mut self, workload: &Workload) -> Result<Option<f64>> {
        if self.schema.is_some() {
            note(&format!("warming up with the {} constrained answers", workload.arrivals.len()));
            let variant = Variant { answers: Answers::Constrained, ..Variant::of(self.args)[0] };
            let Some(run) = self.run(variant, workload)? else { return Ok(None) };
            self.free = Some(with_lengths_of(workload, &run));
            return Ok(Some(f64::INFINITY));
        }
        let n = match self.args.rate {
            None => N_MEASURE_RATE * self.args.kv.sequences.get(),
            Some(_) => N_WARM_UP,
        };
        let first = workload.first(n);
        note(&format!("warming up with {} requests at once", first.arrivals.len()));
        let Some(run) = self.run(Variant::of(self.args)[0], &first)? else { return Ok(None) };
        Ok(Some(match self.args.rate {
            Some(Rate::PerSecond(rate)) => rate,
            Some(Rate::AllAtOnce) => f64::INFINITY,
            None => SHARE_OF_RATE * first.arrivals.len() as f64 / run.seconds,
        }))
    }

    fn run(&mut self, variant: Variant, workload: &Workload) -> Result<Option<Run>> {
        let sequences = self.args.kv.sequences;
        let n_sequences = if variant.batching { sequences.get() } else { 1 };
        let mut config =
            config(&self.args.engine, self.kv.n_pages.clone(), n_sequences, variant.prefix_cache);
        config.limits.max_snapshots = self.kv.max_snapshots();
        config.limits.draft_tokens = self.args.draft.draft_tokens.map(usize::from);
        let load = Load {
            workload: match (&self.free, variant.answers) {
                (Some(free), Answers::SameLengths) => free,
                _ => workload,
            },
            config: Config { n_mask_threads: self.n_mask_threads, ..config },
            schema: self.schema.as_ref().filter(|_| variant.answers == Answers::Constrained),
            spec: spec(self.args),
            speculate: variant.speculation,
        };
        let (model, run) = drive(self.model.take().expect("no engine has the model"), &load)?;
        self.model = Some(model);
        Ok(run)
    }

    fn workload_text(&self, workload: &Workload, per_second: f64) -> String {
        let source = match &self.args.trace {
            Some(path) => path.display().to_string(),
            None => match &self.args.json_schema {
                Some(path) => format!("answers of {}", path.display()),
                None => "made-up chats".into(),
            },
        };
        let scale = match self.args.length_scale {
            1.0 => String::new(),
            by => format!(", lengths × {by}"),
        };
        let arriving = match per_second.is_finite() {
            true => format!("{} a second", super::stats::short(per_second)),
            false => "all at once".into(),
        };
        let left_out = match (workload.beyond_context, workload.beyond_pool) {
            (0, 0) => String::new(),
            (context, pool) => {
                format!(" LEFT OUT: {context} requests longer than the context, {pool} than the KV pool.")
            }
        };
        format!(
            "{source}{scale}: {} requests, {arriving}, {} prompt and {} completion tokens.{left_out}\n\
             {} sequences at once, KV pool of {} tokens; medians (least … most) of {} repeats",
            workload.arrivals.len(),
            workload.n_prompt(),
            workload.n_completion(),
            self.args.kv.sequences,
            self.kv.positions,
            self.args.repeats,
        )
    }

    fn settings(&self, runs_on: &load::RunsOn) -> Json {
        let mut json = settings(self.args, runs_on);
        json["sequences"] = self.args.kv.sequences.get().into();
        json["kv_tokens"] = self.kv.positions.into();
        json["draft"] = self.args.draft.draft.as_ref().map(|draft| draft.display().to_string()).into();
        json["length_scale"] = self.args.length_scale.into();
        json["trace"] = self.args.trace.as_ref().map(|path| path.display().to_string()).into();
        json["rate_is_measured"] = self.args.rate.is_none().into();
        json
    }
}

impl Variant {
    /// What is measured, in the order of a repeat.
    fn of(args: &cli::BenchServe) -> Vec<Variant> {
        let EngineKnobs { no_batching, no_prefix_cache, no_speculation, .. } = args.engine;
        let asked = Variant {
            batching: !no_batching,
            prefix_cache: !no_prefix_cache,
            speculation: !no_speculation,
            answers: Answers::Any,
        };
        if args.json_schema.is_some() {
            return [Answers::SameLengths, Answers::Constrained]
                .map(|answers| Variant { answers, ..asked })
                .to_vec();
        }
        if !args.compare {
            return vec![asked];
        }
        vec![
            ALL,
            Variant { batching: false, ..ALL },
            Variant { prefix_cache: false, ..ALL },
            Variant { speculation: false, ..ALL },
        ]
    }

    fn name(self) -> String {
        let off = [
            (self.batching, "no batching"),
            (self.prefix_cache, "no prefix cache"),
            (self.speculation, "no speculation"),
        ];
        let mut words: Vec<&str> = off.iter().filter(|(is_on, _)| !is_on).map(|(_, name)| *name).collect();
        match self.answers {
            Answers::Any => {}
            Answers::Constrained => words.push("constrained"),
            Answers::SameLengths => words.push("unconstrained"),
        }
        if words.is_empty() { "everything on".into() } else { words.join(", ") }
    }
}

/// An engine that refuses nothing for want of a place in the queue.
fn config(knobs: &EngineKnobs, n_pages: Vec<usize>, n_sequences: usize, prefix_cache: bool) -> Config {
    let limits = Limits {
        max_sequences: n_sequences,
        max_rows: knobs.budget.get(),
        step_target: Micros::from(knobs.step_target.get()) * 1000,
        prefix_cache,
        ..Config::new(n_pages).limits
    };
    Config {
        limits,
        max_waiting: usize::MAX,
        max_waiting_tokens: usize::MAX,
        self_test: true,
        n_mask_threads: 0,
        disk: None,
    }
}

fn spec(args: &cli::BenchServe) -> SampleSpec {
    // The filters are those that `run` has unless told otherwise.
    SampleSpec {
        top_k: 40,
        top_p: 1.0,
        min_p: 0.05,
        temperature: args.temperature,
        seed: args.seed,
        choice_idx: 0,
    }
}

fn heading(runs_on: &load::RunsOn, opened: &load::Opened, machine: &Machine) -> String {
    format!(
        "{}: {}, {:.1} MB\n{}, {} cores; {}, {} threads, KV {}",
        opened.name,
        super::types(&opened.file),
        opened.file.file_bytes() as f64 / 1e6,
        machine.cpu,
        machine.n_cores,
        runs_on.level,
        runs_on.n_threads,
        runs_on.kv_type.name(),
    )
}

fn settings(args: &cli::BenchServe, runs_on: &load::RunsOn) -> Json {
    json!({
        "backend": runs_on.level,
        "threads": runs_on.n_threads,
        "kv_type": runs_on.kv_type.name(),
        "budget": args.engine.budget.get(),
        "step_target_ms": args.engine.step_target.get(),
        "temperature": args.temperature,
        "seed": args.seed,
        "repeats": args.repeats,
    })
}

fn workload_json(workload: &Workload, per_second: f64) -> Json {
    json!({
        "requests": workload.arrivals.len(),
        "left_out": { "beyond_context": workload.beyond_context, "beyond_kv_pool": workload.beyond_pool },
        "prompt_tokens": workload.n_prompt(),
        "completion_tokens": workload.n_completion(),
        // Null: all at once.
        "requests_per_s": per_second,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_is_called_by_what_is_off() {
        assert_eq!(ALL.name(), "everything on");
        assert_eq!(
            Variant { batching: false, speculation: false, ..ALL }.name(),
            "no batching, no speculation"
        );
    }
}
