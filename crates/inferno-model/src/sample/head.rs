//! Where a running sum over a whole vocabulary, best first, crosses a limit, without sorting the vocabulary.
//!
//! The definition sorts all candidates, adds up their weights in that order, and takes the first at which the sum
//! passes a fraction of the total. It nearly always is among a few hundred tokens. Those, the head, are sorted and summed
//! as the definition says; of the others, the tail, only the sum counts, and a quick one is known to be within
//! [`TAIL_ERROR`]. Where the sum crosses the limit by more than all errors, the answer is the definition's; where it does
//! not, a longer head is tried, and at last the definition itself.

use super::select::{quick_exp, sum_of, top_k};
use crate::numerics::exp;

/// Lengths of the head that are tried.
const HEADS: [usize; 2] = [512, 8192];

/// Bound of a tail's relative error: that of `exp` (2^-22), `quick_exp` (2^-22) and `sum_of` (2^-21), twice.
const TAIL_ERROR: f64 = 1.0 / (1 << 19) as f64;

/// A weight `e^((logit - best) / temperature)` per token, and a fraction of their sum.
pub(super) struct Crossing {
    pub(super) best: f32,
    pub(super) temperature: f32,
    pub(super) fraction: f64,
}

impl Crossing {
    /// The candidate at which the sum passes the fraction: `head[..=it]` are the candidates up to it, best first.
    /// `None` if that takes the definition.
    pub(super) fn find(&self, logits: &[f32], head: &mut Vec<(u32, f32)>) -> Option<usize> {
        self.find_within(logits, head, &HEADS)
    }

    pub(super) fn find_within(
        &self,
        logits: &[f32],
        head: &mut Vec<(u32, f32)>,
        lengths: &[usize],
    ) -> Option<usize> {
        lengths.iter().filter(|&&n| n < logits.len() / 4).find_map(|&n| {
            top_k(logits, n, head);
            self.cross(head, self.tail(logits, head), logits.len())
        })
    }

    fn weight(&self, logit: f32) -> f64 {
        f64::from(exp((logit - self.best) / self.temperature))
    }

    /// About the sum of the weights of all that are not in the head.
    fn tail(&self, logits: &[f32], head: &[(u32, f32)]) -> f64 {
        let last = head[head.len() - 1].1;
        let n_equal = sum_of(logits, |x| if x == last { 1.0 } else { 0.0 });
        let n_in_head = head.iter().rev().take_while(|c| c.1 == last).count();
        let below = sum_of(logits, |x| {
            let e = quick_exp((x - self.best) / self.temperature);
            if x < last { e } else { 0.0 }
        });
        below + (n_equal - n_in_head as f64).max(0.0) * self.weight(last)
    }

    /// Where the sum crosses the limit, if that is beyond doubt.
    fn cross(&self, head: &[(u32, f32)], tail: f64, n: usize) -> Option<usize> {
        let total = head.iter().map(|c| self.weight(c.1)).sum::<f64>() + tail;
        // Each of n additions may round by 2^-53 of the total, in either sum.
        let margin = tail * TAIL_ERROR + total * n as f64 * 4.0 * f64::EPSILON;
        let limit = self.fraction * total;
        let mut sum = 0.0;
        for (i, c) in head.iter().enumerate() {
            let before = sum;
            sum += self.weight(c.1);
            if sum > limit + margin {
                return (i == 0 || before < limit - margin).then_some(i);
            }
        }
        None
    }
}
