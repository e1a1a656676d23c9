//! What goes wrong with one sequence ends that one, and nobody else sees it.

use crate::fake::Fault;

use super::*;

fn prompt(seed: u32, n: usize) -> Vec<u32> {
    (0..n as u32).map(|i| (i * i / 3 + i * seed + seed) % VOCAB as u32).collect()
}

/// The hash of all tokens up to the last.
fn hash_of(tokens: &[u32]) -> u64 {
    tokens.iter().fold(0, |hash, &token| fake::hash(hash, token))
}

fn world(fault: Fault) -> World {
    World::with_model(limits(32), |model| model.fault = fault)
}

fn told(story: &Story) -> Told {
    let story = story.lock().unwrap_or_else(|e| e.into_inner());
    let [told] = story.as_slice() else { panic!("one choice") };
    told.clone()
}

fn finish(story: &Story) -> Finish {
    let told = told(story);
    let [(finish, _)] = told.ends.as_slice() else { panic!("it ends once, not {:?}", told.ends) };
    finish.clone()
}

fn assert_as_alone(story: &Story, request: &Request) {
    let (told, expected) = (told(story), alone(request, 0));
    assert_eq!(finish(story), expected.ends[0].0);
    assert_eq!(told.tokens, expected.tokens);
}

/// Four requests, of which the third meets the fault.
fn run_four(fault: Fault, bad: &[u32]) -> (World, Vec<Story>) {
    let mut world = world(fault);
    let mut stories = Vec::new();
    for (i, tokens) in [&prompt(1, 40), &prompt(2, 70), bad, &prompt(3, 9)].into_iter().enumerate() {
        // They run already when the third comes.
        (0..i).for_each(|_| world.core.step().expect("the model lives"));
        stories.push(world.submit(Request::new(tokens.to_vec(), 20)).expect("it fits").1);
    }
    world.run();
    (world, stories)
}

fn assert_only_third_fails(stories: &[Story], bad: &[u32]) {
    for (i, tokens) in [&prompt(1, 40), &prompt(2, 70), bad, &prompt(3, 9)].into_iter().enumerate() {
        if i != 2 {
            assert_as_alone(&stories[i], &Request::new(tokens.to_vec(), 20));
        }
    }
    let Finish::Failed(why) = finish(&stories[2]) else { panic!("the third fails") };
    assert!(why.contains("this one"), "{why}");
}

#[test]
fn a_prompt_that_makes_the_model_panic_fails_alone() {
    let bad = prompt(5, 50);
    for row in [0, 31, 32, 49] {
        let (_, stories) = run_four(Fault::PanicOn(hash_of(&bad[..=row])), &bad);
        assert_only_third_fails(&stories, &bad);
        assert!(told(&stories[2]).tokens.is_empty(), "row {row}");
    }
}

#[test]
fn a_completion_that_makes_the_model_panic_fails_alone_with_what_it_had() {
    let bad = prompt(5, 50);
    let expected = alone(&Request::new(bad.clone(), 20), 0).tokens;
    let all = [bad.clone(), expected.clone()].concat();
    let (_, stories) = run_four(Fault::PanicOn(hash_of(&all[..58])), &bad);
    assert_only_third_fails(&stories, &bad);
    assert_eq!(told(&stories[2]).tokens, expected[..8], "the token whose row fails was told before");
}

#[test]
fn a_prompt_that_failed_is_refused_for_a_minute() {
    let bad = prompt(5, 50);
    let (mut world, _) = run_four(Fault::PanicOn(hash_of(&bad)), &bad);
    let n_restarts = world.core.metrics().restarts;
    let (_, again) = world.submit(Request { n: 2, ..Request::new(bad.clone(), 3) }).expect("it fits");
    let refused = Finish::Failed(Refusal::Poisonous.to_string());
    for told in again.lock().expect("no panic while it is locked").iter() {
        assert_eq!(told.ends.iter().map(|end| &end.0).collect::<Vec<_>>(), [&refused]);
    }
    assert!(world.core.is_idle());
    let (_, other) = world.submit(Request::new(prompt(4, 50), 3)).expect("it fits");
    world.run();
    assert_ne!(finish(&other), refused, "it is another prompt");
    assert_eq!(world.core.metrics().restarts, n_restarts);

    world.clock.fetch_add(61_000_000, Ordering::Relaxed);
    let (_, late) = world.submit(Request::new(bad, 3)).expect("it fits");
    world.run();
    assert_ne!(finish(&late), refused, "it is tried again");
}

