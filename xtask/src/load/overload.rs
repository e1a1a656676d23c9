//! More requests than the server can answer: what it answers must not become less, and the rest is refused at once.

use std::fmt::Write;
use std::thread::Builder;
use std::time::{Duration, Instant};

use serde_json::json;
use xtask::testing::Random;

use super::args::Args;
use super::arrivals::Arrivals;
use super::ask::Ask;
use super::board::{Board, Failures};
use super::client::{Answer, Client};
use super::figures::{Summary, Times, is_at_least, is_at_most};
use super::known::known;
use super::report::Report;
use super::target::Target;
use super::{Result, STACK};

/// Threads of the open loop.
pub(super) const MOST_CLIENTS: usize = 1000;
/// Of the goodput at capacity this must be left.
const LEAST_SHARE: f64 = 0.9;
/// The 99th percentile of the time to a refusal, in milliseconds.
const MOST_REFUSAL_MS: f64 = 50.0;
/// Before anything is measured.
const WARM_UP: f64 = 2.0;

/// Requests whose texts are known: all that are asked.
const N_KNOWN: usize = 16;

/// What one client saw, or all of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) done: usize,
    pub(super) tokens: u64,
    /// From the request to the end of the refusal.
    pub(super) refusals: Times,
    /// How late requests began.
    pub(super) lateness: Times,
}

/// The two loops as they went.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) peak: Seen,
    pub(super) peak_seconds: f64,
    pub(super) over: Seen,
    pub(super) over_seconds: f64,
    /// Requests per second, in the open loop.
    pub(super) rate: f64,
    pub(super) failures: Failures,
}

pub(super) fn run(args: &Args, target: &Target) -> Result<Report> {
    let board = Board::default();
    let mut random = Random(args.seed ^ 0x5eed);
    let next = || Ask { is_exact: true, ..Ask::short(&mut random, args.tokens) };
    let control = &known(target, N_KNOWN, next)?;
    let peak = closed_loop(args, control, target, &board)?;
    eprintln!("at capacity: {:.1} requests/s", peak.done as f64 / args.peak_seconds);
    let rate = args.factor * peak.done as f64 / args.peak_seconds;
    let over = match peak.done {
        0 => Seen::default(),
        _ => open_loop(args, control, target, &board, rate)?,
    };
    let failures = board.failures();
    let (peak_seconds, over_seconds) = (args.peak_seconds, args.seconds);
    Ok(Outcome { peak, peak_seconds, over, over_seconds, rate, failures }.report())
}

/// As many clients as there are sequences, one request after the other.
fn closed_loop(args: &Args, control: &[Ask], target: &Target, board: &Board) -> Result<Seen> {
    let window = Window::new(args.peak_seconds);
    all(board, args.sequences, |i, seen| {
        let mut random = Random(args.seed.wrapping_add((i as u64) << 32));
        let mut client = Client::new(target);
        while Instant::now() < window.end && !board.is_over() {
            match client.whole(&control[random.below(control.len())]) {
                Ok(Answer::Done(usage, _)) => window.done(seen, usage.completion),
                Ok(_) => board.fail("refused, with no more clients than sequences".into()),
                Err(why) => {
                    board.fail(why);
                    client = Client::new(target);
                }
            }
        }
    })
}

/// Requests begin at fixed times, whatever becomes of those before.
fn open_loop(args: &Args, control: &[Ask], target: &Target, board: &Board, rate: f64) -> Result<Seen> {
    // Those that are answered, and 200 ms of those that are not.
    let n_clients = (args.sequences + args.queue + 16 + (rate * 0.2) as usize).min(MOST_CLIENTS);
    let window = Window::new(args.seconds);
    let arrivals = Arrivals::new(window.start, rate);
    all(board, n_clients, |i, seen| {
        let mut random = Random(!args.seed.wrapping_add((i as u64) << 32));
        let mut client = Client::of_single_requests(target);
        loop {
            let due = arrivals.wait();
            let begun = Instant::now();
            if due >= window.end || board.is_over() {
                return;
            }
            match client.whole(&control[random.below(control.len())]) {
                Ok(Answer::Done(usage, _)) => window.done(seen, usage.completion),
                Ok(_) if window.has(Instant::now()) => seen.refusals.push(begun.elapsed()),
                Ok(_) => {}
                Err(why) => board.fail(why),
            }
            if window.has(begun) {
                seen.lateness.push(begun - due);
            }
        }
    })
}

