//! Guessing with a second, smaller model of the same vocabulary (Leviathan et al., "Fast inference from transformers via
//! speculative decoding", 2023). A guess counts only if it is the token that would have been chosen anyway.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use foldhash::fast::RandomState;
use inferno_model::batch::{Batch, PAGE_LEN, PageId, Want};
use inferno_model::output::RowOutput;
use inferno_model::sample::SampleSpec;
use inferno_model::transformer::Model;

use super::Guesser;
use crate::core::MAX_GROUPS;
use crate::request::SeqId;

/// Rows of a step that catches up with a sequence.
const CHUNK: usize = 256;

/// A model that guesses. Its pages are its own; a sequence that has lost them is computed anew.
pub(crate) struct DraftModel {
    model: Box<dyn Model>,
    free: Vec<PageId>,
    sequences: HashMap<SeqId, State, RandomState>,
    batch: Batch,
    /// Does it work? A model that fails is not asked again.
    is_well: bool,
    now: u64,
}

/// What the model has of a sequence.
#[derive(Debug, Default)]
struct State {
    /// Tokens with keys and values.
    tokens: Vec<u32>,
    table: Vec<PageId>,
    last_used: u64,
}

impl DraftModel {
    /// A model whose pool has `n_pages` in every cache group.
    pub(crate) fn new(model: Box<dyn Model>, n_pages: usize) -> DraftModel {
        let free = (0..n_pages as u32).rev().map(PageId).collect();
        let sequences = HashMap::default();
        DraftModel { model, free, sequences, batch: Batch::default(), is_well: true, now: 0 }
    }

    /// Pages for `len` positions; the sequence that was not used for longest gives way.
    fn grow(&mut self, id: SeqId, state: &mut State, len: usize) -> Option<()> {
        while state.table.len() * PAGE_LEN < len {
            if self.free.is_empty() {
                let others = self.sequences.iter().filter(|(other, s)| **other != id && !s.table.is_empty());
                let oldest = *others.min_by_key(|(id, s)| (s.last_used, **id))?.0;
                self.forget(oldest);
            }
            state.table.push(self.free.pop()?);
        }
        Some(())
    }

    /// Computes the tokens that are new, and gives the best one after them.
    fn best_after(&mut self, state: &mut State, tokens: &[u32]) -> Option<u32> {
        let DraftModel { model, batch, .. } = self;
        let n_groups = model.architecture().cache_groups.len();
        let mut best = None;
        while state.tokens.len() < tokens.len() {
            let start = state.tokens.len();
            let chunk = &tokens[start..tokens.len().min(start + CHUNK)];
            let is_last = start + chunk.len() == tokens.len();
            let want = if is_last { Want::Sample(SampleSpec::GREEDY) } else { Want::Nothing };
            batch.clear();
            batch.push(chunk, start, &[state.table.as_slice(); MAX_GROUPS][..n_groups], want);
            let output = model.step(batch).ok()?;
            if let Some(RowOutput::Token(token)) = output.get(chunk.len() - 1) {
                best = Some(token);
            }
            state.tokens.extend_from_slice(chunk);
        }
        best
    }

    fn guesses(&mut self, id: SeqId, state: &mut State, tokens: &[u32], max: usize, out: &mut Vec<u32>) {
        let context_len = self.model.architecture().context_len;
        let max = max.min(context_len.saturating_sub(tokens.len()));
        // What was guessed wrongly, or belongs to a row whose token is wanted again, is computed again.
        let same = state.tokens.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        state.tokens.truncate(same.min(tokens.len() - 1));
        let mut all = tokens.to_vec();
        for _ in 0..max {
            if self.grow(id, state, all.len()).is_none() {
                return;
            }
            let Some(token) = self.best_after(state, &all) else {
                self.is_well = false;
                return;
            };
            all.push(token);
            out.push(token);
        }
    }
}

impl Guesser for DraftModel {
    fn guess(&mut self, id: SeqId, tokens: &[u32], max: usize, out: &mut Vec<u32>) {
        if !self.is_well || tokens.is_empty() {
            return;
        }
        self.now += 1;
        let mut state = self.sequences.remove(&id).unwrap_or_default();
        state.last_used = self.now;
        let start = out.len();
        let ran = catch_unwind(AssertUnwindSafe(|| self.guesses(id, &mut state, tokens, max, out)));
        if ran.is_err() {
            self.is_well = false;
            out.truncate(start);
        }
        self.sequences.insert(id, state);
    }

    fn forget(&mut self, id: SeqId) {
        if let Some(state) = self.sequences.remove(&id) {
            self.free.extend(state.table);
        }
    }
}
