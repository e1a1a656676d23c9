//! Pages that leave the pool when they are evicted, and come back when a prompt asks for them.
//!
//! ```text
//! evicted   page 7 of the pool ── Out ──▶ slot 12           before anything is written to page 7
//! asked     page 3 of the pool ◀── Back ── slot 12          before the first step that reads page 3
//! ```
//!
//! The node of a page stays in the tree meanwhile. Who calls does the moves in order, before a step writes.

use inferno_model::batch::PageId;

use super::tree::{Step, Tier};
use super::{KvCache, NodeId, Room, Slot, Worth};

/// A copy to make between two steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    /// A page of the pool to a slot that has none.
    Out {
        /// Its cache group.
        group: usize,
        /// Where it is.
        page: PageId,
        /// Where it goes.
        slot: Slot,
    },
    /// A slot's page to a page of the pool; the slot is empty then.
    Back {
        /// Its cache group.
        group: usize,
        /// Where it goes.
        page: PageId,
        /// Where it is.
        slot: Slot,
    },
    /// A slot's page goes from memory to disk.
    Spill(Slot),
    /// A slot's page is asked for and is on disk.
    Fetch(Slot),
    /// Nothing asks for a slot's page any more.
    Forget(Slot),
}

impl KvCache {
    /// Keeps pages that are evicted outside the pool.
    pub(crate) fn keep_away(&mut self, room: Room) {
        self.tree.keep_away(room);
    }

    /// Makes room outside the pool.
    pub(super) fn settle_away(&mut self) {
        while let Some(step) = self.tree.settle_away() {
            self.moves.push(match step {
                Step::Spill(slot) => Move::Spill(slot),
                Step::Forget(_, slot) => Move::Forget(slot),
            });
        }
    }

    /// Asks for the pages of a path that are on disk; whether some of those that it takes to resume at its end are on their way.
    pub(crate) fn fetch(&mut self, path: &[NodeId]) -> bool {
        let away = self.tree.away();
        if away.has_no_disk() {
            return false;
        }
        let (mut is_coming, mut on_disk) = (false, Vec::new());
        for group in 0..self.groups.len() {
            for &node in &path[self.needed(group, path)] {
                match away.tier(node, group) {
                    Some(Tier::Disk) => on_disk.push((node, group)),
                    Some(Tier::Coming) => is_coming = true,
                    Some(Tier::Memory | Tier::Here) | None => {}
                }
            }
        }
        let n_bytes: u64 = on_disk.iter().map(|&(_, group)| away.page_bytes(group)).sum();
        let has_turn = away.may_come(n_bytes);
        is_coming |= !on_disk.is_empty();
        for (node, group) in on_disk.into_iter().filter(|_| has_turn) {
            let slot = self.tree.away_mut().fetch(node, group).expect("it is on disk");
            self.moves.push(Move::Fetch(slot));
        }
        is_coming
    }

    /// A page has come from disk; false if nothing asks for it any more.
    pub(crate) fn arrived(&mut self, slot: Slot) -> bool {
        self.n_arrived += 1;
        let is_known = self.tree.away_mut().arrive(slot);
        self.settle_away();
        is_known
    }

    /// A page could not be written to disk, or not be read.
    pub(crate) fn lost(&mut self, slot: Slot) {
        self.n_arrived += 1;
        self.tree.lose_away(slot);
    }

    /// Pages that have come from disk so far, or could not: a sequence that waits for some looks again when this changes.
    pub(crate) fn n_arrived(&self) -> u64 {
        self.n_arrived
    }

    /// Forgets all that is on disk, and sends nothing more there.
    pub(crate) fn lose_disk(&mut self) {
        self.n_arrived += 1;
        self.tree.lose_disk();
    }

    /// Whether more may go to disk.
    pub(crate) fn turn_disk(&mut self, is_on: bool) {
        self.tree.away_mut().turn_disk(is_on);
    }

    /// The moves that are to be done before the next step.
    pub(crate) fn moves(&mut self) -> &mut Vec<Move> {
        &mut self.moves
    }

