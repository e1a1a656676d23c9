//! Nodes and pages that come into the prefix cache from elsewhere.

use inferno_model::batch::PageId;

use super::tree::{CopiedNode, CopiedPage, Place};
use super::{KvCache, NodeId, Worth};

/// Nodes that are on their way into the cache, and their pages, which are held until all are there.
#[derive(Debug, Default)]
pub(crate) struct Pasted {
    nodes: Vec<Node>,
    pages: Vec<Page>,
    /// Pages in memory beside the pool: when they had left, node and group.
    beside: Vec<(u64, NodeId, usize)>,
}

#[derive(Debug)]
struct Node {
    id: NodeId,
    /// Whether it and its parents have the pages without which no page after it is of use.
    is_whole: bool,
}

#[derive(Debug)]
struct Page {
    /// When its last holder had left.
    left: u64,
    node: NodeId,
    group: usize,
    page: PageId,
    worth: Worth,
}

impl Pasted {
    /// Nodes with a page.
    pub(crate) fn n_nodes(&self) -> usize {
        let in_pool = self.pages.iter().map(|page| page.node);
        let mut nodes: Vec<NodeId> = in_pool.chain(self.beside.iter().map(|(_, node, _)| *node)).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes.len()
    }
}

impl KvCache {
    /// The part of the cache that is worth keeping elsewhere: see [`Tree::copy`](super::tree::Tree::copy).
    pub(crate) fn copy(&self, page_bytes: &[u64], max_bytes: u64) -> Vec<CopiedNode> {
        self.tree.copy(page_bytes, max_bytes)
    }

    /// Adds a node with free pages, or memory beside the pool, in place of the pages that it had elsewhere: by cache group the
    /// place whose content to write, `None` where it had none or where nothing is free. `None` instead of places if the node
    /// cannot be: it is there already, or its parent is not among those before it.
    pub(crate) fn paste(&mut self, node: &CopiedNode, pasted: &mut Pasted) -> Option<Vec<Option<Place>>> {
        let parent = match node.parent {
            Some(parent) => Some(pasted.nodes.get(parent)?),
            None => None,
        };
        let mut is_whole = parent.is_none_or(|parent| parent.is_whole);
        let id = self.tree.paste(parent.map(|parent| parent.id), node.salt, &node.tokens, node.n_resumed)?;
        let groups = || 0..self.groups.len();
        let keeping = || groups().filter(|&group| self.kind(group).keeps_all());
        let in_pool = keeping().all(|group| self.page_counts(group).free > 0);
        is_whole &= keeping().all(|group| node.pages[group].is_some());
        let with_page = groups().filter(|&group| node.pages[group].is_some());
        is_whole &= in_pool || self.tree.away().has_room(with_page);
        pasted.nodes.push(Node { id, is_whole });
        if !is_whole {
            return Some(vec![None; self.groups.len()]);
        }
        let pages = groups().zip(&node.pages);
        let places = pages.map(|(group, page)| {
            let page = page.as_ref()?;
            let place = if in_pool { self.paste_page(id, group, page, pasted) } else { None };
            place.map(Place::Pool).or_else(|| self.paste_beside(id, group, page, pasted))
        });
        Some(places.collect())
    }

    fn paste_page(
        &mut self,
        node: NodeId,
        group: usize,
        &CopiedPage { tenant, worth, left, .. }: &CopiedPage,
        pasted: &mut Pasted,
    ) -> Option<PageId> {
        if self.kind(group).is_states() && self.tree.n_pages(group) >= self.max_snapshots {
            return None;
        }
        let page = self.groups[group].pages.take()?;
        self.groups[group].pages.enter_cache(page);
        self.tree.set_page(node, group, page, tenant);
        pasted.pages.push(Page { left, node, group, page, worth });
        Some(page)
    }

    fn paste_beside(
        &mut self,
        node: NodeId,
        group: usize,
        page: &CopiedPage,
        pasted: &mut Pasted,
    ) -> Option<Place> {
        let away = self.tree.away_mut();
        if !away.has_room([group]) {
            return None;
        }
        let slot = away.put(node, group, page.tenant)?;
        pasted.beside.push((page.left, node, group));
        Some(Place::Beside(slot))
    }

    /// Releases the pages of nodes that came from elsewhere, in the order in which they had been left.
    pub(crate) fn finish(&mut self, mut pasted: Pasted) {
        pasted.pages.sort_by_key(|page| page.left);
        for Page { node, group, page, worth, .. } in pasted.pages {
            self.groups[group].pages.release(page);
            self.tree.unpin(node, group, worth);
        }
        pasted.beside.sort_by_key(|(left, ..)| *left);
        pasted.beside.iter().for_each(|&(_, node, group)| self.tree.away_mut().renew(node, group));
        // Children first: a node without a use goes, and then its parent may.
        pasted.nodes.iter().rev().for_each(|node| self.tree.depart(node.id));
    }
}
