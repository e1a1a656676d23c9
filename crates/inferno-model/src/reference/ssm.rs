//! The recurrence of Mamba-2.

use super::{Buffer, KvPool, Weight};
use crate::backend::{Activations as _, SSM_COLUMNS, SSM_SUMS, SsmScan, SsmShape};
use crate::numerics::{exp, softplus};

/// See `Backend::ssm_scan`.
pub(super) fn ssm_scan(op: SsmScan<'_, Weight, Buffer, KvPool>) {
    let SsmScan { out, xbc, dt, dt_bias, a, d, shape, pool, layer, at, batch } = op;
    let SsmShape { n_heads, head_width, n_groups, state_size } = shape;
    assert_eq!((out.width, xbc.width, dt.width), (shape.inner(), shape.xbc_width(), n_heads), "widths");
    let [dt_bias, a, d] = [dt_bias, a, d].map(Weight::vector);
    out.reset(xbc.n_rows());
    for span in batch.spans() {
        let states = pool.continued(layer, at..at + shape.state_len(), (batch, span));
        for row in span.rows.clone() {
            let (x, bc) = xbc.row(row).split_at(shape.inner());
            let (b, c) = bc.split_at(n_groups * state_size);
            let out = &mut out.data[row * shape.inner()..][..shape.inner()];
            for head in 0..n_heads {
                let group = head / (n_heads / n_groups);
                let [b, c] = [b, c].map(|all| &all[group * state_size..][..state_size]);
                let dt = softplus(dt.row(row)[head] + dt_bias[head]);
                let decay = exp(dt * a[head]);
                for i in 0..head_width {
                    let x = x[head * head_width + i];
                    let block = head * shape.n_blocks() + i / SSM_COLUMNS;
                    let column = states[block * state_size * SSM_COLUMNS..].iter_mut();
                    let column = column.skip(i % SSM_COLUMNS).step_by(SSM_COLUMNS).take(state_size);
                    let mut sums = [0.0; SSM_SUMS];
                    for (n, s) in column.enumerate() {
                        *s = decay.mul_add(*s, dt * x * b[n]);
                        sums[n % SSM_SUMS] = s.mul_add(c[n], sums[n % SSM_SUMS]);
                    }
                    let sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
                    out[head * head_width + i] = d[head].mul_add(x, sum);
                }
            }
        }
    }
}
