//! Compound operations in fewer dispatches than their plain paths.

use inferno_model::backend::{
    AttendHeads, Attention, Backend, Branch, Experts, ExpertsAdd, GluMatmul, MatmulAdd, NormMatmul, QkNorm,
};
use inferno_model::rope::{Angles, Pairing};

use super::attention::OwnHeads;
use super::{KvPool, Wgpu};
use crate::buffer::{Buffer, storages};
use crate::kernels::Kernel;
use crate::kernels::params::{self, word};
use crate::layout::Layout;
use crate::matmul::prepared::{Source, fits};
use crate::matrix::Weight;
use crate::recorder::{Bound, Grid, VECTOR};

impl Wgpu {
    /// [`Backend::norm_matmul`]: the norm of a single row is part of its products.
    pub(super) fn multiply_normed(&mut self, op: NormMatmul<'_, Weight, Buffer>) {
        let Some(weight) = op.norm.filter(|_| fits(op.x.n_rows, op.weights)) else { return op.plain(self) };
        let NormMatmul { outs, weights, normed, x, eps, .. } = op;
        let Wgpu { gpu, recorder, s, .. } = self;
        normed.resize(gpu, recorder, 1);
        let source = Source::Norm { x, weight, eps, normed };
        s.inputs.multiply_prepared(gpu, recorder, (outs, weights, source), false);
    }

    /// [`Backend::matmul_add`]: the sum with the residual stream is part of the product, unless something comes between; so is the
    /// quantization of a single row.
    pub(super) fn matmul_onto(&mut self, op: MatmulAdd<'_, Weight, Buffer>) {
        let MatmulAdd { input, weight, branch } = op;
        let is_ready = match weight.layout {
            Layout::Floats(_) => true,
            Layout::Integers(_) => input.storage().is_some_and(|x| self.recorder.is_quantized(x)),
        };
        if !is_ready && fits(input.n_rows, &[weight]) {
            return self.end_prepared(Source::Row(input), weight, branch);
        }
        if branch.is_a_sum() {
            let Wgpu { gpu, recorder, s, .. } = self;
            s.inputs.prepare(gpu, recorder, input, &[weight]);
            return s.inputs.multiply_onto(gpu, recorder, (branch.x, weight, input));
        }
        self.matmul(&mut [&mut *branch.y], &[weight], input);
        self.end_branch(branch);
    }

    /// [`Backend::glu_matmul`]: the gates of a single row are part of their product.
    pub(super) fn multiply_gated(&mut self, op: GluMatmul<'_, Weight, Buffer>) {
        let GluMatmul { gate, up, activation, down, branch } = op;
        if fits(gate.n_rows, &[down]) {
            return self.end_prepared(Source::Gates { gate, up, activation }, down, branch);
        }
        match up {
            Some(up) => self.glu(gate, up, activation),
            None => self.activate(gate, activation),
        }
        self.matmul_onto(MatmulAdd { input: gate, weight: down, branch });
    }

    /// The branch of the row × weightᵀ.
    fn end_prepared(&mut self, source: Source<'_>, weight: &Weight, branch: Branch<'_, Weight, Buffer>) {
        let Wgpu { gpu, recorder, s, .. } = self;
        let is_a_sum = branch.is_a_sum();
        let out = if is_a_sum { &mut *branch.x } else { &mut *branch.y };
        s.inputs.multiply_prepared(gpu, recorder, (&mut [out], &[weight], source), is_a_sum);
        if !is_a_sum {
            self.end_branch(branch);
        }
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
        let is_own =
            angles.query_scales.is_empty() && self.can_prepare_heads(op.pool, op.batch, op.attention);
        let params = self.heads_params(&op, angles);
        let heads = OwnHeads {
            params,
            k: op.k,
            v: op.v,
            norms: op.q_norm.zip(op.k_norm).map(|(q, k)| [q, k].map(Weight::vector)),
        };
        if is_own {
            return self.attend_to(op.out, op.q, op.pool, op.batch, (op.attention, op.sinks), Some(heads));
        }
        self.prepare_heads(op.q, heads, op.pool, op.attention);
        op.scale_queries(self);
        self.attend_to(op.out, op.q, op.pool, op.batch, (op.attention, op.sinks), None);
    }

    fn heads_params(
        &mut self,
        op: &AttendHeads<'_, Weight, Buffer, KvPool>,
        angles: &Angles,
    ) -> params::Heads {
        let [cos, sin] = self.place_angles(angles);
        let Wgpu { gpu, recorder, placed, .. } = self;
        let AttendHeads { q, k, v, pool, batch, attention, .. } = op;
        placed.place(recorder, gpu, batch, pool.groups.len());
        params::Heads {
            n_rows: word(k.n_rows),
            n_heads: word(attention.n_heads),
            n_kv_heads: word(attention.n_kv_heads),
            q_stride: word(q.stride()),
            k_stride: word(k.stride()),
            v_stride: word(v.stride()),
            n_pairs: word(angles.dims / 2),
            cos: word(cos),
            sin: word(sin),
            is_adjacent: u32::from(angles.pairing == Pairing::Adjacent),
            slots: word(placed.slots(attention.layer.group)),
            eps: op.eps,
        }
    }

    fn prepare_heads(&mut self, q: &Buffer, heads: OwnHeads<'_>, pool: &KvPool, attention: &Attention) {
        let OwnHeads { params, k, v, norms } = heads;
        let (queries, keys, values) = storages!(q, k, v);
        let [q_norm, k_norm] = norms.map_or([None; 2], |norms| norms.map(Some));
        let buffers = [
            Some(pool.layer(attention.layer)),
            Some(queries),
            Some(keys),
            Some(values),
            q_norm,
            k_norm,
            None,
        ];
        let grid = Grid::Groups((params.n_rows * (params.n_heads + 2 * params.n_kv_heads)) as usize);
        let kernel = Kernel::Heads(pool.groups[attention.layer.group].layout, norms.is_some());
        self.recorder.dispatch(&self.gpu, kernel, &buffers, &params, &grid);
    }
}
