//! The prefix cache by way of a file: another engine goes on as if it had never stopped, and files with a fault are not used.

use super::*;
use crate::cache_file::CacheFileError;
use crate::fake::PAGE_BYTES;
use crate::pages::PageCounts;

/// Cache groups of every kind together.
const GROUPS: [Group; 3] = [Group::Pages(None), Group::Pages(Some(40)), Group::States];

/// The key of salts.
const KEY: [u8; 16] = *b"a key for hashes";

fn world(n_pages: [usize; 3]) -> World {
    World::with_cache(Limits { n_pages: n_pages.into(), ..limits(1) }, &GROUPS, |_| {})
}

/// Prompts with a common start.
fn prompt(user: u32, n: usize) -> Vec<u32> {
    let system = (0..70).map(|i| (i * i + i / 5) % VOCAB as u32);
    system.chain((0..n as u32 - 70).map(|i| (user + i * (user + i / 3)) % VOCAB as u32)).collect()
}

/// Runs a request, which gets what it would get alone; the prompt tokens that were computed.
fn run(world: &mut World, prompt: Vec<u32>) -> usize {
    let request = Request { borders: vec![70], ..Request::new(prompt, 5) };
    let expected = alone(&request, 0).tokens;
    let before = world.core.metrics().prompt_tokens;
    let (_, story) = world.submit(request).expect("it fits");
    world.run();
    assert_eq!(world.core.metrics().restarts, 0);
    assert_eq!(story.lock().expect("no panic while it is locked")[0].tokens, expected);
    (world.core.metrics().prompt_tokens - before) as usize
}

fn file(world: &mut World, max_bytes: u64) -> Vec<u8> {
    let mut file = Vec::new();
    let written = world.core.save_cache(&mut file, &IDENTITY, KEY, max_bytes).expect("pages can be copied");
    assert_eq!(written.n_bytes, file.len() as u64);
    file
}

/// Restores a file in a world without anything; it, and the tokens of its prefixes.
fn restored(mut file: &[u8], n_pages: [usize; 3]) -> (World, Result<usize, CacheFileError>) {
    let mut world = world(n_pages);
    let read = world.core.restore_cache(&mut file, &IDENTITY);
    world.core.scheduler().check();
    (world, read.map(|read| read.n_tokens))
}

/// A world where three users have asked, and its file.
fn asked() -> (World, Vec<u8>) {
    let mut world = world([40, 40, 16]);
    for user in 1..4 {
        run(&mut world, prompt(user, 130));
    }
    let file = file(&mut world, u64::MAX);
    (world, file)
}

#[test]
fn another_engine_computes_what_the_first_would_have() {
    let (mut first, file) = asked();
    let (mut second, n_tokens) = restored(&file, [40, 40, 16]);
    assert!(n_tokens.expect("a file without a fault") >= 64 + 3 * 64);
    assert_eq!(second.core.metrics().group_pages, first.core.metrics().group_pages);
    for (user, n) in [(1, 130), (3, 130), (2, 150), (9, 100)] {
        let n_computed = run(&mut second, prompt(user, n));
        assert_eq!(n_computed, run(&mut first, prompt(user, n)), "user {user}");
        assert!(n_computed < 60, "user {user}: {n_computed}");
    }
}

#[test]
fn pages_go_in_the_order_in_which_they_would_have_gone() {
    let new = || {
        let limits = Limits { n_pages: vec![24, 24], ..limits(1) };
        World::with_cache(limits, &GROUPS[..2], |_| {})
    };
    let (mut first, mut second) = (new(), new());
    // The first user is back after the others.
    for user in [1, 2, 3, 1] {
        run(&mut first, prompt(user, 130));
    }
    let file = file(&mut first, u64::MAX);
    second.core.restore_cache(&mut file.as_slice(), &IDENTITY).expect("a file without a fault");
    for world in [&mut first, &mut second] {
        // Others take most of the pages.
        for user in 20..25 {
            run(world, (0..100).map(|i| (user + i * user + i / 7) % VOCAB as u32).chain([1; 8]).collect());
        }
    }
    let again = |world: &mut World| [3, 1, 2].map(|user| run(world, prompt(user, 130)));
    let n_computed = again(&mut first);
    assert_eq!(again(&mut second), n_computed);
    assert!(n_computed.iter().any(|n| *n < 130), "{n_computed:?}");
}

#[test]
fn what_does_not_fit_is_left_out_and_the_rest_serves() {
    let (mut first, whole) = asked();
    let mut sizes = Vec::new();
    for max_bytes in [0, 1_000, 3_000, 6_000, 12_000] {
        let file = file(&mut first, max_bytes);
        assert!(file.len() as u64 <= max_bytes + 200, "{} of {max_bytes}", file.len());
        sizes.push(file.len());
        let (mut second, read) = restored(&file, [40, 40, 16]);
        read.expect("a file without a fault");
        run(&mut second, prompt(1, 130));
    }
    assert!(sizes.is_sorted() && sizes[4] > sizes[1]);
    for n_pages in [[7, 7, 2], [12, 5, 3], [40, 3, 2]] {
        let (mut second, read) = restored(&whole, n_pages);
        assert!(read.expect("a file without a fault") > 0, "{n_pages:?}");
        for user in 1..4 {
            run(&mut second, prompt(user, 130));
        }
    }
}

