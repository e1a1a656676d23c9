//! Compound operations in fewer dispatches than their plain paths.

use inferno_model::backend::{AttendHeads, Backend, Branch, Experts, ExpertsAdd, MatmulAdd, QkNorm};
use inferno_model::rope::{Angles, Pairing};

use super::{KvPool, Wgpu};
use crate::buffer::{Buffer, storages};
use crate::kernels::Kernel;
use crate::kernels::params::{self, word};
use crate::kv::KvGroup;
use crate::matrix::Weight;
use crate::recorder::{Bound, Grid, VECTOR};

impl Wgpu {
    /// [`Backend::matmul_add`]: the sum with the residual stream is part of the product, unless something comes between.
    pub(super) fn matmul_onto(&mut self, op: MatmulAdd<'_, Weight, Buffer>) {
        let MatmulAdd { input, weight, branch } = op;
        if branch.is_a_sum() {
            let Wgpu { gpu, recorder, s, .. } = self;
            s.inputs.prepare(gpu, recorder, input, &[weight]);
            return s.inputs.multiply_onto(gpu, recorder, (branch.x, weight, input));
        }
        self.matmul(&mut [&mut *branch.y], &[weight], input);
        self.end_branch(branch);
    }

    /// [`Backend::experts_add`]: the same for the sum over experts.
    pub(super) fn experts_onto(&mut self, op: ExpertsAdd<'_, Weight, Buffer>) {
        let ExpertsAdd { router, weights, exp_probs_b, routing, activation, branch } = op;
        let x = &*branch.h;
        let experts = Experts { x, router, weights, exp_probs_b, routing, activation };
        if branch.is_a_sum() {
            return self.experts_to(branch.x, true, experts);
        }
        self.experts_to(branch.y, false, experts);
        self.end_branch(branch);
    }

    fn end_branch(&mut self, branch: Branch<'_, Weight, Buffer>) {
        match (branch.norm, branch.scale) {
            (None, None) => self.add_biased(branch.x, branch.y, branch.bias),
            _ => branch.add(self),
        }
    }

    /// x += y + bias.
    pub(super) fn add_biased(&mut self, x: &mut Buffer, y: &Buffer, bias: Option<&Weight>) {
        let (to, from) = storages!(x, y);
        let n = x.len() / VECTOR;
        let params = params::Add { n: word(n), stride: word(x.stride() / VECTOR) };
        let buffers = Bound::new([Some(to), Some(from)]).and(bias.map(|bias| Some(bias.vector())));
        let kernel = Kernel::Add(bias.is_some());
        self.recorder.dispatch(&self.gpu, kernel, &buffers, &params, &Grid::Threads(n));
    }

    /// [`Backend::attend_heads`]: norms, rotation and storing are one dispatch.
    pub(super) fn prepare_and_attend(&mut self, mut op: AttendHeads<'_, Weight, Buffer, KvPool>) {
        let is_normed = op.q_norm.is_some();
        let is_usual = op.k_norm.is_some() == is_normed
            && (op.qk_norm == QkNorm::Heads || !is_normed)
            && op.v_norm.is_none();
        let Some(angles) = op.angles.filter(|_| is_usual) else { return op.plain(self) };
        op.add_biases(self);
        self.prepare_heads(&mut op, angles);
        op.scale_queries(self);
        self.attend_to(op.out, op.q, op.pool, op.batch, op.attention, op.sinks);
    }

    fn prepare_heads(&mut self, op: &mut AttendHeads<'_, Weight, Buffer, KvPool>, angles: &Angles) {
        let [cos, sin] = self.place_angles(angles);
        let Wgpu { gpu, recorder, placed, .. } = self;
        let AttendHeads { q, k, v, pool, batch, attention, .. } = op;
        placed.place(recorder, gpu, batch, pool.groups.len());
        let KvGroup { layout, n_kv_heads, .. } = pool.groups[attention.layer.group];
        let (queries, keys, values) = storages!(q, k, v);
        let params = params::Heads {
            n_rows: word(k.n_rows),
            n_heads: word(attention.n_heads),
            n_kv_heads: word(n_kv_heads),
            q_stride: word(q.stride()),
            k_stride: word(k.stride()),
            v_stride: word(v.stride()),
            n_pairs: word(angles.dims / 2),
            cos: word(cos),
            sin: word(sin),
            is_adjacent: u32::from(angles.pairing == Pairing::Adjacent),
            slots: word(placed.slots(attention.layer.group)),
            eps: op.eps,
        };
        let [q_norm, k_norm] = [op.q_norm, op.k_norm].map(|norm| norm.map(Weight::vector));
        let storage = pool.layer(attention.layer);
        let buffers = [Some(storage), Some(queries), Some(keys), Some(values), q_norm, k_norm, None];
        let grid = Grid::Groups(k.n_rows * (attention.n_heads + 2 * n_kv_heads));
        recorder.dispatch(gpu, Kernel::Heads(layout, q_norm.is_some()), &buffers, &params, &grid);
    }
}
