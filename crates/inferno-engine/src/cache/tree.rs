//! The nodes, and the order in which their pages go.

mod away;
mod copy;
mod shelf;

use std::collections::HashMap;

use foldhash::fast::RandomState;
use inferno_model::architecture::MAX_CACHE_GROUPS;
use inferno_model::batch::{PAGE_LEN, PageId};

use super::{Match, Stop};
use crate::group::Kind;
use crate::request::SeqId;
use away::Away;
#[cfg(test)]
pub(crate) use away::slots_for_tests;
pub(crate) use away::{Room, Slot};
pub(super) use away::{Step, Tier};
pub(crate) use copy::{CopiedNode, CopiedPage, Place};
use shelf::Shelf;

/// A node of the tree; ids are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NodeId(u32);

/// Children that are looked at to say where a prompt differs.
const MAX_COMPARED: usize = 64;

/// Sequences that resumed at a node, or computed again what it had lost, from which on more are expected to.
const MANY_RESUMED: u8 = 2;

type Tokens = [u32; PAGE_LEN];

/// The value of a page without a holder; the smallest goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Worth {
    /// A state that it takes only as long as its sequence can end there: it goes at once.
    Nothing,
    /// A sequence went past it.
    Passed,
    /// Needed to resume at a place where prompts are likely to.
    Resume,
}

#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    unused: Vec<NodeId>,
    roots: HashMap<u64, NodeId, RandomState>,
    edges: HashMap<(NodeId, Tokens), NodeId, RandomState>,
    /// By cache group.
    shelves: Vec<Shelf>,
    away: Away,
    now: u64,
}

/// Where a page goes that is evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nowhere.
    Dropped,
    /// Out of the pool, if there is a place for it.
    Kept,
}

#[derive(Debug)]
struct Node {
    /// `None` for a root.
    parent: Option<NodeId>,
    tokens: Box<Tokens>,
    children: Vec<NodeId>,
    /// The salt of a root.
    salt: u64,
    /// The sequence that computes the pages which are missing.
    owner: Option<SeqId>,
    /// Sequences whose path ends here: it stays as long as there is one, whether or not it has pages.
    n_ends: u32,
    n_resumed: u8,
}

impl Tree {
    pub(super) fn new(groups: impl Iterator<Item = Kind>) -> Tree {
        Tree {
            nodes: Vec::new(),
            unused: Vec::new(),
            roots: HashMap::default(),
            edges: HashMap::default(),
            shelves: groups.map(Shelf::new).collect(),
            away: Away::default(),
            now: 0,
        }
    }

    /// The longest prefix at which all groups can resume, with pages in the pool or, if it says so, outside of it.
    pub(super) fn find(&self, salt: u64, tokens: &[u32], limit: usize, with_away: bool) -> Match {
        let Some(root) = self.existing_root(salt) else {
            let stop = if limit < PAGE_LEN { Stop::Whole } else { Stop::Empty };
            return Match { path: Vec::new(), stop, n_known: 0 };
        };
        let (mut node, mut path, mut stop) = (root, Vec::new(), Stop::Whole);
        // Nodes that were computed, and those after which all groups but states can resume.
        let (mut n_known, mut n_without_states) = (0, 0);
        // Nodes after which every group can resume, and who computes what is missing after them.
        let (mut n, mut owner) = (0, None);
        // By group: the last nodes of the path that have a page, without one between that has none.
        let mut runs = [0; MAX_CACHE_GROUPS];
        for page in tokens[..limit].as_chunks::<PAGE_LEN>().0 {
            let Some(child) = self.child(node, page) else {
                stop = self.why(node, page, path.len());
                break;
            };
            path.push(child);
            let (mut resumes, mut lacks_state, mut goes_on) = (true, false, true);
            for ((group, shelf), run) in self.shelves.iter().enumerate().zip(&mut runs) {
                let has_page = shelf.page(child).is_some() || with_away && self.away.has_page(child, group);
                *run = if has_page { *run + 1 } else { 0 };
                let has_all = shelf.kind.first_page(path.len() * PAGE_LEN) + *run >= path.len();
                match shelf.kind.is_states() {
                    true => lacks_state |= !has_all,
                    false => resumes &= has_all,
                }
                goes_on &= *run > 0 || !shelf.kind.keeps_all();
            }
            if resumes {
                n_without_states = path.len();
            }
            if goes_on && self.owner(child).is_none() {
                n_known = path.len();
            }
            resumes &= !lacks_state;
            if resumes {
                (n, owner) = (path.len(), None);
            } else {
                owner = owner.or(self.owner(child));
            }
            if !goes_on {
                break;
            }
            node = child;
        }
        if n < path.len() {
            let missing = if n_without_states > n { Stop::NoSnapshot } else { Stop::WindowEvicted };
            stop = owner.map_or(missing, Stop::Pending);
            path.truncate(n);
        }
        Match { path, stop, n_known }
    }

