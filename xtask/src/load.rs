//! `cargo xtask load`: a server with OpenAI's API under load, over loopback.
//!
//! Every answer of a good client is checked against the rules of a stream (`stream.rs`), whatever else happens. A
//! scenario (`mixed.rs`, `overload.rs`, `aborts.rs`) makes figures of what the clients saw and holds them against its
//! bars. Client and server share the machine's cores, so a client is a thread with blocking sockets and a small stack,
//! and looks at most pieces of a stream as bytes only.

mod aborts;
mod address;
mod args;
pub(crate) mod arrivals;
pub(crate) mod ask;
mod attack;
mod board;
pub(crate) mod client;
#[cfg(test)]
pub(crate) mod fake;
mod faults;
pub(crate) mod figures;
mod frame;
mod hostile;
pub(crate) mod http;
mod known;
mod look;
mod metrics;
mod mixed;
mod mixed_report;
mod overload;
mod readers;
mod report;
pub(crate) mod server;
mod soak;
pub(crate) mod sse;
mod stream;
pub(crate) mod target;
pub(crate) mod vitals;

use std::process::ExitCode;

use args::{Args, Scenario};
use report::Report;
use target::Target;

pub(crate) const USAGE: &str = "\
usage: cargo xtask load [mixed | overload | aborts | hostile | faults | soak] [options] [-- SERVER-OPTIONS]

scenarios:
  mixed      good clients among clients that read quickly, and among as many that read slowly and send slow headers, in
             turn; the server has places for the good clients only. Bars: no good request fails or has another text than
             alone; under attack the 90th percentile of the time to the first text and the 99th of the time between two
             pieces of text are at most 1.5 times those of the phase before; slow readers really make the server wait;
             memory stays flat. The default
  overload   the most tokens/s of completed requests, and the same at 10 times that rate of requests; bars: 90 % of it
             is left, all others get a 429 with Retry-After, in under 50 ms at the 99th percentile
  aborts     streams closed at a uniformly chosen byte of their known text; bars: the server sees nine of ten end early, and
             then nothing runs, waits or is held, and no file is open
  hostile    requests of 8 MiB, 32 at once, of kinds that cost much; requests whose clients leave; 1,100 silent connections.
             Bars: good requests beside them are answered, in under 1 s; memory grows by at most 384 MiB, and by 64 MiB
             when all is over
  faults     drains, kills, stops, hogs, files that change, full disks and limits, each several times at random moments with
             servers of its own; bars: good requests have their texts, or fail where the server ends, and it ends as it should.
             docs/faults.md has the list
  soak       hours of mixed load: chats of known text, closed streams, every dialect, wrong requests; bars: every answer is as it was
             when nothing else ran, memory grows by at most 1 MiB an hour (1 MiB in all in less), no files, threads or pages
             stay, and latency does not drift

The exit code is 3 where bars of time were missed and no other rule was broken.

of every scenario:
  --server PROGRAM    instead of building `inferno` first; it is run as `PROGRAM serve --host 127.0.0.1 --port 0`
                      with the options of the scenario and those after `--` (say `-m FILE`)
  --url URL           a server that runs, at an address of this machine, instead of starting one
  --pid PID           of that server, to know its memory and open files
  --seed N            of prompts, lengths and where streams are closed; default: 1
  --patience SECONDS  how long a good client waits for a byte; default: 60
  --json              a report for programs

of mixed:
  --minutes X         of all phases; default: 10
  --phases N          clean, attacked, clean ...; default: two a minute
  --streams N         good clients, and places of the server; default: 32
  --slow N            clients that read a byte every 100 ms, and in clean phases quickly; default: 32
  --slow-tokens N     what each asks for, twice a phase or every 15 s, with 20 log-probabilities; default: 100
  --slowloris N       connections that send a byte of a request every 5 s; default: 500
of overload:
  --seconds X         above capacity; default: 60
  --peak-seconds X    at capacity, before; default: 15
  --factor X          how far above; default: 10
  --sequences N       the server's own option, and the clients that find its capacity; default: 8
  --queue N           the server's own option; default: 16
  --tokens N          of every answer; default: 256, all of them
of aborts:
  --count N           streams; default: 1000
  --streams N         at a time; default: 16
  --tokens N          asked for by each; default: 256
of soak:
  --minutes X         measured, after a third of it as warm-up; default: 60
  --streams N         clients, twice the places of the server; default: 8
  --trace FILE        gaps and lengths of requests, as Azure's AzureLLMInferenceTrace_conv.csv; default: drawn
  --tokens N          of the longest answer; default: 256
of faults:
  --count N           tries of each kind; default: 10
  --only NAME,..      kinds
";

/// What keeps a scenario from its figures.
type Result<T> = std::result::Result<T, String>;

/// Exit code where bars of time were missed, and no rule was broken.
const MISSED: u8 = 3;

/// A client's thread needs no more.
pub(crate) const STACK: usize = 128 << 10;

/// Runs the command; an error is a message for people.
pub(crate) fn load(args: &[String]) -> Result<ExitCode> {
    let args = Args::parse(args)?;
    let report = match args.scenario {
        Scenario::Faults => faults::run(&args, &args.program()?)?,
        _ => one_server(&args)?,
    };
    match args.json {
        true => println!("{}", report.to_json(&args)),
        false => print!("{}", report.to_text()),
    }
    match (report.broken.len(), report.missed.len()) {
        (0, 0) => Ok(ExitCode::SUCCESS),
        (0, n) => {
            eprintln!("{n} bars of time were missed");
            Ok(ExitCode::from(MISSED))
        }
        (n, _) => Err(format!("{n} of the rules were broken")),
    }
}

/// A scenario with one server.
fn one_server(args: &Args) -> Result<Report> {
    let mut target = Target::prepare(args)?;
    let outcome = match args.scenario {
        Scenario::Mixed => mixed::run(args, &target),
        Scenario::Overload => overload::run(args, &target),
        Scenario::Aborts => aborts::run(args, &target),
        Scenario::Hostile => hostile::run(args, &target, hostile::Sizes::default()),
        Scenario::Soak => soak::run(args, &target),
        Scenario::Faults => return Err("faults start their own servers".into()),
    };
    let end = target.end_of_server();
    let mut report = outcome.map_err(|why| end.iter().fold(why, |why, end| format!("{why}\n{end}")))?;
    report.broken.extend(end);
    Ok(report)
}

#[cfg(test)]
mod tests;
