//! Attention over a tile of keys, for a group of queries: `reference::attention` with keys across lanes for scores and
//! dimensions across lanes for values, so that every sum is the reference's.

#![allow(clippy::inline_always, reason = "each level needs a copy with its instructions")]

use std::ops::Range;

use inferno_model::backend::KvType;
use inferno_model::batch::PAGE_LEN;
use inferno_model::numerics::tree_sum;

use crate::kernels::float::{Bf16, Element, F16, F32};
use crate::kernels::math;
use crate::simd::{LANES, ROW_GROUP, Simd};

/// Vectors of a tile's scores.
const TILE_VECTORS: usize = PAGE_LEN / LANES;

/// 1, 2, 4 or 8 queries that share their keys.
pub(crate) struct Queries<'a> {
    /// [key_width], queries interleaved
    pub(crate) q: &'a [[f32; ROW_GROUP]],
    /// One [`state_len`] a query.
    pub(crate) states: &'a mut [f32],
    /// The positions each one sees.
    pub(crate) visible: &'a [Range<usize>],
}

/// The keys and values of one head in a page.
pub(crate) struct Tile<'a> {
    /// F32, F16 or BF16
    pub(crate) kv_type: KvType,
    /// [key_width][PAGE_LEN]
    pub(crate) keys: &'a [u8],
    /// [PAGE_LEN][value_width, filled up to whole vectors]
    pub(crate) values: &'a [u8],
    /// Position of the first key.
    pub(crate) start: usize,
    pub(crate) scale: f32,
    pub(crate) softcap: Option<f32>,
}

// A query's softmax so far:
//
//   0 .......... 16 ........... 32 ................ 32 + value_width, filled up
//   [ sums of e^x ) [ max | -  ) [ sums of e^x × v )
pub(super) const MAX: usize = LANES;
pub(super) const OUT: usize = 2 * LANES;

/// Numbers of a query's state.
pub(crate) fn state_len(value_width: usize) -> usize {
    OUT + value_width.next_multiple_of(LANES)
}

/// A softmax over nothing.
pub(crate) fn reset(states: &mut [f32], value_width: usize) {
    for state in states.chunks_exact_mut(state_len(value_width)) {
        state.fill(0.0);
        state[MAX] = f32::NEG_INFINITY;
    }
}

#[inline(always)]
pub(super) fn attend_tile<S: Simd>(s: S, queries: &mut Queries<'_>, tile: &Tile<'_>) {
    match tile.kv_type {
        KvType::F32 => groups::<S, F32>(s, queries, tile),
        KvType::F16 => groups::<S, F16>(s, queries, tile),
        KvType::Bf16 => groups::<S, Bf16>(s, queries, tile),
        KvType::Q8_0 => unreachable!("converted before"),
    }
}

#[inline(always)]
fn groups<S: Simd, E: Element>(s: S, queries: &mut Queries<'_>, tile: &Tile<'_>) {
    match (queries.visible.len(), S::FLOAT_ROWS) {
        (1, _) => rows::<S, E, 1>(s, queries, tile, 0),
        (2, 2..) => rows::<S, E, 2>(s, queries, tile, 0),
        (4, 4..) => rows::<S, E, 4>(s, queries, tile, 0),
        (8, 8..) => rows::<S, E, 8>(s, queries, tile, 0),
        (n, _) => {
            for first in (0..n).step_by(S::FLOAT_ROWS) {
                match S::FLOAT_ROWS {
                    1 => rows::<S, E, 1>(s, queries, tile, first),
                    2 => rows::<S, E, 2>(s, queries, tile, first),
                    _ => rows::<S, E, 4>(s, queries, tile, first),
                }
            }
        }
    }
}

