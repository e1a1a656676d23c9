use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use super::*;
use crate::request::{Event, Request, RequestId, SeqId};
use crate::sampler::Sampling;
use crate::scheduler::Limits;
use crate::stop::StopCondition;
use crate::tests::World;

fn job(id: u64, n_rows: usize, limit: usize) -> Job {
    let n_rows = n_rows as f64;
    Job { id: SeqId(id), n_rows, n_tokens: n_rows as usize, n_completion: 0, limit, ending: Ending::AtLimit }
}

/// A step takes 1 ms and 100 µs a row.
fn experience() -> Experience {
    let mut experience = Experience { speed: Speed::measured(1_100, 4_200, 32), ..Experience::default() };
    for n in [1, 2, 4, 8] {
        experience.speed.observe(n, 0, 1_000 + 100 * n as Micros);
    }
    experience
}

#[track_caller]
fn about(found: Micros, expected: Micros) {
    assert!(found >= expected * 9 / 10 && found <= expected * 11 / 10, "{found}, expected about {expected}");
}

fn pages(n_free: usize) -> Vec<Pool> {
    vec![Pool { n_free, most_each: usize::MAX }]
}

#[test]
fn one_place_is_given_to_one_after_the_other() {
    let mut places = Places::new(experience(), (1, 512), pages(1000));
    // Each takes a prompt of 10 rows, 1 + 1 ms, and 100 steps of 1.1 ms.
    let turns: Vec<Turn> = (0..3).map(|i| places.admit(&job(i, 10, 100))).collect();
    assert_eq!(turns[0].start, 0);
    about(turns[0].first_token, 2_000);
    about(turns[1].start, 112_000);
    about(turns[2].start, 224_000);
    assert_eq!(places.last_start(), turns[2].start);
    // Time goes by: the second one runs already.
    places.pass(150_000);
    about(places.last_start(), 74_000);
    about(places.clone().next_start(&job(9, 10, 1)), 74_000 + 112_000);
    places.pass(10_000_000);
    assert_eq!((places.last_start(), places.next_start(&job(9, 10, 1))), (0, 0));
}

#[test]
fn pages_are_waited_for_as_places_are() {
    let mut places = Places::new(experience(), (8, 512), pages(10));
    // Each needs four pages, and some for what comes.
    let turns: Vec<Turn> = (0..3).map(|i| places.admit(&job(i, 128, 20))).collect();
    assert!(turns[1].start < 50_000 && turns[2].start > turns[1].start + 20_000, "{turns:?}");
}

#[test]
fn of_a_group_with_a_window_a_sequence_takes_no_more_than_its_most() {
    let pool = |n_free, most_each| Pool { n_free, most_each };
    let start = |pools: Vec<Pool>| {
        let mut places = Places::new(experience(), (8, 512), pools);
        (0..3).map(|i| places.admit(&job(i, 128, 20))).last().map(|turn| turn.start)
    };
    let all = pool(1000, usize::MAX);
    assert_eq!(start(vec![all, pool(6, 2)]), start(vec![all]), "six pages are enough for three");
    assert!(start(vec![all, pool(4, 2)]) > start(vec![all]));
}

#[test]
fn of_many_sequences_some_end_soon() {
    let mut lengths = Lengths::default();
    for _ in 0..200 {
        (1..=100).for_each(|n| lengths.token(n));
        lengths.end(100);
    }
    let left = |n: usize, quantile: f64| lengths.left(n, 1_000, Ending::Anywhere, quantile);
    assert!((50..200).contains(&left(0, 0.5)), "{}", left(0, 0.5));
    assert!(left(0, 0.05) < left(0, 0.5) && left(0, 0.5) < left(0, 0.95));
    assert_eq!(lengths.left(0, 30, Ending::Anywhere, 0.9), 30);
    assert_eq!(lengths.left(10, 30, Ending::AtLimit, 0.1), 20);
}

#[test]
fn numbers_that_were_not_seen_follow_those_that_were() {
    let mut speed = Speed::measured(1_100, 4_200, 32);
    assert!((speed.step(16) - 2_600.0).abs() < 1.0, "{}", speed.step(16));
    // The machine is three times as slow as when it was measured.
    (0..50).for_each(|_| speed.observe(2, 0, 3_600));
    assert!((speed.step(16) - 7_800.0).abs() < 10.0, "{}", speed.step(16));
    assert!((speed.prompt(100.0, 512, true) / 3.0 - 11_000.0).abs() < 500.0);
    (0..50).for_each(|_| speed.observe(2, 64, 3_600 + 64 * 50));
    assert!((speed.prompt(100.0, 512, false) - 5_000.0).abs() < 500.0);
}

/// Ends a completion after this number of tokens, which the forecast does not know.
struct EndAfter(usize);

impl StopCondition for EndAfter {
    fn commit(&mut self, _: u32) {
        self.0 -= 1;
    }
    fn finished(&self) -> bool {
        self.0 == 0
    }
}

/// Estimates, and what came of them: factors, sorted.
struct Factors(Vec<f64>);

impl Factors {
    fn part(&self, part: f64) -> f64 {
        self.0[((self.0.len() - 1) as f64 * part) as usize]
    }

    #[track_caller]
    fn check(&self, what: &str) {
        let (median, most) = (self.part(0.5), self.part(0.9));
        println!("{what}: {} estimates, median {median:.2}, 90 % {most:.2}", self.0.len());
        assert!(self.0.len() > 200, "{what}: {} estimates", self.0.len());
        assert!(median <= 2.0 && most <= 4.0, "{what}: median {median:.2}, 90 % {most:.2}");
    }
}

