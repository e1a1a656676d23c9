//! Proposals of a draft model, for the sequences that the plan has room for.

use std::panic::{AssertUnwindSafe, catch_unwind};

use inferno_model::model::Lead;

use super::Core;
use crate::scheduler::Plan;

/// Rows of a sequence in the draft model's first step with which it still takes about as long as the others.
const MOST_ROWS: usize = 4;

impl Core {
    /// Has the draft model propose tokens where the plan has a place for them. Places without a proposal are given up: a failure of
    /// the draft model costs speed and nothing else.
    pub(super) fn propose(&mut self, plan: &mut Plan) {
        if !self.drafts.asks_model() {
            return;
        }
        let Core { model, scheduler, live, drafts, metrics, clock, .. } = self;
        let asked: Vec<usize> =
            (0..plan.spans.len()).filter(|&i| drafts.is_asked(plan.spans[i].id)).collect();
        let before = clock();
        let mut has_failed = true;
        if let Some(drafting) = model.drafting() {
            let group = drafting.group();
            let leads: Vec<Lead> = asked
                .iter()
                .map(|&i| {
                    let span = &plan.spans[i];
                    let sequence = scheduler.get(span.id).expect("a plan is of sequences there are");
                    Lead {
                        tokens: &sequence.tokens,
                        n_computed: span.rows.start,
                        pages: sequence.tables[group].view(),
                        spec: live[&span.id].sampling.spec,
                        n: span.drafts.len(),
                    }
                })
                .collect();
            let result = catch_unwind(AssertUnwindSafe(|| {
                drafting.draft(&leads).map(|proposals| {
                    for (&i, proposed) in asked.iter().zip(&proposals.tokens) {
                        plan.set_drafts(i, proposed);
                    }
                    (proposals.n_steps, proposals.n_behind)
                })
            }));
            if let Ok(Ok((n_steps, n_behind))) = result {
                has_failed = false;
                metrics.draft_model.steps += n_steps as u64;
                metrics.draft_model.rows_behind += n_behind as u64;
                // A step with many rows tells nothing of the others.
                if n_behind <= MOST_ROWS * asked.len() {
                    drafts.observe_model(clock() - before, n_steps);
                }
            }
        }
        if has_failed {
            metrics.draft_model.failures += 1;
            drafts.fail_model();
            asked.iter().for_each(|&i| plan.set_drafts(i, &[]));
        }
        metrics.draft_model.time += clock() - before;
    }
}
