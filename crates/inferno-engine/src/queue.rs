//! Who is next: classes by priority with aging, and inside a class deficit round robin over tokens among tenants.
//!
//! A tenant's deficit is what it may still take in this round. Every token computed for it is charged; when a round is
//! over, each tenant that waits gets a quantum more (Shreedhar and Varghese, "Efficient fair queuing using deficit round
//! robin", 1995).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};

use foldhash::fast::RandomState;

use crate::request::{Micros, SeqId};

/// Tokens a tenant gets in a round.
const QUANTUM: i64 = 512;

/// Tokens of a completion that are charged as they come, for orders foreseen.
const TYPICAL_COMPLETION: usize = 128;

/// What every tenant may still take. A tenant that has nothing left here is forgotten once it owes nothing: else one large
/// request after the other would each begin without debts.
#[derive(Debug, Default)]
pub(crate) struct Deficits {
    tenants: HashMap<u32, Account, RandomState>,
}

#[derive(Debug, Default)]
struct Account {
    deficit: i64,
    n_sequences: usize,
}

impl Deficits {
    /// A tenant has a sequence more. A new one begins beside the best of those that are here: what they took while they
    /// were alone was taken from nobody.
    pub(crate) fn join(&mut self, tenant: u32) {
        if !self.tenants.contains_key(&tenant) {
            let here = self.tenants.values().filter(|account| account.n_sequences > 0);
            let deficit = here.map(|account| account.deficit).max().unwrap_or(0).min(0);
            self.tenants.insert(tenant, Account { deficit, n_sequences: 0 });
        }
        self.tenants.entry(tenant).or_default().n_sequences += 1;
    }

    /// It has one less.
    pub(crate) fn leave(&mut self, tenant: u32) {
        let account = self.tenants.get_mut(&tenant).expect("it joined");
        account.n_sequences -= 1;
        if account.n_sequences == 0 && account.deficit >= 0 {
            self.tenants.remove(&tenant);
        }
    }

    /// Tokens were computed for it.
    pub(crate) fn charge(&mut self, tenant: u32, n_tokens: usize) {
        if let Some(account) = self.tenants.get_mut(&tenant) {
            account.deficit -= n_tokens as i64;
        }
    }

    pub(crate) fn of(&self, tenant: u32) -> i64 {
        self.tenants.get(&tenant).map_or(0, |account| account.deficit)
    }

    /// So many rounds pass for these tenants, and for those that left with debts.
    fn pass(&mut self, tenants: &[u32], n_rounds: i64) {
        for tenant in tenants {
            self.tenants.entry(*tenant).or_default().deficit += n_rounds * QUANTUM;
        }
        self.tenants.retain(|_, account| {
            account.deficit += if account.n_sequences == 0 { n_rounds * QUANTUM } else { 0 };
            account.n_sequences > 0 || account.deficit < 0
        });
    }
}

/// Sequences that wait.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    classes: BTreeMap<i32, Class>,
    n_sequences: usize,
    n_tokens: usize,
}

#[derive(Debug, Default)]
struct Class {
    /// Tenants that wait, the next one first.
    ring: VecDeque<u32>,
    tenants: HashMap<u32, VecDeque<Waiting>, RandomState>,
}

/// A sequence in the queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    pub(crate) id: SeqId,
    pub(crate) tenant: u32,
    /// Lower ones first.
    pub(crate) class: i32,
    pub(crate) arrived: Micros,
    /// Tokens to compute before it can go on.
    pub(crate) n_tokens: usize,
}

impl Waiting {
    /// Its class less what it has risen.
    fn risen(&self, now: Micros, aging: Micros) -> i64 {
        i64::from(self.class) - (now.saturating_sub(self.arrived) / aging.max(1)) as i64
    }

