//! Pages that leave the pool for memory beside it, and come back when a prompt asks for them.

use super::*;
use crate::fake::PAGE_BYTES;

/// Cache groups of every kind together.
const GROUPS: [Group; 3] = [Group::Pages(None), Group::Pages(Some(40)), Group::States];

fn world(n_pages: [usize; 3], max_away_bytes: u64) -> World {
    World::with_cache(Limits { n_pages: n_pages.into(), max_away_bytes, ..limits(1) }, &GROUPS, |_| {})
}

/// A prompt that begins like no other user's.
fn prompt(user: u32, n: u32) -> Vec<u32> {
    (0..n).map(|i| ((user >> (i % 4)) + i * i + i / 3 * user) % VOCAB as u32).collect()
}

/// Runs a request, which gets what it would get alone; the prompt tokens that were computed.
fn run(world: &mut World, prompt: Vec<u32>) -> usize {
    let request = Request::new(prompt, 5);
    let expected = alone(&request, 0).tokens;
    let before = world.core.metrics().prompt_tokens;
    let (_, story) = world.submit(request).expect("it fits");
    world.run();
    assert_eq!(world.core.metrics().restarts, 0);
    assert_eq!(story.lock().expect("no panic while it is locked")[0].tokens, expected);
    (world.core.metrics().prompt_tokens - before) as usize
}

#[test]
fn prompts_that_made_room_for_others_come_back() {
    // The pool has room for one user and a half.
    let mut world = world([8, 8, 8], 1 << 20);
    for user in 1..9 {
        assert_eq!(run(&mut world, prompt(user, 150)), 150, "user {user}");
    }
    let before = world.core.metrics().cache;
    assert!(before.pages_out > 30 && before.pages_back == 0, "{before:?}");
    for user in 1..9 {
        assert_eq!(run(&mut world, prompt(user, 150)), 150 - 128, "user {user}");
    }
    let after = world.core.metrics().cache;
    assert!(after.pages_back >= 7 * 4, "{after:?}");
    assert_eq!(after.hit_tokens, 8 * 128);
}

#[test]
fn memory_beside_the_pool_is_bounded_and_the_oldest_go() {
    let max = 12 * PAGE_BYTES as u64;
    let mut world = world([8, 8, 8], max);
    for user in 1..9 {
        run(&mut world, prompt(user, 150));
        assert!(world.core.metrics().cache.away_bytes <= max);
    }
    assert_eq!(run(&mut world, prompt(1, 150)), 150);
    assert_eq!(run(&mut world, prompt(8, 150)), 150 - 128);
}

#[test]
fn a_cache_that_is_cleared_has_nothing_anywhere() {
    let mut world = world([8, 8, 8], 1 << 20);
    for user in 1..5 {
        run(&mut world, prompt(user, 150));
    }
    assert!(world.core.metrics().cache.away_bytes > 0);
    world.core.clear_cache();
    world.core.scheduler().check();
    assert_eq!(world.core.metrics().cache.away_bytes, 0);
    assert_eq!(run(&mut world, prompt(1, 150)), 150);
}

#[test]
fn without_memory_beside_the_pool_pages_are_dropped() {
    let mut world = world([8, 8, 8], 0);
    for user in [1, 2, 3, 1] {
        assert_eq!(run(&mut world, prompt(user, 150)), 150, "user {user}");
    }
    assert_eq!(world.core.metrics().cache.pages_out, 0);
}

#[test]
fn a_step_that_fails_loses_what_is_beside_the_pool_too() {
    let limits = Limits { n_pages: vec![8, 8, 8], max_away_bytes: 1 << 20, ..limits(1) };
    let mut world = World::with_cache(limits, &GROUPS, |model| model.fault = fake::Fault::PanicOnceAt(30));
    for user in (1..5).chain(1..5) {
        let request = Request::new(prompt(user, 150), 5);
        let expected = alone(&request, 0).tokens;
        let (_, story) = world.submit(request).expect("it fits");
        world.run();
        assert_eq!(story.lock().expect("no panic while it is locked")[0].tokens, expected);
    }
    assert_eq!(world.core.metrics().restarts, 1);
}
