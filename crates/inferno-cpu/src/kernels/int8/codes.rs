//! Codes ([`Layout::Codes`]) to the weights that products take.

#![allow(clippy::inline_always, reason = "each level needs a copy with its instructions")]

use super::{store_bytes, store_words};
use crate::packed::{
    Codes, E4M3_FACTOR, Layout, NibblesMin, PANEL, Panel, Scales, ScalesMin, planes, stored_from,
};
use crate::simd::Simd;

/// Tables that shuffles look nibbles up in.
pub(super) struct Tables {
    /// Place k of the lower bits of codes in a nibble: their part of the code, or the weight if there are no upper bits.
    low: [[u8; 16]; 4],
    /// Bit k of a nibble as the upper bit of a code; if codes are of neighbours, the first weight is added.
    high: [[u8; 16]; 4],
    /// Weights by their code, if codes are of no neighbours.
    weights: [u8; 16],
}

impl Tables {
    /// Of codes of `BITS` bits; `bias` is added to weights.
    #[inline(always)]
    fn of<const BITS: usize>(values: &[i8], bias: u8) -> Tables {
        let mut tables = if are_neighbours(values) {
            Tables::of_neighbours::<BITS>(values[0], bias)
        } else {
            Tables::of_neighbours::<BITS>(0, 0)
        };
        for (weight, value) in tables.weights.iter_mut().zip(values) {
            *weight = (*value as u8).wrapping_add(bias);
        }
        let [low, high] = const { planes(BITS) };
        if high == 0 {
            for (k, table) in tables.low[..4 / low].iter_mut().enumerate() {
                for (nibble, entry) in table.iter_mut().enumerate() {
                    *entry = tables.weights[nibble >> (low * k) & ((1 << low) - 1)];
                }
            }
        }
        tables
    }

    /// Of codes of neighbours from `first` on, which has zeros in the lower bits of codes where there are upper ones.
    pub(super) const fn of_neighbours<const BITS: usize>(first: i8, bias: u8) -> Tables {
        let [low, high] = planes(BITS);
        let offset = (first as u8).wrapping_add(bias);
        let mut tables = Tables { low: [[0; 16]; 4], high: [[0; 16]; 4], weights: [0; 16] };
        let mut i = 0;
        while i < 4 * 16 {
            let (k, nibble) = (i / 16, i % 16);
            if k < 4 / low {
                let part = (nibble >> (low * k) & ((1 << low) - 1)) as u8;
                tables.low[k][nibble] = if high == 0 { part.wrapping_add(offset) } else { part };
            }
            tables.high[k][nibble] = (((nibble >> k & 1) << low) as u8).wrapping_add(offset);
            i += 1;
        }
        tables
    }
}

/// Is every integer the one before and one?
#[inline(always)]
fn are_neighbours(values: &[i8]) -> bool {
    usize::from(values[values.len() - 1].abs_diff(values[0])) == values.len() - 1
}

/// A panel of codes in `layout`.
#[inline(always)]
pub(super) fn widen<S: Simd>(
    s: S,
    layout: Layout,
    (quants, scales): (&mut [u8], &mut [[f32; PANEL]]),
    codes: Codes,
    panel: Panel<'_>,
) {
    widen_scales(s, scales, codes.scales, panel.scales);
    let panel = panel.quants;
    match (codes.bits(), are_neighbours(codes.values)) {
        (1, _) => widen_weights::<S, 1, false>(s, layout, quants, codes, panel),
        (2, _) => widen_weights::<S, 2, false>(s, layout, quants, codes, panel),
        (3, true) => widen_weights::<S, 3, false>(s, layout, quants, codes, panel),
        (3, false) => widen_weights::<S, 3, true>(s, layout, quants, codes, panel),
        (4, _) => widen_weights::<S, 4, false>(s, layout, quants, codes, panel),
        (5, true) => widen_weights::<S, 5, false>(s, layout, quants, codes, panel),
        other => unreachable!("no type has {other:?}"),
    }
}

#[inline(always)]
fn widen_weights<S: Simd, const BITS: usize, const MAPPED: bool>(
    s: S,
    layout: Layout,
    out: &mut [u8],
    codes: Codes,
    quants: &[u8],
) {
    let bias = match layout {
        Layout::Wide { bits, min, .. } if bits < 8 => stored_from(bits, min).unsigned_abs(),
        _ => S::BIAS,
    };
    let tables = Tables::of::<BITS>(codes.values, bias);
    let blocks: &[[[u8; 64]; BITS]] = bytemuck::cast_slice(quants);
    if S::BY_PAIRS && layout == Layout::Words {
        for (out, block) in bytemuck::cast_slice_mut(out).iter_mut().zip(blocks) {
            store_words(s, out, weights::<S, BITS, MAPPED>(s, block, &tables));
        }
    } else {
        for (out, block) in bytemuck::cast_slice_mut(out).iter_mut().zip(blocks) {
            store_bytes(s, out, weights::<S, BITS, MAPPED>(s, block, &tables));
        }
    }
}

