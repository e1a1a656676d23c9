//! Recurrent layers: a lane owns a channel, or a column of a state, so that all levels have the sums of the reference.

#![allow(clippy::inline_always, reason = "each level needs a copy with its instructions")]

use inferno_model::backend::UNIT_EPS;

use crate::kernels::{math, rows};
use crate::simd::{LANES, Simd};

/// A row of a value head, for some columns of its state. A state has as many rows as there are keys.
pub(crate) struct DeltaRow<'a> {
    /// Normed, as keys are.
    pub(crate) q: &'a [f32],
    pub(crate) k: &'a [f32],
    /// One for every row of the state, or one for all.
    pub(crate) decays: &'a [f32],
    pub(crate) strength: f32,
}

/// The sums of a row, tap after tap; a few hundred channels stay in the nearest cache.
#[inline(always)]
pub(super) fn convolve<S: Simd>(
    _: S,
    out: &mut [f32],
    inputs: &[&[f32]],
    taps: &[&[f32]],
    bias: Option<&[f32]>,
) {
    match bias {
        Some(bias) => out.copy_from_slice(bias),
        None => out.fill(0.0),
    }
    for (x, tap) in inputs.iter().zip(taps) {
        for ((out, x), tap) in out.iter_mut().zip(*x).zip(*tap) {
            *out = tap.mul_add(*x, *out);
        }
    }
}

/// Heads of `width` with length 1, times `factor`; see `numerics::unit_scale`.
#[inline(always)]
pub(super) fn unit_heads<S: Simd>(s: S, x: &mut [f32], width: usize, factor: f32) {
    for x in x.chunks_exact_mut(width) {
        let scale = 1.0 / (rows::sum_of_squares(s, x) + UNIT_EPS).sqrt();
        x.iter_mut().for_each(|x| *x = (*x * scale) * factor);
    }
}

/// x = e^(rate × softplus(x + dt)), a rate for as many neighbours as there are numbers for each.
#[inline(always)]
pub(super) fn decays<S: Simd>(s: S, x: &mut [f32], dt: &[f32], rates: &[f32]) {
    let n = x.len() / rates.len();
    for (block, (x, dt)) in x.chunks_mut(LANES).zip(dt.chunks(LANES)).enumerate() {
        let [mut sums, mut here] = [[0.0; LANES]; 2];
        for (lane, (x, dt)) in x.iter().zip(dt).enumerate() {
            sums[lane] = x + dt;
            here[lane] = rates[(block * LANES + lane) / n];
        }
        let softplus = math::softplus(s, s.load(&sums));
        let decays = s.to_array(math::exp(s, s.mul(s.load(&here), softplus)));
        x.copy_from_slice(&decays[..x.len()]);
    }
}

/// Sixteen columns of a value head's state, v and then out in `out`; see `Backend::delta_rule`.
///
/// 128 rows are 8 KB, which stay in the nearest cache from row to row of a prompt. What is decayed is computed twice and stored once.
#[inline(always)]
pub(super) fn delta_rule<S: Simd>(
    s: S,
    state: &mut [[f32; LANES]],
    out: &mut [f32; LANES],
    row: &DeltaRow<'_>,
) {
    match row.decays.len() {
        1 => columns::<S, false>(s, state, out, row),
        _ => columns::<S, true>(s, state, out, row),
    }
}

/// Chains of a sum over the rows of a state.
const STRIPES: usize = 4;

/// With a decay for `EACH` row of the state.
#[inline(always)]
fn columns<S: Simd, const EACH: bool>(
    s: S,
    state: &mut [[f32; LANES]],
    out: &mut [f32; LANES],
    row: &DeltaRow<'_>,
) {
    let n = state.len();
    let first = s.splat(row.decays[0]);
    let (q, last_q) = row.q[..n].as_chunks::<STRIPES>();
    let (k, last_k) = row.k[..n].as_chunks::<STRIPES>();
    let (decays, last_decays) =
        if EACH { row.decays[..n].as_chunks::<STRIPES>() } else { (&[][..], &[][..]) };
    let (states, last_states) = state.as_chunks_mut::<STRIPES>();

    let mut sums = [s.zero(); STRIPES];
    for (i, (states, k)) in states.iter().zip(k).enumerate() {
        for j in 0..STRIPES {
            let decay = if EACH { s.splat(decays[i][j]) } else { first };
            sums[j] = s.fma(s.mul(s.load(&states[j]), decay), s.splat(k[j]), sums[j]);
        }
    }
    for (j, (state, k)) in last_states.iter().zip(last_k).enumerate() {
        let decay = if EACH { s.splat(last_decays[j]) } else { first };
        sums[j] = s.fma(s.mul(s.load(state), decay), s.splat(*k), sums[j]);
    }
    let delta = s.mul(s.splat(row.strength), s.sub(s.load(out), sum(s, sums)));

    let mut sums = [s.zero(); STRIPES];
    for (i, (states, (k, q))) in states.iter_mut().zip(k.iter().zip(q)).enumerate() {
        for j in 0..STRIPES {
            let decay = if EACH { s.splat(decays[i][j]) } else { first };
            let now = s.fma(s.splat(k[j]), delta, s.mul(s.load(&states[j]), decay));
            s.store(&mut states[j], now);
            sums[j] = s.fma(now, s.splat(q[j]), sums[j]);
        }
    }
    for (j, (state, (k, q))) in last_states.iter_mut().zip(last_k.iter().zip(last_q)).enumerate() {
        let decay = if EACH { s.splat(last_decays[j]) } else { first };
        let now = s.fma(s.splat(*k), delta, s.mul(s.load(state), decay));
        s.store(state, now);
        sums[j] = s.fma(now, s.splat(*q), sums[j]);
    }
    s.store(out, sum(s, sums));
}

#[inline(always)]
fn sum<S: Simd>(s: S, [a, b, c, d]: [S::F; STRIPES]) -> S::F {
    s.add(s.add(a, b), s.add(c, d))
}