    /// Is it of a better class than one that runs, which has not risen past it?
    pub(crate) fn goes_before(&self, other: &Waiting, now: Micros, aging: Micros) -> bool {
        self.class < other.class && self.risen(now, aging) < other.risen(now, aging)
    }
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.n_sequences
    }

    pub(crate) fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// The best class of those that wait.
    pub(crate) fn best_class(&self) -> Option<i32> {
        self.classes.keys().next().copied()
    }

    /// At the end of its tenant's line.
    pub(crate) fn push(&mut self, waiting: Waiting) {
        self.line(&waiting).push_back(waiting);
    }

    /// Back to the front, after it has been preempted.
    pub(crate) fn push_front(&mut self, waiting: Waiting) {
        self.line(&waiting).push_front(waiting);
    }

    fn line(&mut self, waiting: &Waiting) -> &mut VecDeque<Waiting> {
        self.n_sequences += 1;
        self.n_tokens += waiting.n_tokens;
        let class = self.classes.entry(waiting.class).or_default();
        if !class.tenants.contains_key(&waiting.tenant) {
            class.ring.push_back(waiting.tenant);
        }
        class.tenants.entry(waiting.tenant).or_default()
    }

    /// The next one of those that can go, which stays in the queue. A class rises by one for every `aging` that its oldest
    /// has waited; a class that rose past others gives its oldest.
    pub(crate) fn next(
        &mut self,
        now: Micros,
        aging: Micros,
        deficits: &mut Deficits,
        can_go: &dyn Fn(SeqId) -> bool,
    ) -> Option<Waiting> {
        let mut best: Option<(i64, i32, Waiting)> = None;
        for (&number, class) in &self.classes {
            let firsts = class.tenants.values().filter_map(|line| line.iter().find(|w| can_go(w.id)));
            let Some(oldest) = firsts.min_by_key(|w| (w.arrived, w.id)) else { continue };
            let risen = oldest.risen(now, aging);
            if best.is_none_or(|(least, ..)| risen < least) {
                best = Some((risen, number, *oldest));
            }
        }
        let (_, number, oldest) = best?;
        if self
            .classes
            .range(..number)
            .any(|(_, class)| class.tenants.values().flatten().any(|w| can_go(w.id)))
        {
            return Some(oldest);
        }
        self.classes.get_mut(&number)?.round_robin(deficits, can_go)
    }

    /// Takes a sequence out.
    pub(crate) fn remove(&mut self, waiting: &Waiting) {
        let Some(class) = self.classes.get_mut(&waiting.class) else { return };
        let Some(line) = class.tenants.get_mut(&waiting.tenant) else { return };
        let Some(place) = line.iter().position(|w| w.id == waiting.id) else { return };
        let removed = line.remove(place).expect("it was found there");
        self.n_sequences -= 1;
        self.n_tokens -= removed.n_tokens;
        if line.is_empty() {
            class.tenants.remove(&waiting.tenant);
            class.ring.retain(|&t| t != waiting.tenant);
            if class.ring.is_empty() {
                self.classes.remove(&waiting.class);
            }
        }
    }

    /// Sequences in the order in which they will be next, about: class by class, and in it each time the tenant that had
    /// least.
    pub(crate) fn order(&self, deficits: &Deficits) -> Vec<SeqId> {
        let mut order = Vec::with_capacity(self.n_sequences);
        for class in self.classes.values() {
            let credit = |(place, tenant): (usize, &u32)| (deficits.of(*tenant), Reverse(place), *tenant);
            let mut tenants: BinaryHeap<_> = class.ring.iter().enumerate().map(credit).collect();
            let mut lines: HashMap<u32, std::collections::vec_deque::Iter<'_, Waiting>> =
                class.tenants.iter().map(|(tenant, line)| (*tenant, line.iter())).collect();
            while let Some((credit, place, tenant)) = tenants.pop() {
                let Some(next) = lines.get_mut(&tenant).and_then(Iterator::next) else { continue };
                order.push(next.id);
                tenants.push((credit - (next.n_tokens + TYPICAL_COMPLETION) as i64, place, tenant));
            }
        }
        order
    }

    /// For every sequence how many there are before it in its class and in those before it, about.
    pub(crate) fn places(&self) -> HashMap<SeqId, usize, RandomState> {
        let mut places = HashMap::with_capacity_and_hasher(self.n_sequences, RandomState::default());
        for class in self.classes.values() {
            let mut line: Vec<&Waiting> = class.tenants.values().flatten().collect();
            line.sort_unstable_by_key(|w| (w.arrived, w.id));
            for waiting in line {
                places.insert(waiting.id, places.len());
            }
        }
        places
    }
}

impl Class {
    fn round_robin(&mut self, deficits: &mut Deficits, can_go: &dyn Fn(SeqId) -> bool) -> Option<Waiting> {
        let first = |class: &Class, tenant: u32| {
            class.tenants.get(&tenant).and_then(|line| line.iter().find(|w| can_go(w.id))).copied()
        };
        let ready: Vec<u32> = self.ring.iter().copied().filter(|&t| first(self, t).is_some()).collect();
        let most = ready.iter().map(|&t| deficits.of(t)).max()?;
        if most <= 0 {
            // As many rounds as it takes until one of them may go.
            let n_rounds = -most / QUANTUM + 1;
            deficits.pass(&ready, n_rounds);
        }
        // A tenant stays at the front until it has used up its deficit.
        let place = self.ring.iter().position(|t| ready.contains(t) && deficits.of(*t) > 0)?;
        self.ring.rotate_left(place);
        first(self, *self.ring.front()?)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