    /// The reason that a lookup ended after `node`, which is the `depth`th of its path.
    fn why(&self, node: NodeId, page: &Tokens, depth: usize) -> Stop {
        let same = |child: &NodeId| {
            let tokens = &self.nodes[child.0 as usize].tokens;
            tokens.iter().zip(page).take_while(|(a, b)| a == b).count()
        };
        // The newest are the last.
        match self.nodes[node.0 as usize].children.iter().rev().take(MAX_COMPARED).map(same).max() {
            Some(n_same) => Stop::DiffersAt(depth * PAGE_LEN + n_same),
            None if depth == 0 => Stop::Empty,
            None => Stop::NothingFollows,
        }
    }

    pub(super) fn existing_root(&self, salt: u64) -> Option<NodeId> {
        self.roots.get(&salt).copied()
    }

    pub(super) fn root(&mut self, salt: u64) -> NodeId {
        if let Some(root) = self.existing_root(salt) {
            return root;
        }
        let root = self.add(Node {
            parent: None,
            tokens: Box::new([0; PAGE_LEN]),
            children: Vec::new(),
            salt,
            owner: None,
            n_ends: 0,
            n_resumed: 0,
        });
        self.roots.insert(salt, root);
        root
    }

    pub(super) fn child(&self, node: NodeId, tokens: &Tokens) -> Option<NodeId> {
        self.edges.get(&(node, *tokens)).copied()
    }

    pub(super) fn page(&self, node: NodeId, group: usize) -> Option<PageId> {
        self.shelves[group].page(node)
    }

    pub(super) fn owner(&self, node: NodeId) -> Option<SeqId> {
        self.nodes[node.0 as usize].owner
    }

    /// Notes the sequence that computes a node's missing pages. A node without pages goes when there is none any more.
    pub(super) fn set_owner(&mut self, node: NodeId, owner: Option<SeqId>) {
        self.nodes[node.0 as usize].owner = owner;
        self.remove_if_empty(node);
    }

    pub(super) fn insert(&mut self, parent: NodeId, tokens: &Tokens, owner: Option<SeqId>) -> NodeId {
        let node = self.add(Node {
            parent: Some(parent),
            tokens: Box::new(*tokens),
            children: Vec::new(),
            salt: 0,
            owner,
            n_ends: 0,
            n_resumed: 0,
        });
        self.nodes[parent.0 as usize].children.push(node);
        self.edges.insert((parent, *tokens), node);
        node
    }

    fn add(&mut self, node: Node) -> NodeId {
        if let Some(id) = self.unused.pop() {
            self.nodes[id.0 as usize] = node;
            return id;
        }
        self.nodes.push(node);
        self.shelves.iter_mut().for_each(|shelf| shelf.reach(self.nodes.len()));
        NodeId(u32::try_from(self.nodes.len() - 1).expect("as many nodes as pages and announced pages"))
    }

    /// A node gets a page in a group, which is held.
    pub(super) fn set_page(&mut self, node: NodeId, group: usize, page: PageId, tenant: u32) {
        let parent = self.nodes[node.0 as usize].parent.expect("a root has no page");
        self.shelves[group].put(node, parent, page, tenant);
    }

    /// Has a node its pages of all groups?
    pub(super) fn is_whole(&self, node: NodeId) -> bool {
        self.shelves.iter().all(|shelf| shelf.page(node).is_some())
    }

