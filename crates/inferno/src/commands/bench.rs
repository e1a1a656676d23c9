//! `inferno bench`: how fast a model runs on this machine, and how far that is from what its memory allows.

mod bytes;
mod machine;
mod plan;
mod report;
mod runner;
mod serve;
mod stats;
mod story;
mod stream;
mod survey;

use std::io::BufRead;
use std::process::ExitCode;

use anyhow::{Context, Result};
pub(super) use bytes::per_step;
use inferno_format::{DType, Gguf};
use inferno_model::architecture::Architecture;
use inferno_model::model::Model;
use inferno_model::profile::Profile;
pub(super) use machine::Machine;
pub(super) use plan::{Item, Plan, Work};
use report::{Measured, Report};
pub(super) use runner::Runner;
use runner::Sample;
use serde_json::{Value as Json, json};
pub(super) use stats::Samples;
use stream::Limit;

use crate::commands::inspect::each;
use crate::commands::{note, print};
use crate::{cli, interrupt, load};

/// MiB that a streaming read of the processor has at least.
const STREAM_MIB: usize = 640;

pub(crate) fn bench(args: &cli::Bench) -> Result<ExitCode> {
    if let Some(cli::BenchCommand::Serve(args)) = &args.command {
        return serve::serve(args);
    }
    if args.story {
        return story::story(args);
    }
    if let Some(path) = &args.report {
        return survey::survey(args, path);
    }
    let opened = load::open(&args.model)?;
    let arch = opened.architecture(None)?;
    let plan = Plan::new(args, arch.context_len)?;
    let mut session = Session::start(args, &opened, arch, plan)?;
    interrupt::listen()?;
    let finished = if args.paced { session.paced()? } else { session.repeat(args.repeats)? };
    if finished.is_none() {
        note("stopped");
    }
    if !args.paced && session.report.measured.iter().all(|m| !m.seconds.0.is_empty()) {
        let report = &session.report;
        let text = if args.json { format!("{:#}\n", report.to_json()) } else { report.to_text() };
        print(text.as_bytes())?;
    }
    Ok(if finished.is_some() { ExitCode::SUCCESS } else { ExitCode::from(interrupt::EXIT_CODE) })
}

/// A loaded model, and what is known of it so far.
struct Session {
    runner: Runner,
    items: Vec<Item>,
    stream: Limit,
    profile: Profile,
    report: Report,
}

impl Session {
    fn start(args: &cli::Bench, opened: &load::Opened, arch: Architecture, plan: Plan) -> Result<Session> {
        let machine = Machine::found();
        let profile = Profile::default();
        let (model, runs_on) = load(args, opened, arch.clone(), plan.n_pages(&arch, 0), &profile)?;
        let asked = args.stream_mib.map(|mib| mib.get() << 20);
        let stream = match args.compute.device_read(asked)? {
            Some(read) => Limit::Gpu(read),
            None => {
                let n_bytes = asked.unwrap_or((STREAM_MIB << 20).max(4 * machine.cache.unwrap_or(0)));
                Limit::Processor(Box::new(args.compute.streaming_read(n_bytes)?))
            }
        };
        let measure = |item: &Item| {
            Measured::new(item.work, bytes::per_step(&opened.file, &arch, runs_on.kv_type, item.work))
        };
        let kv = format!("{:?}", runs_on.kv_type).to_lowercase();
        let heading = format!(
            "{}: {}, {:.1} MB\n{}, {} cores; {}, {} threads, KV {kv}; medians (least … most) of the repeats",
            opened.name,
            types(&opened.file),
            opened.file.file_bytes() as f64 / 1e6,
            machine.cpu,
            machine.n_cores,
            runs_on.level,
            runs_on.n_threads,
        );
        let settings = json!({
            "backend": runs_on.level,
            "threads": runs_on.n_threads,
            "kv_type": kv,
            "chunk": args.chunk,
            "seed": args.seed,
        });
        let report = Report {
            heading,
            settings,
            model: model_json(opened, &arch),
            stream_bytes: stream.n_bytes(),
            limit: stream.name(),
            measured: plan.items.iter().map(measure).collect(),
            machine,
        };
        let runner = Runner::new(model, args.seed, args.chunk.get());
        Ok(Session { runner, items: plan.items, stream, profile, report })
    }

