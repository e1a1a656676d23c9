//! Choosing a token on a device: what needs no more of a row than its best few logits, in single precision.
//!
//! It is a definition beside that of [`Sampler`](super::Sampler), which adds up in double precision: on the same logits both
//! give the same token but for draws that land within rounding of a limit. Which of the two serves a request depends on
//! the request and the backend alone.

use super::{SampleSpec, random, top_k};
use crate::numerics::exp;

/// Candidates that a device looks at, at most.
pub const MOST_CANDIDATES: usize = 64;

/// A row of logits, and how its token is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pick {
    /// Which row.
    pub row: usize,
    /// How.
    pub spec: SampleSpec,
    /// In [0, 1]: which share of the candidates' weights comes before the token.
    pub number: f32,
}

impl SampleSpec {
    /// Can a device choose by this?
    pub fn suits_devices(&self) -> bool {
        self.is_greedy() || (1..=MOST_CANDIDATES).contains(&self.top_k)
    }

    /// Candidates that count before the other filters.
    pub fn n_candidates(&self) -> usize {
        if self.is_greedy() { 1 } else { self.top_k }
    }
}

impl Pick {
    /// For a row at that position of its sequence.
    pub fn new(row: usize, spec: SampleSpec, position: u32) -> Pick {
        let number = random::uniform(spec.seed, spec.choice_idx, position, 0) as f32;
        Pick { row, spec, number }
    }

    /// The token for a row with these `logits` (vocab_size,); `None` if none of them is a number.
    pub fn choose(&self, logits: &[f32]) -> Option<u32> {
        let SampleSpec { top_p, min_p, temperature, .. } = self.spec;
        if logits.iter().all(|x| x.is_nan()) {
            return None;
        }
        let mut candidates = Vec::new();
        top_k(logits, self.spec.n_candidates(), &mut candidates);
        let best = candidates[0].1;
        if self.spec.is_greedy() || !best.is_finite() {
            return Some(candidates[0].0);
        }
        let mut n = candidates.len();
        if top_p < 1.0 {
            let total: f32 = candidates.iter().map(|c| exp(c.1 - best)).sum();
            let mut sum = 0.0;
            let reached = candidates.iter().position(|c| {
                sum += exp(c.1 - best);
                sum >= top_p * total
            });
            n = reached.map_or(n, |i| i + 1);
        }
        if min_p > 0.0 {
            let kept = candidates[..n].iter().take_while(|c| c.1 == best || exp(c.1 - best) >= min_p);
            n = kept.count();
        }
        let weights: Vec<f32> = candidates[..n].iter().map(|c| exp((c.1 - best) / temperature)).collect();
        let mut left = self.number * weights.iter().sum::<f32>();
        let drawn = weights.iter().position(|weight| {
            left -= weight;
            left < 0.0
        });
        // Rounding may leave a crumb: then it is the last one of weight.
        let last = || weights.iter().rposition(|&weight| weight > 0.0).unwrap_or(0);
        Some(candidates[drawn.unwrap_or_else(last)].0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Sampler;
    use super::*;

    #[test]
    fn a_pick_is_what_the_sampler_samples() {
        let mut sampler = Sampler::default();
        let mut n_different = 0;
        for seed in 0..2_000u64 {
            let number = |i: u32| random::uniform(seed, 1, i, 7) as f32;
            let logits: Vec<f32> = (0..200).map(|i| 12.0 * number(i) - 4.0).collect();
            let spec = SampleSpec {
                top_k: 1 + seed as usize % 64,
                top_p: if seed % 3 == 0 { 0.8 } else { 1.0 },
                min_p: if seed % 4 == 0 { 0.05 } else { 0.0 },
                temperature: if seed % 5 == 0 { 0.0 } else { 0.1 + number(999) },
                seed,
                choice_idx: 0,
            };
            let sampled = sampler.sample(&logits, &spec, 5);
            n_different += usize::from(Pick::new(0, spec, 5).choose(&logits) != Some(sampled));
        }
        assert_eq!(n_different, 0);
    }

    #[test]
    fn what_is_no_number_is_not_picked() {
        let pick = Pick::new(0, SampleSpec { top_k: 3, temperature: 1.0, ..SampleSpec::GREEDY }, 0);
        assert_eq!(pick.choose(&[f32::NAN; 4]), None);
        assert_eq!(pick.choose(&[f32::NAN, f32::NEG_INFINITY, 1.0, f32::NAN]), Some(2));
        assert_eq!(pick.choose(&[0.0, f32::INFINITY, 1.0]), Some(1));
        let greedy = Pick::new(0, SampleSpec::GREEDY, 0);
        assert_eq!(greedy.choose(&[1.0, 3.0, f32::NAN, 3.0]), Some(1));
    }
}
