//! The tokens that are left of a row while samplers filter it one after the other, in any order.
//!
//! [`Sampler`] is the quick way through the default order; this is the general one. Its samplers are those of llama.cpp
//! (`src/llama-sampler.cpp`), each of which names the paper that it comes from. Two things differ: a token at -∞ is no candidate
//! and is counted nowhere, and sums are double precision.
//!
//! A row stays a row until a sampler leaves few tokens of it, so that nothing sorts a whole vocabulary without need.

use super::head::Crossing;
use super::select::{argmax, at_least, quick_exp, rank, sum_of, top_k};
use super::{Sampler, random};
use crate::numerics::exp;

mod infill;
mod mirostat;
#[cfg(test)]
mod tests;
mod typical;

pub use mirostat::{Mirostat, MirostatVersion};

/// Rounding moves an exponent by less than this.
const SLACK: f64 = 0.001;

/// Room for candidates, reused from row to row.
#[derive(Debug, Clone, Default)]
pub struct Room {
    sampler: Sampler,
    /// (score, index) of typical sampling among few tokens.
    scores: Vec<(f64, u32)>,
    /// The same for a whole row.
    bins: Vec<typical::Bin>,
}

/// The tokens of a row that are left, and the temperature that their logits are divided by. There is always one.
#[derive(Debug)]
pub struct Candidates<'a> {
    /// (vocab_size,) logits; -∞ is no candidate
    row: &'a mut [f32],
    /// Its `candidates` count once `is_list` is set: (token, logit), best first.
    room: &'a mut Room,
    is_list: bool,
    temperature: f32,
}

/// The tokens that samplers left of a row, and the temperature that its logits are to be divided by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Left {
    /// All of its tokens that are not at -∞.
    Row {
        /// See above.
        temperature: f32,
    },
    /// The tokens of [`Room::list`].
    List {
        /// See above.
        temperature: f32,
    },
}

impl Default for Left {
    fn default() -> Left {
        Left::Row { temperature: 1.0 }
    }
}

/// Of the weights `e^x` with `x = (logit - best) / temperature`.
#[derive(Debug, Clone, Copy)]
struct Moments {
    n: usize,
    sum: f64,
    /// `Σ x·e^x / Σ e^x`
    mean: f64,
}

impl Room {
    /// (token, logit) of the tokens that are left of the last row, best first, if they are a [`Left::List`].
    pub fn list(&self) -> &[(u32, f32)] {
        &self.sampler.candidates
    }

    /// All tokens of a row of logits (vocab_size,), which samplers may change; NaN counts as -∞.
    pub fn candidates<'a>(&'a mut self, row: &'a mut [f32]) -> Candidates<'a> {
        let mut candidates = Candidates { row, room: self, is_list: false, temperature: 1.0 };
        if !candidates.best().is_finite() {
            candidates.keep_best();
        }
        candidates
    }
}

impl<'a> Candidates<'a> {
    fn list(&self) -> &[(u32, f32)] {
        &self.room.sampler.candidates
    }

    fn best(&self) -> f32 {
        if self.is_list { self.list()[0].1 } else { self.row[argmax(self.row) as usize] }
    }

    /// The exponent of a logit's weight.
    fn exponent(&self, logit: f32, best: f32) -> f32 {
        (logit - best) / self.temperature
    }

    /// The weight of a candidate: its probability times the sum of all weights.
    fn weight(&self, logit: f32, best: f32) -> f64 {
        f64::from(exp(self.exponent(logit, best)))
    }

    /// The number of candidates.
    pub fn len(&self) -> usize {
        match self.is_list {
            true => self.list().len(),
            false => self.row.iter().filter(|&&x| x > f32::NEG_INFINITY).count(),
        }
    }

    /// Never: there is always a candidate.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The tokens that are left.
    pub fn left(&self) -> Left {
        let temperature = self.temperature;
        if self.is_list { Left::List { temperature } } else { Left::Row { temperature } }
    }

    /// Keeps the `k` best; 0 keeps all.
    pub fn top_k(&mut self, k: usize) {
        if k == 0 || (!self.is_list && k >= self.row.len()) {
            return;
        }
        if self.is_list {
            self.room.sampler.candidates.truncate(k);
        } else {
            self.take_best(k);
        }
    }

