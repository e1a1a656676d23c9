//! A mixture of experts: rows are sorted by expert, and every expert is an ordinary network over its rows.

use std::cell::RefCell;
use std::ops::Range;

use inferno_model::architecture::Routing;
use inferno_model::backend::{self, Activations as _, ExpertBiases, ExpertWeights};
use inferno_model::routing::{Choice, route, scale_shares};

use crate::backend::{Buffer, Cpu, Weight, each_rows};
use crate::kernels::Kernels;
use crate::matmul::{Group, Inputs, PANELS_AT_ONCE};
use crate::memory::Shares;
use crate::packed::Packed;
use crate::pool::Pool;
use crate::simd::ROW_GROUP;

/// Fewest rows that a thread routes.
const ROUTED_ROWS: usize = 8;

thread_local! {
    static CHOICES: RefCell<Vec<Choice>> = RefCell::default();
}

/// Reused from step to step. A place is a row of what experts compute: one for every choice of a row, in the order of
/// experts, then of rows.
#[derive(Debug)]
pub(crate) struct ExpertScratch {
    /// (n_rows, n_used), experts in ascending order
    choices: Vec<Choice>,
    /// (n_rows, n_used): the place of a choice
    places: Vec<usize>,
    /// (n_places): the row whose choice it is
    rows: Vec<usize>,
    /// (n_experts): the next place
    next: Vec<usize>,
    /// Experts that have rows.
    active: Vec<Active>,
    /// Every expert's places in groups of [`ROW_GROUP`].
    groups: Vec<Places>,
    gate: Buffer,
    up: Buffer,
    down: Buffer,
    inputs: Inputs,
}

/// Places of one expert.
#[derive(Debug, Clone)]
struct Places {
    expert: usize,
    places: Range<usize>,
}

/// An expert and its rows.
#[derive(Debug, Clone)]
struct Active {
    expert: usize,
    places: Range<usize>,
    groups: Range<usize>,
}

impl Default for ExpertScratch {
    fn default() -> Self {
        let [gate, up, down] = [(); 3].map(|()| Buffer::new(1));
        let (choices, places, rows, next, active, groups, inputs) = Default::default();
        ExpertScratch { choices, places, rows, next, active, groups, gate, up, down, inputs }
    }
}

impl ExpertScratch {
    /// Routes every row and sorts the choices by expert.
    fn sort(
        &mut self,
        pool: &mut Pool,
        router: &Buffer,
        [exp_probs_b, scales]: [Option<&[f32]>; 2],
        routing: &Routing,
    ) {
        let (n_rows, n_used) = (router.n_rows(), routing.n_used);
        self.choices.resize(n_rows * n_used, Choice { expert: 0, share: 0.0 });
        let choices = Shares::new(&mut self.choices);
        pool.run_ranges(n_rows, ROUTED_ROWS, &|rows| {
            CHOICES.with_borrow_mut(|routed| {
                for row in rows {
                    route(router.row(row), exp_probs_b, routing, routed);
                    scale_shares(routed, scales);
                    // SAFETY: the ranges of rows do not overlap.
                    unsafe { choices.at(row * n_used..(row + 1) * n_used) }.copy_from_slice(routed);
                }
            });
        });
        let n_places = &mut self.next;
        n_places.clear();
        n_places.resize(router.width, 0);
        self.choices.iter().for_each(|choice| n_places[choice.expert] += 1);
        self.active.clear();
        self.groups.clear();
        let mut first = 0;
        for (expert, next) in self.next.iter_mut().enumerate().filter(|(_, n)| **n > 0) {
            let (places, group) = (first..first + *next, self.groups.len());
            let starts = places.clone().step_by(ROW_GROUP);
            self.groups.extend(
                starts.map(|start| Places { expert, places: start..places.end.min(start + ROW_GROUP) }),
            );
            *next = places.start;
            first = places.end;
            self.active.push(Active { expert, places, groups: group..self.groups.len() });
        }
        self.places.clear();
        self.rows.resize(self.choices.len(), 0);
        for (i, choice) in self.choices.iter().enumerate() {
            let next = &mut self.next[choice.expert];
            self.rows[*next] = i / n_used;
            self.places.push(*next);
            *next += 1;
        }
    }
}

