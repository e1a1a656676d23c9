//! Random worlds: arrivals, cancels, deadlines, tiny pools, every kind of request.

use inferno_model::sample::SampleSpec;

use super::*;
use crate::core::disk::tests::{Fault, Flawed};
use crate::fake::{CONTEXT, PAGE_BYTES};
use crate::pages::PageCounts;
use crate::sampler::tests::add_any_samplers;
use crate::sampler::{Distribution, Logprobs};
use ends::Script;
use shrink::{Part, Smaller};

mod shrink;

/// Requests of a world at most.
const MOST_REQUESTS: usize = 9;

/// A small generator, seeded.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((x ^ x >> 31) % n as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// Prompts begin alike, so that pages are shared.
fn request(random: &mut Random, longest: usize) -> Request {
    let stream = random.below(2);
    let most = (longest - 1).min(160);
    let long = if random.one_in(3) { 160 } else { 70 };
    let n_prompt = 1 + random.below(most.min(long));
    let shared = random.below(n_prompt + 1);
    let mut prompt: Vec<u32> = (0..shared).map(|i| ((i * i + stream * 3 + i / 7) % VOCAB) as u32).collect();
    prompt.resize_with(n_prompt, || random.below(VOCAB) as u32);
    let room = longest - n_prompt;
    let mut request = Request::new(prompt, (1 + random.below(40)).min(room));
    if random.one_in(6) {
        request.prompt_logprobs = Some(random.below(3));
        request.max_tokens -= random.below(2).min(request.max_tokens);
    }
    request.n = if random.one_in(5) { 1 + random.below(3) as u32 } else { 1 };
    request.priority = if random.one_in(3) { random.below(3) as i32 - 1 } else { 0 };
    request.tenant = random.below(3) as u32;
    request.salt = random.one_in(4).into();
    request.speculate = !random.one_in(4);
    if random.one_in(3) {
        request.borders = (0..1 + random.below(3)).map(|_| random.below(n_prompt + 40)).collect();
    }
    if random.one_in(2) {
        let seed = random.below(1000) as u64;
        let top_k = if random.one_in(2) { 1 + random.below(VOCAB) } else { 0 };
        let spec = SampleSpec { temperature: 0.8, top_k, top_p: 0.95, seed, ..SampleSpec::GREEDY };
        request.sampling.spec = spec;
    }
    if random.one_in(2) {
        let of = if random.one_in(2) { Distribution::Raw } else { Distribution::Filtered };
        request.sampling.logprobs = Some(Logprobs { top: random.below(3), of });
    }
    if random.one_in(4) {
        request.sampling.repeat_penalty = 1.2;
        request.sampling.frequency_penalty = 0.3;
        request.sampling.logit_bias = vec![(random.below(VOCAB) as u32, -1.0)];
        request.sampling.banned = vec![random.below(VOCAB) as u32];
    }
    if random.one_in(5) {
        add_any_samplers(&mut request.sampling, VOCAB, &mut |n| random.below(n));
    }
    if random.one_in(3) {
        request.sampling.stop_tokens = vec![random.below(VOCAB) as u32];
        request.sampling.min_tokens = random.below(6);
    }
    request
}

/// A stop condition, a grammar, both or neither.
fn ends(random: &mut Random) -> Ends {
    let pair = random.one_in(3).then(|| [0; 2].map(|_| random.below(VOCAB) as u32));
    let varied = random.one_in(6).then(|| 1 + random.below(30));
    let scripted = random.one_in(3).then(|| {
        let (seed, len) = (random.below(1 << 20) as u64, 1 + random.below(60));
        Script { seed, len, longest_run: 1 + random.below(40), forces: !random.one_in(8) }
    });
    Ends { pair, varied, scripted }
}

/// One to three cache groups with or without windows, some of which are wider than any sequence is long; beside them, or alone,
/// groups of states.
fn groups(random: &mut Random) -> Vec<Group> {
    let mut groups: Vec<Group> = windows(random).into_iter().map(Group::Pages).collect();
    if random.one_in(3) {
        if random.one_in(4) {
            groups.clear();
        }
        for _ in 0..1 + random.below(2) {
            groups.insert(random.below(groups.len() + 1), Group::States);
        }
    }
    groups
}

fn windows(random: &mut Random) -> Vec<Option<usize>> {
    if random.one_in(3) {
        return vec![None];
    }
    const WINDOWS: [usize; 12] = [1, 2, 3, 31, 32, 33, 40, 63, 64, 65, 100, 500];
    let n = 1 + random.below(3);
    let mut window = |_| if random.one_in(3) { None } else { Some(WINDOWS[random.below(WINDOWS.len())]) };
    let mut windows: Vec<Option<usize>> = (0..n).map(&mut window).collect();
    if windows.iter().all(|window| *window == Some(1)) {
        // Else no row would see another.
        windows[0] = Some(2);
    }
    windows
}

