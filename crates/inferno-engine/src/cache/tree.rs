//! The nodes, and the order in which they go.

use std::collections::{BTreeSet, HashMap};

use foldhash::fast::RandomState;
use inferno_model::batch::{PAGE_LEN, PageId};

use super::Stop;
use crate::request::SeqId;

/// A node of the tree; ids are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NodeId(u32);

/// Children that are looked at to say where a prompt differs.
const MAX_COMPARED: usize = 64;

type Tokens = [u32; PAGE_LEN];

#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    unused: Vec<NodeId>,
    roots: HashMap<u64, NodeId, RandomState>,
    edges: HashMap<(NodeId, Tokens), NodeId, RandomState>,
    /// Leaves that nobody holds, by tenant, the longest unused first.
    leaves: HashMap<u32, BTreeSet<(u64, NodeId)>, RandomState>,
    /// Pages of every tenant in the tree.
    n_pages: HashMap<u32, usize, RandomState>,
    now: u64,
}

#[derive(Debug)]
struct Node {
    parent: Option<NodeId>,
    tokens: Box<Tokens>,
    children: Vec<NodeId>,
    /// Children with a page.
    n_ready: usize,
    /// The salt of a root.
    salt: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Root,
    /// A sequence computes it.
    Pending(SeqId),
    /// `last_used` is when its last holder left, and `None` while it has one.
    Ready {
        page: PageId,
        tenant: u32,
        last_used: Option<u64>,
    },
}

impl Tree {
    pub(super) fn find(&self, salt: u64, tokens: &[u32], limit: usize) -> (Vec<NodeId>, Stop) {
        let Some(root) = self.existing_root(salt) else {
            let stop = if limit < PAGE_LEN { Stop::Whole } else { Stop::Empty };
            return (Vec::new(), stop);
        };
        let (mut node, mut path) = (root, Vec::new());
        for page in tokens[..limit].as_chunks::<PAGE_LEN>().0 {
            let Some(child) = self.child(node, page) else {
                let stop = self.why(node, page, node == root);
                return (path, stop);
            };
            match self.nodes[child.0 as usize].state {
                State::Pending(owner) => return (path, Stop::Pending(owner)),
                State::Ready { .. } => path.push(child),
                State::Root => unreachable!("a root is no child"),
            }
            node = child;
        }
        (path, Stop::Whole)
    }

    /// Why nothing was found after `node`.
    fn why(&self, node: NodeId, page: &Tokens, is_root: bool) -> Stop {
        let node = &self.nodes[node.0 as usize];
        let depth = self.depth(node);
        let same = |child: &NodeId| {
            let tokens = &self.nodes[child.0 as usize].tokens;
            tokens.iter().zip(page).take_while(|(a, b)| a == b).count()
        };
        // The newest are the last.
        match node.children.iter().rev().take(MAX_COMPARED).map(same).max() {
            Some(n_same) => Stop::DiffersAt(depth * PAGE_LEN + n_same),
            None if is_root => Stop::Empty,
            None => Stop::NothingFollows,
        }
    }

