//! From the blocks of each type to pieces of 32 weights.
//!
//! The drawings show a block's bytes; `l` and `h` are low and high nibbles.

mod codebooks;
mod grid;

use half::f16;

use super::Block32;
use crate::dtype::DType;

/// Codebook of IQ4_NL and IQ4_XS (`kvalues_iq4nl`).
const IQ4_VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
/// The values of the codes of MXFP4's E2M1, doubled to make them integers (`kvalues_mxfp4`).
pub const E2M1_DOUBLED: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Appends the pieces of whole blocks.
pub(super) fn blocks(dtype: DType, bytes: &[u8], out: &mut Vec<Block32>) {
    match dtype {
        DType::Q8_0 => out.extend(bytes.as_chunks().0.iter().map(q8_0)),
        DType::Q4_0 => out.extend(bytes.as_chunks().0.iter().map(q4_0)),
        DType::Q4_1 => out.extend(bytes.as_chunks().0.iter().map(q4_1)),
        DType::Q5_0 => out.extend(bytes.as_chunks().0.iter().map(q5_0)),
        DType::Q5_1 => out.extend(bytes.as_chunks().0.iter().map(q5_1)),
        DType::IQ4_NL => out.extend(bytes.as_chunks().0.iter().map(iq4_nl)),
        DType::MXFP4 => out.extend(bytes.as_chunks().0.iter().map(mxfp4)),
        DType::Q2_K => out.extend(bytes.as_chunks().0.iter().flat_map(q2_k)),
        DType::Q3_K => out.extend(bytes.as_chunks().0.iter().flat_map(q3_k)),
        DType::Q4_K => out.extend(bytes.as_chunks().0.iter().flat_map(q4_k)),
        DType::Q5_K => out.extend(bytes.as_chunks().0.iter().flat_map(q5_k)),
        DType::Q6_K => out.extend(bytes.as_chunks().0.iter().flat_map(q6_k)),
        DType::IQ4_XS => out.extend(bytes.as_chunks().0.iter().flat_map(iq4_xs)),
        DType::IQ1_S => out.extend(bytes.as_chunks().0.iter().flat_map(grid::iq1_s)),
        DType::IQ1_M => out.extend(bytes.as_chunks().0.iter().flat_map(grid::iq1_m)),
        DType::IQ2_XXS => out.extend(bytes.as_chunks().0.iter().flat_map(grid::iq2_xxs)),
        DType::IQ2_XS => out.extend(bytes.as_chunks().0.iter().flat_map(grid::iq2_xs)),
        DType::IQ2_S => out.extend(bytes.as_chunks().0.iter().flat_map(grid::iq2_s)),
        DType::IQ3_XXS => out.extend(bytes.as_chunks().0.iter().flat_map(grid::iq3_xxs)),
        DType::IQ3_S => out.extend(bytes.as_chunks().0.iter().flat_map(grid::iq3_s)),
        DType::TQ1_0 => out.extend(bytes.as_chunks().0.iter().flat_map(tq1_0)),
        DType::TQ2_0 => out.extend(bytes.as_chunks().0.iter().flat_map(tq2_0)),
        DType::NVFP4 => out.extend(bytes.as_chunks().0.iter().flat_map(nvfp4)),
        DType::Q1_0 => out.extend(bytes.as_chunks().0.iter().flat_map(q1_0)),
        DType::Q2_0 => out.extend(bytes.as_chunks().0.iter().flat_map(q2_0)),
        other => unreachable!("{other} is no type of `DType::is_quantized`"),
    }
}

/// `d | 32 x i8`
fn q8_0(b: &[u8; 34]) -> Block32 {
    symmetric(half(b, 0), std::array::from_fn(|i| b[2 + i] as i8))
}

/// `d | 16 nibble pairs`, weight `i` in `l` and weight `16 + i` in `h` of byte `i`
fn q4_0(b: &[u8; 18]) -> Block32 {
    symmetric(half(b, 0), std::array::from_fn(|i| nibble(&b[2..], i) as i8 - 8))
}

