//! Recurrent layers: a lane owns a channel, or a column of a state, so that all levels have the sums of the reference.

#![allow(clippy::inline_always, reason = "each level needs a copy with its instructions")]

use crate::simd::Simd;

/// The sums of a row, tap after tap; a few hundred channels stay in the nearest cache.
#[inline(always)]
pub(super) fn convolve<S: Simd>(_: S, out: &mut [f32], inputs: &[&[f32]], taps: &[&[f32]], bias: Option<&[f32]>) {
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
