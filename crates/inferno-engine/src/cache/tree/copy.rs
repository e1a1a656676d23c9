//! The tree as records: what of it is worth keeping elsewhere, and nodes that come from there.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use inferno_model::batch::PageId;

use super::{NodeId, Slot, Tokens, Tree, Worth};

/// Bytes that a node counts for, beside its pages.
const NODE_BYTES: u64 = 256;

/// A node of the tree, with its pages that have no holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CopiedNode {
    /// Its parent among the nodes before it; `None` for the root.
    pub(crate) parent: Option<usize>,
    /// Of a child of the root.
    pub(crate) salt: u64,
    pub(crate) tokens: Box<Tokens>,
    pub(crate) n_resumed: u8,
    /// By cache group.
    pub(crate) pages: Vec<Option<CopiedPage>>,
}

/// Where the bytes of a page are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A page of the pool.
    Pool(PageId),
    /// Memory beside the pool.
    Beside(Slot),
}

/// A page of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CopiedPage {
    pub(crate) place: Place,
    pub(crate) tenant: u32,
    pub(crate) worth: Worth,
    /// When its last holder left, as a count.
    pub(crate) left: u64,
}

impl Tree {
    /// The nodes with pages worth most, in the pool and in memory beside it, parents first, as many as `max_bytes` suffice for if a page of each cache
    /// group has as many bytes as `page_bytes` says. Pages that are of no use without one that is left out are left out too.
    pub(in crate::cache) fn copy(&self, page_bytes: &[u64], max_bytes: u64) -> Vec<CopiedNode> {
        let mut pages: Vec<(Worth, u64, usize, NodeId)> = self.away.in_memory().collect();
        // They had left before any that is in the pool.
        let n_away = self.away.now();
        let mut below: Vec<NodeId> = self.roots.values().copied().collect();
        while let Some(node) = below.pop() {
            below.extend(&self.nodes[node.0 as usize].children);
            let left = |(group, shelf): (usize, &super::Shelf)| Some((group, shelf.left(node)?));
            let left = self.shelves.iter().enumerate().filter_map(left);
            pages.extend(left.map(|(group, (_, worth, at))| (worth, n_away + at, group, node)));
        }
        pages.sort_unstable_by(|a, b| b.cmp(a));
        let mut copied: Vec<CopiedNode> = Vec::new();
        let mut places: HashMap<NodeId, usize, RandomState> = HashMap::default();
        let mut room = max_bytes;
        for (worth, left, group, node) in pages {
            let new: Vec<NodeId> = self.up_from(node).take_while(|node| !places.contains_key(node)).collect();
            let n_bytes = page_bytes[group].saturating_add(NODE_BYTES * new.len() as u64);
            let Some(rest) = room.checked_sub(n_bytes) else { continue };
            room = rest;
            for &node in new.iter().rev() {
                let super::Node { parent, tokens, n_resumed, .. } = &self.nodes[node.0 as usize];
                // That of other nodes is 0 and means nothing.
                let salt = parent.map_or(0, |parent| self.nodes[parent.0 as usize].salt);
                let parent = parent.and_then(|parent| places.get(&parent).copied());
                let (tokens, n_resumed, pages) = (tokens.clone(), *n_resumed, vec![None; page_bytes.len()]);
                places.insert(node, copied.len());
                copied.push(CopiedNode { parent, salt, tokens, n_resumed, pages });
            }
            let in_pool = || Some((Place::Pool(self.page(node, group)?), self.shelves[group].left(node)?.0));
            let beside = || self.away.slot(node, group).map(|(slot, tenant)| (Place::Beside(slot), tenant));
            let (place, tenant) = in_pool().or_else(beside).expect("a page that was left");
            copied[places[&node]].pages[group] = Some(CopiedPage { place, tenant, worth, left });
        }
        self.drop_useless(&mut copied);
        copied
    }

    /// Drops pages of nodes that lack one, or a parent's, in a group that keeps all.
    fn drop_useless(&self, copied: &mut [CopiedNode]) {
        let all: Vec<usize> = (0..self.shelves.len()).filter(|&g| self.shelves[g].kind.keeps_all()).collect();
        let mut is_whole: Vec<bool> = Vec::new();
        for node in copied {
            let whole = node.parent.is_none_or(|parent| is_whole[parent])
                && all.iter().all(|&group| node.pages[group].is_some());
            if !whole {
                node.pages.fill(None);
            }
            is_whole.push(whole);
        }
    }

    /// A node and its parents up to the root, which is left out.
    fn up_from(&self, node: NodeId) -> impl Iterator<Item = NodeId> {
        let parent = |node: &NodeId| self.nodes[node.0 as usize].parent;
        std::iter::successors(Some(node), parent).filter(move |node| parent(node).is_some())
    }

    /// Adds a node from elsewhere, which stays as long as a path [ends](Tree::depart) there; `None` if there is one with these
    /// tokens.
    pub(in crate::cache) fn paste(
        &mut self,
        parent: Option<NodeId>,
        salt: u64,
        tokens: &Tokens,
        n_resumed: u8,
    ) -> Option<NodeId> {
        let parent = parent.unwrap_or_else(|| self.root(salt));
        if self.child(parent, tokens).is_some() {
            return None;
        }
        let node = self.insert(parent, tokens, None);
        self.nodes[node.0 as usize].n_resumed = n_resumed;
        self.arrive(node);
        Some(node)
    }
}