    fn depth(&self, node: &Node) -> usize {
        std::iter::successors(node.parent, |p| self.nodes[p.0 as usize].parent).count()
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
            n_ready: 0,
            salt,
            state: State::Root,
        });
        self.roots.insert(salt, root);
        root
    }

    pub(super) fn child(&self, node: NodeId, tokens: &Tokens) -> Option<NodeId> {
        self.edges.get(&(node, *tokens)).copied()
    }

    pub(super) fn page(&self, node: NodeId) -> Option<PageId> {
        match self.nodes[node.0 as usize].state {
            State::Ready { page, .. } => Some(page),
            _ => None,
        }
    }

    pub(super) fn owner(&self, node: NodeId) -> Option<SeqId> {
        match self.nodes[node.0 as usize].state {
            State::Pending(owner) => Some(owner),
            _ => None,
        }
    }

    pub(super) fn insert(&mut self, parent: NodeId, tokens: &Tokens, owner: SeqId) -> NodeId {
        let node = self.add(Node {
            parent: Some(parent),
            tokens: Box::new(*tokens),
            children: Vec::new(),
            n_ready: 0,
            salt: 0,
            state: State::Pending(owner),
        });
        self.nodes[parent.0 as usize].children.push(node);
        self.edges.insert((parent, *tokens), node);
        node
    }

    fn add(&mut self, node: Node) -> NodeId {
        match self.unused.pop() {
            Some(id) => {
                self.nodes[id.0 as usize] = node;
                id
            }
            None => {
                self.nodes.push(node);
                NodeId(
                    u32::try_from(self.nodes.len() - 1).expect("as many nodes as pages and announced pages"),
                )
            }
        }
    }

    /// A pending node gets its page, which is held.
    pub(super) fn set_page(&mut self, node: NodeId, page: PageId, tenant: u32) {
        let parent = self.nodes[node.0 as usize].parent.expect("a root has no page");
        self.no_leaf(parent);
        self.nodes[parent.0 as usize].n_ready += 1;
        self.nodes[node.0 as usize].state = State::Ready { page, tenant, last_used: None };
        *self.n_pages.entry(tenant).or_default() += 1;
    }

    /// A page has a holder again.
    pub(super) fn pin(&mut self, node: NodeId) {
        self.no_leaf(node);
        let State::Ready { last_used, .. } = &mut self.nodes[node.0 as usize].state else {
            unreachable!("only a page is held");
        };
        *last_used = None;
    }

    /// A page's last holder left.
    pub(super) fn unpin(&mut self, node: NodeId) {
        self.now += 1;
        let State::Ready { last_used, .. } = &mut self.nodes[node.0 as usize].state else {
            unreachable!("only a page is held");
        };
        *last_used = Some(self.now);
        self.maybe_leaf(node);
    }

    /// Makes a node evictable if nobody holds it and nothing with a page follows it.
    fn maybe_leaf(&mut self, id: NodeId) {
        let node = &self.nodes[id.0 as usize];
        if let State::Ready { tenant, last_used: Some(at), .. } = node.state
            && node.n_ready == 0
        {
            self.leaves.entry(tenant).or_default().insert((at, id));
        }
    }

    /// Makes it not evictable.
    fn no_leaf(&mut self, id: NodeId) {
        if let State::Ready { tenant, last_used: Some(at), .. } = self.nodes[id.0 as usize].state
            && let Some(leaves) = self.leaves.get_mut(&tenant)
        {
            leaves.remove(&(at, id));
            if leaves.is_empty() {
                self.leaves.remove(&tenant);
            }
        }
    }

    /// Removes the leaf that goes first, and gives its page: the longest unused of the tenant that is furthest above its
    /// share of all `n_pages`, or of everybody's if none is.
    pub(super) fn evict(&mut self, n_pages: usize) -> Option<PageId> {
        let share = n_pages / self.n_pages.len().max(1);
        let oldest = |leaves: &BTreeSet<(u64, NodeId)>| *leaves.first().expect("an empty set is removed");
        let over = self.leaves.iter().map(|(tenant, leaves)| {
            let n = self.n_pages.get(tenant).copied().unwrap_or(0);
            (n.saturating_sub(share), std::cmp::Reverse(oldest(leaves)))
        });
        let (_, std::cmp::Reverse((_, node))) = over.max()?;
        let page = self.page(node);
        let first = self.nodes[node.0 as usize].children.first().copied();
        match first.and_then(|child| self.owner(child)) {
            // Somebody else was faster with this page than who announced it and what follows. They compute it yet.
            Some(owner) => {
                self.take_page(node);
                self.nodes[node.0 as usize].state = State::Pending(owner);
            }
            None => self.remove(node),
        }
        page
    }

    /// A node loses its page, if it has one.
    fn take_page(&mut self, id: NodeId) {
        self.no_leaf(id);
        let Node { state: State::Ready { tenant, .. }, parent: Some(parent), .. } = self.nodes[id.0 as usize]
        else {
            return;
        };
        let n = self.n_pages.get_mut(&tenant).expect("it has this page");
        *n -= 1;
        if *n == 0 {
            self.n_pages.remove(&tenant);
        }
        self.nodes[parent.0 as usize].n_ready -= 1;
        self.maybe_leaf(parent);
    }

    /// Removes a node without children.
    pub(super) fn remove(&mut self, id: NodeId) {
        self.take_page(id);
        let node = &mut self.nodes[id.0 as usize];
        assert!(node.children.is_empty(), "leaves go first");
        match node.parent {
            Some(parent) => {
                let tokens = *node.tokens;
                self.edges.remove(&(parent, tokens));
                let siblings = &mut self.nodes[parent.0 as usize].children;
                let place = siblings.iter().position(|&c| c == id).expect("a child of its parent");
                siblings.remove(place);
                self.unused.push(id);
                let is_childless = siblings.is_empty();
                if is_childless && self.nodes[parent.0 as usize].state == State::Root {
                    self.remove(parent);
                }
            }
            None => {
                let salt = node.salt;
                self.roots.remove(&salt);
                self.unused.push(id);
            }
        }
    }

    pub(super) fn n_nodes(&self) -> usize {
        self.n_pages.values().sum()
    }

    #[cfg(test)]
    pub(super) fn check(&self, pages: &crate::pages::Pages) {
        let unused: BTreeSet<NodeId> = self.unused.iter().copied().collect();
        assert_eq!(unused.len(), self.unused.len());
        let mut n_ready = 0;
        for (i, node) in self.nodes.iter().enumerate() {
            let id = NodeId(i as u32);
            if unused.contains(&id) {
                continue;
            }
            match node.parent {
                Some(parent) => {
                    assert_eq!(self.child(parent, &node.tokens), Some(id));
                    assert!(self.nodes[parent.0 as usize].children.contains(&id));
                }
                None => assert_eq!(self.existing_root(node.salt), Some(id)),
            }
            let ready = node.children.iter().filter(|&&c| self.page(c).is_some());
            assert_eq!(ready.count(), node.n_ready);
            if let State::Ready { page, tenant, last_used } = node.state {
                n_ready += 1;
                assert_eq!(last_used.is_none(), pages.is_held(page), "a page is pinned while it is held");
                let is_leaf = last_used.is_some() && node.n_ready == 0;
                let listed = last_used
                    .is_some_and(|at| self.leaves.get(&tenant).is_some_and(|l| l.contains(&(at, id))));
                assert_eq!(is_leaf, listed, "leaves that nobody holds can be evicted");
            }
        }
        assert_eq!(n_ready, self.n_nodes());
        assert_eq!(self.edges.len() + self.roots.len() + self.unused.len(), self.nodes.len());
    }
}
