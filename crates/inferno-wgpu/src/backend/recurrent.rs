//! Recurrent layers: a thread has a channel of a sequence and goes through its rows.

use inferno_model::backend::CausalConv;

use super::{KvPool, Wgpu, with_activation};
use crate::buffer::{Buffer, storages};
use crate::kernels::Kernel;
use crate::matrix::Weight;
use crate::recorder::{Grid, Params};

impl Wgpu {
    /// [`Backend::causal_conv`](inferno_model::backend::Backend::causal_conv).
    pub(super) fn convolve(&mut self, op: CausalConv<'_, Weight, Buffer, KvPool>) {
        let CausalConv { out, x, weight, kernel, bias, activation, pool, layer, at, batch } = op;
        let Wgpu { gpu, recorder, placed, .. } = self;
        placed.place(recorder, gpu, batch, pool.groups.len());
        let spans = placed.states(recorder, gpu, layer.group);
        out.resize(gpu, recorder, x.n_rows);
        let (to, from) = storages!(out, x);
        let n_spans = batch.spans().len();
        let params = Params::default()
            .uint(n_spans)
            .uint(x.width)
            .uint(x.stride())
            .uint(spans)
            .uint(at)
            .uint(pool.groups[layer.group].state_words());
        let params = with_activation(params, activation);
        let states = &pool.layers[layer.layer];
        let mut buffers = vec![Some(states), Some(to), Some(from), Some(weight.vector()), None];
        buffers.extend(bias.map(|bias| Some(bias.vector())));
        let kernel = Kernel::CausalConv(kernel as u32, bias.is_some());
        recorder.dispatch(gpu, kernel, &buffers, &params, &Grid::Threads(n_spans * x.stride()));
    }
}
