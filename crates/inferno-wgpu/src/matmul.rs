//! Products with matrices: which kernel, and in what shape.

use crate::buffer::{Buffer, storages};
use crate::device::{Gpu, Storage};
use crate::kernels::Kernel;
use crate::layout::{BLOCK, Layout, PANEL};
use crate::matrix::{Part, Weight, slice_blocks};
use crate::recorder::{Grid, MOST_GROUPS, Params, Recorder, VECTOR};
use crate::tuning::Tuning;

/// Rows up to which weights are read once for a few rows, and not for tiles of 64.
pub(crate) const FEW_ROWS: usize = 8;

/// The rows of an input, quantized, and how they are multiplied.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    quants: Buffer,
    scales: Buffer,
    pub(crate) tuning: Tuning,
}

/// Which experts serve which rows.
pub(crate) struct Chosen<'a> {
    /// The rows of the output, expert by expert, and the groups of them.
    pub(crate) order: &'a Storage,
    pub(crate) groups: &'a Storage,
    /// Rows of the output.
    pub(crate) n: usize,
    /// Groups there is room for, and rows in one.
    pub(crate) n_groups: usize,
    pub(crate) rows: usize,
    /// Rows of the output that share one of the input.
    pub(crate) n_each: usize,
}

impl Inputs {
    /// Quantizes the rows of `x` if a product that follows is taken in integers.
    pub(crate) fn prepare(
        &mut self,
        gpu: &mut Gpu,
        recorder: &mut Recorder,
        x: &Buffer,
        weights: &[&Weight],
    ) {
        if !weights.iter().any(|w| matches!(w.layout, Layout::Integers(_))) {
            return;
        }
        let storage = storages!(x);
        if recorder.is_quantized(storage) {
            return;
        }
        let [quants, scales] = self.room(gpu, recorder, x);
        let n = x.len() / VECTOR;
        let buffers = [quants, scales, Some(storage)];
        recorder.dispatch(gpu, Kernel::Quantize, &buffers, &Params::default().uint(n), &Grid::Threads(n));
        recorder.note_quantized(storage);
    }

    /// Where quants and scales of the rows of `x` go to.
    pub(crate) fn room(
        &mut self,
        gpu: &mut Gpu,
        recorder: &mut Recorder,
        x: &Buffer,
    ) -> [Option<&Storage>; 2] {
        // A quarter of the bytes, and two words for a block.
        self.quants.reserve(gpu, recorder, x.len() / 4);
        self.scales.reserve(gpu, recorder, x.len() / BLOCK * 2);
        [self.quants.storage(), self.scales.storage()]
    }

    /// out (n, rows of the matrix) = x × its transpose; or each row of that with a matrix of its own. `x` is prepared.
    pub(crate) fn multiply(
        &mut self,
        gpu: &mut Gpu,
        recorder: &mut Recorder,
        (out, weight, x): (&mut Buffer, &Weight, &Buffer),
        chosen: Option<&Chosen<'_>>,
    ) {
        assert_eq!((x.width, out.width), (weight.cols, weight.rows), "shape of `{}`", weight.name);
        out.resize(gpu, recorder, chosen.map_or(x.n_rows, |chosen| chosen.n));
        let (to, from) = storages!(out, x);
        let Recorder { kernels, .. } = recorder;
        let few = self.tuning.few(gpu, kernels, weight.layout);
        for part in &weight.parts {
            let mut buffers = vec![Some(&part.storage), Some(to)];
            match weight.layout {
                Layout::Floats(_) => buffers.push(Some(from)),
                Layout::Integers(_) => buffers.extend([self.quants.storage(), self.scales.storage()]),
            }
            let shape = |first_group| params(weight, part, (out, x), first_group, chosen.is_some());
            match chosen {
                Some(chosen) => {
                    buffers.extend([Some(chosen.order), Some(chosen.groups)]);
                    let matrices = weight.n_panels();
                    for first in (0..chosen.n_groups).step_by(MOST_GROUPS) {
                        let params = shape(first)
                            .uint(matrices)
                            .uint(part.panels.start / matrices)
                            .uint(part.panels.len() / matrices)
                            .uint(chosen.n_each);
                        let grid = Grid::Stacked(matrices, MOST_GROUPS.min(chosen.n_groups - first));
                        let kernel = Kernel::MatmulChosen(weight.layout, chosen.rows as u32, few);
                        recorder.dispatch(gpu, kernel, &buffers, &params, &grid);
                    }
                }
                None if x.n_rows <= FEW_ROWS => {
                    let grid = Grid::Groups(part.panels.len());
                    let rows = x.n_rows.next_power_of_two() as u32;
                    let kernel = Kernel::MatmulFew(weight.layout, rows, few);
                    recorder.dispatch(gpu, kernel, &buffers, &shape(0), &grid);
                }
                None => {
                    let many = self.tuning.many(gpu, &mut recorder.kernels, weight.layout);
                    let grid = many.grid(outputs(weight, part), x.n_rows);
                    let kernel = Kernel::MatmulMany(weight.layout, many);
                    recorder.dispatch(gpu, kernel, &buffers, &shape(0), &grid);
                }
            }
        }
    }
}

/// Of a part of a matrix.
fn outputs(weight: &Weight, part: &Part) -> usize {
    weight.rows.min(part.panels.end * PANEL) - part.panels.start * PANEL
}

/// `products/params.wgsl`, up to what experts need.
fn params(
    weight: &Weight,
    part: &Part,
    (out, x): (&Buffer, &Buffer),
    first_group: usize,
    is_whole: bool,
) -> Params {
    let (n_outputs, first_output) = match is_whole {
        true => (weight.rows, 0),
        false => (outputs(weight, part), part.panels.start * PANEL),
    };
    Params::default()
        .uint(weight.n_blocks())
        .uint(slice_blocks(weight.n_blocks()))
        .uint(weight.panel_len())
        .uint(out.n_rows)
        .uint(first_group)
        .uint(n_outputs)
        .uint(first_output)
        .uint(out.stride())
        .uint(x.stride() / VECTOR)
}