    /// A node got its pages: no sequence waits for it any more.
    pub(super) fn completed(&mut self, node: NodeId) {
        self.nodes[node.0 as usize].owner = None;
    }

    /// A sequence takes a node's pages to resume after it, or had to compute them once more.
    pub(super) fn resumed(&mut self, node: NodeId) {
        let n_resumed = &mut self.nodes[node.0 as usize].n_resumed;
        *n_resumed = n_resumed.saturating_add(1);
    }

    /// A sequence's path ends at a node.
    pub(super) fn arrive(&mut self, node: NodeId) {
        self.nodes[node.0 as usize].n_ends += 1;
    }

    /// A sequence's path ends there no more.
    pub(super) fn depart(&mut self, node: NodeId) {
        let n_ends = &mut self.nodes[node.0 as usize].n_ends;
        *n_ends = n_ends.checked_sub(1).expect("a path that ends here");
        self.remove_if_empty(node);
    }

    /// The worth of a page that its last holder leaves: more than `worth` where prompts are seen to resume.
    pub(super) fn worth(&self, node: NodeId, kind: Kind, worth: Worth) -> Worth {
        let Node { n_resumed, children, .. } = &self.nodes[node.0 as usize];
        if *n_resumed >= MANY_RESUMED || kind.is_states() && children.len() > 1 {
            return Worth::Resume;
        }
        match *n_resumed > 0 {
            true => worth.max(Worth::Passed),
            false => worth,
        }
    }

    /// A page has a holder again.
    pub(super) fn pin(&mut self, node: NodeId, group: usize) {
        self.shelves[group].pin(node);
    }

    /// A page's last holder left.
    pub(super) fn unpin(&mut self, node: NodeId, group: usize, worth: Worth) {
        self.now += 1;
        let Node { n_resumed, children, .. } = &self.nodes[node.0 as usize];
        let shelf = &mut self.shelves[group];
        let time = match shelf.kind.is_states() {
            true => shelf.time_of_state(*n_resumed > 0 || children.len() > 1),
            false => self.now,
        };
        shelf.unpin(node, (worth, time, self.now));
    }

    /// Takes a page that has no holder out of its node.
    pub(super) fn remove(&mut self, node: NodeId, group: usize) {
        let parent = self.nodes[node.0 as usize].parent.expect("a root has no page");
        self.shelves[group].remove(node, parent);
        self.remove_if_empty(node);
    }

    /// Pages of a group, held or not.
    pub(super) fn n_pages(&self, group: usize) -> usize {
        self.shelves[group].len()
    }

    /// Evicts the page of a group that goes first, and the pages that are of no use without it; each is told to `leave`
    /// with its group and its place outside the pool, if it gets one. False if every page has a holder.
    pub(super) fn evict(
        &mut self,
        group: usize,
        n_pages: usize,
        fate: Fate,
        mut leave: impl FnMut(usize, PageId, Option<Slot>),
    ) -> bool {
        let Some(node) = self.shelves[group].first_to_go(n_pages) else { return false };
        let parent = self.nodes[node.0 as usize].parent.expect("a root has no page");
        let all = self.shelves[group].kind.keeps_all();
        for (i, shelf) in self.shelves.iter_mut().enumerate() {
            if all || i == group {
                // A window that sequences went past is not worth a copy.
                let is_worth = |worth: Worth| worth == Worth::Resume || shelf.kind.is_states();
                let resumed = shelf.left(node).filter(|(_, worth, _)| is_worth(*worth));
                if let Some(page) = shelf.remove(node, parent) {
                    let slot = match (fate, resumed) {
                        (Fate::Kept, Some((tenant, ..))) => self.away.put(node, i, tenant),
                        _ => None,
                    };
                    leave(i, page, slot);
                }
            }
        }
        if all && self.owner(node).is_none() {
            // Somebody else was faster with this page than who announced it and what follows. They compute it yet.
            let first = self.nodes[node.0 as usize].children.first();
            self.nodes[node.0 as usize].owner = first.and_then(|&child| self.owner(child));
        }
        self.remove_if_empty(node);
        true
    }

