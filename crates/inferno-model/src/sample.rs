//! Choosing a token from logits: plain data and plain functions, so that a device can do the same.
//!
//! The random numbers are a function of (seed, choice, position, draw) and nothing else: a token does not
//! depend on how its sequence was batched, preempted or resumed. Seeds are a promise: this generator stays.

use crate::numerics::exp;

/// How a row's token is chosen. Filters apply in the order of the fields, as llama.cpp documents its own.
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
}

/// Room for one row's candidates, reused from row to row.
#[derive(Debug, Clone, Default)]
pub struct Sampler {
    /// (token, logit, then weight), best first.
    candidates: Vec<(u32, f32)>,
}

impl Sampler {
    /// The token for the row at `position` with these `logits` (vocab_size,). A logit that is NaN counts as
    /// -∞, so that the result is a valid token whatever the weights hold.
    pub fn sample(&mut self, logits: &[f32], spec: &SampleSpec, position: u32) -> u32 {
        if spec.temperature <= 0.0 || spec.top_k == 1 {
            return argmax(logits);
        }
        let k = if spec.top_k == 0 { logits.len() } else { spec.top_k };
        top_k(logits, k, &mut self.candidates);
        let best = self.candidates[0].1;
        if !best.is_finite() {
            return self.candidates[0].0;
        }
        if spec.top_p < 1.0 {
            let total: f64 = self.candidates.iter().map(|c| f64::from(exp(c.1 - best))).sum();
            let mut sum = 0.0;
            let reached = self.candidates.iter().position(|c| {
                sum += f64::from(exp(c.1 - best));
                sum >= f64::from(spec.top_p) * total
            });
            self.candidates.truncate(reached.map_or(self.candidates.len(), |i| i + 1));
        }
        if spec.min_p > 0.0 {
            self.candidates.retain(|c| c.1 == best || exp(c.1 - best) >= spec.min_p);
        }
        let weight = |logit: f32| f64::from(exp((logit - best) / spec.temperature));
        let total: f64 = self.candidates.iter().map(|c| weight(c.1)).sum();
        let mut left = unit(spec.seed, [spec.choice_idx, position, 0]) * total;
        for &(token, logit) in &self.candidates {
            left -= weight(logit);
            if left < 0.0 {
                return token;
            }
        }
        // The last candidate of weight: rounding may leave a crumb of `left`.
        self.candidates.iter().rev().find(|c| weight(c.1) > 0.0).map_or(self.candidates[0].0, |c| c.0)
    }
}

/// The best token; ties go to the lowest id, NaN never wins.
pub fn argmax(logits: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (token, &logit) in (0u32..).zip(logits) {
        if logit > best.1 {
            best = (token, logit);
        }
    }
    best.0
}

/// The `k` best (token, logit), best first, ties by id; NaN counts as -∞, and -0 as 0.
pub fn top_k(logits: &[f32], k: usize, out: &mut Vec<(u32, f32)>) {
    out.clear();
    if k == 0 {
        return;
    }
    let number = |l: f32| if l.is_nan() { f32::NEG_INFINITY } else { l + 0.0 };
    out.extend((0u32..).zip(logits).map(|(token, &l)| (token, number(l))));
    let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if k < out.len() {
        out.select_nth_unstable_by(k - 1, order);
        out.truncate(k);
    }
    out.sort_unstable_by(order);
}

/// `ln Σ e^logit`, without overflow.
pub fn logsumexp(logits: &[f32]) -> f32 {
    let best = logits.iter().fold(f32::NEG_INFINITY, |m, &x| m.max(x));
    if !best.is_finite() {
        return best;
    }
    let sum: f64 = logits.iter().filter(|x| !x.is_nan()).map(|&x| f64::from(exp(x - best))).sum();
    (f64::from(best) + libm::log(sum)) as f32
}

