//! Forced tokens: taken without sampling, computed together, and told as if they had been sampled.

use inferno_model::sample::SampleSpec;

use super::ends::Script;
use super::*;
use crate::fake::Fault;
use crate::sampler::{Distribution, Grammar, Logprobs};

fn prompt(n: usize) -> Vec<u32> {
    (0..n).map(|i| (i * i / 3 + i) as u32 % VOCAB as u32).collect()
}

fn scripted(seed: u64, len: usize, longest_run: usize, forces: bool) -> Ends {
    Ends { scripted: Some(Script { seed, len, longest_run, forces }), ..Ends::default() }
}

/// Runs requests together; what each got, and the world afterwards.
fn run(requests: Vec<Request>, change: impl FnOnce(&mut Fake)) -> (Vec<Told>, World) {
    let mut world = World::with_model(limits(64), change);
    let stories: Vec<Story> = requests.into_iter().map(|r| world.submit(r).expect("it fits").1).collect();
    world.run();
    let told = stories.iter().map(|story| story.lock().expect("no panic while it is locked")[0].clone());
    (told.collect(), world)
}

fn constrained(ends: Ends, logprobs: Option<Logprobs>) -> Request {
    let mut request = Request { speculate: false, ..Request::new(prompt(40), 60) };
    request.sampling.spec = SampleSpec { temperature: 1.0, seed: 3, ..SampleSpec::GREEDY };
    request.sampling.logprobs = logprobs;
    ends.add_to(&mut request);
    request
}

#[test]
fn forcing_saves_steps_and_changes_no_token_and_no_raw_logprob() {
    for seed in 0..40 {
        for logprobs in [None, Some(Logprobs { top: 2, of: Distribution::Raw })] {
            let both = [true, false].map(|forces| {
                let request = constrained(scripted(seed, 60, 20, forces), logprobs);
                run(vec![request], |_| {})
            });
            let [(forced, with), (masked, without)] = &both;
            assert_eq!(forced[0].tokens, masked[0].tokens, "seed {seed}");
            assert_eq!(forced[0].logprobs, masked[0].logprobs, "seed {seed}");
            assert_eq!(forced[0].logprobs.len(), if logprobs.is_some() { 60 } else { 0 });
            let [with, without] = [with, without].map(|world| world.core.metrics());
            let (n_forced, usage) = (with.forced_tokens, forced[0].ends[0].1);
            assert_eq!((n_forced, without.forced_tokens), (usage.n_forced as u64, 0));
            assert_eq!(without.steps, 60, "a step for each token");
            // The script says three of a run at a time here and there. With logits of theirs they are drafts, of which a step
            // takes no more than it knows; without, a run is one step, and one at the start of an answer a step more.
            let n_more = if logprobs.is_some() { n_forced.div_ceil(4) } else { 1 };
            assert!(with.steps <= 60 - n_forced + n_more, "seed {seed}: {} with {n_forced}", with.steps);
        }
    }
}

#[test]
fn rows_of_a_long_run_are_computed_in_chunks_and_prompts_go_on_beside_it() {
    let limits = Limits { max_rows: 8, min_rows: 8, step_target: 100_000, ..limits(64) };
    let mut world = World::new(limits);
    let ends = scripted(4, 300, 200, true);
    let expect = alone_with(&Request { max_tokens: 300, ..constrained(ends, None) }, ends, 0);
    let (_, long) = world.submit(Request { max_tokens: 300, ..constrained(ends, None) }).expect("it fits");
    let other = || Request { speculate: false, ..Request::new(prompt(60), 20) };
    let (_, prompt) = world.submit(other()).expect("it fits");
    while !world.core.is_idle() {
        world.step();
        let most = world.core.metrics().step_rows;
        assert_eq!(
            most.counts[5..].iter().sum::<u64>() + most.above,
            0,
            "a step has 8 rows and 2 that decode"
        );
    }
    let told = |story: &Story| story.lock().expect("no panic while it is locked")[0].tokens.clone();
    assert_eq!(told(&long), expect.tokens);
    assert_eq!(told(&prompt), alone(&other(), 0).tokens);
}

