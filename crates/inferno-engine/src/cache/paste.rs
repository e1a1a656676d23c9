//! Nodes and pages that come into the prefix cache from elsewhere.

use inferno_model::batch::PageId;

use super::tree::{CopiedNode, CopiedPage};
use super::{KvCache, NodeId, Worth};

/// Nodes that are on their way into the cache, and their pages, which are held until all are there.
#[derive(Debug, Default)]
pub(crate) struct Pasted {
    nodes: Vec<Node>,
    pages: Vec<Page>,
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
        let mut nodes: Vec<NodeId> = self.pages.iter().map(|page| page.node).collect();
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

    /// Adds a node with free pages in place of those that it had elsewhere: by cache group the page whose content to write,
    /// `None` where it had none or where no page is free. `None` instead of pages if the node cannot be: it is there already,
    /// or its parent is not among those before it.
    pub(crate) fn paste(&mut self, node: &CopiedNode, pasted: &mut Pasted) -> Option<Vec<Option<PageId>>> {
        let parent = match node.parent {
            Some(parent) => Some(pasted.nodes.get(parent)?),
            None => None,
        };
        let mut is_whole = parent.is_none_or(|parent| parent.is_whole);
        let id = self.tree.paste(parent.map(|parent| parent.id), node.salt, &node.tokens, node.n_resumed)?;
        let groups = || 0..self.groups.len();
        is_whole &= groups().all(|group| {
            !self.kind(group).keeps_all() || node.pages[group].is_some() && self.page_counts(group).free > 0
        });
        pasted.nodes.push(Node { id, is_whole });
        if !is_whole {
            return Some(vec![None; self.groups.len()]);
        }
        let pages = groups().zip(&node.pages);
        Some(pages.map(|(group, page)| self.paste_page(id, group, page.as_ref()?, pasted)).collect())
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

    /// Releases the pages of nodes that came from elsewhere, in the order in which they had been left.
    pub(crate) fn finish(&mut self, mut pasted: Pasted) {
        pasted.pages.sort_by_key(|page| page.left);
        for Page { node, group, page, worth, .. } in pasted.pages {
            self.groups[group].pages.release(page);
            self.tree.unpin(node, group, worth);
        }
        // Children first: a node without a use goes, and then its parent may.
        pasted.nodes.iter().rev().for_each(|node| self.tree.depart(node.id));
    }
}
