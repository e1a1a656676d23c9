//! From a plan to a batch, and from the model's output to tokens and events.

use std::panic::{AssertUnwindSafe, catch_unwind};

use inferno_model::batch::{PageTable, Want};

use super::chain::MOST_STEPS;
use super::health::words;
use super::{Core, MAX_GROUPS, Scratch};
use crate::draft::{MAX_FORCED_DRAFT, Source};
use crate::forecast::Ending;
use crate::request::{Event, Finish, Micros};
use crate::scheduler::PlanSpan;

impl Core {
    /// The batch of a plan.
    pub(super) fn fill(&self, scratch: &mut Scratch) {
        let Scratch { plan, batch, tokens, wants, chain, state_pages, .. } = scratch;
        chain.clear();
        batch.clear();
        for span in &plan.spans {
            let sequence = self.scheduler.get(span.id).expect("a plan is of sequences there are");
            let live = &self.live[&span.id];
            tokens.clear();
            tokens.extend_from_slice(&sequence.tokens[span.rows.clone()]);
            tokens.extend_from_slice(&plan.drafts[span.drafts.clone()]);
            wants.clear();
            let scores = live.prompt_logprobs.is_some();
            let is_chosen = self.model.chooses() && live.suits_devices();
            let wanted = if is_chosen { Want::Sample(live.sampling.spec) } else { Want::Logits };
            let want = |row: usize| {
                let is_last = row + 1 == sequence.tokens.len() && live.max_tokens > 0;
                let is_scored = scores && row + 1 < sequence.n_prompt && row + 1 >= live.n_scored;
                if is_last || is_scored { wanted } else { Want::Nothing }
            };
            wants.extend(span.rows.clone().map(want));
            wants.resize(tokens.len(), wanted);
            let n_groups = sequence.tables.len();
            let cache = self.scheduler.cache();
            // Of states the first page and where they end.
            let mut states = [(0, 0); MAX_GROUPS];
            state_pages.clear();
            for (group, table) in sequence.tables.iter().enumerate() {
                if cache.kind(group).is_states() {
                    // A step may be the first of a chain.
                    let end = span.rows.start + tokens.len() + MOST_STEPS - 1;
                    let first = table.states(span.rows.start, end, state_pages);
                    states[group] = (first, state_pages.len());
                }
            }
            let mut tables = [PageTable { first_page: 0, pages: &[] }; MAX_GROUPS];
            let mut start = 0;
            for (group, table) in sequence.tables.iter().enumerate() {
                tables[group] = table.view();
                if cache.kind(group).is_states() {
                    let (first_page, end) = states[group];
                    tables[group] = PageTable { first_page, pages: &state_pages[start..end] };
                    start = end;
                }
            }
            batch.push_each(tokens, span.rows.start, &tables[..n_groups], wants);
            for (group, table) in sequence.tables.iter().enumerate() {
                if let Some(page) = table.spare {
                    batch.set_state_after(group, page);
                }
            }
        }
    }

    /// Gives every sequence its part of the step.
    pub(super) fn deliver(&mut self, scratch: &mut Scratch, now: Micros) {
        let (mut first_row, mut n_chained) = (0, 0);
        for i in 0..scratch.plan.spans.len() {
            let span = scratch.plan.spans[i].clone();
            let n_rows = span.rows.len() + span.drafts.len();
            let in_chain = scratch.chained.get(n_chained).filter(|chained| chained.id == span.id);
            let chain_idx = in_chain.map(|_| n_chained);
            n_chained += usize::from(chain_idx.is_some());
            // What goes wrong with one sequence ends that one.
            let end = catch_unwind(AssertUnwindSafe(|| {
                self.deliver_span(&span, (chain_idx, first_row), scratch, now)
            }));
            first_row += n_rows;
            match end {
                Ok(None) => {}
                Ok(Some(finish)) => self.finish(span.id, finish),
                Err(panic) => self.finish(span.id, Finish::Failed(words(&*panic))),
            }
        }
    }