/// Queries `first..first + M`.
#[inline(always)]
fn rows<S: Simd, E: Element, const M: usize>(s: S, queries: &mut Queries<'_>, tile: &Tile<'_>, first: usize) {
    let keys: &[[E::Vector; TILE_VECTORS]] = bytemuck::cast_slice(tile.keys);
    let values: &[E::Vector] = bytemuck::cast_slice(tile.values);
    let n_vectors = values.len() / PAGE_LEN;
    let state_len = OUT + n_vectors * LANES;
    let states = &mut queries.states[first * state_len..][..M * state_len];

    let mut scores = [[s.zero(); TILE_VECTORS]; M];
    for (k, q) in keys.iter().zip(queries.q) {
        let k = load_all::<S, E, TILE_VECTORS>(s, k);
        for (scores, &q) in scores.iter_mut().zip(&q[first..first + M]) {
            let q = s.splat(q);
            for (score, k) in scores.iter_mut().zip(k) {
                *score = s.fma(q, k, *score);
            }
        }
    }

    // What each query gives to each key, and the keys it sees of this tile.
    let mut p = [[0.0f32; PAGE_LEN]; M];
    let mut seen: [Range<usize>; M] = std::array::from_fn(|_| 0..0);
    for (r, state) in states.chunks_exact_mut(state_len).enumerate() {
        let visible = &queries.visible[first + r];
        let lanes =
            visible.start.saturating_sub(tile.start)..visible.end.saturating_sub(tile.start).min(PAGE_LEN);
        if lanes.is_empty() {
            continue;
        }
        let mut scores = scores[r];
        for x in &mut scores {
            *x = s.mul(*x, s.splat(tile.scale));
            if let Some(cap) = tile.softcap {
                *x = math::softcap(s, *x, cap);
            }
        }
        if lanes.len() < PAGE_LEN {
            for (i, scores) in scores.iter_mut().enumerate() {
                let mut x = s.to_array(*scores);
                let hidden = |j: &usize| !lanes.contains(&(i * LANES + j));
                (0..LANES).filter(hidden).for_each(|j| x[j] = f32::NEG_INFINITY);
                *scores = s.load(&x);
            }
        }
        let before = state[MAX];
        let mut max = s.splat(before);
        for x in scores {
            max = s.max(x, max);
        }
        let max = s.max_lane(max);
        let (sums, rest) = state.split_first_chunk_mut::<LANES>().expect("a state");
        let mut sum = s.load(sums);
        if max != before || max == f32::NEG_INFINITY {
            let shrink = math::exp(s, s.splat(before - max));
            sum = s.mul(sum, shrink);
            for out in rest[OUT - LANES..].as_chunks_mut::<LANES>().0 {
                let shrunk = s.mul(s.load(out), shrink);
                s.store(out, shrunk);
            }
            rest[MAX - LANES] = max;
        }
        for (p, score) in p[r].as_chunks_mut::<LANES>().0.iter_mut().zip(scores) {
            let x = math::exp(s, s.sub(score, s.splat(max)));
            sum = s.add(sum, x);
            s.store(p, x);
        }
        s.store(sums, sum);
        seen[r] = lanes;
    }

    if seen.iter().all(|seen| seen.len() == PAGE_LEN) {
        let mut i = 0;
        while i + 2 <= n_vectors {
            accumulate::<S, E, M, 2>(s, states, &p, values, (n_vectors, i), 0..PAGE_LEN);
            i += 2;
        }
        if i < n_vectors {
            accumulate::<S, E, M, 1>(s, states, &p, values, (n_vectors, i), 0..PAGE_LEN);
        }
    } else {
        // A key that a query does not see may be no number: it must not be multiplied, not even by zero.
        for (r, state) in states.chunks_exact_mut(state_len).enumerate() {
            let p = std::array::from_ref(&p[r]);
            let mut i = 0;
            while i + 4 <= n_vectors {
                accumulate::<S, E, 1, 4>(s, state, p, values, (n_vectors, i), seen[r].clone());
                i += 4;
            }
            while i < n_vectors {
                accumulate::<S, E, 1, 1>(s, state, p, values, (n_vectors, i), seen[r].clone());
                i += 1;
            }
        }
    }
}

#[inline(always)]
fn load_all<S: Simd, E: Element, const N: usize>(s: S, x: &[E::Vector; N]) -> [S::F; N] {
    let mut out = [s.zero(); N];
    for (out, x) in out.iter_mut().zip(x) {
        *out = E::load(s, x);
    }
    out
}

/// Adds the values of keys `lanes`, vectors `i..i + N` of `n_vectors`, to the sums of M queries.
#[inline(always)]
fn accumulate<S: Simd, E: Element, const M: usize, const N: usize>(
    s: S,
    states: &mut [f32],
    p: &[[f32; PAGE_LEN]; M],
    values: &[E::Vector],
    (n_vectors, i): (usize, usize),
    lanes: Range<usize>,
) {
    // A state is two vectors of sums and maximum, then the output's.
    let states = states.as_chunks_mut::<LANES>().0;
    let stride = states.len() / M;
    let first = OUT / LANES + i;
    assert!(first + N <= stride && stride == OUT / LANES + n_vectors, "vectors of a state");
    let mut acc = [[s.zero(); N]; M];
    for r in 0..M {
        for j in 0..N {
            acc[r][j] = s.load(&states[r * stride + first + j]);
        }
    }
    for key in lanes {
        let v = values[key * n_vectors + i..].first_chunk().expect("whole rows of values");
        let v = load_all::<S, E, N>(s, v);
        for r in 0..M {
            let p = s.splat(p[r][key]);
            for j in 0..N {
                acc[r][j] = s.fma(p, v[j], acc[r][j]);
            }
        }
    }
    for r in 0..M {
        for j in 0..N {
            s.store(&mut states[r * stride + first + j], acc[r][j]);
        }
    }
}

#[inline(always)]
pub(super) fn merge<S: Simd>(s: S, whole: &mut [f32], part: &[f32]) {
    let max = whole[MAX].max(part[MAX]);
    let ours = math::exp(s, s.splat(whole[MAX] - max));
    let theirs = math::exp(s, s.splat(part[MAX] - max));
    let vectors = whole.as_chunks_mut::<LANES>().0.iter_mut().zip(part.as_chunks::<LANES>().0);
    for (x, y) in vectors {
        let sum = s.fma(s.load(y), theirs, s.mul(s.load(x), ours));
        s.store(x, sum);
    }
    whole[MAX] = max;
}

#[inline(always)]
pub(super) fn finish<S: Simd>(s: S, out: &mut [f32], whole: &[f32], sink: Option<f32>) {
    let sum = tree_sum(*whole.first_chunk().expect("a state"));
    let Some(sink) = sink else {
        out.iter_mut().zip(&whole[OUT..]).for_each(|(out, x)| *out = x / sum);
        return;
    };
    let max = whole[MAX].max(sink);
    let [shrink, sink, ..] = s.to_array(math::exp(s, s.load(&exponents([whole[MAX] - max, sink - max]))));
    let sum = sum.mul_add(shrink, sink);
    out.iter_mut().zip(&whole[OUT..]).for_each(|(out, x)| *out = x * shrink / sum);
}

/// Two numbers in a vector.
#[inline(always)]
fn exponents(x: [f32; 2]) -> [f32; LANES] {
    let mut vector = [0.0; LANES];
    vector[..2].copy_from_slice(&x);
    vector
}
