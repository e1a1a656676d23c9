//! The recurrence of Mamba-2: a lane owns a column of a head's state, so that all levels have the sums of the reference.

#![allow(clippy::inline_always, reason = "each level needs a copy with its instructions")]

use inferno_model::backend::SSM_SUMS;

use crate::kernels::math;
use crate::simd::{LANES, Simd};

/// dt = softplus(dt + bias) and decay = e^(dt × a) of a row's heads.
#[inline(always)]
pub(super) fn ssm_steps<S: Simd>(s: S, dt: &mut [f32], decay: &mut [f32], bias: &[f32], a: &[f32]) {
    for (((dt, decay), bias), a) in
        dt.chunks_mut(LANES).zip(decay.chunks_mut(LANES)).zip(bias.chunks(LANES)).zip(a.chunks(LANES))
    {
        let n = dt.len();
        let (mut dts, mut biases, mut slopes) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        dts[..n].copy_from_slice(dt);
        biases[..n].copy_from_slice(bias);
        slopes[..n].copy_from_slice(a);
        let step = math::softplus(s, s.add(s.load(&dts), s.load(&biases)));
        let kept = math::exp(s, s.mul(step, s.load(&slopes)));
        dt.copy_from_slice(&s.to_array(step)[..n]);
        decay.copy_from_slice(&s.to_array(kept)[..n]);
    }
}

/// S = decay × S + (dt × x) B, out = S C + d × x, of a block of columns at one position: state is (state_size, columns), and `factors`
/// are dt, the decay and d. See `Backend::ssm_scan`.
#[inline(always)]
pub(super) fn ssm_scan<S: Simd>(
    s: S,
    out: &mut [f32; LANES],
    state: &mut [[f32; LANES]],
    x: &[f32; LANES],
    b: &[f32],
    c: &[f32],
    factors: [f32; 3],
) {
    let [dt, decay, d] = factors.map(|factor| s.splat(factor));
    let x = s.load(x);
    let step = s.mul(dt, x);
    let mut sums = [s.zero(); SSM_SUMS];
    let (quads, rest) = state.as_chunks_mut::<SSM_SUMS>();
    let ((b_quads, b_rest), (c_quads, c_rest)) = (b.as_chunks::<SSM_SUMS>(), c.as_chunks::<SSM_SUMS>());
    for ((states, b), c) in quads.iter_mut().zip(b_quads).zip(c_quads) {
        for i in 0..SSM_SUMS {
            let state = s.fma(decay, s.load(&states[i]), s.mul(step, s.splat(b[i])));
            s.store(&mut states[i], state);
            sums[i] = s.fma(state, s.splat(c[i]), sums[i]);
        }
    }
    for (i, ((state, b), c)) in rest.iter_mut().zip(b_rest).zip(c_rest).enumerate() {
        let new = s.fma(decay, s.load(state), s.mul(step, s.splat(*b)));
        s.store(state, new);
        sums[i] = s.fma(new, s.splat(*c), sums[i]);
    }
    let sum = s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3]));
    s.store(out, s.fma(d, x, sum));
}
