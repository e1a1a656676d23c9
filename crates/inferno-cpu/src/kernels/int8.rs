//! Products with quantized weights: inputs in 8 bits by blocks of 32, exact integer sums inside a run of weights that
//! share a scale, then one FMA a run (and one for its minimum) in the order of `reference::dot_blocks`.

#![allow(clippy::inline_always, reason = "each level needs a copy with its instructions")]

mod codes;
mod few;
mod inputs;
mod words;

use std::ops::Range;

use half::f16;

use crate::kernels::formats::{Format, QUARTERS, with_format, with_stored_format};
use crate::kernels::{OutTile, PANELS};
use crate::packed::{Bytes, Layout, PANEL, Panel, Words};
use crate::simd::Simd;

use inputs::Inputs;
pub(crate) use inputs::{FEW_ROWS, InputLine, MOST_LINES, lines_per_block};
pub(super) use inputs::{InputBlock, quantize};

/// The rows of a group, as many at a time as fit the registers. Unpacked weights have three copies of it and not four,
/// which is time to compile.
#[inline(always)]
fn group<S: Simd, W: Format<S>>(s: S, out: &mut OutTile, panel: Panel<'_>, x: &[InputLine], n_rows: usize) {
    if n_rows <= FEW_ROWS {
        return few_rows::<S, W>(s, out, panel, x, n_rows);
    }
    let x: &[InputBlock] = bytemuck::cast_slice(x);
    if !S::BY_PAIRS {
        return by_rows::<S, W, InputBlock>(s, out, panel, x, n_rows);
    }
    for first in (0..n_rows).step_by(if W::BITS < 8 { 4 } else { 2 }) {
        if W::BITS < 8 {
            by_quarters::<S, W, _, 4, false>(s, out, panel, x, first);
        } else {
            by_quarters::<S, W, _, 2, false>(s, out, panel, x, first);
        }
    }
}

