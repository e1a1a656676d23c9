//! Products of activations and matrices: the input is prepared once, then threads take panels of outputs.

use std::cell::RefCell;
use std::ops::Range;

use crate::backend::{Buffer, Cpu, Weight};
use crate::kernels::int8::InputBlock;
use crate::kernels::{Kernels, OutTile, PANELS};
use crate::memory::Shares;
use crate::packed::{Layout, PANEL, Packed, Panel};
use crate::pool::Pool;
use crate::simd::ROW_GROUP;

/// Matrices that share an input.
const MOST_OUTPUTS: usize = 4;

/// Panels that a group of rows meets while it is in the nearest cache.
const PANELS_AT_ONCE: usize = 2 * PANELS;

/// The rows of an input, in groups, as the kernels take them.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    /// [group][block of 32]
    quantized: Vec<InputBlock>,
    /// [group][input]
    floats: Vec<[f32; ROW_GROUP]>,
    n_rows: usize,
    cols: usize,
}

thread_local! {
    /// Panels of 4-bit and 6-bit weights, unpacked for many rows.
    static WIDE: RefCell<Wide> = RefCell::default();
}

#[derive(Default)]
struct Wide {
    quants: Vec<u8>,
    scales: Vec<u8>,
}

impl Inputs {
    /// Takes rows in, as integers, floats or both.
    pub(crate) fn prepare(
        &mut self,
        kernels: &Kernels,
        pool: &mut Pool,
        x: &Buffer,
        layouts: impl Iterator<Item = Layout> + Clone,
    ) {
        (self.n_rows, self.cols) = (x.n_rows(), x.width);
        let cols = self.cols;
        let n_groups = self.n_rows.div_ceil(ROW_GROUP);
        let rows = |group: usize| {
            &x.data[group * ROW_GROUP * cols..x.data.len().min((group + 1) * ROW_GROUP * cols)]
        };
        if layouts.clone().any(Layout::is_quantized) {
            let n_blocks = cols / 32;
            self.quantized.resize(n_groups * n_blocks, bytemuck::Zeroable::zeroed());
            let out = Shares::new(&mut self.quantized);
            pool.run(n_groups, &|group| {
                // SAFETY: every group is written by one thread.
                let out = unsafe { out.at(group * n_blocks..(group + 1) * n_blocks) };
                (kernels.quantize)(out, rows(group), cols);
            });
        }
        if layouts.clone().any(|layout| !layout.is_quantized()) {
            self.floats.resize(n_groups * cols, [0.0; ROW_GROUP]);
            let out = Shares::new(&mut self.floats);
            pool.run(n_groups, &|group| {
                // SAFETY: as above.
                let out = unsafe { out.at(group * cols..(group + 1) * cols) };
                (kernels.interleave)(out, rows(group));
            });
        }
    }

    fn n_groups(&self) -> usize {
        self.n_rows.div_ceil(ROW_GROUP)
    }

    /// out = the rows of group `group` × up to [`PANELS`] panels of a matrix.
    fn product(&self, kernels: &Kernels, out: &mut [OutTile; PANELS], panels: &[Panel<'_>], group: usize) {
        let n_rows = ROW_GROUP.min(self.n_rows - group * ROW_GROUP);
        if !panels[0].layout.is_quantized() {
            let x = &self.floats[group * self.cols..(group + 1) * self.cols];
            for (out, panel) in out.iter_mut().zip(panels) {
                (kernels.product_float)(out, *panel, x, n_rows);
            }
            return;
        }
        let n_blocks = self.cols / 32;
        let x = &self.quantized[group * n_blocks..(group + 1) * n_blocks];
        (kernels.products_int8)(out, panels, x, n_rows);
    }

    /// out (rows, width of the matrix) = row groups `groups` × panels `panels` of matrix `expert`. Row `i` of the
    /// inputs is row `i` of `out`.
    pub(crate) fn products(
        &self,
        kernels: &Kernels,
        out: &Shares<'_, f32>,
        (weight, expert): (&Packed, usize),
        panels: Range<usize>,
        groups: Range<usize>,
    ) {
        assert_eq!(weight.cols, self.cols, "inputs of `{}`", weight.name);
        let wide_layout = Layout::wide(weight.dtype);
        let widen = groups.len() > 1 && matches!(weight.layout, Layout::Q4 | Layout::Q4K | Layout::Q6K);
        let (quant_bytes, scale_bytes) = wide_layout.panel_bytes(weight.cols);
        WIDE.with_borrow_mut(|wide| {
            let mut at = panels.start;
            while at < panels.end {
                let now = at..panels.end.min(at + PANELS_AT_ONCE);
                if widen {
                    wide.quants.resize(PANELS_AT_ONCE * quant_bytes, 0);
                    wide.scales.resize(PANELS_AT_ONCE * scale_bytes, 0);
                    let quants = wide.quants.chunks_exact_mut(quant_bytes);
                    for ((panel, quants), scales) in
                        now.clone().zip(quants).zip(wide.scales.chunks_exact_mut(scale_bytes))
                    {
                        (kernels.widen)(quants, scales, weight.panel(expert, panel));
                    }
                }
                let panel = |i: usize| {
                    if !widen {
                        return weight.panel(expert, now.start + i);
                    }
                    Panel {
                        layout: wide_layout,
                        quants: &wide.quants[i * quant_bytes..][..quant_bytes],
                        scales: &wide.scales[i * scale_bytes..][..scale_bytes],
                    }
                };
                for group in groups.clone() {
                    for i in (0..now.len()).step_by(PANELS) {
                        let mut tiles: [OutTile; PANELS] = [[[0.0; PANEL]; ROW_GROUP]; PANELS];
                        let n = (now.len() - i).min(PANELS);
                        self.product(
                            kernels,
                            &mut tiles,
                            &std::array::from_fn::<_, PANELS, _>(|j| panel((i + j).min(now.len() - 1)))[..n],
                            group,
                        );
                        for (tile, panel) in tiles.iter().zip(now.start + i..now.start + i + n) {
                            let first_row = group * ROW_GROUP;
                            let width = PANEL.min(weight.rows - panel * PANEL);
                            for (row, tile) in (first_row..self.n_rows).zip(tile) {
                                let start = row * weight.rows + panel * PANEL;
                                // SAFETY: one thread has this panel of these rows.
                                unsafe { out.at(start..start + width) }.copy_from_slice(&tile[..width]);
                            }
                        }
                    }
                }
                at = now.end;
            }
        });
    }
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
        let n_panels = weights.iter().map(|w| w.packed.n_panels()).sum();
        pool.run_ranges(n_panels, 1, &|range| {
            // The range is of all panels, end to end.
            let mut first = 0;
            for (weight, out) in weights.iter().zip(outs.iter().flatten()) {
                let n = weight.packed.n_panels();
                let panels = range.start.max(first)..range.end.min(first + n);
                if !panels.is_empty() {
                    let panels = panels.start - first..panels.end - first;
                    inputs.products(kernels, out, (&weight.packed, 0), panels, 0..inputs.n_groups());
                }
                first += n;
            }
        });
    }
}
