//! Compound operations: what a layer asks of a device in one call. Each is the operations of its plain path one after the
//! other, to the bit; a device that has kernels for more than one of them at a time does the same in fewer.
//!
//! `W`, `T` and `P` are the backend's weights, buffers and KV pool; `n` is the number of rows.

use super::{Backend, ExpertWeights};
use crate::architecture::{Activation, Routing};

/// The end of half a layer: x += scale * norm(y + bias), of which each may be absent.
#[derive(Debug)]
pub struct Branch<'a, W, T> {
    /// (n, dim), the residual stream
    pub x: &'a mut T,
    /// (n, dim), what is added; holds anything afterwards
    pub y: &'a mut T,
    /// (n, dim), scratch for the norm
    pub h: &'a mut T,
    /// (dim,)
    pub bias: Option<&'a W>,
    /// (dim,)
    pub norm: Option<&'a W>,
    /// Added to the mean square.
    pub eps: f32,
    /// Of what is added.
    pub scale: Option<f32>,
}

/// Products of normed rows: every out = rms_norm(x) × its weightᵀ, or x × its weightᵀ without a norm.
#[derive(Debug)]
pub struct NormMatmul<'a, W, T> {
    /// (n, rows of its weight) each
    pub outs: &'a mut [&'a mut T],
    /// (rows, dim) each
    pub weights: &'a [&'a W],
    /// (n, dim), the normed rows afterwards, if there is a norm
    pub normed: &'a mut T,
    /// (n, dim)
    pub x: &'a T,
    /// (dim,)
    pub norm: Option<&'a W>,
    /// Added to the mean square.
    pub eps: f32,
}

/// A product that ends half a layer: the branch of y = input × weightᵀ.
#[derive(Debug)]
pub struct MatmulAdd<'a, W, T> {
    /// (n, cols)
    pub input: &'a T,
    /// (dim, cols)
    pub weight: &'a W,
    /// Where the product goes.
    pub branch: Branch<'a, W, T>,
}

/// The end of a network: the branch of y = (activation(gate) * up) × downᵀ, or of y = activation(gate) × downᵀ.
#[derive(Debug)]
pub struct GluMatmul<'a, W, T> {
    /// (n, ffn_dim); holds anything afterwards
    pub gate: &'a mut T,
    /// (n, ffn_dim); absent in a network without a gate, whose `ffn_up` gives `gate`
    pub up: Option<&'a T>,
    /// Applied to the gate.
    pub activation: Activation,
    /// (dim, ffn_dim)
    pub down: &'a W,
    /// Where the product goes.
    pub branch: Branch<'a, W, T>,
}

/// A mixture of experts: the sum of the networks that a row chooses, weighed.
#[derive(Debug)]
pub struct Experts<'a, W, T> {
    /// (n, dim)
    pub x: &'a T,
    /// (n, n_experts), the router's logits
    pub router: &'a T,
    /// The networks.
    pub weights: ExpertWeights<&'a W>,
    /// (n_experts,), added to probabilities for the selection
    pub exp_probs_b: Option<&'a W>,
    /// A row's choice of networks.
    pub routing: &'a Routing,
    /// Applied to the gate.
    pub activation: Activation,
}

/// A mixture of experts that ends half a layer: the branch of what the experts give for the rows in `branch.h`.
#[derive(Debug)]
pub struct ExpertsAdd<'a, W, T> {
    /// (n, n_experts), the router's logits
    pub router: &'a T,
    /// The networks.
    pub weights: ExpertWeights<&'a W>,
    /// (n_experts,), added to probabilities for the selection
    pub exp_probs_b: Option<&'a W>,
    /// A row's choice of networks.
    pub routing: &'a Routing,
    /// Applied to the gate.
    pub activation: Activation,
    /// Where the sum goes.
    pub branch: Branch<'a, W, T>,
}

impl<W, T> Branch<'_, W, T> {
    /// The plain path.
    pub fn add<B: Backend<Weight = W, Buffer = T> + ?Sized>(self, b: &mut B) {
        let Branch { x, y, h, bias, norm, eps, scale } = self;
        add_bias(b, y, bias);
        let added = match norm {
            Some(norm) => {
                b.rms_norm(h, y, norm, eps);
                h
            }
            None => y,
        };
        if let Some(scale) = scale {
            b.scale(added, scale);
        }
        b.add(x, added);
    }

    /// x += y.
    pub fn is_a_sum(&self) -> bool {
        self.bias.is_none() && self.norm.is_none() && self.scale.is_none()
    }
}

impl<W, T> NormMatmul<'_, W, T> {
    /// The plain path.
    pub fn plain<B: Backend<Weight = W, Buffer = T> + ?Sized>(self, b: &mut B) {
        let NormMatmul { outs, weights, normed, x, norm, eps } = self;
        match norm {
            Some(norm) => {
                b.rms_norm(normed, x, norm, eps);
                b.matmul(outs, weights, normed);
            }
            None => b.matmul(outs, weights, x),
        }
    }
}

impl<W, T> MatmulAdd<'_, W, T> {
    /// The plain path.
    pub fn plain<B: Backend<Weight = W, Buffer = T> + ?Sized>(self, b: &mut B) {
        let MatmulAdd { input, weight, branch } = self;
        b.matmul(&mut [&mut *branch.y], &[weight], input);
        branch.add(b);
    }
}

impl<W, T> GluMatmul<'_, W, T> {
    /// The plain path.
    pub fn plain<B: Backend<Weight = W, Buffer = T> + ?Sized>(self, b: &mut B) {
        let GluMatmul { gate, up, activation, down, branch } = self;
        match up {
            Some(up) => b.glu(gate, up, activation),
            None => b.activate(gate, activation),
        }
        MatmulAdd { input: gate, weight: down, branch }.plain(b);
    }
}

impl<W, T> ExpertsAdd<'_, W, T> {
    /// The plain path.
    pub fn plain<B: Backend<Weight = W, Buffer = T> + ?Sized>(self, b: &mut B) {
        let ExpertsAdd { router, weights, exp_probs_b, routing, activation, branch } = self;
        let x = &*branch.h;
        b.experts(branch.y, Experts { x, router, weights, exp_probs_b, routing, activation });
        branch.add(b);
    }
}

/// x += bias, if there is one.
pub(crate) fn add_bias<B: Backend + ?Sized>(b: &mut B, x: &mut B::Buffer, bias: Option<&B::Weight>) {
    if let Some(bias) = bias {
        b.add_bias(x, bias);
    }
}