    /// Everything once, `n` times. `None` if Ctrl-C was pressed; what is whole by then is kept.
    fn repeat(&mut self, n: u32) -> Result<Option<()>> {
        if self.prepare()?.is_none() {
            return Ok(None);
        }
        for _ in 0..n {
            for i in 0..self.items.len() {
                let Some((sample, stream)) = self.sample(i)? else { return Ok(None) };
                self.report.measured[i].push(sample, stream, self.profile.take());
            }
        }
        Ok(Some(()))
    }

    /// A repeat for every line on stdin.
    fn paced(&mut self) -> Result<Option<()>> {
        if self.prepare()?.is_none() {
            return Ok(None);
        }
        print(format!("{}\n", self.report.to_json()).as_bytes())?;
        for line in std::io::stdin().lock().lines() {
            line.context("cannot read stdin")?;
            let mut samples = Vec::new();
            for i in 0..self.items.len() {
                let Some((sample, stream)) = self.sample(i)? else { return Ok(None) };
                samples.push(json!({
                    "name": self.items[i].work.name(),
                    "seconds": sample.seconds,
                    "stream_gb_per_s": stream / 1e9,
                    "logits_hash": format!("{:016x}", sample.logits_hash),
                }));
            }
            print(format!("{}\n", Json::Array(samples)).as_bytes())?;
        }
        Ok(Some(()))
    }

    fn prepare(&mut self) -> Result<Option<()>> {
        for item in &self.items {
            if self.runner.prepare(item)?.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(()))
    }

    /// One measurement, and the faster of the streaming reads before and after it.
    fn sample(&mut self, i: usize) -> Result<Option<(Sample, f64)>> {
        let before = self.stream.measure();
        self.profile.take();
        let sample = self.runner.sample(&self.items[i])?;
        let after = self.stream.measure();
        Ok(sample.map(|sample| (sample, before.max(after))))
    }
}

fn load(
    args: &cli::Bench,
    opened: &load::Opened,
    arch: Architecture,
    n_pages: Vec<usize>,
    profile: &Profile,
) -> Result<(Box<dyn Model>, load::RunsOn)> {
    let target = args.compute.target()?;
    let runs_on = target.runs_on(opened);
    let model = opened.model(arch, n_pages, target, args.profile.then(|| profile.clone()))?;
    Ok((model, runs_on))
}

/// The types of a file's matrices, the one with most bytes first.
fn types(file: &Gguf) -> String {
    let mut found: Vec<(DType, u64)> = Vec::new();
    for t in file.tensors().iter().filter(|t| t.n_rows() > 1) {
        match found.iter_mut().find(|f| f.0 == t.dtype) {
            Some(f) => f.1 += t.n_bytes,
            None => found.push((t.dtype, t.n_bytes)),
        }
    }
    found.sort_by_key(|f| std::cmp::Reverse(f.1));
    found.iter().map(|f| f.0.name()).collect::<Vec<_>>().join(" and ")
}

fn model_json(opened: &load::Opened, arch: &Architecture) -> Json {
    json!({
        "file": opened.name,
        "bytes": opened.file.file_bytes(),
        "types": types(&opened.file),
        "architecture": arch.family,
        "n_layers": arch.layers.len(),
        "dim": arch.dim,
        "n_heads": each(arch, |l| l.mixer.map_or(0, |m| m.n_heads())),
        "n_kv_heads": each(arch, |l| l.mixer.map_or(0, |m| m.n_kv_heads())),
        "head_dim": each(arch, |l| l.mixer.map_or(0, |m| m.head_width())),
        "vocab_size": arch.vocab_size,
        "context_len": arch.context_len,
    })
}
