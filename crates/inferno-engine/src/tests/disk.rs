//! Pages that go to disk, and sequences that wait for them.

use std::io::Cursor;

use super::*;
use crate::core::disk::Disk;
use crate::core::disk::tests::{Fault, Flawed};
use crate::engine::{Config, Engine};
use crate::fake::PAGE_BYTES;
use crate::{DiskCache, Metrics};

/// Room for one user and a half.
const N_PAGES: usize = 8;
const GROUPS: [Group; 2] = [Group::Pages(None), Group::States];

/// Pages beside the pool.
#[derive(Debug, Clone, Copy)]
struct Room {
    memory: usize,
    disk: usize,
    transit: usize,
}

const LARGE: Room = Room { memory: 0, disk: 200, transit: 20 };

/// A world with a disk that does `n_jobs` each time that the engine asks.
fn world(
    room: Room,
    n_jobs: impl FnMut() -> usize + Send + 'static,
    fault: impl FnMut() -> Fault + Send + 'static,
) -> World {
    let bytes = |n: usize| (n * PAGE_BYTES) as u64;
    let limits = Limits { n_pages: vec![N_PAGES; 2], max_away_bytes: bytes(room.memory), ..limits(1) };
    let mut world = World::with_cache(limits, &GROUPS, |_| {});
    let medium = Flawed { inside: Cursor::new(Vec::new()), fault };
    let disk = Disk::by_hand(medium, bytes(room.disk), n_jobs);
    world.core.set_disk(disk, bytes(room.disk), bytes(room.transit));
    world
}

fn quick(room: Room) -> World {
    world(room, || 100, || Fault::Nothing)
}

fn prompt(user: u32, n: u32) -> Vec<u32> {
    (0..n).map(|i| ((user >> (i % 4)) + i * i + i / 3 * user) % VOCAB as u32).collect()
}

/// A request and what it gets alone.
fn expected(user: u32) -> (Request, Vec<u32>) {
    let request = Request::new(prompt(user, 150), 5);
    let tokens = alone(&request, 0).tokens;
    (request, tokens)
}

/// Runs requests of users at once, each of which gets what it would get alone; the prompt tokens that were computed.
fn run(world: &mut World, users: impl IntoIterator<Item = u32>) -> usize {
    let before = world.core.metrics().prompt_tokens;
    let mut stories = Vec::new();
    for user in users {
        let (request, expected) = expected(user);
        stories.push((world.submit(request).expect("it fits").1, expected));
    }
    world.run();
    assert_eq!(world.core.metrics().restarts, 0);
    for (story, expected) in stories {
        assert_eq!(story.lock().expect("no panic while it is locked")[0].tokens, expected);
    }
    (world.core.metrics().prompt_tokens - before) as usize
}

#[test]
fn prompts_come_back_from_disk() {
    for (memory, n_jobs) in [(0, 100), (1, 1), (7, 2), (0, 1)] {
        let mut world = world(Room { memory, ..LARGE }, move || n_jobs, || Fault::Nothing);
        for user in 1..9 {
            assert_eq!(run(&mut world, [user]), 150, "user {user}");
        }
        assert!(world.core.metrics().cache.disk_bytes > 0);
        for user in 1..9 {
            assert_eq!(run(&mut world, [user]), 22, "user {user}, {memory} in memory");
        }
        assert_eq!(run(&mut world, 1..9), 8 * 22, "all at once, {memory} in memory");
    }
}

#[test]
fn of_a_prefix_that_is_too_long_to_wait_in_memory_the_start_comes() {
    let mut world = quick(Room { transit: 5, ..LARGE });
    let snapshots = [32, 64, 96, 128];
    let ask = |world: &mut World, user| {
        let (mut request, expected) = expected(user);
        request.borders = snapshots.into();
        let before = world.core.metrics().prompt_tokens;
        let story = world.submit(request).expect("it fits").1;
        world.run();
        assert_eq!(story.lock().expect("no panic while it is locked")[0].tokens, expected);
        world.core.metrics().prompt_tokens - before
    };
    for user in 1..5 {
        assert_eq!(ask(&mut world, user), 150);
    }
    // Three pages and a state have room, four and a state as well.
    assert_eq!(ask(&mut world, 1), 150 - 128);
    world = quick(Room { transit: 3, ..LARGE });
    for user in 1..5 {
        assert_eq!(ask(&mut world, user), 150);
    }
    assert_eq!(ask(&mut world, 1), 150 - 64);
}

#[test]
fn a_small_disk_keeps_the_latest() {
    let mut world = quick(Room { memory: 2, disk: 12, transit: 20 });
    for user in 1..9 {
        assert_eq!(run(&mut world, [user]), 150);
        assert!(world.core.metrics().cache.disk_bytes <= 12 * PAGE_BYTES as u64);
    }
    assert_eq!(run(&mut world, [1]), 150);
    assert_eq!(run(&mut world, [8]), 22);
}

#[test]
fn a_full_disk_is_left_alone_for_a_minute() {
    let is_full = Arc::new(AtomicU64::new(1));
    let full = Arc::clone(&is_full);
    let fault = move || if full.load(Ordering::Relaxed) == 1 { Fault::Error } else { Fault::Nothing };
    let mut world = world(LARGE, || 100, fault);
    for user in (1..5).chain(1..5) {
        assert_eq!(run(&mut world, [user]), 150);
    }
    assert_eq!(world.core.metrics().cache.disk_bytes, 0);
    is_full.store(0, Ordering::Relaxed);
    world.clock.fetch_add(61_000_000, Ordering::Relaxed);
    for user in 5..9 {
        assert_eq!(run(&mut world, [user]), 150);
    }
    assert_eq!(run(&mut world, [5]), 22);
}

