//! `inferno bench --story`: what each of the ideas behind a fast engine is worth, one after the other, on one machine
//! in one run.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use inferno_format::DType;
use serde_json::{Value as Json, json};

use super::machine::Machine;
use super::plan::{Item, Plan, Work};
use super::report::table;
use super::runner::{Runner, Sample};
use super::stats::{Samples, short};
use crate::cli::{self, Encoding};
use crate::commands::synth::Recipe;
use crate::commands::{note, print};
use crate::interrupt;
use crate::load::{self, Compute, Units};

/// A model of true shape that a single core without vectors gets through.
const PRESET: &str = "stories110m";
/// Tokens before the answer, and in it.
const CONTEXT: usize = 64;
const ANSWER: usize = 16;
/// Each token of an answer without a cache takes as long as a prompt: two show it.
const ANSWER_WITHOUT_CACHE: usize = 2;
const SEQUENCES: usize = 32;

/// How an answer is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Everything before it anew for every token.
    Recompute,
    /// So many answers at once, each token from the one before it and the cache.
    Decode { n_sequences: usize },
}

/// One idea more than the step before.
#[derive(Debug, Clone, Copy)]
struct Step {
    title: &'static str,
    encoding: Encoding,
    units: Units,
    all_threads: bool,
    way: Way,
}

const FIRST: Step = Step {
    title: "no KV cache: F32, scalar, 1 thread",
    encoding: Encoding::One(DType::F32),
    units: Units::Scalar,
    all_threads: false,
    way: Way::Recompute,
};
const ONE: Way = Way::Decode { n_sequences: 1 };
const QUANTIZED: Step = Step {
    title: "Q8_0",
    encoding: Encoding::One(DType::Q8_0),
    units: Units::Best,
    all_threads: true,
    way: ONE,
};

const STEPS: [Step; 8] = [
    FIRST,
    Step { title: "KV cache", way: ONE, ..FIRST },
    Step { title: "SIMD", units: Units::Vector, way: ONE, ..FIRST },
    Step { title: "threads", units: Units::Vector, all_threads: true, way: ONE, ..FIRST },
    // No F32 weight is ever rounded, so that tiles need another type.
    Step {
        title: "matrix units, BF16",
        encoding: Encoding::One(DType::BF16),
        units: Units::Matrix,
        ..QUANTIZED
    },
    QUANTIZED,
    Step { title: "Q4_K_M", encoding: Encoding::Q4KM, ..QUANTIZED },
    Step {
        title: "32 sequences at once",
        encoding: Encoding::Q4KM,
        way: Way::Decode { n_sequences: SEQUENCES },
        ..QUANTIZED
    },
];

