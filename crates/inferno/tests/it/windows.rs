//! Models whose layers have windows: their cache groups stop growing, and conversations resume in all of them.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use inferno_cpu::{Cpu, Isa};
use inferno_engine::{Config, Engine, Event, Handle, Limits, Metrics, Request, Usage, logits_hash};
use inferno_format::{Gguf, Value};
use inferno_model::architecture::Architecture;
use inferno_model::backend::KvType;
use inferno_model::batch::{Batch, PAGE_LEN, PageId, Want};
use inferno_model::model::{KvRoom, Model};
use inferno_model::transformer::Transformer;
use xtask::testing::{Random, testdata};

const N_THREADS: NonZero<usize> = NonZero::new(2).unwrap();
const MAX_ROWS: usize = 128;

/// A golden model with another window and a longer context.
fn golden(name: &str, window: u32, context_len: u32) -> Gguf {
    let mut file = Gguf::open(&testdata(&format!("goldens/{name}.gguf"))).unwrap();
    let family = name.split('-').next().unwrap();
    let family = if family == "mistral" { "llama" } else { family };
    for (key, value) in [("attention.sliding_window", window), ("context_length", context_len)] {
        file.metadata_mut().set(format!("{family}.{key}"), Value::U32(value));
    }
    file
}

fn model(file: &Gguf, n_pages: &[usize]) -> Box<dyn Model> {
    let arch = Architecture::read(file, None).unwrap();
    let room = KvRoom { n_pages: n_pages.to_vec(), kv_type: KvType::F16 };
    let cpu = Cpu::new(Isa::best(), N_THREADS).unwrap();
    Box::new(Transformer::load(file, arch, cpu, &room).unwrap())
}

fn engine(file: &Gguf, n_pages: &[usize], prefix_cache: bool) -> Engine {
    let limits = Config::new(n_pages.to_vec()).limits;
    let limits = Limits { max_rows: MAX_ROWS, max_sequences: 4, prefix_cache, ..limits };
    Engine::start(model(file, n_pages), Config { limits, ..Config::new(n_pages.to_vec()) })
}

/// Pages of each cache group, told by its window.
fn pages(file: &Gguf, n_pages: impl Fn(Option<usize>) -> usize) -> Vec<usize> {
    let arch = Architecture::read(file, None).unwrap();
    arch.cache_groups.iter().map(|group| n_pages(group.window())).collect()
}

/// Waits for a completion: its tokens, and what it took.
fn complete(handle: &Handle, prompts: Vec<(Vec<u32>, usize)>) -> Vec<(Vec<u32>, Usage)> {
    let submit = |(prompt, max_tokens)| {
        let request = Request { hash_logits: true, ..Request::new(prompt, max_tokens) };
        handle.submit(request).unwrap()
    };
    let tickets: Vec<_> = prompts.into_iter().map(submit).collect();
    let wait = |ticket: inferno_engine::Ticket| {
        let mut tokens = Vec::new();
        loop {
            match ticket.events.recv().unwrap() {
                Event::Token { token, .. } => tokens.push(token),
                Event::Finished { usage, .. } => return (tokens, usage),
                _ => {}
            }
        }
    };
    tickets.into_iter().map(wait).collect()
}

fn tokens(random: &mut Random, n: usize) -> Vec<u32> {
    (0..n).map(|_| random.below(256) as u32).collect()
}

/// The hash of the logits of the last of `tokens`, with all their pages in every group.
fn hash_with_all_pages(file: &Gguf, tokens: &[u32]) -> u64 {
    let n_pages = tokens.len().div_ceil(PAGE_LEN);
    let mut model = model(file, &pages(file, |_| n_pages));
    let table: Vec<PageId> = (0..n_pages as u32).rev().map(PageId).collect();
    let tables = pages(file, |_| 0).iter().map(|_| table.as_slice()).collect::<Vec<_>>();
    let mut hash = 0;
    for (i, chunk) in tokens.chunks(512).enumerate() {
        let mut batch = Batch::default();
        batch.push(chunk, 512 * i, &tables, Want::Logits);
        hash = logits_hash(model.step(&batch).unwrap().logits(chunk.len() - 1).unwrap());
    }
    hash
}

