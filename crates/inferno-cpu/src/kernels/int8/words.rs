//! Products of many rows in 16 bits, on levels whose instructions add up pairs of products: bytes of any sign have no such
//! instruction, and what stands in for it (signs moved to the inputs, products widened) costs as many again.

#![allow(clippy::inline_always, reason = "each level needs a copy with its instructions")]

use std::mem::MaybeUninit;

use crate::kernels::{OutTile, PANELS};
use crate::packed::{PANEL, Panel, Words};
use crate::simd::{ROW_GROUP, Simd};

use super::inputs::{FEW_ROWS, InputBlock, InputLine, Inputs};

/// Rows whose sums, with two registers for weights and inputs, fit in sixteen registers.
const ROWS: usize = 4;

/// Blocks whose inputs are widened at once: 16 KiB, half of a nearest cache.
const BLOCKS: usize = 32;

/// 32 inputs of N rows: [row][4 at a time][the even ones, the odd ones], as [`Words`] has weights.
type WordInputs<const N: usize> = [[[[MaybeUninit<i16>; 2]; 2]; 8]; N];

/// out += a group of rows × panels of [`Words`].
#[inline(always)]
pub(super) fn panels_of<S: Simd>(
    s: S,
    out: &mut [OutTile; PANELS],
    panels: &[Panel<'_>],
    x: &[InputLine],
    n_rows: usize,
) {
    if !S::BY_PAIRS {
        unreachable!("bytes are multiplied as they are");
    }
    match n_rows {
        ..=1 => blocks::<S, [InputLine; 1], 1, 1>(s, out, panels, bytemuck::cast_slice(x)),
        2..=FEW_ROWS => {
            blocks::<S, [InputLine; FEW_ROWS], ROWS, FEW_ROWS>(s, out, panels, bytemuck::cast_slice(x));
        }
        _ => blocks::<S, InputBlock, ROWS, ROW_GROUP>(s, out, panels, bytemuck::cast_slice(x)),
    }
}

/// N rows, of which those that are missing are zeros, `M` at a time.
#[inline(always)]
fn blocks<S: Simd, X: Inputs, const M: usize, const N: usize>(
    s: S,
    out: &mut [OutTile; PANELS],
    panels: &[Panel<'_>],
    x: &[X],
) {
    // Zeros to begin with would be as many stores again.
    let mut words: [WordInputs<N>; BLOCKS] = [[[[[MaybeUninit::uninit(); 2]; 2]; 8]; N]; BLOCKS];
    for (i, x) in x.chunks(BLOCKS).enumerate() {
        for (words, x) in words.iter_mut().zip(x) {
            for (row, words) in words.iter_mut().enumerate() {
                for ([even, odd], &[a, b, c, d]) in words.iter_mut().zip(x.q(row)) {
                    even[0].write(a.into());
                    even[1].write(c.into());
                    odd[0].write(b.into());
                    odd[1].write(d.into());
                }
            }
        }
        for (out, panel) in out.iter_mut().zip(panels) {
            let weights: &[Words] = bytemuck::cast_slice(panel.quants);
            let scales: &[[f32; PANEL]] = bytemuck::cast_slice(panel.scales);
            for first in (0..N).step_by(M) {
                rows::<S, X, M, N>(
                    s,
                    out,
                    (&weights[i * BLOCKS..], &scales[i * BLOCKS..]),
                    (x, &words),
                    first,
                );
            }
        }
    }
}

/// Rows `first..first + M` of a group.
#[inline(always)]
fn rows<S: Simd, X: Inputs, const M: usize, const N: usize>(
    s: S,
    out: &mut OutTile,
    (weights, scales): (&[Words], &[[f32; PANEL]]),
    (x, words): (&[X], &[WordInputs<N>]),
    first: usize,
) {
    let mut acc = [s.zero(); M];
    for (acc, out) in acc.iter_mut().zip(&out[first..first + M]) {
        *acc = s.load(out);
    }
    for ((weights, scale), (x, words)) in weights.iter().zip(scales).zip(x.iter().zip(words)) {
        let mut dots = [s.splat_i32(0); M];
        for (four, weights) in weights.iter().enumerate() {
            for (half, weights) in weights.iter().enumerate() {
                let weights = s.load_words(weights);
                for (dot, words) in dots.iter_mut().zip(&words[first..first + M]) {
                    // SAFETY: all inputs of as many blocks as `x` has were written.
                    let words = unsafe { std::ptr::from_ref(&words[four][half]).cast::<[i16; 2]>().read() };
                    *dot = s.dot2(*dot, weights, words);
                }
            }
        }
        let scale = s.load(scale);
        for (r, (acc, dot)) in acc.iter_mut().zip(dots).enumerate() {
            *acc = s.fma(s.to_f32(dot), s.mul(scale, s.splat(x.d(first + r))), *acc);
        }
    }
    for (out, acc) in out[first..first + M].iter_mut().zip(acc) {
        s.store(out, acc);
    }
}
