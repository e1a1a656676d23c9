//! Products of many rows in 16 bits, on levels whose instructions add up pairs of products: bytes of any sign have no such
//! instruction, and what stands in for it (signs moved to the inputs, products widened) costs as many again.

#![allow(clippy::inline_always, reason = "each level needs a copy with its instructions")]

use crate::kernels::{OutTile, PANELS};
use crate::packed::{PANEL, Panel, Words};
use crate::simd::{ROW_GROUP, Simd};

use super::inputs::{FEW_ROWS, InputBlock, InputLine, Inputs};

/// Rows whose sums, with two registers for weights and inputs, fit in sixteen registers.
const ROWS: usize = 4;

/// Blocks whose inputs are widened at once: 16 KiB, half of a nearest cache.
const BLOCKS: usize = 32;

/// 32 inputs of a group of rows: [row][4 at a time][the even ones, the odd ones], as [`Words`] has weights.
type WordInputs = [[[[i16; 2]; 2]; 8]; ROW_GROUP];

/// out += a group of rows × panels of [`Words`].
#[inline(always)]
pub(super) fn panels_of<S: Simd>(
    s: S,
    out: &mut [OutTile; PANELS],
    panels: &[Panel<'_>],
    x: &[InputLine],
    (n_rows, run16, min): (usize, bool, bool),
) {
    if !S::BY_PAIRS {
        unreachable!("bytes are multiplied as they are");
    }
    match (run16, min) {
        (false, false) => group::<S, false, false>(s, out, panels, x, n_rows),
        (false, true) => group::<S, false, true>(s, out, panels, x, n_rows),
        (true, false) => group::<S, true, false>(s, out, panels, x, n_rows),
        (true, true) => group::<S, true, true>(s, out, panels, x, n_rows),
    }
}

#[inline(always)]
fn group<S: Simd, const RUN16: bool, const MIN: bool>(
    s: S,
    out: &mut [OutTile; PANELS],
    panels: &[Panel<'_>],
    x: &[InputLine],
    n_rows: usize,
) {
    match n_rows {
        ..=1 => blocks::<S, [InputLine; 1], 1, RUN16, MIN>(s, out, panels, bytemuck::cast_slice(x), 1),
        2..=FEW_ROWS => {
            let x: &[[InputLine; FEW_ROWS]] = bytemuck::cast_slice(x);
            blocks::<S, _, ROWS, RUN16, MIN>(s, out, panels, x, FEW_ROWS);
        }
        _ => blocks::<S, InputBlock, ROWS, RUN16, MIN>(s, out, panels, bytemuck::cast_slice(x), ROW_GROUP),
    }
}

/// `n_rows` rows, of which those that are missing are zeros, `M` at a time.
#[inline(always)]
fn blocks<S: Simd, X: Inputs, const M: usize, const RUN16: bool, const MIN: bool>(
    s: S,
    out: &mut [OutTile; PANELS],
    panels: &[Panel<'_>],
    x: &[X],
    n_rows: usize,
) {
    let per_block = (1 + usize::from(RUN16)) * (1 + usize::from(MIN));
    let mut words: [WordInputs; BLOCKS] = [[[[[0; 2]; 2]; 8]; ROW_GROUP]; BLOCKS];
    for (i, x) in x.chunks(BLOCKS).enumerate() {
        for (words, x) in words.iter_mut().zip(x) {
            for (row, words) in words.iter_mut().enumerate().take(n_rows) {
                for ([even, odd], &[a, b, c, d]) in words.iter_mut().zip(x.q(row)) {
                    (*even, *odd) = ([a.into(), c.into()], [b.into(), d.into()]);
                }
            }
        }
        for (out, panel) in out.iter_mut().zip(panels) {
            let weights: &[Words] = bytemuck::cast_slice(panel.quants);
            let scales: &[[f32; PANEL]] = bytemuck::cast_slice(panel.scales);
            let (weights, scales) = (&weights[i * BLOCKS..], &scales[i * BLOCKS * per_block..]);
            for first in (0..n_rows).step_by(M) {
                rows::<S, X, M, RUN16, MIN>(s, out, (weights, scales), (x, &words), first);
            }
        }
    }
}

/// Rows `first..first + M` of a group.
#[inline(always)]
fn rows<S: Simd, X: Inputs, const M: usize, const RUN16: bool, const MIN: bool>(
    s: S,
    out: &mut OutTile,
    (weights, scales): (&[Words], &[[f32; PANEL]]),
    (x, words): (&[X], &[WordInputs]),
    first: usize,
) {
    let n_runs = 1 + usize::from(RUN16);
    let per_block = n_runs * (1 + usize::from(MIN));
    let mut acc = [s.zero(); M];
    for (acc, out) in acc.iter_mut().zip(&out[first..first + M]) {
        *acc = s.load(out);
    }
    let weights = weights.iter().zip(scales.chunks_exact(per_block));
    for ((weights, scales), (x, words)) in weights.zip(x.iter().zip(words)) {
        for run in 0..n_runs {
            let mut dots = [s.splat_i32(0); M];
            for four in 8 / n_runs * run..8 / n_runs * (run + 1) {
                for half in 0..2 {
                    let weights = s.load_words(&weights[four][half]);
                    for (dot, words) in dots.iter_mut().zip(&words[first..first + M]) {
                        *dot = s.dot2(*dot, weights, words[four][half]);
                    }
                }
            }
            let part = if RUN16 { run } else { 2 };
            let scale = s.load(&scales[run]);
            for (r, (acc, dot)) in acc.iter_mut().zip(dots).enumerate() {
                let d = s.splat(x.d(first + r));
                *acc = s.fma(s.to_f32(dot), s.mul(scale, d), *acc);
                if MIN {
                    let sum = s.splat(x.sum(part, first + r));
                    *acc = s.fnma(sum, s.load(&scales[n_runs + run]), *acc);
                }
            }
        }
    }
    for (out, acc) in out[first..first + M].iter_mut().zip(acc) {
        s.store(out, acc);
    }
}
