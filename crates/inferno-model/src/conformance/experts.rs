//! Mixtures of experts against the reference: types of weights, routing, biases.

use inferno_format::{DType, quantize};

use super::{Noise, Results, buffer, read, upload_rows};
use crate::architecture::{Activation, Gating, Groups, Routing};
use crate::backend::{Backend, DeviceMemory, ExpertBiases, ExpertWeights, Experts, HostTensor, Source};

/// Mixtures of weights of one type: the plainest of every type, and every other kind of a few.
pub(super) fn experts<B: Backend>(b: &mut B, dtype: DType, all: &mut Results) {
    plain(b, dtype, all);
    if matches!(dtype, DType::F32 | DType::Q8_0) {
        routed(b, dtype, all);
    }
}

fn plain<B: Backend>(b: &mut B, dtype: DType, all: &mut Results) {
    let mut noise = Noise(1000 + u64::from(dtype.ggml_id()));
    let (n_rows, n_experts, dim, ffn_dim) = (3, 4, 256, 256);
    let weights = ExpertWeights {
        ffn_gate_exps: Some(noise.tensor(b, dtype, [n_experts, ffn_dim, dim])),
        ffn_up_exps: noise.tensor(b, dtype, [n_experts, ffn_dim, dim]),
        ffn_down_exps: noise.tensor(b, dtype, [n_experts, dim, ffn_dim]),
        biases: None,
        scales: None,
    };
    let x = upload_rows(b, dim, noise.numbers(n_rows * dim));
    let mut router = noise.numbers(n_rows * n_experts);
    router[..n_experts].fill(0.25); // a row of ties: the lowest ids are chosen
    let router = upload_rows(b, n_experts, router);
    for routing in [Routing::softmax(2), Routing { renormalize: false, scale: 1.5, ..Routing::softmax(3) }] {
        let mut out = buffer(b, dim);
        let (weights, activation) = (weights.as_ref(), Activation::Silu);
        let (x, router, exp_probs_b, routing) = (&x, &router, None, &routing);
        b.experts(&mut out, Experts { x, router, weights, exp_probs_b, routing, activation });
        all.push((format!("experts {dtype} {routing:?}"), dim, read(b, &out)));
    }
}

/// Every kind of routing, with and without biases, on one row and on many; widths are ragged.
fn routed<B: Backend>(b: &mut B, dtype: DType, all: &mut Results) {
    let (n_experts, dim, ffn_dim) = (12, 96, 160);
    let mut noise = Noise(2000 + u64::from(dtype.ggml_id()));
    let weights = |b: &mut B, noise: &mut Noise, biases| ExpertWeights {
        ffn_gate_exps: Some(noise.tensor(b, dtype, [n_experts, ffn_dim, dim])),
        ffn_up_exps: noise.tensor(b, dtype, [n_experts, ffn_dim, dim]),
        ffn_down_exps: noise.tensor(b, dtype, [n_experts, dim, ffn_dim]),
        biases,
        scales: None,
    };
    let biases = ExpertBiases {
        gate: vectors(b, &mut noise, n_experts, ffn_dim),
        up: vectors(b, &mut noise, n_experts, ffn_dim),
        down: vectors(b, &mut noise, n_experts, dim),
    };
    let biased = weights(b, &mut noise, Some(biases));
    let mut plain = weights(b, &mut noise, None);
    let bias = noise.tensor(b, DType::F32, [1, 1, n_experts]);
    let softmax = Routing::softmax(3);
    let groups = |n, n_used, n_best| Some(Groups { n, n_used, n_best });
    let cases = [
        (softmax, false, true, Activation::ClampedSwiglu),
        (softmax, true, false, Activation::Silu),
        (Routing { gating: Gating::Sigmoid, ..softmax }, false, true, Activation::GeluTanh),
        (
            Routing { gating: Gating::Sigmoid, groups: groups(4, 2, 2), scale: 2.5, ..softmax },
            true,
            false,
            Activation::Silu,
        ),
        (Routing { groups: groups(3, 1, 1), renormalize: false, ..softmax }, false, false, Activation::Silu),
        (Routing { gating: Gating::SqrtSoftplus, ..softmax }, true, true, Activation::ReluSquared),
    ];
    for n_rows in [1, 19] {
        let x = upload_rows(b, dim, noise.numbers(n_rows * dim));
        let mut logits = noise.numbers(n_rows * n_experts);
        logits.iter_mut().for_each(|x| *x *= 4.0);
        logits[..n_experts].fill(0.25);
        let router = upload_rows(b, n_experts, logits);
        for (routing, has_bias, is_biased, activation) in cases {
            let mut out = buffer(b, dim);
            let weights = if is_biased { biased.as_ref() } else { plain.as_ref() };
            let (x, router, routing, exp_probs_b) = (&x, &router, &routing, has_bias.then_some(&bias));
            b.experts(&mut out, Experts { x, router, weights, exp_probs_b, routing, activation });
            let name =
                format!("experts {dtype} {n_rows} rows, {routing:?}, bias {has_bias}, biases {is_biased}");
            all.push((name, dim, read(b, &out)));
        }
        for has_bias in [false, true] {
            plain.scales = Some(noise.tensor(b, DType::F32, [1, 1, n_experts]));
            let mut out = buffer(b, dim);
            let (weights, activation) = (plain.as_ref(), Activation::GeluTanh);
            let (x, router, routing, exp_probs_b) = (&x, &router, &softmax, has_bias.then_some(&bias));
            b.experts(&mut out, Experts { x, router, weights, exp_probs_b, routing, activation });
            all.push((format!("experts {dtype} {n_rows} rows, scaled, bias {has_bias}"), dim, read(b, &out)));
        }
        plain.scales = None;
        for activation in [Activation::ReluSquared, Activation::Silu] {
            let (mut out, gate) = (buffer(b, dim), plain.ffn_gate_exps.take());
            let (weights, x, router) = (plain.as_ref(), &x, &router);
            let experts = Experts { x, router, weights, exp_probs_b: None, routing: &softmax, activation };
            b.experts(&mut out, experts);
            all.push((format!("experts {dtype} {n_rows} rows, no gate"), dim, read(b, &out)));
            plain.ffn_gate_exps = gate;
        }
    }
}

/// A vector for each expert.
fn vectors<B: DeviceMemory>(b: &mut B, noise: &mut Noise, n_experts: usize, cols: usize) -> B::Weight {
    let bytes =
        quantize(DType::F32, &noise.numbers(n_experts * cols)).expect("floats are written as they are");
    let source = Source::Memory(&bytes);
    let tensor = HostTensor { name: "noise".into(), dtype: DType::F32, n_experts, rows: 1, cols, source };
    b.upload_vectors(&tensor).expect("a small tensor")
}