impl Cpu {
    /// out = the weighed sum of every row's chosen experts.
    pub(crate) fn chosen_experts(&mut self, out: &mut Buffer, experts: backend::Experts<'_, Weight, Buffer>) {
        let backend::Experts { x, router, weights, exp_probs_b, routing, activation } = experts;
        let ExpertWeights { ffn_gate_exps, ffn_up_exps: up, ffn_down_exps: down, biases, scales } = weights;
        let vectors = [exp_probs_b, scales].map(|vector| vector.map(Weight::vector));
        // Without a gate, `up` itself gives the buffer that the activation is applied to.
        let has_gate = ffn_gate_exps.is_some();
        let gate = &ffn_gate_exps.unwrap_or(up).packed;
        let [up, down] = [&up.packed, &down.packed];
        let Cpu { kernels, pool, experts: e, .. } = self;
        e.sort(pool, router, vectors, routing);
        let ExpertScratch { choices, places, rows, active, groups, inputs, .. } = e;
        let n_groups = groups.len();
        for (buffer, width) in [(&mut e.gate, gate.rows), (&mut e.up, up.rows), (&mut e.down, down.rows)] {
            buffer.width = width;
            buffer.resize(places.len());
        }

        let (weights, outs) = ([gate, up], [Shares::new(&mut e.gate.data), Shares::new(&mut e.up.data)]);
        let n_weights = if has_gate { 2 } else { 1 };
        let (weights, outs) = (&weights[..n_weights], &outs[..n_weights]);
        let layouts = weights.iter().map(|weight| weight.layout);
        if x.n_rows() == 1 {
            // All experts have the same group of one row.
            inputs.prepare(kernels, pool, x, layouts);
            products(kernels, pool, (inputs, active, |_| 0..1), weights, outs);
        } else {
            inputs.prepare_groups(kernels, pool, (n_groups, x.width), layouts, |group| {
                Group::of(rows[groups[group].places.clone()].iter().map(|&row| x.row(row)))
            });
            products(kernels, pool, (inputs, active, |active| active.groups.clone()), weights, outs);
        }

        let width = e.gate.width;
        let (gates, ups) = (Shares::new(&mut e.gate.data), Shares::new(&mut e.up.data));
        inputs.prepare_groups(kernels, pool, (n_groups, width), [down.layout].into_iter(), |group| {
            let Places { expert, places } = &groups[group];
            let numbers = places.start * width..places.end * width;
            // SAFETY: every group is one thread's.
            let (gate, up) = unsafe { (gates.at(numbers.clone()), ups.at(numbers)) };
            if let Some(biases) = &biases {
                for (x, bias) in [(&mut *gate, biases.gate), (&mut *up, biases.up)] {
                    let bias = bias.vector_of(*expert);
                    x.chunks_exact_mut(width).for_each(|x| (kernels.add)(x, bias));
                }
            }
            if has_gate {
                (kernels.glu)(gate, up, activation);
            } else {
                (kernels.activate)(gate, activation);
            }
            Group::of(gate.chunks_exact(width))
        });
        let outs = [Shares::new(&mut e.down.data)];
        products(kernels, pool, (inputs, active, |active| active.groups.clone()), &[down], &outs);

        out.resize(x.n_rows());
        let (n_used, width) = (routing.n_used, out.width);
        let (down, bias) = (Shares::new(&mut e.down.data), biases.map(|ExpertBiases { down, .. }| down));
        each_rows(kernels, pool, out, |kernels, out, rows| {
            out.fill(0.0);
            let chosen = choices.chunks_exact(n_used).zip(places.chunks_exact(n_used)).skip(rows.start);
            for (out, (choices, places)) in out.chunks_exact_mut(width).zip(chosen) {
                for (choice, place) in choices.iter().zip(places) {
                    // SAFETY: a place is one row's, and the ranges of rows do not overlap.
                    let y = unsafe { down.at(place * width..(place + 1) * width) };
                    if let Some(bias) = bias {
                        (kernels.add)(y, bias.vector_of(choice.expert));
                    }
                    (kernels.add_scaled)(out, y, choice.share);
                }
            }
        });
    }
}

/// Every out = every active expert's rows, which are in `groups` of it, × its matrix of a weight. A task is a few panels of
/// one expert.
fn products(
    kernels: &Kernels,
    pool: &mut Pool,
    (inputs, active, groups): (&Inputs, &[Active], impl Fn(&Active) -> Range<usize> + Sync),
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
        inputs.products(kernels, &outs[matrix], weight, panels, (groups(active), active.places.clone()));
    });
}
