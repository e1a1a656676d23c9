//! Pages that have left the pool and are kept elsewhere: which nodes they are of, and which go first.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;

use super::NodeId;

/// The place of a page outside the pool; no two pages have the same, ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot(u64);

/// The pages outside the pool. Those that left first go first: of a path that is its end, as in the pool.
#[derive(Debug, Default)]
pub(super) struct Away {
    /// By cache group; empty if nothing is kept.
    page_bytes: Vec<u64>,
    max_bytes: u64,
    n_bytes: u64,
    n_put: u64,
    /// With the tenant whose sequence has computed the page.
    slots: HashMap<(NodeId, usize), (Slot, u32), RandomState>,
    order: BTreeMap<Slot, (NodeId, usize)>,
}

impl Away {
    /// Room for `max_bytes` of pages, which have as many bytes in each cache group as `page_bytes` says.
    pub(super) fn new(page_bytes: Vec<u64>, max_bytes: u64) -> Away {
        Away { page_bytes, max_bytes, ..Away::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// Whether a node's page of a group is here.
    pub(super) fn has_page(&self, node: NodeId, group: usize) -> bool {
        self.slots.contains_key(&(node, group))
    }

    /// Whether a node has a page here.
    pub(super) fn has(&self, node: NodeId) -> bool {
        !self.is_empty() && (0..self.page_bytes.len()).any(|group| self.has_page(node, group))
    }

    /// A place for a node's page of a group, if it can have one. [`over`](Self::over) says what has to go for it.
    pub(super) fn put(&mut self, node: NodeId, group: usize, tenant: u32) -> Option<Slot> {
        let n_bytes = *self.page_bytes.get(group)?;
        if n_bytes > self.max_bytes {
            return None;
        }
        self.n_put += 1;
        let slot = Slot(self.n_put);
        self.n_bytes += n_bytes;
        self.order.insert(slot, (node, group));
        let before = self.slots.insert((node, group), (slot, tenant));
        assert!(before.is_none(), "a page is in the pool or outside of it");
        Some(slot)
    }

    /// Gives up a node's page of a group; where it is, and its tenant.
    pub(super) fn remove(&mut self, node: NodeId, group: usize) -> Option<(Slot, u32)> {
        let (slot, tenant) = self.slots.remove(&(node, group))?;
        self.order.remove(&slot);
        self.n_bytes -= self.page_bytes[group];
        Some((slot, tenant))
    }

    /// Gives up the page that goes first, if there is not room for all.
    pub(super) fn over(&mut self) -> Option<(NodeId, Slot)> {
        if self.n_bytes <= self.max_bytes {
            return None;
        }
        self.first()
    }

    /// Gives up the page that goes first.
    pub(super) fn first(&mut self) -> Option<(NodeId, Slot)> {
        let (&slot, &(node, group)) = self.order.first_key_value()?;
        self.remove(node, group);
        Some((node, slot))
    }

    #[cfg(test)]
    pub(super) fn check(&self, has_page: impl Fn(NodeId, usize) -> bool) {
        assert_eq!(self.slots.len(), self.order.len());
        let n_bytes: u64 = self.slots.keys().map(|(_, group)| self.page_bytes[*group]).sum();
        assert_eq!(self.n_bytes, n_bytes);
        assert!(n_bytes <= self.max_bytes);
        for (&(node, group), (slot, _)) in &self.slots {
            assert_eq!(self.order.get(slot), Some(&(node, group)));
            assert!(!has_page(node, group), "a page is in the pool or outside of it");
        }
    }
}