/// A number in [0, 1) with 53 random bits.
fn unit(seed: u64, counter: [u32; 3]) -> f64 {
    let r = philox([counter[0], counter[1], counter[2], 0], seed);
    let bits = (u64::from(r[0]) << 32 | u64::from(r[1])) >> 11;
    bits as f64 / (1u64 << 53) as f64
}

/// Philox4x32-10: 128 random bits from a counter and a key. Source: Salmon et al., "Parallel random numbers:
/// as easy as 1, 2, 3" (SC 2011).
fn philox(mut c: [u32; 4], key: u64) -> [u32; 4] {
    let (mut k0, mut k1) = (key as u32, (key >> 32) as u32);
    for _ in 0..10 {
        let p0 = u64::from(c[0]) * 0xD251_1F53;
        let p1 = u64::from(c[2]) * 0xCD9E_8D57;
        c = [(p1 >> 32) as u32 ^ c[1] ^ k0, p1 as u32, (p0 >> 32) as u32 ^ c[3] ^ k1, p0 as u32];
        k0 = k0.wrapping_add(0x9E37_79B9);
        k1 = k1.wrapping_add(0xBB67_AE85);
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_published_answers() {
        assert_eq!(philox([0; 4], 0), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([u32::MAX; 4], u64::MAX), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    }

    #[test]
    fn the_best_token_wins_ties_go_to_the_lowest_id_and_nan_never_wins() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0, f32::NAN]), 1);
        assert_eq!(argmax(&[f32::NAN; 4]), 0);
        let mut top = Vec::new();
        top_k(&[1.0, f32::NAN, 3.0, 3.0], 3, &mut top);
        assert_eq!(top, [(2, 3.0), (3, 3.0), (0, 1.0)]);
        top_k(&[-0.0, 0.0], 1, &mut top);
        assert_eq!((top[0].0, argmax(&[-0.0, 0.0])), (0, 0));
        top_k(&[1.0], 0, &mut top);
        assert_eq!(top, []);
    }

    #[test]
    fn samples_follow_the_distribution_and_the_filters() {
        let logits = [0.0, 1.0, 2.0, -1.0];
        let mut sampler = Sampler::default();
        let mut counts = |spec: SampleSpec| {
            let mut counts = [0usize; 4];
            (0..20_000).for_each(|p| counts[sampler.sample(&logits, &spec, p) as usize] += 1);
            counts
        };
        let plain = SampleSpec { temperature: 1.0, seed: 7, ..SampleSpec::GREEDY };
        let total: f64 = logits.iter().map(|&x| libm::exp(f64::from(x))).sum();
        for (count, logit) in counts(plain).into_iter().zip(logits) {
            let expected = libm::exp(f64::from(logit)) / total * 20_000.0;
            assert!((count as f64 - expected).abs() < 5.0 * expected.sqrt(), "{count} for {expected}");
        }
        let none = |c: [usize; 4], tokens: &[usize]| tokens.iter().all(|&t| c[t] == 0);
        assert!(none(counts(SampleSpec { top_k: 2, ..plain }), &[0, 3]));
        assert!(none(counts(SampleSpec { top_p: 0.8, ..plain }), &[0, 3]));
        assert!(none(counts(SampleSpec { min_p: 0.3, ..plain }), &[0, 3]));
        assert_eq!(counts(SampleSpec { temperature: 1e-6, ..plain })[2], 20_000);
    }

    #[test]
    fn any_logits_give_a_valid_token() {
        let mut sampler = Sampler::default();
        let spec = SampleSpec { temperature: 0.8, top_p: 0.9, min_p: 0.1, ..SampleSpec::GREEDY };
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(sampler.sample(&[bad; 5], &spec, 1) < 5);
            assert!(sampler.sample(&[0.0, bad, 1.0], &spec, 1) < 3);
        }
    }

    #[test]
    fn logsumexp_does_not_overflow() {
        assert!((logsumexp(&[1000.0, 1000.0]) - 1000.6931).abs() < 1e-3);
        assert_eq!(logsumexp(&[f32::NEG_INFINITY; 2]), f32::NEG_INFINITY);
    }
}
