//! Blocks of the types with codebooks of groups: IQ1, IQ2 and IQ3.
//!
//! An index stands for eight or four weights at once. In IQ2 and IQ3 these are magnitudes, and a bit for every weight says
//! which are negative.

use super::codebooks;
use super::half;
use crate::quant::Block32;

/// Eight times -1, 0 or 1.
static IQ1: [[i8; 8]; 2048] = entries(&codebooks::IQ1, &[-8, 0, 8, 0]);
static IQ2_XXS: [[i8; 8]; 256] = entries(&codebooks::IQ2_XXS, &codebooks::IQ2_MAGNITUDES);
static IQ2_XS: [[i8; 8]; 512] = entries(&codebooks::IQ2_XS, &codebooks::IQ2_MAGNITUDES);
static IQ2_S: [[i8; 8]; 1024] = entries(&codebooks::IQ2_S, &codebooks::IQ2_MAGNITUDES);
static IQ3_XXS: [[i8; 4]; 256] = entries(&codebooks::IQ3_XXS, &codebooks::IQ3_XXS_MAGNITUDES);
static IQ3_S: [[i8; 4]; 512] = entries(&codebooks::IQ3_S, &[1, 3, 5, 7, 9, 11, 13, 15]);
/// -1 for every bit that is set.
static SIGNS: [[i8; 8]; 256] = signs();

/// The weights of a codebook's groups, by the values of its `CODES` codes.
const fn entries<const N: usize, const LEN: usize, const CODES: usize>(
    codes: &[u16; N],
    values: &[i8; CODES],
) -> [[i8; LEN]; N] {
    let mut entries = [[0; LEN]; N];
    let bits = CODES.ilog2() as usize;
    let mut i = 0;
    while i < N * LEN {
        entries[i / LEN][i % LEN] = values[codes[i / LEN] as usize >> (bits * (i % LEN)) & (CODES - 1)];
        i += 1;
    }
    entries
}

const fn signs() -> [[i8; 8]; 256] {
    let mut signs = [[0; 8]; 256];
    let mut i = 0;
    while i < 8 * 256 {
        signs[i / 8][i % 8] = -(((i / 8) >> (i % 8) & 1) as i8);
        i += 1;
    }
    signs
}

/// `d | 32 low bytes of indices | 8 x 16 bits: four high 3 bits of indices, 3 bits of scale, sign of delta`
pub(super) fn iq1_s(b: &[u8; 50]) -> [Block32; 8] {
    std::array::from_fn(|k| {
        let high = short(&b[34..], k);
        let index = |l: usize| usize::from(b[2 + 4 * k + l]) | usize::from(high >> (3 * l) & 7) << 8;
        let scale = i32::from(high >> 12 & 7);
        piece(half(b, 0) / 8.0, [scale; 2], |l| off_center(index(l), high >> 15 == 1))
    })
}

/// `32 low bytes of indices | 32 nibbles: high 3 bits of index, sign of delta | 4 x 16 bits: four 3-bit scales, a nibble of d`
pub(super) fn iq1_m(b: &[u8; 56]) -> [Block32; 8] {
    let scales: [u16; 4] = std::array::from_fn(|i| short(&b[48..], i));
    let d = scales.iter().rev().fold(0, |d, s| d << 4 | s >> 12);
    let d = half(&d.to_le_bytes(), 0) / 8.0;
    std::array::from_fn(|k| {
        let scale = |run: usize| i32::from(scales[k / 2] >> (6 * (k % 2) + 3 * run) & 7);
        piece(d, [scale(0), scale(1)], |l| {
            let high = b[32 + 2 * k + l / 2] >> (4 * (l % 2)) & 15;
            off_center(usize::from(b[4 * k + l]) | usize::from(high & 7) << 8, high >> 3 == 1)
        })
    })
}

/// `d | 8 x (four bytes of indices, four 7 bits of signs, 4 bits of scale)`
pub(super) fn iq2_xxs(b: &[u8; 66]) -> [Block32; 8] {
    std::array::from_fn(|k| {
        let (indices, rest) = (&b[2 + 8 * k..], word(&b[6 + 8 * k..]));
        piece(half(b, 0) / 8.0, [(rest >> 28) as i32; 2], |l| {
            signed(IQ2_XXS[usize::from(indices[l])], with_parity(rest >> (7 * l)))
        })
    })
}