pub(super) fn story(args: &cli::Bench) -> Result<ExitCode> {
    interrupt::listen()?;
    let folder = Folder::new()?;
    let mut story = match Story::load(args, &folder.0) {
        // What was half made is gone with the folder.
        Err(_) if interrupt::requested() => return Ok(stopped()),
        story => story?,
    };
    if story.measure(args.repeats)?.is_none() {
        return Ok(stopped());
    }
    let text = if args.json { format!("{:#}\n", story.to_json()) } else { story.to_text() };
    print(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn stopped() -> ExitCode {
    note("stopped");
    ExitCode::from(interrupt::EXIT_CODE)
}

/// A folder for models, which goes with this value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder> {
        let path = std::env::temp_dir().join(format!("inferno-story-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("cannot make `{}`", path.display()))?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // If it stays it is in the folder for such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A step with its model, and what it came to.
struct Row {
    step: Step,
    runs_on: load::RunsOn,
    runner: Runner,
    /// The prompt, and the answer after it.
    prompt: Item,
    answer: Item,
    prompt_rates: Samples,
    rates: Samples,
}

struct Story {
    machine: Machine,
    rows: Vec<Row>,
}

impl Story {
    /// Makes the models and loads them all: the rows are measured in turn.
    fn load(args: &cli::Bench, folder: &Path) -> Result<Story> {
        let mut rows = Vec::new();
        for step in STEPS {
            let n_threads = if step.all_threads { args.compute.n_threads() } else { NonZeroUsize::MIN };
            match Compute::with(step.units, n_threads) {
                Some(compute) => rows.push(Row::load(step, &compute, args, folder)?),
                None => note(&format!("SKIPPED: {}: this machine has none", step.title)),
            }
        }
        Ok(Story { machine: Machine::found(), rows })
    }

    fn measure(&mut self, n_repeats: u32) -> Result<Option<()>> {
        for row in &mut self.rows {
            if row.runner.prepare(&row.answer)?.is_none() {
                return Ok(None);
            }
        }
        for repeat in 1..=n_repeats {
            note(&format!("repeat {repeat} of {n_repeats}"));
            for row in &mut self.rows {
                if row.measure()?.is_none() {
                    return Ok(None);
                }
            }
        }
        Ok(Some(()))
    }

    /// Each row's rate over that of the row before, and of the first.
    fn gains(&self) -> Vec<(Samples, Samples)> {
        let before = |i: usize| &self.rows[i.saturating_sub(1)].rates;
        let rows = self.rows.iter().enumerate();
        rows.map(|(i, row)| (row.rates.over(before(i)), row.rates.over(before(0)))).collect()
    }

    fn to_text(&self) -> String {
        let Machine { cpu, n_cores, .. } = &self.machine;
        let mut out = format!(
            "{PRESET} with random weights: {ANSWER} tokens after {CONTEXT}; medians (least … most) of the repeats\n\
             {cpu}, {n_cores} cores\n\n"
        );
        let titles = ["", "level", "threads", "prompt tok/s", "answer tok/s", "× before", "× first"];
        let mut rows = vec![titles.map(String::from)];
        for (row, (before, first)) in self.rows.iter().zip(self.gains()) {
            let prompt = row.prompt_rates.0.first().map(|_| row.prompt_rates.text(short));
            rows.push([
                row.step.title.into(),
                row.runs_on.level.clone(),
                row.runs_on.n_threads.to_string(),
                prompt.unwrap_or_default(),
                row.rates.text(short),
                before.text(short),
                first.text(short),
            ]);
        }
        out += &table(&rows);
        out
    }

    fn to_json(&self) -> Json {
        let rows = self.rows.iter().zip(self.gains()).map(|(row, (before, first))| {
            json!({
                "step": row.step.title,
                "type": row.step.encoding.to_string(),
                "backend": row.runs_on.level,
                "threads": row.runs_on.n_threads,
                "sequences": row.answer.work.n_sequences(),
                "kv_cache": row.step.way != Way::Recompute,
                "prompt_tokens_per_s": row.prompt_rates.0.first().map(|_| row.prompt_rates.to_json()),
                "tokens_per_s": row.rates.to_json(),
                "over_the_step_before": before.to_json(),
                "over_the_first": first.to_json(),
            })
        });
        json!({
            "inferno": env!("CARGO_PKG_VERSION"),
            "machine": self.machine.to_json(),
            "model": PRESET,
            "context": CONTEXT,
            "answer": ANSWER,
            "story": rows.collect::<Vec<_>>(),
        })
    }
}

impl Row {
    fn load(step: Step, compute: &Compute, args: &cli::Bench, folder: &Path) -> Result<Row> {
        let path = folder.join(format!("{}.gguf", step.encoding));
        if !path.exists() {
            note(&format!("making a model in {}", step.encoding));
            Recipe {
                preset: PRESET,
                n_layers: None,
                encoding: step.encoding,
                vocab_from: None,
                seed: args.seed,
                drafting: None,
            }
            .write_to(&path)?;
        }
        let opened = load::open_file(&path)?;
        let arch = opened.architecture(None)?;
        let (n_steps, n_sequences) = match step.way {
            Way::Recompute => (ANSWER_WITHOUT_CACHE, 1),
            Way::Decode { n_sequences } => (ANSWER, n_sequences),
        };
        let answer = Work::Decode { n_steps, depth: CONTEXT, n_sequences };
        let plan = Plan::of(&[Work::Prompt { n_tokens: CONTEXT }, answer]);
        let n_pages = plan.n_pages(&arch, 0);
        let mut items = plan.items;
        let (answer, prompt) = (items.pop().expect("two items"), items.pop().expect("two items"));
        let target = compute.target()?;
        Ok(Row {
            step,
            runs_on: target.runs_on(&opened),
            runner: Runner::new(opened.model(arch, n_pages, target, None)?, args.seed, args.chunk.get()),
            prompt,
            answer,
            prompt_rates: Samples::default(),
            rates: Samples::default(),
        })
    }

    fn measure(&mut self) -> Result<Option<()>> {
        let rate = |item: &Item, sample: Sample| item.work.n_tokens() as f64 / sample.seconds;
        let sample = match self.step.way {
            Way::Recompute => self.runner.without_cache(&self.answer)?,
            Way::Decode { .. } => {
                let Some(prompt) = self.runner.sample(&self.prompt)? else { return Ok(None) };
                self.prompt_rates.0.push(rate(&self.prompt, prompt));
                self.runner.sample(&self.answer)?
            }
        };
        let Some(sample) = sample else { return Ok(None) };
        self.rates.0.push(rate(&self.answer, sample));
        Ok(Some(()))
    }
}