#[test]
fn who_is_not_constrained_takes_no_more_steps_beside_forced_tokens() {
    let free = |i: usize| Request { speculate: false, ..Request::new(prompt(10 + i), 50) };
    for chooses in [false, true] {
        let (alone, world) = run((0..2).map(free).collect(), |model| model.chooses = chooses);
        let steps_alone = world.core.metrics().steps;
        let mut requests: Vec<Request> = (0..2).map(free).collect();
        for (seed, logprobs) in [(1, None), (2, Some(Logprobs { top: 1, of: Distribution::Raw }))] {
            let ends = scripted(seed, 40, 30, true);
            requests.push(Request { max_tokens: 40, ..constrained(ends, logprobs) });
        }
        let mut world = World::with_model(limits(64), |model| model.chooses = chooses);
        let stories: Vec<Story> = requests.into_iter().map(|r| world.submit(r).expect("it fits").1).collect();
        let told = |story: &Story| story.lock().expect("no panic while it is locked")[0].clone();
        let mut n_steps = 0;
        while !world.core.is_idle() {
            if stories[..2].iter().any(|story| told(story).ends.is_empty()) {
                n_steps = world.core.metrics().steps + 1;
            }
            world.step();
        }
        let metrics = world.core.metrics();
        assert!(metrics.forced_tokens > 30, "{}", metrics.forced_tokens);
        for (alone, beside) in alone.iter().zip(&stories) {
            assert_eq!(alone.tokens, told(beside).tokens);
        }
        // Their prompts take part in the first steps, which are of 64 rows.
        assert!(n_steps <= steps_alone + 1, "{n_steps} and {steps_alone}");
        if chooses {
            assert!(metrics.chained_steps > 15, "others chain beside it: {}", metrics.chained_steps);
        }
    }
}

/// The longest step without rows of prompts, of a world with requests that are not constrained and one that is, whose forced
/// tokens come in long runs.
fn longest_step(n_free: usize, logprobs: Option<Logprobs>) -> Micros {
    let mut world = World::new(limits(64));
    for i in 0..n_free {
        let free = Request { speculate: false, ..Request::new(prompt(10 + i), 100) };
        world.submit(free).expect("it fits");
    }
    let ends = scripted(4, 300, 200, true);
    let request = Request { max_tokens: 300, ..constrained(ends, logprobs) };
    let expected = alone_with(&request, ends, 0).tokens;
    let (_, story) = world.submit(request).expect("it fits");
    let mut longest = 0;
    while !world.core.is_idle() {
        let (before, n_prompt) = (world.now(), world.core.metrics().prompt_tokens);
        world.step();
        let metrics = world.core.metrics();
        // With the others gone no sequence waits.
        let has_ended = n_free > 0 && metrics.sequences.running <= 1;
        if metrics.prompt_tokens == n_prompt && metrics.steps > 4 && !has_ended {
            longest = longest.max(world.now() - before);
        }
    }
    assert_eq!(story.lock().expect("no panic while it is locked")[0].tokens, expected);
    longest
}

#[test]
fn forced_tokens_make_steps_hardly_longer_for_those_that_have_none() {
    // 100 µs and 3 a row.
    for logprobs in [None, Some(Logprobs { top: 1, of: Distribution::Raw })] {
        let (alone, beside) = (longest_step(0, logprobs), longest_step(3, logprobs));
        assert!(alone > 150, "long runs are computed together: {alone}");
        assert!(beside <= (100 + 4 * 3) * 105 / 100, "{beside}");
    }
}

/// Forces what it is given, once.
struct Forcing(Vec<u32>);

