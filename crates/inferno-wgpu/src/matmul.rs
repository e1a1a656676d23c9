//! Products with matrices: which kernel, and in what shape.

use crate::buffer::{Buffer, storages};
use crate::device::{Gpu, Storage};
use crate::kernels::params::{Product, Quantize, word};
use crate::kernels::{Few, Kernel, Many};
use crate::layout::{BLOCK, Layout, PANEL};
use crate::matrix::{MOST_TOGETHER, Part, Weight, slice_blocks};
use crate::recorder::{Bound, Grid, MOST_GROUPS, Recorder, VECTOR};
use crate::tuning::Tuning;

pub(crate) mod prepared;

/// Rows up to which weights are read once for a few rows, and not for tiles of 64.
pub(crate) const FEW_ROWS: usize = 8;

/// The rows of an input, quantized, and how they are multiplied.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    quants: Buffer,
    scales: Buffer,
    pub(crate) tuning: Tuning,
}

/// How a product is taken.
enum Way {
    Few(Few),
    Many(Many),
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
        recorder.dispatch(gpu, Kernel::Quantize, &buffers, &Quantize { n: word(n) }, &Grid::Threads(n));
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

    /// Every out (n, rows of its matrix) = x × its matrix transposed. `x` is prepared.
    pub(crate) fn multiply(
        &mut self,
        gpu: &mut Gpu,
        recorder: &mut Recorder,
        (outs, weights, x): (&mut [&mut Buffer], &[&Weight], &Buffer),
    ) {
        let (mut outs, mut weights) = (outs, weights);
        while !weights.is_empty() {
            let n = n_together(weights);
            let (outs_now, outs_later) = outs.split_at_mut(n);
            let (weights_now, weights_later) = weights.split_at(n);
            self.multiply_together(gpu, recorder, (outs_now, weights_now, x), false);
            (outs, weights) = (outs_later, weights_later);
        }
    }

    /// out += x × a matrix transposed. `x` is prepared.
    pub(crate) fn multiply_onto(
        &mut self,
        gpu: &mut Gpu,
        recorder: &mut Recorder,
        (out, weight, x): (&mut Buffer, &Weight, &Buffer),
    ) {
        self.multiply_together(gpu, recorder, (&mut [out], &[weight], x), true);
    }

    /// The same for one matrix, which may be added to what is in its output, or for several whose panels follow each other.
    fn multiply_together(
        &mut self,
        gpu: &mut Gpu,
        recorder: &mut Recorder,
        (outs, weights, x): (&mut [&mut Buffer], &[&Weight], &Buffer),
        adds: bool,
    ) {
        for (out, weight) in outs.iter_mut().zip(weights) {
            check_shape(out, weight, x);
            out.resize(gpu, recorder, x.n_rows);
        }
        let (out, weight) = (&*outs[0], weights[0]);
        let (layout, n_matrices) = (weight.layout, weights.len() as u8);
        let way = match x.n_rows {
            ..=FEW_ROWS => Way::Few(self.tuning.few(gpu, &mut recorder.pipelines, layout)),
            _ => Way::Many(self.tuning.many(gpu, &mut recorder.pipelines, layout, x.n_rows)),
        };
        for part in &weight.parts {
            let Some(buffers) = self.buffers(out, weight, part, x) else { return };
            let (params, others) = several(outs, weights, part, adds);
            let params = Product { input_stride: word(x.stride() / VECTOR), ..params };
            let buffers = buffers.and(others);
            let n_panels = params.n_panels as usize;
            let (kernel, grid) = match way {
                Way::Few(few) => {
                    let rows = x.n_rows.next_power_of_two() as u32;
                    (Kernel::MatmulFew(layout, rows, few, n_matrices), Grid::Groups(n_panels))
                }
                Way::Many(many) => (many.kernel(layout, n_matrices), many.grid(n_panels * PANEL, x.n_rows)),
            };
            recorder.dispatch(gpu, kernel, &buffers, &params, &grid);
        }
    }

    /// Every row of out, so many to a row of `x`, with the matrix of its expert. `x` is prepared.
    pub(crate) fn multiply_chosen(
        &mut self,
        gpu: &mut Gpu,
        recorder: &mut Recorder,
        (out, weight, x): (&mut Buffer, &Weight, &Buffer),
        chosen: &Chosen<'_>,
    ) {
        check_shape(out, weight, x);
        out.resize(gpu, recorder, chosen.n);
        let few = self.tuning.few(gpu, &mut recorder.pipelines, weight.layout);
        let kernel = Kernel::MatmulChosen(weight.layout, chosen.rows as u32, few);
        for part in &weight.parts {
            let Some(buffers) = self.buffers(out, weight, part, x) else { return };
            let buffers = buffers.and([chosen.order, chosen.groups].map(Some));
            let matrix = weight.n_panels();
            for first in (0..chosen.n_groups).step_by(MOST_GROUPS) {
                let params = Product {
                    first_group: word(first),
                    first_expert: word(part.panels.start / matrix),
                    n_experts: word(part.panels.len() / matrix),
                    n_chosen: word(chosen.n_each),
                    input_stride: word(x.stride() / VECTOR),
                    ..product(out, weight, part, chosen.n)
                };
                let grid = Grid::Stacked(matrix, MOST_GROUPS.min(chosen.n_groups - first));
                recorder.dispatch(gpu, kernel, &buffers, &params, &grid);
            }
        }
    }

