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

mod admit;
mod growth;
mod plan;
mod sequence;
mod states;

use std::collections::HashMap;

use foldhash::fast::RandomState;
use inferno_model::architecture::{CacheGroup, MAX_CACHE_GROUPS};
use inferno_model::batch::PAGE_LEN;

use crate::budget::Budget;
use crate::cache::KvCache;
use crate::group::{Kind, longest_sequence, snapshots_by_default};
use crate::pages::Table;
use crate::queue::{Deficits, Queue};
use crate::request::{Micros, SeqId};
pub(crate) use plan::{Drafter, Plan, PlanSpan};
pub(crate) use sequence::{Arrival, Sequence};

/// The limits of a scheduler.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Pages of the KV pool, by cache group.
    pub n_pages: Vec<usize>,
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
    /// Snapshots of the states of recurrent layers in the prefix cache, at most; `None`: a quarter of their pages. The other
    /// pages are for the states of sequences.
    pub max_snapshots: Option<usize>,
    /// Tokens of a prompt from one such snapshot to the next, beside those at its borders.
    pub snapshot_every: usize,
    /// Tokens that a draft model proposes for a sequence in a step; `None`: as many as make tokens come fastest, by what was
    /// measured.
    pub draft_tokens: Option<usize>,
    /// Memory for cached pages and snapshots that make room for others in the pool: they come back when a prompt asks for them.
    /// In bytes; 0: they are dropped.
    pub max_away_bytes: u64,
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
    /// By cache group: pages kept for pinned sequences beyond those they have.
    n_reserved: [usize; MAX_CACHE_GROUPS],
    /// Positions of the longest sequence that fits alone.
    longest: usize,
    /// Whether the model has recurrent layers.
    has_states: bool,
    budget: Budget,
    n_admitted: u64,
    n_preemptions: u64,
    n_deadlines: usize,
}

impl Scheduler {
    /// `groups` are the model's.
    pub(crate) fn new(mut limits: Limits, groups: &[CacheGroup]) -> Scheduler {
        assert!(
            limits.max_sequences > 0 && limits.max_rows > 0 && limits.min_rows > 0,
            "limits allow something"
        );
        assert_eq!(limits.n_pages.len(), groups.len(), "every cache group has a number of pages");
        let kinds = || groups.iter().map(Kind::of).zip(limits.n_pages.iter().copied());
        let state_pages = kinds().filter(|(kind, _)| kind.is_states()).map(|(_, n_pages)| n_pages).min();
        // The first in rank needs a page beside the snapshot from which it goes on.
        let max_snapshots = state_pages
            .map(|n| limits.max_snapshots.unwrap_or(snapshots_by_default(n)).min(n.saturating_sub(1)));
        let cache = KvCache::new(kinds()).with_max_snapshots(max_snapshots.unwrap_or(0));
        // Without a snapshot nothing can be resumed.
        limits.prefix_cache &= max_snapshots != Some(0);
        Scheduler {
            cache,
            has_states: state_pages.is_some(),
            longest: longest_sequence(groups, &limits.n_pages),
            budget: Budget::new(limits.min_rows, limits.max_rows, limits.step_target),
            sequences: HashMap::default(),
            running: Vec::new(),
            queue: Queue::default(),
            deficits: Deficits::default(),
            n_reserved: [0; MAX_CACHE_GROUPS],
            n_admitted: 0,
            n_preemptions: 0,
            n_deadlines: 0,
            limits,
        }
    }

    pub(crate) fn cache(&self) -> &KvCache {
        &self.cache
    }

    /// The cache, to put into it what comes from elsewhere.
    pub(crate) fn cache_mut(&mut self) -> &mut KvCache {
        &mut self.cache
    }

    pub(crate) fn counts(&self) -> ScheduleCounts {
        ScheduleCounts {
            waiting: self.queue.len(),
            waiting_tokens: self.queue.n_tokens(),
            running: self.running.len(),
            preemptions: self.n_preemptions,
        }
    }