/// A disk that is slow, small, full at times, and forgetful.
#[derive(Debug, Clone, Copy)]
struct Disk {
    n_pages: usize,
    transit: usize,
    /// Jobs that are done each time that the engine asks, at most.
    speed: usize,
    /// Operations of which one fails.
    fails: usize,
    seed: u64,
}

impl Disk {
    fn of(random: &mut Random) -> Disk {
        Disk {
            n_pages: random.below(60),
            transit: random.below(20),
            speed: 1 + random.below(5),
            fails: if random.one_in(2) { 1 + random.below(30) } else { usize::MAX },
            seed: random.below(1 << 30) as u64,
        }
    }

    fn add_to(&self, world: &mut World) {
        let (mut random, fails) = (Random(self.seed), self.fails);
        let fault = move || match random.below(fails) {
            0 if random.one_in(2) => Fault::Error,
            0 => Fault::Damage,
            _ => Fault::Nothing,
        };
        let (mut random, speed) = (Random(self.seed + 1), self.speed);
        let medium = Flawed { inside: std::io::Cursor::new(Vec::new()), fault };
        let bytes = |n: usize| (n * PAGE_BYTES) as u64;
        let disk =
            crate::core::disk::Disk::by_hand(medium, bytes(self.n_pages), move || random.below(speed + 1));
        world.core.set_disk(disk, bytes(self.n_pages), bytes(self.transit));
    }
}

/// What was met on the way, so that a test that meets nothing is noticed.
#[derive(Debug, Clone, Copy, Default)]
struct Met {
    preemptions: u64,
    hit_tokens: u64,
    /// In worlds with a group whose window is shorter than sequences are.
    windowed_hits: u64,
    windowed_preemptions: u64,
    /// In worlds with recurrent layers.
    state_hits: u64,
    state_preemptions: u64,
    chained_states: u64,
    state_drafts: u64,
    evicted_pages: u64,
    accepted_tokens: u64,
    /// Of a draft model.
    accepted_proposals: u64,
    forced_tokens: u64,
    chained_steps: u64,
    met_conditions: u64,
    complete_grammars: u64,
    cut_short: u64,
    /// Tokens cached by engines that took over from others.
    restored_tokens: u64,
    /// Pages that had left the pool and came back.
    pages_back: u64,
    /// The same in worlds with a disk.
    pages_read: u64,
}

impl Met {
    fn add(&mut self, other: Met) {
        self.preemptions += other.preemptions;
        self.hit_tokens += other.hit_tokens;
        self.windowed_hits += other.windowed_hits;
        self.windowed_preemptions += other.windowed_preemptions;
        self.state_hits += other.state_hits;
        self.state_preemptions += other.state_preemptions;
        self.chained_states += other.chained_states;
        self.state_drafts += other.state_drafts;
        self.evicted_pages += other.evicted_pages;
        self.accepted_tokens += other.accepted_tokens;
        self.accepted_proposals += other.accepted_proposals;
        self.forced_tokens += other.forced_tokens;
        self.chained_steps += other.chained_steps;
        self.met_conditions += other.met_conditions;
        self.complete_grammars += other.complete_grammars;
        self.cut_short += other.cut_short;
        self.restored_tokens += other.restored_tokens;
        self.pages_back += other.pages_back;
        self.pages_read += other.pages_read;
    }
}