/// Lines of Azure's trace: seconds from the first one, tokens of prompts and of completions.
fn trace() -> Option<Vec<(f64, usize, usize)>> {
    let path = xtask::testing::data("traces")?.join("AzureLLMInferenceTrace_conv.csv");
    let text = std::fs::read_to_string(path).ok()?;
    let seconds = |time: &str| -> f64 {
        let parts: Vec<f64> = time.split([' ', ':']).skip(1).map(|part| part.parse().unwrap()).collect();
        parts[0] * 3600.0 + parts[1] * 60.0 + parts[2]
    };
    let line = |line: &str| {
        let fields: Vec<&str> = line.trim().split(',').collect();
        Some((seconds(fields[0]), fields.get(1)?.parse().ok()?, fields.get(2)?.parse().ok()?))
    };
    let lines: Vec<(f64, usize, usize)> = text.lines().skip(1).filter_map(line).collect();
    let first = lines.first()?.0;
    Some(lines.into_iter().map(|(at, prompt, completion)| (at - first, prompt, completion)).collect())
}

/// Times of a request's start, and of its first token if it had one.
type Times = (Micros, Option<Micros>);
/// The request, the time at which an estimate was given, and the estimate.
type Estimate = (u64, Micros, Micros);

/// Plays the trace on the fake model, whose step takes 100 µs and 3 for a row, with lengths cut to its context. A second of
/// the trace takes `stretch` microseconds: at 3,000 more and more wait, at 8,000 few do and for a short time. Every request
/// that has to wait has an estimate of its first token when it comes, and one of its start, which is when all that wait then
/// have started.
fn replay(lines: &[(f64, usize, usize)], is_known: bool, stretch: f64) -> (Factors, Factors) {
    let limits = Limits {
        max_sequences: 8,
        max_rows: 64,
        min_rows: 16,
        step_target: 2_000,
        ..crate::tests::limits(200)
    };
    let mut world = World::new(limits);
    world.core.measure();
    let begin = world.clock.load(Ordering::Relaxed);
    // By request: when it started, and when it had its first token.
    let seen: Arc<Mutex<HashMap<u64, Times>>> = Arc::default();
    let (mut firsts, mut starts): (Vec<Estimate>, Vec<Estimate>) = Default::default();
    let mut lines = lines.iter().enumerate().peekable();
    while lines.peek().is_some() || !world.core.is_idle() {
        let now = world.clock.load(Ordering::Relaxed);
        while let Some((i, &(at, prompt, completion))) =
            lines.next_if(|(_, line)| begin + (line.0 * stretch) as Micros <= now || world.core.is_idle())
        {
            world.clock.fetch_max(begin + (at * stretch) as Micros, Ordering::Relaxed);
            let now = world.clock.load(Ordering::Relaxed);
            let (n_prompt, n) = ((prompt / 16).clamp(1, 250), (completion / 4).clamp(1, 140));
            let id = i as u64 + 1;
            let tokens =
                (0..n_prompt).map(|k| ((k * k + i * 7 + k * i) % crate::fake::VOCAB) as u32).collect();
            let max_tokens = if is_known { n } else { 140 };
            let stop_conditions: Vec<Box<dyn StopCondition>> =
                if is_known { Vec::new() } else { vec![Box::new(EndAfter(n))] };
            let sampling = Sampling { ignore_eos: is_known, ..Sampling::default() };
            let request =
                Request { stop_conditions, sampling, speculate: false, ..Request::new(tokens, max_tokens) };
            let (told, clock) = (Arc::clone(&seen), Arc::clone(&world.clock));
            let sink = move |event: Event| {
                let now = clock.load(Ordering::Relaxed);
                let mut told = told.lock().unwrap();
                match event {
                    Event::Started { .. } => drop(told.insert(id, (now, None))),
                    Event::Token { .. } => drop(told.get_mut(&id).unwrap().1.get_or_insert(now)),
                    _ => {}
                }
            };
            world.core.submit(RequestId(id), request, now, Arc::new(sink));
            let mut last = None;
            world.core.foresee(|seq, turn| {
                // One sequence a request, so that they are numbered alike.
                last = Some((seq.0, turn));
            });
            if let Some((last, turn)) = last.filter(|(_, turn)| turn.start > 0) {
                firsts.push((last, now, turn.first_token));
                starts.push((last, now, turn.start));
            }
        }
        world.core.step().unwrap();
    }
    let seen = seen.lock().unwrap();
    let factor = |said: Micros, was: Micros| {
        // Two steps are nothing that anyone is told.
        let (said, was) = (said.max(500) as f64, was.max(500) as f64);
        (said / was).max(was / said)
    };
    let factors = |estimates: &[Estimate], at: &dyn Fn(u64) -> Micros| {
        let mut factors: Vec<f64> =
            estimates.iter().map(|&(id, now, said)| factor(said, at(id) - now)).collect();
        factors.sort_unstable_by(f64::total_cmp);
        Factors(factors)
    };
    (factors(&firsts, &|id| seen[&id].1.unwrap()), factors(&starts, &|id| seen[&id].0))
}

#[test]
fn estimates_on_azures_trace_are_true() {
    // Without data the skip has been told.
    let Some(lines) = trace() else { return };
    let lines = &lines[..4_000];
    for (is_known, what) in [(true, "lengths known"), (false, "lengths unknown")] {
        for stretch in [3_000.0, 8_000.0] {
            let (first, start) = replay(lines, is_known, stretch);
            first.check(&format!("first token, {what}, {stretch}"));
            start.check(&format!("start, {what}, {stretch}"));
        }
    }
}
