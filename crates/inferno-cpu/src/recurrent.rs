//! Who computes which part of recurrent layers: a task is a span and some of its channels, through all rows.

use inferno_model::backend::{Activations as _, CausalConv, MOST_TAPS};

use crate::backend::{Buffer, Cpu, SERIAL, Weight};
use crate::kv::KvPool;
use crate::memory::Shares;

/// Channels of a convolution in a task.
const CHANNELS: usize = 256;

impl Cpu {
    /// See `Backend::causal_conv`.
    pub(crate) fn convolve(&mut self, op: CausalConv<'_, Weight, Buffer, KvPool>) {
        let CausalConv { out, x, weight, kernel, bias, activation, pool, layer, at, batch } = op;
        let (channels, n_rows) = (x.width, x.n_rows());
        assert_eq!((out.width, weight.packed.cols), (channels, channels), "channels of a convolution");
        out.resize(n_rows);
        let Cpu { kernels, pool: threads, .. } = self;
        let (places, bytes) = pool.split();
        let states = Shares::new(bytemuck::cast_slice_mut::<u8, f32>(bytes));
        let outs = Shares::new(&mut out.data);
        let bias = bias.map(Weight::vector);
        let (n_blocks, before_now) = (channels.div_ceil(CHANNELS), kernel - 1);
        let task = |i: usize| {
            let span = &batch.spans()[i / n_blocks];
            let columns = i % n_blocks * CHANNELS..channels.min((i % n_blocks + 1) * CHANNELS);
            let (before, after) = batch.states(span, layer.group);
            let tail = |page, row: usize| {
                let start = places.state_range(layer, page).start / size_of::<f32>() + at + row * channels;
                start + columns.start..start + columns.end
            };
            let zeros = [0.0; CHANNELS];
            // Rows from the oldest one of the tail on.
            let input = |row: usize| match (row.checked_sub(before_now), before) {
                (Some(row), _) => &x.row(span.rows.start + row)[columns.clone()],
                // SAFETY: these columns of the state are read by tasks alone that do not write them, or have not yet.
                (None, Some(page)) => unsafe { states.read(tail(page, row)) },
                (None, None) => &zeros[..columns.len()],
            };
            let mut taps: [&[f32]; MOST_TAPS] = [&[]; MOST_TAPS];
            for (tap, slice) in taps[..kernel].iter_mut().enumerate() {
                *slice = &weight.vector_of(tap)[columns.clone()];
            }
            let bias = bias.map(|bias| &bias[columns.clone()]);
            for (i, row) in span.rows.clone().enumerate() {
                let mut inputs: [&[f32]; MOST_TAPS] = [&[]; MOST_TAPS];
                for (tap, slice) in inputs[..kernel].iter_mut().enumerate() {
                    *slice = input(i + tap);
                }
                let start = row * channels;
                // SAFETY: a row's columns are one task's.
                let out = unsafe { outs.at(start + columns.start..start + columns.end) };
                (kernels.convolve)(out, &inputs[..kernel], &taps[..kernel], bias);
                if let Some(activation) = activation {
                    (kernels.activate)(out, activation);
                }
            }
            for row in 0..before_now {
                // SAFETY: a span has its state alone, and rows that follow are read after those before them are written.
                let to = unsafe { states.at(tail(after, row)) };
                to.copy_from_slice(input(span.rows.len() + row));
            }
        };
        let n_tasks = batch.spans().len() * n_blocks;
        if n_rows * channels <= SERIAL {
            (0..n_tasks).for_each(task);
        } else {
            threads.run(n_tasks, &task);
        }
    }
}
