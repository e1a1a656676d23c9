use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::load::aborts::{self, Ends};
use crate::load::args::{Args, Scenario};
use crate::load::attack::Tally;
use crate::load::board::Failures;
use crate::load::fake::{Behaviour, Fake, REFUSAL};
use crate::load::figures::{Figures, Times};
use crate::load::hostile::{self, Sizes};
use crate::load::look::Look;
use crate::load::metrics::Metrics;
use crate::load::mixed::{self, Phase};
use crate::load::overload::{self, Outcome, Seen};
use crate::load::report::Report;
use crate::load::vitals::Vitals;
use crate::load::{Result, mixed_report, soak};

fn times(ms: u64) -> Times {
    let mut times = Times::default();
    times.push(Duration::from_millis(ms));
    times
}

fn token(ms: u64) -> Behaviour {
    Behaviour { token: Duration::from_millis(ms), ..Behaviour::default() }
}

fn phase(is_attacked: bool, gap_ms: u64, rss_mib: u64) -> Phase {
    let closed = if is_attacked { 50 } else { 0 };
    Phase {
        is_attacked,
        readers: Tally { connections: 100, closed, ..Tally::default() },
        slowloris: Tally::default(),
        seconds: 10.0,
        figures: Figures {
            done: 5,
            tokens: 100,
            first: times(20),
            gaps: times(gap_ms),
            ..Figures::default()
        },
        vitals: vec![vitals(rss_mib)],
    }
}

fn vitals(rss_mib: u64) -> Vitals {
    Vitals { rss_bytes: rss_mib << 20, n_threads: 4, n_files: 30 }
}

fn report_of(phases: &[Phase], failures: &Failures) -> Report {
    let args = Args { streams: Some(64), slow: 100, slowloris: 120, ..Args::default() };
    mixed_report::report(&args, Some(vitals(50)), phases, &Figures::default(), failures)
}

#[test]
fn mixed_holds_its_bars() {
    type Change = fn(&mut [Phase; 4]);
    let judge = |change: Change| {
        let mut phases =
            [phase(false, 10, 100), phase(true, 15, 120), phase(false, 20, 130), phase(true, 30, 144)];
        change(&mut phases);
        let report = report_of(&phases, &Failures::default());
        [report.missed, report.broken].concat().join("; ")
    };
    let cases: [(Change, &str); 7] = [
        (|_| {}, ""),
        // The median of two ratios is their middle.
        (
            |p| p[3].figures.gaps = times(32),
            "the p99 of gaps under attack is 1.55 times that without, at most 1.5 is allowed",
        ),
        (
            |p| p.iter_mut().filter(|p| p.is_attacked).for_each(|p| p.figures.first = times(31)),
            "the p90 of the first text under attack is 1.55 times that without, at most 1.5 is allowed",
        ),
        (
            |p| p[3].vitals = vec![vitals(145)],
            "the server's memory is 1.21 times that after two phases, at most 1.2 is allowed",
        ),
        // 50 + 64 of the pool + 64 + 384 connections of a quarter.
        (|p| p[1].vitals.insert(0, vitals(274)), ""),
        (
            |p| p[1].vitals.insert(0, vitals(275)),
            "the server took 225 MiB more than at the start, at most 224 are allowed",
        ),
        (
            |p| p[1].readers.closed = 49,
            "the server gave up 49 slow readers in phase 2, and at least 0.5 of 100 are to make it wait: a slower machine \
             needs fewer of them (`--slow`, `--streams`)",
        ),
    ];
    for (change, expected) in cases {
        assert_eq!(judge(change), expected);
    }
    let idle = judge(|p| p[1].figures = Figures::default());
    assert!(
        idle.contains("NaN") && idle.contains("no request that began in phase 2 (10 s) was done"),
        "{idle}"
    );
    let failures = Failures { n: 1, texts: vec!["the role came again".into()] };
    let report = report_of(&[phase(false, 10, 100), phase(true, 10, 100)], &failures);
    assert_eq!(report.broken, ["1 good requests failed, the first: the role came again"]);
    assert!(report.to_text().contains("attacked       10      5      0      10 |"), "{}", report.to_text());
}

