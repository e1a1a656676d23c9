//! A step: which rows of which sequences.

use std::cmp::Reverse;
use std::ops::Range;

use super::Scheduler;
use crate::request::{Micros, SeqId};

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
    pub(crate) n_prompt_rows: usize,
    /// Rows of forced tokens, beside the decode row of their sequence.
    pub(crate) n_forced_rows: usize,
    /// Whether the budget cut rows of prompts or of forced tokens.
    pub(crate) was_cut: bool,
    /// Sequences that run for the first time.
    pub(crate) started: Vec<SeqId>,
}

/// A step takes at most this share longer for forced tokens if a sequence decodes in it that has none of its own.
const FORCED_SHARE: f64 = 0.05;

/// Room of a step beside a row for each sequence that decodes.
#[derive(Debug)]
pub(super) struct StepRoom {
    /// Rows of prompts, and of forced tokens.
    pub(super) rows: usize,
    /// Rows of forced tokens among them.
    forced: usize,
    /// Rows of prompts that want logits.
    scored: usize,
}

/// Guesses what comes after a sequence's tokens.
pub(crate) trait Drafter {
    /// Appends up to `max` guesses to `out`, or places for them, to be filled by [`Plan::set_drafts`].
    fn draft(&mut self, id: SeqId, tokens: &[u32], max: usize, out: &mut Vec<u32>);
    /// Whether the guesses that it has just given are right for certain.
    fn are_certain(&self, id: SeqId) -> bool;
}

impl Scheduler {
    /// Decides on a step.
    pub(crate) fn plan(&mut self, now: Micros, drafter: &mut dyn Drafter, plan: &mut Plan) {
        plan.clear();
        let Self { running, sequences, deficits, .. } = self;
        running.sort_by_key(|id| {
            let s = &sequences[id];
            (s.class, !s.is_pinned, Reverse(deficits.of(s.tenant)), s.admitted)
        });
        if let Some(alone) = self.running.iter().copied().find(|id| self.is_alone(*id)) {
            self.plan_alone(alone, plan);
            return;
        }
        let decoding = || self.running.iter().map(|id| &self.sequences[id]).filter(|s| s.is_decoding());
        let n_decoding = decoding().count();
        let forced = match decoding().all(|s| s.is_constrained) {
            true => usize::MAX,
            false => self.budget.rows_within(FORCED_SHARE, n_decoding),
        };
        let rows = self.budget.prompt_rows(n_decoding);
        let mut room = StepRoom { rows, forced, scored: self.limits.max_logits };
        let mut i = 0;
        while i < self.running.len() {
            let id = self.running[i];
            if self.queue.best_class().is_some_and(|class| class < self.sequences[&id].class) {
                self.admit(now, Some(id), &mut room, plan);
            }
            // It may have lost its place, or have come just now.
            if self.running.get(i) == Some(&id) && !plan.has(id) {
                self.plan_rows(id, &mut room, plan);
            }
            i += usize::from(self.running.get(i) == Some(&id));
        }
        self.admit(now, None, &mut room, plan);
        self.plan_drafts(&mut room, drafter, plan);
    }

    pub(super) fn is_alone(&self, id: SeqId) -> bool {
        let s = &self.sequences[&id];
        s.alone_until > s.n_computed
    }

    /// A step for a sequence that was in one that failed.
    fn plan_alone(&mut self, id: SeqId, plan: &mut Plan) {
        let rows = self.budget.prompt_rows(0);
        let mut room = StepRoom { rows, forced: usize::MAX, scored: self.limits.max_logits };
        self.plan_rows(id, &mut room, plan);
    }

    /// Rows for a sequence that runs, and pages for them.
    pub(super) fn plan_rows(&mut self, id: SeqId, room: &mut StepRoom, plan: &mut Plan) {
        let s = &self.sequences[&id];
        let start = s.n_computed;
        let is_decoding = s.is_decoding();
        let mut n = s.tokens.len() - start;
        if !is_decoding {
            let mut most = room.rows;
            if s.scored.is_some() {
                most = most.min(room.scored.max(1));
            }
            plan.was_cut |= most < n;
            n = n.min(most).min(self.most_rows(start));
            n = self.rows_to_snapshot(s, n);
        } else if n > 1 {
            // Its own rows in any case, those of forced tokens as there is room.
            let n_own = s.n_own_rows();
            let most = (n_own + room.rows).min(self.limits.max_rows.max(n_own));
            plan.was_cut |= most < n;
            n = n.min(most).min(room.forced.saturating_add(n_own)).min(self.most_rows(start));
            n = self.rows_to_snapshot(s, n);
        }
        if n == 0 || !self.grow(id, start + n, plan) {
            return;
        }
        if is_decoding {
            let n_forced = n.saturating_sub(self.sequences[&id].n_own_rows());
            plan.n_decoding += 1;
            plan.n_forced_rows += n_forced;
            room.rows = room.rows.saturating_sub(n_forced);
            room.forced -= n_forced;
        } else {
            room.rows -= n;
            plan.n_prompt_rows += n;
            if self.sequences[&id].scored.is_some() {
                room.scored = room.scored.saturating_sub(n);
            }
        }
        plan.n_rows += n;
        plan.spans.push(PlanSpan { id, rows: start..start + n, drafts: 0..0 });
    }

    /// Guesses for those that decode, from pages that nobody else needs.
    fn plan_drafts(&mut self, room: &mut StepRoom, drafter: &mut dyn Drafter, plan: &mut Plan) {
        let left = &mut room.scored;
        for i in 0..plan.spans.len() {
            let PlanSpan { id, rows, .. } = plan.spans[i].clone();
            let s = &self.sequences[&id];
            let has_forced = rows.len() > s.n_own_rows();
            if has_forced || rows.end != s.tokens.len() || !s.is_decoding() {
                continue;
            }
            let is_constrained = s.is_constrained;
            let mut most = (*left).min((s.max_len - s.tokens.len()).saturating_sub(1));
            most = most.min(self.drafts_to_snapshot(s));
            if is_constrained {
                most = most.min(room.forced);
            }
            let start = plan.drafts.len();
            if most > 0 {
                drafter.draft(id, &s.tokens, most, &mut plan.drafts);
            }
            let mut wanted = (plan.drafts.len() - start).min(most);
            if wanted > 0 && self.has_states() && !drafter.are_certain(id) && !self.take_spares(id) {
                wanted = 0;
            }
            let n = self.reach_spare(id, rows.end + wanted) - rows.end;
            plan.drafts.truncate(start + n);
            plan.spans[i].drafts = start..start + n;
            plan.n_rows += n;
            *left -= n;
            if is_constrained {
                room.forced -= n;
            }
        }
    }
}

impl Plan {
    /// Makes `drafts` the first guesses of span `i`, no more than there are places, and gives up the other places.
    pub(crate) fn set_drafts(&mut self, i: usize, drafts: &[u32]) {
        let places = &mut self.spans[i].drafts;
        let n = drafts.len().min(places.len());
        self.n_rows -= places.len() - n;
        places.end = places.start + n;
        self.drafts[places.clone()].copy_from_slice(&drafts[..n]);
    }

    pub(super) fn has(&self, id: SeqId) -> bool {
        self.spans.iter().any(|span| span.id == id)
    }

    fn clear(&mut self) {
        self.spans.clear();
        self.drafts.clear();
        self.started.clear();
        (self.n_rows, self.n_decoding, self.n_prompt_rows) = (0, 0, 0);
        (self.n_forced_rows, self.was_cut) = (0, false);
    }
}
