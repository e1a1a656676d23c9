//! Attention of one row and one query head, as flash attention (<https://arxiv.org/abs/2205.14135>) with every sum in a
//! fixed place: keys in tiles of a page, tiles in partitions, both at absolute positions. So a row's result does not
//! depend on how many rows are computed with it, and threads may share the partitions of one long sequence.

use std::ops::Range;

use super::tensors::dot;
use super::{KvPool, tiles};
use crate::architecture::CacheKind;
use crate::backend::{Attention, AttentionRule};
use crate::batch::{Batch, PAGE_LEN, Span};
use crate::numerics::{PARTITION_LEN, STRIPES, exp, softcap, tree_sum};

/// Where one query head finds its sequence's keys and values.
pub(super) struct Keys<'a> {
    pub(super) pool: &'a KvPool,
    pub(super) batch: &'a Batch,
    pub(super) span: &'a Span,
    pub(super) attention: &'a Attention,
    pub(super) head: usize,
}

impl Keys<'_> {
    /// Rule by which these keys are attended to.
    fn rule(&self) -> AttentionRule {
        self.kind().rule(self.pool.rule)
    }

    fn kind(&self) -> CacheKind {
        self.pool.groups[self.attention.layer.group].0.kind
    }

    /// The (key_width,) key at `position`; of a latent cache what it has beside the value.
    pub(super) fn key(&self, position: usize) -> &[f32] {
        let [_, key_width, _] = self.kind().heads();
        self.at(&self.pool.keys, key_width, position)
    }

    /// The (value_width,) value at `position`.
    pub(super) fn value(&self, position: usize) -> &[f32] {
        self.at(&self.pool.values, self.attention.value_width, position)
    }

    fn at<'a>(&self, layers: &'a [Vec<f32>], width: usize, position: usize) -> &'a [f32] {
        let Attention { layer, n_heads, n_kv_heads, .. } = *self.attention;
        let slot = self.batch.slot(self.span, layer.group, position).0 as usize;
        let kv_head = self.head / (n_heads / n_kv_heads);
        &layers[layer.layer][(slot * n_kv_heads + kv_head) * width..][..width]
    }

    fn score(&self, q: &[f32], position: usize) -> f32 {
        self.scaled(match self.kind() {
            CacheKind::Pages { .. } | CacheKind::State { .. } => dot(q, self.key(position)),
            // One chain over the whole key, which begins with the value.
            CacheKind::Latent { .. } => {
                let key = self.value(position).iter().chain(self.key(position));
                key.zip(q).fold(0.0, |acc, (&k, &q)| k.mul_add(q, acc))
            }
        })
    }

    /// A product of a query and a key as a score.
    pub(super) fn scaled(&self, product: f32) -> f32 {
        let score = product * self.attention.scale;
        self.attention.softcap.map_or(score, |cap| softcap(score, cap))
    }
}

/// out (value_width,) = softmax(q kᵀ) v over the positions `visible`. A sink is one more score, without a value: it is added
/// once, to the softmax over all keys.
pub(super) fn attend(out: &mut [f32], q: &[f32], keys: &Keys<'_>, visible: Range<usize>, sink: Option<f32>) {
    let mut whole: Option<Partition> = None;
    for positions in pieces(visible, PARTITION_LEN) {
        let part = match keys.rule() {
            AttentionRule::Floats => {
                let mut part = Partition::new(out.len());
                for tile in pieces(positions, PAGE_LEN) {
                    part.add_tile(tile.clone().map(|p| keys.score(q, p)).collect(), tile, keys);
                }
                part
            }
            AttentionRule::Bf16Tiles => tiles::partition(q, keys, positions),
        };
        match &mut whole {
            None => whole = Some(part),
            Some(whole) => whole.merge(&part),
        }
    }
    let whole = whole.expect("a row sees itself");
    let sum = tree_sum(whole.sums);
    let Some(sink) = sink else {
        out.iter_mut().zip(&whole.out).for_each(|(out, &x)| *out = x / sum);
        return;
    };
    let max = whole.max.max(sink);
    let (shrink, sink) = (exp(whole.max - max), exp(sink - max));
    let sum = sum.mul_add(shrink, sink);
    out.iter_mut().zip(&whole.out).for_each(|(out, &x)| *out = x * shrink / sum);
}

/// Cuts `range` at the multiples of `len`.
pub(super) fn pieces(range: Range<usize>, len: usize) -> impl Iterator<Item = Range<usize>> {
    (range.start / len..range.end.div_ceil(len))
        .map(move |i| range.start.max(i * len)..range.end.min((i + 1) * len))
}

/// The softmax over a partition's keys so far, not yet divided by its sum.
pub(super) struct Partition {
    pub(super) max: f32,
    /// Of `e^(score - max)`, striped over the position.
    pub(super) sums: [f32; STRIPES],
    /// (value_width,) of `e^(score - max) * value`, one FMA chain over ascending positions
    pub(super) out: Vec<f32>,
}

impl Partition {
    fn new(value_width: usize) -> Partition {
        Partition { max: f32::NEG_INFINITY, sums: [0.0; STRIPES], out: vec![0.0; value_width] }
    }

    /// The keys at positions `tile`. A score that is no number does not count for the maximum, but for the sums.
    fn add_tile(&mut self, scores: Vec<f32>, tile: Range<usize>, keys: &Keys<'_>) {
        let max = scores.iter().fold(self.max, |m, &s| m.max(s));
        let shrink = exp(self.max - max);
        self.max = max;
        self.sums.iter_mut().chain(&mut self.out).for_each(|x| *x *= shrink);
        for (position, score) in tile.zip(scores) {
            let p = exp(score - max);
            self.sums[position % STRIPES] += p;
            for (out, &v) in self.out.iter_mut().zip(keys.value(position)) {
                *out = p.mul_add(v, *out);
            }
        }
    }

    /// Adds the partition after this one.
    fn merge(&mut self, next: &Partition) {
        let max = self.max.max(next.max);
        let (ours, theirs) = (exp(self.max - max), exp(next.max - max));
        self.max = max;
        let both = self.sums.iter_mut().chain(&mut self.out).zip(next.sums.iter().chain(&next.out));
        both.for_each(|(x, &y)| *x = y.mul_add(theirs, *x * ours));
    }
}