/// The time of a loop: figures are of what happens after the warm-up.
struct Window {
    start: Instant,
    warm: Instant,
    end: Instant,
}

impl Window {
    fn new(seconds: f64) -> Window {
        let start = Instant::now();
        let warm = start + Duration::from_secs_f64(WARM_UP.min(seconds / 4.0));
        Window { start, warm, end: warm + Duration::from_secs_f64(seconds) }
    }

    fn has(&self, time: Instant) -> bool {
        (self.warm..self.end).contains(&time)
    }

    /// A request is done now.
    fn done(&self, seen: &mut Seen, tokens: u64) {
        if self.has(Instant::now()) {
            seen.done += 1;
            seen.tokens += tokens;
        }
    }
}

/// What `n` clients saw together.
fn all(board: &Board, n: usize, client: impl Fn(usize, &mut Seen) + Sync) -> Result<Seen> {
    let work = |i| {
        let mut seen = Seen::default();
        client(i, &mut seen);
        seen
    };
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for i in 0..n {
            let thread = Builder::new().stack_size(STACK).spawn_scoped(scope, move || work(i));
            threads.push(thread.map_err(|e| {
                drop(board.ender());
                format!("cannot start a thread: {e}")
            })?);
        }
        let mut all = Seen::default();
        for thread in threads {
            let seen = thread.join().map_err(|_| "a client's thread panicked")?;
            all.done += seen.done;
            all.tokens += seen.tokens;
            all.refusals.append(&seen.refusals);
            all.lateness.append(&seen.lateness);
        }
        Ok(all)
    })
}

impl Outcome {
    pub(super) fn report(&self) -> Report {
        let goodput = |seen: &Seen, seconds| seen.tokens as f64 / seconds;
        let peak = goodput(&self.peak, self.peak_seconds);
        let over = goodput(&self.over, self.over_seconds);
        let share = if peak > 0.0 { over / peak } else { f64::NAN };
        let (refusals, late) = (self.over.refusals.summary(), self.over.lateness.summary());
        let reached = late.n as f64 / self.over_seconds;
        let mut text = String::new();
        let _ = writeln!(text, "at capacity: {peak:.0} tok/s, {} requests done", self.peak.done);
        let _ = writeln!(text, "above it: {over:.0} tok/s, {} requests done", self.over.done);
        let _ = writeln!(text, "share: {share:.3} (bar {LEAST_SHARE})");
        let _ = writeln!(text, "requests/s: {reached:.0} of {:.0}", self.rate);
        let _ = writeln!(text, "lateness of requests, ms: {}", line(late));
        let _ = writeln!(text, "{} refusals, ms: {} (bar p99 {MOST_REFUSAL_MS})", refusals.n, line(refusals));
        let figures = json!({
            "peak": { "tokens_per_s": peak, "done": self.peak.done, "seconds": self.peak_seconds },
            "over": { "tokens_per_s": over, "done": self.over.done, "seconds": self.over_seconds },
            "share": share,
            "requests_per_s": { "asked": self.rate, "reached": reached },
            "lateness": late.to_json(),
            "refusals": refusals.to_json(),
            "failures": self.failures.texts,
        });
        let broken = self.failures.broken().into_iter().collect();
        Report { text, figures, broken, missed: self.missed(share, reached, refusals) }
    }

    fn missed(&self, share: f64, reached: f64, refusals: Summary) -> Vec<String> {
        let mut missed = Vec::new();
        if !is_at_least(share, LEAST_SHARE) {
            missed.push(format!("{share:.3} of the goodput is left, at least {LEAST_SHARE} is asked for"));
        }
        if !is_at_least(reached, 0.9 * self.rate) {
            missed.push(format!("the clients came to {reached:.0} of {:.0} requests/s", self.rate));
        }
        if !is_at_most(refusals.p99, MOST_REFUSAL_MS) {
            let p99 = refusals.p99;
            missed.push(format!("the p99 of refusals is {p99:.1} ms, at most {MOST_REFUSAL_MS} is allowed"));
        }
        missed
    }
}

fn line(summary: Summary) -> String {
    format!("p50 {:.2}, p99 {:.2}, max {:.2}", summary.p50, summary.p99, summary.max)
}