    /// Chooses a sequence's tokens, of which there may be more than one: if its guesses were right, or steps were chained.
    fn deliver_span(
        &mut self,
        span: &PlanSpan,
        (chain_idx, first_row): (Option<usize>, usize),
        scratch: &mut Scratch,
        now: Micros,
    ) -> Option<Finish> {
        let Scratch { plan, tokens, chained, chain, chosen, chooser, .. } = scratch;
        let output = self.model.output();
        let sequence = self.scheduler.get(span.id)?;
        let live = self.live.get_mut(&span.id)?;
        let logits = |position: usize| output.logits(first_row + position - span.rows.start);
        let scored = live.score(span, sequence.tokens.as_slice(), sequence.n_prompt, &logits, chooser);
        if let Err(finish) = scored {
            return Some(finish);
        }

        chosen.clear();
        let is_last = span.rows.end == sequence.tokens.len();
        // Drafts that were right, or steps of a chain after the first.
        let mut n_further = 0;
        let n_forced = live.usage.n_forced;
        let finish = if let Some(chain_idx) = chain_idx {
            let tokens = chain[chain_idx..].iter().step_by(chained.len());
            let finish = live.take_chain(tokens.copied(), chosen);
            n_further = chosen.len().saturating_sub(1);
            finish
        } else if is_last && live.max_tokens > 0 {
            let drafts = &plan.drafts[span.drafts.clone()];
            let last = (first_row + span.rows.len() - 1, span.rows.end - 1);
            let (n_right, finish) = live.take_rows(output, last, drafts, chooser, chosen);
            n_further = n_right;
            finish
        } else {
            is_last.then_some(Finish::Length)
        };
        tokens.clear();
        tokens.extend(chosen.iter().map(|c| c.0));
        let n_computed = span.rows.len() + n_further;
        // Steps of a chain after the last token, or drafts that were not taken.
        let n_ran = chain_idx.map_or(span.drafts.len(), |_| chain.len() / chained.len() - 1);
        let is_ahead = n_further < n_ran;
        let may_be = !is_ahead || finish.is_some() || self.scheduler.can_take_back(span.id);
        assert!(may_be, "a sequence with states goes on from the last row that was computed");
        let is_prefill = span.rows.start < sequence.n_prompt;
        self.scheduler.commit(span.id, n_computed, tokens, is_ahead);
        if !span.drafts.is_empty() && !self.drafts.are_forced(span.id) {
            let (n_drafted, n_accepted) = (span.drafts.len(), n_further);
            let len = self.scheduler.get(span.id).map_or(0, |s| s.tokens.len());
            let saved = self.drafts.saved(span.id, n_drafted, n_accepted);
            self.drafts.learn(span.id, n_drafted, n_accepted, len);
            live.usage.n_drafted += n_drafted;
            live.usage.n_accepted += n_accepted;
            live.usage.saved_by_drafts += saved;
            self.metrics.drafts += 1;
            self.metrics.drafted_tokens += n_drafted as u64;
            self.metrics.accepted_tokens += n_accepted as u64;
            self.metrics.saved_by_drafts += saved;
            if self.drafts.source(span.id) == Source::Model {
                self.metrics.draft_model.proposed += n_drafted as u64;
                self.metrics.draft_model.accepted += n_accepted as u64;
            }
        }
        if let Some(constraint) = &mut live.constraint {
            constraint.take_spent(|spent| self.metrics.add_grammar_time(spent.all, &spent.masks));
        }
        self.drafts.force(span.id, live.forced_drafts(MAX_FORCED_DRAFT));
        self.metrics.forced_tokens += (live.usage.n_forced - n_forced) as u64;
        if is_prefill {
            let n_done = span.rows.end.min(live.usage.n_prompt);
            (live.sink)(Event::Progress { choice_idx: live.choice_idx, n_done });
        }
        if !is_prefill && chain.is_empty() {
            self.experience.speed.got(tokens.len());
        }
        let ending = live.ending();
        let mut n_before = live.usage.n_completion - chosen.len();
        for (token, logprob) in chosen.drain(..) {
            match live.time_token(now) {
                None => self.metrics.time_to_first_token.add(now - live.submitted),
                Some(since) => self.metrics.inter_token_latency.add(since),
            }
            self.metrics.completion_tokens += 1;
            n_before += 1;
            if ending == Ending::Anywhere {
                self.experience.lengths.token(n_before);
            }
            (live.sink)(Event::Token { choice_idx: live.choice_idx, token, logprob });
        }
        finish
    }
}
