//! Products head by head, each with a matrix of its own.

use inferno_model::backend::Activations as _;

use crate::backend::{Buffer, Cpu, SERIAL, Weight};
use crate::matmul::{Inputs, PANELS_AT_ONCE};
use crate::memory::Shares;
use crate::simd::ROW_GROUP;

/// Reused from call to call.
#[derive(Debug)]
pub(crate) struct HeadScratch {
    /// [head][row], where every head's rows begin a group: inputs and products.
    x: Buffer,
    y: Buffer,
    inputs: Inputs,
}

impl Default for HeadScratch {
    fn default() -> Self {
        HeadScratch { x: Buffer::new(1), y: Buffer::new(1), inputs: Inputs::default() }
    }
}

impl Cpu {
    /// See `Backend::matmul_heads`.
    pub(crate) fn head_products(
        &mut self,
        out: &mut Buffer,
        weight: &Weight,
        x: &Buffer,
        tail: Option<&Buffer>,
        n_heads: usize,
    ) {
        let (weight, n_rows) = (&weight.packed, x.n_rows());
        let (rows, cols, tail_width) =
            (weight.rows, weight.cols, tail.map_or(0, |tail| tail.width / n_heads));
        assert_eq!(x.width, n_heads * cols, "inputs of `{}`", weight.name);
        assert_eq!(out.width, n_heads * (rows + tail_width), "outputs of `{}`", weight.name);
        out.resize(n_rows);
        // Rows of a head, filled up to whole groups: what fills up holds anything, and no product is taken of it.
        let n_places = n_rows.next_multiple_of(ROW_GROUP);
        // Products with something behind them and others take turns: their sizes differ.
        let Cpu { kernels, pool, heads, .. } = self;
        let HeadScratch { x: inputs_of, y, inputs } = &mut heads[usize::from(tail.is_some())];
        for (buffer, width) in [(&mut *inputs_of, cols), (&mut *y, rows)] {
            buffer.width = width;
            buffer.resize(n_heads * n_places);
        }
        let places = Shares::new(&mut inputs_of.data);
        pool.run_ranges(n_heads, SERIAL.div_ceil(n_rows * cols), &|heads| {
            for h in heads {
                // SAFETY: every head is one thread's.
                let places = unsafe { places.at(h * n_places * cols..(h * n_places + n_rows) * cols) };
                for (row, place) in places.chunks_exact_mut(cols).enumerate() {
                    place.copy_from_slice(&x.row(row)[h * cols..][..cols]);
                }
            }
        });
        inputs.prepare(kernels, pool, inputs_of, [weight.layout].into_iter());

        let n_panels = weight.n_panels();
        let n_parts = n_panels.div_ceil(PANELS_AT_ONCE);
        let (products, inputs) = (Shares::new(&mut y.data), &*inputs);
        pool.run(n_heads * n_parts, &|i| {
            let (h, part) = (i / n_parts, i % n_parts);
            let panels = part * PANELS_AT_ONCE..n_panels.min((part + 1) * PANELS_AT_ONCE);
            let places = h * n_places..h * n_places + n_rows;
            inputs.products(kernels, &products, (weight, h), panels, places);
        });

        let (width, outs, y) = (out.width, Shares::new(&mut out.data), &*y);
        pool.run_ranges(n_rows, SERIAL.div_ceil(width), &|range| {
            for row in range {
                // SAFETY: every row is one thread's.
                let out = unsafe { outs.at(row * width..(row + 1) * width) };
                for (h, out) in out.chunks_exact_mut(rows + tail_width).enumerate() {
                    out[..rows].copy_from_slice(y.row(h * n_places + row));
                    if let Some(tail) = tail {
                        out[rows..].copy_from_slice(&tail.row(row)[h * tail_width..][..tail_width]);
                    }
                }
            }
        });
    }
}
