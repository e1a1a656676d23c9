//! Compound operations against their plain paths on the same device: equal bits.

use inferno_format::DType;

use super::{Noise, buffer, read, upload_rows};
use crate::architecture::{Activation, CacheGroup, Routing};
use crate::backend::{
    AttendHeads, Attention, Backend, Branch, ExpertWeights, ExpertsAdd, GluMatmul, KvShape, KvType, LayerIdx,
    MatmulAdd, NormMatmul, QkNorm,
};
use crate::batch::{Batch, PAGE_LEN, PageId, Want};
use crate::rope::{Angles, Pairing, Rope, Scaling, Temperature};

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

/// Numbers of rows that compound operations are compared with their plain paths for.
pub(super) const ROWS: [usize; 3] = [1, 8, 33];

pub(super) fn compounds<B: Backend>(b: &mut B, n_rows: usize) {
    without_heads(b, n_rows);
    for kv_type in KvType::ALL {
        // Types of keys and values differ in how they are stored, with norms and without.
        let n_cases = if kv_type == KvType::F16 { HEADS.len() } else { 2 };
        HEADS[..n_cases].iter().for_each(|case| heads(b, (n_rows, kv_type), case));
    }
}

/// The same for heads of few widths.
pub(super) fn few_compounds<B: Backend>(b: &mut B, n_rows: usize) {
    without_heads(b, n_rows);
    for case in HEADS.iter().filter(|(widths, _)| *widths == HEADS[0].0) {
        heads(b, (n_rows, KvType::F16), case);
    }
    heads(b, (n_rows, KvType::Q8_0), &HEADS[1]);
}

fn without_heads<B: Backend>(b: &mut B, n_rows: usize) {
    products(b, n_rows, DType::Q8_0, &[0, 1, 2, 3, 4]);
    products(b, n_rows, DType::F32, &[0, 3]);
    experts(b, n_rows);
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

    fn branch<'a, W>(&'a mut self, ends: &'a Ends<W>) -> Branch<'a, W, T> {
        let Rows { x, y, h } = self;
        let Ends { bias, norm, scale } = ends;
        Branch { x, y, h, bias: bias.as_ref(), norm: norm.as_ref(), eps: 1e-6, scale: *scale }
    }
}

/// Operations between a product and the residual stream.
struct Ends<W> {
    bias: Option<W>,
    norm: Option<W>,
    scale: Option<f32>,
}

/// There and absent.
fn ends<B: Backend>(b: &mut B, noise: &mut Noise) -> [Ends<B::Weight>; 5] {
    let cases = [
        ([false, false], None),
        ([true, false], None),
        ([false, true], None),
        ([true, true], Some(0.3)),
        ([false, false], Some(0.3)),
    ];
    cases.map(|(are_there, scale)| {
        let [bias, norm] =
            are_there.map(|is_there| is_there.then(|| noise.tensor(b, DType::F32, [1, 1, DIM])));
        Ends { bias, norm, scale }
    })
}

impl<W> Ends<W> {
    fn name(&self) -> String {
        format!("bias {}, norm {}, scale {:?}", self.bias.is_some(), self.norm.is_some(), self.scale)
    }
}

