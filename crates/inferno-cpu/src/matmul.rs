//! Products of activations and matrices: the input is prepared once, then threads take panels of outputs.

use std::cell::RefCell;
use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use inferno_model::backend::Activations as _;

use crate::backend::{Buffer, Cpu, Weight};
use crate::kernels::int8::{FEW_ROWS, InputLine, MOST_LINES, lines_per_block};
use crate::kernels::{Kernels, OutTile, PANELS};
use crate::memory::Shares;
use crate::packed::{Layout, PANEL, Packed, Panel};
use crate::pool::Pool;
use crate::simd::ROW_GROUP;

/// Matrices that share an input.
const MOST_OUTPUTS: usize = 6;

/// Panels that a group of rows meets while it is in the nearest cache.
pub(crate) const PANELS_AT_ONCE: usize = 2 * PANELS;

/// Inputs that many rows multiply before the next: that much of the panels stays in a near cache. A whole number of
/// blocks of any type.
const CHUNK_LEN: usize = 1024;

/// The same for few rows, whose weights are unpacked panel by panel: what is unpacked stays in the nearest cache.
const PART_LEN: usize = 512;

/// Fewest tasks of a product for every thread, if it has as many panels.
const TASKS_PER_THREAD: usize = 8;

/// The rows of an input, in groups, as the kernels take them.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    /// [group][block of 32]: a group has room for [`MOST_LINES`] a block, and uses the first [`lines_per_block`] of its rows.
    quantized: Vec<InputLine>,
    /// [group][input]
    floats: Vec<[f32; ROW_GROUP]>,
    n_groups: usize,
    cols: usize,
}

/// Up to [`ROW_GROUP`] rows that are multiplied together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Group<'a> {
    rows: [&'a [f32]; ROW_GROUP],
    n: usize,
}