/// `d | m | 16 nibble pairs`
fn q4_1(b: &[u8; 20]) -> Block32 {
    above_minimum(half(b, 0), half(b, 2), std::array::from_fn(|i| nibble(&b[4..], i) as i8))
}

/// `d | 32 fifth bits | 16 nibble pairs`
fn q5_0(b: &[u8; 22]) -> Block32 {
    let q = |i| (nibble(&b[6..], i) | bit(&b[2..], i) << 4) as i8 - 16;
    symmetric(half(b, 0), std::array::from_fn(q))
}

/// `d | m | 32 fifth bits | 16 nibble pairs`
fn q5_1(b: &[u8; 24]) -> Block32 {
    let q = |i| (nibble(&b[8..], i) | bit(&b[4..], i) << 4) as i8;
    above_minimum(half(b, 0), half(b, 2), std::array::from_fn(q))
}

/// `d | 16 nibble pairs`, nibbles index a codebook
fn iq4_nl(b: &[u8; 18]) -> Block32 {
    symmetric(half(b, 0), std::array::from_fn(|i| IQ4_VALUES[usize::from(nibble(&b[2..], i))]))
}

/// `e | 16 nibble pairs`, a power of two and E2M1 numbers
fn mxfp4(b: &[u8; 17]) -> Block32 {
    // Half of 2^(e - 127), as the codebook is doubled; the two smallest are subnormal. 255, NaN in the OCP's
    // specification of E8M0, is 2^128 in ggml and here.
    let bits = match b[0] {
        e @ 0..2 => 0x0020_0000 << e,
        e => u32::from(e - 1) << 23,
    };
    let q = |i| E2M1_DOUBLED[usize::from(nibble(&b[1..], i))];
    symmetric(f32::from_bits(bits), std::array::from_fn(q))
}

/// `16 x (scale l, min h) | 64 x four 2-bit weights | d | dmin`
fn q2_k(b: &[u8; 84]) -> [Block32; 8] {
    let (scales, qs) = (&b[..16], &b[16..80]);
    std::array::from_fn(|k| Block32 {
        q: std::array::from_fn(|i| crumb(qs, k, i) as i8),
        scale: [2 * k, 2 * k + 1].map(|s| i32::from(scales[s] & 15)),
        min: [2 * k, 2 * k + 1].map(|s| scales[s] >> 4),
        d: half(b, 80),
        dmin: half(b, 82),
    })
}

/// `32 x eight third bits | 64 x four 2-bit weights | 16 6-bit scales | d`
fn q3_k(b: &[u8; 110]) -> [Block32; 8] {
    let (high, qs, scales) = (&b[..32], &b[32..96], &b[96..108]);
    // Low four bits of scales 0..8 and 8..16 in `l` and `h` of bytes 0..8, high two bits in bytes 8..12.
    let scale = |s: usize| {
        let low = if s < 8 { scales[s] & 15 } else { scales[s - 8] >> 4 };
        let high = scales[8 + s % 4] >> (2 * (s / 4)) & 3;
        i32::from(low | high << 4) - 32
    };
    std::array::from_fn(|k| Block32 {
        // A third bit that is set means "nothing to subtract".
        q: std::array::from_fn(|i| crumb(qs, k, i) as i8 - if high[i] >> k & 1 == 1 { 0 } else { 4 }),
        scale: [scale(2 * k), scale(2 * k + 1)],
        min: [0; 2],
        d: half(b, 108),
        dmin: 0.0,
    })
}

/// `d | dmin | 8 6-bit scales and mins | 128 nibble pairs`
fn q4_k(b: &[u8; 144]) -> [Block32; 8] {
    let qs = &b[16..144];
    std::array::from_fn(|k| {
        let (scale, min) = scale_and_min(&b[4..16], k);
        Block32 {
            q: std::array::from_fn(|i| nibble_of_pair(qs, k, i) as i8),
            scale: [i32::from(scale); 2],
            min: [min; 2],
            d: half(b, 0),
            dmin: half(b, 2),
        }
    })
}

