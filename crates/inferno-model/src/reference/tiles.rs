//! Attention in tiles of bf16: as in `attention`, but a partition is computed at once.
//!
//! Keys and values are bf16 in the pool; a query is rounded to bf16, and so is what it gives to each key. Products are
//! `numerics::tiles::dot_pairs`: scores over 32 dimensions at a time, outputs over the 32 positions of a page, where
//! what the row does not see is zero. The maximum is that of the whole partition, so that nothing is ever scaled anew.

use std::ops::Range;

use super::attention::{Keys, Partition, pieces};
use crate::batch::PAGE_LEN;
use crate::numerics::tiles::{TILE_PAIRS, dot_pairs, round_bf16};
use crate::numerics::{STRIPES, exp};

const _: () = assert!(PAGE_LEN == 2 * TILE_PAIRS, "a page is what one instruction sums over");

/// The softmax over the keys at `positions`, which are of one partition.
pub(super) fn partition(q: &[f32], keys: &Keys<'_>, positions: Range<usize>) -> Partition {
    let q: Vec<f32> = q.iter().map(|&x| round_bf16(x)).collect();
    let scores: Vec<f32> = positions.clone().map(|position| keys.scaled(score(&q, keys, position))).collect();
    let max = scores.iter().fold(f32::NEG_INFINITY, |m, &s| m.max(s));
    let p: Vec<f32> = scores.iter().map(|&s| round_bf16(exp(s - max))).collect();
    // Of what is rounded: so the weights add up to one.
    let mut sums = [0.0; STRIPES];
    for (position, p) in positions.clone().zip(&p) {
        sums[position % STRIPES] += p;
    }
    let out = (0..keys.attention.value_width).map(|dim| {
        let mut sum = 0.0;
        for page in pieces(positions.clone(), PAGE_LEN) {
            let (mut ps, mut vs) = ([[0.0; 2]; TILE_PAIRS], [[0.0; 2]; TILE_PAIRS]);
            for position in page {
                let (pair, i) = (position % PAGE_LEN / 2, position % 2);
                ps[pair][i] = p[position - positions.start];
                vs[pair][i] = keys.value(position)[dim];
            }
            sum = dot_pairs(sum, &ps, &vs);
        }
        // Where it is a zero, the sign would depend on pages that the row does not see.
        sum + 0.0
    });
    Partition { max, sums, out: out.collect() }
}

/// A query, rounded, times the key at `position`.
fn score(q: &[f32], keys: &Keys<'_>, position: usize) -> f32 {
    let key = keys.key(position);
    let steps = q.chunks(2 * TILE_PAIRS).zip(key.chunks(2 * TILE_PAIRS));
    steps.fold(0.0, |sum, (q, k)| dot_pairs(sum, &pairs(q), &pairs(k)))
}

/// Up to 32 numbers by twos, filled up with zero.
fn pairs(x: &[f32]) -> [[f32; 2]; TILE_PAIRS] {
    let mut out = [[0.0; 2]; TILE_PAIRS];
    out.as_flattened_mut()[..x.len()].copy_from_slice(x);
    out
}