#[test]
fn a_model_that_panics_once_harms_nobody() {
    for step in 2..40 {
        let bad = prompt(5, 50);
        let (_, stories) = run_four(Fault::PanicOnceAt(step), &bad);
        for (story, tokens) in stories.iter().zip([&prompt(1, 40), &prompt(2, 70), &bad, &prompt(3, 9)]) {
            assert_as_alone(story, &Request::new(tokens.clone(), 20));
        }
    }
}

#[test]
fn a_guess_that_makes_the_model_panic_harms_nobody() {
    // It goes round and round, so that there are guesses; and leaves the round where the model says so.
    let tokens: Vec<u32> = (0..60).map(|i| i % VOCAB as u32).collect();
    let request = || Request::new(tokens.clone(), 60);
    let expected = alone(&request(), 0).tokens;
    let all = [tokens.clone(), expected].concat();
    let mut n_restarts = 0;
    for n in 60..110 {
        // The token that would follow in the round, if it is not the one that follows.
        let guess = (all[n - 1] + 1) % VOCAB as u32;
        if guess == all[n] {
            continue;
        }
        let mut world = world(Fault::PanicOn(fake::hash(hash_of(&all[..n]), guess)));
        let (_, story) = world.submit(request()).expect("it fits");
        world.run();
        assert_as_alone(&story, &request());
        n_restarts += world.core.metrics().restarts;
    }
    assert!(n_restarts > 0, "no such guess was made");
}

#[test]
fn a_broken_model_ends_every_request_once() {
    let faults = |step| [(Fault::PanicFrom(step), "for ever"), (Fault::DamagedAt(step), "once")];
    for (fault, cause) in (2..12).flat_map(faults) {
        let mut world = world(fault);
        let four = (0..4).map(|i| world.submit(Request { n: 2, ..Request::new(prompt(i, 60), 30) }));
        let stories: Vec<Story> = four.map(|s| s.expect("it fits").1).collect();
        let broken = (0..100).find_map(|_| world.core.step().err()).expect("it breaks");
        assert_eq!(broken.cause, cause);
        for told in
            stories.iter().flat_map(|story| story.lock().expect("no panic while it is locked").clone())
        {
            assert!(matches!(told.ends.as_slice(), [(Finish::Failed(_), _)]), "{fault:?}: {:?}", told.ends);
        }
        assert!(world.core.is_idle());
        world.core.scheduler().check();
    }
}

#[test]
fn a_sink_that_panics_ends_its_sequence_only() {
    let is_kind = |kind: usize, event: &Event| match event {
        Event::Started { .. } => kind == 0,
        Event::Progress { .. } => kind == 1,
        Event::Prompt { .. } => kind == 2,
        Event::Token { .. } => kind == 3,
        Event::Finished { .. } => kind == 4,
    };
    for kind in 0..5 {
        let mut world = world(Fault::None);
        let (_, before) = world.submit(Request::new(prompt(1, 70), 20)).expect("it fits");
        let n_events = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&n_events);
        let sink = move |event| {
            counted.fetch_add(1, Ordering::Relaxed);
            assert!(!is_kind(kind, &event), "the sink panics");
        };
        let request = Request { prompt_logprobs: Some(1), ..Request::new(prompt(1, 70), 20) };
        world.core.submit(RequestId(1000), request, world.now(), Arc::new(sink));
        let (_, after) = world.submit(Request::new(prompt(1, 70), 20)).expect("it fits");
        world.run();
        assert!(n_events.load(Ordering::Relaxed) > 0);
        [before, after].iter().for_each(|story| assert_as_alone(story, &Request::new(prompt(1, 70), 20)));
        world.core.clear_cache();
        assert_eq!(world.core.metrics().pages.free, 32, "its pages are free");
    }
}

#[test]
fn a_sink_that_panics_when_its_prompt_is_refused_harms_nobody() {
    let bad = prompt(5, 50);
    let (mut world, _) = run_four(Fault::PanicOn(hash_of(&bad)), &bad);
    let (request, now) = (Request::new(bad, 3), world.now());
    world.core.submit(RequestId(1000), request, now, Arc::new(|_| panic!("the sink panics")));
    let (_, story) = world.submit(Request::new(prompt(1, 70), 20)).expect("it fits");
    world.run();
    assert_as_alone(&story, &Request::new(prompt(1, 70), 20));
}

#[test]
fn what_failed_leaves_no_pages_behind() {
    let bad = prompt(5, 50);
    let (mut world, _) = run_four(Fault::PanicOn(hash_of(&bad)), &bad);
    world.core.clear_cache();
    assert_eq!(world.core.metrics().pages.free, 32);
    assert_eq!(world.core.snapshot().sequences, []);
}
