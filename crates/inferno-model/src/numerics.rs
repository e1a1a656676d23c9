//! The scalar functions that every backend must reproduce to the bit: `+ - * / sqrt fma` only,
//! in a fixed order, with no help from the platform's math library.

pub mod tiles;

use crate::ffn::{Activation, Xielu};

/// Partial sums of a reduction: element `i` goes to partial sum `i % STRIPES`.
pub const STRIPES: usize = 16;

/// Positions in a partition of attention: its softmax starts anew at every multiple. A whole number of pages.
pub const PARTITION_LEN: usize = 512;

/// `e^x`, within 2 units in the last place; 0 below -87.3, ∞ above 88.7.
///
/// `x = n ln 2 + r`, |r| ≤ ln 2 / 2; a polynomial of degree 7 for `e^r` (Taylor coefficients: the error is
/// below 2^-27 on that range), then the exponent is added in two steps so that no intermediate overflows.
pub fn exp(x: f32) -> f32 {
    if x.is_nan() {
        return x;
    }
    if x < -87.3 {
        return 0.0;
    }
    if x > 88.72 {
        return f32::INFINITY;
    }
    const LN2_HIGH: f32 = 355.0 / 512.0;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let n = (x * std::f32::consts::LOG2_E).round_ties_even();
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, x));
    let mut p = 1.0 / 5040.0;
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = r.mul_add(p, c);
    }
    let half = n as i32 / 2;
    p * power_of_two(half) * power_of_two(n as i32 - half)
}

/// `2^n` for n in -126..=127.
fn power_of_two(n: i32) -> f32 {
    f32::from_bits(((n + 127) as u32) << 23)
}

/// Hyperbolic tangent: an odd polynomial near zero (Cephes `tanhf`), `1 - 2 / (e^2x + 1)` beyond.
pub fn tanh(x: f32) -> f32 {
    let a = x.abs();
    if a < 0.625 {
        let z = x * x;
        let mut p: f32 = -5.704_988_7e-3;
        for c in [2.063_908_8e-2, -5.373_971_5e-2, 1.333_144_2e-1, -0.333_332_8] {
            p = p.mul_add(z, c);
        }
        (p * z).mul_add(x, x)
    } else {
        (1.0 - 2.0 / (exp(2.0 * a) + 1.0)).copysign(x)
    }
}

/// `1 / (1 + e^-x)`.
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `x / (1 + e^-x)`.
pub fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// `ln(1 + e^x)`: `max(x, 0) + ln(1 + t)` with `t = e^-|x|`, which overflows nowhere.
///
/// `ln(1 + t) = 2 artanh(s)` with `s = t / (2 + t)`, at most 1/3: nine terms of the series leave less than 2^-29 of it.
pub fn softplus(x: f32) -> f32 {
    let t = exp(-x.abs());
    let s = t / (2.0 + t);
    let z = s * s;
    let mut p = SOFTPLUS[0];
    for c in &SOFTPLUS[1..] {
        p = p.mul_add(z, *c);
    }
    // What is no number stays so.
    (if x < 0.0 { 0.0 } else { x }) + 2.0 * s * p
}

/// Coefficients of `artanh(s) / s` in `s²`, the highest power first.
pub const SOFTPLUS: [f32; 9] =
    [1.0 / 17.0, 1.0 / 15.0, 1.0 / 13.0, 1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0, 1.0 / 5.0, 1.0 / 3.0, 1.0];

/// GELU in its tanh form (<https://arxiv.org/abs/1606.08415>).
pub fn gelu_tanh(x: f32) -> f32 {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    let inner = SQRT_2_OVER_PI * (0.044_715 * x * x).mul_add(x, x);
    0.5 * x * (1.0 + tanh(inner))
}

/// `e^x - 1` for x ≤ 0, precise near zero: `2t / (1 - t)` with `t = tanh(x / 2)`.
pub fn expm1_below_zero(x: f32) -> f32 {
    let t = tanh(0.5 * x);
    2.0 * t / (1.0 - t)
}

/// xIELU (<https://arxiv.org/abs/2411.13010>): `x (alpha_p x + beta)` above zero, `alpha_n (e^x - 1 - x) + beta x` below.
pub fn xielu(x: f32, parameters: Xielu) -> f32 {
    let Xielu { alpha_p, alpha_n, beta, eps } = parameters;
    let above = x * alpha_p.mul_add(x, beta);
    let below = (expm1_below_zero(if eps < x { eps } else { x }) - x).mul_add(alpha_n, beta * x);
    if 0.0 < x { above } else { below }
}