impl<'a> Group<'a> {
    pub(crate) fn of(rows: impl Iterator<Item = &'a [f32]>) -> Group<'a> {
        let mut group = Group { rows: [&[]; ROW_GROUP], n: 0 };
        for row in rows {
            group.rows[group.n] = row;
            group.n += 1;
        }
        group
    }

    fn rows(&self) -> &[&'a [f32]] {
        &self.rows[..self.n]
    }
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

#[derive(Default)]
struct Scratch {
    /// One per group of rows.
    sums: Vec<[OutTile; PANELS]>,
    wide: Wide,
}

/// Panels unpacked for the rows at hand.
#[derive(Default)]
struct Wide {
    quants: Vec<CacheLine>,
    scales: Vec<CacheLine>,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct CacheLine([u8; 64]);

/// A piece of the weights, which all rows meet before the next.
struct Piece {
    panels: usize,
    inputs: usize,
    /// The layout that weights are unpacked to.
    layout: Option<Layout>,
}

impl Piece {
    fn of(weight: &Packed, kernels: &Kernels, n_rows: usize) -> Piece {
        let layout = weight.layout;
        // Few rows read the weights once, from memory; many find part of them in the nearest cache.
        if n_rows > ROW_GROUP {
            let layout = layout.unpacked(kernels.by_pairs);
            return Piece { panels: PANELS_AT_ONCE, inputs: CHUNK_LEN, layout };
        }
        match layout {
            Layout::Codes(codes) if n_rows > FEW_ROWS || codes.few_rows.is_none() => {
                let (panels, inputs) =
                    if n_rows <= FEW_ROWS { (1, PART_LEN) } else { (PANELS_AT_ONCE, CHUNK_LEN) };
                Piece { panels, inputs, layout: Some(layout.wide(kernels.by_pairs)) }
            }
            _ => Piece { panels: PANELS_AT_ONCE, inputs: weight.cols.max(1), layout: None },
        }
    }
}

impl Inputs {
    /// Takes all rows of `x` in, as integers, floats or both.
    pub(crate) fn prepare(
        &mut self,
        kernels: &Kernels,
        pool: &mut Pool,
        x: &Buffer,
        layouts: impl Iterator<Item = Layout> + Clone,
    ) {
        let (cols, n_rows) = (x.width, x.n_rows());
        self.prepare_groups(kernels, pool, (n_rows.div_ceil(ROW_GROUP), cols), layouts, |group| {
            let rows = group * ROW_GROUP..n_rows.min((group + 1) * ROW_GROUP);
            Group::of(rows.map(|row| x.row(row)))
        });
    }

    /// Takes groups of rows of `cols` numbers in. `group` is called once for each, on the thread that prepares it.
    pub(crate) fn prepare_groups<'a>(
        &mut self,
        kernels: &Kernels,
        pool: &mut Pool,
        (n_groups, cols): (usize, usize),
        layouts: impl Iterator<Item = Layout> + Clone,
        group: impl Fn(usize) -> Group<'a> + Sync,
    ) {
        (self.n_groups, self.cols) = (n_groups, cols);
        let n_blocks = if layouts.clone().any(Layout::is_quantized) { cols / 32 } else { 0 };
        let n_lines = n_blocks * MOST_LINES;
        let n_inputs = if layouts.clone().all(Layout::is_quantized) { 0 } else { cols };
        self.quantized.resize(n_groups * n_lines, bytemuck::Zeroable::zeroed());
        self.floats.resize(n_groups * n_inputs, [0.0; ROW_GROUP]);
        let (quantized, floats) = (Shares::new(&mut self.quantized), Shares::new(&mut self.floats));
        pool.run(n_groups, &|i| {
            let group = group(i);
            // SAFETY: every group is written by one thread.
            let (quantized, floats) = unsafe {
                (quantized.at(i * n_lines..(i + 1) * n_lines), floats.at(i * n_inputs..(i + 1) * n_inputs))
            };
            if n_blocks > 0 {
                let n_lines = n_blocks * lines_per_block(group.n);
                (kernels.quantize)(&mut quantized[..n_lines], group.rows());
            }
            if n_inputs > 0 {
                (kernels.interleave)(floats, group.rows());
            }
        });
    }

    /// sums += the first `n_rows` of group `group` × up to [`PANELS`] panels of a matrix, `inputs` only; the panels
    /// have no more.
    fn add_products(
        &self,
        kernels: &Kernels,
        sums: &mut [OutTile; PANELS],
        panels: &[Panel<'_>],
        (group, n_rows): (usize, usize),
        inputs: Range<usize>,
    ) {
        if panels[0].layout.is_quantized() {
            let (n_blocks, n_lines) = (self.cols / 32, lines_per_block(n_rows));
            let x = &self.quantized[group * n_blocks * MOST_LINES..];
            let x = &x[inputs.start / 32 * n_lines..inputs.end / 32 * n_lines];
            (kernels.products_int8)(sums, panels, x, n_rows);
        } else {
            let x = &self.floats[group * self.cols..][inputs];
            for (sums, panel) in sums.iter_mut().zip(panels) {
                (kernels.product_float)(sums, *panel, x, n_rows);
            }
        }
    }

    /// Rows `rows` of out (n, width of the matrix) = the rows of groups `groups` × panels `panels` of matrix `expert`. All
    /// groups but the last are full.
    pub(crate) fn products(
        &self,
        kernels: &Kernels,
        out: &Shares<'_, f32>,
        (weight, expert): (&Packed, usize),
        panels: Range<usize>,
        (groups, rows): (Range<usize>, Range<usize>),
    ) {
        assert_eq!(weight.cols, self.cols, "inputs of `{}`", weight.name);
        assert!(
            groups.len() == rows.len().div_ceil(ROW_GROUP) && groups.end <= self.n_groups,
            "groups of rows"
        );
        let first_row = |group: usize| rows.start + (group - groups.start) * ROW_GROUP;
        let in_group = |group: usize| ROW_GROUP.min(rows.end - first_row(group));
        let piece = Piece::of(weight, kernels, rows.len());
        SCRATCH.with_borrow_mut(|Scratch { sums, wide }| {
            for first in panels.clone().step_by(piece.panels) {
                let now = first..panels.end.min(first + piece.panels);
                let n_sets = now.len().div_ceil(PANELS);
                sums.resize(groups.len() * n_sets, [[[0.0; PANEL]; ROW_GROUP]; PANELS]);
                for (sums, group) in sums.chunks_exact_mut(n_sets).zip(groups.clone()) {
                    for sums in sums.as_flattened_mut() {
                        sums[..in_group(group)].fill([0.0; PANEL]);
                    }
                }
                for start in (0..self.cols).step_by(piece.inputs) {
                    let inputs = start..self.cols.min(start + piece.inputs);
                    let part = |i: usize| {
                        let panel = weight.panel(expert, first + i.min(now.len() - 1));
                        if inputs.len() == self.cols { panel } else { panel.part(&inputs) }
                    };
                    let parts: [Panel<'_>; PANELS_AT_ONCE] = match piece.layout {
                        Some(layout) => wide.unpack(kernels, layout, inputs.len(), now.len(), part),
                        None => std::array::from_fn(part),
                    };
                    for (sums, group) in sums.chunks_exact_mut(n_sets).zip(groups.clone()) {
                        for (sums, parts) in sums.iter_mut().zip(parts[..now.len()].chunks(PANELS)) {
                            self.add_products(kernels, sums, parts, (group, in_group(group)), inputs.clone());
                        }
                    }
                }
                for (sums, group) in sums.chunks_exact(n_sets).zip(groups.clone()) {
                    for (sums, panel) in sums.as_flattened().iter().zip(now.clone()) {
                        let width = PANEL.min(weight.rows - panel * PANEL);
                        for (row, sums) in (first_row(group)..rows.end).zip(sums) {
                            let start = row * weight.rows + panel * PANEL;
                            // SAFETY: one thread has this panel of these rows.
                            unsafe { out.at(start..start + width) }.copy_from_slice(&sums[..width]);
                        }
                    }
                }
            }
        });
    }
}

impl Wide {
    /// The first `n` panels, of `n_inputs`, in `layout`; the others are anything.
    fn unpack<'a>(
        &'a mut self,
        kernels: &Kernels,
        layout: Layout,
        n_inputs: usize,
        n: usize,
        part: impl Fn(usize) -> Panel<'a>,
    ) -> [Panel<'a>; PANELS_AT_ONCE] {
        let (quant_bytes, scale_bytes) = layout.panel_bytes(n_inputs);
        let quants = bytes(&mut self.quants, PANELS_AT_ONCE * quant_bytes);
        let scales = bytes(&mut self.scales, PANELS_AT_ONCE * scale_bytes);
        let places = quants.chunks_exact_mut(quant_bytes).zip(scales.chunks_exact_mut(scale_bytes));
        for (i, (quants, scales)) in places.take(n).enumerate() {
            (kernels.widen)(layout, quants, scales, part(i));
        }
        let (quants, scales) = (&*quants, &*scales);
        std::array::from_fn(|i| Panel {
            layout,
            quants: &quants[i * quant_bytes..][..quant_bytes],
            scales: &scales[i * scale_bytes..][..scale_bytes],
            source: if i < n { part(i).quants } else { &[] },
        })
    }
}

/// The first `n` bytes of lines, and more lines if there are not as many.
fn bytes(lines: &mut Vec<CacheLine>, n: usize) -> &mut [u8] {
    lines.resize(lines.len().max(n.div_ceil(size_of::<CacheLine>())), Zeroable::zeroed());
    &mut bytemuck::cast_slice_mut(lines)[..n]
}

impl Cpu {
    /// Every out = x × its weightᵀ.
    pub(crate) fn products(&mut self, outs: &mut [&mut Buffer], weights: &[&Weight], x: &Buffer) {
        assert!(
            outs.len() == weights.len() && weights.len() <= MOST_OUTPUTS,
            "a few matrices share an input"
        );
        let Cpu { kernels, pool, inputs, .. } = self;
        inputs.prepare(kernels, pool, x, weights.iter().map(|w| w.packed.layout));
        let inputs = &*inputs;
        let mut outs = outs.iter_mut().zip(weights).map(|(out, weight)| {
            assert_eq!(out.width, weight.packed.rows, "outputs of `{}`", weight.packed.name);
            out.resize(x.n_rows());
            Shares::new(&mut out.data)
        });
        let outs: [Option<Shares<'_, f32>>; MOST_OUTPUTS] = std::array::from_fn(|_| outs.next());
        let n_panels: usize = weights.iter().map(|w| w.packed.n_panels()).sum();
        let n_rows = x.n_rows();
        // As many panels as are computed at once, or fewer where every thread should have several tasks.
        let n_ranges =
            n_panels.div_ceil(PANELS_AT_ONCE).max(TASKS_PER_THREAD * pool.n_threads()).min(n_panels);
        pool.run_equal(n_panels, n_ranges, &|range| {
            // The range is of all panels, end to end.
            let mut first = 0;
            for (weight, out) in weights.iter().zip(outs.iter().flatten()) {
                let n = weight.packed.n_panels();
                let panels = range.start.max(first)..range.end.min(first + n);
                if !panels.is_empty() {
                    let panels = panels.start - first..panels.end - first;
                    let rows = (0..inputs.n_groups, 0..n_rows);
                    inputs.products(kernels, out, (&weight.packed, 0), panels, rows);
                }
                first += n;
            }
        });
    }
}
