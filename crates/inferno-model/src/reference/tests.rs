//! The reference against mathematics in f64: what conformance, which compares with the reference, cannot see.

use inferno_format::{DType, dequantize};
use xtask::testing::Random;

use half::f16;

use super::*;
use crate::architecture::{CacheGroup, Routing};
use crate::backend::{Columns, DeltaHeads, HeadOrder, Source};
use crate::batch::Want;

/// Random blocks of `dtype` whose values are of ordinary size.
fn blocks(random: &mut Random, dtype: DType, n: usize) -> Vec<u8> {
    let mut bytes = vec![0; dtype.row_bytes(n).unwrap()];
    let mut values = vec![0.0; dtype.block_len()];
    for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
        loop {
            block.fill_with(|| random.bits() as u8);
            dequantize(dtype, block, &mut values).unwrap();
            if values.iter().all(|x| x.abs() < 10.0) && values.iter().any(|x| x.abs() > 1e-3) {
                break;
            }
        }
    }
    bytes
}

fn tensor(dtype: DType, shape: [usize; 3], bytes: Vec<u8>) -> Weight {
    let [n_experts, rows, cols] = shape;
    let source = Source::Memory(&bytes);
    let tensor = HostTensor { name: "w".into(), dtype, n_experts, rows, cols, source };
    Reference::default().upload(&tensor).unwrap()
}

#[test]
fn a_product_is_the_sum_of_what_weights_and_activations_mean() {
    let (rows, cols) = (6, 512);
    let mut random = Random(1);
    for &dtype in DType::ALL.iter().filter(|t| t.is_quantized()) {
        let bytes = blocks(&mut random, dtype, rows * cols);
        let mut weights = vec![0.0; rows * cols];
        dequantize(dtype, &bytes, &mut weights).unwrap();
        let x = random.numbers(cols);
        let mut quantized = QuantizedRow::default();
        quantized.quantize(&x);

        let mut out = Buffer { width: rows, data: Vec::new() };
        let weight = tensor(dtype, [1, rows, cols], bytes);
        Reference::default().matmul(&mut [&mut out], &[&weight], &Buffer { width: cols, data: x });
        for (found, weights) in out.data.iter().zip(weights.chunks_exact(cols)) {
            let terms = weights
                .iter()
                .enumerate()
                .map(|(i, &w)| f64::from(w) * f64::from(quantized.q[i]) * f64::from(quantized.d[i / 32]));
            let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), t| (sum + t, size + t.abs()));
            assert!((f64::from(*found) - sum).abs() <= 2e-6 * size, "{dtype}: {found} instead of {sum}");
        }
    }
}

#[test]
fn experts_are_the_weighed_sum_of_their_networks() {
    let (dim, ffn_dim, n_experts) = (32, 64, 3);
    let mut random = Random(9);
    let mut stack = |rows, cols| {
        let data = random.numbers(n_experts * rows * cols);
        let bytes = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        (tensor(DType::F32, [n_experts, rows, cols], bytes), data)
    };
    let ((gate, gate_data), (up, up_data), (down, down_data)) =
        (stack(ffn_dim, dim), stack(ffn_dim, dim), stack(dim, ffn_dim));
    let x = random.numbers(dim);
    let routing = Routing::softmax(2);
    let router = [0.5, -2.0, 1.0];

    let product = |data: &[f32], expert: usize, rows: usize, x: &[f64]| -> Vec<f64> {
        let matrix = &data[expert * rows * x.len()..][..rows * x.len()];
        matrix.chunks_exact(x.len()).map(|w| w.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum()).collect()
    };
    let input: Vec<f64> = x.iter().map(|&x| x.into()).collect();
    let mut expected = vec![0.0; dim];
    for (expert, share) in [(0, 1.0 / (1.0 + 0.5f64.exp())), (2, 1.0 / (1.0 + (-0.5f64).exp()))] {
        let gate = product(&gate_data, expert, ffn_dim, &input);
        let up = product(&up_data, expert, ffn_dim, &input);
        let h: Vec<f64> = gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
        let down = product(&down_data, expert, dim, &h);
        expected.iter_mut().zip(down).for_each(|(e, d)| *e += share * d);
    }

    let mut out = Buffer { width: dim, data: Vec::new() };
    let weights = ExpertWeights {
        ffn_gate_exps: Some(gate),
        ffn_up_exps: up,
        ffn_down_exps: down,
        biases: None,
        scales: None,
    };
    let (x, router) = (Buffer { width: dim, data: x }, Buffer { width: n_experts, data: router.to_vec() });
    let (weights, activation) = (weights.as_ref(), Activation::Silu);
    let (x, router, routing, exp_probs_b) = (&x, &router, &routing, None);
    let experts = Experts { x, router, weights, exp_probs_b, routing, activation };
    Reference::default().experts(&mut out, experts);
    for (found, expected) in out.data.iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() < 1e-4, "{found} instead of {expected}");
    }
}

