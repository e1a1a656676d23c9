//! Products with quantized weights: inputs in 8 bits by blocks of 32, exact integer sums inside a run of weights that
//! share a scale, then one FMA a run (and one for its minimum) in the order of `reference::dot_blocks`.

#![allow(clippy::inline_always, reason = "each level needs a copy with its instructions")]

use bytemuck::{Pod, Zeroable};
use half::f16;

use crate::kernels::{OutTile, PANELS};
use crate::packed::{Bytes, Layout, Nibbles, PANEL, Panel, ScalesQ4K, ScalesQ6K, SixBits};
use crate::simd::{LANES, ROW_GROUP, Simd};

/// 32 inputs of a group of rows in 8 bits.
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

/// A block's vectors of weights, biased, with the scales and minimums of its runs. What a format lacks is not made.
#[derive(Clone, Copy)]
pub(super) struct Block<S: Simd> {
    weights: [S::B; 8],
    pub(super) scale: [S::F; 2],
    pub(super) min: [S::F; 2],
}

/// How a panel's quants and scales are read. A unit is what shares the outermost scale.
pub(super) trait Format<S: Simd> {
    type Quants: Pod;
    type Scales: Pod;
    /// What is read once a unit.
    type Unit: Copy;
    /// Blocks in a unit.
    const BLOCKS: usize;
    /// A scale for 16 weights and not for 32.
    const RUN16: bool = false;
    /// Weights count from minimums.
    const MIN: bool = false;

    fn unit(s: S, scales: &Self::Scales) -> Self::Unit;
    /// Block `b` of a unit.
    fn block(s: S, quants: &Self::Quants, scales: &Self::Scales, unit: Self::Unit, b: usize) -> Block<S>;
}

/// The weights of a block of nibbles, `offset` added.
#[inline(always)]
fn from_nibbles<S: Simd>(s: S, x: &Nibbles, offset: i8) -> [S::B; 8] {
    let mut out = [s.load_bytes(&x[0]); 8];
    for (i, x) in x.iter().enumerate() {
        let x = s.load_bytes(x);
        out[2 * i] = add_offset(s, s.low_nibbles(x), offset);
        out[2 * i + 1] = add_offset(s, s.high_nibbles(x), offset);
    }
    out
}

#[inline(always)]
fn load_weights<S: Simd>(s: S, x: &Bytes) -> [S::B; 8] {
    let mut out = [s.load_weights(&x[0]); 8];
    for (out, x) in out.iter_mut().zip(x) {
        *out = s.load_weights(x);
    }
    out
}

#[inline(always)]
fn add_offset<S: Simd>(s: S, x: S::B, offset: i8) -> S::B {
    match S::BIAS.wrapping_add(offset as u8) {
        0 => x,
        offset => s.add_bytes(x, offset),
    }
}

pub(super) struct Q8;
impl<S: Simd> Format<S> for Q8 {
    type Quants = Bytes;
    type Scales = [u16; PANEL];
    type Unit = S::F;
    const BLOCKS: usize = 1;

    #[inline(always)]
    fn unit(s: S, scales: &[u16; PANEL]) -> S::F {
        s.load_f16(scales)
    }
    #[inline(always)]
    fn block(s: S, quants: &Bytes, _: &[u16; PANEL], d: S::F, _: usize) -> Block<S> {
        Block { weights: load_weights(s, quants), scale: [d; 2], min: [d; 2] }
    }
}

struct Q4;
impl<S: Simd> Format<S> for Q4 {
    type Quants = Nibbles;
    type Scales = [u16; PANEL];
    type Unit = S::F;
    const BLOCKS: usize = 1;

    #[inline(always)]
    fn unit(s: S, scales: &[u16; PANEL]) -> S::F {
        s.load_f16(scales)
    }
    #[inline(always)]
    fn block(s: S, quants: &Nibbles, _: &[u16; PANEL], d: S::F, _: usize) -> Block<S> {
        Block { weights: from_nibbles(s, quants, -8), scale: [d; 2], min: [d; 2] }
    }
}

struct Q4K;
impl<S: Simd> Format<S> for Q4K {
    type Quants = [Nibbles; 8];
    type Scales = ScalesQ4K;
    type Unit = (S::F, S::F);
    const BLOCKS: usize = 8;
    const MIN: bool = true;

