//! States of recurrent layers: where a sequence keeps a snapshot, so that prompts can resume there.
//!
//! ```text
//! prompt:      0 ...... border ........ last full page .. len         borders: where the request says, where prompts part, where
//! steps:       [------------)[-------------)[-----------)             another sequence waits, every few thousand tokens
//! completion:            ... 32k ......... 32k + 32 ...               the last page boundary, should it end before the next one
//! ```
//!
//! A step ends where a snapshot is wanted. The page with the state becomes the snapshot, and the state goes on in another page, so
//! nothing is copied. A snapshot is never a reason to take pages from sequences: without room the state just goes on.
//!
//! Rows that may turn out wrong (drafts) leave the state before them as it is, and write the state after them to a spare page. If all
//! were right, that is the state now; else the right ones are computed once more with the next rows.

use inferno_model::batch::PAGE_LEN;

use super::{Scheduler, Sequence};
use crate::cache::Worth;
use crate::request::SeqId;

/// Waiting sequences that are compared with one that starts, at most.
const MOST_COMPARED: usize = 64;
/// Rows of a sequence that a step with drafts computes before them, at most.
pub(super) const MOST_ONCE_MORE: usize = 8;

impl Scheduler {
    /// Whether the model has states that snapshots are kept of.
    pub(super) fn keeps_states(&self) -> bool {
        self.has_states && self.limits.prefix_cache
    }

    fn state_groups(&self) -> impl Iterator<Item = usize> + use<> {
        let cache = &self.cache;
        let groups: Vec<usize> = (0..cache.n_groups()).filter(|&g| cache.kind(g).is_states()).collect();
        groups.into_iter()
    }

    /// Rows that a step may compute of a sequence: up to where a snapshot of its state is wanted, of `n` that are to compute.
    pub(super) fn rows_to_snapshot(&self, s: &Sequence, n: usize) -> usize {
        if !self.keeps_states() {
            return n;
        }
        let (start, end) = (s.n_computed, s.n_computed + n);
        let next = |every: usize| (start / every + 1) * every;
        let last = s.last_boundary();
        let last = if last > start { last } else { next(PAGE_LEN) };
        let borders = s.borders.iter().map(|&border| border * PAGE_LEN).filter(|&border| border > start);
        let border = borders.chain([last, next(self.snapshot_every())]).min().unwrap_or(end);
        match border <= end {
            true => border - start,
            // At a page boundary, where its state could still be kept if it has to stop.
            false => match end / PAGE_LEN * PAGE_LEN {
                boundary if boundary > start && end < s.tokens.len() => boundary - start,
                _ => n,
            },
        }
    }

    pub(super) fn snapshot_every(&self) -> usize {
        self.limits.snapshot_every.next_multiple_of(PAGE_LEN).max(PAGE_LEN)
    }

    /// Drafts that may follow the last token of a sequence: they end where its state is kept. None where many rows have to be
    /// computed once more: without drafts the state gets past them.
    pub(super) fn drafts_to_snapshot(&self, s: &Sequence) -> usize {
        let n_rows = s.tokens.len() - s.n_computed;
        match (self.has_states, self.keeps_states()) {
            (true, _) if n_rows > MOST_ONCE_MORE => 0,
            (_, true) => (PAGE_LEN - s.n_computed % PAGE_LEN).saturating_sub(n_rows),
            (_, false) => usize::MAX,
        }
    }

    /// Takes a page per group of states for the states after rows that may turn out wrong; whether there was a free one in each.
    pub(super) fn take_spares(&mut self, id: SeqId) -> bool {
        let is_free = |group: usize| self.cache.page_counts(group).free > 0 && self.has_spare(group);
        if !self.state_groups().all(is_free) {
            return false;
        }
        for group in self.state_groups() {
            let page = self.cache.take(group);
            self.sequences.get_mut(&id).expect("a sequence that runs").tables[group].spare = page;
        }
        true
    }

    /// After a step: the states are those before it if it `is_ahead` of what was right, and these were kept, which is the result.
    /// Else they are those after it. Before a step `is_ahead` gives up the spare pages.
    pub(crate) fn settle_spares(&mut self, id: SeqId, is_ahead: bool) -> bool {
        let Scheduler { cache, sequences, .. } = self;
        let s = sequences.get_mut(&id).expect("a sequence that was planned");
        let mut takes_back = false;
        for (group, table) in s.tables.iter_mut().enumerate() {
            let Some(spare) = table.spare.take() else { continue };
            takes_back = is_ahead;
            let left = match is_ahead {
                true => Some(spare),
                false => table.live.replace(spare),
            };
            left.into_iter().for_each(|page| cache.give_back(group, page));
        }
        takes_back
    }