#[test]
fn the_pages_of_windowed_layers_stop_growing() {
    const CONTEXT: usize = 8192;
    const WINDOW: usize = 300;
    let file = golden("gemma3", WINDOW as u32, CONTEXT as u32);
    // Those that a row sees, and those that a step writes.
    let most = WINDOW.div_ceil(PAGE_LEN) + MAX_ROWS / PAGE_LEN + 1;
    let n_pages = pages(&file, |window| window.map_or(CONTEXT / PAGE_LEN, |_| 3 * most));
    let engine = engine(&file, &n_pages, true);
    let handle = engine.handle();
    let windowed = handle.kv_groups().iter().position(|group| group.window.is_some()).unwrap();
    let most_held = Arc::new(AtomicUsize::new(0));
    let prompt = tokens(&mut Random(3), CONTEXT - 40);
    let request = Request { hash_logits: true, ..Request::new(prompt.clone(), 40) };
    let (sender, events) = std::sync::mpsc::channel();
    let (watched, most_seen) = (handle.clone(), Arc::clone(&most_held));
    let watch = move |event| {
        let held = watched.metrics().group_pages[windowed].held;
        most_seen.fetch_max(held, Ordering::Relaxed);
        drop(sender.send(event));
    };
    handle.submit_to(request, Arc::new(watch)).unwrap();
    let mut all = prompt;
    let usage = loop {
        match events.recv().unwrap() {
            Event::Token { token, .. } => all.push(token),
            Event::Finished { usage, .. } => break usage,
            _ => {}
        }
    };
    assert_eq!(all.len(), CONTEXT);
    let held = most_held.load(Ordering::Relaxed);
    assert!(
        (WINDOW / PAGE_LEN..=most).contains(&held),
        "{held} pages of the windowed layers, expected {most}"
    );
    // The engine answers between steps, and has published its metrics then.
    drop(handle.snapshot());
    let Metrics { sequences, group_pages, .. } = handle.metrics();
    assert_eq!(sequences.preemptions, 0);
    assert_eq!(group_pages[1 - windowed].cached, CONTEXT / PAGE_LEN - 1);
    // The last token is not computed: its logits come from the row before it.
    assert_eq!(usage.logits_hash, Some(hash_with_all_pages(&file, &all[..CONTEXT - 1])));
}

/// Conversations that share their start, each answered again now and then: with the cache as without it.
fn converse(file: &Gguf, full: usize, windowed: usize) -> Metrics {
    let cached = engine(file, &pages(file, |window| window.map_or(full, |_| windowed)), true);
    let cold = engine(file, &pages(file, |_| 100), false);
    let (cached, cold) = (cached.handle(), cold.handle());
    let mut random = Random(5);
    let system = tokens(&mut random, 150);
    let mut conversations = vec![system; 4];
    for turn in 0..9 {
        let prompts: Vec<_> = conversations
            .iter()
            .map(|so_far| {
                let n = 1 + random.below(40);
                ([so_far.as_slice(), &tokens(&mut random, n)].concat(), 1 + random.below(30))
            })
            .collect();
        // One at a time resumes where others have ended; together they wait for each other's pages.
        let found = match turn % 3 {
            0 => complete(&cached, prompts.clone()),
            _ => prompts.iter().flat_map(|prompt| complete(&cached, vec![prompt.clone()])).collect(),
        };
        let expected = complete(&cold, prompts.clone());
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(found.0, expected.0, "turn {turn} of {i}");
            assert_eq!(found.1.logits_hash, expected.1.logits_hash, "turn {turn} of {i}");
            assert_eq!(expected.1.n_cached, 0);
        }
        // Some are asked again for another answer, which they keep.
        if turn % 2 == 1 {
            let again = complete(&cached, vec![prompts[0].clone()]);
            assert_eq!((&again[0].0, again[0].1.logits_hash), (&expected[0].0, expected[0].1.logits_hash));
            let end = (prompts[0].0.len() - 1) / PAGE_LEN * PAGE_LEN;
            assert_eq!(again[0].1.n_cached, end, "it resumes at the end of its prompt");
        }
        for ((conversation, (prompt, _)), (answer, _)) in conversations.iter_mut().zip(prompts).zip(found) {
            *conversation = [prompt, answer].concat();
        }
    }
    drop(cached.snapshot());
    cached.metrics()
}

#[test]
fn conversations_of_many_turns_resume_in_all_groups_with_the_bits_they_get_without_a_cache() {
    for window in [8, 33, 70] {
        let file = golden("gemma3", window, 1024);
        // The ends of four conversations and of a prompt each, and what runs.
        let roomy = converse(&file, 100, 60);
        let looked_up = roomy.cache.looked_up_tokens;
        assert!(roomy.cache.hit_tokens * 10 > looked_up * 8, "window {window}: {:?}", roomy.cache);
        assert_eq!(roomy.restarts, 0);
    }
}

#[test]
fn models_with_windows_only_resume_too() {
    let file = golden("mistral-window", 40, 1024);
    let metrics = converse(&file, 100, 60);
    assert!(metrics.cache.hit_tokens * 10 > metrics.cache.looked_up_tokens * 8, "{:?}", metrics.cache);
}