/// One world, from its seed, or a part of it.
fn simulate(seed: u64, smaller: &Smaller) -> Met {
    let mut random = Random(seed);
    let large = if random.one_in(3) { 24 } else { 7 };
    let n_pages = 2 + random.below(large);
    let chooses = random.one_in(2);
    let limits = Limits {
        max_sequences: 1 + random.below(6),
        max_rows: 4 + random.below(90),
        min_rows: 1 + random.below(12),
        max_logits: 1 + random.below(20),
        step_target: 100 + random.below(600) as u64,
        aging: 500 + random.below(20_000) as u64,
        prefix_cache: !random.one_in(8),
        ..limits(n_pages)
    };
    let groups = groups(&mut random);
    let has_states = groups.contains(&Group::States);
    let each = |group: &Group| match group {
        Group::Pages(Some(_)) => 2 + random.below(n_pages),
        Group::Pages(None) => n_pages,
        Group::States => 1 + random.below(n_pages),
    };
    let mut limits = Limits { n_pages: groups.iter().map(each).collect(), ..limits };
    if has_states && !random.one_in(4) {
        limits.max_snapshots = Some(random.below(n_pages));
        limits.snapshot_every = 1 + random.below(200);
    }
    if random.one_in(3) {
        limits.max_away_bytes = random.below(40 * PAGE_BYTES) as u64;
    }
    if !smaller.has(Part::Away) {
        limits.max_away_bytes = 0;
    }
    let disk = random.one_in(3).then(|| Disk::of(&mut random)).filter(|_| smaller.has(Part::Disk));
    let drafts = groups.contains(&Group::Pages(None)) && random.one_in(3) && smaller.has(Part::Draft);
    if drafts && random.one_in(2) {
        limits.draft_tokens = Some(1 + random.below(8));
    }
    let (agreement, draft_chooses) = (random.below(101) as u64, random.one_in(2));
    let draft_step_time = random.below(60) as u64;
    let build = || {
        let change = |model: &mut Fake| model.chooses = chooses;
        let mut world = match drafts {
            true => World::with_draft(limits.clone(), &groups, change, |draft| {
                (draft.agreement, draft.chooses) = (agreement, draft_chooses);
                draft.step_time = draft_step_time;
            }),
            false => World::with_cache(limits.clone(), &groups, change),
        };
        if let Some(disk) = &disk {
            disk.add_to(&mut world);
        }
        world
    };
    let mut world = build();
    if random.one_in(10) {
        let n_threads = 1 + random.below(3);
        if smaller.has(Part::Threads) {
            world.core = world.core.with_mask_threads(n_threads);
        }
    }
    let longest = world.shape.longest.min(CONTEXT);
    let n_requests = (1 + random.below(MOST_REQUESTS)).min(smaller.n_requests);
    let mut stories = Vec::new();
    let mut n_rows = 0u64;
    let mut n_steps = 0u64;
    let (mut n_restarts, mut n_restored) = (0, 0);
    while stories.len() < n_requests || !world.core.is_idle() {
        if stories.len() < n_requests && random.one_in(4) {
            let mut new = request(&mut random, longest);
            if !smaller.has(Part::Choices) {
                new.n = 1;
            }
            let mut ends = ends(&mut random);
            if !smaller.has(Part::Ends) {
                ends = Ends::default();
            }
            let cut_short = random.one_in(6) && smaller.has(Part::Cancels);
            if cut_short && random.one_in(2) {
                new.deadline = Some(std::time::Duration::from_micros(random.below(5_000) as u64));
            }
            let kept = keep(&new);
            ends.add_to(&mut new);
            n_rows += u64::from(new.n) * (new.prompt.len() + new.max_tokens) as u64;
            let (id, story) = world.submit(new).expect("it fits");
            stories.push((id, story, (kept, ends), cut_short));
        }
        if let Some((id, .., true)) = stories.get(random.below(n_requests))
            && random.one_in(10)
        {
            let id = *id;
            world.core.cancel(id);
            world.core.scheduler().check();
        }
        let has_cache = world.core.scheduler().limits().prefix_cache;
        if n_restarts < 2
            && smaller.has(Part::Restarts)
            && has_cache
            && world.core.is_idle()
            && random.one_in(4)
        {
            assert_eq!(world.core.metrics().restarts, 0, "seed {seed}: a row saw what it must not");
            n_restarts += 1;
            n_restored += world.restart(build());
        }
        world.step();
        n_steps += 1;
        // Every sequence is computed three times at worst, and a step computes a row at least, or waits for the disk.
        let slow = if disk.is_some() { 12 } else { 4 };
        assert!(n_steps <= 200 + slow * n_rows, "seed {seed}: somebody starves");
    }
    for (_, story, (request, ends), cut_short) in stories {
        let story = story.lock().expect("no panic while it is locked").clone();
        for (choice_idx, told) in (0..).zip(story) {
            let expected = alone_with(&request, ends, choice_idx);
            let [(finish, usage)] = told.ends.as_slice() else {
                panic!("seed {seed}: {} ends", told.ends.len())
            };
            assert_eq!(usage.n_completion, told.tokens.len(), "seed {seed}");
            match finish {
                Finish::Cancelled | Finish::Deadline if cut_short => {
                    let part = |a: &[u32], b: &[u32]| b.starts_with(a);
                    assert!(
                        part(&told.tokens, &expected.tokens),
                        "seed {seed}: a part of what it gets alone"
                    );
                    assert!(part(&told.logprobs, &expected.logprobs), "seed {seed}");
                    assert!(part(&told.prompt_logprobs, &expected.prompt_logprobs), "seed {seed}");
                }
                finish => {
                    assert_eq!(*finish, expected.ends[0].0, "seed {seed}");
                    assert_eq!(told.tokens, expected.tokens, "seed {seed}");
                    assert_eq!(told.logprobs, expected.logprobs, "seed {seed}");
                    assert_eq!(told.prompt_logprobs, expected.prompt_logprobs, "seed {seed}");
                    assert_eq!(told.n_started, 1, "seed {seed}");
                }
            }
        }
    }
    let metrics = world.core.metrics();
    assert_eq!(metrics.restarts, 0, "seed {seed}: a row saw what it must not");
    assert_eq!(metrics.draft_model.failures, 0, "seed {seed}: the draft model saw what it must not");
    world.core.clear_cache();
    let n_pages = &world.core.scheduler().limits().n_pages;
    for (pages, &free) in world.core.metrics().group_pages.iter().zip(n_pages) {
        assert_eq!(*pages, PageCounts { free, cached: 0, held: 0 }, "seed {seed}");
    }
    let is_windowed = groups.iter().any(|group| matches!(group, Group::Pages(Some(window)) if *window < 100));
    let (hits, preemptions) = (metrics.cache.hit_tokens, metrics.sequences.preemptions);
    Met {
        preemptions,
        windowed_hits: if is_windowed { hits } else { 0 },
        windowed_preemptions: if is_windowed { preemptions } else { 0 },
        state_hits: if has_states { hits } else { 0 },
        state_preemptions: if has_states { preemptions } else { 0 },
        chained_states: if has_states { metrics.chained_steps } else { 0 },
        state_drafts: if has_states { metrics.accepted_tokens } else { 0 },
        hit_tokens: hits,
        evicted_pages: metrics.cache.evicted_pages,
        accepted_tokens: metrics.accepted_tokens,
        accepted_proposals: metrics.draft_model.accepted,
        forced_tokens: metrics.forced_tokens,
        chained_steps: metrics.chained_steps,
        met_conditions: metrics.finished.stop_condition,
        complete_grammars: metrics.finished.grammar,
        cut_short: metrics.finished.cancelled + metrics.finished.deadline,
        restored_tokens: n_restored as u64,
        pages_back: metrics.cache.pages_back,
        pages_read: if disk.is_some() { metrics.cache.pages_back } else { 0 },
    }
}

