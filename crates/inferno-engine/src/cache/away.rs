//! Pages that leave the pool when they are evicted, and come back when a prompt asks for them.
//!
//! ```text
//! evicted   page 7 of the pool ── Out ──▶ slot 12           before anything is written to page 7
//! asked     page 3 of the pool ◀── Back ── slot 12          before the first step that reads page 3
//! ```
//!
//! The node of a page stays in the tree meanwhile. Who calls does the moves in order, before a step writes.

use inferno_model::batch::PageId;

use super::{KvCache, NodeId, Slot, Worth};

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
    /// Nothing asks for a slot's page any more.
    Forget(Slot),
}

impl KvCache {
    /// Keeps up to `max_bytes` of pages that are evicted outside the pool; a page of each cache group has as many bytes as
    /// `page_bytes` says.
    pub(crate) fn keep_away(&mut self, page_bytes: Vec<u64>, max_bytes: u64) {
        self.tree.keep_away(page_bytes, max_bytes);
    }

    /// The moves that are to be done before the next step.
    pub(crate) fn moves(&mut self) -> &mut Vec<Move> {
        &mut self.moves
    }

    /// Whether the pages of a path that are outside the pool can come back, as far as snapshots are limited. Whether there are
    /// pages for them is for admission to say.
    pub(super) fn can_bring(&self, path: &[NodeId]) -> bool {
        (0..self.groups.len()).filter(|&group| self.kind(group).is_states()).all(|group| {
            let missing = self.missing(group, path).count();
            let n_unheld = self.n_needed(group, path).1;
            let n_spare = self.page_counts(group).cached - n_unheld;
            missing == 0 || self.tree.n_pages(group) + missing <= self.max_snapshots + n_spare
        })
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
        if self.tree.has_none_away() || groups.clone().all(|group| self.missing(group, path).next().is_none())
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
                    let slot = self.tree.take_away(path[i], group).expect("a path that was found has pages");
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
        if let Some((slot, _)) = self.tree.take_away(node, group) {
            self.moves.push(Move::Forget(slot));
        }
    }
}
