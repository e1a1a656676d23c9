//! A mixture of experts: rows are sorted by expert, and every expert is an ordinary network over its rows.

use std::ops::Range;

use inferno_model::architecture::Routing;
use inferno_model::backend::{self, Activations as _, ExpertBiases, ExpertWeights};
use inferno_model::routing::{Choice, route, scale_shares};

use crate::backend::{Buffer, Cpu, Weight};
use crate::kernels::Kernels;
use crate::matmul::{Inputs, PANELS_AT_ONCE};
use crate::memory::Shares;
use crate::packed::Packed;
use crate::pool::Pool;
use crate::simd::ROW_GROUP;

/// Reused from step to step.
#[derive(Debug)]
pub(crate) struct ExpertScratch {
    /// By expert, then by row.
    chosen: Vec<Chosen>,
    choices: Vec<Choice>,
    /// Experts that have rows.
    active: Vec<Active>,
    x: Buffer,
    gate: Buffer,
    up: Buffer,
    down: Buffer,
    inputs: Inputs,
}

/// A row's choice of an expert.
#[derive(Debug, Clone, Copy)]
struct Chosen {
    expert: usize,
    row: usize,
    share: f32,
    /// Its row in the buffers, where every expert's rows begin a group.
    place: usize,
}

/// An expert and the places of its rows.
#[derive(Debug, Clone)]
struct Active {
    expert: usize,
    places: Range<usize>,
}

impl Default for ExpertScratch {
    fn default() -> Self {
        let [x, gate, up, down] = [(); 4].map(|()| Buffer::new(1));
        let (chosen, choices, active) = Default::default();
        ExpertScratch { chosen, choices, active, x, gate, up, down, inputs: Inputs::default() }
    }
}

impl ExpertScratch {
    /// Sorts rows by expert; returns the rows the buffers need.
    fn sort(
        &mut self,
        router: &Buffer,
        [exp_probs_b, scales]: [Option<&[f32]>; 2],
        routing: &Routing,
    ) -> usize {
        self.chosen.clear();
        for row in 0..router.n_rows() {
            route(router.row(row), exp_probs_b, routing, &mut self.choices);
            scale_shares(&mut self.choices, scales);
            let choices = self.choices.iter();
            self.chosen.extend(choices.map(|c| Chosen { expert: c.expert, row, share: c.share, place: 0 }));
        }
        self.chosen.sort_unstable_by_key(|c| (c.expert, c.row));
        self.active.clear();
        let mut n_places = 0usize;
        for chosen in &mut self.chosen {
            if self.active.last().is_none_or(|last| last.expert != chosen.expert) {
                n_places = n_places.next_multiple_of(ROW_GROUP);
                self.active.push(Active { expert: chosen.expert, places: n_places..n_places });
            }
            chosen.place = n_places;
            n_places += 1;
            self.active.last_mut().expect("pushed above").places.end = n_places;
        }
        n_places.next_multiple_of(ROW_GROUP)
    }
}

impl Cpu {
    /// out = the weighed sum of every row's chosen experts.
    pub(crate) fn chosen_experts(&mut self, out: &mut Buffer, experts: backend::Experts<'_, Weight, Buffer>) {
        let backend::Experts { x, router, weights, exp_probs_b, routing, activation } = experts;
        let ExpertWeights { ffn_gate_exps: gate, ffn_up_exps: up, ffn_down_exps: down, biases, scales } =
            weights;
        let vectors = [exp_probs_b, scales].map(|vector| vector.map(Weight::vector));
        let n_places = self.experts.sort(router, vectors, routing);
        let e = &mut self.experts;
        for (buffer, width) in [
            (&mut e.x, x.width),
            (&mut e.gate, gate.packed.rows),
            (&mut e.up, gate.packed.rows),
            (&mut e.down, x.width),
        ] {
            buffer.width = width;
            buffer.resize(n_places);
        }
        // Places that fill up a group hold anything: no product is taken of them.
        for c in &e.chosen {
            e.x.data[c.place * x.width..][..x.width].copy_from_slice(x.row(c.row));
        }

        let (kernels, pool) = (&self.kernels, &mut self.pool);
        e.inputs.prepare(kernels, pool, &e.x, [gate.packed.layout, up.packed.layout].into_iter());
        let outs = [Shares::new(&mut e.gate.data), Shares::new(&mut e.up.data)];
        products(kernels, pool, (&e.inputs, &e.active), &[&gate.packed, &up.packed], &outs);

        if let Some(ExpertBiases { gate, up, .. }) = &biases {
            e.gate.add_biases(kernels, &e.chosen, gate);
            e.up.add_biases(kernels, &e.chosen, up);
        }
        let width = e.gate.width;
        let (gates, up) = (Shares::new(&mut e.gate.data), &e.up.data);
        pool.run(n_places, &|row| {
            // SAFETY: every row is one thread's.
            let gate = unsafe { gates.at(row * width..(row + 1) * width) };
            (kernels.glu)(gate, &up[row * width..(row + 1) * width], activation);
        });

        e.inputs.prepare(kernels, pool, &e.gate, [down.packed.layout].into_iter());
        let outs = [Shares::new(&mut e.down.data)];
        products(kernels, pool, (&e.inputs, &e.active), &[&down.packed], &outs);

        if let Some(ExpertBiases { down, .. }) = &biases {
            e.down.add_biases(kernels, &e.chosen, down);
        }
        // In ascending order of experts.
        out.resize(x.n_rows());
        out.data.fill(0.0);
        let width = out.width;
        for c in &e.chosen {
            let y = &e.down.data[c.place * width..][..width];
            (kernels.add_scaled)(&mut out.data[c.row * width..][..width], y, c.share);
        }
    }
}

impl Buffer {
    /// Adds its expert's vector to the row of every choice.
    fn add_biases(&mut self, kernels: &Kernels, chosen: &[Chosen], biases: &Weight) {
        for c in chosen {
            (kernels.add)(&mut self.data[c.place * self.width..][..self.width], biases.vector_of(c.expert));
        }
    }
}

/// Every out = every active expert's rows × its matrix of a weight. A task is a few panels of one expert.
fn products(
    kernels: &Kernels,
    pool: &mut Pool,
    (inputs, active): (&Inputs, &[Active]),
    weights: &[&Packed],
    outs: &[Shares<'_, f32>],
) {
    // Gate and up have one shape.
    let n_panels = weights[0].n_panels();
    let n_parts = n_panels.div_ceil(PANELS_AT_ONCE);
    pool.run(weights.len() * active.len() * n_parts, &|i| {
        let (i, part) = (i / n_parts, i % n_parts);
        let (active, matrix) = (&active[i / weights.len()], i % weights.len());
        let panels = part * PANELS_AT_ONCE..n_panels.min((part + 1) * PANELS_AT_ONCE);
        let weight = (weights[matrix], active.expert);
        inputs.products(kernels, &outs[matrix], weight, panels, active.places.clone());
    });
}