/// `d | dmin | 8 6-bit scales and mins | 32 x eight fifth bits | 128 nibble pairs`
fn q5_k(b: &[u8; 176]) -> [Block32; 8] {
    let (high, qs) = (&b[16..48], &b[48..176]);
    std::array::from_fn(|k| {
        let (scale, min) = scale_and_min(&b[4..16], k);
        Block32 {
            q: std::array::from_fn(|i| (nibble_of_pair(qs, k, i) | (high[i] >> k & 1) << 4) as i8),
            scale: [i32::from(scale); 2],
            min: [min; 2],
            d: half(b, 0),
            dmin: half(b, 2),
        }
    })
}

/// `128 nibble pairs | 64 x four upper 2 bits | 16 x i8 scale | d`
fn q6_k(b: &[u8; 210]) -> [Block32; 8] {
    let (low, high, scales) = (&b[..128], &b[128..192], &b[192..208]);
    std::array::from_fn(|k| {
        // Pieces 4n..4n+4 share bytes 64n..64n+64: pieces 0 and 1 are the `l`, 2 and 3 the `h`.
        let start = 64 * (k / 4) + 32 * (k % 2);
        let shift = 4 * (k % 4 / 2);
        Block32 {
            q: std::array::from_fn(|i| (low[start + i] >> shift & 15 | crumb(high, k, i) << 4) as i8 - 32),
            scale: [2 * k, 2 * k + 1].map(|s| i32::from(scales[s] as i8)),
            min: [0; 2],
            d: half(b, 208),
            dmin: 0.0,
        }
    })
}

/// `d | 8 upper 2 bits of scales | 8 nibbles of scales | 8 x 16 nibble pairs`, nibbles index a codebook
fn iq4_xs(b: &[u8; 136]) -> [Block32; 8] {
    let high = u16::from_le_bytes([b[2], b[3]]);
    std::array::from_fn(|k| {
        let low = b[4 + k / 2] >> (4 * (k % 2)) & 15;
        let scale = i32::from(low) + i32::from(high >> (2 * k) & 3) * 16 - 32;
        let qs = &b[8 + 16 * k..];
        Block32 {
            q: std::array::from_fn(|i| IQ4_VALUES[usize::from(nibble(qs, i))]),
            scale: [scale; 2],
            min: [0; 2],
            d: half(b, 0),
            dmin: 0.0,
        }
    })
}

/// `48 x five ternary digits | 4 x four ternary digits | d`
fn tq1_0(b: &[u8; 54]) -> [Block32; 8] {
    // A byte is its digits as a fraction of 256, rounded up: digit `n` is the integer part of three times the fraction of the
    // byte times 3^n. Weights 0..160 are digits 0 to 4 of bytes 0..32, weights 160..240 those of bytes 32..48, and
    // weights 240..256 digits 0 to 3 of bytes 48..52.
    let mut q = [0; 256];
    let digits = |q: &mut [i8], bytes: &[u8]| {
        for (q, power) in q.chunks_exact_mut(bytes.len()).zip([1, 3, 9, 27, 81]) {
            for (q, byte) in q.iter_mut().zip(bytes) {
                *q = ((u16::from(byte.wrapping_mul(power)) * 3) >> 8) as i8 - 1;
            }
        }
    };
    digits(&mut q[..160], &b[..32]);
    digits(&mut q[160..240], &b[32..48]);
    digits(&mut q[240..], &b[48..52]);
    let q: &[[i8; 32]; 8] = q.as_chunks().0.try_into().expect("256 weights");
    q.map(|q| symmetric(half(b, 52), q))
}

/// `64 x four 2-bit weights | d`
fn tq2_0(b: &[u8; 66]) -> [Block32; 8] {
    std::array::from_fn(|k| symmetric(half(b, 64), std::array::from_fn(|i| crumb(b, k, i) as i8 - 1)))
}