    /// Removes a node without children, pages and owner, then its parents if they are left without these.
    fn remove_if_empty(&mut self, id: NodeId) {
        let node = &self.nodes[id.0 as usize];
        let has_page = self.shelves.iter().any(|shelf| shelf.page(id).is_some()) || self.away.has(id);
        if !node.children.is_empty() || node.owner.is_some() || node.n_ends > 0 || has_page {
            return;
        }
        self.unused.push(id);
        match node.parent {
            Some(parent) => {
                self.edges.remove(&(parent, *node.tokens));
                let siblings = &mut self.nodes[parent.0 as usize].children;
                let place = siblings.iter().position(|&c| c == id).expect("a child of its parent");
                siblings.remove(place);
                self.remove_if_empty(parent);
            }
            None => {
                self.roots.remove(&node.salt);
            }
        }
    }

    /// Keeps pages that are evicted outside the pool.
    pub(super) fn keep_away(&mut self, room: Room) {
        self.away.set_room(room);
    }

    /// The pages outside the pool.
    pub(super) fn away(&self) -> &Away {
        &self.away
    }

    /// The same, to change where they are. A node that is left without a use goes with [`Tree::settle_away`].
    pub(super) fn away_mut(&mut self) -> &mut Away {
        &mut self.away
    }

    /// Makes room outside the pool, a page at a time.
    pub(super) fn settle_away(&mut self) -> Option<Step> {
        let step = self.away.settle()?;
        if let Step::Forget(node, _) = step {
            self.remove_if_empty(node);
        }
        Some(step)
    }

    /// Gives up any page outside the pool.
    pub(super) fn pop_away(&mut self) -> Option<Slot> {
        let (node, slot) = self.away.pop()?;
        self.remove_if_empty(node);
        Some(slot)
    }

    /// A page outside the pool is lost.
    pub(super) fn lose_away(&mut self, slot: Slot) {
        if let Some(node) = self.away.lose(slot) {
            self.remove_if_empty(node);
        }
    }

    /// All pages on disk are lost.
    pub(super) fn lose_disk(&mut self) {
        while let Some(node) = self.away.pop_disk() {
            self.remove_if_empty(node);
        }
    }

    pub(super) fn n_nodes(&self) -> usize {
        self.shelves.iter().map(Shelf::len).max().unwrap_or(0)
    }

    /// All pages of a group in the tree.
    #[cfg(test)]
    pub(super) fn pages(&self, group: usize) -> Vec<PageId> {
        (0..self.nodes.len()).filter_map(|i| self.shelves[group].page(NodeId(i as u32))).collect()
    }

    #[cfg(test)]
    pub(super) fn check(&self, is_held: impl Fn(usize, PageId) -> bool) {
        let unused: std::collections::BTreeSet<NodeId> = self.unused.iter().copied().collect();
        assert_eq!(unused.len(), self.unused.len());
        for (i, node) in self.nodes.iter().enumerate() {
            let id = NodeId(i as u32);
            let n_pages = self.shelves.iter().filter(|shelf| shelf.page(id).is_some()).count();
            if unused.contains(&id) {
                assert!(n_pages == 0 && !self.away.has(id));
                continue;
            }
            match node.parent {
                Some(parent) => {
                    assert_eq!(self.child(parent, &node.tokens), Some(id));
                    assert!(self.nodes[parent.0 as usize].children.contains(&id));
                    let has_page = n_pages > 0 || self.away.has(id);
                    let is_empty = node.children.is_empty() && node.owner.is_none() && !has_page;
                    assert!(!is_empty || node.n_ends > 0, "an empty node goes");
                }
                None => assert_eq!(self.existing_root(node.salt), Some(id)),
            }
            for shelf in self.shelves.iter().filter(|shelf| shelf.kind.keeps_all()) {
                assert!(n_pages == 0 || shelf.page(id).is_some(), "no page is of use without this one");
            }
        }
        for (group, shelf) in self.shelves.iter().enumerate() {
            let children = |id: NodeId| self.nodes[id.0 as usize].children.as_slice();
            shelf.check(children, |page| is_held(group, page), &unused);
        }
        self.away.check(|node, group| self.shelves[group].page(node).is_some());
        assert_eq!(self.edges.len() + self.roots.len() + self.unused.len(), self.nodes.len());
    }
}