    /// Becomes a list of the `k` best of the row.
    fn take_best(&mut self, k: usize) {
        let list = &mut self.room.sampler.candidates;
        top_k(self.row, k, list);
        let n = list.partition_point(|c| c.1 > f32::NEG_INFINITY);
        list.truncate(n.max(1));
        self.is_list = true;
    }

    fn keep_best(&mut self) {
        if self.is_list {
            self.room.sampler.candidates.truncate(1);
        } else {
            top_k(self.row, 1, &mut self.room.sampler.candidates);
            self.is_list = true;
        }
    }

    /// Becomes a list of all candidates.
    fn sort(&mut self) {
        if !self.is_list {
            self.take_best(self.row.len());
        }
    }

    /// Becomes a list of the candidates whose weight is at least `e^limit`, give or take rounding.
    fn take_at_least(&mut self, best: f32, limit: f64) {
        let limit = f64::from(best) + f64::from(self.temperature) * (limit - SLACK);
        // Not down to -∞, where there are no candidates.
        let limit = (limit as f32).next_down().max(f32::MIN);
        let list = &mut self.room.sampler.candidates;
        at_least(self.row, limit.min(best), list);
        list.sort_unstable_by_key(rank);
        self.is_list = true;
    }

    /// Keeps the best tokens until their probabilities reach `p`, and `min_keep` at least: nucleus sampling
    /// (Holtzman et al., "The curious case of neural text degeneration", ICLR 2020). 1 keeps all.
    pub fn top_p(&mut self, p: f32, min_keep: usize) {
        if p >= 1.0 {
            return;
        }
        if !self.is_list {
            let crossing =
                Crossing { best: self.best(), temperature: self.temperature, fraction: f64::from(p) };
            if let Some(i) = crossing.find(self.row, &mut self.room.sampler.candidates) {
                return self.take_best((i + 1).max(min_keep));
            }
            self.sort();
        }
        let sampler = &mut self.room.sampler;
        let total = sampler.weigh(self.temperature);
        let mut sum = 0.0;
        let reached = sampler.weights.iter().position(|&weight| {
            sum += f64::from(weight);
            sum >= f64::from(p) * total
        });
        let n = reached.map_or(sampler.candidates.len(), |i| i + 1);
        sampler.candidates.truncate(n.max(min_keep));
    }

    /// Keeps tokens at least `p` times as probable as the best one, and `min_keep` at least: Nguyen et al., "Turning up the
    /// heat: min-p sampling" (2024). 0 keeps all.
    pub fn min_p(&mut self, p: f32, min_keep: usize) {
        if p <= 0.0 {
            return;
        }
        let (best, temperature) = (self.best(), self.temperature);
        let is_kept = |c: &(u32, f32)| c.1 == best || exp((c.1 - best) / temperature) >= p;
        if !self.is_list {
            self.take_at_least(best, libm::log(f64::from(p)).min(0.0));
            let n = self.list().partition_point(is_kept);
            match n < min_keep {
                true => self.take_best(min_keep),
                false => self.room.sampler.candidates.truncate(n),
            }
            return;
        }
        let n = self.list().partition_point(is_kept);
        self.room.sampler.candidates.truncate(n.max(min_keep));
    }

    /// Keeps tokens whose logit is within `n` standard deviations of the best one; 0 and less keeps all. Tang et al., "Top-nσ:
    /// not all logits are you need" (2024).
    pub fn top_n_sigma(&mut self, n: f32) {
        let count = self.len();
        if n <= 0.0 || count <= 1 {
            return;
        }
        let squares = match self.is_list {
            true => {
                let logits = || self.list().iter().map(|c| f64::from(c.1));
                let mean = logits().sum::<f64>() / count as f64;
                logits().map(|x| (x - mean) * (x - mean)).sum::<f64>()
            }
            false => {
                let own = |x: f32, of: f64| if x > f32::NEG_INFINITY { of } else { 0.0 };
                let mean = striped(self.row, |x| own(x, f64::from(x))) / count as f64;
                striped(self.row, |x| own(x, (f64::from(x) - mean) * (f64::from(x) - mean)))
            }
        };
        let deviation = libm::sqrt(squares / count as f64);
        let limit = f64::from(self.best()) - f64::from(n) * deviation;
        let is_kept = |x: f32| f64::from(x) >= limit;
        if self.is_list {
            let n = self.list().partition_point(|c| is_kept(c.1));
            self.room.sampler.candidates.truncate(n.max(1));
        } else {
            self.row.iter_mut().for_each(|x| *x = if is_kept(*x) { *x } else { f32::NEG_INFINITY });
        }
    }

