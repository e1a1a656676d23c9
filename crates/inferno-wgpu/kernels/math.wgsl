// Scalar functions as `inferno_model::numerics` has them: the same polynomials, so that devices differ little. A product
// that is added to something is an `fma` that is written out: compilers may not choose, and two kernels that share an
// expression give the same bits.

// Lower than every score: what is masked. Not an infinity, which fast arithmetic may not know.
const LOWEST = -3.0e38;

fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

fn nan() -> f32 {
    // A variable, as constants may not be NaN.
    var bits = 0x7fc00000u;
    return bitcast<f32>(bits);
}

fn power_of_two(n: i32) -> f32 {
    return bitcast<f32>(u32(n + 127) << 23u);
}

fn exp_(x: f32) -> f32 {
    if x < -87.3 {
        return 0.0;
    }
    if x > 88.72 {
        var bits = 0x7f800000u;
        return bitcast<f32>(bits);
    }
    if !(x <= 88.72) {
        return x;
    }
    let n = round(x * 1.44269504);
    let r = fma(n, 2.1219444e-4, fma(n, -0.693359375, x));
    var p = 1.98412701e-4;
    p = fma(r, p, 1.38888892e-3);
    p = fma(r, p, 8.33333377e-3);
    p = fma(r, p, 4.16666679e-2);
    p = fma(r, p, 0.166666672);
    p = fma(r, p, 0.5);
    p = fma(r, p, 1.0);
    p = fma(r, p, 1.0);
    let half = i32(n) / 2;
    return p * power_of_two(half) * power_of_two(i32(n) - half);
}

fn tanh_(x: f32) -> f32 {
    let a = abs(x);
    if a < 0.625 {
        let z = x * x;
        var p = -5.7049887e-3;
        p = fma(p, z, 2.0639088e-2);
        p = fma(p, z, -5.373971e-2);
        p = fma(p, z, 0.13331443);
        p = fma(p, z, -0.33333282);
        return fma(p * z, x, x);
    }
    let t = 1.0 - 2.0 / (exp_(2.0 * a) + 1.0);
    return select(t, -t, x < 0.0);
}

// ln(1 + e^x).
fn softplus_(x: f32) -> f32 {
    let t = exp_(-abs(x));
    let s = t / (2.0 + t);
    let z = s * s;
    var p = 0.05882353;
    p = fma(p, z, 0.06666667);
    p = fma(p, z, 0.07692308);
    p = fma(p, z, 0.09090909);
    p = fma(p, z, 0.11111111);
    p = fma(p, z, 0.14285715);
    p = fma(p, z, 0.2);
    p = fma(p, z, 0.33333334);
    p = fma(p, z, 1.0);
    return select(x, 0.0, x < 0.0) + 2.0 * s * p;
}

// The upper half of an f32, rounded to even, and half precision, rounded to even: 16 bits each.
fn to_bf16(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    if !is_finite(x) {
        return (bits >> 16u) | select(0u, 0x40u, (bits & 0x7fffffu) != 0u);
    }
    return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
}

fn to_f16(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    let sign = (bits >> 16u) & 0x8000u;
    let magnitude = bits & 0x7fffffffu;
    if magnitude >= 0x7f800000u {
        return sign | 0x7c00u | select(0u, 0x200u, magnitude > 0x7f800000u);
    }
    if magnitude >= 0x477ff000u {
        return sign | 0x7c00u;
    }
    if magnitude >= 0x38800000u {
        let rounded = magnitude + 0xfffu + ((magnitude >> 13u) & 1u);
        return sign | ((rounded - 0x38000000u) >> 13u);
    }
    if magnitude < 0x33000000u {
        return sign;
    }
    // A subnormal: units of 2^-24.
    let shift = 126u - (magnitude >> 23u);
    let mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    let units = mantissa >> shift;
    let rest = mantissa & ((1u << shift) - 1u);
    let tie = 1u << (shift - 1u);
    return sign | (units + select(0u, 1u, rest > tie || (rest == tie && (units & 1u) == 1u)));
}