#[test]
fn a_half_precision_pool_holds_rounded_numbers() {
    let groups = vec![(CacheGroup::pages(vec![0], [2, 2, 2], None), 2)];
    let shape = KvShape { groups, kv_type: KvType::F16 };
    let mut reference = Reference::default();
    let mut pool = reference.kv_pool(&shape).unwrap();
    let mut batch = Batch::default();
    batch.push(&[0], 0, &[&[PageId(1)]], Want::Nothing);
    let k = Buffer::from_rows(4, vec![0.1, 1.0 / 3.0, 70_000.0, 1e-9]);
    let v = Buffer::from_rows(4, vec![-0.1, 2.5, 1e-4, 3.0]);
    reference.store_kv(&mut pool, LayerIdx { layer: 0, group: 0 }, &k, &v, &batch);

    let stored = |numbers: &[Vec<f32>]| numbers[0][4 * PAGE_LEN..][..4].to_vec();
    let rounded = |x: &Buffer| x.data.iter().map(|&x| f16::from_f32(x).to_f32()).collect::<Vec<_>>();
    assert_eq!(stored(&pool.keys), rounded(&k));
    assert_eq!(stored(&pool.values), rounded(&v));
    assert_ne!(stored(&pool.keys)[0], k.data[0]);
}

#[test]
fn memory_grows_with_the_pages_that_are_used() {
    let groups = vec![(CacheGroup::pages(vec![0], [1, 1 << 20, 1 << 20], None), usize::MAX)];
    let shape = KvShape { groups, kv_type: KvType::F32 };
    let pool = Reference::default().kv_pool(&shape).unwrap();
    assert!(pool.keys[0].is_empty() && pool.values[0].is_empty());
}

/// The delta rule in f64, with heads in both orders and decays of both kinds, over two steps.
#[test]
fn the_delta_rule_is_its_formula() {
    let (n_key_heads, n_value_heads, width, n_rows) = (2, 4, 9, 40);
    let sigmoid = |x: f64| 1.0 / (1.0 + libm::exp(-x));
    for (order, n_decays) in [(HeadOrder::Alternating, 1), (HeadOrder::Grouped, width)] {
        let heads = DeltaHeads { n_key_heads, n_value_heads, width, order };
        let mut random = Random(21);
        let mut rows = |width: usize| Buffer::from_rows(width, random.numbers(n_rows * width));
        let [q, k, v] = [heads.key_dim(), heads.key_dim(), heads.value_dim()].map(&mut rows);
        let [beta, alpha] = [n_value_heads, n_value_heads * n_decays].map(&mut rows);
        let rates: Vec<f32> = random.numbers(n_value_heads).iter().map(|x| -0.1 - x.abs()).collect();
        let dt = random.numbers(n_value_heads * n_decays);
        let vector = |x: &[f32]| {
            let bytes = x.iter().flat_map(|x| x.to_le_bytes()).collect();
            tensor(DType::F32, [1, 1, x.len()], bytes)
        };

        let mut b = Reference::default();
        let groups = vec![(CacheGroup::states(vec![0], heads.state_width()), 2)];
        let mut pool = b.kv_pool(&KvShape { groups, kv_type: KvType::F32 }).unwrap();
        let mut found = Vec::new();
        for rows in [0..33, 33..n_rows] {
            let mut batch = Batch::default();
            batch.push(&vec![0; rows.len()], rows.start, &[&[PageId(1), PageId(0)]], Want::Nothing);
            let cut = |x: &Buffer| {
                Buffer::from_rows(x.width, x.data[rows.start * x.width..rows.end * x.width].to_vec())
            };
            let [q, k, v, beta, alpha] = [&q, &k, &v, &beta, &alpha].map(cut);
            let mut out = Buffer { width: heads.value_dim(), data: Vec::new() };
            b.delta_rule(DeltaRule {
                out: &mut out,
                q: Columns { x: &q, first: 0 },
                k: Columns { x: &k, first: 0 },
                v: Columns { x: &v, first: 0 },
                beta: &beta,
                alpha: &alpha,
                ssm_a: &vector(&rates),
                ssm_dt: &vector(&dt),
                heads,
                pool: &mut pool,
                layer: LayerIdx { layer: 0, group: 0 },
                at: 0,
                batch: &batch,
            });
            found.extend(out.data);
        }

        let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        let unit = |x: &[f32]| {
            let x = wide(x);
            let norm = (x.iter().map(|x| x * x).sum::<f64>() + 1e-6).sqrt();
            x.into_iter().map(|x| x / norm).collect::<Vec<_>>()
        };
        for h in 0..n_value_heads {
            let key_head = if order == HeadOrder::Grouped { h / 2 } else { h % 2 };
            let mut state = vec![vec![0.0; width]; width];
            for row in 0..n_rows {
                let key = |x: &Buffer| unit(&x.row(row)[key_head * width..][..width]);
                let (q, k, v) = (key(&q), key(&k), wide(&v.row(row)[h * width..][..width]));
                for (i, state) in state.iter_mut().enumerate() {
                    let i = h * n_decays + i % n_decays;
                    let x = f64::from(alpha.row(row)[i]) + f64::from(dt[i]);
                    let decay = libm::exp(f64::from(rates[h]) * libm::log1p(libm::exp(x)));
                    state.iter_mut().for_each(|s| *s *= decay);
                }
                let strength = sigmoid(f64::from(beta.row(row)[h]));
                for j in 0..width {
                    let kept: f64 = state.iter().zip(&k).map(|(s, k)| s[j] * k).sum();
                    let delta = strength * (v[j] - kept);
                    state.iter_mut().zip(&k).for_each(|(s, k)| s[j] += k * delta);
                    let sum: f64 = state.iter().zip(&q).map(|(s, q)| s[j] * q).sum();
                    let expected = sum / (width as f64).sqrt();
                    let found = f64::from(found[(row * n_value_heads + h) * width + j]);
                    assert!((found - expected).abs() < 2e-6, "{order:?}, row {row}: {found}, not {expected}");
                }
            }
        }
    }
}

