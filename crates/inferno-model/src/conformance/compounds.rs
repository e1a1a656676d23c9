//! Compound operations against their plain paths on the same device: equal bits.

use inferno_format::DType;

use super::{Noise, buffer, read, upload_rows};
use crate::architecture::{Activation, CacheGroup, Routing};
use crate::backend::{
    AttendHeads, Attention, Backend, Branch, ExpertWeights, ExpertsAdd, GluMatmul, KvShape, KvType, LayerIdx,
    MatmulAdd, NormMatmul,
};
use crate::batch::{Batch, PAGE_LEN, PageId, Want};
use crate::rope::{Angles, Pairing, Rope, Scaling};

const LAYER: LayerIdx = LayerIdx { layer: 0, group: 0 };

/// Ragged, but whole blocks.
const DIM: usize = 96;
const FFN_DIM: usize = 160;

/// Runs the operation both ways and compares all that is promised of it.
fn compare<B: Backend>(b: &mut B, name: &str, mut run: impl FnMut(&mut B, bool) -> Vec<B::Buffer>) {
    let [compound, plain] = [false, true].map(|is_plain| {
        let outs = run(b, is_plain);
        outs.iter().map(|out| read(b, out).iter().map(|x| x.to_bits()).collect()).collect::<Vec<Vec<u32>>>()
    });
    assert!(compound == plain, "{name} differs from its plain path");
}

pub(super) fn compounds<B: Backend>(b: &mut B) {
    for n_rows in [1, 8, 33] {
        for dtype in [DType::Q8_0, DType::F32] {
            products(b, n_rows, dtype);
        }
        experts(b, n_rows);
        for kv_type in KvType::ALL {
            heads(b, n_rows, kv_type);
        }
    }
}

/// The buffers of a branch, from equal numbers every time.
struct Rows<T> {
    x: T,
    y: T,
    h: T,
}

impl<T> Rows<T> {
    fn new<B: Backend<Buffer = T>>(b: &mut B, n_rows: usize) -> Rows<T> {
        let mut noise = Noise(n_rows as u64);
        let x = upload_rows(b, DIM, noise.numbers(n_rows * DIM));
        let h = upload_rows(b, DIM, noise.numbers(n_rows * DIM));
        Rows { x, y: buffer(b, DIM), h }
    }

    fn branch<'a, W>(&'a mut self, ends: &'a [Option<W>; 2]) -> Branch<'a, W, T> {
        let Rows { x, y, h } = self;
        Branch { x, y, h, bias: ends[0].as_ref(), norm: ends[1].as_ref(), eps: 1e-6 }
    }
}

/// Bias and norm of a branch, there and absent.
fn ends<B: Backend>(b: &mut B, noise: &mut Noise) -> [[Option<B::Weight>; 2]; 4] {
    [[false, false], [true, false], [false, true], [true, true]]
        .map(|are_there| are_there.map(|is_there| is_there.then(|| noise.tensor(b, DType::F32, [1, 1, DIM]))))
}

fn products<B: Backend>(b: &mut B, n_rows: usize, dtype: DType) {
    let mut noise = Noise(3 + n_rows as u64);
    let norm = noise.tensor(b, DType::F32, [1, 1, DIM]);
    let widths = [40, FFN_DIM, 7];
    let weights = noise.tensors(b, dtype, &widths, DIM);
    compare(b, &format!("norm_matmul {dtype} {n_rows}"), |b, is_plain| {
        let mut rows = Rows::new(b, n_rows);
        let [mut q, mut k, mut v] = widths.map(|width| buffer(b, width));
        let op = NormMatmul {
            outs: &mut [&mut q, &mut k, &mut v],
            weights: &weights.each_ref(),
            normed: &mut rows.h,
            x: &rows.x,
            norm: &norm,
            eps: 1e-6,
        };
        if is_plain {
            op.plain(b)
        } else {
            b.norm_matmul(op)
        }
        vec![q, k, v, rows.h, rows.x]
    });

    let down = noise.tensor(b, dtype, [1, DIM, FFN_DIM]);
    let [gate, up] = [(); 2].map(|()| noise.numbers(n_rows * FFN_DIM));
    for ends in ends(b, &mut noise) {
        let name = format!("{dtype} {n_rows}, bias {}, norm {}", ends[0].is_some(), ends[1].is_some());
        compare(b, &format!("matmul_add {name}"), |b, is_plain| {
            let (mut rows, input) = (Rows::new(b, n_rows), upload_rows(b, FFN_DIM, up.clone()));
            let op = MatmulAdd { input: &input, weight: &down, branch: rows.branch(&ends) };
            if is_plain {
                op.plain(b)
            } else {
                b.matmul_add(op)
            }
            vec![rows.x]
        });
        for (has_gate, activation) in
            [(true, Activation::Silu), (true, Activation::GeluTanh), (false, Activation::ReluSquared)]
        {
            compare(b, &format!("glu_matmul {activation:?} {name}"), |b, is_plain| {
                let mut rows = Rows::new(b, n_rows);
                let [mut gate, up] = [&gate, &up].map(|data| upload_rows(b, FFN_DIM, data.clone()));
                let branch = rows.branch(&ends);
                let op = GluMatmul {
                    gate: &mut gate,
                    up: has_gate.then_some(&up),
                    activation,
                    down: &down,
                    branch,
                };
                if is_plain {
                    op.plain(b)
                } else {
                    b.glu_matmul(op)
                }
                vec![rows.x]
            });
        }
    }
}

