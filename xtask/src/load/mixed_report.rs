//! The figures of the phases of `mixed`, and their bars.

use std::fmt::Write;

use serde_json::{Value as Json, json};

use crate::peer::samples::Samples;

use super::args::{Args, POOL_BYTES};
use super::attack::Tally;
use super::board::Failures;
use super::figures::{Figures, is_at_most};
use super::mixed::Phase;
use super::report::Report;
use super::vitals::Vitals;

/// Bar of times under attack over those of the clean phase before.
const MOST_RATIO: f64 = 1.5;
/// Bar of the memory at the end over that after the first two phases.
const MOST_GROWTH: f64 = 1.2;
/// Memory beyond that at the start, when the keys and values of a few requests were there: the rest of the pool, and this.
const MOST_GROWN: u64 = 64 << 20;
/// Memory of a connection that is served, its thread's share included.
const PER_CONNECTION: u64 = 256 << 10;
/// Share of the slow readers whose connections the server must close in a phase, having waited for them for `--write-time`:
/// otherwise they did not block.
const LEAST_BLOCKED: f64 = 0.5;

pub(super) fn report(
    args: &Args,
    start: Option<Vitals>,
    phases: &[Phase],
    unmeasured: &Figures,
    failures: &Failures,
) -> Report {
    let gaps = ratio(phases, |phase| phase.figures.gaps.summary().p99);
    let first = ratio(phases, |phase| phase.figures.first.summary().p90);
    let growth = growth(phases);
    let n_connections = (args.n_streams() + 2 * args.slow + args.slowloris) as u64;
    let most_grown = POOL_BYTES + MOST_GROWN + n_connections * PER_CONNECTION;
    let grown = start.and_then(|start| Some(most_memory(phases)?.saturating_sub(start.rss_bytes)));
    let mut broken: Vec<String> = failures.broken().into_iter().collect();
    let mut missed = Vec::new();
    for (ratio, what) in [(gaps, "p99 of gaps"), (first, "p90 of the first text")] {
        if let Some(ratio) = ratio.filter(|&ratio| !is_at_most(ratio, MOST_RATIO)) {
            missed.push(format!(
                "the {what} under attack is {ratio:.2} times that without, at most {MOST_RATIO} is allowed"
            ));
        }
    }
    if let Some(growth) = growth.filter(|&growth| !is_at_most(growth, MOST_GROWTH)) {
        broken.push(format!(
            "the server's memory is {growth:.2} times that after two phases, at most {MOST_GROWTH} is allowed"
        ));
    }
    if let Some(grown) = grown.filter(|&grown| grown > most_grown) {
        let [grown, most_grown] = [grown, most_grown].map(|bytes| bytes >> 20);
        broken.push(format!(
            "the server took {grown} MiB more than at the start, at most {most_grown} are allowed"
        ));
    }
    for (i, phase) in phases.iter().enumerate() {
        let (number, seconds) = (i + 1, phase.seconds);
        if phase.figures.done == 0 {
            broken.push(format!("no request that began in phase {number} ({seconds:.0} s) was done"));
        }
        let closed = phase.readers.closed;
        if phase.is_attacked && (closed as f64) < LEAST_BLOCKED * args.slow as f64 {
            missed.push(format!(
                "the server gave up {closed} slow readers in phase {number}, and at least {LEAST_BLOCKED} of {} are to make it \
                 wait: a slower machine needs fewer of them (`--slow`, `--streams`)",
                args.slow
            ));
        }
    }
    let mut text = table(phases);
    let show = |x: Option<f64>| x.map_or("unknown".into(), |x| format!("{x:.3}"));
    let _ = writeln!(text, "\nattacked / clean, median of neighbours (bar {MOST_RATIO}):");
    let _ = writeln!(text, "p99 of gaps: {}, p90 of the first text: {}", show(gaps), show(first));
    let _ = writeln!(text, "memory, end / end of two phases: {} (bar {MOST_GROWTH})", show(growth));
    let grown_mib = grown.map_or("unknown".into(), |bytes| (bytes >> 20).to_string());
    let _ = writeln!(text, "memory, most - start: {grown_mib} MiB (bar {})", most_grown >> 20);
    let _ = writeln!(text, "beside the phases: {} done, {} failed", unmeasured.done, unmeasured.failed);
    let figures = json!({
        "phases": phases.iter().map(to_json).collect::<Vec<_>>(),
        "gap_p99_ratio": gaps,
        "first_text_p90_ratio": first,
        "rss_growth": growth,
        "rss_bytes_grown": grown,
        "beside_phases": { "done": unmeasured.done, "failed": unmeasured.failed },
        "failures": failures.texts,
    });
    Report { text, figures, broken, missed }
}

