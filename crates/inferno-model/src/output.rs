//! What a step gives back: for every row that wanted something, just that.

use crate::batch::{Batch, Want};
use crate::sample::{Pick, Sampler};

/// The results of one step; its memory is reused by the next.
#[derive(Debug, Default)]
pub struct Output {
    /// Rows of the batch that wanted something, ascending.
    rows: Vec<usize>,
    wants: Vec<Want>,
    vocab_size: usize,
    /// (rows.len(), vocab_size); empty if a device sampled for all rows.
    pub(crate) logits: Vec<f32>,
    /// (rows.len(),) sampled tokens; `None` for rows that want none, or have none.
    tokens: Vec<Option<u32>>,
    /// What a device chooses of them, and which of the rows that is.
    picks: Vec<Pick>,
    sampler: Sampler,
}

/// One row's result.
#[derive(Debug, PartialEq)]
pub enum RowOutput<'a> {
    /// (vocab_size,)
    Logits(&'a [f32]),
    /// The chosen token.
    Token(u32),
    /// There is no token to be chosen: no logit is a number.
    NoToken,
}

impl Output {
    /// The rows that wanted something, ascending.
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// What row `row` of the batch wanted; `None` if that was nothing.
    pub fn get(&self, row: usize) -> Option<RowOutput<'_>> {
        let i = self.rows.binary_search(&row).ok()?;
        Some(match self.wants[i] {
            Want::Nothing => return None,
            Want::Logits => RowOutput::Logits(self.logits_of(i)),
            Want::Sample(_) => self.tokens[i].map_or(RowOutput::NoToken, RowOutput::Token),
        })
    }

    /// The logits of row `row`, if it wanted something. If the device chose for all rows there are none.
    pub fn logits(&self, row: usize) -> Option<&[f32]> {
        let i = self.rows.binary_search(&row).ok()?;
        (!self.logits.is_empty()).then(|| self.logits_of(i))
    }

    fn logits_of(&self, i: usize) -> &[f32] {
        &self.logits[i * self.vocab_size..][..self.vocab_size]
    }

    /// Notes what the rows of `batch` want and forgets the step before.
    pub(crate) fn start(&mut self, batch: &Batch, vocab_size: usize) {
        self.start_where(batch, vocab_size, |want| want != Want::Nothing);
    }

    /// As [`Output::start`], for rows whose want is one of those.
    pub(crate) fn start_where(&mut self, batch: &Batch, vocab_size: usize, is_one: impl Fn(Want) -> bool) {
        self.vocab_size = vocab_size;
        self.rows.clear();
        self.rows.extend((0..batch.n_rows()).filter(|&row| is_one(batch.wants()[row])));
        self.wants.clear();
        self.wants.extend(self.rows.iter().map(|&row| batch.wants()[row]));
        self.logits.clear();
        self.tokens.clear();
        self.tokens.resize(self.rows.len(), None);
        self.picks.clear();
    }

    /// What a device can choose of what is wanted, by rows of the logits.
    pub(crate) fn pick(&mut self, positions: &[u32]) -> &[Pick] {
        for (i, (want, &row)) in self.wants.iter().zip(&self.rows).enumerate() {
            if let Want::Sample(spec) = want
                && spec.suits_devices()
            {
                self.picks.push(Pick::new(i, *spec, positions[row]));
            }
        }
        &self.picks
    }

    /// What it chose, as numbers.
    pub(crate) fn picked(&mut self, tokens: &[f32]) {
        for (pick, &token) in self.picks.iter().zip(tokens) {
            self.tokens[pick.row] = as_token(token);
        }
    }

    /// Does it take logits here to give all what they want, beside what a device chooses?
    pub(crate) fn needs_logits(&self) -> bool {
        let is_picked = |i: usize| self.picks.iter().any(|pick| pick.row == i);
        (0..self.wants.len()).any(|i| !is_picked(i))
    }

    /// The results of a step whose logits `logits` writes, row by row: for models that are no transformer.
    pub fn fill(&mut self, batch: &Batch, vocab_size: usize, mut logits: impl FnMut(usize, &mut [f32])) {
        self.start(batch, vocab_size);
        self.logits.resize(self.rows.len() * vocab_size, 0.0);
        for (&row, logits_of) in self.rows.iter().zip(self.logits.chunks_exact_mut(vocab_size)) {
            logits(row, logits_of);
        }
        self.choose(batch.positions());
    }

    /// Samples for the rows that want a token, but for those that a device chose for.
    pub(crate) fn choose(&mut self, positions: &[u32]) {
        for (i, &row) in self.rows.iter().enumerate() {
            let Want::Sample(spec) = self.wants[i] else { continue };
            if self.picks.iter().all(|pick| pick.row != i) {
                let logits = &self.logits[i * self.vocab_size..(i + 1) * self.vocab_size];
                self.tokens[i] = Some(self.sampler.sample(logits, &spec, positions[row]));
            }
        }
    }
}

/// A token that a device chose.
pub(crate) fn as_token(number: f32) -> Option<u32> {
    (number >= 0.0).then_some(number as u32)
}
