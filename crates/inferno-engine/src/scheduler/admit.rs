//! Who gets in, and who gives way.

use inferno_model::architecture::MAX_CACHE_GROUPS;
use inferno_model::batch::PAGE_LEN;

use super::plan::StepRoom;
use super::{Plan, Scheduler};
use crate::cache::Stop;
use crate::queue::Waiting;
use crate::request::{Micros, SeqId};

/// How often a sequence may be preempted before it is pinned.
const MAX_PREEMPTIONS: u32 = 2;

/// Sequences that are found to wait for another's pages in one step, at most: each costs a look at the whole queue.
const MAX_PENDING: usize = 16;

/// Why a sequence cannot run now.
enum Denied {
    /// Another computes its next page.
    Pending,
    NoRoom,
}

impl Scheduler {
    /// Lets sequences in while there is room; of those that go before `ahead_of`, if it says so.
    pub(super) fn admit(
        &mut self,
        now: Micros,
        ahead_of: Option<SeqId>,
        room: &mut StepRoom,
        plan: &mut Plan,
    ) {
        let mut n_pending = 0;
        while room.rows > 0 && n_pending < MAX_PENDING {
            let Self { queue, sequences, deficits, limits, cache, .. } = self;
            let n_arrived = cache.n_arrived();
            let can_go = |id: SeqId| {
                sequences[&id].waits_for_disk != Some(n_arrived)
                    && !sequences[&id].waits_for.is_some_and(|(other, n)| {
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
                    self.plan_rows(next.id, room, plan);
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
            let same = other.tokens_in_common(s, limit);
            let class = s.class.min(other.class);
            let n = (same / PAGE_LEN).max(found.path.len() + 1);
            // Who is waited for runs as if it were who waits.
            let other = self.sequences.get_mut(&owner).expect("just found");
            other.class = class;
            if self.has_states {
                other.add_border(n);
            }
            self.sequences.get_mut(&id).expect("just found").waits_for = Some((owner, n));
            return Err(Denied::Pending);
        }
        if self.cache.fetch(&found.path) {
            let n_arrived = self.cache.n_arrived();
            self.sequences.get_mut(&id).expect("just found").waits_for_disk = Some(n_arrived);
            return Err(Denied::Pending);
        }
        let is_pinned = s.n_preemptions >= MAX_PREEMPTIONS;
        let (n_tokens, max_len, tenant, salt) = (s.tokens.len(), s.max_len, s.tenant, s.salt);
        let start = found.path.len() * PAGE_LEN;
        let mut reserved = [0; MAX_CACHE_GROUPS];
        for (group, reserved) in (0..self.cache.n_groups()).zip(&mut reserved) {
            let (n_found, n_unheld) = self.cache.n_needed(group, &found.path);
            let worst = self.most_pages(group, start, max_len) - n_found;
            let needed = if is_pinned { worst } else { self.most_pages(group, start, n_tokens) - n_found };
            // Who decodes may need a page soon.
            let headroom = if is_pinned { 0 } else { self.running.len().min(worst - needed) };
            let available = self.cache.n_available(group) - n_unheld;
            if available < self.n_reserved[group] + needed + headroom {
                return Err(Denied::NoRoom);
            }
            // Those that come back from outside the pool are its own at once.
            let n_back = self.cache.n_missing(group, &found.path);
            *reserved = if is_pinned { needed - n_back } else { 0 };
        }
        self.n_admitted += 1;
        self.queue.remove(&self.sequences[&id].waiting());
        let s = self.sequences.get_mut(&id).expect("just found");
        self.cache.hold(&found.path, &mut s.tables);
        for ((table, own), all) in s.tables.iter_mut().zip(reserved).zip(&mut self.n_reserved) {
            table.n_reserved = own;
            *all += own;
        }
        s.n_computed = start;
        if self.has_states && s.first_match.is_none() && found.n_known > found.path.len() {
            // Its prompt parts from others there.
            s.add_border(found.n_known);
        }
        s.path = found.path;
        s.waits_for = None;
        s.waits_for_disk = None;
        s.is_running = true;
        s.is_pinned = is_pinned;
        s.admitted = self.n_admitted;
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
        self.note_borders_of_waiting(id);
        Ok(is_first)
    }

    /// Makes room for a better class.
    fn preempt_lower(&mut self, next: &Waiting, now: Micros, plan: &Plan) -> bool {
        let lower = |id: &&SeqId| {
            let s = &self.sequences[*id];
            let may_be = !s.is_pinned && s.n_preemptions < MAX_PREEMPTIONS && !plan.has(**id);
            may_be && next.goes_before(&s.waiting(), now, self.limits.aging)
        };
        let Some(victim) = self.running.iter().rev().find(lower).copied() else { return false };
        self.preempt(victim);
        true
    }

    /// Back to the front of its line, without pages.
    pub(super) fn preempt(&mut self, id: SeqId) {
        self.keep_last_state(id);
        self.vacate(id);
        let s = self.sequences.get_mut(&id).expect("a sequence that runs");
        s.n_preemptions += 1;
        self.n_preemptions += 1;
        self.queue.push_front(s.waiting());
    }
}