fn overload_outcome() -> Outcome {
    let peak = Seen { done: 10, tokens: 1000, ..Seen::default() };
    let mut over = Seen { done: 9, tokens: 900, refusals: times(50), ..Seen::default() };
    (0..90).for_each(|_| over.lateness.push(Duration::ZERO));
    let failures = Failures::default();
    Outcome { peak, peak_seconds: 1.0, over, over_seconds: 1.0, rate: 100.0, failures }
}

#[test]
fn overload_holds_its_bars() {
    assert_eq!(overload_outcome().report().missed, [""; 0]);
    let broken = |change: fn(&mut Outcome)| {
        let mut outcome = overload_outcome();
        change(&mut outcome);
        let report = outcome.report();
        [report.broken, report.missed].concat().join("; ")
    };
    assert_eq!(broken(|o| o.over.tokens = 899), "0.899 of the goodput is left, at least 0.9 is asked for");
    assert_eq!(
        broken(|o| o.over.refusals = times(51)),
        "the p99 of refusals is 51.0 ms, at most 50 is allowed"
    );
    assert_eq!(broken(|o| o.rate = 101.0), "the clients came to 90 of 101 requests/s");
    assert!(broken(|o| o.over.refusals = Times::default()).contains("NaN"));
    assert!(broken(|o| o.peak = Seen::default()).contains("of the goodput"));
    assert!(
        broken(|o| o.failures = Failures { n: 2, texts: vec!["x".into()] }).starts_with("2 good requests")
    );
}

const IDLE: Metrics =
    Metrics { running: 0, waiting: 0, free: 60, cached: 40, held: 0, abandoned: 0, tokens: 0 };

#[test]
fn streams_that_are_not_closed_test_nothing() {
    let look = |abandoned| Look { metrics: Metrics { abandoned, ..IDLE }, vitals: None };
    let broken = |abandoned: u64| {
        let ends = Ends { cut: 85.into(), done: 5.into(), early: 10.into() };
        let args = Args { scenario: Scenario::Aborts, ..Args::default() };
        aborts::report(&args, &ends, look(7), look(7 + abandoned), 0.0, &Failures::default())
            .broken
            .join("; ")
    };
    assert_eq!(broken(90), "");
    let expected =
        "the server saw 89 of 100 streams closed before their end, at least 0.9 of them are asked for";
    assert_eq!(broken(89), expected);
}

#[test]
fn what_stays_behind_is_told() {
    let idle = IDLE;
    let look = |metrics, n_files| Look { metrics, vitals: Some(Vitals { n_files, ..vitals(1) }) };
    let broken = |before, after| {
        let ends = Ends { early: 10.into(), ..Ends::default() };
        let left = |look: Look| Look { metrics: Metrics { abandoned: 10, ..look.metrics }, ..look };
        let args = Args { scenario: Scenario::Aborts, ..Args::default() };
        aborts::report(&args, &ends, before, left(after), 0.0, &Failures::default()).broken.join("; ")
    };
    let start = look(idle, 10);
    assert_eq!(broken(start, look(Metrics { free: 50, cached: 50, ..idle }, 14)), "");
    assert_eq!(broken(start, look(idle, 15)), "15 files are open, 10 were at the start");
    let grown = |rss_mib| Look { vitals: Some(vitals(rss_mib)), ..look(idle, 10) };
    let start_of_memory = grown(30);
    assert_eq!(broken(start_of_memory, grown(30 + 128)), "");
    assert_eq!(broken(start_of_memory, grown(159)), "159 MiB are taken, 30 were at the start");
    let computed = |tokens| look(Metrics { tokens, ..idle }, 10);
    assert_eq!(broken(start, computed(7 * 256)), "");
    let expected =
        "0.80 of all tokens were computed, at most 0.7 are needed: work went on for clients that left";
    assert_eq!(broken(start, computed(8 * 256)), expected);
    let cases = [
        (Metrics { running: 1, ..idle }, "1 sequences run after all requests"),
        (Metrics { waiting: 2, ..idle }, "2 sequences wait after all requests"),
        (Metrics { free: 59, ..idle }, "99 pages are free or cached, 100 were there at the start"),
        (Metrics { free: 59, held: 1, ..idle }, "1 pages are held after all requests; 99 pages"),
    ];
    for (metrics, expected) in cases {
        let broken = broken(start, look(metrics, 10));
        assert!(broken.starts_with(expected), "{broken}");
    }
    assert!(broken(look(Metrics { running: 1, ..idle }, 10), start).contains("was not idle at the start"));
}