impl Grammar for Forcing {
    fn mask(&mut self, _: &mut TokenMask) {}
    fn commit(&mut self, token: u32) {
        if self.0.first() == Some(&token) {
            self.0.remove(0);
        }
    }
    fn forced(&mut self, tokens: &mut Vec<u32>) {
        tokens.extend(self.0.iter().take_while(|token| **token != FAILS));
    }
    fn settle(&mut self, sampled: u32) -> u32 {
        if sampled == 1 { VOCAB as u32 } else { sampled }
    }
    fn finished(&self) -> bool {
        false
    }
    fn failure(&self) -> Option<&str> {
        (self.0.first() == Some(&FAILS)).then_some("the grammar is too complex")
    }
}

/// [`Forcing`] fails where this would be forced.
const FAILS: u32 = 77;

fn forcing(tokens: Vec<u32>, change: impl Fn(&mut Request)) -> Told {
    let mut request = Request { speculate: false, ..Request::new(prompt(40), 10) };
    change(&mut request);
    request.grammars.push(Box::new(Forcing(tokens)));
    let free = Request { speculate: false, ..Request::new(prompt(12), 10) };
    let expected = alone(&free, 0).tokens;
    let (told, world) = run(vec![request, free], |_| {});
    assert_eq!(told[1].tokens, expected, "others are not affected");
    assert_eq!(world.core.metrics().restarts, 0);
    told[0].clone()
}

#[test]
fn a_completion_ends_within_a_forced_run_like_anywhere() {
    let told = forcing(vec![2; 30], |_| {});
    assert_eq!((told.tokens, &told.ends[0].0), (vec![2; 10], &Finish::Length));
    let stopped = forcing(vec![2, 3, 4, 5, 2, 3], |request| request.sampling.stop_tokens = vec![5]);
    assert_eq!((stopped.tokens, &stopped.ends[0].0), (vec![2, 3, 4, 5], &Finish::Stop));
    for logprobs in [None, Some(Logprobs { top: 1, of: Distribution::Filtered })] {
        let pair = Ends { pair: Some([4, 5]), ..Ends::default() };
        let told = forcing(vec![2, 3, 4, 5, 2, 3], |request| {
            request.stop_conditions.extend(pair.stop());
            request.sampling.logprobs = logprobs;
        });
        assert_eq!((told.tokens, &told.ends[0].0), (vec![2, 3, 4, 5], &Finish::StopCondition));
        assert_eq!(told.logprobs, vec![0; if logprobs.is_some() { 4 } else { 0 }], "certain: 0");
    }
}

#[test]
fn a_grammar_that_fails_or_contradicts_its_request_ends_that_one_only() {
    let told = forcing(vec![2, 3, 4], |request| request.sampling.banned = vec![3]);
    let Finish::Failed(why) = &told.ends[0].0 else { panic!("3 is banned: {told:?}") };
    assert!(why.contains("no token is allowed after position 40"), "{why}");
    assert_eq!(told.tokens, [2]);
    let told = forcing(vec![2, 9], |_| {});
    let Finish::Failed(why) = &told.ends[0].0 else { panic!("9 is not there: {told:?}") };
    assert!(why.contains("token 9 of a vocabulary of 6"), "{why}");
    let told = forcing(vec![2, 3, FAILS], |_| {});
    assert_eq!(
        (told.tokens, &told.ends[0].0),
        (vec![2, 3], &Finish::Failed("the grammar is too complex".into()))
    );
}

#[test]
fn a_step_that_fails_with_forced_rows_is_tried_again() {
    for (step, n_forced) in (2..20).flat_map(|step| [1, 7, 33].map(|n| (step, n))) {
        let ends = scripted(7, 60, n_forced, true);
        let expected = alone_with(&constrained(ends, None), ends, 0);
        let requests = vec![constrained(ends, None), Request::new(prompt(20), 20)];
        let (told, _) = run(requests, |model| model.fault = Fault::PanicOnceAt(step));
        assert_eq!(told[0].tokens, expected.tokens, "step {step}");
    }
}
