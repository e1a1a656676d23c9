//! Drafts: proposals of what comes next, verified in the same step as the tokens they follow. They change speed and nothing else.
//!
//! They come from the sequence's own text ([`lookup`]), or from a draft model, which the engine asks once a step is planned
//! (`core/propose.rs`). [`Drafts`] decides on their number, per sequence and source, by how often they were right and by what
//! they cost.

mod lookup;
mod trust;

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::budget::{NEWEST, RowTimes};
use crate::request::{Micros, SeqId};
use crate::scheduler::Drafter;
use trust::{Costs, Trust, best_number, gain};

/// Drafts of a sequence in a step, at most.
const MAX_DRAFT: usize = 8;
/// Forced tokens that are computed at once as drafts, at most.
pub(crate) const MAX_FORCED_DRAFT: usize = 32;
/// Time of a draft model's step as a share of the model's, until one was measured.
const FIRST_SHARE: f64 = 0.125;
/// Failures of a draft model after which it is asked no more.
const MOST_FAILURES: u64 = 3;

/// The cost of a step: a time in any case, and a time per row, as far as steps of that number of rows were not measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepCost {
    pub(crate) base: f64,
    pub(crate) per_row: f64,
    pub(crate) measured: RowTimes,
}

impl StepCost {
    /// Microseconds of a step of `n_rows`: as measured, or from the nearest smaller number that was, by the time per row.
    fn of(&self, n_rows: usize) -> f64 {
        let (n, time) = self.measured.nearest(n_rows).unwrap_or((0, self.base));
        time + self.per_row * (n_rows - n) as f64
    }
}

/// Where a draft comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Earlier tokens of the sequence.
    Text,
    /// The draft model.
    Model,
}

/// Drafts for all sequences, and how well they did.
#[derive(Debug, Default)]
pub(crate) struct Drafts {
    records: HashMap<SeqId, Record, RandomState>,
    /// Tokens that come next for certain, but not before their logits are there: never empty.
    forced: HashMap<SeqId, Vec<u32>, RandomState>,
    /// Of the next step, if past ones tell: the cost, and how many sequences decode.
    next: Option<(StepCost, usize)>,
    model: Option<DraftModel>,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    text: Trust,
    model: Trust,
}

/// A draft model as the accounts know it.
#[derive(Debug, Default)]
struct DraftModel {
    /// Tokens that it proposes, where that is not decided by what pays.
    n: Option<usize>,
    /// Microseconds of one of its steps, if any was measured.
    step_time: Option<f64>,
    /// Sequences of the planned step that it is to propose tokens for.
    asked: Vec<SeqId>,
    /// Their number in the step before: they share the time of its steps.
    n_before: usize,
    n_failures: u64,
}

impl Drafts {
    /// With a draft model to ask: for `n` tokens each time, or for as many as pay.
    pub(crate) fn with_model(n: Option<usize>) -> Drafts {
        Drafts { model: Some(DraftModel { n, ..DraftModel::default() }), ..Drafts::default() }
    }

    /// Forgets what was planned; `next` is what past steps say of the next one, and how many sequences decode.
    pub(crate) fn start_step(&mut self, next: Option<(StepCost, usize)>) {
        self.next = next;
        if let Some(model) = &mut self.model {
            if !model.asked.is_empty() {
                model.n_before = model.asked.len();
            }
            model.asked.clear();
        }
    }

    /// The sequence may have drafts.
    pub(crate) fn add(&mut self, id: SeqId) {
        self.records.insert(id, Record { text: Trust::of_text(), model: Trust::of_model() });
    }

    pub(crate) fn remove(&mut self, id: SeqId) {
        self.records.remove(&id);
        self.forced.remove(&id);
    }

    /// Sets the tokens that come next for certain; where there are any, nothing is proposed.
    pub(crate) fn force(&mut self, id: SeqId, tokens: impl Iterator<Item = u32>) {
        let mut tokens = tokens.peekable();
        if tokens.peek().is_none() {
            self.forced.remove(&id);
            return;
        }
        let forced = self.forced.entry(id).or_default();
        forced.clear();
        forced.extend(tokens);
    }

    /// Whether the sequence's drafts are forced tokens.
    pub(crate) fn are_forced(&self, id: SeqId) -> bool {
        self.forced.contains_key(&id)
    }

    /// Whether the draft model is to propose tokens in the planned step.
    pub(crate) fn asks_model(&self) -> bool {
        self.model.as_ref().is_some_and(|model| !model.asked.is_empty())
    }

    /// Whether the draft model is to propose tokens for this sequence in the planned step.
    pub(crate) fn is_asked(&self, id: SeqId) -> bool {
        self.source(id) == Source::Model
    }

    /// The source of the sequence's drafts in the planned step.
    pub(crate) fn source(&self, id: SeqId) -> Source {
        match self.model.as_ref().is_some_and(|model| model.asked.contains(&id)) {
            true => Source::Model,
            false => Source::Text,
        }
    }

