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

/// Guesses what comes after a sequence's tokens.
pub(crate) trait Drafter {
    /// Appends up to `max` guesses to `out`.
    fn draft(&mut self, id: SeqId, tokens: &[u32], max: usize, out: &mut Vec<u32>);
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

    pub(super) fn is_alone(&self, id: SeqId) -> bool {
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
    pub(super) fn plan_rows(&mut self, id: SeqId, room: &mut usize, n_scored: &mut usize, plan: &mut Plan) {
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
            n = n.min(most).min(self.most_rows(start));
        } else if n > 1 {
            // Its decode row in any case, those of forced tokens as there is room.
            let most = (1 + *room).min(self.limits.max_rows);
            plan.was_cut |= most < n;
            n = n.min(most).min(self.most_rows(start));
        }
        if n == 0 || !self.grow(id, start + n, plan) {
            return;
        }
        if is_decoding {
            plan.n_decoding += 1;
            plan.n_forced_rows += n - 1;
            *room = room.saturating_sub(n - 1);
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

    /// Guesses for those that decode, from pages that nobody else needs.
    fn plan_drafts(&mut self, n_logits: usize, drafter: &mut dyn Drafter, plan: &mut Plan) {
        let mut left = n_logits;
        for i in 0..plan.spans.len() {
            let PlanSpan { id, rows, .. } = plan.spans[i].clone();
            let s = &self.sequences[&id];
            if rows.len() != 1 || rows.end != s.tokens.len() || !s.is_decoding() {
                continue;
            }
            let most = left.min((s.max_len - s.tokens.len()).saturating_sub(1));
            let start = plan.drafts.len();
            if most > 0 {
                drafter.draft(id, &s.tokens, most, &mut plan.drafts);
            }
            let wanted = (plan.drafts.len() - start).min(most);
            let n = self.reach_spare(id, rows.end + wanted) - rows.end;
            plan.drafts.truncate(start + n);
            plan.spans[i].drafts = start..start + n;
            plan.n_rows += n;
            left -= n;
        }
    }
}

impl Plan {
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
