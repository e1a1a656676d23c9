//! Products head by head, each with a matrix of its own.

use super::{Scratch, Wgpu};
use crate::buffer::{Buffer, storages};
use crate::device::Gpu;
use crate::kernels::Kernel;
use crate::kernels::params::{self, word};
use crate::layout::BLOCK;
use crate::matrix::Weight;
use crate::recorder::{Grid, Recorder};

/// Numbers of a buffer by row and head.
struct Heads<'a> {
    buffer: &'a Buffer,
    /// Numbers from a row to the next, and from a head to the next.
    strides: [usize; 2],
}

impl Wgpu {
    /// [`Backend::matmul_heads`](inferno_model::backend::Backend::matmul_heads): a head of a row is a row of its own, and heads
    /// are put together at the end.
    pub(super) fn multiply_heads(
        &mut self,
        out: &mut Buffer,
        weight: &Weight,
        x: &Buffer,
        tail: Option<&Buffer>,
        n_heads: usize,
    ) {
        let Wgpu { gpu, recorder, s: Scratch { inputs, heads, products, .. }, .. } = self;
        let (n_rows, cols) = (x.n_rows, weight.cols);
        out.resize(gpu, recorder, n_rows);
        let view;
        let x = match cols.is_multiple_of(BLOCK) {
            true => {
                view = x.view(cols);
                &view
            }
            false => {
                heads.reshape(gpu, recorder, cols, n_rows * n_heads);
                let apart = [n_heads * heads.stride(), heads.stride()];
                let from = Heads { buffer: x, strides: [x.stride(), cols] };
                join(gpu, recorder, (heads, apart), [n_rows, n_heads, cols], from, None);
                &*heads
            }
        };
        inputs.prepare(gpu, recorder, x, &[weight]);
        // Nothing is computed of what fills up its rows.
        products.width = weight.rows;
        products.resize(gpu, recorder, n_rows * n_heads);
        inputs.multiply_heads(gpu, recorder, (products, weight, x), n_heads);
        let from = Heads { buffer: products, strides: [n_heads * products.stride(), products.stride()] };
        let together = [out.stride(), out.width / n_heads];
        join(gpu, recorder, (out, together), [n_rows, n_heads, weight.rows], from, tail);
    }
}

/// Every head of out = that of `first`, (n_rows, n_heads, width), followed by that of `second`.
fn join(
    gpu: &Gpu,
    recorder: &mut Recorder,
    (out, [out_row, out_head]): (&mut Buffer, [usize; 2]),
    [n_rows, n_heads, width]: [usize; 3],
    first: Heads<'_>,
    second: Option<&Buffer>,
) {
    let rest = second.unwrap_or(first.buffer);
    let whole = width + second.map_or(0, |second| second.width / n_heads);
    let (to, from, rest_from) = storages!(out, first.buffer, rest);
    let params = params::JoinHeads {
        n_rows: word(n_rows),
        n_heads: word(n_heads),
        width: word(whole),
        first_width: word(width),
        out_row: word(out_row),
        out_head: word(out_head),
        first_row: word(first.strides[0]),
        first_head: word(first.strides[1]),
        second_row: word(rest.stride()),
    };
    let grid = Grid::Threads(n_rows * n_heads * whole);
    recorder.dispatch(gpu, Kernel::JoinHeads, &[Some(to), Some(from), Some(rest_from)], &params, &grid);
}