/// A time of attacked phases over that of the clean phase before each, the median: the machine changes from minute to
/// minute. `None` without phases of both kinds.
fn ratio(phases: &[Phase], time: impl Fn(&Phase) -> f64) -> Option<f64> {
    let pairs = phases.windows(2).filter(|pair| pair[1].is_attacked);
    let ratios = Samples(pairs.map(|pair| time(&pair[1]) / time(&pair[0])).collect());
    (!ratios.0.is_empty()).then(|| ratios.median())
}

/// Memory at the end over that at the end of the second phase; `None` without a third one.
fn growth(phases: &[Phase]) -> Option<f64> {
    let rss = |phase: &Phase| Some(phase.vitals.last()?.rss_bytes as f64);
    match phases {
        [_, second, .., last] => Some(rss(last)? / rss(second)?),
        _ => None,
    }
}

fn most_memory(phases: &[Phase]) -> Option<u64> {
    phases.iter().flat_map(|phase| &phase.vitals).map(|vitals| vitals.rss_bytes).max()
}

fn table(phases: &[Phase]) -> String {
    let mut text = String::from(
        "phase     seconds   done failed   tok/s | first text ms p50    p90 | gap ms p50    p99     max \
         | RSS MiB first   max  last | files threads\n",
    );
    for phase in phases {
        let Figures { done, failed, tokens, first, gaps } = &phase.figures;
        let (first, gaps) = (first.summary(), gaps.summary());
        let rate = *tokens as f64 / phase.seconds;
        let _ = write!(
            text,
            "{:9} {:7.0} {done:6} {failed:6} {rate:7.0} | {:17.1} {:6.1} | {:10.1} {:6.1} {:7.1} ",
            name(phase),
            phase.seconds,
            first.p50,
            first.p90,
            gaps.p50,
            gaps.p99,
            gaps.max,
        );
        let rss: Vec<u64> = phase.vitals.iter().map(|vitals| vitals.rss_bytes >> 20).collect();
        let _ = match (&rss[..], rss.iter().max(), phase.vitals.last()) {
            ([first, ..], Some(max), Some(last)) => {
                let end = last.rss_bytes >> 20;
                writeln!(text, "| {first:13} {max:5} {end:5} | {:5} {:7}", most_files(phase), last.n_threads)
            }
            _ => writeln!(text, "| unknown"),
        };
    }
    for (i, phase) in phases.iter().enumerate() {
        let kind = if phase.is_attacked { "slow readers" } else { "quick readers" };
        for (kind, tally) in [(kind, phase.readers), ("slow headers", phase.slowloris)] {
            let Tally { connections, closed, whole, bytes } = tally;
            if connections > 0 {
                let _ = writeln!(
                    text,
                    "phase {}, {kind}: {connections} connections, {closed} closed by the server, {whole} answers whole, \
                     {bytes} bytes",
                    i + 1
                );
            }
        }
    }
    text
}

fn name(phase: &Phase) -> &'static str {
    match phase.is_attacked {
        true => "attacked",
        false => "clean",
    }
}

fn most_files(phase: &Phase) -> u64 {
    phase.vitals.iter().map(|vitals| vitals.n_files).max().unwrap_or(0)
}

fn to_json(phase: &Phase) -> Json {
    let figures = &phase.figures;
    json!({
        "kind": name(phase),
        "seconds": phase.seconds,
        "done": figures.done,
        "failed": figures.failed,
        "tokens_per_s": figures.tokens as f64 / phase.seconds,
        "first_text": figures.first.summary().to_json(),
        "gaps": figures.gaps.summary().to_json(),
        "rss_bytes_max": phase.vitals.iter().map(|vitals| vitals.rss_bytes).max(),
        "files_max": most_files(phase),
        "first_look": phase.vitals.first().map(|vitals| vitals.to_json()),
        "last_look": phase.vitals.last().map(|vitals| vitals.to_json()),
        "readers": phase.readers.to_json(),
        "slowloris": phase.slowloris.to_json(),
    })
}