    /// Whether the pages of a path that are outside the pool can come back, as far as snapshots are limited, and what comes from
    /// disk. Whether there are pages for them is for admission to say.
    pub(super) fn can_bring(&self, path: &[NodeId]) -> bool {
        if self.bytes_from_disk(path) > self.tree.away().transit() {
            return false;
        }
        (0..self.groups.len()).filter(|&group| self.kind(group).is_states()).all(|group| {
            let missing = self.missing(group, path).count();
            let n_unheld = self.n_needed(group, path).1;
            let n_spare = self.page_counts(group).cached - n_unheld;
            missing == 0 || self.tree.n_pages(group) + missing <= self.max_snapshots + n_spare
        })
    }

    /// Bytes of a path that it takes to resume at its end, and that come, or have come, from disk.
    fn bytes_from_disk(&self, path: &[NodeId]) -> u64 {
        let away = self.tree.away();
        if away.has_no_disk() {
            return 0;
        }
        let of_group = |group| {
            let missing = self.missing(group, path);
            missing.filter(move |&node| away.tier(node, group) != Some(Tier::Memory)).count() as u64
                * away.page_bytes(group)
        };
        (0..self.groups.len()).map(of_group).sum()
    }

    /// Nodes of a path, from its start, whose pages have room on their way from disk.
    pub(super) fn n_in_transit(&self, path: &[NodeId]) -> usize {
        let mut n = path.len();
        while n > 0 && self.bytes_from_disk(&path[..n]) > self.tree.away().transit() {
            // Every page less saves about as much.
            n -= n.div_ceil(16);
        }
        n
    }

    /// Pages of a path that it takes to resume at its end, and that are not in the pool.
    pub(crate) fn n_missing(&self, group: usize, path: &[NodeId]) -> usize {
        self.missing(group, path).count()
    }

    /// Nodes of a path whose pages in a group it takes to resume at its end, and which are not in the pool.
    fn missing(&self, group: usize, path: &[NodeId]) -> impl Iterator<Item = NodeId> {
        path[self.needed(group, path)]
            .iter()
            .copied()
            .filter(move |&node| self.tree.page(node, group).is_none())
    }

    /// Brings the pages back that it takes to resume at the end of a path. They are cached then, as if a sequence had just left
    /// them.
    pub(super) fn bring(&mut self, path: &[NodeId]) {
        let groups = 0..self.groups.len();
        if self.tree.away().is_empty()
            || groups.clone().all(|group| self.missing(group, path).next().is_none())
        {
            return;
        }
        // Neither what makes room in the pool nor what makes room outside of it may be the path's own.
        let mut slots: Vec<(usize, usize, (Slot, u32))> = Vec::new();
        let mut held: Vec<(usize, usize, PageId)> = Vec::new();
        let &last = path.last().expect("a path with pages that are missing");
        self.tree.arrive(last);
        for group in groups {
            for i in self.needed(group, path) {
                if let Some(page) = self.tree.page(path[i], group) {
                    self.hold_page(path[i], group, page);
                    held.push((i, group, page));
                } else {
                    let slot =
                        self.tree.away_mut().remove(path[i], group).expect("a path that was found has pages");
                    slots.push((i, group, slot));
                }
            }
        }
        for (i, group, (slot, tenant)) in slots {
            let has_room = !self.kind(group).is_states() || self.make_room(group);
            assert!(has_room, "there is room for the snapshots of a path that was found");
            let page = self.take(group).expect("there is room for the pages of a path that was found");
            self.groups[group].pages.enter_cache(page);
            self.tree.set_page(path[i], group, page, tenant);
            self.moves.push(Move::Back { group, page, slot });
            self.counts.pages_back += 1;
            held.push((i, group, page));
        }
        // The end of the path first, as when a sequence leaves it.
        held.sort_by_key(|&(i, ..)| std::cmp::Reverse(i));
        for (i, group, page) in held {
            self.release_page(group, Some(&path[i]), page, Worth::Resume);
        }
        self.tree.depart(last);
    }

    /// Forgets a page outside the pool: its node has another one.
    pub(super) fn forget(&mut self, node: NodeId, group: usize) {
        if let Some((slot, _)) = self.tree.away_mut().remove(node, group) {
            self.moves.push(Move::Forget(slot));
        }
    }
}
