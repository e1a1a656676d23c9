//! The tasks of a state-space layer: each is a span and some blocks of columns of its state, through all rows, so
//! that they stay in the nearest cache.

use inferno_model::backend::{Activations as _, SSM_COLUMNS, SsmScan, SsmShape};

use crate::backend::{Buffer, Cpu, SERIAL, Weight};
use crate::kv::KvPool;
use crate::memory::Shares;
use crate::simd::LANES;

const _: () = assert!(LANES == SSM_COLUMNS, "a lane owns a column");

/// Numbers of states, times rows, that are worth a task.
const TASK: usize = 32 << 10;

/// Reused from step to step: (n, n_heads) each.
#[derive(Debug, Default)]
pub(crate) struct SsmScratch {
    dts: Vec<f32>,
    decays: Vec<f32>,
}

impl Cpu {
    /// See `Backend::ssm_scan`.
    pub(crate) fn scan(&mut self, op: SsmScan<'_, Weight, Buffer, KvPool>) {
        let SsmScan { out, xbc, dt, dt_bias, a, d, shape, pool, layer, at, batch } = op;
        let SsmShape { n_heads, head_width, n_groups, state_size } = shape;
        let (inner, n_blocks, n_rows) = (shape.inner(), shape.n_blocks(), xbc.n_rows());
        assert_eq!((out.width, xbc.width, dt.width), (inner, shape.xbc_width(), n_heads), "widths");
        let (dt_bias, a, d) = (dt_bias.vector(), a.vector(), d.vector());
        out.resize(n_rows);
        let Cpu { kernels, pool: threads, ssm: SsmScratch { dts, decays }, .. } = self;

        dts.clear();
        dts.extend_from_slice(&dt.data);
        decays.resize(dts.len(), 0.0);
        let (all_dts, all_decays) = (Shares::new(dts), Shares::new(decays));
        threads.run_ranges(n_rows, SERIAL.div_ceil(n_heads), &|rows| {
            for row in rows {
                let heads = row * n_heads..(row + 1) * n_heads;
                // SAFETY: the ranges of rows do not overlap.
                let (dt, decay) = unsafe { (all_dts.at(heads.clone()), all_decays.at(heads)) };
                (kernels.ssm_steps)(dt, decay, dt_bias, a);
            }
        });

        let (dts, decays) = (&*dts, &*decays);
        let (places, bytes) = pool.split();
        let states = Shares::new(bytemuck::cast_slice_mut::<u8, f32>(bytes));
        let outs = Shares::new(&mut out.data);
        let block_len = state_size * SSM_COLUMNS;
        let task = |i: usize| {
            let (span, block) = (&batch.spans()[i / (n_heads * n_blocks)], i % (n_heads * n_blocks));
            let head = block / n_blocks;
            let group = head / (n_heads / n_groups);
            let first = block % n_blocks * SSM_COLUMNS;
            let width = SSM_COLUMNS.min(head_width - first);
            let column = head * head_width + first;
            let place = |page| {
                let start = places.state_range(layer, page).start / size_of::<f32>() + at + block * block_len;
                start..start + block_len
            };
            let (before, after) = batch.states(span, layer.group);
            // SAFETY: a span has its state alone, and the block is one task's.
            let state = unsafe { states.at(place(after)) };
            match before {
                Some(before) if before != after => {
                    // SAFETY: no span of the step writes that page: it has the state of an earlier position.
                    let earlier = unsafe { states.read(place(before)) };
                    state.copy_from_slice(earlier);
                }
                Some(_) => {}
                None => state.fill(0.0),
            }
            let state = state.as_chunks_mut::<LANES>().0;
            for row in span.rows.clone() {
                let xbc = xbc.row(row);
                let b = &xbc[inner + group * state_size..][..state_size];
                let c = &xbc[inner + (n_groups + group) * state_size..][..state_size];
                let (mut x, mut y) = ([0.0; LANES], [0.0; LANES]);
                x[..width].copy_from_slice(&xbc[column..][..width]);
                let i = row * n_heads + head;
                (kernels.ssm_scan)(&mut y, state, &x, b, c, [dts[i], decays[i], d[head]]);
                // SAFETY: a row's columns are one task's.
                let out = unsafe { outs.at(row * inner + column..row * inner + column + width) };
                out.copy_from_slice(&y[..width]);
            }
        };
        let n_tasks = batch.spans().len() * n_heads * n_blocks;
        let numbers = n_rows * n_heads * n_blocks * block_len;
        threads.run_ranges(n_tasks, (TASK * n_tasks).div_ceil(numbers.max(1)), &|tasks| tasks.for_each(task));
    }
}
