//! Choosing a token from logits: plain data and plain functions, so that a device can do the same.
//!
//! The random numbers are a function of (seed, choice, position, draw) and nothing else ([`random`]): a token does not
//! depend on how its sequence was batched, preempted or resumed. Seeds are a promise: this generator stays.

use crate::numerics::exp;

mod candidates;
mod head;
mod pick;
pub mod random;
mod select;
#[cfg(test)]
mod tests;

pub use candidates::{Candidates, Draws, Left, Mirostat, MirostatVersion, Room};
use head::Crossing;
pub use pick::{MOST_CANDIDATES, Pick, as_share};
pub use select::{argmax, logsumexp, top_k};
use select::{at_least, rank};

/// How a row's token is chosen. Filters apply in the order of the fields, which is llama.cpp's default.
///
/// All stages in that order; those in brackets are [`Candidates`]'. What comes before top-k needs more than the row, so the
/// engine does it.
///
/// ```text
/// bias, masks → penalties → [DRY] → [top-nσ] → top-k → [typical] → top-p → min-p → [XTC] → temperature → draw
/// ```
///
/// Top-p and min-p look at probabilities before the temperature. [`Mirostat`] takes the place of all filters and of the draw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleSpec {
    /// Keep this many of the best tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the best tokens until their probabilities reach this sum; 1 keeps all.
    pub top_p: f32,
    /// Keep tokens at least this fraction as probable as the best; 0 keeps all.
    pub min_p: f32,
    /// Logits are divided by this; 0 takes the best token (ties: the lowest id).
    pub temperature: f32,
    /// Key of the random numbers.
    pub seed: u64,
    /// Which of several completions of one prompt this is.
    pub choice_idx: u32,
}

impl SampleSpec {
    /// Always the best token.
    pub const GREEDY: SampleSpec =
        SampleSpec { top_k: 0, top_p: 1.0, min_p: 0.0, temperature: 0.0, seed: 0, choice_idx: 0 };

    /// Does it always take the best token?
    pub fn is_greedy(&self) -> bool {
        self.temperature <= 0.0 || self.top_k == 1
    }

    /// Do the filters leave every token of a vocabulary of `vocab_size`?
    pub fn keeps_all(&self, vocab_size: usize) -> bool {
        self.has_no_top_k(vocab_size) && self.top_p >= 1.0 && self.min_p <= 0.0
    }

    fn has_no_top_k(&self, vocab_size: usize) -> bool {
        self.top_k == 0 || self.top_k >= vocab_size
    }
}

/// Room for one row's candidates, reused from row to row.
#[derive(Debug, Clone, Default)]
pub struct Sampler {
    /// (token, logit), best first.
    candidates: Vec<(u32, f32)>,
    /// (candidates.len(),)
    weights: Vec<f32>,
}

impl Sampler {
    /// The token for the row at `position` with these `logits` (vocab_size,). A logit that is NaN counts as
    /// -∞, so that the result is a valid token whatever the weights hold.
    pub fn sample(&mut self, logits: &[f32], spec: &SampleSpec, position: u32) -> u32 {
        if spec.is_greedy() {
            return argmax(logits);
        }
        let number = random::uniform(spec.seed, spec.choice_idx, position, 0);
        if spec.keeps_all(logits.len()) {
            let best = logits[argmax(logits) as usize];
            let crossing = Crossing { best, temperature: spec.temperature, fraction: number };
            if best.is_finite()
                && spec.temperature.is_finite()
                && let Some(i) = crossing.find(logits, &mut self.candidates)
            {
                return self.candidates[i].0;
            }
        }
        self.filter(logits, spec);
        self.draw(spec.temperature, number)
    }

    /// The tokens that the filters leave, with their logits, best first; never none. Where the best logit is not
    /// finite, only its token. The temperature has no part in it, 0 neither.
    pub fn filter(&mut self, logits: &[f32], spec: &SampleSpec) -> &[(u32, f32)] {
        let best = logits[argmax(logits) as usize];
        if !best.is_finite() {
            top_k(logits, 1, &mut self.candidates);
            return &self.candidates;
        }
        if !spec.has_no_top_k(logits.len()) {
            top_k(logits, spec.top_k, &mut self.candidates);
            if spec.top_p < 1.0 {
                self.keep_top_p(spec.top_p);
            }
        } else if spec.top_p < 1.0 {
            let crossing = Crossing { best, temperature: 1.0, fraction: f64::from(spec.top_p) };
            if let Some(i) = crossing.find(logits, &mut self.candidates) {
                self.candidates.truncate(i + 1);
            } else {
                top_k(logits, logits.len(), &mut self.candidates);
                self.keep_top_p(spec.top_p);
            }
        } else if spec.min_p > 0.0 {
            // Rounding moves an exponent by less than 0.001. The best stays, whatever min_p is.
            let limit = f64::from(best) + libm::log(f64::from(spec.min_p)).min(0.0) - 0.001;
            at_least(logits, (limit as f32).next_down(), &mut self.candidates);
            self.candidates.sort_unstable_by_key(rank);
        } else {
            top_k(logits, logits.len(), &mut self.candidates);
        }
        if spec.min_p > 0.0 {
            self.candidates.retain(|c| c.1 == best || exp(c.1 - best) >= spec.min_p);
        }
        &self.candidates
    }

    fn keep_top_p(&mut self, top_p: f32) {
        let total = self.weigh(1.0);
        let mut sum = 0.0;
        let reached = self.weights.iter().position(|&weight| {
            sum += f64::from(weight);
            sum >= f64::from(top_p) * total
        });
        self.candidates.truncate(reached.map_or(self.candidates.len(), |i| i + 1));
    }

    /// The candidate at which the sum of weights passes `number` of the total.
    fn draw(&mut self, temperature: f32, number: f64) -> u32 {
        if !self.candidates[0].1.is_finite() {
            return self.candidates[0].0;
        }
        let mut left = number * self.weigh(temperature);
        for (&(token, _), &weight) in self.candidates.iter().zip(&self.weights) {
            left -= f64::from(weight);
            if left < 0.0 {
                return token;
            }
        }
        // The last candidate of weight: rounding may leave a crumb of `left`.
        let last = self.weights.iter().rposition(|&weight| weight > 0.0);
        self.candidates[last.unwrap_or(0)].0
    }

    /// Sets the weights `e^((logit - best) / temperature)` and adds them up.
    fn weigh(&mut self, temperature: f32) -> f64 {
        let best = self.candidates[0].1;
        self.weights.clear();
        self.weights.extend(self.candidates.iter().map(|c| exp((c.1 - best) / temperature)));
        self.weights.iter().map(|&weight| f64::from(weight)).sum()
    }
}