    /// Whether steps update states, so that a row that turns out wrong cannot be taken back.
    pub(crate) fn has_states(&self) -> bool {
        self.has_states
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

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Running sequences, and waiting ones in the approximate order in which they will run.
    pub(crate) fn line(&self) -> (Vec<&Sequence>, Vec<&Sequence>) {
        let of = |ids: &[SeqId]| ids.iter().map(|id| &self.sequences[id]).collect();
        (of(&self.running), of(&self.queue.order(&self.deficits)))
    }

    /// All sequences in no order.
    pub(crate) fn sequences(&self) -> impl Iterator<Item = &Sequence> {
        self.sequences.values()
    }

    fn is_running(&self, id: SeqId) -> bool {
        self.sequences.get(&id).is_some_and(|s| s.is_running)
    }

    /// For every sequence that waits how many wait before it, about.
    pub(crate) fn places(&self) -> HashMap<SeqId, usize, RandomState> {
        self.queue.places()
    }

    /// A sequence joins the queue. It must fit alone.
    pub(crate) fn add(&mut self, arrival: Arrival) {
        let Arrival { id, tokens, max_len, salt, tenant, class, now, deadline, .. } = arrival;
        let Arrival { scored, is_constrained, borders, .. } = arrival;
        assert!(max_len <= self.longest, "a request that never fits is refused");
        let mut sequence = Sequence {
            id,
            n_prompt: tokens.len(),
            decodes_from: tokens.len() - 1,
            tokens,
            max_len,
            n_computed: 0,
            n_seen: 0,
            tables: vec![Table::default(); self.cache.n_groups()],
            path: Vec::new(),
            salt,
            tenant,
            class,
            arrived: now,
            deadline,
            scored: scored.then_some(0),
            is_constrained,
            n_preemptions: 0,
            alone_until: 0,
            is_pinned: false,
            waits_for: None,
            waits_for_disk: None,
            is_running: false,
            admitted: 0,
            first_match: None,
            borders: Vec::new(),
        };
        if self.keeps_states() {
            let last = sequence.resumes_at();
            let borders = borders.iter().map(|border| border / PAGE_LEN).filter(|&border| border < last);
            borders.for_each(|border| sequence.add_border(border));
        }
        self.n_deadlines += usize::from(deadline.is_some());
        self.deficits.join(tenant);
        self.queue.push(sequence.waiting());
        self.sequences.insert(id, sequence);
        self.note_borders_of(id);
    }

    /// A sequence's part of a step is done: it has `n_computed` positions more, and these tokens. The step computed rows after
    /// them, too, if it `is_ahead`: so are the states of recurrent layers then. The sequence goes on from the states before the step,
    /// if they were kept, and computes these positions once more with its next rows. Else it ends.
    pub(crate) fn commit(&mut self, id: SeqId, n_computed: usize, tokens: &[u32], is_ahead: bool) {
        let takes_back = self.settle_spares(id, is_ahead);
        let s = self.sequences.get_mut(&id).expect("a sequence that was planned");
        s.n_seen = s.n_computed + n_computed;
        s.n_computed += if takes_back { 0 } else { n_computed };
        if s.n_computed >= s.alone_until {
            s.alone_until = 0;
        }
        s.tokens.extend_from_slice(tokens);
        if !tokens.is_empty() {
            s.decodes_from = s.n_computed;
        }
        if let Some(scored) = &mut s.scored {
            *scored = s.n_computed.max(*scored);
        }
        assert!(
            s.n_computed < s.tokens.len() || s.tokens.len() == s.max_len || tokens.is_empty(),
            "its last token is not computed"
        );
        self.deficits.charge(s.tenant, tokens.len());
        if self.has_states {
            // The states behind it make room for the one to keep.
            self.release_passed(id, Kind::is_states);
            if !is_ahead {
                self.keep_state_if_wanted(id);
            }
        }
        let s = self.sequences.get_mut(&id).expect("a sequence that was planned");
        if self.limits.prefix_cache {
            let full = s.tokens[..s.n_computed].as_chunks::<PAGE_LEN>().0;
            for page in &full[s.path.len()..] {
                self.cache.complete((s.salt, s.tenant), &mut s.path, page, &mut s.tables);
            }
        }
        self.release_passed(id, |kind| !kind.is_states());
    }

    /// The step took so long.
    pub(crate) fn observe(&mut self, plan: &Plan, took: Micros) {
        self.budget.observe(plan, took);
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

    /// Takes a running sequence's pages.
    fn vacate(&mut self, id: SeqId) {
        let s = self.sequences.get_mut(&id).expect("a sequence that runs");
        if self.limits.prefix_cache {
            self.cache.withdraw(s.salt, &s.path, &s.tokens, id);
        }
        self.cache.release(&s.path, &mut s.tables);
        for (table, all) in s.tables.iter_mut().zip(&mut self.n_reserved) {
            *all -= std::mem::take(&mut table.n_reserved);
        }
        s.path.clear();
        s.n_computed = 0;
        s.n_seen = 0;
        s.is_pinned = false;
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
        self.cache.check(self.sequences.values().map(|s| s.tables.as_slice()));
        for group in 0..self.cache.n_groups() {
            let reserved: usize = self.sequences.values().map(|s| s.tables[group].n_reserved).sum();
            assert_eq!(reserved, self.n_reserved[group]);
            assert!(reserved <= self.cache.n_available(group), "what is reserved is there");
        }
        let n_running = self.sequences.values().filter(|s| s.is_running).count();
        assert_eq!(n_running, self.running.len());
        assert_eq!(self.queue.len() + n_running, self.sequences.len());
        assert!(n_running <= self.limits.max_sequences);
        for s in self.sequences.values() {
            assert!(s.is_running || s.n_computed == 0 && !s.is_pinned);
            assert!(s.tokens.len() <= s.max_len);
            assert!(s.decodes_from < s.tokens.len());
            for (group, table) in s.tables.iter().enumerate() {
                assert_eq!(table.spare, None, "of a step that is over");
                if !s.is_running {
                    assert_eq!(*table, Table::default(), "a waiting sequence has no pages");
                    continue;
                }
                assert!(table.len() >= s.n_computed);
                let first = self.cache.kind(group).first_held(s.n_computed);
                if self.cache.kind(group).is_states() {
                    let is_there = table.live.is_some() || s.n_computed == 0 || table.len() == s.n_computed;
                    assert!(is_there, "there is a state to go on from");
                    assert!(table.pages.is_empty() || table.first_page >= first, "it went past older states");
                    // One more in a chain of steps that comes past a page boundary.
                    assert!(table.pages.len() <= 2);
                    continue;
                }
                assert_eq!(table.first_page, first, "pages behind a window are released, and no others");
                assert!(table.pages.len() <= self.most_pages(group, 0, s.max_len));
            }
        }
    }
}