/// What a reference run needs of a request.
fn keep(request: &Request) -> Request {
    Request {
        n: request.n,
        sampling: request.sampling.clone(),
        prompt_logprobs: request.prompt_logprobs,
        ..Request::new(request.prompt.clone(), request.max_tokens)
    }
}

/// `INFERNO_SEEDS` says how many, `INFERNO_FIRST_SEED` from where on, and `INFERNO_WITHOUT` what to leave out of their worlds.
#[test]
fn every_request_gets_what_it_would_get_alone() {
    let number = |name: &str, default: u64| {
        std::env::var(name)
            .map_or(default, |n| n.parse().unwrap_or_else(|_| panic!("{name} is a number, not {n}")))
    };
    let (first, n) = (number("INFERNO_FIRST_SEED", 0), number("INFERNO_SEEDS", 100_000));
    let smaller = &Smaller::parse(&std::env::var("INFERNO_WITHOUT").unwrap_or_default());
    let n_threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let mut met = Met::default();
    std::thread::scope(|scope| {
        let part = |thread| {
            let mut met = Met::default();
            for seed in (first + thread..first + n).step_by(n_threads as usize) {
                let outcome = |smaller: &Smaller| std::panic::catch_unwind(|| simulate(seed, smaller));
                if let Ok(more) = outcome(smaller) {
                    met.add(more);
                    continue;
                }
                let least = Smaller::that_fails(MOST_REQUESTS, |smaller| outcome(smaller).is_err());
                panic!(
                    "seed {seed} fails: INFERNO_FIRST_SEED={seed} INFERNO_SEEDS=1 INFERNO_WITHOUT={least} shows it"
                );
            }
            met
        };
        let threads: Vec<_> = (0..n_threads).map(|thread| scope.spawn(move || part(thread))).collect();
        threads.into_iter().for_each(|thread| met.add(thread.join().expect("all seeds pass")));
    });
    if n >= 1000 && *smaller == Smaller::whole() {
        let Met { preemptions, hit_tokens, evicted_pages, accepted_tokens, chained_steps, .. } = met;
        let Met { accepted_proposals, forced_tokens, met_conditions, complete_grammars, cut_short, .. } = met;
        let Met { windowed_hits, windowed_preemptions, .. } = met;
        let Met { state_hits, state_preemptions, chained_states, state_drafts, .. } = met;
        let Met { restored_tokens, pages_back, pages_read, .. } = met;
        let least = [
            preemptions,
            hit_tokens,
            windowed_hits,
            windowed_preemptions,
            state_hits,
            state_preemptions,
            chained_states,
            state_drafts,
            evicted_pages,
            accepted_tokens,
            accepted_proposals,
            forced_tokens,
            chained_steps,
            met_conditions,
            complete_grammars,
            cut_short,
            restored_tokens,
            pages_back,
            pages_read,
        ];
        let least = least.into_iter().min().expect("some numbers");
        assert!(least > n / 100, "the worlds are too quiet: {met:?}");
    }
}
