//! Pages that have left the pool and are kept elsewhere: which nodes they are of, where they are, and which go first.
//!
//! ```text
//! evicted ──▶ memory ──▶ disk ──▶ forgotten       those that left first go first: of a path that is its end, as in the pool
//!               asked ◀── coming ◀──┘             a read takes longer than a step; what has come waits to be brought into the pool
//! ```

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;

use super::{NodeId, Worth};

/// The place of a page outside the pool; no two pages have the same, ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot(u64);

/// Some slots.
#[cfg(test)]
pub(crate) fn slots_for_tests(n: u64) -> Vec<Slot> {
    (1..=n).map(Slot).collect()
}

/// Room for pages that have left the pool.
#[derive(Debug, Clone, Default)]
pub(crate) struct Room {
    /// Bytes of a page, by cache group.
    pub(crate) page_bytes: Vec<u64>,
    /// Bytes in memory.
    pub(crate) memory: u64,
    /// Bytes on disk.
    pub(crate) disk: u64,
    /// Bytes that have come from disk and are not in the pool yet.
    pub(crate) transit: u64,
}

/// Where a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache) enum Tier {
    Memory,
    Disk,
    /// On its way from disk.
    Coming,
    /// Read from disk, and in memory until it is in the pool.
    Here,
}

/// Something to do with a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache) enum Step {
    /// Write it to disk, from memory.
    Spill(Slot),
    /// Forget it; its node may have no use.
    Forget(NodeId, Slot),
}

#[derive(Debug)]
struct Entry {
    slot: Slot,
    tier: Tier,
    /// When it came to its tier, as a count.
    since: u64,
    /// The tenant whose sequence has computed the page.
    tenant: u32,
}

/// The pages outside the pool.
#[derive(Debug, Default)]
pub(in crate::cache) struct Away {
    room: Room,
    /// Nothing more goes to disk for now.
    disk_is_off: bool,
    now: u64,
    entries: HashMap<(NodeId, usize), Entry, RandomState>,
    places: HashMap<Slot, (NodeId, usize), RandomState>,
    /// By tier and time.
    order: [BTreeMap<u64, (NodeId, usize)>; 4],
    n_bytes: [u64; 4],
}

impl Away {
    pub(in crate::cache) fn set_room(&mut self, room: Room) {
        self.room = room;
    }

    pub(in crate::cache) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes in memory, and on disk.
    pub(in crate::cache) fn n_bytes(&self) -> [u64; 2] {
        let [memory, disk, coming, here] = self.n_bytes;
        [memory + here, disk + coming]
    }

    /// Whether a node's page of a group is here.
    pub(in crate::cache) fn has_page(&self, node: NodeId, group: usize) -> bool {
        self.entries.contains_key(&(node, group))
    }

    /// Where a node's page of a group is.
    pub(in crate::cache) fn tier(&self, node: NodeId, group: usize) -> Option<Tier> {
        self.entries.get(&(node, group)).map(|entry| entry.tier)
    }

    /// Bytes of a page of a group.
    pub(in crate::cache) fn page_bytes(&self, group: usize) -> u64 {
        self.room.page_bytes[group]
    }

    /// Bytes that may have come from disk and wait.
    pub(in crate::cache) fn transit(&self) -> u64 {
        self.room.transit
    }

    /// Whether `n_bytes` more may come now: those of others that come go first.
    pub(in crate::cache) fn may_come(&self, n_bytes: u64) -> bool {
        let coming = self.n_bytes[Tier::Coming as usize];
        coming == 0 || coming + self.n_bytes[Tier::Here as usize] + n_bytes <= self.room.transit
    }

    /// Whether a node has a page here.
    pub(in crate::cache) fn has(&self, node: NodeId) -> bool {
        !self.is_empty() && (0..self.room.page_bytes.len()).any(|group| self.has_page(node, group))
    }

    /// A place in memory for a node's page of a group, if it can have one. [`settle`](Self::settle) says what has to go for it.
    pub(in crate::cache) fn put(&mut self, node: NodeId, group: usize, tenant: u32) -> Option<Slot> {
        let n_bytes = *self.room.page_bytes.get(group)?;
        let disk = if self.disk_is_off { 0 } else { self.room.disk };
        if n_bytes > self.room.memory.max(disk) {
            return None;
        }
        self.now += 1;
        let slot = Slot(self.now);
        let before = self.places.insert(slot, (node, group));
        assert!(before.is_none() && !self.has_page(node, group), "a page is in the pool or outside of it");
        self.entries.insert((node, group), Entry { slot, tier: Tier::Memory, since: 0, tenant });
        self.enter(node, group, Tier::Memory);
        Some(slot)
    }

    /// Gives up a node's page of a group; where it is, and its tenant.
    pub(in crate::cache) fn remove(&mut self, node: NodeId, group: usize) -> Option<(Slot, u32)> {
        self.leave(node, group)?;
        let Entry { slot, tenant, .. } = self.entries.remove(&(node, group))?;
        self.places.remove(&slot);
        Some((slot, tenant))
    }

    /// Asks for a node's page of a group that is on disk.
    pub(in crate::cache) fn fetch(&mut self, node: NodeId, group: usize) -> Option<Slot> {
        self.change(node, group, Tier::Coming)
    }

    /// A page has come from disk; whether somebody still knows it.
    pub(in crate::cache) fn arrive(&mut self, slot: Slot) -> bool {
        let Some(&(node, group)) = self.places.get(&slot) else { return false };
        self.change(node, group, Tier::Here);
        true
    }

    /// A page is lost; its node may have no use any more.
    pub(in crate::cache) fn lose(&mut self, slot: Slot) -> Option<NodeId> {
        let &(node, group) = self.places.get(&slot)?;
        self.remove(node, group);
        Some(node)
    }

