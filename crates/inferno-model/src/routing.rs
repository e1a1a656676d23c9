//! Routing: the experts of a row and their shares. The numbers are few: every backend routes with this.

use crate::numerics::{STRIPES, exp, sigmoid, tree_sum};

#[cfg(test)]
mod tests;

/// Selection and weighting of a row's experts, from the router's logits.
///
/// A logit becomes a probability by `gating`. The experts with the highest probabilities are selected, after a bias has been
/// added to each where the layer has one, from the best groups alone where there are groups. A selected expert's share is its
/// probability without the bias, renormalized and scaled (DeepSeek-V3, <https://arxiv.org/abs/2412.19437>).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Routing {
    /// Experts per row. Ties go to the lowest id.
    pub n_used: usize,
    /// From a logit to a probability.
    pub gating: Gating,
    /// Groups of experts that a row is limited to.
    pub groups: Option<Groups>,
    /// The selected experts' shares are divided by their sum.
    pub renormalize: bool,
    /// And multiplied by this.
    pub scale: f32,
}

impl Routing {
    /// Softmax over all experts, and the `n_used` best of them with renormalized shares.
    pub fn softmax(n_used: usize) -> Routing {
        Routing { n_used, gating: Gating::Softmax, groups: None, renormalize: true, scale: 1.0 }
    }
}

/// The function from the router's logits to probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gating {
    /// Softmax over all experts.
    Softmax,
    /// `1 / (1 + exp(-x))` of each.
    Sigmoid,
    /// `√ln(1 + exp(x))` of each.
    SqrtSoftplus,
}

/// Equal groups of consecutive experts. Rows select experts of their best groups: those with the highest sum of their
/// `n_best` best experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Groups {
    /// Number of groups, a divisor of the number of experts.
    pub n: usize,
    /// Groups per row. Ties go to the lowest.
    pub n_used: usize,
    /// Experts whose probabilities are a group's score.
    pub n_best: usize,
}

/// One of a row's experts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// Which expert.
    pub expert: usize,
    /// What its output is multiplied by.
    pub share: f32,
}

/// Added to the sum that shares are divided by, where probabilities are not a softmax.
const LEAST_SUM: f32 = 1e-20;

/// Replaces what is in `out` by the experts of one row in ascending order. `logits` are the router's (n_experts,), `bias`
/// is added to their probabilities for the selection only (n_experts,).
pub fn route(logits: &[f32], bias: Option<&[f32]>, routing: &Routing, out: &mut Vec<Choice>) {
    probabilities(logits, routing.gating, out);
    // A sum with nothing is not taken: it would change the sign of a negative zero.
    let score = |c: &Choice| bias.map_or(c.share, |bias| c.share + bias[c.expert]);
    if let Some(groups) = &routing.groups {
        keep_groups(out, groups, score);
    }
    if routing.n_used < out.len() {
        let order = |a: &Choice, b: &Choice| score(b).total_cmp(&score(a)).then(a.expert.cmp(&b.expert));
        out.select_nth_unstable_by(routing.n_used - 1, order);
        out.truncate(routing.n_used);
    }
    out.sort_unstable_by_key(|c| c.expert);
    let sum = out.iter().map(|c| c.share).sum::<f32>();
    let sum = match (routing.renormalize, routing.gating) {
        (false, _) => 1.0,
        (true, Gating::Softmax) => sum,
        (true, Gating::Sigmoid | Gating::SqrtSoftplus) => sum + LEAST_SUM,
    };
    out.iter_mut().for_each(|c| c.share = c.share / sum * routing.scale);
}

/// Multiplies the shares of selected experts by `scales` (n_experts,), if there are any.
pub fn scale_shares(choices: &mut [Choice], scales: Option<&[f32]>) {
    if let Some(scales) = scales {
        choices.iter_mut().for_each(|choice| choice.share *= scales[choice.expert]);
    }
}

/// All experts with their probabilities.
fn probabilities(logits: &[f32], gating: Gating, out: &mut Vec<Choice>) {
    out.clear();
    let each = logits.iter().enumerate();
    match gating {
        Gating::Softmax => {
            let max = logits.iter().fold(f32::NEG_INFINITY, |m, &x| m.max(x));
            let mut sums = [0.0f32; STRIPES];
            out.extend(each.map(|(expert, &x)| {
                let share = exp(x - max);
                sums[expert % STRIPES] += share;
                Choice { expert, share }
            }));
            let sum = tree_sum(sums);
            out.iter_mut().for_each(|c| c.share /= sum);
        }
        Gating::Sigmoid => out.extend(each.map(|(expert, &x)| Choice { expert, share: sigmoid(x) })),
        Gating::SqrtSoftplus => out.extend(each.map(|(expert, &x)| {
            // ln(1 + e^x) without overflow.
            let softplus = x.max(0.0) + libm::log1pf(exp(-x.abs()));
            Choice { expert, share: if x.is_nan() { x } else { softplus.sqrt() } }
        })),
    }
}

/// Drops the experts of all groups but the best. `all` has every expert in order.
fn keep_groups(all: &mut Vec<Choice>, groups: &Groups, score: impl Fn(&Choice) -> f32) {
    let size = all.len() / groups.n;
    let group_score = |group: &[Choice]| {
        let (mut sum, mut last) = (0.0f32, None::<(f32, usize)>);
        for _ in 0..groups.n_best.min(size) {
            let left = group.iter().map(|c| (score(c), c.expert));
            let left = left.filter(|&(x, expert)| last.is_none_or(|last| comes_before(last, (x, expert))));
            let Some(best) = left.reduce(|a, b| if comes_before(b, a) { b } else { a }) else { break };
            sum += best.0;
            last = Some(best);
        }
        sum
    };
    let mut scores = [0.0f32; MOST_GROUPS];
    let scores = &mut scores[..groups.n];
    for (score, group) in scores.iter_mut().zip(all.chunks_exact(size)) {
        *score = group_score(group);
    }
    // Kept groups move to the front, in order.
    let mut end = 0;
    for (group, &mine) in scores.iter().enumerate() {
        let better = scores.iter().enumerate().filter(|&(i, &x)| comes_before((x, i), (mine, group)));
        if better.count() < groups.n_used {
            all.copy_within(group * size..(group + 1) * size, end);
            end += size;
        }
    }
    all.truncate(end);
}

/// Largest number of groups.
pub const MOST_GROUPS: usize = 256;

/// Whether the first of two (score, id) is selected first.
fn comes_before(a: (f32, usize), b: (f32, usize)) -> bool {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).is_lt()
}