/// `min(gate, 7) * sigmoid(1.702 * gate) * (clamp(up, -7, 7) + 1)`, the gate clamped before both uses.
pub fn clamped_swiglu(gate: f32, up: f32) -> f32 {
    let gate = if CLAMP < gate { CLAMP } else { gate };
    let up = if CLAMP < up { CLAMP } else { up };
    let up = if up < -CLAMP { -CLAMP } else { up };
    gate / (1.0 + exp(-CLAMPED_SLOPE * gate)) * (up + 1.0)
}

/// Largest gate, and largest magnitude of what it multiplies, in [`clamped_swiglu`].
pub const CLAMP: f32 = 7.0;
/// Slope of the sigmoid in [`clamped_swiglu`].
pub const CLAMPED_SLOPE: f32 = 1.702;

/// The activation of a gate times `up`.
pub fn glu(gate: f32, up: f32, activation: Activation) -> f32 {
    match activation {
        Activation::ClampedSwiglu => clamped_swiglu(gate, up),
        _ => activate(gate, activation) * up,
    }
}

/// The activation of a network without a gate.
pub fn activate(x: f32, activation: Activation) -> f32 {
    match activation {
        Activation::Identity => x,
        Activation::Silu => silu(x),
        Activation::GeluTanh => gelu_tanh(x),
        Activation::ReluSquared => {
            let x = if x < 0.0 { 0.0 } else { x };
            x * x
        }
        Activation::ClampedSwiglu => clamped_swiglu(x, 0.0),
        Activation::Xielu(parameters) => xielu(x, parameters),
    }
}

/// `cap * tanh(x / cap)`.
pub fn softcap(x: f32, cap: f32) -> f32 {
    cap * tanh(x / cap)
}

/// Adds up 16 partial sums as a fixed tree: halves onto halves.
pub fn tree_sum(mut s: [f32; STRIPES]) -> f32 {
    let mut half = STRIPES / 2;
    while half > 0 {
        for i in 0..half {
            s[i] += s[i + half];
        }
        half /= 2;
    }
    s[0]
}

/// `1 / sqrt(mean(x²) + eps)`, the factor of an RMS norm (<https://arxiv.org/abs/1910.07467>).
pub fn rms_scale(x: &[f32], eps: f32) -> f32 {
    1.0 / (sum_of_squares(x) / x.len() as f32 + eps).sqrt()
}

/// `1 / sqrt(Σx² + eps)`, the factor that gives a vector length 1.
pub fn unit_scale(x: &[f32], eps: f32) -> f32 {
    1.0 / (sum_of_squares(x) + eps).sqrt()
}

fn sum_of_squares(x: &[f32]) -> f32 {
    let mut s = [0.0f32; STRIPES];
    for chunk in x.chunks(STRIPES) {
        for (s, &x) in s.iter_mut().zip(chunk) {
            *s = x.mul_add(x, *s);
        }
    }
    tree_sum(s)
}

/// One row of activations in 8 bits: blocks of 32 with a scale each.
#[derive(Debug, Clone, Default)]
pub struct QuantizedRow {
    /// (len,) from -127 to 127
    pub q: Vec<i8>,
    /// (len / 32,) the value of one unit; NaN everywhere if any input was not finite.
    pub d: Vec<f32>,
}

