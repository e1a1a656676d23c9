//! State-space layers: sequences of many steps, each of which continues what the last one left.

use inferno_format::DType;

use super::recurrent::{STEPS, outputs, rows_of};
use super::{Noise, Precision, Results, buffer, compare, read, upload};
use crate::backend::{Backend, LayerIdx, SsmScan, SsmShape};

const LAYER: LayerIdx = LayerIdx { layer: 1, group: 0 };

/// With the numbers of the state before those of the heads. Heads narrower and wider than what lies together, states that are no
/// multiple of anything.
const SHAPES: [(SsmShape, usize); 4] = [
    (SsmShape { n_heads: 4, head_width: 24, n_groups: 2, state_size: 16 }, 5),
    (SsmShape { n_heads: 2, head_width: 64, n_groups: 1, state_size: 128 }, 0),
    (SsmShape { n_heads: 3, head_width: 5, n_groups: 3, state_size: 7 }, 12),
    (SsmShape { n_heads: 6, head_width: 80, n_groups: 2, state_size: 33 }, 3),
];

fn scan<B: Backend, const N: usize>(
    b: &mut B,
    (shape, at): (SsmShape, usize),
    steps: &[[usize; N]],
) -> [Vec<f32>; N] {
    let mut noise = Noise(91 + shape.state_size as u64);
    let SsmShape { n_heads, .. } = shape;
    let width = shape.xbc_width();
    // As many as any way of running a sequence takes: their numbers must not depend on it.
    const N_ROWS: usize = 80;
    let xbc: Vec<Vec<f32>> = (0..2).map(|_| noise.numbers(N_ROWS * width)).collect();
    // Softplus is taken on both sides of zero, and states decay slowly and fast.
    let dt = (0..2).map(|_| noise.numbers(N_ROWS * n_heads).iter().map(|x| 6.0 * x).collect());
    let dt: Vec<Vec<f32>> = dt.collect();
    let dt_bias = noise.tensor(b, DType::F32, [1, 1, n_heads]);
    let a: Vec<u8> = noise.numbers(n_heads).iter().flat_map(|x| (-0.01 - x * x).to_le_bytes()).collect();
    let a = upload(b, DType::F32, [1, 1, n_heads], a);
    let d = noise.tensor(b, DType::F32, [1, 1, n_heads]);
    outputs(b, at + shape.state_len() + 3, steps, |b, pool, batch, rows| {
        let [xbc, dt] = [(&xbc, width), (&dt, n_heads)].map(|(numbers, n)| rows_of(b, numbers, n, rows));
        let mut out = buffer(b, shape.inner());
        b.ssm_scan(SsmScan {
            out: &mut out,
            xbc: &xbc,
            dt: &dt,
            dt_bias: &dt_bias,
            a: &a,
            d: &d,
            shape,
            pool,
            layer: LAYER,
            at,
            batch,
        });
        read(b, &out)
    })
}

/// The scan of every shape, by name.
pub(super) fn ssm<B: Backend>(b: &mut B, all: &mut Results) {
    for shape in SHAPES {
        let found = scan(b, shape, &STEPS);
        all.push((format!("ssm_scan {shape:?}"), shape.0.inner(), found.concat()));
    }
}

/// A sequence in any chunks, alone and beside another, gives the same bits.
pub(super) fn chunks_continue_as_whole<B: Backend>(b: &mut B) {
    for shape in SHAPES {
        let [whole, _] = scan(b, shape, &[[66, 0]]);
        let whole = vec![(format!("ssm_scan {shape:?} in chunks"), shape.0.inner(), whole)];
        for chunk in [1, 7, 64, 65] {
            // The other sequence is ahead.
            let step = |start: usize| [chunk.min(66 - start), if start == 0 { 3 } else { 1 }];
            let steps: Vec<[usize; 2]> = (0..66).step_by(chunk).map(step).collect();
            let [found, _] = scan(b, shape, &steps);
            let found = vec![(String::new(), shape.0.inner(), found)];
            compare(&found, &whole, Precision::Bits);
        }
    }
}
