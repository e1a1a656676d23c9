//! Recurrent layers: what is computed again, where prompts resume, and what is kept for it.

use super::stage::check;
use super::*;
use crate::pages::PageCounts;
use crate::stop::StopCondition;

/// A group without a window and one of states, of which a quarter may be snapshots.
fn world(n_pages: usize, n_states: usize) -> World {
    let limits = Limits { n_pages: vec![n_pages, n_states], ..limits(1) };
    World::with_cache(limits, &[Group::Pages(None), Group::States], |_| {})
}

/// Runs a request alone; its completion, which must be what it is by definition, and the prompt tokens that were computed.
fn run(world: &mut World, request: Request) -> (Vec<u32>, usize) {
    let before = world.core.metrics().prompt_tokens;
    let expected = alone(&request, 0);
    let (_, story) = world.submit(request).expect("it fits");
    world.run();
    let told = story.lock().expect("no panic while it is locked")[0].clone();
    assert_eq!(told.tokens, expected.tokens);
    (told.tokens, (world.core.metrics().prompt_tokens - before) as usize)
}

/// Tokens that no other seed begins with.
fn text(seed: usize, n: usize) -> Vec<u32> {
    (0..n).map(|i| ((seed >> (i % 10)) ^ (i * i) ^ (i / 5)) as u32 % VOCAB as u32).collect()
}

#[test]
fn a_conversation_computes_the_new_tokens_of_each_turn() {
    for (n_new, n_answer) in [(12, 20), (5, 33), (31, 1), (1, 38)] {
        let mut world = world(40, 8);
        let mut prompt = text(1, 30);
        let n_turns = 10.min((fake::CONTEXT - 30) / (n_new + n_answer));
        for turn in 0..n_turns {
            let (answer, n_computed) = run(&mut world, Request::new(prompt.clone(), n_answer));
            // The last token of an answer is not computed with it.
            let n_expected = if turn == 0 { 30 } else { n_new + 1 };
            assert!(n_computed < n_expected + 32, "turn {turn} of {n_new} and {n_answer}: {n_computed}");
            prompt.extend(answer);
            prompt.extend(text(2 + turn, n_new));
        }
    }
}

#[test]
fn two_users_share_a_system_prompt_and_its_end_is_told() {
    let mut world = world(40, 8);
    let system = text(1, 100);
    for (user, n_expected) in [(2, 130), (3, 34), (4, 34)] {
        let prompt = [system.clone(), text(user, 30)].concat();
        let request = Request { borders: vec![100], ..Request::new(prompt, 5) };
        assert_eq!(run(&mut world, request).1, n_expected, "user {user}");
    }
}

#[test]
fn prompts_resume_where_two_have_parted_and_the_report_says_so() {
    check(
        "
        states 8
        a = 1*100 2*30
        run
        computed
        b = 1*100 3*30
        run
        computed
        c = 1*100 4*30
        run
        computed
        ",
        "
        a starts: 0 cached, Empty
        a ends: Length, 4 tokens
        130 prompt tokens computed
        b starts: 0 cached, NoSnapshot
        b ends: Length, 4 tokens
        130 prompt tokens computed
        c starts: 96 cached, DiffersAt(100)
        c ends: Length, 4 tokens
        34 prompt tokens computed
        ",
    );
}

#[test]
fn a_state_is_kept_where_another_sequence_waits_for_it() {
    check(
        "
        states 16
        rows 16
        a = 1*64 2*40
        b = 1*64 3*10 | n 2
        run
        computed
        c = 4*100
        step
        d = 4*40 5*10
        run
        computed
        ",
        "
        a starts: 0 cached, Empty
        b.0 starts: 64 cached, Whole
        b.1 starts: 64 cached, Whole
        a ends: Length, 4 tokens
        b.0 ends: Length, 4 tokens
        b.1 ends: Length, 4 tokens
        124 prompt tokens computed
        c starts: 0 cached, DiffersAt(0)
        d starts: 32 cached, Whole
        c ends: Length, 4 tokens
        d ends: Length, 4 tokens
        118 prompt tokens computed
        ",
    );
}

#[test]
fn one_page_of_states_is_enough_for_a_sequence_and_keeps_nothing() {
    check(
        "
        states 1
        a = 1*60 | max 40
        b = 1*60 | max 4
        run
        computed
        pages
        ",
        "
        a starts: 0 cached, Whole
        a ends: Length, 40 tokens
        b starts: 0 cached, Whole
        b ends: Length, 4 tokens
        120 prompt tokens computed
        pages: 0 held, 0 cached, 33 free
        ",
    );
}

#[test]
fn a_sequence_holds_its_state_and_the_last_snapshot() {
    let mut world = world(40, 8);
    world.submit(Request::new(text(1, 70), 200)).expect("it fits");
    let mut most = 0;
    while !world.core.is_idle() {
        most = most.max(world.core.metrics().group_pages[1].held);
        world.step();
    }
    assert_eq!(most, 2);
    // At the end of its prompt and of its answer.
    assert_eq!(world.core.metrics().group_pages[1], PageCounts { free: 6, cached: 2, held: 0 });
}

