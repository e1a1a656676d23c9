//! The cache against a map from paths to pages, in random worlds.

mod trace;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// The tokens of a page, by its kind: kinds differ in one token each, so that two of them agree up to the first of these.
fn tokens(kind: u8) -> [u32; PAGE_LEN] {
    let mut page = [7; PAGE_LEN];
    page[usize::from(kind) * 9 % PAGE_LEN] = 100 + u32::from(kind);
    page
}

/// All pages from the root to a node.
type Path = (u64, Vec<u8>);

#[derive(Debug, Clone)]
enum Op {
    /// A sequence comes, looks up, holds, announces.
    Open {
        slot: usize,
        salt: u64,
        tenant: u32,
        kinds: Vec<u8>,
        scored: bool,
    },
    /// It computes its next page; beyond its last one it takes a page and keeps it to itself.
    Compute {
        slot: usize,
    },
    Close {
        slot: usize,
    },
    Clear,
}

fn op() -> impl Strategy<Value = Op> {
    let slot = 0..4usize;
    let open =
        (slot.clone(), 0..2u64, 0..3u32, prop::collection::vec(0..3u8, 0..5), prop::bool::weighted(0.2));
    prop_oneof![
        3 => open.prop_map(|(slot, salt, tenant, kinds, scored)| Op::Open { slot, salt, tenant, kinds, scored }),
        8 => slot.clone().prop_map(|slot| Op::Compute { slot }),
        2 => slot.prop_map(|slot| Op::Close { slot }),
        1 => Just(Op::Clear),
    ]
}

struct Sequence {
    id: SeqId,
    salt: u64,
    tenant: u32,
    kinds: Vec<u8>,
    path: Vec<NodeId>,
    tables: [Table; 1],
}

impl Sequence {
    fn tokens(&self) -> Vec<u32> {
        self.kinds.iter().flat_map(|&kind| tokens(kind)).chain([9]).collect()
    }

