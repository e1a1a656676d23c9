//! `cargo xtask bench-peer`: the same work on our program and on llama.cpp, in alternating runs.
//!
//! For each item both programs load the model, warm up, and then wait: a line to one of them is one sample. So the
//! samples alternate (ours, theirs, ours, theirs ...) within seconds, and a slow minute of the machine falls on both.
//! A sample during which anything else was at work is taken anew. llama.cpp runs with every setting that matters; the
//! best one is what we are compared with.

mod item;
pub(crate) mod machine;
pub(crate) mod markdown;
mod python;
pub(crate) mod quiet;
pub(crate) mod samples;
mod svg;
pub(crate) mod today;
pub(crate) mod worker;

use std::path::{Path, PathBuf};
use std::process::Command;

use item::{ITEMS, Item, Peer};
use machine::Machine;
use markdown::Report;
use samples::Samples;
use worker::Worker;

pub(crate) const USAGE: &str = "\
usage: cargo xtask bench-peer [options]

  --out FILE.md         where the report goes, a plot (.svg) beside it; default: printed, no plot
  --only NAME           this item alone; repeat it for several
  --rounds N            samples of each program; default: 5, and 3 of what takes minutes
  --quick               2 rounds, and nothing that takes minutes
  --threads N           of both programs; default: all cores
  --models DIR          where qwen3-0.6b-TYPE.gguf lie; what is missing is made there
                        (default: target/bench-peer/models)
  --ours PROGRAM        instead of building `inferno` first
  --python PROGRAM      an interpreter that has `llama-cpp-python`, instead of making an environment in
                        target/bench-peer and building llama.cpp there, which takes ten minutes
  --python-no-amx PROGRAM   the same, built without AMX; only needed on a machine that has it
  --list                the names of the items
";

/// What the command line asks for.
#[derive(Debug, Default, PartialEq)]
struct Args {
    out: Option<PathBuf>,
    only: Vec<String>,
    rounds: Option<usize>,
    quick: bool,
    threads: Option<usize>,
    models: Option<PathBuf>,
    ours: Option<PathBuf>,
    python: Option<PathBuf>,
    python_no_amx: Option<PathBuf>,
    list: bool,
}

/// Why an item has no figures, or nothing has.
pub(crate) type Result<T> = std::result::Result<T, String>;

/// Runs the command; an error is a message for people.
pub(crate) fn bench_peer(args: &[String]) -> Result<()> {
    let args = Args::parse(args)?;
    if args.list {
        ITEMS.iter().for_each(|item| println!("{:24} {}", item.name, item.title));
        return Ok(());
    }
    let machine = Machine::found();
    let items = args.items(machine.has_amx)?;
    let bench = Bench::prepare(&args, &items)?;
    let mut report = Report { machine, rows: Vec::new(), ..bench.report() };
    for (i, item) in items.iter().enumerate() {
        eprintln!("[{}/{}] {}", i + 1, items.len(), item.title);
        let outcome = bench.run(item, &mut report);
        if let Err(why) = &outcome {
            eprintln!("  FAILED: {why}");
        }
        report.rows.push((item, outcome));
        // What is known is kept, whatever comes next.
        report.write(args.out.as_deref())?;
    }
    if args.out.is_none() {
        println!("{}", report.to_markdown(None));
    }
    match report.rows.iter().filter(|row| row.1.is_err()).count() {
        0 => Ok(()),
        n => Err(format!("{n} of {} items failed", items.len())),
    }
}