    /// Gives up a page that is on disk or comes from there, for good; its node may have no use any more.
    pub(in crate::cache) fn pop_disk(&mut self) -> Option<NodeId> {
        self.room.disk = 0;
        let (node, group) = self.first(Tier::Disk).or_else(|| self.first(Tier::Coming))?;
        self.remove(node, group);
        Some(node)
    }

    /// Whether there is no disk, or nothing that came from it.
    pub(in crate::cache) fn has_no_disk(&self) -> bool {
        [Tier::Disk, Tier::Coming, Tier::Here].iter().all(|tier| self.n_bytes[*tier as usize] == 0)
    }

    /// The time, as a count.
    pub(in crate::cache) fn now(&self) -> u64 {
        self.now
    }

    /// Pages in memory: their worth, when they came there, their group and node.
    pub(in crate::cache) fn in_memory(&self) -> impl Iterator<Item = (Worth, u64, usize, NodeId)> {
        let tiers = [Tier::Memory, Tier::Here].into_iter().flat_map(|tier| &self.order[tier as usize]);
        tiers.map(|(&since, &(node, group))| (Worth::Resume, since, group, node))
    }

    /// Where a node's page of a group is in memory, and its tenant.
    pub(in crate::cache) fn slot(&self, node: NodeId, group: usize) -> Option<(Slot, u32)> {
        let entry = self.entries.get(&(node, group))?;
        matches!(entry.tier, Tier::Memory | Tier::Here).then_some((entry.slot, entry.tenant))
    }

    /// Whether memory has room for a page more of each of some groups.
    pub(in crate::cache) fn has_room(&self, groups: impl IntoIterator<Item = usize>) -> bool {
        let n_bytes = groups.into_iter().map(|group| self.room.page_bytes.get(group).copied());
        let n_bytes: Option<u64> = n_bytes.sum();
        n_bytes.is_some_and(|n| self.n_bytes[Tier::Memory as usize] + n <= self.room.memory)
    }

    /// Makes a page in memory the last to go.
    pub(in crate::cache) fn renew(&mut self, node: NodeId, group: usize) {
        self.change(node, group, Tier::Memory);
    }

    /// Whether more may go to disk.
    pub(in crate::cache) fn turn_disk(&mut self, is_on: bool) {
        self.disk_is_off = !is_on;
    }

    /// The next step so that everything has room.
    pub(in crate::cache) fn settle(&mut self) -> Option<Step> {
        while self.n_bytes[Tier::Here as usize] > self.room.transit {
            let (node, group) = self.first(Tier::Here)?;
            self.change(node, group, Tier::Memory);
        }
        if self.n_bytes[Tier::Memory as usize] > self.room.memory {
            let (node, group) = self.first(Tier::Memory)?;
            if !self.disk_is_off && self.page_bytes(group) <= self.room.disk {
                return self.change(node, group, Tier::Disk).map(Step::Spill);
            }
            return self.remove(node, group).map(|(slot, _)| Step::Forget(node, slot));
        }
        if self.n_bytes[Tier::Disk as usize] > self.room.disk {
            let (node, group) = self.first(Tier::Disk)?;
            return self.remove(node, group).map(|(slot, _)| Step::Forget(node, slot));
        }
        None
    }

    /// Gives up any page.
    pub(in crate::cache) fn pop(&mut self) -> Option<(NodeId, Slot)> {
        let &(node, group) = self.entries.keys().next()?;
        self.remove(node, group).map(|(slot, _)| (node, slot))
    }

    fn first(&self, tier: Tier) -> Option<(NodeId, usize)> {
        self.order[tier as usize].first_key_value().map(|(_, place)| *place)
    }

    fn change(&mut self, node: NodeId, group: usize, tier: Tier) -> Option<Slot> {
        self.leave(node, group)?;
        Some(self.enter(node, group, tier))
    }

    fn leave(&mut self, node: NodeId, group: usize) -> Option<()> {
        let Entry { tier, since, .. } = self.entries.get(&(node, group))?;
        self.order[*tier as usize].remove(since);
        self.n_bytes[*tier as usize] -= self.room.page_bytes[group];
        Some(())
    }

    fn enter(&mut self, node: NodeId, group: usize, tier: Tier) -> Slot {
        self.now += 1;
        self.order[tier as usize].insert(self.now, (node, group));
        self.n_bytes[tier as usize] += self.room.page_bytes[group];
        let entry = self.entries.get_mut(&(node, group)).expect("a page that is here");
        (entry.tier, entry.since) = (tier, self.now);
        entry.slot
    }

    #[cfg(test)]
    pub(in crate::cache) fn check(&self, has_page: impl Fn(NodeId, usize) -> bool) {
        let mut n_bytes = [0; 4];
        for (&(node, group), entry) in &self.entries {
            assert!(!has_page(node, group), "a page is in the pool or outside of it");
            assert_eq!(self.order[entry.tier as usize].get(&entry.since), Some(&(node, group)));
            assert_eq!(self.places.get(&entry.slot), Some(&(node, group)));
            n_bytes[entry.tier as usize] += self.page_bytes(group);
        }
        assert_eq!(n_bytes, self.n_bytes);
        let n: usize = self.order.iter().map(BTreeMap::len).sum();
        assert_eq!((n, self.places.len()), (self.entries.len(), self.entries.len()));
        let [memory, disk, _, here] = n_bytes;
        let Room { memory: most_memory, disk: most_disk, transit, .. } = self.room;
        assert!(memory <= most_memory && disk <= most_disk && here <= transit);
    }
}
