//! Plain Rust: right everywhere, fast nowhere. What the compiler makes of it uses the baseline of the target.

use half::f16;

use super::{LANES, Simd};

/// Needs nothing.
#[derive(Clone, Copy)]
pub(crate) struct Scalar;

fn map<T: Copy, U>(x: [T; LANES], f: impl Fn(T) -> U) -> [U; LANES] {
    x.map(f)
}

fn zip<T: Copy, U>(a: [T; LANES], b: [T; LANES], f: impl Fn(T, T) -> U) -> [U; LANES] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl Simd for Scalar {
    type F = [f32; LANES];
    type I = [i32; LANES];
    type B = [u8; 64];

    const BIAS: u8 = 0;
    const INT8_ROWS: usize = 1;
    const FLOAT_ROWS: usize = 1;

    fn splat(self, x: f32) -> Self::F {
        [x; LANES]
    }
    fn load(self, x: &[f32; LANES]) -> Self::F {
        *x
    }
    fn store(self, out: &mut [f32; LANES], x: Self::F) {
        *out = x;
    }
    fn load_f16(self, x: &[u16; LANES]) -> Self::F {
        map(*x, |x| f16::from_bits(x).to_f32())
    }
    fn store_f16(self, out: &mut [u16; LANES], x: Self::F) {
        *out = map(x, |x| f16::from_f32(x).to_bits());
    }
    fn load_bf16(self, x: &[u16; LANES]) -> Self::F {
        map(*x, |x| f32::from_bits(u32::from(x) << 16))
    }
    fn load_e8m0(self, x: &[u8; LANES]) -> Self::F {
        map(*x, |e| f32::from_bits(if e < 2 { 0x0020_0000 << e } else { u32::from(e - 1) << 23 }))
    }
    fn load_i8(self, x: &[i8; LANES]) -> Self::F {
        map(*x, f32::from)
    }
    fn load_u8(self, x: &[u8; LANES]) -> Self::F {
        map(*x, f32::from)
    }
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a + b)
    }
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a - b)
    }
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a * b)
    }
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a / b)
    }
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }
    fn fnma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        std::array::from_fn(|i| a[i].mul_add(-b[i], c[i]))
    }
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    fn abs(self, x: Self::F) -> Self::F {
        map(x, f32::abs)
    }
    fn copysign(self, x: Self::F, sign: Self::F) -> Self::F {
        zip(x, sign, f32::copysign)
    }
    fn round(self, x: Self::F) -> Self::F {
        map(x, f32::round_ties_even)
    }
    fn select_lt(self, a: Self::F, b: Self::F, x: Self::F, y: Self::F) -> Self::F {
        std::array::from_fn(|i| if a[i] < b[i] { x[i] } else { y[i] })
    }
    fn max_lane(self, x: Self::F) -> f32 {
        x.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }

    fn splat_i32(self, x: i32) -> Self::I {
        [x; LANES]
    }
    fn to_i32(self, x: Self::F) -> Self::I {
        map(x, |x| x as i32)
    }
    fn to_f32(self, x: Self::I) -> Self::F {
        map(x, |x| x as f32)
    }
    fn power_of_two(self, n: Self::I) -> Self::F {
        map(n, |n| f32::from_bits((n.wrapping_add(127) as u32) << 23))
    }
    fn sub_i32(self, a: Self::I, b: Self::I) -> Self::I {
        zip(a, b, i32::wrapping_sub)
    }
    fn halve(self, x: Self::I) -> Self::I {
        map(x, |x| x / 2)
    }
    fn sum_lanes(self, x: Self::I) -> i32 {
        x.into_iter().sum()
    }
    fn store_i8(self, out: &mut [i8; LANES], x: Self::I) {
        *out = map(x, |x| x as i8);
    }

    fn load_bytes(self, x: &[u8; 64]) -> Self::B {
        *x
    }
    fn low_nibbles(self, x: Self::B) -> Self::B {
        x.map(|x| x & 15)
    }
    fn high_nibbles(self, x: Self::B) -> Self::B {
        x.map(|x| x >> 4)
    }
    fn crumbs(self, x: Self::B, i: usize) -> Self::B {
        x.map(|x| (x >> (2 * i) & 3) << 4)
    }
    fn look_up(self, table: &[u8; 16], x: Self::B) -> Self::B {
        x.map(|x| table[usize::from(x & 15)])
    }
    fn or(self, a: Self::B, b: Self::B) -> Self::B {
        std::array::from_fn(|i| a[i] | b[i])
    }
    fn add_bytes(self, a: Self::B, b: u8) -> Self::B {
        a.map(|a| a.wrapping_add(b))
    }
    fn load_weights(self, x: &[i8; 64]) -> Self::B {
        x.map(|x| x as u8)
    }
    fn store_weights(self, out: &mut [i8; 64], x: Self::B) {
        *out = x.map(|x| x as i8);
    }
    fn to_words(self, x: Self::B) -> [Self::B; 2] {
        let half = |odd| {
            let words: [i16; 32] = std::array::from_fn(|i| i16::from(x[2 * i + odd] as i8));
            bytemuck::cast(words)
        };
        [half(0), half(1)]
    }
    fn load_words(self, x: &[i16; 32]) -> Self::B {
        bytemuck::cast(*x)
    }
    fn dot2(self, acc: Self::I, weights: Self::B, inputs: [i16; 2]) -> Self::I {
        let weights: [[i16; 2]; LANES] = bytemuck::cast(weights);
        let product = |w: i16, x: i16| i32::from(w) * i32::from(x);
        std::array::from_fn(|i| {
            acc[i] + product(weights[i][0], inputs[0]) + product(weights[i][1], inputs[1])
        })
    }
    fn dot4(self, acc: Self::I, weights: Self::B, inputs: [i8; 4]) -> Self::I {
        std::array::from_fn(|i| {
            let product = |j: usize| i32::from(weights[4 * i + j] as i8) * i32::from(inputs[j]);
            acc[i] + (product(0) + product(1) + product(2) + product(3))
        })
    }
}