impl QuantizedRow {
    /// `d = amax / 127`, `q = round_half_even(x * (127 / amax))`. A block of zeros, or one so small that
    /// `127 / amax` overflows, is zero. `x.len()` is a multiple of 32.
    pub fn quantize(&mut self, x: &[f32]) {
        assert!(x.len().is_multiple_of(32), "quantized weights have rows of whole blocks");
        self.q.clear();
        self.d.clear();
        let finite = x.iter().all(|x| x.is_finite());
        for block in x.chunks_exact(32) {
            let amax = block.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            let inverse = 127.0 / amax;
            let zero = !inverse.is_finite();
            self.d.push(match (finite, zero) {
                (false, _) => f32::NAN,
                (true, true) => 0.0,
                (true, false) => amax / 127.0,
            });
            let inverse = if zero || !finite { 0.0 } else { inverse };
            self.q.extend(block.iter().map(|x| (x * inverse).round_ties_even() as i8));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        let mut worst = 0.0f64;
        for i in -8700..=8800 {
            for j in 0..7 {
                let x = i as f32 * 0.01 + j as f32 * 0.0013;
                let exact = libm::exp(f64::from(x));
                if exact > f64::from(f32::MAX) || exact < f64::from(f32::MIN_POSITIVE) {
                    continue;
                }
                let ulp = f64::from(f32::from_bits((exact as f32).to_bits() + 1) - exact as f32);
                worst = worst.max((f64::from(exp(x)) - exact).abs() / ulp);
            }
        }
        assert!(worst < 2.0, "{worst} units");
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn tanh_is_close_odd_and_bounded() {
        for i in -4000..=4000 {
            let x = i as f32 * 0.005;
            assert!((f64::from(tanh(x)) - libm::tanh(f64::from(x))).abs() < 1.5e-7, "{x}");
            assert_eq!(tanh(-x), -tanh(x));
            assert!(tanh(x).abs() <= 1.0);
        }
        assert_eq!(tanh(100.0), 1.0);
    }

    #[test]
    fn softplus_is_within_a_few_units_in_the_last_place() {
        for i in -8700..=20_000 {
            let x = i as f32 * 0.01;
            let exact = libm::log1p(libm::exp(-f64::from(x.abs()))) + f64::from(x).max(0.0);
            let found = f64::from(softplus(x));
            assert!((found - exact).abs() <= 5e-7 * exact, "{x}: {found}, expected {exact}");
        }
        assert_eq!([softplus(f32::NEG_INFINITY), softplus(f32::INFINITY)], [0.0, f32::INFINITY]);
        assert!(softplus(f32::NAN).is_nan());
    }

    #[test]
    fn activations_are_close_to_their_formulas() {
        let parameters = Xielu { alpha_p: 0.9, alpha_n: 1.4, beta: 0.5, eps: -1e-6 };
        let sigmoid_of = |x: f64| 1.0 / (1.0 + libm::exp(-x));
        for i in -3000..=3000 {
            let x = i as f32 * 0.004;
            let (exact, up) = (f64::from(x), 3.0 - x);
            let (p, n, b) = (f64::from(0.9f32), f64::from(1.4f32), 0.5);
            let below = (libm::expm1(exact.min(-1e-6)) - exact) * n + b * exact;
            let curve = if x > 0.0 { p * exact * exact + b * exact } else { below };
            let found = f64::from(xielu(x, parameters));
            assert!(
                (found - curve).abs() <= 2e-6 * (1.0 + curve.abs()),
                "xielu {x}: {found}, expected {curve}"
            );
            let (g, u) = (exact.min(7.0), f64::from(up).clamp(-7.0, 7.0));
            let clamped = g * sigmoid_of(f64::from(1.702f32) * g) * (u + 1.0);
            let found = f64::from(clamped_swiglu(x, up));
            assert!((found - clamped).abs() <= 2e-6 * (1.0 + clamped.abs()), "{x}: {found}, not {clamped}");
            let relu = exact.max(0.0);
            assert!((f64::from(activate(x, Activation::ReluSquared)) - relu * relu).abs() <= 1e-5);
        }
        for activation in [Activation::ReluSquared, Activation::ClampedSwiglu, Activation::Xielu(parameters)]
        {
            assert!(glu(f32::NAN, 1.0, activation).is_nan(), "{activation:?}");
            assert!(glu(1.0, f32::NAN, activation).is_nan(), "{activation:?}");
        }
    }

    #[test]
    fn activations_quantize_to_the_nearest_step_ties_to_even() {
        let mut x = [0.0f32; 64];
        x[0] = 127.0;
        x[1] = 2.5;
        x[2] = 3.5;
        x[17] = -1.4;
        let mut row = QuantizedRow::default();
        row.quantize(&x);
        assert_eq!(row.d, [1.0, 0.0]);
        assert_eq!(row.q[..3], [127, 2, 4]);
        assert_eq!(row.q[17], -1);
    }

    #[test]
    fn a_non_finite_input_poisons_its_row_and_a_tiny_block_is_zero() {
        let mut row = QuantizedRow::default();
        let mut x = [1.0f32; 64];
        x[40] = f32::INFINITY;
        row.quantize(&x);
        assert!(row.d.iter().all(|d| d.is_nan()));
        row.quantize(&[1e-44; 32]);
        assert_eq!((row.d[0], row.q[0]), (0.0, 0));
    }
}
