//! Operations of recurrent layers.

use super::{Buffer, KvPool, Weight};
use crate::backend::{Activations as _, CausalConv};
use crate::numerics;

/// See `Backend::causal_conv`.
pub(super) fn causal_conv(op: CausalConv<'_, Weight, Buffer, KvPool>) {
    let CausalConv { out, x, weight, kernel, bias, activation, pool, layer, at, batch } = op;
    let channels = x.width;
    assert_eq!((out.width, weight.cols), (channels, channels), "channels of `{}`", weight.name);
    let taps: Vec<Vec<f32>> = (0..kernel).map(|tap| weight.vector_of(tap)).collect();
    let bias = bias.map_or(vec![0.0; channels], Weight::vector);
    out.reset(x.n_rows());
    for span in batch.spans() {
        let tail = pool.continued(layer, at..at + (kernel - 1) * channels, (batch, span));
        for row in span.rows.clone() {
            let now = x.row(row);
            let out = &mut out.data[row * channels..][..channels];
            out.copy_from_slice(&bias);
            for (tap, x) in taps.iter().zip(tail.chunks_exact(channels).chain([now])) {
                for ((out, weight), x) in out.iter_mut().zip(tap).zip(x) {
                    *out = weight.mul_add(*x, *out);
                }
            }
            if let Some(activation) = activation {
                out.iter_mut().for_each(|x| *x = numerics::activate(*x, activation));
            }
            if kernel > 1 {
                tail.copy_within(channels.., 0);
                tail[(kernel - 2) * channels..].copy_from_slice(now);
            }
        }
    }
}
