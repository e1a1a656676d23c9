//! The figures of the phases of `mixed`, and their bars.

use std::fmt::Write;

use serde_json::{Value as Json, json};

use crate::peer::samples::Samples;

use super::board::Failures;
use super::figures::{Figures, Summary, is_at_most};
use super::mixed::Phase;
use super::report::Report;

/// The 99th percentile under attack may be so many times that without.
const MOST_RATIO: f64 = 1.5;
/// Memory at the end may be so many times that after the first two phases.
const MOST_GROWTH: f64 = 1.2;

pub(super) fn report(phases: &[Phase], unmeasured: &Figures, failures: &Failures) -> Report {
    let gap_ratio = ratio(phases, |phase| phase.figures.gaps.summary());
    let first_ratio = ratio(phases, |phase| phase.figures.first.summary());
    let growth = growth(phases);
    let mut broken: Vec<String> = failures.broken().into_iter().collect();
    let mut missed = Vec::new();
    if let Some(ratio) = gap_ratio.filter(|&ratio| !is_at_most(ratio, MOST_RATIO)) {
        missed.push(format!(
            "the p99 of gaps under attack is {ratio:.2} times that without, at most {MOST_RATIO} is allowed"
        ));
    }
    if let Some(growth) = growth.filter(|&growth| !is_at_most(growth, MOST_GROWTH)) {
        broken.push(format!(
            "the server's memory is {growth:.2} times that after two phases, at most {MOST_GROWTH} is allowed"
        ));
    }
    for (i, phase) in phases.iter().enumerate().filter(|(_, phase)| phase.figures.done == 0) {
        let seconds = phase.seconds;
        broken.push(format!("no request that began in phase {} ({seconds:.0} s) was done", i + 1));
    }
    let mut text = table(phases);
    let show = |x: Option<f64>| x.map_or("unknown".into(), |x| format!("{x:.3}"));
    let _ =
        writeln!(text, "\np99 of gaps, attacked / clean (medians): {} (bar {MOST_RATIO})", show(gap_ratio));
    let _ =
        writeln!(text, "p99 of the first text, attacked / clean (medians): {} (no bar)", show(first_ratio));
    let _ = writeln!(text, "memory, end / end of two phases: {} (bar {MOST_GROWTH})", show(growth));
    let _ = writeln!(text, "beside the phases: {} done, {} failed", unmeasured.done, unmeasured.failed);
    let figures = json!({
        "phases": phases.iter().map(to_json).collect::<Vec<_>>(),
        "gap_p99_ratio": gap_ratio,
        "first_text_p99_ratio": first_ratio,
        "rss_growth": growth,
        "beside_phases": { "done": unmeasured.done, "failed": unmeasured.failed },
        "failures": failures.texts,
    });
    Report { text, figures, broken, missed }
}

/// The 99th percentiles of attacked phases over those of clean ones, medians; `None` without phases of both kinds.
fn ratio(phases: &[Phase], summary: impl Fn(&Phase) -> Summary) -> Option<f64> {
    let p99 = |of_attack| {
        let phases = phases.iter().filter(|phase| phase.attack.is_some() == of_attack);
        let samples = Samples(phases.map(|phase| summary(phase).p99).collect());
        (!samples.0.is_empty()).then(|| samples.median())
    };
    Some(p99(true)? / p99(false)?)
}

/// Memory at the end over that at the end of the second phase; `None` without a third one.
fn growth(phases: &[Phase]) -> Option<f64> {
    let rss = |phase: &Phase| Some(phase.vitals.last()?.rss_bytes as f64);
    match phases {
        [_, second, .., last] => Some(rss(last)? / rss(second)?),
        _ => None,
    }
}

fn table(phases: &[Phase]) -> String {
    let mut text = String::from(
        "phase     seconds   done failed   tok/s | first text ms p50    p99 | gap ms p50    p99     max \
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
            first.p99,
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
        for (tally, kind) in phase.attack.iter().flatten().zip(["slow readers", "slow headers"]) {
            let _ = writeln!(
                text,
                "phase {}, {kind}: {} connections, {} closed by the server, {} bytes",
                i + 1,
                tally.connections,
                tally.closed,
                tally.bytes
            );
        }
    }
    text
}

fn name(phase: &Phase) -> &'static str {
    match phase.attack {
        Some(_) => "attacked",
        None => "clean",
    }
}

fn most_files(phase: &Phase) -> u64 {
    phase.vitals.iter().map(|vitals| vitals.n_files).max().unwrap_or(0)
}

fn to_json(phase: &Phase) -> Json {
    let figures = &phase.figures;
    let attack = phase
        .attack
        .map(|[slow, slowloris]| json!({ "slow": slow.to_json(), "slowloris": slowloris.to_json() }));
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
        "attack": attack,
    })
}
