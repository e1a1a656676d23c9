//! Figures of hours of load, and their bars.

use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

use serde_json::json;

use crate::load::board::Failures;
use crate::load::figures::{Figures, is_at_most};
use crate::load::look::{Look, remains};
use crate::load::report::Report;
use crate::load::soak::{N_WINDOWS, Outcome};
use crate::load::vitals::Vitals;
use crate::peer::samples::Samples;

/// Bytes of memory an hour, or in all if it is less than one.
const MOST_GROWTH: f64 = (1 << 20) as f64;
/// More open files and threads in the last window than in the first: connections are opened and closed all the time.
const SPARE: f64 = 4.0;
/// Latency of the last window over that of the first.
const MOST_DRIFT: f64 = 1.5;

pub(super) fn report(outcome: &Outcome, failures: &Failures) -> Report {
    let Outcome { hours, figures, looks, before, after, ends } = outcome;
    let mut broken: Vec<String> = failures.broken().into_iter().collect();
    let mut missed = Vec::new();
    broken.extend(remains(*before, *after));
    let [cut, done] = [&ends.cut, &ends.done].map(|n| n.load(Relaxed));
    if cut == 0 {
        broken.push("no stream was closed on its way".into());
    }
    for (window, figures) in figures.iter().enumerate().filter(|(_, figures)| figures.done == 0) {
        broken.push(format!("no request of window {window} was done, {} failed", figures.failed));
    }
    let n_pages = before.metrics.pages();
    if let Some((at, look)) = looks.iter().find(|(_, look)| look.metrics.pages() != n_pages) {
        broken.push(format!(
            "{} pages are free, cached or held after {at:.2} hours, {n_pages} were there at the start",
            look.metrics.pages()
        ));
    }
    let memory: Vec<(f64, f64)> =
        looks.iter().filter_map(|(at, look)| Some((*at, look.vitals?.rss_bytes as f64))).collect();
    let slope = slope(&memory);
    let most_slope = MOST_GROWTH / hours.min(1.0);
    if let Some(slope) = slope.filter(|&slope| !is_at_most(slope, most_slope)) {
        let [slope, most] = [slope, most_slope].map(|bytes| bytes / MOST_GROWTH);
        broken.push(format!("memory grows by {slope:.2} MiB an hour, at most {most:.2} are allowed"));
    }
    for (what, of) in
        [("files", (|vitals| vitals.n_files) as fn(&Vitals) -> u64), ("threads", |vitals| vitals.n_threads)]
    {
        let [first, last] =
            [1, N_WINDOWS].map(|window| median(outcome, window, |look| Some(of(&look.vitals?) as f64)));
        if last > first + SPARE {
            broken.push(format!("{last} {what} in the last window, {first} in the first"));
        }
    }
    let drift = |time: fn(&Figures) -> f64| time(&figures[N_WINDOWS]) / time(&figures[1]);
    let first_drift = drift(|figures| figures.first.summary().p90);
    let gap_drift = drift(|figures| figures.gaps.summary().p90);
    for (drift, what) in [(first_drift, "first text"), (gap_drift, "gap")] {
        if !is_at_most(drift, MOST_DRIFT) {
            missed.push(format!(
                "the p90 of the {what} is {drift:.2} times that of the first window, at most {MOST_DRIFT} is allowed"
            ));
        }
    }
    let mut text = table(outcome);
    let show = slope.map_or("unknown".into(), |slope| format!("{:.3} MiB", slope / MOST_GROWTH));
    let _ = writeln!(text, "\nmemory an hour: {show} (bar {:.2} MiB)", most_slope / MOST_GROWTH);
    let _ = writeln!(
        text,
        "last window / first: p90 of the first text {first_drift:.2}, of gaps {gap_drift:.2} (bar {MOST_DRIFT})"
    );
    let _ = writeln!(text, "streams closed on their way: {cut}, ended before that: {done}");
    let figures = json!({
        "hours": hours,
        "bytes_an_hour": slope,
        "first_text_p90_drift": first_drift,
        "gap_p90_drift": gap_drift,
        "cut": cut,
        "windows": figures.iter().map(|figures| json!({
            "done": figures.done,
            "failed": figures.failed,
            "tokens": figures.tokens,
            "first_text": figures.first.summary().to_json(),
            "gaps": figures.gaps.summary().to_json(),
        })).collect::<Vec<_>>(),
        "memory": memory,
        "before": before.to_json(),
        "after": after.to_json(),
        "failures": failures.texts,
    });
    Report { text, figures, broken, missed }
}

/// Median of all slopes between two samples (Theil and Sen): neither a peak nor a trough moves it. `None` of fewer than two.
pub(super) fn slope(samples: &[(f64, f64)]) -> Option<f64> {
    let mut slopes = Samples::default();
    for (i, (t0, x0)) in samples.iter().enumerate() {
        let later = samples[i + 1..].iter().filter(|(t1, _)| t1 > t0);
        slopes.0.extend(later.map(|(t1, x1)| (x1 - x0) / (t1 - t0)));
    }
    (!slopes.0.is_empty()).then(|| slopes.median())
}

/// Of the looks in a window.
fn median(outcome: &Outcome, window: usize, of: impl Fn(&Look) -> Option<f64>) -> f64 {
    let width = outcome.hours / N_WINDOWS as f64;
    let within = |at: f64| (width * (window - 1) as f64..width * window as f64).contains(&at);
    let looks = outcome.looks.iter().filter(|(at, _)| within(*at));
    Samples(looks.filter_map(|(_, look)| of(look)).collect()).median()
}