impl Args {
    fn parse(args: &[String]) -> Result<Args> {
        let mut parsed = Args::default();
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            let mut value = || rest.next().ok_or_else(|| format!("`{arg}` needs a value\n\n{USAGE}"));
            let count = |text: &String| match text.parse() {
                Ok(n) if n > 0 => Ok(n),
                _ => Err(format!("`{arg}` takes a number from 1 on, not `{text}`")),
            };
            match arg.as_str() {
                "--out" => parsed.out = Some(value()?.into()),
                "--only" => parsed.only.push(value()?.clone()),
                "--rounds" => parsed.rounds = Some(count(value()?)?),
                "--threads" => parsed.threads = Some(count(value()?)?),
                "--models" => parsed.models = Some(value()?.into()),
                "--ours" => parsed.ours = Some(value()?.into()),
                "--python" => parsed.python = Some(value()?.into()),
                "--python-no-amx" => parsed.python_no_amx = Some(value()?.into()),
                "--quick" => parsed.quick = true,
                "--list" => parsed.list = true,
                _ => return Err(format!("there is no option `{arg}`\n\n{USAGE}")),
            }
        }
        if let Some(unknown) = parsed.only.iter().find(|name| ITEMS.iter().all(|item| item.name != **name)) {
            return Err(format!("there is no item `{unknown}`, `--list` has the names"));
        }
        Ok(parsed)
    }

    /// The items that are asked for and make sense on this machine; what is left out is said.
    fn items(&self, has_amx: bool) -> Result<Vec<&'static Item>> {
        let mut items: Vec<&Item> = ITEMS.iter().collect();
        if !self.only.is_empty() {
            items.retain(|item| self.only.iter().any(|name| name == item.name));
        }
        items.retain(|item| {
            let why = match item.peer {
                Peer::WithoutAmx if !has_amx => "this machine has no AMX: it is what the other items measure",
                _ if item.is_slow && self.quick && self.only.is_empty() => "it takes minutes",
                _ => return true,
            };
            eprintln!("SKIPPED: {}: {why}", item.title);
            false
        });
        if items.is_empty() { Err("no item is left to measure".into()) } else { Ok(items) }
    }

    /// The command without the paths of this machine.
    fn to_command(&self) -> String {
        let mut words = vec!["cargo xtask bench-peer".to_owned()];
        words.extend(self.only.iter().map(|name| format!("--only {name}")));
        words.extend(self.rounds.map(|n| format!("--rounds {n}")));
        words.extend(self.quick.then(|| "--quick".into()));
        words.extend(self.threads.map(|n| format!("--threads {n}")));
        words.join(" ")
    }

    fn n_rounds(&self, item: &Item) -> usize {
        let default = match (self.quick, item.is_slow) {
            (true, _) => 2,
            (false, true) => 3,
            (false, false) => 5,
        };
        self.rounds.unwrap_or(default)
    }
}

/// The programs and files of a run.
struct Bench<'a> {
    args: &'a Args,
    threads: usize,
    ours: PathBuf,
    python: Option<PathBuf>,
    python_no_amx: Option<PathBuf>,
    models: PathBuf,
}

/// What the samples of an item came to.
pub(crate) struct Outcome {
    /// Tokens per second.
    ours: Samples,
    theirs: Samples,
    /// The setting of llama.cpp that `theirs` is of.
    setting: String,
    /// Round by round.
    ratio: Samples,
    /// Decoding alone.
    read: Option<Read>,
    /// Samples of both during which other programs were at work.
    n_disturbed: usize,
}

/// What our decoding reads.
pub(crate) struct Read {
    /// Bytes per second of the streaming read beside each sample, in GB.
    stream: Samples,
    /// Our share of the fastest of them.
    share: Samples,
}

/// A setting of llama.cpp goes on after the first rounds if its best sample comes this near to the best of all.
const STILL_IN: f64 = 0.9;

