//! Mixtures of experts: rows are grouped by expert on the device, and every expert is multiplied with its rows.

use inferno_model::architecture::Gating;
use inferno_model::backend::{ExpertWeights, Experts};

use super::activation::{RoutedBiases, glu};
use super::{Scratch, Wgpu};
use crate::buffer::{Buffer, storages};
use crate::kernels::Kernel;
use crate::kernels::params::{self, word};
use crate::matmul::{Chosen, FEW_ROWS};
use crate::matrix::Weight;
use crate::recorder::{Bound, Grid, VECTOR};

impl Wgpu {
    /// out = what the experts give, or the sum of both.
    pub(super) fn experts_to(&mut self, out: &mut Buffer, adds: bool, experts: Experts<'_, Weight, Buffer>) {
        let Experts { x, router, weights, exp_probs_b, routing, activation } = experts;
        let Wgpu { gpu, recorder, s, .. } = self;
        let Scratch { inputs, chosen, shares, order, groups, gate, up, down, .. } = s;
        let ExpertWeights { ffn_gate_exps, ffn_up_exps, ffn_down_exps, biases, scales } = weights;
        let (n_used, n) = (routing.n_used, x.n_rows * routing.n_used);
        // One row has no company.
        let rows = if x.n_rows == 1 { 1 } else { FEW_ROWS };
        let n_groups = n.div_ceil(rows) + router.width.min(n);
        for (buffer, n) in
            [(&mut *chosen, n), (&mut *shares, n), (&mut *order, n), (&mut *groups, 3 * n_groups)]
        {
            buffer.reserve(gpu, recorder, n);
        }
        let (ids, weighed, logits) = storages!(chosen, shares, router);
        let (order, groups) = storages!(order, groups);
        let [n_expert_groups, n_groups_used, n_best] =
            routing.groups.map_or([1, 1, 1], |groups| [groups.n, groups.n_used, groups.n_best]);
        let params = params::Route {
            n_rows: word(x.n_rows),
            n_experts: word(router.width),
            stride: word(router.stride()),
            n_chosen: word(n_used),
            is_renormalized: u32::from(routing.renormalize),
            scale: routing.scale,
            gating: match routing.gating {
                Gating::Softmax => 0,
                Gating::Sigmoid => 1,
                Gating::SqrtSoftplus => 2,
            },
            n_groups: word(n_expert_groups),
            n_groups_used: word(n_groups_used),
            n_best: word(n_best),
        };
        let vectors = [exp_probs_b, scales].into_iter().flatten().map(|vector| Some(vector.vector()));
        let buffers = Bound::new([Some(ids), Some(weighed), Some(logits)]).and(vectors);
        let kernel = Kernel::Route(exp_probs_b.is_some(), scales.is_some());
        recorder.dispatch(gpu, kernel, &buffers, &params, &Grid::Threads(x.n_rows));
        let params = params::Group { n: word(n), n_experts: word(router.width), n_groups: word(n_groups) };
        let buffers = [Some(order), Some(groups), Some(ids)];
        recorder.dispatch(gpu, Kernel::Group(rows as u32), &buffers, &params, &Grid::Groups(1));
        let chosen = |n_each| Chosen { order, groups, n, n_groups, rows, n_each };

        // Without a gate, `ffn_up_exps` itself gives the buffer that the activation is applied to.
        let first = ffn_gate_exps.unwrap_or(ffn_up_exps);
        let second = ffn_gate_exps.map(|_| (&mut *up, ffn_up_exps));
        inputs.prepare(gpu, recorder, x, &[first, ffn_up_exps]);
        for (y, weight) in std::iter::once((&mut *gate, first)).chain(second) {
            y.reshape(gpu, recorder, weight.rows, n);
            inputs.multiply_chosen(gpu, recorder, (y, weight, x), &chosen(n_used));
        }
        let routed = biases.as_ref().map(|b| RoutedBiases { experts: ids, gate: b.gate, up: b.up });
        glu(recorder, gpu, inputs, (gate, ffn_gate_exps.map(|_| &*up)), routed, activation);
        inputs.prepare(gpu, recorder, gate, &[ffn_down_exps]);
        down.reshape(gpu, recorder, ffn_down_exps.rows, n);
        inputs.multiply_chosen(gpu, recorder, (down, ffn_down_exps, gate), &chosen(1));

        out.resize(gpu, recorder, x.n_rows);
        let (to, from) = storages!(out, down);
        let n = out.len() / VECTOR;
        let params = params::Combine {
            n: word(n),
            stride: word(out.stride() / VECTOR),
            n_chosen: word(n_used),
            adds: u32::from(adds),
            width: word(out.width),
        };
        let biased = biases.as_ref().map(|biases| [ids, biases.down.vector()].map(Some));
        let buffers = Bound::new([Some(to), Some(from), Some(weighed)]).and(biased.into_iter().flatten());
        recorder.dispatch(gpu, Kernel::Combine(biases.is_some()), &buffers, &params, &Grid::Threads(n));
    }
}
