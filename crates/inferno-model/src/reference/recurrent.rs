//! Operations of recurrent layers.

use super::{Buffer, KvPool, Weight};
use crate::backend::{Activations as _, CausalConv, Columns, DeltaRule, UNIT_EPS};
use crate::numerics::{self, exp, sigmoid, softplus, unit_scale};

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

/// See `Backend::delta_rule`.
pub(super) fn delta_rule(op: DeltaRule<'_, Weight, Buffer, KvPool>) {
    let DeltaRule { out, q, k, v, beta, alpha, ssm_a, ssm_dt, heads, pool, layer, at, batch } = op;
    let (width, n_rows) = (heads.width, v.x.n_rows());
    let (rates, dt) = (ssm_a.vector(), ssm_dt.vector());
    assert_eq!((rates.len(), dt.len()), (heads.n_value_heads, alpha.width), "decays of `{}`", ssm_a.name);
    // Of a head: one, or one for every row of its state.
    let n_decays = alpha.width / heads.n_value_heads;
    let of_query = 1.0 / (width as f32).sqrt();
    out.reset(n_rows);
    for span in batch.spans() {
        let states = pool.continued(layer, at..at + heads.state_width(), (batch, span));
        for row in span.rows.clone() {
            let out = &mut out.data[row * heads.value_dim()..][..heads.value_dim()];
            let head =
                |x: &Columns<'_, Buffer>, h: usize| x.x.row(row)[x.first + h * width..][..width].to_vec();
            let states = states.chunks_exact_mut(width * width);
            for (h, (state, out)) in states.zip(out.chunks_exact_mut(width)).enumerate() {
                let key_head = heads.key_head(h);
                let (mut q, mut k, v) = (head(&q, key_head), head(&k, key_head), head(&v, h));
                for (x, factor) in [(&mut q, of_query), (&mut k, 1.0)] {
                    let scale = unit_scale(x, UNIT_EPS);
                    x.iter_mut().for_each(|x| *x = (*x * scale) * factor);
                }
                let strength = sigmoid(beta.row(row)[h]);
                let decays: Vec<f32> = (h * n_decays..(h + 1) * n_decays)
                    .map(|i| exp(rates[h] * softplus(alpha.row(row)[i] + dt[i])))
                    .collect();
                for (column, (out, v)) in out.iter_mut().zip(v).enumerate() {
                    let mut sums = [0.0f32; 4];
                    for (i, (s, k)) in state[column..].iter_mut().step_by(width).zip(&k).enumerate() {
                        *s *= decays[i % n_decays];
                        sums[i % 4] = s.mul_add(*k, sums[i % 4]);
                    }
                    let delta = strength * (v - ((sums[0] + sums[1]) + (sums[2] + sums[3])));
                    let mut sums = [0.0f32; 4];
                    for (i, (s, k)) in state[column..].iter_mut().step_by(width).zip(&k).enumerate() {
                        *s = k.mul_add(delta, *s);
                        sums[i % 4] = s.mul_add(q[i], sums[i % 4]);
                    }
                    *out = (sums[0] + sums[1]) + (sums[2] + sums[3]);
                }
            }
        }
    }
}
