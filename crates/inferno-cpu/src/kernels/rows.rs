//! Operations on rows of numbers without matrices. What is a plain loop here the compiler turns into vectors of the
//! level: it may not change the order of a sum, so every level gives the same bits.

#![allow(clippy::inline_always, reason = "each level needs a copy with its instructions")]

use inferno_model::architecture::Activation;
use inferno_model::numerics::tree_sum;
use inferno_model::rope::{Angles, Pairing};

use crate::kernels::math;
use crate::simd::{LANES, Simd};

/// See `numerics::rms_scale`.
#[inline(always)]
fn rms_scale<S: Simd>(s: S, x: &[f32], eps: f32) -> f32 {
    1.0 / (sum_of_squares(s, x) / x.len() as f32 + eps).sqrt()
}

#[inline(always)]
pub(super) fn sum_of_squares<S: Simd>(s: S, x: &[f32]) -> f32 {
    let (vectors, rest) = x.as_chunks::<LANES>();
    let mut sums = s.zero();
    for x in vectors {
        let x = s.load(x);
        sums = s.fma(x, x, sums);
    }
    let mut sums = s.to_array(sums);
    for (sum, &x) in sums.iter_mut().zip(rest) {
        *sum = x.mul_add(x, *sum);
    }
    tree_sum(sums)
}

#[inline(always)]
pub(super) fn rms_norm<S: Simd>(s: S, out: &mut [f32], x: &[f32], weight: &[f32], eps: f32) {
    for (out, x) in out.chunks_exact_mut(weight.len()).zip(x.chunks_exact(weight.len())) {
        let scale = rms_scale(s, x, eps);
        for ((out, x), w) in out.iter_mut().zip(x).zip(weight) {
            *out = (x * scale) * w;
        }
    }
}

#[inline(always)]
pub(super) fn norm_in_place<S: Simd>(s: S, x: &mut [f32], weight: &[f32], eps: f32) {
    for x in x.chunks_exact_mut(weight.len()) {
        let scale = rms_scale(s, x, eps);
        for (x, w) in x.iter_mut().zip(weight) {
            *x = (*x * scale) * w;
        }
    }
}

#[inline(always)]
pub(super) fn add<S: Simd>(_: S, x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

#[inline(always)]
pub(super) fn scale<S: Simd>(_: S, x: &mut [f32], factor: f32) {
    x.iter_mut().for_each(|x| *x *= factor);
}

#[inline(always)]
pub(super) fn add_scaled<S: Simd>(_: S, x: &mut [f32], y: &[f32], scale: f32) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x = scale.mul_add(*y, *x));
}

/// What `f` makes of every vector of x and its place, in place; the last one is filled up with zeros. A macro, as a
/// closure would be a function without the level's instructions.
macro_rules! for_each_vector {
    ($s:ident, $x:ident, |$i:ident, $v:ident| $f:expr) => {
        let (vectors, rest) = $x.as_chunks_mut::<LANES>();
        let n = vectors.len();
        for ($i, x) in vectors.iter_mut().enumerate() {
            let $v = $s.load(x);
            $s.store(x, $f);
        }
        if !rest.is_empty() {
            let mut x = [0.0; LANES];
            x[..rest.len()].copy_from_slice(rest);
            let ($i, $v) = (n, $s.load(&x));
            let y = $s.to_array($f);
            rest.copy_from_slice(&y[..rest.len()]);
        }
    };
}

#[inline(always)]
pub(super) fn glu<S: Simd>(s: S, gate: &mut [f32], up: &[f32], activation: Activation) {
    let (vectors, rest) = up.as_chunks::<LANES>();
    let mut last = [0.0; LANES];
    last[..rest.len()].copy_from_slice(rest);
    match activation {
        Activation::Identity => {
            for_each_vector!(s, gate, |i, x| s.mul(x, s.load(vectors.get(i).unwrap_or(&last))));
        }
        Activation::Silu => {
            for_each_vector!(s, gate, |i, x| s
                .mul(math::silu(s, x), s.load(vectors.get(i).unwrap_or(&last))));
        }
        Activation::GeluTanh => {
            for_each_vector!(s, gate, |i, x| s
                .mul(math::gelu(s, x), s.load(vectors.get(i).unwrap_or(&last))));
        }
        Activation::ReluSquared => {
            for_each_vector!(s, gate, |i, x| s
                .mul(math::relu_squared(s, x), s.load(vectors.get(i).unwrap_or(&last))));
        }
        Activation::ClampedSwiglu => {
            for_each_vector!(s, gate, |i, x| math::clamped_swiglu(
                s,
                x,
                s.load(vectors.get(i).unwrap_or(&last))
            ));
        }
        Activation::Xielu(parameters) => {
            for_each_vector!(s, gate, |i, x| s
                .mul(math::xielu(s, x, parameters), s.load(vectors.get(i).unwrap_or(&last))));
        }
    }
}

#[inline(always)]
pub(super) fn activate<S: Simd>(s: S, x: &mut [f32], activation: Activation) {
    match activation {
        Activation::Identity => {}
        Activation::Silu => {
            for_each_vector!(s, x, |_i, v| math::silu(s, v));
        }
        Activation::GeluTanh => {
            for_each_vector!(s, x, |_i, v| math::gelu(s, v));
        }
        Activation::ReluSquared => {
            for_each_vector!(s, x, |_i, v| math::relu_squared(s, v));
        }
        Activation::ClampedSwiglu => {
            for_each_vector!(s, x, |_i, v| math::clamped_swiglu(s, v, s.zero()));
        }
        Activation::Xielu(parameters) => {
            for_each_vector!(s, x, |_i, v| math::xielu(s, v, parameters));
        }
    }
}

#[inline(always)]
pub(super) fn sigmoid_gate<S: Simd>(s: S, x: &mut [f32], gate: &[f32]) {
    if gate.is_empty() {
        return;
    }
    let n = x.len() / gate.len();
    for (x, gates) in x.chunks_mut(n * LANES).zip(gate.chunks(LANES)) {
        let mut factors = [0.0; LANES];
        factors[..gates.len()].copy_from_slice(gates);
        let factors = s.to_array(math::sigmoid(s, s.load(&factors)));
        for (x, factor) in x.chunks_exact_mut(n).zip(factors) {
            x.iter_mut().for_each(|x| *x *= factor);
        }
    }
}

#[inline(always)]
pub(super) fn softcap<S: Simd>(s: S, x: &mut [f32], cap: f32) {
    for_each_vector!(s, x, |_i, v| math::softcap(s, v, cap));
}

#[inline(always)]
pub(super) fn rope<S: Simd>(_: S, x: &mut [f32], head_dim: usize, angles: &Angles, row: usize) {
    let half = angles.dims / 2;
    let cos = &angles.cos[row * half..][..half];
    let sin = &angles.sin[row * half..][..half];
    for head in x.chunks_exact_mut(head_dim) {
        match angles.pairing {
            Pairing::Halves => {
                let (first, second) = head[..2 * half].split_at_mut(half);
                for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                    let (x, y) = (*a, *b);
                    *a = x.mul_add(*cos, -(y * sin));
                    *b = x.mul_add(*sin, y * cos);
                }
            }
            Pairing::Adjacent => {
                for (([a, b], cos), sin) in
                    head[..2 * half].as_chunks_mut::<2>().0.iter_mut().zip(cos).zip(sin)
                {
                    let (x, y) = (*a, *b);
                    *a = x.mul_add(*cos, -(y * sin));
                    *b = x.mul_add(*sin, y * cos);
                }
            }
        }
    }
}
