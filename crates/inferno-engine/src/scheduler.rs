//! What the next step computes: pure integers, no floats, no clock of its own.
//!
//! ```text
//! plan      decode rows of all that decode, chunks of prompts up to a budget, drafts where they cost little
//! (the model computes the step)
//! commit    per sequence: positions that now have keys and values, tokens that were chosen
//! observe   how long the step took: the budget adapts
//! ```
//!
//! A sequence that runs holds pages for what it has computed. When there are none left, the last in rank is preempted: its
//! full pages stay in the prefix cache as long as nobody needs them, so it resumes where it was. A sequence that was
//! preempted twice is pinned when it runs again: all pages it can ever need are reserved, and nobody preempts it.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Range;

use foldhash::fast::RandomState;
use inferno_model::batch::{PAGE_LEN, PageId};

use crate::budget::Budget;
use crate::cache::{KvCache, NodeId, Stop};
use crate::queue::{Deficits, Queue, Waiting};
use crate::request::{Micros, SeqId};

/// How often a sequence may be preempted before it is pinned.
const MAX_PREEMPTIONS: u32 = 2;

/// Sequences that are found to wait for another's pages in one step, at most: each costs a look at the whole queue.
const MAX_PENDING: usize = 16;

/// The limits of a scheduler.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Pages of the KV pool.
    pub n_pages: usize,
    /// Sequences that run at once.
    pub max_sequences: usize,
    /// Prompt rows of a step, at most; decode rows and guesses come on top.
    pub max_rows: usize,
    /// Prompt rows of a step that also decodes, at least.
    pub min_rows: usize,
    /// Rows with logits beside those that decode, at most: drafts and scored prompts.
    pub max_logits: usize,
    /// How long a step that decodes should take, at most.
    pub step_target: Micros,
    /// A sequence rises by a class for every so long that it waits.
    pub aging: Micros,
    /// Are pages shared?
    pub prefix_cache: bool,
}

/// A sequence: its tokens, pages and place.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub(crate) id: SeqId,
    /// Prompt and completion.
    pub(crate) tokens: Vec<u32>,
    pub(crate) n_prompt: usize,
    /// Tokens it can have at most.
    pub(crate) max_len: usize,
    /// Positions with keys and values.
    pub(crate) n_computed: usize,
    /// Page i holds positions `i * PAGE_LEN ..`.
    pub(crate) table: Vec<PageId>,
    /// The nodes of its first pages, those that are in the tree.
    path: Vec<NodeId>,
    pub(crate) salt: u64,
    pub(crate) tenant: u32,
    pub(crate) class: i32,
    pub(crate) arrived: Micros,
    pub(crate) deadline: Option<Micros>,
    /// Rows of the prompt whose logits are wanted and have not been seen are not taken from the cache.
    pub(crate) scored: Option<usize>,
    pub(crate) n_preemptions: u32,
    /// Must steps with it have nobody else? It was in one that failed.
    pub(crate) alone_until: usize,
    /// Pages kept for it beyond those it has; `None` if it is not pinned.
    reserved: Option<usize>,
    /// It waits until that sequence has so many nodes.
    waits_for: Option<(SeqId, usize)>,
    is_running: bool,
    /// When it was last admitted, as a count.
    admitted: u64,
    /// Of the first admission: tokens that were cached, and why not more.
    pub(crate) first_match: Option<(usize, Stop)>,
}

impl Sequence {
    /// Does it need one row with its last token?
    pub(crate) fn is_decoding(&self) -> bool {
        self.n_computed + 1 == self.tokens.len()
    }

    fn waiting(&self) -> Waiting {
        let n_tokens = self.tokens.len();
        Waiting { id: self.id, tenant: self.tenant, class: self.class, arrived: self.arrived, n_tokens }
    }

    /// Tokens that may come from the cache: never the last, as its row is what says how to go on.
    fn cacheable(&self) -> usize {
        let last = self.tokens.len() - 1;
        self.scored.map_or(last, |scored| scored.min(last))
    }
}