#[test]
fn pages_that_cannot_be_read_are_computed() {
    for fault in [Fault::Error, Fault::Damage] {
        let is_bad = Arc::new(AtomicU64::new(0));
        let bad = Arc::clone(&is_bad);
        let fault = move || if bad.load(Ordering::Relaxed) == 1 { fault } else { Fault::Nothing };
        let mut world = world(LARGE, || 100, fault);
        for user in 1..5 {
            run(&mut world, [user]);
        }
        is_bad.store(1, Ordering::Relaxed);
        assert_eq!(run(&mut world, [1]), 150);
        assert_eq!(run(&mut world, 2..4), 300);
    }
}

#[test]
fn a_disk_that_hangs_is_given_up() {
    let hangs = Arc::new(AtomicU64::new(0));
    let is_hung = Arc::clone(&hangs);
    let n_jobs = move || if is_hung.load(Ordering::Relaxed) == 1 { 0 } else { 100 };
    let mut world = world(LARGE, n_jobs, || Fault::Nothing);
    for user in 1..5 {
        run(&mut world, [user]);
    }
    hangs.store(1, Ordering::Relaxed);
    let (request, expected) = expected(1);
    let (_, story) = world.submit(request).expect("it fits");
    for _ in 0..50 {
        world.step();
    }
    assert!(!world.core.is_idle(), "it waits");
    // Others need not.
    assert_eq!(world.core.metrics().sequences.running, 0);
    world.clock.fetch_add(10_000_000, Ordering::Relaxed);
    world.run();
    assert_eq!(story.lock().expect("no panic while it is locked")[0].tokens, expected);
    assert_eq!(world.core.metrics().cache.disk_bytes, 0);
    assert_eq!(run(&mut world, [2]), 150);
}

#[test]
fn who_waits_for_the_disk_can_be_cancelled_and_has_a_deadline() {
    let pause = Arc::new(AtomicU64::new(0));
    let is_paused = Arc::clone(&pause);
    let n_jobs = move || if is_paused.load(Ordering::Relaxed) == 1 { 0 } else { 100 };
    let mut world = world(LARGE, n_jobs, || Fault::Nothing);
    for user in 1..5 {
        run(&mut world, [user]);
    }
    pause.store(1, Ordering::Relaxed);
    let (id, cancelled) = world.submit(expected(1).0).expect("it fits");
    let deadline = Some(std::time::Duration::from_millis(5));
    let (_, late) = world.submit(Request { deadline, ..expected(2).0 }).expect("it fits");
    for _ in 0..5 {
        world.step();
    }
    // Another prompt goes on meanwhile.
    let (request, expected) = expected(7);
    let (_, other) = world.submit(request).expect("it fits");
    for _ in 0..20 {
        world.step();
    }
    assert_eq!(other.lock().expect("no panic while it is locked")[0].tokens, expected);
    world.core.cancel(id);
    world.clock.fetch_add(5_000, Ordering::Relaxed);
    world.step();
    let end = |story: &Story| story.lock().expect("no panic while it is locked")[0].ends[0].0.clone();
    assert_eq!((end(&cancelled), end(&late)), (Finish::Cancelled, Finish::Deadline));
    assert!(world.core.is_idle());
    pause.store(0, Ordering::Relaxed);
    assert_eq!(run(&mut world, [1]), 22);
    assert_eq!(run(&mut world, [2]), 22);
}

#[test]
fn an_engine_with_a_disk_answers_as_one_without() {
    let limits = Limits { n_pages: vec![N_PAGES; 2], ..limits(1) };
    let model = Fake::with_cache(&GROUPS, &limits.n_pages, Arc::default());
    let bytes = |n: usize| (n * PAGE_BYTES) as u64;
    let disk = DiskCache::open(&std::env::temp_dir(), bytes(200), bytes(20), |_| {}).expect("a file");
    let config = Config { limits, disk: Some(disk), ..Config::new(vec![N_PAGES; 2]) };
    let engine = Engine::start(Box::new(model), config);
    let ask = |users: &[u32]| -> Metrics {
        let tickets: Vec<_> = users
            .iter()
            .map(|&user| (engine.handle().submit(expected(user).0).expect("it fits"), user))
            .collect();
        for (ticket, user) in tickets {
            let tokens = ticket.events.iter().filter_map(|event| match event {
                Event::Token { token, .. } => Some(token),
                _ => None,
            });
            assert_eq!(tokens.collect::<Vec<u32>>(), expected(user).1);
        }
        engine.handle().metrics()
    };
    for user in 1..9 {
        ask(&[user]);
    }
    assert!(ask(&[1, 2, 3, 4]).cache.disk_bytes > 0);
    let n_back = ask(&[5, 6, 7, 8]).cache.pages_back;
    assert!(n_back > 0);
    // One is waited for when it ends.
    let _ticket = engine.handle().submit(expected(1).0).expect("it fits");
    engine.stop().expect("it ends");
}