    /// Whether the rows of a planned step may turn out wrong: of a sequence without states any may, as nothing is lost.
    pub(crate) fn can_take_back(&self, id: SeqId) -> bool {
        let s = &self.sequences[&id];
        !self.has_states || s.tables.iter().any(|table| table.spare.is_some())
    }

    /// Keeps the state of a sequence that has come to a page boundary, if it is wanted there and there is room.
    pub(super) fn keep_state_if_wanted(&mut self, id: SeqId) {
        let s = &self.sequences[&id];
        let n_computed = s.n_computed;
        let is_wanted = self.keeps_states()
            && n_computed > 0
            && n_computed.is_multiple_of(PAGE_LEN)
            && (n_computed >= s.last_boundary()
                || n_computed.is_multiple_of(self.snapshot_every())
                || s.borders.contains(&(n_computed / PAGE_LEN)));
        if is_wanted {
            let goes_on = !s.has_all();
            self.keep_state(id, n_computed / PAGE_LEN - 1, goes_on);
        }
    }

    /// Makes the live state the page with this number, and takes a page for the state to go on in if it does. Nothing happens
    /// where there is no room.
    pub(super) fn keep_state(&mut self, id: SeqId, number: usize, goes_on: bool) {
        for group in self.state_groups() {
            let table = &self.sequences[&id].tables[group];
            let is_kept = table.has(number) || table.live.is_none();
            if is_kept || !self.cache.make_room(group) || goes_on && !self.has_spare(group) {
                return;
            }
        }
        for group in self.state_groups() {
            let next = if goes_on { self.cache.take(group) } else { None };
            let s = self.sequences.get_mut(&id).expect("a sequence that runs");
            s.tables[group].keep_live(number, next);
        }
    }

    /// Keeps the state of a sequence that is about to lose its pages, if it is at a page boundary.
    pub(super) fn keep_last_state(&mut self, id: SeqId) {
        let s = &self.sequences[&id];
        let Some(number) = (s.n_computed / PAGE_LEN).checked_sub(1) else { return };
        if !self.keeps_states() || !s.n_computed.is_multiple_of(PAGE_LEN) || s.path.len() != number + 1 {
            return;
        }
        self.keep_state(id, number, false);
        let Self { cache, sequences, .. } = self;
        let s = sequences.get_mut(&id).expect("a sequence that runs");
        let node = s.path[number];
        for (group, table) in s.tables.iter_mut().enumerate() {
            if cache.kind(group).is_states() {
                cache.enter(s.tenant, node, (group, number), table);
            }
        }
    }

    /// Notes where waiting sequences will resume that have a prefix in common with `id`, which is about to compute it.
    pub(super) fn note_borders_of_waiting(&mut self, id: SeqId) {
        if !self.keeps_states() {
            return;
        }
        for other in self.queue.order(&self.deficits).into_iter().take(MOST_COMPARED) {
            self.note_border(id, other);
        }
    }

    /// Notes where `id`, which is new, will resume in the prompts that others are computing.
    pub(super) fn note_borders_of(&mut self, id: SeqId) {
        if !self.keeps_states() {
            return;
        }
        for i in 0..self.running.len() {
            self.note_border(self.running[i], id);
        }
    }

    /// Notes the border up to which `waiting` has the tokens of `running`, unless that is past it.
    fn note_border(&mut self, running: SeqId, waiting: SeqId) {
        let (s, other) = (&self.sequences[&running], &self.sequences[&waiting]);
        if s.salt != other.salt || other.is_running || s.n_computed >= s.n_prompt {
            return;
        }
        let same = s.tokens_in_common(other, other.cacheable()) / PAGE_LEN;
        if same * PAGE_LEN > s.n_computed {
            self.sequences.get_mut(&running).expect("just found").add_border(same);
        }
    }

    /// Worth of the page with this number once its sequence has gone past it.
    pub(super) fn worth_of_state(snapshot_every: usize, s: &Sequence, number: usize) -> Worth {
        let border = number + 1;
        if s.borders.contains(&border) || border == s.resumes_at() {
            Worth::Resume
        } else if (border * PAGE_LEN).is_multiple_of(snapshot_every) {
            Worth::Passed
        } else {
            Worth::Nothing
        }
    }
}