/// What a new sequence comes with.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) id: SeqId,
    pub(crate) tokens: Vec<u32>,
    pub(crate) max_len: usize,
    pub(crate) salt: u64,
    pub(crate) tenant: u32,
    pub(crate) class: i32,
    pub(crate) now: Micros,
    pub(crate) deadline: Option<Micros>,
    pub(crate) scored: bool,
}

/// One sequence's rows of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlanSpan {
    pub(crate) id: SeqId,
    /// Of its tokens.
    pub(crate) rows: Range<usize>,
    /// Guesses that follow them, in [`Plan::drafts`].
    pub(crate) drafts: Range<usize>,
}

/// One step.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) spans: Vec<PlanSpan>,
    pub(crate) drafts: Vec<u32>,
    pub(crate) n_rows: usize,
    pub(crate) n_decoding: usize,
    /// Prompt rows; did the budget cut them?
    pub(crate) n_prompt_rows: usize,
    pub(crate) was_cut: bool,
    /// Sequences that run for the first time.
    pub(crate) started: Vec<SeqId>,
}

/// Guesses what comes after a sequence's tokens.
pub(crate) trait Drafter {
    /// Appends up to `max` guesses to `out`.
    fn draft(&mut self, id: SeqId, tokens: &[u32], max: usize, out: &mut Vec<u32>);
}

/// How many are where, and what has happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScheduleCounts {
    /// Sequences that wait.
    pub waiting: usize,
    /// Their tokens.
    pub waiting_tokens: usize,
    /// Sequences that run.
    pub running: usize,
    /// Sequences that lost their pages, so far.
    pub preemptions: u64,
}

/// All sequences, their pages and their order.
#[derive(Debug)]
pub(crate) struct Scheduler {
    limits: Limits,
    cache: KvCache,
    sequences: HashMap<SeqId, Sequence, RandomState>,
    /// By rank, best first.
    running: Vec<SeqId>,
    queue: Queue,
    deficits: Deficits,
    /// Pages kept for pinned sequences beyond those they have.
    n_reserved: usize,
    budget: Budget,
    n_admitted: u64,
    n_preemptions: u64,
    n_deadlines: usize,
}

/// Why a sequence cannot run now.
enum Denied {
    /// Another computes its next page.
    Pending,
    NoRoom,
}

impl Scheduler {
    pub(crate) fn new(limits: Limits) -> Scheduler {
        assert!(
            limits.max_sequences > 0 && limits.max_rows > 0 && limits.min_rows > 0,
            "limits allow something"
        );
        Scheduler {
            cache: KvCache::new(limits.n_pages),
            budget: Budget::new(limits.min_rows, limits.max_rows, limits.step_target),
            sequences: HashMap::default(),
            running: Vec::new(),
            queue: Queue::default(),
            deficits: Deficits::default(),
            n_reserved: 0,
            n_admitted: 0,
            n_preemptions: 0,
            n_deadlines: 0,
            limits,
        }
    }

    pub(crate) fn cache(&self) -> &KvCache {
        &self.cache
    }