/// A convolution of four positions, with a bias, over two steps.
#[test]
fn a_causal_convolution_is_its_formula() {
    let (channels, kernel, n_rows) = (5, 4, 40);
    let mut random = Random(22);
    let x = random.numbers(n_rows * channels);
    let (weight, bias) = (random.numbers(kernel * channels), random.numbers(channels));
    let bytes = |x: &[f32]| x.iter().flat_map(|x| x.to_le_bytes()).collect();
    let (taps, addend) = (
        tensor(DType::F32, [kernel, 1, channels], bytes(&weight)),
        tensor(DType::F32, [1, 1, channels], bytes(&bias)),
    );
    let mut b = Reference::default();
    let groups = vec![(CacheGroup::states(vec![0], 2 + (kernel - 1) * channels), 2)];
    let mut pool = b.kv_pool(&KvShape { groups, kv_type: KvType::F32 }).unwrap();
    let mut found = Vec::new();
    for rows in [0..2, 2..n_rows] {
        let mut batch = Batch::default();
        batch.push(&vec![0; rows.len()], rows.start, &[&[PageId(1), PageId(0)]], Want::Nothing);
        let x = Buffer::from_rows(channels, x[rows.start * channels..rows.end * channels].to_vec());
        let mut out = Buffer { width: channels, data: Vec::new() };
        b.causal_conv(CausalConv {
            out: &mut out,
            x: &x,
            weight: &taps,
            kernel,
            bias: Some(&addend),
            activation: Some(Activation::Silu),
            pool: &mut pool,
            layer: LayerIdx { layer: 0, group: 0 },
            at: 2,
            batch: &batch,
        });
        found.extend(out.data);
    }
    for row in 0..n_rows {
        for c in 0..channels {
            let seen = (0..kernel).filter_map(|tap| Some((tap, (row + tap).checked_sub(kernel - 1)?)));
            let products = seen
                .map(|(tap, from)| f64::from(weight[tap * channels + c]) * f64::from(x[from * channels + c]));
            let sum = products.sum::<f64>() + f64::from(bias[c]);
            let expected = sum / (1.0 + libm::exp(-sum));
            let found = f64::from(found[row * channels + c]);
            assert!((found - expected).abs() < 1e-6, "row {row}, channel {c}: {found}, not {expected}");
        }
    }
}
