//! The prefix cache: which full pages hold which tokens. A radix tree whose edges are pages of 32 tokens.
//!
//! ```text
//! (salt 7) ── page of 32 tokens ──┬── page of 32 tokens ── …
//!                                 └── page of 32 tokens, being computed by a sequence
//! ```
//!
//! A page's keys and values depend on all tokens before it, so a node means the whole path to it. A node has a page in
//! every cache group that still keeps one for it, and a match ends where all groups can resume: where no window is, all
//! pages up to there are needed, with a window those that the next row sees.
//!
//! Sequences hold the pages of their path, with a window only the last ones. Pages without a holder are evicted, per group:
//!
//! * Without a window leaf by leaf, the longest unused first. A node's pages in the other groups go with it.
//! * With a window any page may go, and of most nothing is lost: a page serves prompts that resume within a window after
//!   it. Conversations resume where a sequence ended, or at the end of its prompt where it is asked again; prompts with a
//!   common start resume where they part. So the pages that it takes to resume there are the last to go, the longest
//!   unused first, and those that a sequence merely went past go before any of them.
//! * States of recurrent layers are there where somebody is likely to resume, and nowhere else: a match ends at the nearest one
//!   at or before. There are at most `max_snapshots` of them, held or not. A state that a sequence went past goes at once
//!   unless prompts resume there; where they did, or where they part, it outlives as many later ones as there may be.

mod away;
mod paste;
mod tree;

use std::ops::Range;

use inferno_model::batch::PAGE_LEN;
use inferno_model::batch::PageId;

use crate::group::Kind;
use crate::pages::{PageCounts, Pages, Table};
use crate::request::SeqId;
pub(crate) use away::Move;
pub(crate) use paste::Pasted;
#[cfg(test)]
pub(crate) use tree::slots_for_tests;
pub(crate) use tree::{CopiedNode, CopiedPage, NodeId, Place, Room, Slot, Worth};
use tree::{Fate, Tree};

/// All pages of all cache groups, and the tree over the full ones.
#[derive(Debug)]
pub(crate) struct KvCache {
    groups: Vec<Group>,
    tree: Tree,
    counts: CacheCounts,
    /// States of each group in the tree, at most.
    max_snapshots: usize,
    /// Pages to copy before the next step, in order.
    moves: Vec<Move>,
    /// Times that pages came from disk, or were lost.
    n_arrived: u64,
}

#[derive(Debug)]
struct Group {
    kind: Kind,
    pages: Pages,
}

/// What the cache has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// Prompt tokens that were looked up.
    pub looked_up_tokens: u64,
    /// Prompt tokens that were found.
    pub hit_tokens: u64,
    /// Pages that made room for others.
    pub evicted_pages: u64,
    /// Of them, pages that are kept outside the pool.
    pub pages_out: u64,
    /// Pages that came back into the pool.
    pub pages_back: u64,
    /// Bytes of the pages outside the pool now, in memory.
    pub away_bytes: u64,
    /// Bytes of those on disk.
    pub disk_bytes: u64,
}

/// A longest prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Match {
    /// Its nodes, the root not among them.
    pub(crate) path: Vec<NodeId>,
    pub(crate) stop: Stop,
    /// Pages of the prompt that sequences have computed, whether or not it can resume after them: beyond them the prompt
    /// parts from others.
    pub(crate) n_known: usize,
}

/// Why a lookup ended where it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Every page that could be used was there. The last token is always computed, so its page never is.
    Whole,
    /// Nothing is cached under this salt.
    Empty,
    /// Nothing follows what was found.
    NothingFollows,
    /// Of what follows, the nearest differs first at this token of the prompt.
    DiffersAt(usize),
    /// The next page is being computed by another sequence.
    Pending(SeqId),
    /// More of the prompt is cached, but pages that layers with a window need to resume there were evicted.
    WindowEvicted,
    /// More of the prompt is cached, but recurrent layers have no snapshot of their state further on.
    NoSnapshot,
}

impl KvCache {
    /// `groups`: for every cache group what it keeps, and its number of pages.
    pub(crate) fn new(groups: impl IntoIterator<Item = (Kind, usize)>) -> KvCache {
        let group = |(kind, n_pages)| Group { kind, pages: Pages::new(n_pages) };
        let groups: Vec<Group> = groups.into_iter().map(group).collect();
        let tree = Tree::new(groups.iter().map(|group| group.kind));
        let (counts, moves) = Default::default();
        KvCache { groups, tree, counts, max_snapshots: usize::MAX, moves, n_arrived: 0 }
    }

