//! Choosing a token on a device: from the best few logits of a row, in single precision, or from all of them, in integers,
//! whose sums are the same in any order.
//!
//! It is a definition beside that of [`Sampler`](super::Sampler), which adds up in double precision: on the same logits both
//! give the same token but for draws that land within rounding of a limit. Which of the two serves a request depends on
//! the request and the backend alone.

use super::{SampleSpec, random, top_k};
use crate::numerics::exp;

/// The longest list of candidates that a device sorts; it also chooses from all tokens.
pub const MOST_CANDIDATES: usize = 64;
/// The weight of the best token, where weights are integers: others have less, down to none.
const ONE: f32 = (1u32 << 31) as f32;

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
        self.is_greedy() || self.top_k <= MOST_CANDIDATES
    }

    /// Candidates that count before the other filters; `None` if all tokens do.
    pub fn n_candidates(&self) -> Option<usize> {
        match self.top_k {
            _ if self.is_greedy() => Some(1),
            0 => None,
            k => Some(k),
        }
    }
}

/// A share of a sum of integer weights: in units of 2^-32, just below all of it at most.
pub fn as_share(fraction: f32) -> u32 {
    // Saturates.
    (fraction * (1u64 << 32) as f32) as u32
}

impl Pick {
    /// For a row at that position of its sequence.
    pub fn new(row: usize, spec: SampleSpec, position: u32) -> Pick {
        let number = random::uniform(spec.seed, spec.choice_idx, position, 0) as f32;
        Pick { row, spec, number }
    }

    /// The token for a row with these `logits` (vocab_size,); `None` if the best of them is not finite: one is +∞, or none is
    /// a finite number. NaN counts as -∞.
    pub fn choose(&self, logits: &[f32]) -> Option<u32> {
        let SampleSpec { top_p, min_p, temperature, .. } = self.spec;
        let mut candidates = Vec::new();
        top_k(logits, self.spec.n_candidates().unwrap_or(1), &mut candidates);
        let best = candidates[0].1;
        if !best.is_finite() {
            return None;
        }
        if self.spec.is_greedy() {
            return Some(candidates[0].0);
        }
        if self.spec.top_k == 0 {
            return Some(self.choose_from_all(logits, best));
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

    /// From the whole vocabulary, whose best logit is finite.
    fn choose_from_all(&self, logits: &[f32], best: f32) -> u32 {
        let SampleSpec { top_p, min_p, temperature, .. } = self.spec;
        let mut kept: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
        if top_p < 1.0 {
            let limit = |total| u64::max(share_of(total, as_share(top_p)), 1) - 1;
            let last = crossing(&kept, best, 1.0, limit);
            kept.retain(|&(token, logit)| {
                Weight::of(token, logit, best, 1.0).is_some_and(|w| w.rank <= last)
            });
        }
        if min_p > 0.0 {
            kept.retain(|&(_, logit)| logit == best || exp(logit - best) >= min_p);
        }
        crossing(&kept, best, temperature, |total| share_of(total, as_share(self.number))).1
    }
}

/// What a token counts among all.
struct Weight {
    /// How far it is behind the best one, in units of 2^-27, and then its id: how tokens are ordered.
    rank: (u32, u32),
    /// `e^((logit - best) / temperature)` times 2^31, rounded.
    weight: u32,
}

impl Weight {
    /// `None` if it counts nothing.
    fn of(token: u32, logit: f32, best: f32, temperature: f32) -> Option<Weight> {
        let behind = (best - logit) / temperature;
        // Beyond that the weight is none; and what is no number compares with nothing.
        let counts = behind < 32.0;
        let weight = (exp(-behind) * ONE).round_ties_even() as u32;
        counts.then_some(Weight { rank: ((behind * (1 << 27) as f32) as u32, token), weight })
    }
}

/// The rank of the first token at which the sum of weights, best first, exceeds what `limit` makes of their total.
fn crossing(tokens: &[(u32, f32)], best: f32, temperature: f32, limit: impl Fn(u64) -> u64) -> (u32, u32) {
    let weigh = |&(token, logit): &(u32, f32)| Weight::of(token, logit, best, temperature);
    let mut weights: Vec<Weight> = tokens.iter().filter_map(weigh).collect();
    weights.sort_unstable_by_key(|w| w.rank);
    let limit = limit(weights.iter().map(|w| u64::from(w.weight)).sum());
    let mut sum = 0;
    let crosses = |w: &&Weight| {
        sum += u64::from(w.weight);
        sum > limit
    };
    weights.iter().find(crosses).expect("the limit is below the total").rank
}

fn share_of(total: u64, share: u32) -> u64 {
    ((u128::from(total) * u128::from(share)) >> 32) as u64
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
                top_k: seed as usize % 65,
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
        assert_eq!(pick.choose(&[0.0, f32::INFINITY, 1.0]), None);
        assert_eq!(pick.choose(&[f32::NEG_INFINITY; 4]), None);
        assert_eq!(pick.choose(&[f32::NEG_INFINITY, f32::NAN]), None);
        let greedy = Pick::new(0, SampleSpec::GREEDY, 0);
        assert_eq!(greedy.choose(&[1.0, 3.0, f32::NAN, 3.0]), Some(1));
        assert_eq!(greedy.choose(&[1.0, f32::INFINITY]), None);
        let all = SampleSpec { temperature: 1.0, ..SampleSpec::GREEDY };
        for position in 0..200 {
            let pick = Pick::new(0, all, position);
            assert_eq!(pick.choose(&[f32::NAN, f32::NEG_INFINITY, 1.0, f32::NAN]), Some(2));
        }
    }

    #[test]
    fn tokens_are_chosen_as_often_as_they_are_probable() {
        // Two of a kind, one half as probable, and one that hardly ever is.
        let logits = [0.5f32.ln(), 0.0, -30.0, 0.0];
        let spec = SampleSpec { temperature: 1.0, ..SampleSpec::GREEDY };
        let mut n = [0; 4];
        for position in 0..50_000 {
            n[Pick::new(0, spec, position).choose(&logits).unwrap() as usize] += 1;
        }
        for (n, share) in n.into_iter().zip([0.2, 0.4, 0.0, 0.4]) {
            assert!((f64::from(n) / 50_000.0 - share).abs() < 0.01, "{n} of 50,000, expected {share}");
        }
    }
}