/// `d | 32 x 16 bits: 9 bits of index, 7 bits of signs | 16 nibbles of scales`
pub(super) fn iq2_xs(b: &[u8; 74]) -> [Block32; 8] {
    std::array::from_fn(|k| {
        piece(half(b, 0) / 8.0, nibbles(b[66 + k]), |l| {
            let group = short(&b[2..], 4 * k + l);
            signed(IQ2_XS[usize::from(group & 511)], with_parity(u32::from(group >> 9)))
        })
    })
}

/// `d | 32 low bytes of indices | 32 x 8 signs | 32 x high 2 bits of index | 16 nibbles of scales`
pub(super) fn iq2_s(b: &[u8; 82]) -> [Block32; 8] {
    std::array::from_fn(|k| {
        let index = |l: usize| usize::from(b[2 + 4 * k + l]) | usize::from(b[66 + k] >> (2 * l) & 3) << 8;
        let signs = &b[34 + 4 * k..];
        piece(half(b, 0) / 8.0, nibbles(b[74 + k]), |l| signed(IQ2_S[index(l)], signs[l]))
    })
}

/// `d | 64 bytes of indices | 8 x (four 7 bits of signs, 4 bits of scale)`
pub(super) fn iq3_xxs(b: &[u8; 98]) -> [Block32; 8] {
    std::array::from_fn(|k| {
        let (indices, rest) = (&b[2 + 8 * k..], word(&b[66 + 4 * k..]));
        let four = |i: usize| IQ3_XXS[usize::from(indices[i])];
        piece(half(b, 0) / 4.0, [(rest >> 28) as i32; 2], |l| {
            signed(joined(four(2 * l), four(2 * l + 1)), with_parity(rest >> (7 * l)))
        })
    })
}

/// `d | 64 low bytes of indices | 64 ninth bits of indices | 32 x 8 signs | 8 nibbles of scales`
pub(super) fn iq3_s(b: &[u8; 110]) -> [Block32; 8] {
    std::array::from_fn(|k| {
        let four = |i: usize| IQ3_S[usize::from(b[2 + 8 * k + i]) | usize::from(b[66 + k] >> i & 1) << 8];
        let signs = &b[74 + 4 * k..];
        piece(half(b, 0), [nibbles(b[106 + k / 2])[k % 2]; 2], |l| {
            signed(joined(four(2 * l), four(2 * l + 1)), signs[l])
        })
    })
}

/// Four groups of eight, with scales that are stored as `s` and mean `2*s + 1`.
fn piece(d: f32, scale: [i32; 2], group: impl Fn(usize) -> [i8; 8]) -> Block32 {
    let mut q = [0; 32];
    for (l, q) in q.as_chunks_mut().0.iter_mut().enumerate() {
        *q = group(l);
    }
    Block32 { q, scale: scale.map(|s| 2 * s + 1), min: [0; 2], d, dmin: 0.0 }
}

/// Eight times a group of IQ1, whose weights are -1, 0 and 1 and an eighth less or more.
fn off_center(index: usize, is_less: bool) -> [i8; 8] {
    let delta = if is_less { -1 } else { 1 };
    IQ1[index].map(|q| q + delta)
}

fn signed(magnitudes: [i8; 8], signs: u8) -> [i8; 8] {
    let signs = &SIGNS[usize::from(signs)];
    std::array::from_fn(|i| (magnitudes[i] ^ signs[i]) - signs[i])
}

fn joined(low: [i8; 4], high: [i8; 4]) -> [i8; 8] {
    std::array::from_fn(|i| if i < 4 { low[i] } else { high[i - 4] })
}

/// Eight signs of which the last is not stored: an even number of them is set (`ksigns_iq2xs`).
fn with_parity(signs: u32) -> u8 {
    let signs = (signs & 127) as u8;
    signs | (signs.count_ones() as u8 & 1) << 7
}

fn nibbles(byte: u8) -> [i32; 2] {
    [i32::from(byte & 15), i32::from(byte >> 4)]
}

/// The `i`-th of 16-bit numbers.
fn short(b: &[u8], i: usize) -> u16 {
    u16::from_le_bytes([b[2 * i], b[2 * i + 1]])
}

fn word(b: &[u8]) -> u32 {
    u32::from_le_bytes([b[0], b[1], b[2], b[3]])
}