/// `chosen`: which of [`ends`].
fn products<B: Backend>(b: &mut B, n_rows: usize, dtype: DType, chosen: &[usize]) {
    let mut noise = Noise(3 + n_rows as u64);
    let norm = noise.tensor(b, DType::F32, [1, 1, DIM]);
    let widths = [40, FFN_DIM, 7];
    let weights = noise.tensors(b, dtype, &widths, DIM);
    for norm in [Some(&norm), None] {
        compare(b, &format!("norm_matmul {dtype} {n_rows}, norm {}", norm.is_some()), |b, is_plain| {
            let mut rows = Rows::new(b, n_rows);
            let [mut q, mut k, mut v] = widths.map(|width| buffer(b, width));
            let op = NormMatmul {
                outs: &mut [&mut q, &mut k, &mut v],
                weights: &weights.each_ref(),
                normed: &mut rows.h,
                x: &rows.x,
                norm,
                eps: 1e-6,
            };
            if is_plain {
                op.plain(b)
            } else {
                b.norm_matmul(op)
            }
            vec![q, k, v, rows.h, rows.x]
        });
    }

    let down = noise.tensor(b, dtype, [1, DIM, FFN_DIM]);
    let [gate, up] = [(); 2].map(|()| noise.numbers(n_rows * FFN_DIM));
    for (i, ends) in ends(b, &mut noise).into_iter().enumerate() {
        if !chosen.contains(&i) {
            continue;
        }
        let name = format!("{dtype} {n_rows}, {}", ends.name());
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
        // Activations and ends are independent: all activations with the first ends, one with the others.
        let activations =
            [(true, Activation::Silu), (true, Activation::GeluTanh), (false, Activation::ReluSquared)];
        let n_activations = if i == 0 { activations.len() } else { 1 };
        for (has_gate, activation) in activations.into_iter().take(n_activations) {
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
        ffn_gate_exps: Some(noise.tensor(b, DType::Q8_0, [N_EXPERTS, FFN_DIM, DIM])),
        ffn_up_exps: noise.tensor(b, DType::Q8_0, [N_EXPERTS, FFN_DIM, DIM]),
        ffn_down_exps: noise.tensor(b, DType::Q8_0, [N_EXPERTS, DIM, FFN_DIM]),
        biases: None,
        scales: None,
    };
    let router = upload_rows(b, N_EXPERTS, noise.numbers(n_rows * N_EXPERTS));
    let routing = Routing::softmax(2);
    for ends in ends(b, &mut noise) {
        let name = format!("experts_add {n_rows}, {}", ends.name());
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
    qk_norm: QkNorm,
    v_norm: bool,
    /// Queries have scales.
    temperature: bool,
    sinks: bool,
}

const PLAIN: Parts = Parts {
    biases: false,
    q_norm: false,
    k_norm: false,
    rope: Some(Pairing::Halves),
    qk_norm: QkNorm::Heads,
    v_norm: false,
    temperature: false,
    sinks: false,
};
const NORMED: Parts = Parts { q_norm: true, k_norm: true, ..PLAIN };

const ADJACENT: Parts = Parts { biases: true, rope: Some(Pairing::Adjacent), ..PLAIN };

/// Widths of keys and values, and the steps of their heads.
const HEADS: [([usize; 2], Parts); 12] = [
    ([64, 64], NORMED),
    ([64, 96], Parts { sinks: true, ..ADJACENT }),
    ([80, 80], Parts { q_norm: true, k_norm: true, ..ADJACENT }),
    ([7, 7], PLAIN),
    ([20, 20], Parts { biases: true, q_norm: true, ..PLAIN }),
    ([20, 20], Parts { k_norm: true, rope: None, ..PLAIN }),
    ([32, 32], Parts { rope: None, ..PLAIN }),
    ([192, 128], NORMED),
    ([64, 64], Parts { qk_norm: QkNorm::Rows, ..NORMED }),
    ([64, 64], Parts { qk_norm: QkNorm::RotatedHeads, ..NORMED }),
    ([64, 64], Parts { v_norm: true, temperature: true, ..NORMED }),
    ([64, 64], Parts { rope: None, ..NORMED }),
];

/// Two steps: the second one attends to what both have stored.
fn heads<B: Backend>(
    b: &mut B,
    (n_rows, kv_type): (usize, KvType),
    &([key_width, value_width], parts): &([usize; 2], Parts),
) {
    let (n_heads, n_kv_heads) = (6, 2);
    let mut noise = Noise(11);
    let widths = [n_heads * key_width, n_kv_heads * key_width, n_kv_heads * value_width];
    let biases = widths.map(|width| noise.tensor(b, DType::F32, [1, 1, width]));
    let [q_bias, k_bias, v_bias] = biases.each_ref().map(|bias| parts.biases.then_some(bias));
    let norm_widths = match parts.qk_norm {
        QkNorm::Heads | QkNorm::RotatedHeads => [key_width, key_width, value_width],
        QkNorm::Rows => [widths[0], widths[1], value_width],
    };
    let norms = norm_widths.map(|width| noise.tensor(b, DType::F32, [1, 1, width]));
    let sinks = noise.tensor(b, DType::F32, [1, 1, n_heads]);
    let data = widths.map(|width| noise.numbers(2 * n_rows * width));
    let pairing = parts.rope.unwrap_or(Pairing::Halves);
    let mut rope = Rope::new(pairing, key_width / 4 * 2, 10_000.0, &Scaling::None, None, 1.1);
    rope.temperature = parts.temperature.then_some(Temperature { beta: 0.1, length: 3 });
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
                        qk_norm: parts.qk_norm,
                        v_norm: parts.v_norm.then_some(&norms[2]),
                        eps: 1e-6,
                        angles: parts.rope.map(|_| &angles),
                        pool: &mut pool,
                        batch: &batch,
                        attention: &attention,
                        sinks: parts.sinks.then_some(&sinks),
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
