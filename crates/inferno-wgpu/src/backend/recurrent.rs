//! Recurrent layers: threads have channels or columns of a sequence's state and go through its rows.

use inferno_model::backend::{CausalConv, DeltaRule, HeadOrder, UNIT_EPS};

use super::{KvPool, Wgpu, with_activation};
use crate::buffer::{Buffer, storages};
use crate::kernels::{Kernel, delta_columns};
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
        let states = pool.layer(layer);
        let mut buffers = vec![Some(states), Some(to), Some(from), Some(weight.vector()), None];
        buffers.extend(bias.map(|bias| Some(bias.vector())));
        let kernel = Kernel::CausalConv(kernel as u32, bias.is_some());
        recorder.dispatch(gpu, kernel, &buffers, &params, &Grid::Threads(n_spans * x.stride()));
    }

    /// [`Backend::delta_rule`](inferno_model::backend::Backend::delta_rule).
    pub(super) fn apply_delta_rule(&mut self, op: DeltaRule<'_, Weight, Buffer, KvPool>) {
        let DeltaRule { out, q, k, v, beta, alpha, ssm_a, ssm_dt, heads, pool, layer, at, batch } = op;
        let Wgpu { gpu, recorder, placed, s, .. } = self;
        placed.place(recorder, gpu, batch, pool.groups.len());
        let spans = placed.states(recorder, gpu, layer.group);
        let n_rows = v.x.n_rows;
        let (n_key_heads, n_heads, width) = (heads.n_key_heads, heads.n_value_heads, heads.width);
        let n_decays = alpha.width / n_heads;
        let prepared = &mut s.prepared;
        prepared.reshape(gpu, recorder, 2 * heads.key_dim() + n_heads + alpha.width, n_rows);
        out.resize(gpu, recorder, n_rows);

        let (queries, keys, values, strengths, decays) = storages!(q.x, k.x, v.x, beta, alpha);
        let (to, between) = storages!(out, prepared);
        let params = Params::default()
            .uint(n_rows)
            .uint(n_key_heads)
            .uint(n_heads)
            .uint(width)
            .uint(n_decays)
            .uint(prepared.stride())
            .uints(&[q.x.stride(), q.first, k.x.stride(), k.first])
            .uints(&[beta.stride(), alpha.stride()])
            .float(1.0 / (width as f32).sqrt())
            .float(UNIT_EPS);
        let buffers = [between, queries, keys, strengths, decays, ssm_a.vector(), ssm_dt.vector()].map(Some);
        let grid = Grid::Groups(n_rows * n_key_heads);
        recorder.dispatch(gpu, Kernel::DeltaPrepare, &buffers, &params, &grid);

        let params = Params::default()
            .uint(n_key_heads)
            .uint(n_heads)
            .uint(usize::from(heads.order == HeadOrder::Grouped))
            .uint(n_decays)
            .uint(spans)
            .uint(at)
            .uint(pool.groups[layer.group].state_words())
            .uints(&[out.stride(), v.x.stride(), v.first, prepared.stride()]);
        let states = pool.layer(layer);
        let buffers = [Some(states), Some(to), Some(values), Some(between), None];
        let n_blocks = width.div_ceil(delta_columns(width as u32) as usize);
        let grid = Grid::Box(batch.spans().len(), n_heads, n_blocks);
        recorder.dispatch(gpu, Kernel::DeltaRule(width as u32), &buffers, &params, &grid);
    }
}
