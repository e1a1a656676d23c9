//! `inferno_model::numerics` sixteen lanes at a time: the same operations in the same order, so the same bits.

#![allow(clippy::inline_always, reason = "vectors stay in registers only if what passes them on is inlined")]

use inferno_model::architecture::Xielu;
use inferno_model::numerics::{CLAMP, CLAMPED_SLOPE, SOFTPLUS};

use crate::simd::Simd;

/// See `numerics::exp`.
#[inline(always)]
pub(super) fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    const LN2_HIGH: f32 = 355.0 / 512.0;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    let r = s.fma(n, s.splat(-LN2_LOW), s.fma(n, s.splat(-LN2_HIGH), x));
    let mut p = s.splat(1.0 / 5040.0);
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = s.fma(r, p, s.splat(c));
    }
    let n = s.to_i32(n);
    let half = s.halve(n);
    let y = s.mul(s.mul(p, s.power_of_two(half)), s.power_of_two(s.sub_i32(n, half)));
    // What is no number has passed through the polynomial and both comparisons are false.
    let y = s.select_lt(x, s.splat(-87.3), s.zero(), y);
    s.select_lt(s.splat(88.72), x, s.splat(f32::INFINITY), y)
}

/// See `numerics::tanh`.
#[inline(always)]
pub(super) fn tanh<S: Simd>(s: S, x: S::F) -> S::F {
    let a = s.abs(x);
    let z = s.mul(x, x);
    let mut p = s.splat(-5.704_988_7e-3);
    for c in [2.063_908_8e-2, -5.373_971_5e-2, 1.333_144_2e-1, -0.333_332_8] {
        p = s.fma(p, z, s.splat(c));
    }
    let small = s.fma(s.mul(p, z), x, x);
    let one = s.splat(1.0);
    let e = exp(s, s.mul(s.splat(2.0), a));
    let large = s.copysign(s.sub(one, s.div(s.splat(2.0), s.add(e, one))), x);
    s.select_lt(a, s.splat(0.625), small, large)
}

/// `cap * tanh(x / cap)`
#[inline(always)]
pub(super) fn softcap<S: Simd>(s: S, x: S::F, cap: f32) -> S::F {
    s.mul(s.splat(cap), tanh(s, s.div(x, s.splat(cap))))
}

/// `1 / (1 + e^-x)`
#[inline(always)]
pub(super) fn sigmoid<S: Simd>(s: S, x: S::F) -> S::F {
    let one = s.splat(1.0);
    s.div(one, s.add(one, exp(s, s.sub(s.zero(), x))))
}

/// See `numerics::softplus`.
#[inline(always)]
pub(super) fn softplus<S: Simd>(s: S, x: S::F) -> S::F {
    let t = exp(s, s.sub(s.zero(), s.abs(x)));
    let ratio = s.div(t, s.add(s.splat(2.0), t));
    let z = s.mul(ratio, ratio);
    let mut p = s.splat(SOFTPLUS[0]);
    for c in &SOFTPLUS[1..] {
        p = s.fma(p, z, s.splat(*c));
    }
    let above = s.select_lt(x, s.zero(), s.zero(), x);
    s.add(above, s.mul(s.mul(s.splat(2.0), ratio), p))
}

/// `max(x, 0)²`
#[inline(always)]
pub(super) fn relu_squared<S: Simd>(s: S, x: S::F) -> S::F {
    let x = s.select_lt(x, s.zero(), s.zero(), x);
    s.mul(x, x)
}

/// See `numerics::clamped_swiglu`.
#[inline(always)]
pub(super) fn clamped_swiglu<S: Simd>(s: S, gate: S::F, up: S::F) -> S::F {
    let (one, least, most) = (s.splat(1.0), s.splat(-CLAMP), s.splat(CLAMP));
    let gate = s.select_lt(most, gate, most, gate);
    let up = s.select_lt(most, up, most, up);
    let up = s.select_lt(up, least, least, up);
    let e = exp(s, s.mul(s.splat(-CLAMPED_SLOPE), gate));
    s.mul(s.div(gate, s.add(one, e)), s.add(up, one))
}

/// See `numerics::xielu`.
#[inline(always)]
pub(super) fn xielu<S: Simd>(s: S, x: S::F, parameters: Xielu) -> S::F {
    let Xielu { alpha_p, alpha_n, beta, eps } = parameters;
    let (beta, eps) = (s.splat(beta), s.splat(eps));
    let above = s.mul(x, s.fma(s.splat(alpha_p), x, beta));
    let t = tanh(s, s.mul(s.splat(0.5), s.select_lt(eps, x, eps, x)));
    let expm1 = s.div(s.mul(s.splat(2.0), t), s.sub(s.splat(1.0), t));
    let below = s.fma(s.sub(expm1, x), s.splat(alpha_n), s.mul(beta, x));
    s.select_lt(s.zero(), x, above, below)
}

/// `x / (1 + e^-x)`
#[inline(always)]
pub(super) fn silu<S: Simd>(s: S, x: S::F) -> S::F {
    s.div(x, s.add(s.splat(1.0), exp(s, s.sub(s.zero(), x))))
}

/// See `numerics::gelu_tanh`.
#[inline(always)]
pub(super) fn gelu<S: Simd>(s: S, x: S::F) -> S::F {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    let cubic = s.mul(s.mul(s.splat(0.044_715), x), x);
    let inner = s.mul(s.splat(SQRT_2_OVER_PI), s.fma(cubic, x, x));
    s.mul(s.mul(s.splat(0.5), x), s.add(s.splat(1.0), tanh(s, inner)))
}