    /// Keeps up to `n` snapshots of the states of recurrent layers.
    pub(crate) fn with_max_snapshots(self, n: usize) -> KvCache {
        KvCache { max_snapshots: n, ..self }
    }

    pub(crate) fn n_groups(&self) -> usize {
        self.groups.len()
    }

    pub(crate) fn kind(&self, group: usize) -> Kind {
        self.groups[group].kind
    }

    /// Pages of a group.
    pub(crate) fn n_pages(&self, group: usize) -> usize {
        self.groups[group].pages.len()
    }

    pub(crate) fn page_counts(&self, group: usize) -> PageCounts {
        self.groups[group].pages.counts()
    }

    pub(crate) fn counts(&self) -> CacheCounts {
        let [away_bytes, disk_bytes] = self.tree.away().n_bytes();
        CacheCounts { away_bytes, disk_bytes, ..self.counts }
    }

    /// Pages of a group that could be had now.
    pub(crate) fn n_available(&self, group: usize) -> usize {
        let counts = self.page_counts(group);
        counts.free + counts.cached
    }

    /// A page of a group for one holder; the cached one that goes first makes room if none is free.
    pub(crate) fn take(&mut self, group: usize) -> Option<PageId> {
        if self.page_counts(group).free == 0 {
            let n = self.evict(group, Fate::Kept)?;
            self.counts.evicted_pages += n as u64;
        }
        self.groups[group].pages.take()
    }

    /// Makes room in the tree for a snapshot more of a group of states, of those without a holder; false if there is none.
    pub(crate) fn make_room(&mut self, group: usize) -> bool {
        if self.tree.n_pages(group) < self.max_snapshots {
            return true;
        }
        let Some(n) = self.evict(group, Fate::Kept) else { return false };
        self.counts.evicted_pages += n as u64;
        true
    }

    /// Makes room in a group; returns how many pages of all groups went. `None` if every page has a holder.
    fn evict(&mut self, group: usize, fate: Fate) -> Option<usize> {
        let KvCache { groups, tree, moves, counts, .. } = self;
        let (n_pages, mut n) = (groups[group].pages.len(), 0);
        let went = tree.evict(group, n_pages, fate, |group, page, slot| {
            groups[group].pages.leave_cache(page);
            n += 1;
            if let Some(slot) = slot {
                moves.push(Move::Out { group, page, slot });
                counts.pages_out += 1;
            }
        });
        self.settle_away();
        went.then_some(n)
    }

    /// The longest prefix of `tokens` in whole pages, and of at most `limit` tokens, at which all groups can resume.
    pub(crate) fn find(&self, salt: u64, tokens: &[u32], limit: usize) -> Match {
        if !self.tree.away().is_empty() {
            let found = self.tree.find(salt, tokens, limit, true);
            if self.can_bring(&found.path) {
                return found;
            }
            // As much of it as comes at once.
            let n = self.n_in_transit(&found.path);
            let part = self.tree.find(salt, tokens, n * PAGE_LEN, true);
            let without = self.tree.find(salt, tokens, limit, false);
            if part.path.len() > without.path.len() && self.can_bring(&part.path) {
                let stop = if part.stop == Stop::Whole { Stop::NothingFollows } else { part.stop };
                return Match { path: part.path, stop, n_known: found.n_known };
            }
            return without;
        }
        self.tree.find(salt, tokens, limit, false)
    }

    /// Nodes of a path whose pages in a group it takes to resume at its end.
    fn needed(&self, group: usize, path: &[NodeId]) -> Range<usize> {
        self.groups[group].kind.first_page(path.len() * PAGE_LEN)..path.len()
    }

    /// Pages of a path in the pool, of those needed to resume at its end, and of these the ones without a holder: holding those
    /// makes them unavailable.
    pub(crate) fn n_needed(&self, group: usize, path: &[NodeId]) -> (usize, usize) {
        let nodes = path[self.needed(group, path)].iter();
        nodes.filter_map(|&node| self.tree.page(node, group)).fold((0, 0), |(n, n_unheld), page| {
            (n + 1, n_unheld + usize::from(!self.groups[group].pages.is_held(page)))
        })
    }

    /// Counts a lookup whose result is used.
    pub(crate) fn count(&mut self, n_looked_up: usize, n_hit: usize) {
        self.counts.looked_up_tokens += n_looked_up as u64;
        self.counts.hit_tokens += n_hit as u64;
    }

