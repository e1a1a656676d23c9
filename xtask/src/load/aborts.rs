//! Streams that the client closes at a random token: nothing of them may stay behind.

use std::fmt::Write;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::{Builder, sleep};
use std::time::{Duration, Instant};

use serde_json::json;
use xtask::testing::Random;

use super::args::Args;
use super::ask::Ask;
use super::board::{Board, Failures};
use super::client::{Answer, Client};
use super::metrics::Metrics;
use super::report::Report;
use super::stream::Seen;
use super::target::Target;
use super::vitals::Vitals;
use super::{Result, STACK};

/// What the server looked like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) metrics: Metrics,
    pub(super) vitals: Option<Vitals>,
}

/// How the streams ended.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// Closed before any answer, closed in the stream, ended before that.
    pub(super) early: AtomicUsize,
    pub(super) cut: AtomicUsize,
    pub(super) done: AtomicUsize,
}

pub(super) fn run(args: &Args, target: &Target) -> Result<Report> {
    let board = Board::default();
    let mut client = Client::of_single_requests(target);
    let mut random = Random(args.seed);
    let mut whole =
        |what: &str| match client.chat(&Ask::chat(&mut random, 8), |_, _| ControlFlow::Continue(())) {
            Ok(Answer::Done(_)) => Ok(()),
            other => Err(format!("{what}: {other:?}")),
        };
    whole("a first request")?;
    let before = settled(target, None)?;
    let ends = Ends::default();
    close_streams(args, target, &board, &ends)?;
    let begun = Instant::now();
    let after = settled(target, Some(before))?;
    let seconds = begun.elapsed().as_secs_f64();
    if let Err(why) = whole("a request after all of them") {
        board.fail(why);
    }
    Ok(report(&ends, before, after, seconds, &board.failures()))
}

/// Each closes one stream after the other.
fn close_streams(args: &Args, target: &Target, board: &Board, ends: &Ends) -> Result<()> {
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let i = next.fetch_add(1, Relaxed);
            if i >= args.count || board.is_over() {
                return;
            }
            let mut random = Random(args.seed.wrapping_add((i as u64) << 32));
            let ask = Ask { is_exact: true, ..Ask::chat(&mut random, args.tokens) };
            let mut client = Client::of_single_requests(target);
            // Every tenth leaves no time for an answer.
            let outcome = match i % 10 {
                0 => client.hang_up(&ask).map(|()| &ends.early),
                _ => close_at(&mut client, &ask, random.below(args.tokens.div_ceil(2)), ends),
            };
            match outcome {
                Ok(end) => _ = end.fetch_add(1, Relaxed),
                Err(why) => board.fail(why),
            }
        }
    };
    std::thread::scope(|scope| {
        let ender = board.ender();
        let mut threads = Vec::new();
        for _ in 0..args.n_streams() {
            let thread = Builder::new().stack_size(STACK).spawn_scoped(scope, work);
            threads.push(thread.map_err(|e| format!("cannot start a thread: {e}"))?);
        }
        for thread in threads {
            thread.join().map_err(|_| "a client's thread panicked")?;
        }
        drop(ender);
        Ok(())
    })
}

/// Closes the stream after so many pieces of text; none: at its first event.
fn close_at<'a>(client: &mut Client, ask: &Ask, n_texts: usize, ends: &'a Ends) -> Result<&'a AtomicUsize> {
    let mut seen_texts = 0;
    let answer = client.chat(ask, |seen, _| {
        seen_texts += usize::from(seen == Seen::Text);
        match seen_texts >= n_texts {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    match answer {
        Answer::Cut => Ok(&ends.cut),
        Answer::Done(_) => Ok(&ends.done),
        Answer::Refused => Err("refused, though nobody is above capacity".into()),
    }
}

/// The server as it is when nothing is wrong with it any more, or when patience ends.
fn settled(target: &Target, before: Option<Look>) -> Result<Look> {
    let end = Instant::now() + target.patience.min(MOST_SETTLING);
    loop {
        let mut client = Client::of_single_requests(target);
        let metrics = Metrics::of(&mut client)?;
        let look = Look { metrics, vitals: target.pid.and_then(Vitals::of) };
        let is_right = match before {
            None => metrics.is_idle(),
            Some(before) => remains(before, look).is_empty(),
        };
        if is_right || Instant::now() >= end {
            return Ok(look);
        }
        sleep(Duration::from_millis(100));
    }
}

const MOST_SETTLING: Duration = Duration::from_secs(30);

/// A connection that was closed a moment ago may still be open on the other side.
const SPARE_FILES: u64 = 4;

/// Minimum share of the started streams that are closed before their end: others test nothing.
const LEAST_CUT: f64 = 0.9;

/// What stayed behind.
fn remains(before: Look, after: Look) -> Vec<String> {
    let Metrics { running, waiting, held, .. } = after.metrics;
    let mut remains = Vec::new();
    for (n, what) in [(running, "sequences run"), (waiting, "sequences wait"), (held, "pages are held")] {
        if n > 0 {
            remains.push(format!("{n} {what} after all streams were closed"));
        }
    }
    let (pages, left) = (before.metrics.pages(), after.metrics.free + after.metrics.cached);
    if pages != left {
        remains.push(format!("{left} pages are free or cached, {pages} were there at the start"));
    }
    if let (Some(before), Some(after)) = (before.vitals, after.vitals)
        && after.n_files > before.n_files + SPARE_FILES
    {
        remains.push(format!("{} files are open, {} were at the start", after.n_files, before.n_files));
    }
    remains
}

pub(super) fn report(ends: &Ends, before: Look, after: Look, seconds: f64, failures: &Failures) -> Report {
    let [early, cut, done] = [&ends.early, &ends.cut, &ends.done].map(|n| n.load(Relaxed));
    let mut broken: Vec<String> = failures.broken().into_iter().collect();
    broken.extend(remains(before, after));
    if !before.metrics.is_idle() {
        broken.push("the server was not idle at the start".into());
    }
    let (n_cut, n_asked) = (cut as f64, (cut + done) as f64);
    if n_asked > 0.0 && n_cut < LEAST_CUT * n_asked {
        broken.push(format!(
            "{cut} of {n_asked} streams were closed before their end, at least {LEAST_CUT} of them are asked for"
        ));
    }
    let mut text = String::new();
    let _ =
        writeln!(text, "closed in the stream: {cut}, before an answer: {early}, ended by themselves: {done}");
    let _ = writeln!(text, "looked at again until all was right: {seconds:.1} s");
    for (when, look) in [("before", before), ("after", after)] {
        let Metrics { running, waiting, free, cached, held } = look.metrics;
        let _ = write!(
            text,
            "{when}: {running} run, {waiting} wait, pages: {free} free, {cached} cached, {held} held"
        );
        let _ = match look.vitals {
            Some(vitals) => {
                writeln!(text, "; {} files, {} MiB", vitals.n_files, vitals.rss_bytes >> 20)
            }
            None => writeln!(text),
        };
    }
    let to_json = |look: Look| json!({ "metrics": look.metrics.to_json(), "process": look.vitals.map(Vitals::to_json) });
    let figures = json!({
        "cut": cut,
        "closed_before_an_answer": early,
        "done": done,
        "seconds_to_settle": seconds,
        "before": to_json(before),
        "after": to_json(after),
        "failures": failures.texts,
    });
    Report { text, figures, broken, missed: Vec::new() }
}