#[test]
fn a_file_with_a_fault_leaves_the_cache_empty() {
    let (_, whole) = asked();
    let is_empty = |world: &World| {
        let pages = world.core.metrics().group_pages;
        pages.iter().all(|pages| *pages == PageCounts { free: pages.free, cached: 0, held: 0 })
    };
    for n in (0..whole.len()).step_by(97).chain([whole.len() - 1]) {
        let (world, read) = restored(&whole[..n], [40, 40, 16]);
        assert!(read.is_err() && is_empty(&world), "{n} bytes");
        let mut damaged = whole.clone();
        damaged[n] ^= 1 << (n % 8);
        let (world, read) = restored(&damaged, [40, 40, 16]);
        assert!(read.is_err() && is_empty(&world), "byte {n}");
    }
}

#[test]
fn errors_say_what_is_the_matter() {
    let (mut world, whole) = asked();
    let mut why = |file: &[u8], identity: &[(&'static str, u64)]| {
        let mut file = file;
        world.core.restore_cache(&mut file, identity).expect_err("it has a fault").to_string()
    };
    assert_eq!(why(b"", &IDENTITY), "it is not a cache file");
    assert_eq!(why(b"GGUF and more", &IDENTITY), "it is not a cache file");
    let mut newer = whole.clone();
    newer[8] = 7;
    assert_eq!(why(&newer, &IDENTITY), "it has version 7 of the format, expected 1");
    assert_eq!(why(&whole, &[("build", 1), ("model", 3)]), "it was written with another model");
    assert_eq!(why(&whole[..40], &IDENTITY), "it is damaged: its header is not what was written");
    assert!(why(&whole[..whole.len() - 3], &IDENTITY).starts_with("it is truncated: it ends in record "));
    let mut damaged = whole.clone();
    damaged[whole.len() - 20] ^= 1;
    assert!(why(&damaged, &IDENTITY).starts_with("it is damaged: record "));
}

#[test]
fn prompts_are_found_under_their_salt_alone_and_its_key_comes_back() {
    let mut first = world([40, 40, 16]);
    let request = |salt: u64| Request { salt, ..Request::new(prompt(1, 130), 5) };
    let n_cached = |world: &mut World, salt: u64| {
        let before = world.core.metrics().cache.hit_tokens;
        world.submit(request(salt)).expect("it fits");
        world.run();
        world.core.metrics().cache.hit_tokens - before
    };
    assert_eq!([7, 8].map(|salt| n_cached(&mut first, salt)), [0, 0]);
    let file = file(&mut first, u64::MAX);
    let mut second = world([40, 40, 16]);
    let read = second.core.restore_cache(&mut file.as_slice(), &IDENTITY).expect("a file without a fault");
    assert_eq!((read.salt_key, read.n_tokens), (KEY, 2 * 128));
    assert_eq!([0, 9, 7, 8].map(|salt| n_cached(&mut second, salt)), [0, 0, 128, 128]);
}

#[test]
fn what_is_in_memory_beside_the_pool_goes_to_the_file_and_back() {
    let n_pages = [8, 8, 8];
    let limits = |n_away: usize| Limits {
        n_pages: n_pages.into(),
        max_away_bytes: (n_away * PAGE_BYTES) as u64,
        ..limits(1)
    };
    let mut before = World::with_cache(limits(200), &GROUPS, |_| {});
    // No two begin alike.
    let prompt = |user: u32| -> Vec<u32> {
        (0..150).map(|i| ((user >> (i % 4)) + i * i + i / 3 * user) % VOCAB as u32).collect()
    };
    for user in 1..9 {
        assert_eq!(run(&mut before, prompt(user)), 150);
    }
    let file = file(&mut before, u64::MAX);
    let restored = |n_away| {
        let mut world = World::with_cache(limits(n_away), &GROUPS, |_| {});
        let read = world.core.restore_cache(&mut file.as_slice(), &IDENTITY).expect("it was just written");
        world.core.scheduler().check();
        (world, read.n_tokens)
    };
    let (mut all, n_tokens) = restored(200);
    assert!(n_tokens >= 8 * 128, "{n_tokens}");
    for user in 1..9 {
        assert_eq!(run(&mut all, prompt(user)), 22, "user {user}");
    }
    // With less memory the latest are there.
    let (mut some, n_tokens) = restored(20);
    assert!(n_tokens < 8 * 128 && n_tokens > 2 * 128, "{n_tokens}");
    assert_eq!(run(&mut some, prompt(8)), 22);
    assert_eq!(run(&mut some, prompt(7)), 22);
    assert_eq!(run(&mut some, prompt(1)), 150);
    let (mut none, _) = restored(0);
    assert_eq!(run(&mut none, prompt(8)), 22);
    assert_eq!(run(&mut none, prompt(4)), 150);
}