#[test]
fn long_prompts_keep_a_state_now_and_then() {
    let limits = Limits { n_pages: vec![40, 16], max_snapshots: Some(8), snapshot_every: 96, ..limits(1) };
    let mut world = World::with_cache(limits, &[Group::Pages(None), Group::States], |_| {});
    run(&mut world, Request::new(text(1, 300), 1));
    // At 96, 192, 288, which is the prompt's end too.
    assert_eq!(world.core.metrics().group_pages[1].cached, 3);
    let other = [text(1, 200), text(2, 20)].concat();
    assert_eq!(run(&mut world, Request::new(other, 1)).1, 220 - 192);
}

#[test]
fn places_where_prompts_resume_outlive_the_ends_of_prompts() {
    let mut world = world(400, 16);
    let system = text(1, 100);
    let prompt = |user: usize| [system.clone(), text(user, 30)].concat();
    for user in [2, 3, 4] {
        run(&mut world, Request { borders: vec![100], ..Request::new(prompt(user), 5) });
    }
    // Four snapshots may be there, and three others come.
    for user in [10, 11, 12] {
        run(&mut world, Request::new(text(user, 40), 5));
    }
    assert_eq!(run(&mut world, Request::new(prompt(5), 5)).1, 34);
}

/// Ends a completion after this number of tokens, which no device knows of.
struct EndAfter(usize);

impl StopCondition for EndAfter {
    fn commit(&mut self, _: u32) {
        self.0 -= 1;
    }

    fn finished(&self) -> bool {
        self.0 == 0
    }
}

/// The first turn ends after `n` tokens, within a chain of steps; the prompt tokens that the second one computes beside its own.
fn computed_after_chain(n_states: usize, n: usize) -> usize {
    let limits = Limits { n_pages: vec![40, n_states], step_target: 100_000, ..limits(1) };
    let groups = [Group::Pages(None), Group::States];
    let mut world = World::with_cache(limits, &groups, |model| model.chooses = true);
    let mut prompt = text(1, 40);
    let expected = alone(&Request::new(prompt.clone(), n), 0).tokens;
    let stop: Box<dyn StopCondition> = Box::new(EndAfter(n));
    let request = Request { stop_conditions: vec![stop], ..Request::new(prompt.clone(), 200) };
    let (_, story) = world.submit(request).expect("it fits");
    world.run();
    assert_eq!(story.lock().expect("no panic while it is locked")[0].tokens, expected);
    assert!(world.core.metrics().chained_steps > 15);
    prompt.extend(expected);
    prompt.extend(text(2, 10));
    let (_, n_computed) = run(&mut world, Request::new(prompt, 10));
    n_computed - 10
}

#[test]
fn a_chain_keeps_the_state_of_the_page_boundary_that_it_comes_past() {
    for n in [25, 26, 30] {
        assert_eq!(computed_after_chain(12, n), 40 + n - 64, "{n} tokens");
    }
}

#[test]
fn a_state_that_ran_past_the_end_of_a_completion_is_not_kept() {
    // There is room for the state at 64 only once the one at 32 may go, and by then it has seen what comes after it.
    for n in [24, 25, 26] {
        assert_eq!(computed_after_chain(2, n), 40 + n - 32, "{n} tokens");
    }
}

/// `INFERNO_SEEDS`, divided by ten, says how many.
#[test]
fn thousands_of_requests_leave_nothing_behind() {
    let n = std::env::var("INFERNO_SEEDS").map_or(10_000, |n| n.parse::<usize>().expect("a number") / 10);
    let mut world = world(60, 9);
    let mut random = 1u64;
    let mut below = |n: usize| {
        random = fake::hash(random, 1);
        (random >> 20) as usize % n
    };
    let mut stories = Vec::new();
    for i in 0..n.max(100) {
        let prompt = [text(below(3), 10 + below(120)), text(below(5), below(60)), text(i, 4)].concat();
        let request = Request { n: 1 + below(2) as u32, ..Request::new(prompt, 1 + below(30)) };
        let expected = (i % 16 == 0).then(|| alone(&request, 0).tokens);
        let (id, story) = world.submit(request).expect("it fits");
        stories.push((story, expected));
        (0..below(24)).for_each(|_| world.step());
        while world.core.metrics().sequences.waiting > 8 {
            world.step();
        }
        if below(12) == 0 {
            world.core.cancel(id);
            stories.pop();
        }
    }
    world.run();
    for (story, expected) in stories {
        let told = story.lock().expect("no panic while it is locked").clone();
        assert!(told.iter().all(|choice| choice.ends.len() == 1));
        assert!(expected.is_none_or(|expected| told[0].tokens == expected));
    }
    let metrics = world.core.metrics();
    assert_eq!(metrics.restarts, 0, "a row saw what it must not");
    assert!(metrics.cache.hit_tokens > n as u64, "{:?}", metrics.cache);
    world.core.clear_cache();
    let pages = world.core.metrics().group_pages;
    for (pages, free) in pages.iter().zip([60, 9]) {
        assert_eq!(*pages, PageCounts { free, cached: 0, held: 0 });
    }
}
