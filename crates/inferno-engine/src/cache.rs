//! The prefix cache: which full pages hold which tokens. A radix tree whose edges are pages of 32 tokens.
//!
//! ```text
//! (salt 7) ── page of 32 tokens ──┬── page of 32 tokens ── …
//!                                 └── page of 32 tokens, being computed by a sequence
//! ```
//!
//! A page's keys and values depend on all tokens before it, so a node means the whole path to it. Sequences hold the
//! pages of their path from the root on; what nobody holds is evicted leaf by leaf.

mod tree;

use inferno_model::batch::{PAGE_LEN, PageId};

use crate::pages::{PageCounts, Pages};
use crate::request::SeqId;
pub(crate) use tree::NodeId;
use tree::Tree;

/// All pages, and the tree over the full ones.
#[derive(Debug)]
pub(crate) struct KvCache {
    pages: Pages,
    tree: Tree,
    counts: CacheCounts,
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
}

/// A longest prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Match {
    /// Its nodes, the root not among them.
    pub(crate) path: Vec<NodeId>,
    pub(crate) stop: Stop,
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
}

impl KvCache {
    pub(crate) fn new(n_pages: usize) -> KvCache {
        KvCache { pages: Pages::new(n_pages), tree: Tree::default(), counts: CacheCounts::default() }
    }

    pub(crate) fn page_counts(&self) -> PageCounts {
        self.pages.counts()
    }

    pub(crate) fn counts(&self) -> CacheCounts {
        self.counts
    }

    /// Pages that could be had now.
    pub(crate) fn n_available(&self) -> usize {
        let counts = self.pages.counts();
        counts.free + counts.cached
    }

    /// A page for one holder; the oldest cached one makes room if none is free.
    pub(crate) fn take(&mut self) -> Option<PageId> {
        if self.pages.counts().free == 0 {
            let page = self.tree.evict(self.pages.len())?;
            self.pages.leave_cache(page);
            self.counts.evicted_pages += 1;
        }
        self.pages.take()
    }

    /// The longest prefix of `tokens` in whole pages, and of at most `limit` tokens.
    pub(crate) fn find(&self, salt: u64, tokens: &[u32], limit: usize) -> Match {
        let (path, stop) = self.tree.find(salt, tokens, limit);
        Match { path, stop }
    }

    /// Pages of a path that nobody holds: to hold them makes them unavailable.
    pub(crate) fn n_unheld(&self, path: &[NodeId]) -> usize {
        let pages = path.iter().filter_map(|&node| self.tree.page(node));
        pages.filter(|&page| !self.pages.is_held(page)).count()
    }

    /// Counts a lookup whose result is used.
    pub(crate) fn count(&mut self, n_looked_up: usize, n_hit: usize) {
        self.counts.looked_up_tokens += n_looked_up as u64;
        self.counts.hit_tokens += n_hit as u64;
    }

    /// Holds the pages of a path, in order.
    pub(crate) fn hold(&mut self, path: &[NodeId]) -> Vec<PageId> {
        let mut pages = Vec::with_capacity(path.len());
        for &node in path {
            let page = self.tree.page(node).expect("a path that was found has pages");
            if self.pages.hold(page) {
                self.tree.pin(node);
            }
            pages.push(page);
        }
        pages
    }

    /// Announces that `owner` computes the pages of `tokens` that follow `path`: others with the same prompt wait.
    pub(crate) fn announce(&mut self, salt: u64, path: &[NodeId], tokens: &[u32], owner: SeqId) {
        let mut last = path.last().copied();
        for page in tokens.as_chunks::<PAGE_LEN>().0.iter().skip(path.len()) {
            let node = last.unwrap_or_else(|| self.tree.root(salt));
            if self.tree.child(node, page).is_some() {
                // Somebody else's: what follows it is theirs to announce.
                return;
            }
            last = Some(self.tree.insert(node, page, owner));
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
            self.tree.remove(node);
        }
    }

    /// Puts a page that was computed into the tree after `path`, and makes it a part of the path. If the tree has one
    /// with these tokens already, that one is held instead (it has the same bits) and `page` is released.
    pub(crate) fn complete(
        &mut self,
        (salt, tenant): (u64, u32),
        path: &mut Vec<NodeId>,
        tokens: &[u32; PAGE_LEN],
        page: PageId,
    ) -> PageId {
        let parent = path.last().copied().unwrap_or_else(|| self.tree.root(salt));
        let node = match self.tree.child(parent, tokens) {
            Some(node) => node,
            None => self.tree.insert(parent, tokens, SeqId(0)),
        };
        path.push(node);
        if let Some(other) = self.tree.page(node) {
            if self.pages.hold(other) {
                self.tree.pin(node);
            }
            self.pages.release(page);
            return other;
        }
        self.pages.enter_cache(page);
        self.tree.set_page(node, page, tenant);
        page
    }

    /// Releases a sequence's pages, of which the first are those of `path`.
    pub(crate) fn release(&mut self, path: &[NodeId], pages: &[PageId]) {
        for (i, &page) in pages.iter().enumerate().rev() {
            if self.pages.release(page)
                && let Some(&node) = path.get(i)
            {
                self.tree.unpin(node);
            }
        }
    }

    /// Evicts everything that nobody holds.
    pub(crate) fn clear(&mut self) -> usize {
        let mut n = 0;
        while let Some(page) = self.tree.evict(self.pages.len()) {
            self.pages.leave_cache(page);
            n += 1;
        }
        n
    }

    /// Nodes of the tree with a page.
    pub(crate) fn n_nodes(&self) -> usize {
        self.tree.n_nodes()
    }

    /// Panics unless pages and tree agree, and `tables` are all there is of holders.
    #[cfg(test)]
    pub(crate) fn check<'a>(&self, tables: impl Iterator<Item = &'a [PageId]>) {
        let mut holders = vec![0; self.pages.len()];
        tables.flatten().for_each(|page| holders[page.0 as usize] += 1);
        assert_eq!(holders, self.pages.holders(), "reference counts are holders");
        let counts = self.pages.counts();
        assert_eq!(counts.free + counts.cached + counts.held, self.pages.len());
        self.tree.check(&self.pages);
    }
}

#[cfg(test)]
mod tests;