fn table(outcome: &Outcome) -> String {
    let mut text = String::from(
        "window    done failed   tokens | first text ms p50    p90 | gap ms p50    p90    p99 | MiB files threads | pages held cached\n",
    );
    for (window, figures) in outcome.figures.iter().enumerate() {
        let (first, gaps) = (figures.first.summary(), figures.gaps.summary());
        let name = if window == 0 { "warm-up".to_owned() } else { window.to_string() };
        let _ = write!(
            text,
            "{name:7} {:6} {:6} {:8} | {:17.1} {:6.1} | {:10.1} {:6.1} {:6.1} ",
            figures.done, figures.failed, figures.tokens, first.p50, first.p90, gaps.p50, gaps.p90, gaps.p99
        );
        if window == 0 {
            text.push('\n');
            continue;
        }
        let vital = |of: fn(&Vitals) -> u64| median(outcome, window, |look| Some(of(&look.vitals?) as f64));
        let page = |of: fn(&Look) -> u64| median(outcome, window, |look| Some(of(look) as f64));
        let _ = writeln!(
            text,
            "| {:5.1} {:3} {:7} | {:10} {:6}",
            vital(|vitals| vitals.rss_bytes) / MOST_GROWTH,
            vital(|vitals| vitals.n_files),
            vital(|vitals| vitals.n_threads),
            page(|look| look.metrics.held),
            page(|look| look.metrics.cached),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::aborts::Ends;
    use crate::load::figures::Times;
    use crate::load::metrics::Metrics;

    fn look(rss_bytes: u64) -> Look {
        let metrics =
            Metrics { running: 0, waiting: 0, free: 60, cached: 40, held: 0, abandoned: 0, tokens: 0 };
        Look { metrics, vitals: Some(Vitals { rss_bytes, n_threads: 4, n_files: 30 }) }
    }

    /// Two hours, a look each minute.
    fn flat() -> Outcome {
        let mut times = Times::default();
        times.push(Duration::from_millis(20));
        let figures =
            Figures { done: 5, tokens: 100, first: times.clone(), gaps: times, ..Figures::default() };
        Outcome {
            hours: 2.0,
            figures: vec![figures; 1 + N_WINDOWS],
            looks: (0..120).map(|i| (f64::from(i) / 60.0, look(100 << 20))).collect(),
            before: look(90 << 20),
            after: look(100 << 20),
            ends: Ends { cut: 3.into(), ..Ends::default() },
        }
    }

    #[test]
    fn what_drifts_is_told() {
        let judge = |change: fn(&mut Outcome)| {
            let mut outcome = flat();
            change(&mut outcome);
            let report = report(&outcome, &Failures::default());
            [report.broken, report.missed].concat().join("; ")
        };
        fn grow(outcome: &mut Outcome, mib_an_hour: f64) {
            for (at, look) in &mut outcome.looks {
                let grown = (*at * mib_an_hour * f64::from(1 << 20)) as u64;
                look.vitals.as_mut().unwrap().rss_bytes += grown;
            }
        }
        assert_eq!(judge(|_| {}), "");
        assert_eq!(judge(|outcome| grow(outcome, 0.9)), "");
        assert_eq!(
            judge(|outcome| grow(outcome, 1.5)),
            "memory grows by 1.50 MiB an hour, at most 1.00 are allowed"
        );
        // A peak is no growth.
        assert_eq!(judge(|outcome| outcome.looks[100].1 = look(300 << 20)), "");
        // In a short time the same rate is noise.
        let short = |outcome: &mut Outcome, rate: f64| {
            outcome.hours = 0.1;
            outcome.looks.iter_mut().for_each(|look| look.0 /= 20.0);
            grow(outcome, rate);
        };
        let mut outcome = flat();
        short(&mut outcome, 9.0);
        assert_eq!(report(&outcome, &Failures::default()).broken, [""; 0]);
        let mut outcome = flat();
        short(&mut outcome, 11.0);
        assert_eq!(report(&outcome, &Failures::default()).broken.len(), 1);

        let late = |outcome: &mut Outcome, change: fn(&mut Look)| {
            outcome.looks.iter_mut().skip(101).for_each(|(_, look)| change(look));
        };
        let mut outcome = flat();
        late(&mut outcome, |look| look.vitals.as_mut().unwrap().n_files = 35);
        let broken = report(&outcome, &Failures::default()).broken.join("; ");
        assert_eq!(broken, "35 files in the last window, 30 in the first");
        let mut outcome = flat();
        late(&mut outcome, |look| look.metrics.cached = 39);
        let broken = report(&outcome, &Failures::default()).broken.join("; ");
        assert_eq!(broken, "99 pages are free, cached or held after 1.68 hours, 100 were there at the start");

        assert!(
            judge(|outcome| outcome.after.metrics.held = 1).contains("1 pages are held after all requests")
        );
        assert!(judge(|outcome| outcome.figures[3].done = 0).contains("no request of window 3 was done"));
        assert!(judge(|outcome| outcome.ends = Ends::default()).contains("no stream was closed"));
        let slower = judge(|outcome| {
            let mut times = Times::default();
            times.push(Duration::from_millis(31));
            outcome.figures[N_WINDOWS].first = times;
        });
        assert!(slower.starts_with("the p90 of the first text is 1.55 times"), "{slower}");
    }

    #[test]
    fn the_slope_is_that_of_most_pairs() {
        assert_eq!(slope(&[]), None);
        assert_eq!(slope(&[(1.0, 5.0)]), None);
        assert_eq!(slope(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0), (3.0, 700.0), (4.0, 9.0)]), Some(2.0));
    }
}