    /// `n_steps` steps of the draft model took `took`.
    pub(crate) fn observe_model(&mut self, took: Micros, n_steps: usize) {
        let Some(model) = self.model.as_mut().filter(|_| n_steps > 0) else { return };
        let each = took as f64 / n_steps as f64;
        let before = model.step_time.unwrap_or(each);
        let newest = NEWEST[usize::from(each < before)];
        model.step_time = Some(before + newest * (each - before));
    }

    /// The draft model failed.
    pub(crate) fn fail_model(&mut self) {
        if let Some(model) = &mut self.model {
            model.n_failures += 1;
            if model.n_failures == MOST_FAILURES {
                self.model = None;
            }
        }
    }

    /// Learns that the first `n_accepted` of `n_drafted` drafts were right; the sequence has `len` tokens now.
    pub(crate) fn learn(&mut self, id: SeqId, n_drafted: usize, n_accepted: usize, len: usize) {
        let source = self.source(id);
        let Some(record) = self.records.get_mut(&id).filter(|_| n_drafted > 0) else { return };
        let trust = record.of(source);
        trust.learn(n_drafted, n_accepted);
        // A text that goes on in another way than before is likely to do so for a while; a model is only wrong now and then.
        if source == Source::Text && n_accepted == 0 {
            trust.pause_at(len);
        }
    }

    /// Microseconds that the sequence's drafts in this step have saved, about: those that as many tokens would have taken without,
    /// less what the drafts took.
    pub(crate) fn saved(&self, id: SeqId, n_drafted: usize, n_accepted: usize) -> i64 {
        let Some((cost, n_decoding)) = &self.next else { return 0 };
        let n = (*n_decoding).max(1);
        let step = cost.of(n);
        let added = cost.of(n + n_drafted) - step + n_drafted as f64 * self.cost_of(self.source(id), step);
        (n_accepted as f64 * step / n as f64 - added) as i64
    }

    /// Microseconds that it takes to propose a token, where a step of the model takes `step`.
    fn cost_of(&self, source: Source, step: f64) -> f64 {
        match (source, &self.model) {
            (Source::Model, Some(model)) => {
                model.step_time.unwrap_or(FIRST_SHARE * step) / model.n_before.max(1) as f64
            }
            _ => 0.0,
        }
    }

    /// Costs of the next step and of drafts in it; `None` if past steps tell nothing.
    fn costs(&self, source: Source) -> Option<Costs> {
        let (cost, n_decoding) = self.next.as_ref()?;
        let n_sequences = (*n_decoding).max(1);
        let step = cost.of(n_sequences);
        let each = self.cost_of(source, step);
        let added = |n: usize| (cost.of(n_sequences + n) - step).max(0.0) + n as f64 * each;
        Some(Costs { step, n_sequences, added: std::array::from_fn(added) })
    }

    /// Drafts from the text, up to `max`, to `out`. Returns the factor by which they are expected to speed the step up.
    fn draft_from_text(
        &mut self,
        id: SeqId,
        trust: Trust,
        tokens: &[u32],
        max: usize,
        out: &mut Vec<u32>,
    ) -> f64 {
        if trust.resume_at > tokens.len() {
            return 1.0;
        }
        let costs = self.costs(Source::Text);
        let n = best_number(&trust, max, costs.as_ref());
        if n == 0 {
            self.pause(id, Source::Text, tokens.len());
            return 1.0;
        }
        let start = out.len();
        lookup::draft(tokens, n, out);
        gain(&trust, out.len() - start, costs.as_ref())
    }

    fn pause(&mut self, id: SeqId, source: Source, len: usize) {
        if let Some(record) = self.records.get_mut(&id) {
            record.of(source).pause_at(len);
        }
    }
}

impl Record {
    fn of(&mut self, source: Source) -> &mut Trust {
        match source {
            Source::Text => &mut self.text,
            Source::Model => &mut self.model,
        }
    }
}

impl Drafter for Drafts {
    fn are_certain(&self, id: SeqId) -> bool {
        self.are_forced(id)
    }

    fn draft(&mut self, id: SeqId, tokens: &[u32], max: usize, out: &mut Vec<u32>) {
        if let Some(forced) = self.forced.get(&id) {
            out.extend(forced.iter().take(max));
            return;
        }
        let Some(Record { text, model }) = self.records.get(&id).copied() else { return };
        let start = out.len();
        if let Some(DraftModel { n: Some(n), asked, .. }) = &mut self.model {
            out.resize(start + max.min(*n), 0);
            asked.push(id);
            return;
        }
        let text_gain = self.draft_from_text(id, text, tokens, max, out);
        if self.model.is_none() || model.resume_at > tokens.len() {
            return;
        }
        let costs = self.costs(Source::Model);
        let pays = best_number(&model, max, costs.as_ref());
        let n = pays.max(model.n_to_try(max, costs.as_ref()));
        if n == 0 {
            self.pause(id, Source::Model, tokens.len());
        } else if out.len() == start || gain(&model, n, costs.as_ref()) > text_gain {
            out.truncate(start);
            // The draft model's tokens take their place once the step is planned.
            out.resize(start + n, 0);
            self.model.as_mut().expect("just seen").asked.push(id);
        }
    }
}

#[cfg(test)]
mod tests;