    pub(crate) fn counts(&self) -> ScheduleCounts {
        ScheduleCounts {
            waiting: self.queue.len(),
            waiting_tokens: self.queue.n_tokens(),
            running: self.running.len(),
            preemptions: self.n_preemptions,
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.sequences.is_empty()
    }

    pub(crate) fn get(&self, id: SeqId) -> Option<&Sequence> {
        self.sequences.get(&id)
    }

    /// Sequences whose time is over.
    pub(crate) fn expired(&self, now: Micros) -> Vec<SeqId> {
        if self.n_deadlines == 0 {
            return Vec::new();
        }
        let over = self.sequences.values().filter(|s| s.deadline.is_some_and(|at| at <= now));
        let mut over: Vec<SeqId> = over.map(|s| s.id).collect();
        over.sort_unstable();
        over
    }

    /// All sequences in no order.
    pub(crate) fn sequences(&self) -> impl Iterator<Item = &Sequence> {
        self.sequences.values()
    }

    fn is_running(&self, id: SeqId) -> bool {
        self.sequences.get(&id).is_some_and(|s| s.is_running)
    }

    /// Sequences before a waiting one, about.
    pub(crate) fn place(&self, id: SeqId) -> Option<usize> {
        self.sequences.get(&id).filter(|s| !s.is_running).map(|s| self.queue.place(&s.waiting()))
    }

    /// A sequence joins the queue. It must fit alone.
    pub(crate) fn add(&mut self, arrival: Arrival) {
        let Arrival { id, tokens, max_len, salt, tenant, class, now, deadline, scored } = arrival;
        assert!(max_len.div_ceil(PAGE_LEN) <= self.limits.n_pages, "a request that never fits is refused");
        let sequence = Sequence {
            id,
            n_prompt: tokens.len(),
            tokens,
            max_len,
            n_computed: 0,
            table: Vec::new(),
            path: Vec::new(),
            salt,
            tenant,
            class,
            arrived: now,
            deadline,
            scored: scored.then_some(0),
            n_preemptions: 0,
            alone_until: 0,
            reserved: None,
            waits_for: None,
            is_running: false,
            admitted: 0,
            first_match: None,
        };
        self.n_deadlines += usize::from(deadline.is_some());
        self.deficits.join(tenant);
        self.queue.push(sequence.waiting());
        self.sequences.insert(id, sequence);
    }

    /// Decides on a step.
    pub(crate) fn plan(&mut self, now: Micros, drafter: &mut dyn Drafter, plan: &mut Plan) {
        plan.clear();
        let Self { running, sequences, deficits, .. } = self;
        running.sort_by_key(|id| {
            let s = &sequences[id];
            (s.class, s.reserved.is_none(), Reverse(deficits.of(s.tenant)), s.admitted)
        });
        if let Some(alone) = self.running.iter().copied().find(|id| self.is_alone(*id)) {
            self.plan_alone(alone, plan);
            return;
        }
        let n_decoding = self.running.iter().filter(|id| self.sequences[id].is_decoding()).count();
        let mut room = self.budget.prompt_rows(n_decoding);
        let mut n_scored = self.limits.max_logits;
        let mut i = 0;
        while i < self.running.len() {
            let id = self.running[i];
            if self.queue.best_class().is_some_and(|class| class < self.sequences[&id].class) {
                self.admit(now, Some(id), &mut room, &mut n_scored, plan);
            }
            // It may have lost its place, or have come just now.
            if self.running.get(i) == Some(&id) && !plan.has(id) {
                self.plan_rows(id, &mut room, &mut n_scored, plan);
            }
            i += usize::from(self.running.get(i) == Some(&id));
        }
        self.admit(now, None, &mut room, &mut n_scored, plan);
        self.plan_drafts(n_scored, drafter, plan);
    }

    fn is_alone(&self, id: SeqId) -> bool {
        let s = &self.sequences[&id];
        s.alone_until > s.n_computed
    }

    /// A step for a sequence that was in one that failed.
    fn plan_alone(&mut self, id: SeqId, plan: &mut Plan) {
        let mut room = self.budget.prompt_rows(0);
        let mut n_scored = self.limits.max_logits;
        self.plan_rows(id, &mut room, &mut n_scored, plan);
    }

    /// Rows for a sequence that runs, and pages for them.
    fn plan_rows(&mut self, id: SeqId, room: &mut usize, n_scored: &mut usize, plan: &mut Plan) {
        let s = &self.sequences[&id];
        let start = s.n_computed;
        let is_decoding = s.is_decoding();
        let mut n = s.tokens.len() - start;
        if !is_decoding {
            let mut most = *room;
            if s.scored.is_some() {
                most = most.min((*n_scored).max(1));
            }
            plan.was_cut |= most < n;
            n = n.min(most);
        }
        if n == 0 || !self.grow(id, start + n, plan) {
            return;
        }
        if is_decoding {
            plan.n_decoding += 1;
        } else {
            *room -= n;
            plan.n_prompt_rows += n;
            if self.sequences[&id].scored.is_some() {
                *n_scored = n_scored.saturating_sub(n);
            }
        }
        plan.n_rows += n;
        plan.spans.push(PlanSpan { id, rows: start..start + n, drafts: 0..0 });
    }

    /// Pages for `len` positions. Those after it in rank give theirs up if need be; if that is not enough, it is preempted
    /// itself, and the answer is no.
    fn grow(&mut self, id: SeqId, len: usize, plan: &Plan) -> bool {
        let needed = len.div_ceil(PAGE_LEN);
        while self.sequences[&id].table.len() < needed {
            if self.take_page(id) {
                continue;
            }
            let victim = self.running.iter().rev().take_while(|other| **other != id).copied();
            let mut victims =
                victim.filter(|other| self.sequences[other].reserved.is_none() && !plan.has(*other));
            let victim = victims.next().unwrap_or(id);
            self.preempt(victim);
            if victim == id {
                return false;
            }
        }
        true
    }

    /// A page more, if there is one that is not kept for others.
    fn take_page(&mut self, id: SeqId) -> bool {
        let s = self.sequences.get_mut(&id).expect("a sequence that runs");
        match &mut s.reserved {
            Some(reserved) if *reserved > 0 => {
                *reserved -= 1;
                self.n_reserved -= 1;
            }
            _ if self.cache.n_available() > self.n_reserved => {}
            _ => return false,
        }
        s.table.push(self.cache.take().expect("it was reserved or available"));
        true
    }

    /// Lets sequences in while there is room; of those that go before `ahead_of`, if it says so.
    fn admit(
        &mut self,
        now: Micros,
        ahead_of: Option<SeqId>,
        room: &mut usize,
        n_scored: &mut usize,
        plan: &mut Plan,
    ) {
        let mut n_pending = 0;
        while *room > 0 && n_pending < MAX_PENDING {
            let Self { queue, sequences, deficits, limits, .. } = self;
            let can_go = |id: SeqId| {
                !sequences[&id].waits_for.is_some_and(|(other, n)| {
                    sequences.get(&other).is_some_and(|other| other.is_running && other.path.len() < n)
                })
            };
            let Some(next) = queue.next(now, limits.aging, deficits, &can_go) else { return };
            if ahead_of.is_some_and(|id| !next.goes_before(&sequences[&id].waiting(), now, limits.aging)) {
                return;
            }
            match self.try_admit(next.id) {
                Ok(is_first) => {
                    if is_first {
                        plan.started.push(next.id);
                    }
                    if self.is_alone(next.id) {
                        // Not with the others of this step.
                        return;
                    }
                    self.plan_rows(next.id, room, n_scored, plan);
                }
                Err(Denied::Pending) => n_pending += 1,
                Err(Denied::NoRoom) => {
                    if !self.preempt_lower(&next, now, plan) {
                        return;
                    }
                    if ahead_of.is_some_and(|id| !self.is_running(id)) {
                        // The rest is for the general admission to decide.
                        return;
                    }
                }
            }
        }
    }

    /// Lets it in; is it for the first time?
    fn try_admit(&mut self, id: SeqId) -> Result<bool, Denied> {
        if self.running.len() >= self.limits.max_sequences {
            return Err(Denied::NoRoom);
        }
        let s = &self.sequences[&id];
        let limit = if self.limits.prefix_cache { s.cacheable() } else { 0 };
        let found = self.cache.find(s.salt, &s.tokens, limit);
        if let Stop::Pending(owner) = found.stop
            && let Some(other) = self.sequences.get(&owner)
            && owner != id
        {
            let same = s.tokens[..limit].iter().zip(&other.tokens).take_while(|(a, b)| a == b).count();
            let class = s.class.min(other.class);
            let n = (same / PAGE_LEN).max(found.path.len() + 1);
            // Who is waited for runs as if it were who waits.
            self.sequences.get_mut(&owner).expect("just found").class = class;
            self.sequences.get_mut(&id).expect("just found").waits_for = Some((owner, n));
            return Err(Denied::Pending);
        }
        let is_pinned = s.n_preemptions >= MAX_PREEMPTIONS;
        let worst = s.max_len.div_ceil(PAGE_LEN) - found.path.len();
        let (n_tokens, tenant, salt) = (s.tokens.len(), s.tenant, s.salt);
        let needed = if is_pinned { worst } else { n_tokens.div_ceil(PAGE_LEN) - found.path.len() };
        // Who decodes may need a page soon.
        let headroom = if is_pinned { 0 } else { self.running.len().min(worst - needed) };
        let available = self.cache.n_available() - self.cache.n_unheld(&found.path);
        if available < self.n_reserved + needed + headroom {
            return Err(Denied::NoRoom);
        }
        let table = self.cache.hold(&found.path);
        self.n_admitted += 1;
        self.queue.remove(&self.sequences[&id].waiting());
        let s = self.sequences.get_mut(&id).expect("just found");
        s.n_computed = table.len() * PAGE_LEN;
        s.table = table;
        s.path = found.path;
        s.waits_for = None;
        s.is_running = true;
        s.admitted = self.n_admitted;
        if is_pinned {
            s.reserved = Some(needed);
            self.n_reserved += needed;
        }
        let is_first = s.first_match.is_none();
        if is_first {
            s.first_match = Some((s.n_computed, found.stop));
            self.cache.count(s.tokens.len(), s.n_computed);
        }
        if self.limits.prefix_cache {
            self.cache.announce(salt, &s.path, &s.tokens, id);
        }
        self.deficits.charge(tenant, n_tokens - s.n_computed);
        self.running.push(id);
        Ok(is_first)
    }

    /// Makes room for a better class.
    fn preempt_lower(&mut self, next: &Waiting, now: Micros, plan: &Plan) -> bool {
        let lower = |id: &&SeqId| {
            let s = &self.sequences[*id];
            let may_be = s.reserved.is_none() && s.n_preemptions < MAX_PREEMPTIONS && !plan.has(**id);
            may_be && next.goes_before(&s.waiting(), now, self.limits.aging)
        };
        let Some(victim) = self.running.iter().rev().find(lower).copied() else { return false };
        self.preempt(victim);
        true
    }

    /// Guesses for those that decode, from pages that nobody else needs.
    fn plan_drafts(&mut self, n_logits: usize, drafter: &mut dyn Drafter, plan: &mut Plan) {
        let mut left = n_logits;
        for i in 0..plan.spans.len() {
            let PlanSpan { id, rows, .. } = plan.spans[i].clone();
            let s = &self.sequences[&id];
            if rows.len() != 1 || !s.is_decoding() {
                continue;
            }
            let most = left.min((s.max_len - s.tokens.len()).saturating_sub(1));
            let start = plan.drafts.len();
            if most > 0 {
                drafter.draft(id, &s.tokens, most, &mut plan.drafts);
            }
            let wanted = (plan.drafts.len() - start).min(most);
            while self.sequences[&id].table.len() * PAGE_LEN < rows.end + wanted && self.take_page(id) {}
            let n = wanted.min(self.sequences[&id].table.len() * PAGE_LEN - rows.end);
            plan.drafts.truncate(start + n);
            plan.spans[i].drafts = start..start + n;
            plan.n_rows += n;
            left -= n;
        }
    }

    /// A sequence's part of a step is done: it has `n_computed` positions more, and these tokens.
    pub(crate) fn commit(&mut self, id: SeqId, n_computed: usize, tokens: &[u32]) {
        let s = self.sequences.get_mut(&id).expect("a sequence that was planned");
        s.n_computed += n_computed;
        if s.n_computed >= s.alone_until {
            s.alone_until = 0;
        }
        s.tokens.extend_from_slice(tokens);
        if let Some(scored) = &mut s.scored {
            *scored = s.n_computed.max(*scored);
        }
        assert!(
            s.n_computed < s.tokens.len() || s.tokens.len() == s.max_len || tokens.is_empty(),
            "its last token is not computed"
        );
        self.deficits.charge(s.tenant, tokens.len());
        if !self.limits.prefix_cache {
            return;
        }
        let full = s.tokens[..s.n_computed].as_chunks::<PAGE_LEN>().0;
        for (i, page) in full.iter().enumerate().skip(s.path.len()) {
            s.table[i] = self.cache.complete((s.salt, s.tenant), &mut s.path, page, s.table[i]);
        }
    }

    /// The step took so long.
    pub(crate) fn observe(&mut self, plan: &Plan, took: Micros) {
        self.budget.observe(plan, took);
    }

    /// A page that is no sequence's and not cached; the oldest cached one makes room if need be.
    pub(crate) fn take_page_alone(&mut self) -> Option<PageId> {
        self.cache.take()
    }

    /// It is free again.
    pub(crate) fn give_page_back(&mut self, page: PageId) {
        self.cache.release(&[], &[page]);
    }

    /// What a step of so many rows would take.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Takes a sequence out, whatever it does. Its full pages stay cached.
    pub(crate) fn remove(&mut self, id: SeqId) -> Option<Sequence> {
        let s = self.sequences.get(&id)?;
        if s.is_running {
            self.vacate(id);
        } else {
            self.queue.remove(&s.waiting());
        }
        let sequence = self.sequences.remove(&id)?;
        self.n_deadlines -= usize::from(sequence.deadline.is_some());
        self.deficits.leave(sequence.tenant);
        Some(sequence)
    }

    /// Back to the front of its line, without pages.
    fn preempt(&mut self, id: SeqId) {
        self.vacate(id);
        let s = self.sequences.get_mut(&id).expect("a sequence that runs");
        s.n_preemptions += 1;
        self.n_preemptions += 1;
        self.queue.push_front(s.waiting());
    }

    /// Takes a running sequence's pages.
    fn vacate(&mut self, id: SeqId) {
        let s = self.sequences.get_mut(&id).expect("a sequence that runs");
        if self.limits.prefix_cache {
            self.cache.withdraw(s.salt, &s.path, &s.tokens, id);
        }
        self.cache.release(&s.path, &s.table);
        self.n_reserved -= s.reserved.take().unwrap_or(0);
        s.table.clear();
        s.path.clear();
        s.n_computed = 0;
        s.is_running = false;
        self.running.retain(|other| *other != id);
    }

    /// The sequence that had this step for itself since one failed that it was in.
    pub(crate) fn alone(&self, plan: &Plan) -> Option<SeqId> {
        plan.spans.first().map(|span| span.id).filter(|id| self.is_alone(*id))
    }

    /// A step failed: nothing that is in the pool counts any more. Its sequences compute again, each alone until it is past
    /// where it was; the others compute again too.
    pub(crate) fn restart(&mut self, plan: &Plan) {
        for span in &plan.spans {
            if let Some(s) = self.sequences.get_mut(&span.id) {
                s.alone_until = span.rows.end;
            }
        }
        for id in self.running.clone().into_iter().rev() {
            self.vacate(id);
            self.queue.push_front(self.sequences[&id].waiting());
        }
        self.cache.clear();
    }

    /// Evicts all cached pages that nobody holds; returns how many.
    pub(crate) fn clear_cache(&mut self) -> usize {
        self.cache.clear()
    }

    /// Panics unless everything adds up.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        self.cache.check(self.sequences.values().map(|s| s.table.as_slice()));
        let reserved: usize = self.sequences.values().filter_map(|s| s.reserved).sum();
        assert_eq!(reserved, self.n_reserved);
        assert!(self.n_reserved <= self.cache.n_available(), "what is reserved is there");
        let n_running = self.sequences.values().filter(|s| s.is_running).count();
        assert_eq!(n_running, self.running.len());
        assert_eq!(self.queue.len() + n_running, self.sequences.len());
        assert!(n_running <= self.limits.max_sequences);
        for s in self.sequences.values() {
            assert!(s.is_running || s.table.is_empty() && s.n_computed == 0);
            assert!(s.table.len() * PAGE_LEN >= s.n_computed && s.tokens.len() <= s.max_len);
        }
    }
}

impl Plan {
    fn has(&self, id: SeqId) -> bool {
        self.spans.iter().any(|span| span.id == id)
    }

    fn clear(&mut self) {
        self.spans.clear();
        self.drafts.clear();
        self.started.clear();
        (self.n_rows, self.n_decoding, self.n_prompt_rows, self.was_cut) = (0, 0, 0, false);
    }
}
