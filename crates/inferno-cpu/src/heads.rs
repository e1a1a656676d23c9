//! Products head by head, each with a matrix of its own.

use inferno_model::backend::Activations as _;

use crate::backend::{Buffer, Cpu, Weight, each_rows};
use crate::matmul::{Group, Inputs, PANELS_AT_ONCE};
use crate::memory::Shares;
use crate::simd::ROW_GROUP;

/// Reused from call to call.
#[derive(Debug)]
pub(crate) struct HeadScratch {
    /// Products: [head][row].
    y: Buffer,
    /// The rows of every head begin a group.
    inputs: Inputs,
}

impl Default for HeadScratch {
    fn default() -> Self {
        HeadScratch { y: Buffer::new(1), inputs: Inputs::default() }
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
        let n_groups = n_rows.div_ceil(ROW_GROUP);
        // Products with something behind them and others take turns: their sizes differ.
        let Cpu { kernels, pool, heads, .. } = self;
        let HeadScratch { y, inputs } = &mut heads[usize::from(tail.is_some())];
        y.width = rows;
        y.resize(n_heads * n_rows);
        inputs.prepare_groups(kernels, pool, (n_heads * n_groups, cols), [weight.layout].into_iter(), |i| {
            let (h, first) = (i / n_groups, i % n_groups * ROW_GROUP);
            let rows = first..n_rows.min(first + ROW_GROUP);
            Group::of(rows.map(|row| &x.row(row)[h * cols..][..cols]))
        });

        let n_panels = weight.n_panels();
        let n_parts = n_panels.div_ceil(PANELS_AT_ONCE);
        let (products, inputs) = (Shares::new(&mut y.data), &*inputs);
        pool.run(n_heads * n_parts, &|i| {
            let (h, part) = (i / n_parts, i % n_parts);
            let panels = part * PANELS_AT_ONCE..n_panels.min((part + 1) * PANELS_AT_ONCE);
            let all_rows = (h * n_groups..(h + 1) * n_groups, h * n_rows..(h + 1) * n_rows);
            inputs.products(kernels, &products, (weight, h), panels, all_rows);
        });

        let width = out.width;
        each_rows(kernels, pool, out, |_, out, all_rows| {
            for (row, out) in all_rows.zip(out.chunks_exact_mut(width)) {
                for (h, out) in out.chunks_exact_mut(rows + tail_width).enumerate() {
                    out[..rows].copy_from_slice(y.row(h * n_rows + row));
                    if let Some(tail) = tail {
                        out[rows..].copy_from_slice(&tail.row(row)[h * tail_width..][..tail_width]);
                    }
                }
            }
        });
    }
}
