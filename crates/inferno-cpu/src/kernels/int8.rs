//! Products with quantized weights: inputs in 8 bits by blocks of 32, exact integer sums inside a run of weights that
//! share a scale, then one FMA a run (and one for its minimum) in the order of `reference::dot_blocks`.

#![allow(clippy::inline_always, reason = "each level needs a copy with its instructions")]

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use half::f16;

use crate::kernels::formats::{Format, QUARTERS, with_format};
use crate::kernels::{OutTile, PANELS};
use crate::packed::{Bytes, Layout, PANEL, Panel};
use crate::simd::{LANES, ROW_GROUP, Simd};

/// 32 inputs of one row in 8 bits: a cache line. The inputs of a group of rows are an array of lines whose order depends
/// on the number of rows, see [`lines_per_block`]: all that few rows need of a block lies together, so that it stays in the
/// nearest cache while weights pass through.
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
pub(crate) struct InputBlock {
    /// [row][4 at a time][4]
    pub(super) q: [[[i8; 4]; 8]; ROW_GROUP],
    /// The value of one unit; NaN in all blocks of a row with a number that is not finite.
    pub(super) d: [f32; ROW_GROUP],
    /// What a sum of products with biased weights starts at: -bias × Σ q, of the first 16, the others, and all.
    start: [[i32; ROW_GROUP]; 3],
    /// d × Σ q of the same.
    pub(super) sum: [[f32; ROW_GROUP]; 3],
    padding: [u8; 32],
}

