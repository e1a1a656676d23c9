//! `cargo xtask bench-server`: our server and llama.cpp's `llama-server`, asked the same over loopback.
//!
//! Both servers run for the whole time on the same file with the same threads, and samples alternate: ours first in one
//! round, theirs first in the next, the other one idle. Both get the same prompts, and no prompt comes twice. A stream
//! is read leniently (`chat.rs`): tokens are what the server's `usage` says, the first token is the first event with
//! text in it.
//!
//! llama-server has more than one way to share out its memory. It is started with each that has enough slots before a
//! case, and the one that does most is what we are compared with.

mod args;
mod bench;
mod burst;
mod case;
mod chat;
mod flood;
mod report;
mod rival;
mod speech;

use std::time::Duration;

use args::Args;
use bench::Bench;
use case::{Case, Outcome};
use report::Report;

use crate::peer::machine::Machine;
use crate::peer::quiet;
use crate::peer::samples::Samples;

pub(crate) const USAGE: &str = "\
usage: cargo xtask bench-server --theirs PROGRAM [options] [-- LLAMA-SERVER-OPTIONS]

  --theirs PROGRAM      `llama-server`; what stands after `--` is added to its options and counts more than they do
  --ours PROGRAM        instead of building `inferno` first
  --model FILE          a GGUF file; default: Ember, the model inside our program
  --label NAME          the heading of the report's section; default: the file's name
  --out FILE.md         the section goes there, in place of the one with the same heading; default: printed
  --only CASE           this case alone; repeat it for several
  --rounds N            samples of each server; default: 5
  --quick               2 rounds, a short overload, one setting of llama-server, and no waiting for a quiet
                        machine: to see that all works
  --threads N           of both servers; default: all cores
  --list                the names of the cases
";

/// What keeps a case from its figures, or everything.
type Result<T> = std::result::Result<T, String>;

/// How long to wait before a sample for other programs to end,
const QUIET_PATIENCE: Duration = Duration::from_secs(60);
/// and for a server to be done with what its clients have given up.
const IDLE_PATIENCE: Duration = Duration::from_secs(180);

/// Runs the command; an error is a message for people.
pub(crate) fn bench_server(args: &[String]) -> Result<()> {
    let args = Args::parse(args)?;
    if args.list {
        Case::ALL.iter().for_each(|case| println!("{:16} {}", case.name(), case.title()));
        return Ok(());
    }
    let cases = args.cases();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').take(3).collect::<Vec<_>>().join(" ");
    let mut bench = Bench::prepare(&args)?;
    let mut report = Report {
        label: args.label(),
        machine: Machine::found(),
        date: crate::peer::today::today(),
        command: args.to_command(),
        servers: bench.descriptions.clone(),
        load,
        rows: Vec::new(),
    };
    for (i, case) in cases.iter().enumerate() {
        eprintln!("[{}/{}] {}", i + 1, cases.len(), case.title());
        let outcome = run(&args, &mut bench, *case);
        if let Err(why) = &outcome {
            eprintln!("  FAILED: {why}");
        }
        report.rows.push((*case, outcome));
        // What is known is kept, whatever comes next.
        report.write(args.out.as_deref())?;
        bench.check_alive()?;
    }
    if args.out.is_none() {
        println!("{}", report.to_section());
    }
    match report.rows.iter().filter(|row| row.1.is_err()).count() {
        0 => Ok(()),
        n => Err(format!("{n} of {} cases failed", cases.len())),
    }
}

/// Alternates the two servers.
fn run(args: &Args, bench: &mut Bench, case: Case) -> Result<Outcome> {
    let n_metrics = case.metrics().len();
    let setting = bench.choose(case)?;
    let note = bench.note(case)?;
    let mut samples = [vec![Samples::default(); n_metrics], vec![Samples::default(); n_metrics]];
    let mut n_disturbed = 0;
    let [ours, theirs] = bench.pids();
    let pids = [ours, theirs, std::process::id()];
    for round in 0..args.n_rounds() {
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for side in order {
            let name = bench.side(side).name;
            let is_idle = bench.wait();
            let (figures, was_quiet) = quiet::watch(&pids, || bench.sample(case, side, round));
            n_disturbed += usize::from(!(was_quiet && is_idle));
            let figures = figures.map_err(|why| format!("{name}, round {}: {why}", round + 1))?;
            eprint!("  round {}, {name}:", round + 1);
            for (metric, &x) in case.metrics().iter().zip(&figures) {
                eprint!(" {} {};", metric.name, metric.unit.show(x));
            }
            eprintln!("{}", if was_quiet && is_idle { "" } else { " (disturbed)" });
            samples[side].iter_mut().zip(figures).for_each(|(samples, x)| samples.0.push(x));
        }
    }
    let [ours, theirs] = samples;
    Ok(Outcome { ours, theirs, note: note + &setting, n_disturbed })
}

#[cfg(test)]
mod tests;