fn experts<B: Backend>(b: &mut B, n_rows: usize) {
    const N_EXPERTS: usize = 5;
    let mut noise = Noise(70 + n_rows as u64);
    let weights = ExpertWeights {
        ffn_gate_exps: noise.tensor(b, DType::Q8_0, [N_EXPERTS, FFN_DIM, DIM]),
        ffn_up_exps: noise.tensor(b, DType::Q8_0, [N_EXPERTS, FFN_DIM, DIM]),
        ffn_down_exps: noise.tensor(b, DType::Q8_0, [N_EXPERTS, DIM, FFN_DIM]),
        biases: None,
    };
    let router = upload_rows(b, N_EXPERTS, noise.numbers(n_rows * N_EXPERTS));
    let routing = Routing::softmax(2);
    for ends in ends(b, &mut noise) {
        let name = format!("experts_add {n_rows}, bias {}, norm {}", ends[0].is_some(), ends[1].is_some());
        compare(b, &name, |b, is_plain| {
            let mut rows = Rows::new(b, n_rows);
            let (weights, activation) = (weights.as_ref(), Activation::Silu);
            let branch = rows.branch(&ends);
            let (router, routing, exp_probs_b) = (&router, &routing, None);
            let op = ExpertsAdd { router, weights, exp_probs_b, routing, activation, branch };
            if is_plain {
                op.plain(b)
            } else {
                b.experts_add(op)
            }
            vec![rows.x]
        });
    }
}

/// Steps that heads take before attention.
#[derive(Debug, Clone, Copy)]
struct Parts {
    biases: bool,
    q_norm: bool,
    k_norm: bool,
    /// Half of a head rotates, and only whole pairs.
    rope: Option<Pairing>,
}

fn heads<B: Backend>(b: &mut B, n_rows: usize, kv_type: KvType) {
    let (adjacent, halves) = (Some(Pairing::Adjacent), Some(Pairing::Halves));
    let cases = [
        ([64, 64], false, true, true, halves),
        ([64, 96], true, false, false, adjacent),
        ([80, 80], true, true, true, adjacent),
        ([7, 7], false, false, false, halves),
        ([20, 20], true, true, false, halves),
        ([20, 20], false, false, true, None),
        ([32, 32], false, false, false, None),
        ([192, 128], false, true, true, halves),
    ];
    // Types of keys and values differ in how they are stored, with norms and without.
    let n_cases = if kv_type == KvType::F16 { cases.len() } else { 2 };
    for (widths, biases, q_norm, k_norm, rope) in cases.into_iter().take(n_cases) {
        let parts = Parts { biases, q_norm, k_norm, rope };
        heads_with(b, (n_rows, widths, kv_type), parts);
    }
}

/// Two steps: the second one attends to what both have stored.
fn heads_with<B: Backend>(
    b: &mut B,
    (n_rows, [key_width, value_width], kv_type): (usize, [usize; 2], KvType),
    parts: Parts,
) {
    let (n_heads, n_kv_heads) = (6, 2);
    let mut noise = Noise(11);
    let widths = [n_heads * key_width, n_kv_heads * key_width, n_kv_heads * value_width];
    let biases = widths.map(|width| noise.tensor(b, DType::F32, [1, 1, width]));
    let [q_bias, k_bias, v_bias] = biases.each_ref().map(|bias| parts.biases.then_some(bias));
    let norms = [(); 2].map(|()| noise.tensor(b, DType::F32, [1, 1, key_width]));
    let data = widths.map(|width| noise.numbers(2 * n_rows * width));
    let pairing = parts.rope.unwrap_or(Pairing::Halves);
    let rope = Rope::new(pairing, key_width / 4 * 2, 10_000.0, &Scaling::None, None, 1.1);
    let n_pages = (2 * n_rows).div_ceil(PAGE_LEN);
    let table: Vec<PageId> = (0..n_pages as u32).rev().map(PageId).collect();
    let (scale, softcap, window) = (0.3, None, None);
    let layer = LAYER;
    let attention = Attention { layer, n_heads, n_kv_heads, key_width, value_width, scale, softcap, window };
    compare(
        b,
        &format!("attend_heads {n_rows} rows of {key_width} and {value_width} {kv_type:?} {parts:?}"),
        |b, is_plain| {
            let groups =
                vec![(CacheGroup::pages(vec![0], [n_kv_heads, key_width, value_width], None), n_pages)];
            let shape = KvShape { groups, kv_type };
            let mut pool = b.kv_pool(&shape).expect("a small pool");
            [0, n_rows]
                .map(|start| {
                    let mut batch = Batch::default();
                    batch.push(&vec![0; n_rows], start, &[&table], Want::Nothing);
                    let mut angles = Angles::new(&rope);
                    angles.fill(&rope, batch.positions());
                    let mut i = 0;
                    let [mut q, mut k, mut v] = widths.map(|width| {
                        let rows = data[i][start * width..][..n_rows * width].to_vec();
                        i += 1;
                        upload_rows(b, width, rows)
                    });
                    let mut out = buffer(b, n_heads * value_width);
                    let op = AttendHeads {
                        out: &mut out,
                        q: &mut q,
                        k: &mut k,
                        v: &mut v,
                        q_bias,
                        k_bias,
                        v_bias,
                        q_norm: parts.q_norm.then_some(&norms[0]),
                        k_norm: parts.k_norm.then_some(&norms[1]),
                        eps: 1e-6,
                        angles: parts.rope.map(|_| &angles),
                        pool: &mut pool,
                        batch: &batch,
                        attention: &attention,
                    };
                    if is_plain {
                        op.plain(b)
                    } else {
                        b.attend_heads(op)
                    }
                    out
                })
                .into()
        },
    );
}