/// A block's weights.
#[inline(always)]
fn weights<S: Simd, const BITS: usize, const MAPPED: bool>(
    s: S,
    block: &[[u8; 64]; BITS],
    tables: &Tables,
) -> [S::B; 8] {
    let mut weights = [s.load_bytes(&block[0]); 8];
    for (i, weights) in weights.iter_mut().enumerate() {
        *weights = row::<S, BITS, MAPPED>(s, block, tables, i);
    }
    weights
}

/// Row `i` of a block's weights. `MAPPED`: codes are of no neighbours, and not all of their bits lie in one plane.
#[inline(always)]
pub(super) fn row<S: Simd, const BITS: usize, const MAPPED: bool>(
    s: S,
    block: &[[u8; 64]; BITS],
    tables: &Tables,
    i: usize,
) -> S::B {
    let [low, high] = const { planes(BITS) };
    let (nibbles, k) = part(s, block, low, i);
    // Whole nibbles are the lower bits as they are.
    let lower = if low == 4 && high > 0 { nibbles } else { s.look_up(&tables.low[k], nibbles) };
    if high == 0 {
        return lower;
    }
    let (nibbles, k) = part(s, &block[low..], high, i);
    let code = s.or(lower, s.look_up(&tables.high[k], nibbles));
    if MAPPED { s.look_up(&tables.weights, code) } else { code }
}

/// Nibbles that have row `i` of a plane of `bits` bits, and its place in them.
#[inline(always)]
fn part<S: Simd>(s: S, plane: &[[u8; 64]], bits: usize, i: usize) -> (S::B, usize) {
    let (row, shift) = (s.load_bytes(&plane[i * bits / 8]), i * bits % 8);
    (if shift < 4 { s.low_nibbles(row) } else { s.high_nibbles(row) }, shift % 4 / bits)
}

/// Scales and minimums of the runs of every block, in f32.
#[inline(always)]
fn widen_scales<S: Simd>(s: S, out: &mut [[f32; PANEL]], kind: Scales, scales: &[u8]) {
    match kind {
        Scales::Half(len) => {
            let scales: &[[u16; PANEL]] = bytemuck::cast_slice(scales);
            for (d, out) in scales.iter().zip(out.chunks_exact_mut(len / 32)) {
                let d = s.load_f16(d);
                for out in out {
                    s.store(out, d);
                }
            }
        }
        Scales::HalfMin => {
            let scales: &[[u16; PANEL]] = bytemuck::cast_slice(scales);
            for (d, out) in scales.iter().zip(out) {
                s.store(out, s.load_f16(d));
            }
        }
        Scales::Bytes { run16, divisor } => {
            let n_runs = 8 * (1 + usize::from(run16));
            let factor = s.splat(1.0 / f32::from(divisor));
            let units = scales.chunks_exact(kind.unit().1);
            for (unit, out) in units.zip(out.chunks_exact_mut(n_runs)) {
                let (bytes, d) = unit.split_at(n_runs * PANEL);
                let d = s.mul(factor, s.load_f16(bytemuck::from_bytes(d)));
                let bytes: &[[i8; PANEL]] = bytemuck::cast_slice(bytes);
                for (scale, out) in bytes.iter().zip(out) {
                    s.store(out, s.mul(d, s.load_i8(scale)));
                }
            }
        }
        Scales::BytesMin => {
            let units: &[ScalesMin] = bytemuck::cast_slice(scales);
            for (unit, out) in units.iter().zip(out.as_chunks_mut::<16>().0) {
                let (d, dmin) = (s.load_f16(&unit.d), s.load_f16(&unit.dmin));
                for (b, out) in out.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                    s.store(&mut out[0], s.mul(d, s.load_u8(&unit.scale[b])));
                    s.store(&mut out[1], s.mul(dmin, s.load_u8(&unit.min[b])));
                }
            }
        }
        Scales::NibblesMin => {
            let units: &[NibblesMin] = bytemuck::cast_slice(scales);
            for (unit, out) in units.iter().zip(out.as_chunks_mut::<32>().0) {
                let (d, dmin) = (s.load_f16(&unit.d), s.load_f16(&unit.dmin));
                for (b, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                    for run in 0..2 {
                        let [scale, min] = nibbles(s, &unit.both[2 * b + run]);
                        s.store(&mut out[run], s.mul(d, scale));
                        s.store(&mut out[2 + run], s.mul(dmin, min));
                    }
                }
            }
        }
        Scales::E4m3 => {
            let scales: &[[u8; PANEL]] = bytemuck::cast_slice(scales);
            for (scale, out) in scales.iter().zip(out) {
                let mut halves = [0; PANEL];
                for (half, bits) in halves.iter_mut().zip(scale) {
                    *half = u16::from(*bits) << 7;
                }
                s.store(out, s.mul(s.splat(E4M3_FACTOR), s.load_f16(&halves)));
            }
        }
    }
}

/// The low and the high halves of bytes.
#[inline(always)]
pub(super) fn nibbles<S: Simd>(s: S, x: &[u8; PANEL]) -> [S::F; 2] {
    let x = s.load_u8(x);
    // A sixteenth is the high half and a fraction of less than one: less a little under a half, that is rounded down. A zero
    // is added to what rounds to -0.
    let high = s.add(s.round(s.fma(x, s.splat(1.0 / 16.0), s.splat(-15.0 / 32.0))), s.zero());
    [s.fnma(high, s.splat(16.0), x), high]
}