/// A short scenario against a fake.
fn run(scenario: Scenario, behaviour: Behaviour) -> Result<Report> {
    let args = Args {
        scenario,
        minutes: Some(if scenario == Scenario::Soak { 3.0 } else { 1.2 } / 60.0),
        phases: Some(2),
        streams: Some(4),
        slow: 3,
        slowloris: 5,
        seconds: 0.6,
        peak_seconds: 0.5,
        sequences: 4,
        count: Some(40),
        tokens: 16,
        ..Args::default()
    };
    let fake = Fake::start(behaviour);
    let mut target = fake.target();
    target.pid = cfg!(target_os = "linux").then(std::process::id).filter(|_| scenario == Scenario::Mixed);
    target.patience = Duration::from_secs(2);
    match scenario {
        Scenario::Mixed => mixed::run(&args, &target),
        Scenario::Overload => overload::run(&args, &target),
        Scenario::Aborts => aborts::run(&args, &target),
        Scenario::Hostile => {
            let sizes = Sizes { n_large: 2, large: 1000, n_resets: 2, n_silent: 5 };
            hostile::run(&args, &target, sizes)
        }
        Scenario::Soak => soak::run(&args, &target),
        Scenario::Faults => unreachable!("it starts its own servers"),
    }
}

/// The same against a fake without a fault, up to three times: a client that a busy machine does not run for half a second closes
/// no stream in time.
fn passes(scenario: Scenario, behaviour: &Behaviour) -> Report {
    let mut reports = (0..3).map(|_| run(scenario, behaviour.clone()).unwrap());
    let report = reports.find(|report| report.broken.is_empty());
    report.unwrap_or_else(|| panic!("{:?}", run(scenario, behaviour.clone()).map(|report| report.broken)))
}