/// The same of up to [`FEW_ROWS`]. On levels that multiply pairs the sums of four rows fit in the registers, of two rows where
/// bytes need some for their signs.
#[inline(always)]
fn few_rows<S: Simd, W: Format<S>>(
    s: S,
    out: &mut OutTile,
    panel: Panel<'_>,
    x: &[InputLine],
    n_rows: usize,
) {
    if n_rows <= 1 {
        let x: &[[InputLine; 1]] = bytemuck::cast_slice(x);
        return if S::BY_QUARTERS {
            by_quarters::<S, W, _, 1, true>(s, out, panel, x, 0)
        } else {
            rows::<S, W, _, 1>(s, out, panel, x, 0)
        };
    }
    let x: &[[InputLine; FEW_ROWS]] = bytemuck::cast_slice(x);
    if S::BY_PAIRS {
        if n_rows > 2 && W::BITS < 8 {
            by_quarters::<S, W, _, FEW_ROWS, true>(s, out, panel, x, 0);
        } else {
            by_quarters::<S, W, _, 2, true>(s, out, panel, x, 0);
            if n_rows > 2 {
                by_quarters::<S, W, _, 2, false>(s, out, panel, x, 2);
            }
        }
        return;
    }
    match (n_rows, S::INT8_ROWS) {
        (2, 2..) if !W::UNPACKED && S::BY_QUARTERS => by_quarters::<S, W, _, 2, true>(s, out, panel, x, 0),
        (2, 2..) if !W::UNPACKED => rows::<S, W, _, 2>(s, out, panel, x, 0),
        (_, 4..) => rows::<S, W, _, FEW_ROWS>(s, out, panel, x, 0),
        _ => by_rows::<S, W, _>(s, out, panel, x, n_rows),
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
    match panels[0].layout {
        Layout::Words => words::panels_of(s, out, panels, x, n_rows),
        Layout::Codes(codes) => few::panels_of(s, out, panels, codes, x, n_rows),
        layout => with_format!(layout, panels_of(s, out, panels, x, n_rows)),
    }
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

/// Asks for the cache lines of bytes `range` of what lies `distance` bytes behind `x`.
#[inline(always)]
fn ahead<S: Simd, T>(s: S, x: *const T, distance: usize, range: Range<usize>) {
    let at = x.cast::<u8>().wrapping_add(distance);
    let mut byte = range.start;
    while byte < range.end {
        s.prefetch(at.wrapping_add(byte));
        byte += 64;
    }
}

/// Rows `first..first + M` of a group, quarter by quarter of a block. `STREAM`: weights come from memory, more slowly than
/// they are used up. Loads, prefetches and products take turns: processors that get several loads and prefetches in one
/// go have fewer under way.
#[inline(always)]
fn by_quarters<S: Simd, W: Format<S>, X: Inputs, const M: usize, const STREAM: bool>(
    s: S,
    out: &mut OutTile,
    panel: Panel<'_>,
    x: &[X],
    first: usize,
) {
    let quants: &[W::Quants] = bytemuck::cast_slice(panel.quants);
    let scales: &[W::Scales] = bytemuck::cast_slice(panel.scales);
    let out = &mut out[first..first + M];
    let mut acc = [s.zero(); M];
    for (acc, out) in acc.iter_mut().zip(&*out) {
        *acc = s.load(out);
    }
    let source_bytes = panel.source.len() / quants.len().max(1);
    for (i, ((quants, scales), x)) in quants.iter().zip(scales).zip(x.chunks_exact(W::BLOCKS)).enumerate() {
        let unit = W::unit(s, scales);
        if STREAM && W::UNPACKED {
            // As many bytes as these weights take, where they are stored: they are unpacked next.
            let source = panel.source.as_ptr();
            ahead(s, source, panel.source.len(), i * source_bytes..(i + 1) * source_bytes);
        } else if STREAM {
            ahead(s, scales, SCALES_AHEAD * size_of::<W::Scales>(), 0..size_of::<W::Scales>());
        }
        for (b, x) in x.iter().enumerate() {
            let weights = (quants, scales, unit);
            add_run::<S, W, X, M, STREAM>(s, &mut acc, weights, x, (b, 0, first));
            if W::RUN16 {
                add_run::<S, W, X, M, STREAM>(s, &mut acc, weights, x, (b, 1, first));
            }
        }
    }
    for (out, acc) in out.iter_mut().zip(acc) {
        s.store(out, acc);
    }
}

/// Run `run` of block `b`. A function, as a compiler keeps the loop over both runs, and computes addresses in it.
#[inline(always)]
fn add_run<S: Simd, W: Format<S>, X: Inputs, const M: usize, const STREAM: bool>(
    s: S,
    acc: &mut [S::F; M],
    (quants, scales, unit): (&W::Quants, &W::Scales, W::Unit),
    x: &X,
    (b, run, first): (usize, usize, usize),
) {
    let (part, n_quarters) = if W::RUN16 { (run, QUARTERS / 2) } else { (2, QUARTERS) };
    let quarter_bytes = size_of::<W::Quants>() / (W::BLOCKS * QUARTERS);
    let mut sums = [s.begin(W::RUN, 0); M];
    for (r, sums) in sums.iter_mut().enumerate() {
        *sums = s.begin(W::RUN, x.start(part, first + r));
    }
    for i in n_quarters * run..n_quarters * (run + 1) {
        if STREAM && !W::UNPACKED {
            let from = (b * QUARTERS + i) * quarter_bytes;
            let lines = from.next_multiple_of(64)..(from + quarter_bytes).next_multiple_of(64);
            ahead(s, quants, BYTES_AHEAD, lines);
        }
        let (weights, places) = (W::quarter(s, quants, b, i, W::BIAS_SHIFT), W::places(i));
        for (r, sums) in sums.iter_mut().enumerate() {
            let q = x.q(first + r);
            *sums = s.dot8(*sums, W::RUN, weights, [q[places[0]], q[places[1]]]);
        }
    }
    // Read last: scales are asked for less far ahead than quants.
    let [scale, min] = W::scales(s, scales, unit, b);
    for (r, (acc, sums)) in acc.iter_mut().zip(sums).enumerate() {
        let product = s.to_f32(s.total(sums, W::RUN, x.start(part, first + r)));
        *acc = s.fma(product, s.mul(scale[run], s.splat(x.d(first + r))), *acc);
        if W::MIN {
            *acc = s.fnma(s.splat(x.sum(part, first + r)), min[run], *acc);
        }
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

#[inline(always)]
pub(super) fn widen<S: Simd>(s: S, layout: Layout, quants: &mut [u8], scales: &mut [u8], panel: Panel<'_>) {
    let scales = bytemuck::cast_slice_mut(scales);
    match panel.layout {
        Layout::Codes(codes) => codes::widen(s, layout, (quants, scales), codes, panel),
        stored => with_stored_format!(stored, widen_panel(s, quants, scales, panel)),
    }
}

#[inline(always)]
fn widen_panel<S: Simd, W: Format<S>>(s: S, wide: &mut [u8], vectors: &mut [[f32; PANEL]], panel: Panel<'_>) {
    if S::BY_PAIRS && W::BITS == 8 {
        let wide = bytemuck::cast_slice_mut(wide);
        widen_blocks::<S, W, _>(s, wide, vectors, panel, |out, weights| store_words(s, out, weights));
    } else {
        let wide = bytemuck::cast_slice_mut(wide);
        widen_blocks::<S, W, _>(s, wide, vectors, panel, |out, weights| store_bytes(s, out, weights));
    }
}

#[inline(always)]
fn store_bytes<S: Simd>(s: S, out: &mut Bytes, weights: [S::B; 8]) {
    for (out, weights) in out.iter_mut().zip(weights) {
        s.store_weights(out, weights);
    }
}

#[inline(always)]
fn store_words<S: Simd>(s: S, out: &mut Words, weights: [S::B; 8]) {
    for (words, weights) in out.iter_mut().zip(weights) {
        for (word, x) in words.iter_mut().zip(s.to_words(weights)) {
            s.store_weights(bytemuck::cast_mut(word), x);
        }
    }
}

/// `store` writes a block's weights.
#[inline(always)]
fn widen_blocks<S: Simd, W: Format<S>, Q>(
    s: S,
    wide: &mut [Q],
    vectors: &mut [[f32; PANEL]],
    panel: Panel<'_>,
    store: impl Fn(&mut Q, [S::B; 8]),
) {
    let quants: &[W::Quants] = bytemuck::cast_slice(panel.quants);
    let scales: &[W::Scales] = bytemuck::cast_slice(panel.scales);
    let n_runs = 1 + usize::from(W::RUN16);
    let per_block = n_runs * (1 + usize::from(W::MIN));
    let mut out = wide.iter_mut().zip(vectors.chunks_exact_mut(per_block));
    for (quants, scales) in quants.iter().zip(scales) {
        let unit = W::unit(s, scales);
        for (b, (wide, vectors)) in out.by_ref().take(W::BLOCKS).enumerate() {
            let shift = if S::BY_PAIRS { W::BIAS_SHIFT } else { 0 };
            let w = W::shifted_block(s, quants, scales, unit, b, shift);
            store(wide, w.weights);
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
        Layout::Codes(codes) => {
            // As many inputs as any type has in a block.
            const LEN: usize = 256;
            let (layout, n_inputs) = (panel.layout.wide(S::BY_PAIRS), out.len());
            let (quant_bytes, scale_bytes) = layout.panel_bytes(LEN);
            let mut quants: [Bytes; LEN / 32] = bytemuck::Zeroable::zeroed();
            let mut scales = [[0.0; PANEL]; LEN / 8];
            for (i, out) in out.chunks_mut(LEN).enumerate() {
                let part = panel.part(&(i * LEN..n_inputs.min((i + 1) * LEN)));
                let quants: &mut [u8] = bytemuck::cast_slice_mut(&mut quants);
                codes::widen(s, layout, (quants, &mut scales), codes, part);
                let scales: &[u8] = bytemuck::cast_slice(&scales);
                let (quants, scales) = (&quants[..quant_bytes], &scales[..scale_bytes]);
                let part = Panel { layout, quants, scales, source: &[] };
                with_format!(layout, dequantize(s, out, part, lane));
            }
        }
        layout => with_stored_format!(layout, dequantize(s, out, panel, lane)),
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