    /// Keeps the tokens whose information is nearest to what is expected, until their probabilities exceed `p`, and `min_keep`
    /// at least: Meister et al., "Locally typical sampling" (2022). 1 keeps all.
    pub fn typical_p(&mut self, p: f32, min_keep: usize) {
        if p >= 1.0 {
            return;
        }
        if !self.is_list {
            return self.typical_of_row(p, min_keep);
        }
        let Moments { sum, mean, .. } = self.moments();
        // -ln(p) - H = ln Σ - x - (ln Σ - mean): how far x is from its mean.
        let best = self.best();
        let temperature = self.temperature;
        let Room { sampler, scores, .. } = &mut *self.room;
        let exponent = |logit: f32| f64::from((logit - best) / temperature);
        scores.clear();
        let score = |(i, c): (u32, &(u32, f32))| ((exponent(c.1) - mean).abs(), i);
        scores.extend((0..).zip(&sampler.candidates).map(score));
        scores.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut reached = 0.0;
        let crosses = |(n, &(_, i)): (usize, &(f64, u32))| {
            reached += f64::from(exp((sampler.candidates[i as usize].1 - best) / temperature));
            reached > f64::from(p) * sum && n + 1 >= min_keep
        };
        let n = scores.iter().enumerate().position(crosses).map_or(scores.len(), |i| i + 1);
        scores.truncate(n);
        // In the order of the candidates, best first.
        scores.sort_unstable_by_key(|score| score.1);
        for (place, &(_, i)) in scores.iter().enumerate() {
            sampler.candidates[place] = sampler.candidates[i as usize];
        }
        sampler.candidates.truncate(n);
    }

    /// Excludes, where `number` (in [0, 1)) is below `probability`, all tokens of at least `threshold` but the least probable of
    /// them, if that leaves `min_keep`. Above 0.5 no two tokens reach the threshold, and nothing happens. Source: p-e-w, "Exclude
    /// Top Choices" (text-generation-webui, pull request 6335).
    pub fn xtc(&mut self, (probability, threshold): (f32, f32), min_keep: usize, number: f64) {
        if number >= f64::from(probability) || threshold > 0.5 {
            return;
        }
        let n = self.len();
        let best = self.best();
        let was_list = self.is_list;
        let sum = self.sum(best);
        if threshold > 0.0 && !was_list {
            self.take_at_least(best, libm::log(f64::from(threshold) * sum).min(0.0));
        } else {
            self.sort();
        }
        let limit = f64::from(threshold) * sum;
        let n_likely = self.list().partition_point(|c| self.weight(c.1, best) >= limit);
        let n_excluded = n_likely.saturating_sub(1);
        let n_excluded = if n - n_excluded >= min_keep { n_excluded } else { 0 };
        if was_list || threshold <= 0.0 {
            self.room.sampler.candidates.drain(..n_excluded);
        } else {
            for i in 0..n_excluded {
                self.row[self.room.sampler.candidates[i].0 as usize] = f32::NEG_INFINITY;
            }
            self.is_list = false;
        }
    }

    /// Divides logits by `temperature`; 0 and less keeps the best token.
    pub fn temperature(&mut self, temperature: f32) {
        let product = self.temperature * temperature;
        if product > 0.0 {
            self.temperature = product;
        } else {
            self.keep_best();
        }
    }

    /// Divides logits by a temperature between `temperature - range` and `temperature + range`, which goes with the share of the
    /// greatest entropy that the distribution has, to the power of `exponent`. Source: kalomaze, "Dynamic temperature
    /// sampling" (llama.cpp, pull request 4972).
    pub fn dynamic_temperature(&mut self, temperature: f32, range: f32, exponent: f32) {
        if range <= 0.0 {
            return self.temperature(temperature);
        }
        let Moments { n, sum, mean } = self.moments();
        if n <= 1 {
            return;
        }
        let entropy = libm::log(sum) - mean;
        let share = (entropy / libm::log(n as f64)).clamp(0.0, 1.0);
        let (least, most) = (f64::from(temperature - range).max(0.0), f64::from(temperature + range));
        self.temperature((least + (most - least) * libm::pow(share, f64::from(exponent))) as f32);
    }

