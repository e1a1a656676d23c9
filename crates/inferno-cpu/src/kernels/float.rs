//! Products with float weights: every output is one FMA chain over ascending inputs, sixteen outputs to a vector.

#![allow(clippy::inline_always, reason = "each level needs a copy with its instructions")]

use crate::kernels::OutTile;
use crate::packed::{Layout, PANEL, Panel};
use crate::simd::{ROW_GROUP, Simd};

/// How sixteen numbers are stored.
pub(super) trait Element {
    /// Sixteen of them.
    type Vector: bytemuck::Pod;
    fn load<S: Simd>(s: S, x: &Self::Vector) -> S::F;
}

pub(super) struct F32;
impl Element for F32 {
    type Vector = [f32; PANEL];
    #[inline(always)]
    fn load<S: Simd>(s: S, x: &[f32; PANEL]) -> S::F {
        s.load(x)
    }
}

pub(super) struct F16;
impl Element for F16 {
    type Vector = [u16; PANEL];
    #[inline(always)]
    fn load<S: Simd>(s: S, x: &[u16; PANEL]) -> S::F {
        s.load_f16(x)
    }
}

pub(super) struct Bf16;
impl Element for Bf16 {
    type Vector = [u16; PANEL];
    #[inline(always)]
    fn load<S: Simd>(s: S, x: &[u16; PANEL]) -> S::F {
        s.load_bf16(x)
    }
}

#[inline(always)]
pub(super) fn interleave<S: Simd>(_: S, out: &mut [[f32; ROW_GROUP]], rows: &[&[f32]]) {
    for row in 0..ROW_GROUP {
        match rows.get(row) {
            Some(x) => out.iter_mut().zip(*x).for_each(|(out, x)| out[row] = *x),
            None => out.iter_mut().for_each(|out| out[row] = 0.0),
        }
    }
}

#[inline(always)]
pub(super) fn product_float<S: Simd>(
    s: S,
    out: &mut OutTile,
    panel: Panel<'_>,
    x: &[[f32; ROW_GROUP]],
    n_rows: usize,
) {
    match panel.layout {
        Layout::F32 => group::<S, F32>(s, out, panel, x, n_rows),
        Layout::F16 => group::<S, F16>(s, out, panel, x, n_rows),
        Layout::Bf16 => group::<S, Bf16>(s, out, panel, x, n_rows),
        _ => unreachable!("the product of quantized weights is taken in integers"),
    }
}

#[inline(always)]
fn group<S: Simd, E: Element>(
    s: S,
    out: &mut OutTile,
    panel: Panel<'_>,
    x: &[[f32; ROW_GROUP]],
    n_rows: usize,
) {
    let weights: &[E::Vector] = bytemuck::cast_slice(panel.quants);
    // One vector of outputs: twice the rows of two.
    match n_rows {
        1 => rows::<S, E, 1>(s, out, weights, x, 0),
        2..=4 if S::FLOAT_ROWS >= 2 => rows::<S, E, 4>(s, out, weights, x, 0),
        _ if S::FLOAT_ROWS >= 4 => rows::<S, E, 8>(s, out, weights, x, 0),
        _ if S::FLOAT_ROWS >= 2 => {
            for first in (0..n_rows).step_by(4) {
                rows::<S, E, 4>(s, out, weights, x, first);
            }
        }
        _ => {
            for first in 0..n_rows {
                rows::<S, E, 1>(s, out, weights, x, first);
            }
        }
    }
}

#[inline(always)]
fn rows<S: Simd, E: Element, const M: usize>(
    s: S,
    out: &mut OutTile,
    weights: &[E::Vector],
    x: &[[f32; ROW_GROUP]],
    first: usize,
) {
    let mut acc = [s.zero(); M];
    for (acc, out) in acc.iter_mut().zip(&out[first..first + M]) {
        *acc = s.load(out);
    }
    for (w, x) in weights.iter().zip(x) {
        let w = E::load(s, w);
        for (acc, &x) in acc.iter_mut().zip(&x[first..first + M]) {
            *acc = s.fma(w, s.splat(x), *acc);
        }
    }
    for (out, acc) in out[first..first + M].iter_mut().zip(acc) {
        s.store(out, acc);
    }
}