    /// Row `i × n_heads + head` of out = that row of `x` × the matrix of the head, transposed. `x` is prepared.
    pub(crate) fn multiply_heads(
        &mut self,
        gpu: &mut Gpu,
        recorder: &mut Recorder,
        (out, weight, x): (&mut Buffer, &Weight, &Buffer),
        n_heads: usize,
    ) {
        check_shape(out, weight, x);
        out.resize(gpu, recorder, x.n_rows);
        let n_rows = x.n_rows / n_heads;
        let rows = FEW_ROWS.min(n_rows.next_power_of_two());
        let few = self.tuning.few(gpu, &mut recorder.pipelines, weight.layout);
        let kernel = Kernel::MatmulHeads(weight.layout, rows as u32, few);
        let n_groups = n_heads * n_rows.div_ceil(rows);
        for part in &weight.parts {
            let Some(buffers) = self.buffers(out, weight, part, x) else { return };
            let matrix = weight.n_panels();
            for first in (0..n_groups).step_by(MOST_GROUPS) {
                let params = Product {
                    first_group: word(first),
                    first_expert: word(part.panels.start / matrix),
                    n_experts: word(part.panels.len() / matrix),
                    n_chosen: word(n_heads),
                    input_stride: word(x.stride() / VECTOR),
                    ..product(out, weight, part, n_rows)
                };
                let grid = Grid::Stacked(matrix, MOST_GROUPS.min(n_groups - first));
                recorder.dispatch(gpu, kernel, &buffers, &params, &grid);
            }
        }
    }

    /// Of a product with one output; `None` if some have found no memory.
    fn buffers<'a>(
        &'a self,
        out: &'a Buffer,
        weight: &Weight,
        part: &'a Part,
        x: &'a Buffer,
    ) -> Option<Bound<'a>> {
        let buffers = Bound::new([Some(&part.storage), Some(out.storage()?)]);
        Some(match weight.layout {
            Layout::Floats(_) => buffers.and([Some(x.storage()?)]),
            Layout::Integers(_) => buffers.and([self.quants.storage()?, self.scales.storage()?].map(Some)),
        })
    }
}

fn check_shape(out: &Buffer, weight: &Weight, x: &Buffer) {
    assert_eq!((x.width, out.width), (weight.cols, weight.rows), "shape of `{}`", weight.name);
}

/// Number of these with panels that follow each other, which are multiplied with at once.
fn n_together(weights: &[&Weight]) -> usize {
    let go_on = weights.windows(2).take_while(|pair| pair[0].goes_on_with(pair[1]));
    (1 + go_on.count()).min(MOST_TOGETHER)
}

/// Of a product with matrices whose panels follow each other, or with `part` of a single one; the buffers of the other outputs.
fn several<'a>(
    outs: &'a [&mut Buffer],
    weights: &[&Weight],
    part: &Part,
    adds: bool,
) -> (Product, impl Iterator<Item = Option<&'a Storage>>) {
    let (out, weight) = (&*outs[0], weights[0]);
    let n_panels = part.panels.len() + weights[1..].iter().map(|w| w.n_panels()).sum::<usize>();
    let n_outputs = weight.rows.min(part.panels.end * PANEL) - part.panels.start * PANEL;
    // Where another matrix begins, its outputs, and how far rows of those are apart.
    let other = |i: usize| match (weights.get(i), outs.get(i)) {
        (Some(weight), Some(out)) => {
            [weight.parts[0].first - part.first, weight.rows, out.stride()].map(word)
        }
        _ => [0; 3],
    };
    let [second_panel, n_second_outputs, second_stride] = other(1);
    let [third_panel, n_third_outputs, third_stride] = other(2);
    let params = Product {
        n_panels: word(n_panels),
        n_outputs: word(n_outputs),
        first_output: word(part.panels.start * PANEL),
        adds: u32::from(adds),
        second_panel,
        n_second_outputs,
        second_stride,
        third_panel,
        n_third_outputs,
        third_stride,
        ..product(out, weight, part, out.n_rows)
    };
    (params, outs[1..].iter().map(|out| out.storage()))
}

/// Of a product with all rows of a matrix, of which `part` is here.
fn product(out: &Buffer, weight: &Weight, part: &Part, n_rows: usize) -> Product {
    Product {
        n_blocks: word(weight.n_blocks()),
        slice_blocks: word(slice_blocks(weight.n_blocks())),
        panel_len: word(weight.panel_len()),
        first_panel: word(part.first),
        n_panels: word(weight.n_panels()),
        n_rows: word(n_rows),
        n_outputs: word(weight.rows),
        out_stride: word(out.stride()),
        ..Product::default()
    }
}
