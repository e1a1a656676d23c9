//! The pages of one cache group in the tree, and which of them goes first.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use foldhash::fast::RandomState;
use inferno_model::batch::PageId;

use super::{NodeId, Worth};
use crate::group::Kind;

/// The worth of a page since its last holder left, and when that was: less goes first. Of states the first time is
/// [`Shelf::time_of_state`].
type Left = (Worth, u64, u64);

/// One cache group's pages in the tree.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) kind: Kind,
    /// By node.
    kept: Vec<Kept>,
    /// Pages that may go, by tenant, the first to go first.
    evictable: HashMap<u32, BTreeSet<(Left, NodeId)>, RandomState>,
    /// Pages of every tenant.
    n_pages: HashMap<u32, usize, RandomState>,
    /// Pages that were put here so far.
    n_put: u64,
}

/// A node's page in a group.
#[derive(Debug, Clone, Default)]
struct Kept {
    page: Option<PageId>,
    /// The tenant whose sequence has computed it.
    tenant: u32,
    /// `None` while it has a holder.
    left: Option<Left>,
    /// Children of the node with a page in this group.
    n_ready: usize,
}

impl Shelf {
    pub(super) fn new(kind: Kind) -> Shelf {
        let (evictable, n_pages) = Default::default();
        Shelf { kind, kept: Vec::new(), evictable, n_pages, n_put: 0 }
    }

    /// Makes room for `n_nodes` nodes.
    pub(super) fn reach(&mut self, n_nodes: usize) {
        self.kept.resize(n_nodes, Kept::default());
    }

    pub(super) fn page(&self, node: NodeId) -> Option<PageId> {
        self.kept[node.0 as usize].page
    }

    /// Tenant and worth of a page without a holder, and when its last holder left.
    pub(super) fn left(&self, node: NodeId) -> Option<(u32, Worth, u64)> {
        let Kept { tenant, left, .. } = self.kept[node.0 as usize];
        left.map(|(worth, _, at)| (tenant, worth, at))
    }

    /// A page that is held.
    pub(super) fn put(&mut self, node: NodeId, parent: NodeId, page: PageId, tenant: u32) {
        let kept = &mut self.kept[node.0 as usize];
        assert!(kept.page.is_none(), "a node has one page in a group");
        (kept.page, kept.tenant, kept.left) = (Some(page), tenant, None);
        *self.n_pages.entry(tenant).or_default() += 1;
        self.n_put += 1;
        self.unlist(parent);
        self.kept[parent.0 as usize].n_ready += 1;
        self.list(parent);
    }

    /// A page has a holder again.
    pub(super) fn pin(&mut self, node: NodeId) {
        self.unlist(node);
        self.kept[node.0 as usize].left = None;
    }

    /// Now, counted in snapshots; where prompts resumed or part it is later by as many as there are, so that such a place
    /// outlives the ends of prompts that were not asked again, and not for ever.
    pub(super) fn time_of_state(&self, is_proven: bool) -> u64 {
        self.n_put + if is_proven { self.len() as u64 } else { 0 }
    }

    /// A page's last holder left.
    pub(super) fn unpin(&mut self, node: NodeId, left: Left) {
        let kept = &mut self.kept[node.0 as usize];
        assert!(kept.page.is_some(), "only a page is held");
        kept.left = Some(left);
        self.list(node);
    }

    /// The page that may go, of the tenant that is furthest above its share of all `n_pages`, or of everybody's if none is:
    /// the one that is worth least, and of these the longest unused.
    pub(super) fn first_to_go(&self, n_pages: usize) -> Option<NodeId> {
        let share = n_pages / self.n_pages.len().max(1);
        let first = |pages: &BTreeSet<_>| *pages.first().expect("an empty set is removed");
        let over = self.evictable.iter().map(|(tenant, pages)| {
            let n = self.n_pages.get(tenant).copied().unwrap_or(0);
            (n.saturating_sub(share), Reverse(first(pages)))
        });
        let (_, Reverse((_, node))) = over.max()?;
        Some(node)
    }

    /// Takes a page without a holder; `None` if the node has no page.
    pub(super) fn remove(&mut self, node: NodeId, parent: NodeId) -> Option<PageId> {
        self.unlist(node);
        let kept = &mut self.kept[node.0 as usize];
        let page = kept.page.take()?;
        kept.left = None;
        let n = self.n_pages.get_mut(&kept.tenant).expect("it has this page");
        *n -= 1;
        if *n == 0 {
            self.n_pages.remove(&self.kept[node.0 as usize].tenant);
        }
        self.unlist(parent);
        self.kept[parent.0 as usize].n_ready -= 1;
        self.list(parent);
        Some(page)
    }

    /// Lists a page among those that may go, if it may: it has no holder, and no page that follows depends on it.
    fn list(&mut self, node: NodeId) {
        let Kept { left, tenant, n_ready, .. } = self.kept[node.0 as usize];
        if let Some(left) = left
            && (n_ready == 0 || !self.kind.keeps_all())
        {
            self.evictable.entry(tenant).or_default().insert((left, node));
        }
    }

    fn unlist(&mut self, node: NodeId) {
        let Kept { left, tenant, .. } = self.kept[node.0 as usize];
        if let Some(left) = left
            && let Some(pages) = self.evictable.get_mut(&tenant)
        {
            pages.remove(&(left, node));
            if pages.is_empty() {
                self.evictable.remove(&tenant);
            }
        }
    }

    /// Pages in the tree.
    pub(super) fn len(&self) -> usize {
        self.n_pages.values().sum()
    }

    #[cfg(test)]
    pub(super) fn check<'a>(
        &self,
        children: impl Fn(NodeId) -> &'a [NodeId],
        is_held: impl Fn(PageId) -> bool,
        unused: &BTreeSet<NodeId>,
    ) {
        let mut n_pages = 0;
        for (i, kept) in self.kept.iter().enumerate() {
            let id = NodeId(i as u32);
            if unused.contains(&id) {
                continue;
            }
            let n_ready = children(id).iter().filter(|&&child| self.page(child).is_some()).count();
            assert_eq!(kept.n_ready, n_ready);
            let Some(page) = kept.page else {
                assert!(kept.left.is_none());
                continue;
            };
            n_pages += 1;
            assert_eq!(kept.left.is_none(), is_held(page), "a page is pinned while it is held");
            let may_go = kept.left.is_some() && (n_ready == 0 || !self.kind.keeps_all());
            let listed = kept.left.is_some_and(|left| {
                self.evictable.get(&kept.tenant).is_some_and(|l| l.contains(&(left, id)))
            });
            assert_eq!(may_go, listed, "pages without a holder can be evicted");
        }
        assert_eq!(n_pages, self.len());
    }
}
