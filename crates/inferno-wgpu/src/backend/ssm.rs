//! State-space layers: a workgroup has columns of a head's state and goes through the rows of a sequence.

use inferno_model::backend::{Activations as _, SsmScan};

use super::{KvPool, Scratch, Wgpu};
use crate::buffer::{Buffer, storages};
use crate::kernels::params::{self, word};
use crate::kernels::{Kernel, ssm_columns};
use crate::matrix::Weight;
use crate::recorder::Grid;

impl Wgpu {
    /// [`Backend::ssm_scan`](inferno_model::backend::Backend::ssm_scan).
    pub(super) fn scan(&mut self, op: SsmScan<'_, Weight, Buffer, KvPool>) {
        let SsmScan { out, xbc, dt, dt_bias, a, d, shape, pool, layer, at, batch } = op;
        let Wgpu { gpu, recorder, placed, s: Scratch { steps, .. }, .. } = self;
        placed.place(recorder, gpu, batch, pool.groups.len());
        let spans = placed.states(recorder, gpu, layer.group);
        out.resize(gpu, recorder, xbc.n_rows);
        steps.reshape(gpu, recorder, 2 * shape.n_heads, xbc.n_rows);
        let n = dt.n_rows() * shape.n_heads;
        let (to, from, rates, given) = storages!(out, xbc, steps, dt);
        let params = params::SsmSteps {
            n_rows: word(xbc.n_rows),
            n_heads: word(shape.n_heads),
            dt_stride: word(dt.stride()),
            stride: word(steps.stride()),
        };
        let buffers = [rates, given, dt_bias.vector(), a.vector()].map(Some);
        recorder.dispatch(gpu, Kernel::SsmSteps, &buffers, &params, &Grid::Threads(n));

        let n_spans = batch.spans().len();
        let params = params::SsmScan {
            n_spans: word(n_spans),
            n_heads: word(shape.n_heads),
            head_width: word(shape.head_width),
            heads_per_group: word(shape.n_heads / shape.n_groups),
            first_c: word(shape.inner() + shape.n_groups * shape.state_size),
            xbc_stride: word(xbc.stride()),
            steps_stride: word(steps.stride()),
            out_stride: word(out.stride()),
            spans: word(spans),
            at: word(at),
            page_len: word(pool.groups[layer.group].state_words()),
        };
        let columns = ssm_columns(shape.head_width);
        let buffers = [Some(pool.layer(layer)), Some(to), Some(from), Some(rates), Some(d.vector()), None];
        let n_parts = shape.head_width.div_ceil(columns as usize);
        let grid = Grid::Groups(n_spans * shape.n_heads * n_parts);
        let kernel = Kernel::SsmScan(shape.state_size as u32, columns);
        recorder.dispatch(gpu, kernel, &buffers, &params, &grid);
    }
}
