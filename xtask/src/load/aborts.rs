//! Streams that the client closes at a uniformly chosen byte of their text, which is known: nothing of them may stay behind.

use std::fmt::Write;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::Builder;
use std::time::Instant;

use serde_json::json;
use xtask::testing::Random;

use super::args::Args;
use super::ask::Ask;
use super::board::{Board, Failures};
use super::client::{Answer, Client};
use super::figures::is_at_most;
use super::known::known;
use super::look::{Look, remains, settled};
use super::metrics::Metrics;
use super::report::Report;
use super::target::Target;
use super::{Result, STACK};

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
    let mut random = Random(args.seed ^ 0x5eed);
    let next = || Ask { is_exact: true, ..Ask::chat(&mut random, args.tokens) };
    let control = &known(target, N_KNOWN, next)?;
    let before = settled(target, None)?;
    let ends = Ends::default();
    close_streams(args, control, target, &board, &ends)?;
    let begun = Instant::now();
    let after = settled(target, Some(before))?;
    let seconds = begun.elapsed().as_secs_f64();
    match Client::of_single_requests(target).whole(&control[0]) {
        Ok(Answer::Done(..)) => {}
        other => board.fail(format!("a request after all of them: {other:?}")),
    }
    Ok(report(args, &ends, before, after, seconds, &board.failures()))
}

/// Each closes one stream after the other.
fn close_streams(args: &Args, control: &[Ask], target: &Target, board: &Board, ends: &Ends) -> Result<()> {
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let i = next.fetch_add(1, Relaxed);
            if i >= args.n_aborts() || board.is_over() {
                return;
            }
            let mut random = Random(args.seed.wrapping_add((i as u64) << 32));
            let mut client = Client::of_single_requests(target);
            // Every tenth leaves no time for an answer.
            let outcome = match i % 10 {
                0 => client.hang_up(&Ask::chat(&mut random, args.tokens)).map(|()| &ends.early),
                _ => close_within(&mut client, &control[random.below(control.len())], &mut random, ends),
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

/// Closes the stream when a byte of its text has come; the first: at its first event.
pub(super) fn close_within<'a>(
    client: &mut Client,
    ask: &Ask,
    random: &mut Random,
    ends: &'a Ends,
) -> Result<&'a AtomicUsize> {
    let n_bytes = ask.known.as_ref().map_or(0, |text| text.len());
    let at = random.below(n_bytes.max(1));
    let answer = client.chat(ask, |_, n_seen, _| match n_seen >= at {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    })?;
    match answer {
        Answer::Cut => Ok(&ends.cut),
        Answer::Done(..) => Ok(&ends.done),
        Answer::Refused => Err("refused, though nobody is above capacity".into()),
    }
}

/// Minimum share of the streams that are closed before their end, as the server sees it: others test nothing.
const LEAST_CUT: f64 = 0.9;
/// Share of the tokens asked for that may be computed: uniform cuts leave half, and a lost cancellation none.
const MOST_COMPUTED: f64 = 0.7;
/// Requests whose texts are known: all that are closed in their streams.
const N_KNOWN: usize = 8;

pub(super) fn report(
    args: &Args,
    ends: &Ends,
    before: Look,
    after: Look,
    seconds: f64,
    failures: &Failures,
) -> Report {
    let [early, cut, done] = [&ends.early, &ends.cut, &ends.done].map(|n| n.load(Relaxed));
    let mut broken: Vec<String> = failures.broken().into_iter().collect();
    broken.extend(remains(before, after));
    if !before.metrics.is_idle() {
        broken.push("the server was not idle at the start".into());
    }
    let (n_asked, abandoned) = (cut + done + early, after.metrics.abandoned - before.metrics.abandoned);
    if (abandoned as f64) < LEAST_CUT * n_asked as f64 {
        broken.push(format!(
            "the server saw {abandoned} of {n_asked} streams closed before their end, at least {LEAST_CUT} of them are \
             asked for"
        ));
    }
    let computed = (after.metrics.tokens - before.metrics.tokens) as f64 / (args.tokens * n_asked) as f64;
    if n_asked > 0 && !is_at_most(computed, MOST_COMPUTED) {
        broken.push(format!(
            "{computed:.2} of all tokens were computed, at most {MOST_COMPUTED} are needed: work went on for clients that \
             left"
        ));
    }
    let mut text = String::new();
    let _ =
        writeln!(text, "closed in the stream: {cut}, before an answer: {early}, ended by themselves: {done}");
    let _ = writeln!(text, "closed before their end, as the server saw it: {abandoned} of {n_asked}");
    let _ = writeln!(text, "computed of all tokens: {computed:.2} (bar {MOST_COMPUTED})");
    let _ = writeln!(text, "looked at again until all was right: {seconds:.1} s");
    for (when, look) in [("before", before), ("after", after)] {
        let Metrics { running, waiting, free, cached, held, .. } = look.metrics;
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
    let figures = json!({
        "cut": cut,
        "closed_before_an_answer": early,
        "done": done,
        "abandoned": abandoned,
        "computed_share": computed,
        "seconds_to_settle": seconds,
        "before": before.to_json(),
        "after": after.to_json(),
        "failures": failures.texts,
    });
    Report { text, figures, broken, missed: Vec::new() }
}