    /// Holds the pages that it takes to resume at the end of a path, in every group. Those outside the pool come back: there is
    /// room for them.
    pub(crate) fn hold(&mut self, path: &[NodeId], tables: &mut [Table]) {
        self.bring(path);
        for (group, table) in tables.iter_mut().enumerate() {
            let needed = self.needed(group, path);
            table.first_page = needed.start;
            table.pages.clear();
            for &node in &path[needed] {
                let page = self.tree.page(node, group).expect("a path that was found has pages");
                self.hold_page(node, group, page);
                table.pages.push(page);
            }
        }
        let windowed = (0..self.groups.len()).filter(|&group| !self.kind(group).keeps_all());
        if let Some(first) = windowed.map(|group| self.needed(group, path).start).min() {
            path[first..].iter().for_each(|&node| self.tree.resumed(node));
        }
        if let Some(&last) = path.last() {
            self.tree.arrive(last);
        }
    }

    fn hold_page(&mut self, node: NodeId, group: usize, page: PageId) {
        if self.groups[group].pages.hold(page) {
            self.tree.pin(node, group);
        }
    }

    /// Announces that `owner` computes the pages of `tokens` that follow `path`: others with the same prompt wait.
    pub(crate) fn announce(&mut self, salt: u64, path: &[NodeId], tokens: &[u32], owner: SeqId) {
        let mut last = path.last().copied();
        for page in tokens.as_chunks::<PAGE_LEN>().0.iter().skip(path.len()) {
            let node = last.unwrap_or_else(|| self.tree.root(salt));
            let next = match self.tree.child(node, page) {
                // Somebody else's: what follows it is theirs to announce.
                Some(child) if self.tree.owner(child).is_some() || self.tree.is_whole(child) => return,
                // Some of its pages were evicted.
                Some(child) => {
                    self.tree.set_owner(child, Some(owner));
                    child
                }
                None => self.tree.insert(node, page, Some(owner)),
            };
            last = Some(next);
        }
    }

    /// Takes back what `owner` announced and has not computed: the children of `path` with these tokens.
    pub(crate) fn withdraw(&mut self, salt: u64, path: &[NodeId], tokens: &[u32], owner: SeqId) {
        let Some(mut node) = path.last().copied().or_else(|| self.tree.existing_root(salt)) else { return };
        let mut pending = Vec::new();
        for page in tokens.as_chunks::<PAGE_LEN>().0.iter().skip(path.len()) {
            let Some(child) = self.tree.child(node, page) else { break };
            if self.tree.owner(child) == Some(owner) {
                pending.push(child);
            }
            node = child;
        }
        for node in pending.into_iter().rev() {
            self.tree.set_owner(node, None);
        }
    }

    /// Puts the pages that were computed into the tree after `path`, those of all `tables`, and makes their node a part of
    /// the path. Where the tree has a page with these tokens already, the sequence holds the tree's page (it has
    /// the same bits) and its own is released. Of states the tables have those to keep.
    pub(crate) fn complete(
        &mut self,
        (salt, tenant): (u64, u32),
        path: &mut Vec<NodeId>,
        tokens: &[u32; PAGE_LEN],
        tables: &mut [Table],
    ) {
        let parent = path.last().copied().unwrap_or_else(|| self.tree.root(salt));
        let node = match self.tree.child(parent, tokens) {
            Some(node) => node,
            None => self.tree.insert(parent, tokens, None),
        };
        // Before its pages: some may be there, and a state's may make room.
        self.tree.arrive(node);
        let mut was_known = false;
        for (group, table) in tables.iter_mut().enumerate() {
            was_known |= self.enter(tenant, node, (group, path.len()), table);
        }
        if was_known {
            self.tree.resumed(node);
        }
        self.tree.completed(node);
        if let Some(&parent) = path.last() {
            self.tree.depart(parent);
        }
        path.push(node);
    }

    /// Puts page number `number` of a table into the tree, if the table has it and there is room for a snapshot; whether the
    /// tree had one, which the table has now.
    pub(crate) fn enter(
        &mut self,
        tenant: u32,
        node: NodeId,
        (group, number): (usize, usize),
        table: &mut Table,
    ) -> bool {
        let is_states = self.kind(group).is_states();
        if is_states && !table.has(number) {
            return false;
        }
        let page = &mut table.pages[number - table.first_page];
        match self.tree.page(node, group) {
            Some(other) if other == *page => false,
            Some(other) => {
                self.hold_page(node, group, other);
                self.groups[group].pages.release(*page);
                *page = other;
                true
            }
            None => {
                if !is_states || self.make_room(group) {
                    self.groups[group].pages.enter_cache(*page);
                    self.tree.set_page(node, group, *page, tenant);
                    self.forget(node, group);
                }
                false
            }
        }
    }