    fn to(&self, n: usize) -> Path {
        (self.salt, self.kinds[..n].to_vec())
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Node {
    Pending(SeqId),
    Ready { tenant: u32, n_holders: usize, last_used: u64 },
}

/// What the cache should hold.
#[derive(Default)]
struct Model {
    nodes: BTreeMap<Path, Node>,
    n_releases: u64,
}

impl Model {
    fn children(&self, path: &Path) -> impl Iterator<Item = u8> {
        let below = |other: &&Path| other.0 == path.0 && other.1.len() == path.1.len() + 1;
        let kinds = self.nodes.keys().filter(below).filter(|other| other.1.starts_with(&path.1));
        kinds.map(|other| other.1[path.1.len()]).collect::<Vec<_>>().into_iter()
    }

    fn find(&self, salt: u64, kinds: &[u8]) -> (usize, Stop) {
        for n in 0..kinds.len() {
            match self.nodes.get(&(salt, kinds[..=n].to_vec())) {
                Some(Node::Ready { .. }) => {}
                Some(Node::Pending(owner)) => return (n, Stop::Pending(*owner)),
                None => {
                    let page = tokens(kinds[n]);
                    let same = |kind| tokens(kind).iter().zip(&page).take_while(|(a, b)| a == b).count();
                    return match self.children(&(salt, kinds[..n].to_vec())).map(same).max() {
                        Some(n_same) => (n, Stop::DiffersAt(n * PAGE_LEN + n_same)),
                        None if n == 0 => (n, Stop::Empty),
                        None => (n, Stop::NothingFollows),
                    };
                }
            }
        }
        (kinds.len(), Stop::Whole)
    }

    /// The leaf that goes first.
    fn victim(&self, n_pages: usize) -> Option<Path> {
        let mut sums = BTreeMap::<u32, usize>::new();
        for node in self.nodes.values() {
            if let Node::Ready { tenant, .. } = node {
                *sums.entry(*tenant).or_default() += 1;
            }
        }
        let share = n_pages / sums.len().max(1);
        let evictable = self.nodes.iter().filter_map(|(path, node)| match *node {
            Node::Ready { tenant, n_holders: 0, last_used } if self.owners_below(path).is_some() => {
                Some((sums[&tenant].saturating_sub(share), std::cmp::Reverse(last_used), path))
            }
            _ => None,
        });
        evictable.max().map(|(.., path)| path.clone())
    }

    /// Who computes the pages after this one; `None` if there is a page after it.
    fn owners_below(&self, path: &Path) -> Option<Vec<SeqId>> {
        let below = self
            .nodes
            .iter()
            .filter(|(p, _)| p.0 == path.0 && p.1.len() == path.1.len() + 1 && p.1.starts_with(&path.1));
        below
            .map(|(_, node)| match node {
                Node::Pending(owner) => Some(*owner),
                Node::Ready { .. } => None,
            })
            .collect()
    }

    /// Its page goes. If somebody announced what comes after it, they compute this page too.
    fn evict(&mut self, path: &Path) {
        match self.owners_below(path).expect("a leaf").first() {
            Some(&owner) => self.nodes.insert(path.clone(), Node::Pending(owner)),
            None => self.nodes.remove(path),
        };
    }

    fn hold(&mut self, path: &Path) {
        let Some(Node::Ready { n_holders, .. }) = self.nodes.get_mut(path) else {
            panic!("{path:?} is not ready")
        };
        *n_holders += 1;
    }

    fn release(&mut self, path: &Path) {
        let Some(Node::Ready { n_holders, last_used, .. }) = self.nodes.get_mut(path) else {
            panic!("{path:?}")
        };
        *n_holders -= 1;
        if *n_holders == 0 {
            self.n_releases += 1;
            *last_used = self.n_releases;
        }
    }
}

struct World {
    cache: KvCache,
    model: Model,
    slots: [Option<Sequence>; 4],
    n_sequences: u64,
    n_evicted: u64,
    /// What was written into every page.
    contents: Vec<Option<Path>>,
}

impl World {
    fn new(n_pages: usize) -> World {
        World {
            cache: one_group(n_pages),
            model: Model::default(),
            slots: Default::default(),
            n_sequences: 0,
            n_evicted: 0,
            contents: vec![None; n_pages],
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Open { slot, salt, tenant, kinds, scored } if self.slots[slot].is_none() => {
                self.open(slot, salt, tenant, kinds, scored);
            }
            Op::Open { .. } => {}
            Op::Compute { slot } => self.compute(slot),
            Op::Close { slot } => self.close(slot),
            Op::Clear => {
                let n = self.cache.clear();
                let mut expected = 0;
                while let Some(victim) = self.model.victim(self.contents.len()) {
                    self.model.evict(&victim);
                    expected += 1;
                }
                assert_eq!(n, expected, "everything goes that nobody holds");
            }
        }
        self.check();
    }

    fn open(&mut self, slot: usize, salt: u64, tenant: u32, kinds: Vec<u8>, scored: bool) {
        self.n_sequences += 1;
        let id = SeqId(self.n_sequences);
        let mut new = Sequence { id, salt, tenant, kinds, path: Vec::new(), tables: Default::default() };
        let all = new.tokens();
        let limit = if scored { 0 } else { all.len() - 1 };
        let found = self.cache.find(salt, &all, limit);
        let (n, stop) = self.model.find(salt, &new.kinds[..limit / PAGE_LEN]);
        assert_eq!((found.path.len(), found.stop), (n, stop), "{:?} under salt {salt}", new.kinds);
        new.path = found.path;
        let unheld =
            (1..=n).filter(|&n| matches!(self.model.nodes[&new.to(n)], Node::Ready { n_holders: 0, .. }));
        assert_eq!(self.cache.n_needed(0, &new.path), (n, unheld.count()));
        self.cache.hold(&new.path, &mut new.tables);
        for n in 1..=n {
            self.model.hold(&new.to(n));
            let content = &self.contents[new.tables[0].pages[n - 1].0 as usize];
            assert_eq!(*content, Some(new.to(n)), "a page that is found holds these tokens");
        }
        self.cache.announce(salt, &new.path, &all, id);
        for n in n + 1..=new.kinds.len() {
            if self.model.nodes.contains_key(&new.to(n)) {
                break;
            }
            self.model.nodes.insert(new.to(n), Node::Pending(id));
        }
        self.slots[slot] = Some(new);
    }

    fn compute(&mut self, slot: usize) {
        let Some(sequence) = &mut self.slots[slot] else { return };
        let had_free = self.cache.page_counts(0).free > 0;
        let victim = self.model.victim(self.contents.len());
        let Some(page) = self.cache.take(0) else {
            assert!(!had_free && victim.is_none(), "there was a page");
            return;
        };
        if !had_free {
            self.model.evict(&victim.expect("a page came from somewhere"));
            self.n_evicted += 1;
        }
        let n = sequence.tables[0].pages.len();
        sequence.tables[0].pages.push(page);
        if n >= sequence.kinds.len() {
            self.contents[page.0 as usize] = None;
            return;
        }
        let path = sequence.to(n + 1);
        self.contents[page.0 as usize] = Some(path.clone());
        let owner = (sequence.salt, sequence.tenant);
        let kind = sequence.kinds[n];
        self.cache.complete(owner, &mut sequence.path, &tokens(kind), &mut sequence.tables);
        let kept = sequence.tables[0].pages[n];
        match self.model.nodes.get(&path) {
            Some(Node::Ready { .. }) => {
                assert_ne!(kept, page, "what is there already is used");
                assert_eq!(self.contents[kept.0 as usize].as_ref(), Some(&path));
                self.model.hold(&path);
            }
            _ => {
                assert_eq!(kept, page);
                let tenant = sequence.tenant;
                self.model.nodes.insert(path, Node::Ready { tenant, n_holders: 1, last_used: 0 });
            }
        }
    }

    fn close(&mut self, slot: usize) {
        let Some(mut old) = self.slots[slot].take() else { return };
        self.cache.withdraw(old.salt, &old.path, &old.tokens(), old.id);
        self.cache.release(&old.path, &mut old.tables);
        self.model.nodes.retain(|_, node| *node != Node::Pending(old.id));
        (1..=old.path.len()).rev().for_each(|n| self.model.release(&old.to(n)));
    }

    fn check(&self) {
        let sequences = || self.slots.iter().flatten();
        self.cache.check(sequences().map(|s| s.tables.as_slice()));
        let ready = |held: bool| {
            let nodes = self.model.nodes.values();
            nodes.filter(|n| matches!(n, Node::Ready { n_holders, .. } if (*n_holders > 0) == held)).count()
        };
        let n_own: usize = sequences().map(|s| s.tables[0].pages.len() - s.path.len()).sum();
        let (cached, held) = (ready(false), ready(true) + n_own);
        let free = self.contents.len() - cached - held;
        assert_eq!(self.cache.page_counts(0), PageCounts { free, cached, held });
        assert_eq!(self.cache.n_available(0), free + cached);
        assert_eq!(self.cache.n_nodes(), ready(false) + ready(true));
        assert_eq!(self.cache.counts().evicted_pages, self.n_evicted);
        for (salt, kinds) in self.model.nodes.keys() {
            let all: Vec<u32> = kinds.iter().flat_map(|&kind| tokens(kind)).collect();
            let found = self.cache.find(*salt, &all, all.len());
            assert_eq!((found.path.len(), found.stop), self.model.find(*salt, kinds));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn the_cache_is_a_map_from_paths_to_pages(n_pages in 1..14usize, ops in prop::collection::vec(op(), 1..80)) {
        let mut world = World::new(n_pages);
        ops.into_iter().for_each(|op| world.apply(op));
        // Everybody leaves, and nothing is left behind.
        (0..world.slots.len()).for_each(|slot| world.close(slot));
        world.apply(Op::Clear);
        prop_assert!(world.model.nodes.is_empty());
        prop_assert_eq!(world.cache.page_counts(0).free, n_pages);
    }
}

fn one_group(n_pages: usize) -> KvCache {
    KvCache::new([(Kind::Pages { window: None }, n_pages)])
}

/// A sequence computes all full pages of `tokens` that are not cached, and stays.
fn compute(cache: &mut KvCache, salt: u64, tenant: u32, tokens: &[u32]) -> (Vec<NodeId>, Vec<Table>) {
    let found = cache.find(salt, tokens, tokens.len());
    let (mut path, mut tables) = (found.path, vec![Table::default(); cache.n_groups()]);
    cache.hold(&path, &mut tables);
    let full = tokens.as_chunks::<PAGE_LEN>().0;
    for (i, page) in full.iter().enumerate().skip(path.len()) {
        for (group, table) in tables.iter_mut().enumerate() {
            table.pages.push(cache.take(group).expect("a page is free or can be evicted"));
        }
        cache.complete((salt, tenant), &mut path, page, &mut tables);
        for (group, table) in tables.iter_mut().enumerate() {
            let first = cache.kind(group).first_held((i + 1) * PAGE_LEN);
            cache.release_before(first, group, &path, table, |_| Worth::Passed);
        }
    }
    cache.check([tables.as_slice()].into_iter());
    (path, tables)
}

/// A sequence comes and goes.
fn visit(cache: &mut KvCache, salt: u64, tenant: u32, tokens: &[u32]) {
    let (path, mut tables) = compute(cache, salt, tenant, tokens);
    cache.release(&path, &mut tables);
}

fn is_cached(cache: &KvCache, page: &[u32; PAGE_LEN]) -> bool {
    cache.find(0, page, PAGE_LEN).stop == Stop::Whole
}

#[test]
fn the_longest_unused_page_goes_first() {
    let mut cache = one_group(2);
    visit(&mut cache, 0, 0, &[1; PAGE_LEN]);
    visit(&mut cache, 0, 0, &[2; PAGE_LEN]);
    // The first is used again.
    visit(&mut cache, 0, 0, &[1; PAGE_LEN]);
    visit(&mut cache, 0, 0, &[3; PAGE_LEN]);
    assert!(is_cached(&cache, &[1; PAGE_LEN]) && !is_cached(&cache, &[2; PAGE_LEN]));
}

#[test]
fn a_tenant_above_its_share_loses_its_own_pages() {
    let mut cache = one_group(4);
    visit(&mut cache, 0, 1, &[1; PAGE_LEN]);
    (2..5).for_each(|i| visit(&mut cache, 0, 2, &[i; PAGE_LEN]));
    visit(&mut cache, 0, 2, &[5; PAGE_LEN]);
    assert!(is_cached(&cache, &[1; PAGE_LEN]), "the first tenant's page is the oldest, and stays");
    assert!(!is_cached(&cache, &[2; PAGE_LEN]));
}

#[test]
fn a_miss_names_the_first_token_that_differs() {
    let mut cache = one_group(4);
    visit(&mut cache, 0, 0, &[1; PAGE_LEN]);
    let mut prompt = [1; PAGE_LEN];
    prompt[17] = 2;
    assert_eq!(cache.find(0, &prompt, PAGE_LEN).stop, Stop::DiffersAt(17));
    assert_eq!(cache.find(0, &[1; 2 * PAGE_LEN], 2 * PAGE_LEN).stop, Stop::NothingFollows);
    assert_eq!(cache.find(5, &prompt, PAGE_LEN).stop, Stop::Empty, "other salts see nothing");
    assert_eq!(cache.find(0, &prompt, PAGE_LEN - 1).stop, Stop::Whole, "no page could have been used");
}

/// `n` pages of tokens that begin like no others but those of the same seed.
fn text(seed: u32, n: usize) -> Vec<u32> {
    (0..(n * PAGE_LEN) as u32).map(|i| 1000 * seed + i / PAGE_LEN as u32).collect()
}

/// A group without a window, and one where a row sees a page and itself: a match needs its last page.
fn two_groups(n_pages: [usize; 2]) -> KvCache {
    let kinds = [None, Some(PAGE_LEN + 1)].map(|window| Kind::Pages { window });
    KvCache::new(kinds.into_iter().zip(n_pages))
}

fn found(cache: &KvCache, tokens: &[u32]) -> (usize, Stop) {
    let found = cache.find(0, tokens, tokens.len());
    (found.path.len(), found.stop)
}

#[test]
fn a_match_ends_where_all_groups_can_resume() {
    let mut cache = two_groups([20, 3]);
    visit(&mut cache, 0, 0, &text(1, 8));
    // The window's pages are the last ones: three of eight.
    assert_eq!(cache.page_counts(0), PageCounts { free: 12, cached: 8, held: 0 });
    assert_eq!(cache.page_counts(1), PageCounts { free: 0, cached: 3, held: 0 });
    assert_eq!(found(&cache, &text(1, 8)), (8, Stop::Whole));
    assert_eq!(found(&cache, &text(1, 9)), (8, Stop::NothingFollows));
    assert_eq!(found(&cache, &text(1, 6)), (6, Stop::Whole));
    assert_eq!(found(&cache, &text(1, 5)), (0, Stop::WindowEvicted), "page 4 of the window is gone");
    // Who resumes there computes again what is missing, and keeps the pages that are there.
    let (path, mut tables) = compute(&mut cache, 0, 0, &text(1, 5));
    assert_eq!((path.len(), cache.page_counts(0).held, cache.page_counts(1).held), (5, 5, 1));
    assert_eq!(found(&cache, &text(1, 5)), (5, Stop::Whole));
    cache.release(&path, &mut tables);
}

#[test]
fn pages_that_a_sequence_went_past_go_before_the_ends_of_others() {
    let mut cache = two_groups([100, 6]);
    for seed in 1..4 {
        visit(&mut cache, 0, 0, &text(seed, 2));
    }
    // It needs two pages at once, and goes past 38.
    visit(&mut cache, 0, 0, &text(9, 40));
    assert_eq!(found(&cache, &text(9, 40)), (40, Stop::Whole));
    for seed in 1..4 {
        assert_eq!(found(&cache, &text(seed, 2)), (2, Stop::Whole), "the end of {seed} stays");
    }
}

#[test]
fn pages_where_prompts_part_stay_once_two_have_resumed_there() {
    let mut cache = two_groups([100, 6]);
    let continued = |seed: u32| [text(1, 2), text(seed, 3)].concat();
    (2..5).for_each(|seed| visit(&mut cache, 0, 0, &continued(seed)));
    // One that has nothing in common goes past many.
    visit(&mut cache, 0, 0, &text(9, 40));
    assert_eq!(found(&cache, &continued(6)).0, 2);
}

#[test]
fn without_the_page_of_a_group_that_keeps_all_a_node_has_no_page() {
    let mut cache = two_groups([4, 4]);
    visit(&mut cache, 0, 0, &text(1, 4));
    visit(&mut cache, 0, 0, &text(2, 1));
    assert_eq!(found(&cache, &text(1, 4)), (3, Stop::NothingFollows));
    assert_eq!(cache.page_counts(1), PageCounts { free: 0, cached: 4, held: 0 });
    assert_eq!(cache.clear(), 8);
    assert_eq!(cache.n_nodes(), 0);
}

#[test]
fn with_windows_only_a_path_stays_as_long_as_its_end_does() {
    let mut cache = KvCache::new([(Kind::Pages { window: Some(40) }, 4)]);
    visit(&mut cache, 0, 0, &text(1, 9));
    assert_eq!(found(&cache, &text(1, 9)), (9, Stop::Whole));
    assert_eq!(found(&cache, &text(1, 4)), (0, Stop::WindowEvicted));
    visit(&mut cache, 0, 0, &text(2, 4));
    assert_eq!(found(&cache, &text(2, 4)), (4, Stop::Whole));
    assert_eq!(found(&cache, &text(1, 9)).0, 0);
    cache.clear();
    assert_eq!((cache.n_nodes(), found(&cache, &text(1, 9))), (0, (0, Stop::Empty)));
}

#[test]
fn who_computes_what_was_evicted_announces_it() {
    let mut cache = two_groups([20, 3]);
    visit(&mut cache, 0, 0, &text(1, 8));
    let path = cache.find(0, &text(1, 5), 5 * PAGE_LEN).path;
    cache.announce(0, &path, &text(1, 5), SeqId(7));
    assert_eq!(found(&cache, &text(1, 5)), (0, Stop::Pending(SeqId(7))));
    assert_eq!(found(&cache, &text(1, 8)), (8, Stop::Whole), "others can resume later");
    cache.withdraw(0, &path, &text(1, 5), SeqId(7));
    assert_eq!(found(&cache, &text(1, 5)), (0, Stop::WindowEvicted));
}
