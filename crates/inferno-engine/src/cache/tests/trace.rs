//! The order in which snapshots of states go, on a trace of conversations, against the longest unused first.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::*;

/// Prompts of Mooncake's trace (`mooncake_conversation.jsonl`, FAST'25 release), as numbers of blocks of 512 tokens: equal
/// numbers are equal beginnings. A page stands for a block.
fn prompts() -> Option<Vec<Vec<u32>>> {
    let path = xtask::testing::data("traces")?.join("mooncake_conversation.jsonl");
    let text = std::fs::read_to_string(path).expect("a trace");
    let blocks = |line: &str| {
        let (_, ids) = line.split_once("\"hash_ids\": [").expect("a line of the trace");
        let ids = ids.trim_end_matches(['}', ']']).split(", ");
        ids.map(|id| id.parse().expect("a number")).collect()
    };
    Some(text.lines().map(blocks).collect())
}

/// Blocks that are found, of all, with `n_pages` pages and `n_snapshots` snapshots.
fn hits(prompts: &[Vec<u32>], n_pages: usize, n_snapshots: usize) -> usize {
    let kinds = [(Kind::Pages { window: None }, n_pages), (Kind::States, n_snapshots + 1)];
    let mut cache = KvCache::new(kinds).with_max_snapshots(n_snapshots);
    let mut n_hits = 0;
    for blocks in prompts {
        // The last block is not full.
        let tokens: Vec<u32> = blocks.iter().flat_map(|&block| [block; PAGE_LEN]).collect();
        let last = blocks.len() - 1;
        let found = cache.find(0, &tokens, last * PAGE_LEN);
        n_hits += found.path.len();
        let (mut path, mut tables) = (found.path, vec![Table::default(); 2]);
        cache.hold(&path, &mut tables);
        for n in path.len() + 1..=last {
            tables[0].pages.push(cache.take(0).expect("a page that can be evicted"));
            tables[1].live = tables[1].live.or_else(|| cache.take(1));
            cache.release_before(n - 1, 1, &path, &mut tables[1], |number| {
                match number + 1 == found.n_known {
                    true => Worth::Resume,
                    false => Worth::Nothing,
                }
            });
            if (n == last || n == found.n_known) && cache.make_room(1) {
                let next = if n == last { None } else { cache.take(1) };
                tables[1].keep_live(n - 1, next);
            }
            cache.complete((0, 0), &mut path, &[blocks[n - 1]; PAGE_LEN], &mut tables);
        }
        cache.release(&path, &mut tables);
    }
    cache.check(std::iter::empty());
    n_hits
}

/// The longest unused go first.
#[derive(Default)]
struct Lru {
    /// The last use of every one, and its depth.
    used: BTreeMap<u64, (usize, usize)>,
    order: BTreeSet<(usize, Reverse<usize>, u64)>,
}

impl Lru {
    fn touch(&mut self, path: u64, now: usize, depth: usize, most: usize) {
        if let Some((time, depth)) = self.used.insert(path, (now, depth)) {
            self.order.remove(&(time, Reverse(depth), path));
        }
        self.order.insert((now, Reverse(depth), path));
        if self.used.len() > most {
            let (.., path) = self.order.pop_first().expect("more than there may be");
            self.used.remove(&path);
        }
    }
}

/// The same with pages and snapshots that go by their last use.
fn hits_of_lru(prompts: &[Vec<u32>], n_pages: usize, n_snapshots: usize) -> usize {
    let (mut pages, mut snapshots, mut n_hits) = (Lru::default(), Lru::default(), 0);
    for (now, blocks) in prompts.iter().enumerate() {
        let last = blocks.len() - 1;
        let path_of = |path: &mut u64, block: &u32| {
            *path = crate::fake::hash(*path, *block);
            Some(*path)
        };
        let paths: Vec<u64> = blocks[..last].iter().scan(0, path_of).collect();
        let n_known = paths.iter().take_while(|path| pages.used.contains_key(path)).count();
        let n = (1..=n_known).rev().find(|n| snapshots.used.contains_key(&paths[n - 1])).unwrap_or(0);
        n_hits += n;
        for (i, &path) in paths.iter().enumerate() {
            pages.touch(path, now, i, n_pages);
        }
        for n in [n, n_known, last].into_iter().filter(|&n| n > 0) {
            snapshots.touch(paths[n - 1], now, n, n_snapshots);
        }
    }
    n_hits
}

/// `INFERNO_WHOLE_TRACE` plays all of it.
#[test]
fn more_is_found_on_mooncakes_trace_than_where_the_longest_unused_goes_first() {
    let Some(prompts) = prompts() else { return };
    let is_whole = std::env::var_os("INFERNO_WHOLE_TRACE").is_some();
    let prompts = &prompts[..prompts.len() / if is_whole { 1 } else { 8 }];
    for (n_pages, n_snapshots) in [(2_000, 40), (4_000, 80), (8_000, 160), (16_000, 320)] {
        let ours = hits(prompts, n_pages, n_snapshots);
        let lru = hits_of_lru(prompts, n_pages, n_snapshots);
        println!("{n_pages} pages, {n_snapshots} snapshots: {ours} blocks, and {lru}");
        let is_more = if n_snapshots > 40 { ours > lru } else { ours >= lru };
        assert!(is_more, "{n_pages} pages, {n_snapshots} snapshots: {ours} blocks, and {lru}");
    }
}
