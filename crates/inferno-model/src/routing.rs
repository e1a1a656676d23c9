//! Which experts a row goes to, and with what share. The numbers are few: every backend routes with this.

use crate::architecture::Routing;
use crate::numerics::{STRIPES, exp, tree_sum};

/// One of a row's experts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// Which expert.
    pub expert: usize,
    /// What its output is multiplied by.
    pub share: f32,
}

/// Replaces what is in `out` by the experts of one row in ascending order: those with the largest share of the softmax
/// over `logits` (n_experts,); ties go to the lowest ids.
pub fn route(logits: &[f32], routing: &Routing, out: &mut Vec<Choice>) {
    let max = logits.iter().fold(f32::NEG_INFINITY, |m, &x| m.max(x));
    let mut sums = [0.0f32; STRIPES];
    out.clear();
    out.extend(logits.iter().enumerate().map(|(expert, &x)| {
        let share = exp(x - max);
        sums[expert % STRIPES] += share;
        Choice { expert, share }
    }));
    let sum = tree_sum(sums);
    out.iter_mut().for_each(|c| c.share /= sum);
    out.sort_unstable_by(|a, b| b.share.total_cmp(&a.share).then(a.expert.cmp(&b.expert)));
    out.truncate(routing.n_used);
    out.sort_unstable_by_key(|c| c.expert);
    let sum: f32 = if routing.renormalize { out.iter().map(|c| c.share).sum() } else { 1.0 };
    out.iter_mut().for_each(|c| c.share = c.share / sum * routing.scale);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routed(logits: &[f32], routing: &Routing) -> Vec<(usize, f32)> {
        let mut out = Vec::new();
        route(logits, routing, &mut out);
        out.into_iter().map(|c| (c.expert, c.share)).collect()
    }

    #[test]
    fn routing_takes_the_best_then_the_lowest_ids_and_weighs_them() {
        let routing = Routing { n_used: 2, renormalize: true, scale: 1.0 };
        let tied = routed(&[1.0, 3.0, 3.0, 3.0], &routing);
        assert_eq!(tied, [(1, 0.5), (2, 0.5)]);
        // The better one has the higher id: it still comes second.
        let ascending = routed(&[0.0, 2.0, -9.0, 3.0], &routing);
        let share = 1.0 / (1.0 + (-1.0f64).exp()) as f32;
        assert_eq!((ascending[0].0, ascending[1].0), (1, 3));
        assert!((ascending[1].1 - share).abs() < 1e-6, "{ascending:?}");
        // As they are, of the softmax over all; and scaled.
        let plain = Routing { renormalize: false, ..routing };
        let sum: f64 = [0.0f64, 2.0, -9.0, 3.0].iter().map(|x| x.exp()).sum();
        let best = routed(&[0.0, 2.0, -9.0, 3.0], &plain)[1].1;
        assert!((f64::from(best) - 3.0f64.exp() / sum).abs() < 1e-6, "{best}");
        let scaled = routed(&[0.0, 2.0, -9.0, 3.0], &Routing { scale: 2.5, ..plain })[1].1;
        assert!((scaled - 2.5 * best).abs() < 1e-6, "{scaled}");
    }
}