    #[inline(always)]
    fn unit(s: S, scales: &ScalesQ4K) -> (S::F, S::F) {
        (s.load_f16(&scales.d), s.load_f16(&scales.dmin))
    }
    #[inline(always)]
    fn block(s: S, quants: &[Nibbles; 8], scales: &ScalesQ4K, (d, dmin): (S::F, S::F), b: usize) -> Block<S> {
        let scale = s.mul(d, s.load_u8(&scales.scale[b]));
        let min = s.mul(dmin, s.load_u8(&scales.min[b]));
        Block { weights: from_nibbles(s, &quants[b], 0), scale: [scale; 2], min: [min; 2] }
    }
}

struct Q6K;
impl<S: Simd> Format<S> for Q6K {
    type Quants = SixBits;
    type Scales = ScalesQ6K;
    type Unit = S::F;
    const BLOCKS: usize = 8;
    const RUN16: bool = true;

    #[inline(always)]
    fn unit(s: S, scales: &ScalesQ6K) -> S::F {
        s.load_f16(&scales.d)
    }
    #[inline(always)]
    fn block(s: S, quants: &SixBits, scales: &ScalesQ6K, d: S::F, b: usize) -> Block<S> {
        let mut weights = [s.load_bytes(&quants.low[b][0]); 8];
        for c in 0..2 {
            let high = s.load_bytes(&quants.high[b][c]);
            for i in 0..4 {
                let x = s.load_bytes(&quants.low[b][2 * c + i / 2]);
                let low = if i % 2 == 0 { s.low_nibbles(x) } else { s.high_nibbles(x) };
                weights[4 * c + i] = add_offset(s, s.or(low, s.crumbs(high, i)), -32);
            }
        }
        let scales = &scales.scale[b];
        let scale = [s.mul(d, s.load_i8(&scales[0])), s.mul(d, s.load_i8(&scales[1]))];
        Block { weights, scale, min: [d; 2] }
    }
}

macro_rules! wide {
    ($name:ident, $vectors:literal, run16: $run16:literal, min: $min:literal) => {
        pub(super) struct $name;
        impl<S: Simd> Format<S> for $name {
            type Quants = Bytes;
            type Scales = [[f32; PANEL]; $vectors];
            type Unit = ();
            const BLOCKS: usize = 1;
            const RUN16: bool = $run16;
            const MIN: bool = $min;

            #[inline(always)]
            fn unit(_: S, _: &Self::Scales) {}
            #[inline(always)]
            fn block(s: S, quants: &Bytes, scales: &Self::Scales, _: (), _: usize) -> Block<S> {
                const RUNS: usize = 1 + $run16 as usize;
                let scale = [s.load(&scales[0]), s.load(&scales[RUNS - 1])];
                let min = [s.load(&scales[$vectors - RUNS]), s.load(&scales[$vectors - 1])];
                Block { weights: load_weights(s, quants), scale, min }
            }
        }
    };
}
wide!(Wide, 1, run16: false, min: false);
wide!(WideMin, 2, run16: false, min: true);
wide!(WideRun16, 2, run16: true, min: false);
wide!(WideRun16Min, 4, run16: true, min: true);

/// Calls `$f::<S, format>(arguments)` with the format of a layout.
macro_rules! with_format {
    ($layout:expr, $f:ident($($arg:expr),*)) => {
        match $layout {
            Layout::Q8 => $f::<S, Q8>($($arg),*),
            Layout::Q4 => $f::<S, Q4>($($arg),*),
            Layout::Q4K => $f::<S, Q4K>($($arg),*),
            Layout::Q6K => $f::<S, Q6K>($($arg),*),
            Layout::Wide { run16: false, min: false } => $f::<S, Wide>($($arg),*),
            Layout::Wide { run16: false, min: true } => $f::<S, WideMin>($($arg),*),
            Layout::Wide { run16: true, min: false } => $f::<S, WideRun16>($($arg),*),
            Layout::Wide { run16: true, min: true } => $f::<S, WideRun16Min>($($arg),*),
            Layout::F32 | Layout::F16 | Layout::Bf16 => unreachable!("floats have no integer product"),
        }
    };
}