#[test]
fn a_good_server_passes_mixed() {
    let report = run(Scenario::Mixed, token(2)).unwrap();
    let failures: Vec<_> =
        report.broken.iter().filter(|b| b.contains("failed") || b.contains("no request")).collect();
    // Times are those of a busy machine.
    assert_eq!(failures, [""; 0]);
    let phases = report.figures["phases"].as_array().unwrap();
    assert_eq!(phases.len(), 2);
    for phase in phases {
        assert!(
            phase["done"].as_u64().unwrap() > 0 && phase["tokens_per_s"].as_f64().unwrap() > 0.0,
            "{phase}"
        );
        assert!(phase["gaps"]["p50_ms"].as_f64().unwrap() >= 1.0, "{phase}");
        assert!(phase["last_look"]["rss_bytes"].as_u64().is_some() || !cfg!(target_os = "linux"), "{phase}");
    }
    let [clean, attacked] = [&phases[0], &phases[1]];
    let n = |phase: &serde_json::Value, who: &str, what: &str| phase[who][what].as_u64().unwrap();
    // Three readers ask twice in a phase, on a busy machine once, and perhaps at its end.
    assert!((3..=9).contains(&n(clean, "readers", "connections")), "{clean}");
    assert!((3..=9).contains(&n(attacked, "readers", "connections")), "{attacked}");
    assert_eq!([n(clean, "slowloris", "connections"), n(attacked, "slowloris", "connections")], [0, 5]);
    assert!(n(clean, "readers", "whole") >= 1 && n(clean, "readers", "closed_by_server") == 0, "{clean}");
    assert!(n(attacked, "readers", "bytes") >= 3, "{attacked}");
    assert!(report.figures["gap_p99_ratio"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_server_with_a_fault_fails_mixed() {
    let error = run(Scenario::Mixed, Behaviour { fault: |e| drop(e.pop()), ..token(2) }).unwrap_err();
    assert!(error.contains("the stream ended without `[DONE]`"), "{error}");
    let error = run(Scenario::Mixed, Behaviour { n_sequences: 0, ..token(2) }).unwrap_err();
    assert!(error.contains("Refused"), "{error}");
    // Only once the texts are known.
    static N: AtomicUsize = AtomicUsize::new(0);
    let fault = |events: &mut Vec<String>| {
        if N.fetch_add(1, Relaxed) >= 64 {
            events.iter_mut().for_each(|event| *event = event.replace("time", "tide"));
        }
    };
    let report = run(Scenario::Mixed, Behaviour { fault, ..token(2) }).unwrap();
    assert!(report.broken[0].contains("another text than alone"), "{:?}", report.broken);
}

#[test]
fn overload_finds_refusals_and_what_is_wrong_with_them() {
    let behaviour = Behaviour { n_sequences: 4, ..token(5) };
    let report = run(Scenario::Overload, behaviour.clone()).unwrap();
    assert_eq!(report.figures["failures"], serde_json::json!([]), "{:?}", report.broken);
    assert!(report.figures["refusals"]["n"].as_u64().unwrap() > 0, "{}", report.figures);
    assert!(report.figures["over"]["done"].as_u64().unwrap() > 0, "{}", report.figures);

    let late = Behaviour { refusal_delay: Duration::from_millis(60), ..behaviour.clone() };
    let report = run(Scenario::Overload, late).unwrap();
    assert!(report.missed.iter().any(|b| b.contains("the p99 of refusals")), "{:?}", report.missed);

    let refusal = REFUSAL.replace("retry-after: 1\r\n", "");
    let report = run(Scenario::Overload, Behaviour { refusal, ..behaviour }).unwrap();
    assert!(report.broken[0].contains("a 429 has None as Retry-After"), "{:?}", report.broken);
}

#[test]
fn hostile_requests_are_sent_and_good_ones_asked_beside_them() {
    let report = run(Scenario::Hostile, token(2)).unwrap();
    assert_eq!(report.broken, [""; 0]);
    let attacks = report.figures["attacks"].as_array().unwrap();
    assert_eq!(attacks.len(), 8);
    assert!(attacks.iter().all(|attack| attack["good"].as_u64().unwrap() > 0), "{attacks:?}");
    // Answers whose streams break after the first of them.
    static N: AtomicUsize = AtomicUsize::new(0);
    let fault = |events: &mut Vec<String>| {
        if N.fetch_add(1, Relaxed) >= 8 {
            events.pop();
        }
    };
    let report = run(Scenario::Hostile, Behaviour { fault, ..token(2) }).unwrap();
    assert!(report.broken[0].starts_with("spaces: a good request failed"), "{:?}", report.broken);
}

#[test]
fn aborts_leave_nothing_behind_or_fail() {
    let report = passes(Scenario::Aborts, &token(2));
    let figures = &report.figures;
    assert_eq!(figures["closed_before_an_answer"], 4);
    let n_ends = figures["cut"].as_u64().unwrap() + figures["done"].as_u64().unwrap();
    assert!(n_ends == 36 && figures["cut"].as_u64().unwrap() > 30, "{figures}");

    let report = run(Scenario::Aborts, Behaviour { leaks: true, ..token(2) }).unwrap();
    assert!(report.broken.join("; ").contains("pages are held after all requests"), "{:?}", report.broken);
}

#[test]
fn a_soak_asks_for_everything_and_finds_what_stays_behind() {
    let report = passes(Scenario::Soak, &token(1));
    let windows = report.figures["windows"].as_array().unwrap();
    assert!(
        windows.len() == 7 && windows.iter().all(|window| window["done"].as_u64() > Some(0)),
        "{windows:?}"
    );

    let report = run(Scenario::Soak, Behaviour { leaks: true, ..token(1) }).unwrap();
    assert!(report.broken.join("; ").contains("pages are held after all requests"), "{:?}", report.broken);
}

#[test]
fn a_report_is_for_programs_too() {
    let report = overload_outcome().report();
    let args = Args { scenario: Scenario::Overload, seed: 7, ..Args::default() };
    let json = report.to_json(&args);
    assert_eq!((json["scenario"].as_str(), json["seed"].as_u64()), (Some("overload"), Some(7)));
    assert_eq!((json["share"].as_f64(), json["broken"].as_array().map(Vec::len)), (Some(0.9), Some(0)));
}
