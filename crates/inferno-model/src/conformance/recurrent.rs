//! Operations of recurrent layers: sequences of many steps, each of which continues what the last one left.

use std::ops::Range;

use inferno_format::DType;

use super::{Noise, Precision, Results, buffer, compare, read, upload, upload_rows};
use crate::architecture::{Activation, CacheGroup};
use crate::backend::{
    Backend, CausalConv, Columns, DeltaHeads, DeltaRule, HeadOrder, HostTensor, KvShape, KvType, LayerIdx,
    Source,
};
use crate::batch::{Batch, PAGE_LEN, PageId, Want};

const LAYER: LayerIdx = LayerIdx { layer: 1, group: 0 };

/// Rows of each of two sequences in every step: over borders of pages, with one of them alone, fewer than a tail and many.
pub(super) const STEPS: [[usize; 2]; 6] = [[3, 40], [1, 1], [30, 2], [0, 1], [2, 9], [33, 0]];

/// Pages of a sequence's states, from the last to the first of its own.
fn pages(sequence: usize) -> Vec<PageId> {
    (0..4).rev().map(|page| PageId(2 * page + sequence as u32)).collect()
}

/// Outputs of `run` for the rows of sequences that advance by those numbers of rows in every step: by sequence, (rows, width).
///
/// `run` gets the numbers of the rows, of a sequence and its rows each.
pub(super) fn outputs<B: Backend, const N: usize>(
    b: &mut B,
    state_width: usize,
    steps: &[[usize; N]],
    mut run: impl FnMut(&mut B, &mut B::KvPool, &Batch, &[(usize, Range<usize>)]) -> Vec<f32>,
) -> [Vec<f32>; N] {
    let groups = vec![(CacheGroup::states(vec![0, 1], state_width), 4 * N.max(2))];
    let mut pool = b.kv_pool(&KvShape { groups, kv_type: KvType::F32 }).expect("a small pool");
    let mut out = [const { Vec::new() }; N];
    let mut lens = [0; N];
    for step in steps {
        let mut batch = Batch::default();
        let mut rows = Vec::new();
        for (sequence, &n) in step.iter().enumerate().filter(|(_, n)| **n > 0) {
            let start = lens[sequence];
            lens[sequence] += n;
            let table = &pages(sequence)[..lens[sequence].div_ceil(PAGE_LEN)];
            batch.push(&vec![0; n], start, &[table], Want::Nothing);
            rows.push((sequence, start..start + n));
        }
        let numbers = run(b, &mut pool, &batch, &rows);
        let mut numbers = numbers.chunks_exact(numbers.len() / batch.n_rows());
        for (sequence, rows) in rows {
            numbers.by_ref().take(rows.len()).for_each(|row| out[sequence].extend_from_slice(row));
        }
    }
    out
}

/// Rows of a buffer for the rows of a step, from the numbers of whole sequences.
pub(super) fn rows_of<B: Backend>(
    b: &mut B,
    numbers: &[Vec<f32>],
    width: usize,
    rows: &[(usize, Range<usize>)],
) -> B::Buffer {
    let data = rows.iter().flat_map(|(sequence, rows)| {
        numbers[*sequence][rows.start * width..rows.end * width].iter().copied()
    });
    let data = data.collect();
    upload_rows(b, width, data)
}

/// `n` vectors of `width`.
pub(super) fn vectors<B: Backend>(b: &mut B, noise: &mut Noise, n: usize, width: usize) -> B::Weight {
    let bytes = noise.bytes(DType::F32, n * width);
    let source = Source::Memory(&bytes);
    let (name, dtype) = ("noise".into(), DType::F32);
    b.upload_vectors(&HostTensor { name, dtype, n_experts: n, rows: 1, cols: width, source })
        .expect("a small tensor")
}

/// (channels, kernel, with a bias?, activation, numbers of the state before the tail)
const CONVOLUTIONS: [(usize, usize, bool, Option<Activation>, usize); 4] = [
    (72, 4, false, Some(Activation::Silu), 0),
    (300, 3, true, None, 5),
    (17, 1, true, Some(Activation::ReluSquared), 3),
    (40, 16, false, Some(Activation::ClampedSwiglu), 0),
];

fn convolution<B: Backend, const N: usize>(
    b: &mut B,
    (channels, kernel, is_biased, activation, at): (usize, usize, bool, Option<Activation>, usize),
    steps: &[[usize; N]],
) -> [Vec<f32>; N] {
    let mut noise = Noise(77 + channels as u64);
    let n_rows = steps.iter().flatten().sum::<usize>();
    let numbers: Vec<Vec<f32>> = (0..N.max(2)).map(|_| noise.numbers(n_rows.max(80) * channels)).collect();
    let weight = vectors(b, &mut noise, kernel, channels);
    let bias = is_biased.then(|| noise.tensor(b, DType::F32, [1, 1, channels]));
    outputs(b, at + (kernel - 1) * channels + 7, steps, |b, pool, batch, rows| {
        let x = rows_of(b, &numbers, channels, rows);
        let mut out = buffer(b, channels);
        b.causal_conv(CausalConv {
            out: &mut out,
            x: &x,
            weight: &weight,
            kernel,
            bias: bias.as_ref(),
            activation,
            pool,
            layer: LAYER,
            at,
            batch,
        });
        read(b, &out)
    })
}

