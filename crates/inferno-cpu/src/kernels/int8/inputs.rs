//! Inputs of integer products: rows in 8 bits by blocks of 32, in a layout that depends on how many rows a group has.

#![allow(clippy::inline_always, reason = "each level needs a copy with its instructions")]

use bytemuck::{Pod, Zeroable};

use crate::simd::{LANES, ROW_GROUP, Simd};

/// 32 inputs of one row in 8 bits: a cache line. The inputs of a group of rows are an array of lines whose layout depends
/// on the number of rows, see [`lines_per_block`]. The inputs of one row of 8,192 fill half of a nearest cache of 32 KiB,
/// and stay there while weights pass through; as [`InputBlock`]s they would fill it four times.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct InputLine {
    /// [4 at a time][4]
    q: [[i8; 4]; 8],
    /// As in [`InputBlock`], of this row.
    d: f32,
    start: [i32; 3],
    sum: [f32; 3],
    padding: [u8; 4],
}

/// 32 inputs of a group of rows in 8 bits, as groups of more than [`FEW_ROWS`] have them.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(in crate::kernels) struct InputBlock {
    /// [row][4 at a time][4]
    pub(in crate::kernels) q: [[[i8; 4]; 8]; ROW_GROUP],
    /// The value of one unit; NaN in all blocks of a row with a number that is not finite.
    pub(in crate::kernels) d: [f32; ROW_GROUP],
    /// Beginnings of sums of products with biased weights, see [`Simd::start`]: of the first 16, the others, and all.
    pub(in crate::kernels) start: [[i32; ROW_GROUP]; 3],
    /// d × Σ q of the same.
    pub(in crate::kernels) sum: [[f32; ROW_GROUP]; 3],
    padding: [u8; 32],
}

/// Rows up to which a block of inputs is a line for each.
pub(crate) const FEW_ROWS: usize = 4;

/// Lines of a block of inputs of any number of rows, at most.
pub(crate) const MOST_LINES: usize = size_of::<InputBlock>() / size_of::<InputLine>();

/// Lines that hold 32 inputs of a group of `n_rows`: the row's, those of [`FEW_ROWS`], or an [`InputBlock`].
pub(crate) fn lines_per_block(n_rows: usize) -> usize {
    match n_rows {
        ..=1 => 1,
        2..=FEW_ROWS => FEW_ROWS,
        _ => MOST_LINES,
    }
}

/// 32 inputs of several rows.
pub(super) trait Inputs: Pod {
    fn q(&self, row: usize) -> &[[i8; 4]; 8];
    fn d(&self, row: usize) -> f32;
    fn start(&self, part: usize, row: usize) -> i32;
    fn sum(&self, part: usize, row: usize) -> f32;
    /// Sets everything of a row; parts as in [`InputBlock`].
    fn set(&mut self, row: usize, q: [[i8; 4]; 8], d: f32, start: [i32; 3], sum: [f32; 3]);
}

impl Inputs for InputBlock {
    #[inline(always)]
    fn q(&self, row: usize) -> &[[i8; 4]; 8] {
        &self.q[row]
    }
    #[inline(always)]
    fn d(&self, row: usize) -> f32 {
        self.d[row]
    }
    #[inline(always)]
    fn start(&self, part: usize, row: usize) -> i32 {
        self.start[part][row]
    }
    #[inline(always)]
    fn sum(&self, part: usize, row: usize) -> f32 {
        self.sum[part][row]
    }
    #[inline(always)]
    fn set(&mut self, row: usize, q: [[i8; 4]; 8], d: f32, start: [i32; 3], sum: [f32; 3]) {
        (self.q[row], self.d[row]) = (q, d);
        (0..3).for_each(|part| (self.start[part][row], self.sum[part][row]) = (start[part], sum[part]));
    }
}

impl<const N: usize> Inputs for [InputLine; N]
where
    [InputLine; N]: Pod,
{
    #[inline(always)]
    fn q(&self, row: usize) -> &[[i8; 4]; 8] {
        &self[row].q
    }
    #[inline(always)]
    fn d(&self, row: usize) -> f32 {
        self[row].d
    }
    #[inline(always)]
    fn start(&self, part: usize, row: usize) -> i32 {
        self[row].start[part]
    }
    #[inline(always)]
    fn sum(&self, part: usize, row: usize) -> f32 {
        self[row].sum[part]
    }
    #[inline(always)]
    fn set(&mut self, row: usize, q: [[i8; 4]; 8], d: f32, start: [i32; 3], sum: [f32; 3]) {
        self[row] = InputLine { q, d, start, sum, padding: [0; 4] };
    }
}

/// Quantizes rows to lines in the layout of their number, see [`lines_per_block`].
#[inline(always)]
pub(in crate::kernels) fn quantize<S: Simd>(s: S, out: &mut [InputLine], rows: &[&[f32]]) {
    match rows.len() {
        ..=1 => quantize_rows::<S, [InputLine; 1], 1>(s, bytemuck::cast_slice_mut(out), rows),
        2..=FEW_ROWS => {
            quantize_rows::<S, [InputLine; FEW_ROWS], FEW_ROWS>(s, bytemuck::cast_slice_mut(out), rows)
        }
        _ => quantize_rows::<S, InputBlock, ROW_GROUP>(s, bytemuck::cast_slice_mut(out), rows),
    }
}

#[inline(always)]
fn quantize_rows<S: Simd, X: Inputs, const N: usize>(s: S, out: &mut [X], rows: &[&[f32]]) {
    for row in 0..N {
        let Some(x) = rows.get(row) else {
            for out in &mut *out {
                out.set(row, [[0; 4]; 8], 0.0, [0; 3], [0.0; 3]);
            }
            continue;
        };
        let blocks = x.as_chunks::<LANES>().0.as_chunks::<2>().0;
        // 0 × x is a zero unless x is infinite or no number.
        let mut zeros = s.zero();
        for halves in blocks {
            zeros = s.fma(s.load(&halves[0]), s.zero(), s.fma(s.load(&halves[1]), s.zero(), zeros));
        }
        let finite = s.to_array(zeros).iter().all(|zero| *zero == 0.0);
        for (halves, out) in blocks.iter().zip(&mut *out) {
            let halves = [s.load(&halves[0]), s.load(&halves[1])];
            let amax = s.max_lane(s.max(s.abs(halves[0]), s.abs(halves[1])));
            let inverse = 127.0 / amax;
            let zero = !inverse.is_finite();
            let d = match (finite, zero) {
                (false, _) => f32::NAN,
                (true, true) => 0.0,
                (true, false) => amax / 127.0,
            };
            let inverse = s.splat(if zero || !finite { 0.0 } else { inverse });
            let (mut fours, mut sums) = ([[0; 4]; 8], [0; 3]);
            for (half, x) in halves.into_iter().enumerate() {
                // A row that is not finite is all zeros, whatever its numbers times zero are.
                let q = if finite { s.to_i32(s.round(s.mul(x, inverse))) } else { s.splat_i32(0) };
                let mut bytes = [0; LANES];
                s.store_i8(&mut bytes, q);
                fours[4 * half..4 * half + 4].copy_from_slice(bytes.as_chunks().0);
                sums[half] = s.sum_lanes(q);
            }
            sums[2] = sums[0] + sums[1];
            let start =
                [s.start(&fours[..4], sums[0]), s.start(&fours[4..], sums[1]), s.start(&fours, sums[2])];
            out.set(row, fours, d, start, [d * sums[0] as f32, d * sums[1] as f32, d * sums[2] as f32]);
        }
    }
}
