//! A draft model beside the model: it changes how long answers take, and nothing else.

use super::*;
use crate::fake::Fault;
use inferno_model::sample::SampleSpec;

/// A request whose completion has no end of its own.
fn request(i: u32, n_tokens: usize) -> Request {
    Request::new((0..20).map(|k| (k * k + k / 3 + i) % VOCAB as u32).collect(), n_tokens)
}

/// Runs requests until all have ended, compares each with what it gets alone, and returns the time.
fn run(world: &mut World, requests: Vec<Request>) -> u64 {
    let start = world.now();
    let stories: Vec<(Request, Story)> = requests
        .into_iter()
        .map(|request| {
            let kept = Request {
                sampling: request.sampling.clone(),
                ..Request::new(request.prompt.clone(), request.max_tokens)
            };
            (kept, world.submit(request).expect("it fits").1)
        })
        .collect();
    world.run();
    for (request, story) in stories {
        let told = story.lock().expect("no panic while it is locked")[0].clone();
        assert_eq!(told.tokens, alone(&request, 0).tokens);
    }
    world.now() - start
}

fn without_drafts(requests: Vec<Request>) -> u64 {
    let requests = requests.into_iter().map(|request| Request { speculate: false, ..request }).collect();
    run(&mut World::new(limits(64)), requests)
}

fn pair(agreement: u64, step_time: u64) -> World {
    let change = |draft: &mut Fake| (draft.agreement, draft.step_time) = (agreement, step_time);
    World::with_draft(limits(64), &[Group::Pages(None)], |_| {}, change)
}

#[test]
fn a_pair_that_agrees_on_four_of_five_tokens_is_1_7_times_as_fast() {
    let mut world = pair(80, 5);
    let (with, without) = (run(&mut world, vec![request(1, 350)]), without_drafts(vec![request(1, 350)]));
    assert!(without * 10 >= with * 17, "{with} µs with drafts, {without} without");
    let metrics = world.core.metrics();
    let model = metrics.draft_model;
    // Drafts are cheap here, so that up to eight are proposed.
    assert!(model.accepted * 5 > model.proposed * 2, "{model:?}");
    let (drafts, tokens) = (metrics.drafts, metrics.drafted_tokens);
    assert!(drafts > 0 && drafts < tokens && tokens <= 8 * drafts, "{tokens} tokens in {drafts} drafts");
    let saved = metrics.saved_by_drafts as f64 / (without - with) as f64;
    assert!(
        (0.6..1.6).contains(&saved),
        "{} µs said to be saved of {}",
        metrics.saved_by_drafts,
        without - with
    );
}

#[test]
fn a_draft_model_that_never_agrees_or_is_slow_costs_little() {
    for (agreement, step_time) in [(0, 10), (60, 400)] {
        let mut world = pair(agreement, step_time);
        let with = run(&mut world, vec![request(2, 370)]);
        let mut text_alone = World::new(limits(64));
        let without = run(&mut text_alone, vec![request(2, 370)]);
        assert!(with * 10 <= without * 13, "{agreement} % at {step_time} µs: {with} µs, {without} without");
    }
}

#[test]
fn sampled_tokens_agree_as_often_as_greedy_ones_as_both_models_draw_the_same_numbers() {
    let mut world = pair(90, 5);
    let mut sampled = request(3, 300);
    sampled.sampling.spec = SampleSpec { temperature: 1.0, seed: 7, ..SampleSpec::GREEDY };
    run(&mut world, vec![sampled]);
    let model = world.core.metrics().draft_model;
    assert!(model.accepted * 10 > model.proposed * 6, "{model:?}");
}

#[test]
fn the_draft_model_computes_a_shared_prefix_once() {
    let mut world = pair(100, 5);
    let prompt: Vec<u32> = (0..200).map(|i| (i * i / 3) % VOCAB as u32).collect();
    run(&mut world, vec![Request::new(prompt.clone(), 60)]);
    let first = world.core.metrics().draft_model.rows_behind;
    assert!(first >= 192, "{first}");
    run(&mut world, vec![Request::new(prompt, 60)]);
    let second = world.core.metrics().draft_model.rows_behind - first;
    assert!(second < 100, "{second} rows again, after {first}");
}

#[test]
fn a_draft_model_that_fails_costs_speed_alone() {
    let mut world = World::with_draft(
        limits(64),
        &[Group::Pages(None)],
        |_| {},
        |draft| draft.fault = Fault::PanicFrom(9),
    );
    run(&mut world, (0..3).map(|i| request(i, 120)).collect());
    let metrics = world.core.metrics();
    assert_eq!((metrics.draft_model.failures, metrics.restarts), (3, 0));
    assert!(metrics.draft_model.accepted > 0, "{:?}", metrics.draft_model);
}

#[test]
fn states_take_back_what_was_wrong_where_a_page_is_free() {
    let groups = [Group::Pages(None), Group::States];
    let world = |n_states: usize| {
        let limits = Limits { n_pages: vec![64, n_states], max_snapshots: Some(1), ..limits(1) };
        World::with_draft(limits, &groups, |_| {}, |draft| draft.agreement = 70)
    };
    let mut roomy = world(8);
    let with = run(&mut roomy, vec![request(4, 300)]);
    let metrics = roomy.core.metrics();
    let (proposed, accepted) = (metrics.drafted_tokens, metrics.accepted_tokens);
    assert!(accepted > 80 && accepted < proposed, "{accepted} of {proposed}");
    // Rows that were right are computed once more, and drafts still pay.
    let without = without_drafts(vec![request(4, 300)]);
    assert!(with * 5 < without * 4, "{with} µs with drafts, {without} without");
    // The state and a snapshot have all pages.
    let mut full = world(2);
    run(&mut full, vec![request(4, 300)]);
    let drafted = full.core.metrics().drafted_tokens;
    assert!(drafted < proposed / 2, "{drafted} in a full pool, {proposed} in a roomy one");
}