/// Rows up to which a block of inputs is a line for each.
const FEW_ROWS: usize = 4;

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
trait Inputs: Pod {
    fn q(&self, row: usize) -> &[[i8; 4]; 8];
    fn d(&self, row: usize) -> f32;
    fn start(&self, part: usize, row: usize) -> i32;
    fn sum(&self, part: usize, row: usize) -> f32;
    /// Sets all of a row. `sums` are Σ q of the parts.
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

/// The rows of a group, as many at a time as fit the registers. Types that no kernel is tuned for have three copies of
/// it and not four, which is time to compile.
#[inline(always)]
fn group<S: Simd, W: Format<S>>(s: S, out: &mut OutTile, panel: Panel<'_>, x: &[InputLine], n_rows: usize) {
    match n_rows {
        ..=1 => {
            let x: &[[InputLine; 1]] = bytemuck::cast_slice(x);
            if S::BY_QUARTERS {
                streamed_rows::<S, W, _, 1>(s, out, panel, x)
            } else {
                rows::<S, W, _, 1>(s, out, panel, x, 0)
            }
        }
        2..=FEW_ROWS => {
            let x: &[[InputLine; FEW_ROWS]] = bytemuck::cast_slice(x);
            match (n_rows, S::INT8_ROWS) {
                (2, 2..) if W::TUNED && S::BY_QUARTERS => streamed_rows::<S, W, _, 2>(s, out, panel, x),
                (2, 2..) if W::TUNED => rows::<S, W, _, 2>(s, out, panel, x, 0),
                (_, 4..) => rows::<S, W, _, FEW_ROWS>(s, out, panel, x, 0),
                _ => by_rows::<S, W, _>(s, out, panel, x, n_rows),
            }
        }
        _ => by_rows::<S, W, InputBlock>(s, out, panel, bytemuck::cast_slice(x), n_rows),
    }
}

#[inline(always)]
fn by_rows<S: Simd, W: Format<S>, X: Inputs>(
    s: S,
    out: &mut OutTile,
    panel: Panel<'_>,
    x: &[X],
    n_rows: usize,
) {
    for first in (0..n_rows).step_by(S::INT8_ROWS) {
        match S::INT8_ROWS {
            1 => rows::<S, W, X, 1>(s, out, panel, x, first),
            2 => rows::<S, W, X, 2>(s, out, panel, x, first),
            4 => rows::<S, W, X, 4>(s, out, panel, x, first),
            _ => rows::<S, W, X, 8>(s, out, panel, x, first),
        }
    }
}

/// out += a group of rows × up to [`PANELS`] panels of one matrix.
#[inline(always)]
pub(super) fn products_int8<S: Simd>(
    s: S,
    out: &mut [OutTile; PANELS],
    panels: &[Panel<'_>],
    x: &[InputLine],
    n_rows: usize,
) {
    with_format!(panels[0].layout, panels_of(s, out, panels, x, n_rows));
}

#[inline(always)]
fn panels_of<S: Simd, W: Format<S>>(
    s: S,
    out: &mut [OutTile; PANELS],
    panels: &[Panel<'_>],
    x: &[InputLine],
    n_rows: usize,
) {
    // Many rows meet bytes only: what is smaller was unpacked for them.
    if S::INT8_ROWS >= 8 && n_rows > FEW_ROWS && panels.len() == PANELS && W::BYTES {
        let x: &[InputBlock] = bytemuck::cast_slice(x);
        for first in [0, 4] {
            panel_rows::<S, W, 4, PANELS>(s, out, panels, x, first);
        }
    } else {
        for (out, panel) in out.iter_mut().zip(panels) {
            group::<S, W>(s, out, *panel, x, n_rows);
        }
    }
}

/// Rows `first..first + M` of a group × N panels: an input is broadcast once for all, and there are enough sums to
/// hide the latency of a product (5 cycles, two a cycle, so 10 sums).
#[inline(always)]
fn panel_rows<S: Simd, W: Format<S>, const M: usize, const N: usize>(
    s: S,
    out: &mut [OutTile; PANELS],
    panels: &[Panel<'_>],
    x: &[InputBlock],
    first: usize,
) {
    let mut quants: [&[W::Quants]; N] = [&[]; N];
    let mut scales: [&[W::Scales]; N] = [&[]; N];
    for ((quants, scales), panel) in quants.iter_mut().zip(&mut scales).zip(panels) {
        (*quants, *scales) = (bytemuck::cast_slice(panel.quants), bytemuck::cast_slice(panel.scales));
    }
    let n_units = x.len() / W::BLOCKS;
    let (quants, scales) = (quants.map(|q| &q[..n_units]), scales.map(|s| &s[..n_units]));
    let mut acc = [[s.zero(); N]; M];
    for r in 0..M {
        for i in 0..N {
            acc[r][i] = s.load(&out[i][first + r]);
        }
    }
    for u in 0..n_units {
        for b in 0..W::BLOCKS {
            let x = &x[u * W::BLOCKS + b];
            let mut w = [W::block(s, &quants[0][u], &scales[0][u], W::unit(s, &scales[0][u]), b); N];
            for (i, w) in w.iter_mut().enumerate().skip(1) {
                *w = W::block(s, &quants[i][u], &scales[i][u], W::unit(s, &scales[i][u]), b);
            }
            for run in 0..1 + usize::from(W::RUN16) {
                let part = if W::RUN16 { run } else { 2 };
                let mut dots = [[s.splat_i32(0); N]; M];
                if S::BIAS != 0 {
                    for (dots, &start) in dots.iter_mut().zip(&x.start[part][first..first + M]) {
                        *dots = [s.splat_i32(start); N];
                    }
                }
                let inputs = if W::RUN16 { 4 * run..4 * run + 4 } else { 0..8 };
                for k in inputs {
                    for (dots, q) in dots.iter_mut().zip(&x.q[first..first + M]) {
                        for (dot, w) in dots.iter_mut().zip(&w) {
                            *dot = s.dot4(*dot, w.weights[k], q[k]);
                        }
                    }
                }
                for (r, (acc, dots)) in acc.iter_mut().zip(dots).enumerate() {
                    let d = s.splat(x.d[first + r]);
                    for ((acc, dot), w) in acc.iter_mut().zip(dots).zip(&w) {
                        *acc = s.fma(s.to_f32(dot), s.mul(w.scale[run], d), *acc);
                        if W::MIN {
                            *acc = s.fnma(s.splat(x.sum[part][first + r]), w.min[run], *acc);
                        }
                    }
                }
            }
        }
    }
    for r in 0..M {
        for i in 0..N {
            s.store(&mut out[i][first + r], acc[r][i]);
        }
    }
}

/// Bytes of quants that are asked for before they are needed: the hardware looks ahead too, but stops where a page of
/// 4 KiB ends. Panels lie end to end, so what is asked for past a panel's end is the next one's.
const BYTES_AHEAD: usize = 6144;

/// The same in units of scales.
const SCALES_AHEAD: usize = 4;

/// Asks for the cache lines of bytes `range` of what lies `distance` bytes behind the start of `x`.
#[inline(always)]
fn ahead<S: Simd, T>(s: S, x: &T, distance: usize, range: Range<usize>) {
    let at = std::ptr::from_ref(x).cast::<u8>().wrapping_add(distance);
    let mut byte = range.start;
    while byte < range.end {
        s.prefetch(at.wrapping_add(byte));
        byte += 64;
    }
}

/// The first M rows of a group, so few that weights come from memory more slowly than they are used up. Loads,
/// prefetches and products take turns: processors that get several loads and prefetches in one go have fewer under way.
#[inline(always)]
fn streamed_rows<S: Simd, W: Format<S>, X: Inputs, const M: usize>(
    s: S,
    out: &mut OutTile,
    panel: Panel<'_>,
    x: &[X],
) {
    let quants: &[W::Quants] = bytemuck::cast_slice(panel.quants);
    let scales: &[W::Scales] = bytemuck::cast_slice(panel.scales);
    let mut acc = [s.zero(); M];
    for (acc, out) in acc.iter_mut().zip(&out[..M]) {
        *acc = s.load(out);
    }
    let quarter_bytes = size_of::<W::Quants>() / (W::BLOCKS * QUARTERS);
    let n_runs = 1 + usize::from(W::RUN16);
    for ((quants, scales), x) in quants.iter().zip(scales).zip(x.chunks_exact(W::BLOCKS)) {
        let unit = W::unit(s, scales);
        ahead(s, scales, SCALES_AHEAD * size_of::<W::Scales>(), 0..size_of::<W::Scales>());
        for (b, x) in x.iter().enumerate() {
            let mut dots = [[s.splat_i32(0); M]; 2];
            if S::BIAS != 0 && W::BIAS_SHIFT < 8 {
                for (run, dots) in dots.iter_mut().enumerate().take(n_runs) {
                    for (r, dot) in dots.iter_mut().enumerate() {
                        // Starts are -128 × a sum.
                        *dot = s.splat_i32(x.start(if W::RUN16 { run } else { 2 }, r) >> W::BIAS_SHIFT);
                    }
                }
            }
            for i in 0..QUARTERS {
                let from = (b * QUARTERS + i) * quarter_bytes;
                ahead(
                    s,
                    quants,
                    BYTES_AHEAD,
                    from.next_multiple_of(64)..(from + quarter_bytes).next_multiple_of(64),
                );
                let (weights, places) = (W::quarter(s, quants, b, i, W::BIAS_SHIFT), W::places(i));
                let run = i / 2 * usize::from(W::RUN16);
                for (r, dot) in dots[run].iter_mut().enumerate() {
                    let q = x.q(r);
                    *dot = s.dot4(s.dot4(*dot, weights[0], q[places[0]]), weights[1], q[places[1]]);
                }
            }
            let [scale, min] = W::scales(s, scales, unit, b);
            for (r, acc) in acc.iter_mut().enumerate() {
                let d = s.splat(x.d(r));
                for run in 0..n_runs {
                    *acc = s.fma(s.to_f32(dots[run][r]), s.mul(scale[run], d), *acc);
                    if W::MIN {
                        *acc = s.fnma(s.splat(x.sum(if W::RUN16 { run } else { 2 }, r)), min[run], *acc);
                    }
                }
            }
        }
    }
    for (out, acc) in out[..M].iter_mut().zip(acc) {
        s.store(out, acc);
    }
}

/// Rows `first..first + M` of a group.
#[inline(always)]
fn rows<S: Simd, W: Format<S>, X: Inputs, const M: usize>(
    s: S,
    out: &mut OutTile,
    panel: Panel<'_>,
    x: &[X],
    first: usize,
) {
    let quants: &[W::Quants] = bytemuck::cast_slice(panel.quants);
    let scales: &[W::Scales] = bytemuck::cast_slice(panel.scales);
    let mut acc = [s.zero(); M];
    for (acc, out) in acc.iter_mut().zip(&out[first..first + M]) {
        *acc = s.load(out);
    }
    for ((quants, scales), x) in quants.iter().zip(scales).zip(x.chunks_exact(W::BLOCKS)) {
        let unit = W::unit(s, scales);
        for (b, x) in x.iter().enumerate() {
            let w = W::block(s, quants, scales, unit, b);
            for (r, acc) in acc.iter_mut().enumerate() {
                let row = first + r;
                let (q, d) = (x.q(row), s.splat(x.d(row)));
                if W::RUN16 {
                    for run in 0..2 {
                        let (weights, q) = (&w.weights[4 * run..4 * run + 4], &q[4 * run..4 * run + 4]);
                        let product = s.to_f32(dot(s, x.start(run, row), weights, q));
                        *acc = s.fma(product, s.mul(w.scale[run], d), *acc);
                        if W::MIN {
                            *acc = s.fnma(s.splat(x.sum(run, row)), w.min[run], *acc);
                        }
                    }
                } else {
                    let product = s.to_f32(dot(s, x.start(2, row), &w.weights, q));
                    *acc = s.fma(product, s.mul(w.scale[0], d), *acc);
                    if W::MIN {
                        *acc = s.fnma(s.splat(x.sum(2, row)), w.min[0], *acc);
                    }
                }
            }
        }
    }
    for (out, acc) in out[first..first + M].iter_mut().zip(acc) {
        s.store(out, acc);
    }
}

/// The products of sixteen outputs' weights and one row's inputs, on top of `start`.
#[inline(always)]
fn dot<S: Simd>(s: S, start: i32, weights: &[S::B], inputs: &[[i8; 4]]) -> S::I {
    let mut sum = s.splat_i32(if S::BIAS == 0 { 0 } else { start });
    for (w, x) in weights.as_chunks().0.iter().zip(inputs.as_chunks().0) {
        sum = s.dot16(sum, w, x);
    }
    sum
}

/// To lines as `rows` of them have them, see [`lines_per_block`].
#[inline(always)]
pub(super) fn quantize<S: Simd>(s: S, out: &mut [InputLine], rows: &[&[f32]]) {
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
                [-i32::from(S::BIAS) * sums[0], -i32::from(S::BIAS) * sums[1], -i32::from(S::BIAS) * sums[2]];
            out.set(row, fours, d, start, [d * sums[0] as f32, d * sums[1] as f32, d * sums[2] as f32]);
        }
    }
}

#[inline(always)]
pub(super) fn widen<S: Simd>(s: S, quants: &mut [u8], scales: &mut [u8], panel: Panel<'_>) {
    let (quants, scales) = (bytemuck::cast_slice_mut(quants), bytemuck::cast_slice_mut(scales));
    with_format!(panel.layout, widen_panel(s, quants, scales, panel));
}

#[inline(always)]
fn widen_panel<S: Simd, W: Format<S>>(
    s: S,
    wide: &mut [Bytes],
    vectors: &mut [[f32; PANEL]],
    panel: Panel<'_>,
) {
    let quants: &[W::Quants] = bytemuck::cast_slice(panel.quants);
    let scales: &[W::Scales] = bytemuck::cast_slice(panel.scales);
    let n_runs = 1 + usize::from(W::RUN16);
    let per_block = n_runs * (1 + usize::from(W::MIN));
    let mut out = wide.iter_mut().zip(vectors.chunks_exact_mut(per_block));
    for (quants, scales) in quants.iter().zip(scales) {
        let unit = W::unit(s, scales);
        for (b, (wide, vectors)) in out.by_ref().take(W::BLOCKS).enumerate() {
            let w = W::block(s, quants, scales, unit, b);
            for (out, w) in wide.iter_mut().zip(w.weights) {
                s.store_weights(out, w);
            }
            for run in 0..n_runs {
                s.store(&mut vectors[run], w.scale[run]);
                if W::MIN {
                    s.store(&mut vectors[n_runs + run], w.min[run]);
                }
            }
        }
    }
}

#[inline(always)]
pub(super) fn dequantize_lane<S: Simd>(s: S, out: &mut [f32], panel: Panel<'_>, lane: usize) {
    match panel.layout {
        Layout::F32 => floats(out, bytemuck::cast_slice::<_, [f32; PANEL]>(panel.quants), |x| x[lane]),
        Layout::F16 => {
            floats(out, bytemuck::cast_slice::<_, [u16; PANEL]>(panel.quants), |x| {
                f16::from_bits(x[lane]).to_f32()
            });
        }
        Layout::Bf16 => floats(out, bytemuck::cast_slice::<_, [u16; PANEL]>(panel.quants), |x| {
            f32::from_bits(u32::from(x[lane]) << 16)
        }),
        layout => with_format!(layout, dequantize(s, out, panel, lane)),
    }
}

#[inline(always)]
fn floats<T>(out: &mut [f32], x: &[T], value: impl Fn(&T) -> f32) {
    out.iter_mut().zip(x).for_each(|(out, x)| *out = value(x));
}

/// As `Block32::values`.
#[inline(always)]
fn dequantize<S: Simd, W: Format<S>>(s: S, out: &mut [f32], panel: Panel<'_>, lane: usize) {
    let quants: &[W::Quants] = bytemuck::cast_slice(panel.quants);
    let scales: &[W::Scales] = bytemuck::cast_slice(panel.scales);
    let mut out = out.chunks_exact_mut(32);
    for (quants, scales) in quants.iter().zip(scales) {
        let unit = W::unit(s, scales);
        for (b, out) in out.by_ref().take(W::BLOCKS).enumerate() {
            let w = W::block(s, quants, scales, unit, b);
            let scale = [s.to_array(w.scale[0])[lane], s.to_array(w.scale[1])[lane]];
            let min =
                if W::MIN { [s.to_array(w.min[0])[lane], s.to_array(w.min[1])[lane]] } else { [0.0; 2] };
            for (i, weights) in w.weights.iter().enumerate() {
                let mut bytes = [0; 64];
                s.store_weights(&mut bytes, *weights);
                let run = i / 4 * usize::from(W::RUN16);
                for (j, out) in out[4 * i..4 * i + 4].iter_mut().enumerate() {
                    let q = (bytes[4 * lane + j] as u8).wrapping_sub(S::STORED_BIAS) as i8;
                    *out = scale[run] * f32::from(q) - min[run];
                }
            }
        }
    }
}