    /// Releases a sequence's pages of a group before page `first`, each worth what `worth` says of its number.
    pub(crate) fn release_before(
        &mut self,
        first: usize,
        group: usize,
        path: &[NodeId],
        table: &mut Table,
        worth: impl Fn(usize) -> Worth,
    ) {
        let n = first.saturating_sub(table.first_page).min(table.pages.len());
        for (number, page) in (table.first_page..).zip(table.pages.drain(..n)) {
            self.release_page(group, path.get(number), page, worth(number));
        }
        table.first_page += n;
    }

    /// Releases all of a sequence's pages; the nodes of `path` have the first of them.
    pub(crate) fn release(&mut self, path: &[NodeId], tables: &mut [Table]) {
        for (group, table) in tables.iter_mut().enumerate() {
            for page in table.live.take().into_iter().chain(table.spare.take()) {
                self.groups[group].pages.release(page);
            }
            for (i, page) in table.pages.drain(..).enumerate().rev() {
                self.release_page(group, path.get(table.first_page + i), page, Worth::Resume);
            }
            table.first_page = 0;
        }
        if let Some(&last) = path.last() {
            self.tree.depart(last);
        }
    }

    /// One holder less of a page, which is `node`'s if it is in the tree.
    fn release_page(&mut self, group: usize, node: Option<&NodeId>, page: PageId, worth: Worth) {
        let Group { kind, pages } = &mut self.groups[group];
        let is_last = pages.release(page);
        // A state for which there was no room is not in the tree.
        let Some(&node) = node.filter(|&&node| is_last && self.tree.page(node, group) == Some(page)) else {
            return;
        };
        let worth = self.tree.worth(node, *kind, worth);
        if worth == Worth::Nothing {
            self.tree.remove(node, group);
            self.groups[group].pages.leave_cache(page);
        } else {
            self.tree.unpin(node, group, worth);
        }
    }

    /// Gives a page back that was taken and never entered the tree.
    pub(crate) fn give_back(&mut self, group: usize, page: PageId) {
        self.groups[group].pages.release(page);
    }

    /// Evicts all pages without a holder, and forgets those outside the pool; returns how many the pool had.
    pub(crate) fn clear(&mut self) -> usize {
        let mut n = 0;
        for group in 0..self.groups.len() {
            while let Some(more) = self.evict(group, Fate::Dropped) {
                n += more;
            }
        }
        // A sequence that waits for some of them looks again.
        self.n_arrived += 1;
        while let Some(slot) = self.tree.pop_away() {
            self.moves.push(Move::Forget(slot));
        }
        n
    }

    /// Nodes of the tree with a page.
    pub(crate) fn n_nodes(&self) -> usize {
        self.tree.n_nodes()
    }

    /// Panics unless pages and tree agree, and `tables` are all there is of holders.
    #[cfg(test)]
    pub(crate) fn check<'a>(&self, tables: impl Iterator<Item = &'a [Table]>) {
        let empty = |group: &Group| vec![0; group.pages.len()];
        let mut holders: Vec<Vec<u32>> = self.groups.iter().map(empty).collect();
        for tables in tables {
            for (table, holders) in tables.iter().zip(&mut holders) {
                table.held().for_each(|page| holders[page.0 as usize] += 1);
            }
        }
        for (i, group) in self.groups.iter().enumerate() {
            assert_eq!(holders[i], group.pages.holders(), "reference counts are holders");
            let counts = group.pages.counts();
            assert_eq!(counts.total(), group.pages.len());
            let in_tree = self.tree.pages(i);
            assert!(!group.kind.is_states() || in_tree.len() <= self.max_snapshots);
            let n_unheld = in_tree.iter().filter(|page| !group.pages.is_held(**page)).count();
            assert_eq!(n_unheld, counts.cached, "cached pages are in the tree and have no holder");
        }
        self.tree.check(|group, page| self.groups[group].pages.is_held(page));
    }

    /// Free pages of a group.
    #[cfg(test)]
    pub(crate) fn free_pages(&self, group: usize) -> &[PageId] {
        self.groups[group].pages.free_pages()
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