/// (key heads, value heads, width, order, a decay for every row of a state?, numbers of the state before the matrices)
type Delta = (usize, usize, usize, HeadOrder, bool, usize);

const DELTAS: [Delta; 4] = [
    (2, 6, 16, HeadOrder::Alternating, false, 0),
    (2, 4, 20, HeadOrder::Grouped, true, 9),
    (1, 3, 5, HeadOrder::Grouped, false, 4),
    (1, 2, 40, HeadOrder::Alternating, true, 0),
];

fn delta_rule<B: Backend, const N: usize>(
    b: &mut B,
    (n_key_heads, n_value_heads, width, order, decays_by_row, at): Delta,
    steps: &[[usize; N]],
) -> [Vec<f32>; N] {
    let heads = DeltaHeads { n_key_heads, n_value_heads, width, order };
    let n_decays = if decays_by_row { heads.value_dim() } else { n_value_heads };
    let mut noise = Noise(99 + width as u64);
    // Queries, keys and values of a row are in one buffer, behind something else.
    let widths = [3 + 2 * heads.key_dim() + heads.value_dim(), n_value_heads, n_decays];
    let n_rows = steps.iter().flatten().sum::<usize>().max(80);
    let numbers =
        widths.map(|width| (0..N.max(2)).map(|_| noise.numbers(n_rows * width)).collect::<Vec<Vec<f32>>>());
    let rates: Vec<u8> =
        noise.numbers(n_value_heads).iter().flat_map(|x| (-0.2 - x.abs()).to_le_bytes()).collect();
    let ssm_a = upload(b, DType::F32, [1, 1, n_value_heads], rates);
    let ssm_dt = noise.tensor(b, DType::F32, [1, 1, n_decays]);
    outputs(b, at + heads.state_width() + 3, steps, |b, pool, batch, rows| {
        let [qkv, beta, alpha] = [0, 1, 2].map(|i| rows_of(b, &numbers[i], widths[i], rows));
        let mut out = buffer(b, heads.value_dim());
        b.delta_rule(DeltaRule {
            out: &mut out,
            q: Columns { x: &qkv, first: 3 },
            k: Columns { x: &qkv, first: 3 + heads.key_dim() },
            v: Columns { x: &qkv, first: 3 + 2 * heads.key_dim() },
            beta: &beta,
            alpha: &alpha,
            ssm_a: &ssm_a,
            ssm_dt: &ssm_dt,
            heads,
            pool,
            layer: LAYER,
            at,
            batch,
        });
        read(b, &out)
    })
}

/// Operations of recurrent layers, by name.
pub(super) fn recurrent<B: Backend>(b: &mut B, all: &mut Results) {
    for shape in CONVOLUTIONS {
        let found = convolution(b, shape, &STEPS);
        all.push((format!("causal_conv {shape:?}"), shape.0, found.concat()));
    }
    for shape in DELTAS {
        let found = delta_rule(b, shape, &STEPS);
        all.push((format!("delta_rule {shape:?}"), shape.1 * shape.2, found.concat()));
    }
}

/// A sequence in any chunks, alone and beside another, gives the same bits.
pub(super) fn chunks_continue_as_whole<B: Backend>(b: &mut B) {
    let conv = |b: &mut B, shape, steps: &[[usize; 1]]| convolution(b, shape, steps).concat();
    for shape in CONVOLUTIONS {
        continues(&format!("causal_conv {shape:?}"), shape.0, |steps| conv(b, shape, steps));
    }
    let delta = |b: &mut B, shape, steps: &[[usize; 1]]| delta_rule(b, shape, steps).concat();
    for shape in DELTAS {
        continues(&format!("delta_rule {shape:?}"), shape.1 * shape.2, |steps| delta(b, shape, steps));
    }
}

/// `run` gives the outputs of a sequence that advances by those numbers of rows.
pub(super) fn continues(name: &str, width: usize, mut run: impl FnMut(&[[usize; 1]]) -> Vec<f32>) {
    let len = 70;
    let chunks = |n: usize| (0..len).step_by(n).map(|start| [n.min(len - start)]).collect::<Vec<_>>();
    let whole = vec![(format!("{name} in one chunk"), width, run(&[[len]]))];
    for n in [1, 7, 33, 64] {
        let found = vec![(format!("{name} in chunks of {n}"), width, run(&chunks(n)))];
        compare(&found, &whole, Precision::Bits);
    }
}