impl<'a> Bench<'a> {
    fn prepare(args: &'a Args, items: &[&Item]) -> Result<Bench<'a>> {
        let folder = xtask::testing::root().join("target/bench-peer");
        let threads = args.threads.unwrap_or(std::thread::available_parallelism().map_or(1, usize::from));
        let ours = match &args.ours {
            Some(program) => worker::program(program)?,
            None => build_ours()?,
        };
        let needs = |peer| items.iter().any(|item| item.peer == peer);
        let python = match needs(Peer::Native) {
            true => Some(python::with_llama_cpp(args.python.as_deref(), &folder.join("venv"), &[])?),
            false => None,
        };
        let no_amx = || {
            python::with_llama_cpp(
                args.python_no_amx.as_deref(),
                &folder.join("venv-no-amx"),
                &python::WITHOUT_AMX,
            )
        };
        let python_no_amx = if needs(Peer::WithoutAmx) { Some(no_amx()?) } else { None };
        let models = args.models.clone().unwrap_or_else(|| folder.join("models"));
        for item in items {
            item::make_model(&ours, &models, item.file_type)?;
        }
        Ok(Bench { args, threads, ours, python, python_no_amx, models })
    }

    fn report(&self) -> Report {
        Report {
            command: self.args.to_command(),
            commit: commit(),
            date: today::today(),
            threads: self.threads,
            ..Report::default()
        }
    }

    /// Alternates the two programs.
    fn run(&self, item: &Item, report: &mut Report) -> Result<Outcome> {
        let model = self.models.join(item::file_name(item.file_type));
        let mut ours = Worker::start(&self.ours, &item.our_arguments(&model, self.threads))?;
        let ready = ours.read()?;
        let python = match item.peer {
            Peer::Native => &self.python,
            Peer::WithoutAmx => &self.python_no_amx,
        };
        let python = python.as_ref().expect("it was prepared for every item");
        let script = xtask::testing::root().join("xtask/peer/llama_cpp_bench.py");
        let mut theirs = Worker::start(python, &item.their_arguments(&script, &model, self.threads))?;
        let their_ready = theirs.read()?;
        report.note_versions(&ready, &their_ready);
        let our_threads = ready["settings"]["threads"].as_u64();
        if our_threads != Some(self.threads as u64) {
            return Err(format!("our program runs {our_threads:?} threads, not {}", self.threads));
        }
        let names = their_ready["settings"].as_array().map_or(&[][..], Vec::as_slice);
        let mut settings: Vec<(String, Samples)> =
            names.iter().filter_map(|s| Some((s.as_str()?.to_owned(), Samples::default()))).collect();
        let n_tokens = ready["measurements"][0]["tokens"].as_f64().ok_or("our program names no tokens")?;
        let bytes = ready["measurements"][0]["bytes_per_step"].as_f64();

        let (mut our_rates, mut n_disturbed) = (Samples::default(), 0);
        let (mut found, mut stream) = (Samples::default(), Samples::default());
        for round in 0..self.args.n_rounds(item) {
            let (sample, was_quiet) = quiet::sample(ours.pid(), || ours.ask(""))?;
            n_disturbed += usize::from(!was_quiet);
            let rate = n_tokens / worker::number(&sample[0], "seconds")?;
            our_rates.0.push(rate);
            if let Some(bytes) = bytes {
                found.0.push(bytes * item.work.n_steps() as f64 * rate / n_tokens / 1e9);
                stream.0.push(worker::number(&sample[0], "stream_gb_per_s")?);
            }
            eprint!("  round {}: {rate:.1} tok/s;", round + 1);
            for (setting, rates) in &mut settings {
                let (sample, was_quiet) = quiet::sample(theirs.pid(), || theirs.ask(setting))?;
                n_disturbed += usize::from(!was_quiet);
                let rate = n_tokens / worker::number(&sample, "seconds")?;
                rates.0.push(rate);
                eprint!(" llama.cpp ({setting}) {rate:.1}");
            }
            eprintln!();
            let n_trials = if item.is_slow { 1 } else { 2 };
            if round + 1 >= n_trials {
                let best = settings.iter().map(|s| s.1.most()).fold(0.0, f64::max);
                settings.retain(|s| s.1.most() >= STILL_IN * best);
            }
        }
        settings.sort_by(|a, b| b.1.median().total_cmp(&a.1.median()));
        let (setting, their_rates) = settings.into_iter().next().ok_or("llama.cpp has no setting")?;
        Ok(Outcome {
            ratio: our_rates.over(&their_rates),
            ours: our_rates,
            theirs: their_rates,
            setting,
            read: bytes.map(|_| Read { share: found.map(|x| x / stream.most()), stream }),
            n_disturbed,
        })
    }
}

/// Builds the program as users get it.
pub(crate) fn build_ours() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root = xtask::testing::root();
    let arguments = ["build", "--release", "-p", "inferno-llm"];
    let status = Command::new(cargo).args(arguments).current_dir(root).status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => return Err(format!("building our program ended with {status}")),
        Err(e) => return Err(format!("cannot run cargo: {e}")),
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    worker::program(&target.join("release").join(format!("inferno{}", std::env::consts::EXE_SUFFIX)))
}

/// The commit of the checkout, with a `+` if files differ from it.
pub(crate) fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).current_dir(xtask::testing::root()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".into() };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => commit,
        _ => commit + "+",
    }
}

/// The plot that belongs to a report.
fn plot_path(report: &Path) -> PathBuf {
    report.with_extension("svg")
}

#[cfg(test)]
mod tests;