    /// Changes the logits of `tokens`; `change` leaves those of others as they are.
    pub fn adjust(&mut self, tokens: impl Iterator<Item = u32>, change: impl Fn(u32, f32) -> f32) {
        let temperature = std::mem::replace(&mut self.temperature, 1.0);
        if self.is_list {
            let list = &mut self.room.sampler.candidates;
            list.iter_mut().for_each(|c| c.1 = change(c.0, c.1 / temperature) + 0.0);
            list.sort_unstable_by_key(rank);
            return;
        }
        if temperature != 1.0 {
            self.row.iter_mut().for_each(|x| *x /= temperature);
        }
        for token in tokens {
            // A prompt may hold tokens for which the model has no logit.
            if let Some(x) = self.row.get_mut(token as usize) {
                *x = change(token, *x);
            }
        }
    }

    /// The token at which the sum of weights, best first, passes `number` (in [0, 1)) of their total.
    pub fn draw(&mut self, number: f64) -> u32 {
        if !self.is_list {
            let best = self.best();
            let crossing = Crossing { best, temperature: self.temperature, fraction: number };
            if best.is_finite()
                && self.temperature.is_finite()
                && let Some(i) = crossing.find(self.row, &mut self.room.sampler.candidates)
            {
                return self.room.sampler.candidates[i].0;
            }
            self.sort();
        }
        self.room.sampler.draw(self.temperature, number)
    }

    /// The sum of all weights.
    fn sum(&self, best: f32) -> f64 {
        match self.is_list {
            true => self.list().iter().map(|c| self.weight(c.1, best)).sum(),
            false => sum_of(self.row, |x| quick_exp((x - best) / self.temperature)),
        }
    }

    fn moments(&self) -> Moments {
        let best = self.best();
        // What has no weight has no share in the mean, even at -∞.
        let part = |weight: f64, x: f32| if weight > 0.0 { weight * f64::from(x) } else { 0.0 };
        let (sum, first) = match self.is_list {
            true => {
                let parts = self.list().iter().map(|c| {
                    let weight = self.weight(c.1, best);
                    (weight, part(weight, self.exponent(c.1, best)))
                });
                parts.fold((0.0, 0.0), |sum, (weight, x)| (sum.0 + weight, sum.1 + x))
            }
            false => {
                // Terms that are not negative: -x.
                let first = sum_of(self.row, |x| {
                    let x = (x - best) / self.temperature;
                    let e = quick_exp(x);
                    if e > 0.0 { -x * e } else { 0.0 }
                });
                (self.sum(best), -first)
            }
        };
        Moments { n: self.len(), sum, mean: first / sum }
    }
}

/// `Σ f(x)` in sixteen chains, so that it is quick, and the same everywhere.
fn striped(row: &[f32], f: impl Fn(f32) -> f64) -> f64 {
    let (chunks, rest) = row.as_chunks::<16>();
    let mut sums = [0.0; 16];
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, &x)| *sum += f(x));
    }
    sums.iter().sum::<f64>() + rest.iter().map(|&x| f(x)).sum::<f64>()
}

/// The random numbers of one position, in the order in which samplers take them: draw 0 is the token's.
#[derive(Debug, Clone, Copy)]
pub struct Draws {
    seed: u64,
    choice_idx: u32,
    position: u32,
    next: u32,
}

impl Draws {
    /// Numbers of a completion's `choice_idx` at `position`.
    pub fn new(seed: u64, choice_idx: u32, position: u32) -> Draws {
        Draws { seed, choice_idx, position, next: 1 }
    }

    /// The number that chooses the token.
    pub fn of_token(&self) -> f64 {
        random::uniform(self.seed, self.choice_idx, self.position, 0)
    }

    /// The number of the next sampler that needs one.
    pub fn next_number(&mut self) -> f64 {
        let number = random::uniform(self.seed, self.choice_idx, self.position, self.next);
        self.next += 1;
        number
    }
}