/// The rows of a group, as many at a time as fit the registers.
#[inline(always)]
fn group<S: Simd, W: Format<S>>(s: S, out: &mut OutTile, panel: Panel<'_>, x: &[InputBlock], n_rows: usize) {
    match n_rows {
        1 => rows::<S, W, 1>(s, out, panel, x, 0),
        2 if S::INT8_ROWS >= 2 => rows::<S, W, 2>(s, out, panel, x, 0),
        3..=4 if S::INT8_ROWS >= 4 => rows::<S, W, 4>(s, out, panel, x, 0),
        5.. if S::INT8_ROWS >= 8 => rows::<S, W, 8>(s, out, panel, x, 0),
        _ => {
            for first in (0..n_rows).step_by(S::INT8_ROWS) {
                match S::INT8_ROWS {
                    1 => rows::<S, W, 1>(s, out, panel, x, first),
                    2 => rows::<S, W, 2>(s, out, panel, x, first),
                    _ => rows::<S, W, 4>(s, out, panel, x, first),
                }
            }
        }
    }
}

/// out += a group of rows × up to [`PANELS`] panels of one matrix.
#[inline(always)]
pub(super) fn products_int8<S: Simd>(
    s: S,
    out: &mut [OutTile; PANELS],
    panels: &[Panel<'_>],
    x: &[InputBlock],
    n_rows: usize,
) {
    with_format!(panels[0].layout, panels_of(s, out, panels, x, n_rows));
}

#[inline(always)]
fn panels_of<S: Simd, W: Format<S>>(
    s: S,
    out: &mut [OutTile; PANELS],
    panels: &[Panel<'_>],
    x: &[InputBlock],
    n_rows: usize,
) {
    if S::INT8_ROWS < 8 || n_rows <= 4 || panels.len() < 2 {
        for (out, panel) in out.iter_mut().zip(panels) {
            group::<S, W>(s, out, *panel, x, n_rows);
        }
        return;
    }
    for first in [0, 4] {
        match panels.len() {
            2 => panel_rows::<S, W, 4, 2>(s, out, panels, x, first),
            _ => panel_rows::<S, W, 4, 3>(s, out, panels, x, first),
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

/// Rows `first..first + M` of a group.
#[inline(always)]
fn rows<S: Simd, W: Format<S>, const M: usize>(
    s: S,
    out: &mut OutTile,
    panel: Panel<'_>,
    x: &[InputBlock],
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
                let (q, d) = (&x.q[row], s.splat(x.d[row]));
                if W::RUN16 {
                    for run in 0..2 {
                        let (weights, q) = (&w.weights[4 * run..4 * run + 4], &q[4 * run..4 * run + 4]);
                        let product = s.to_f32(dot(s, x.start[run][row], weights, q));
                        *acc = s.fma(product, s.mul(w.scale[run], d), *acc);
                        if W::MIN {
                            *acc = s.fnma(s.splat(x.sum[run][row]), w.min[run], *acc);
                        }
                    }
                } else {
                    let product = s.to_f32(dot(s, x.start[2][row], &w.weights, q));
                    *acc = s.fma(product, s.mul(w.scale[0], d), *acc);
                    if W::MIN {
                        *acc = s.fnma(s.splat(x.sum[2][row]), w.min[0], *acc);
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

#[inline(always)]
pub(super) fn quantize<S: Simd>(s: S, out: &mut [InputBlock], x: &[f32], cols: usize) {
    for row in 0..ROW_GROUP {
        let Some(x) = x.get(row * cols..(row + 1) * cols) else {
            for out in &mut *out {
                (out.q[row], out.d[row]) = ([[0; 4]; 8], 0.0);
                (0..3).for_each(|part| (out.start[part][row], out.sum[part][row]) = (0, 0.0));
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
            let mut sums = [0; 3];
            for (half, x) in halves.into_iter().enumerate() {
                // A row that is not finite is all zeros, whatever its numbers times zero are.
                let q = if finite { s.to_i32(s.round(s.mul(x, inverse))) } else { s.splat_i32(0) };
                let mut bytes = [0; LANES];
                s.store_i8(&mut bytes, q);
                out.q[row][4 * half..4 * half + 4].copy_from_slice(bytes.as_chunks().0);
                sums[half] = s.sum_lanes(q);
            }
            sums[2] = sums[0] + sums[1];
            out.d[row] = d;
            for (part, sum) in sums.into_iter().enumerate() {
                out.start[part][row] = -i32::from(S::BIAS) * sum;
                out.sum[part][row] = d * sum as f32;
            }
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