/// `4 x UE4M3 scale | 4 x 8 nibble pairs`, nibbles are E2M1 numbers
fn nvfp4(b: &[u8; 36]) -> [Block32; 2] {
    // A scale in units of 2^-10, as the codebook is doubled. 127 is 0 in ggml and 255 a number, although both are NaN
    // in the OCP's specification of E4M3; bit 7 is not read otherwise.
    let scale = |s: usize| match (b[s], i32::from(b[s] >> 3 & 15), i32::from(b[s] & 7)) {
        (0x7f, ..) => 0,
        (_, 0, mantissa) => mantissa,
        (_, exponent, mantissa) => (8 + mantissa) << (exponent - 1),
    };
    let code = |s: usize, i: usize| b[4 + 8 * s + i % 8] >> (4 * (i / 8)) & 15;
    std::array::from_fn(|k| Block32 {
        q: std::array::from_fn(|i| E2M1_DOUBLED[usize::from(code(2 * k + i / 16, i % 16))]),
        scale: [scale(2 * k), scale(2 * k + 1)],
        min: [0; 2],
        d: 1.0 / 1024.0,
        dmin: 0.0,
    })
}

/// `d | 128 bits`, set for `d` and clear for `-d`
fn q1_0(b: &[u8; 18]) -> [Block32; 4] {
    std::array::from_fn(|k| {
        symmetric(half(b, 0), std::array::from_fn(|i| 2 * bit(&b[2..], 32 * k + i) as i8 - 1))
    })
}

/// `d | 16 x four 2-bit weights`
fn q2_0(b: &[u8; 18]) -> [Block32; 2] {
    let q = |i: usize| (b[2 + i / 4] >> (2 * (i % 4)) & 3) as i8 - 1;
    std::array::from_fn(|k| symmetric(half(b, 0), std::array::from_fn(|i| q(32 * k + i))))
}

/// `d*q`
fn symmetric(d: f32, q: [i8; 32]) -> Block32 {
    Block32 { q, scale: [1; 2], min: [0; 2], d, dmin: 0.0 }
}

/// `d*q + m`
fn above_minimum(d: f32, m: f32, q: [i8; 32]) -> Block32 {
    Block32 { q, scale: [1; 2], min: [1; 2], d, dmin: -m }
}

fn half(b: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([b[at], b[at + 1]]).to_f32()
}

/// Nibble `i` of 32 in 16 bytes, the low ones first.
fn nibble(qs: &[u8], i: usize) -> u8 {
    qs[i % 16] >> (4 * (i / 16)) & 15
}

/// Nibble `i` of piece `k`, where two pieces share 32 bytes.
fn nibble_of_pair(qs: &[u8], k: usize, i: usize) -> u8 {
    qs[32 * (k / 2) + i] >> (4 * (k % 2)) & 15
}

/// Two bits `i` of piece `k`, where four pieces share 32 bytes.
fn crumb(qs: &[u8], k: usize, i: usize) -> u8 {
    qs[32 * (k / 4) + i] >> (2 * (k % 4)) & 3
}

fn bit(bits: &[u8], i: usize) -> u8 {
    bits[i / 8] >> (i % 8) & 1
}

/// The `k`-th of eight 6-bit scales and minimums in 12 bytes (`get_scale_min_k4`).
fn scale_and_min(b: &[u8], k: usize) -> (u8, u8) {
    // bytes 0..4: scales 0..4, upper 2 bits of scales 4..8     bytes 8..12: low nibbles of
    // bytes 4..8: mins 0..4, upper 2 bits of mins 4..8                      scales (l) and mins (h) 4..8
    if k < 4 {
        (b[k] & 63, b[k + 4] & 63)
    } else {
        (b[k + 4] & 15 | b[k - 4] >> 6 << 4, b[k + 4] >> 4 | b[k] >> 6 << 4)
    }
}
