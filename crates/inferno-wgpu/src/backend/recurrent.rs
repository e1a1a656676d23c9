//! Recurrent layers: threads have channels or columns of a sequence's state and go through its rows.

use inferno_model::backend::{CausalConv, DeltaRule, HeadOrder, UNIT_EPS};

use super::{KvPool, Wgpu};
use crate::buffer::{Buffer, storages};
use crate::kernels::params::{self, word};
use crate::kernels::{Kernel, delta_columns};
use crate::matrix::Weight;
use crate::recorder::{Bound, Grid};

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
        let params = params::CausalConv {
            n_spans: word(n_spans),
            channels: word(x.width),
            stride: word(x.stride()),
            spans: word(spans),
            at: word(at),
            page_len: word(pool.groups[layer.group].state_words()),
            activation: activation.into(),
        };
        let states = pool.layer(layer);
        let buffers = Bound::new([Some(states), Some(to), Some(from), Some(weight.vector()), None])
            .and(bias.map(|bias| Some(bias.vector())));
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
        let params = params::DeltaPrepare {
            n_rows: word(n_rows),
            n_key_heads: word(n_key_heads),
            n_value_heads: word(n_heads),
            width: word(width),
            n_decays: word(n_decays),
            stride: word(prepared.stride()),
            q_stride: word(q.x.stride()),
            q_first: word(q.first),
            k_stride: word(k.x.stride()),
            k_first: word(k.first),
            beta_stride: word(beta.stride()),
            alpha_stride: word(alpha.stride()),
            of_query: 1.0 / (width as f32).sqrt(),
            eps: UNIT_EPS,
        };
        let buffers = [between, queries, keys, strengths, decays, ssm_a.vector(), ssm_dt.vector()].map(Some);
        let grid = Grid::Groups(n_rows * n_key_heads);
        recorder.dispatch(gpu, Kernel::DeltaPrepare, &buffers, &params, &grid);

        let params = params::DeltaRule {
            n_key_heads: word(n_key_heads),
            n_value_heads: word(n_heads),
            is_grouped: u32::from(heads.order == HeadOrder::Grouped),
            n_decays: word(n_decays),
            spans: word(spans),
            at: word(at),
            page_len: word(pool.groups[layer.group].state_words()),
            out_stride: word(out.stride()),
            v_stride: word(v.x.stride()),
            v_first: word(v.first),
            prepared_stride: word(prepared.stride()),
        };
        let states = pool.layer(layer);
        let buffers = [Some(states), Some(to), Some(values), Some(between), None];
        let n_blocks = width.div_ceil(delta_columns(width as u32) as usize);
        let grid = Grid::Box(batch.spans().len(), n_heads, n_blocks);
        recorder.dispatch(gpu, Kernel::DeltaRule(width as u32), &buffers, &params, &grid);
    }
}
