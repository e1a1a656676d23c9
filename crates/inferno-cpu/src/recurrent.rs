//! Recurrent layers: a task is a span and some of its channels or columns, through all rows.

use inferno_model::backend::{Activations as _, CausalConv, DeltaRule, MOST_TAPS};
use inferno_model::batch::Span;

use crate::backend::{Buffer, Cpu, SERIAL, Weight, each_rows};
use crate::kernels::recurrent::DeltaRow;
use crate::kv::KvPool;
use crate::memory::Shares;
use crate::simd::LANES;

/// Channels of a convolution in a task.
const CHANNELS: usize = 256;

/// Heads for every thread from which on a task has all columns of a head.
const TASKS_PER_THREAD: usize = 8;

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

impl Cpu {
    /// See `Backend::delta_rule`. A task is a span, a value head and sixteen columns of its state or more, through all rows.
    ///
    /// A matrix is stored as blocks of [`LANES`] columns, the last of which may have fewer.
    pub(crate) fn apply_delta_rule(&mut self, op: DeltaRule<'_, Weight, Buffer, KvPool>) {
        let DeltaRule { out, q, k, v, beta, alpha, ssm_a, ssm_dt, heads, pool, layer, at, batch } = op;
        let (width, key_dim, value_dim) = (heads.width, heads.key_dim(), heads.value_dim());
        let (n_rows, n_heads) = (v.x.n_rows(), heads.n_value_heads);
        assert_eq!(out.width, value_dim, "outputs of a delta-net");
        out.resize(n_rows);
        let Cpu { kernels, pool: threads, recurrent: prepared, .. } = self;

        // A row of queries, keys, strengths and decays.
        let ends = [key_dim, 2 * key_dim, 2 * key_dim + n_heads, 2 * key_dim + n_heads + alpha.width];
        prepared.width = ends[3];
        prepared.resize(n_rows);
        let of_query = 1.0 / (width as f32).sqrt();
        each_rows(kernels, threads, prepared, |kernels, x, rows| {
            for (row, x) in rows.zip(x.chunks_exact_mut(ends[3])) {
                let (keys, rest) = x.split_at_mut(ends[1]);
                let (strengths, decays) = rest.split_at_mut(n_heads);
                let (queries, keys) = keys.split_at_mut(key_dim);
                queries.copy_from_slice(&q.x.row(row)[q.first..][..key_dim]);
                (kernels.unit_heads)(queries, width, of_query);
                keys.copy_from_slice(&k.x.row(row)[k.first..][..key_dim]);
                (kernels.unit_heads)(keys, width, 1.0);
                strengths.fill(1.0);
                (kernels.sigmoid_gate)(strengths, beta.row(row));
                decays.copy_from_slice(alpha.row(row));
                (kernels.decays)(decays, ssm_dt.vector(), ssm_a.vector());
            }
        });

        let (places, bytes) = pool.split();
        let states = Shares::new(bytemuck::cast_slice_mut::<u8, f32>(bytes));
        let outs = Shares::new(&mut out.data);
        let (prepared, n_blocks, n_decays) = (&*prepared, width.div_ceil(LANES), alpha.width / n_heads);
        let columns = |span: &Span, head: usize, first: usize| {
            let n_columns = LANES.min(width - first);
            let (before, after) = batch.states(span, layer.group);
            let numbers = |page| {
                let start = places.state_range(layer, page).start / size_of::<f32>() + at;
                let start = start + (head * width + first) * width;
                start..start + n_columns * width
            };
            // SAFETY: a span has its state alone, and a task its columns of it.
            let kept = unsafe { states.at(numbers(after)) };
            match before {
                Some(before) if before != after => {
                    // SAFETY: what is before a span is not written.
                    kept.copy_from_slice(unsafe { states.read(numbers(before)) });
                }
                Some(_) => {}
                None => kept.fill(0.0),
            }
            let is_whole = n_columns == LANES;
            let mut room = vec![[0.0; LANES]; if is_whole { 0 } else { width }];
            for (row, kept) in room.iter_mut().zip(kept.chunks_exact(n_columns)) {
                row[..n_columns].copy_from_slice(kept);
            }
            let state = if is_whole { kept.as_chunks_mut().0 } else { room.as_mut_slice() };
            let key_head = heads.key_head(head) * width;
            for row in span.rows.clone() {
                let x = prepared.row(row);
                let step = DeltaRow {
                    q: &x[key_head..][..width],
                    k: &x[ends[0] + key_head..][..width],
                    strength: x[ends[1] + head],
                    decays: &x[ends[2] + head * n_decays..][..n_decays],
                };
                let column = head * width + first;
                let mut y = [0.0; LANES];
                y[..n_columns].copy_from_slice(&v.x.row(row)[v.first + column..][..n_columns]);
                (kernels.delta_rule)(state, &mut y, &step);
                let start = row * value_dim + column;
                // SAFETY: a row's columns are one task's.
                unsafe { outs.at(start..start + n_columns) }.copy_from_slice(&y[..n_columns]);
            }
            for (kept, row) in kept.chunks_exact_mut(n_columns).zip(&room) {
                kept.copy_from_slice(&row[..n_columns]);
            }
        };
        // Where there are many heads, a task has all columns of one.
        let n_spans = batch.spans().len();
        let n_parts = if n_spans * n_heads >= TASKS_PER_THREAD * threads.n_threads() { 1 } else { n_blocks };
        threads.run(n_spans * n_heads * n_parts, &|i| {
            let (span, head, part) = (i / (n_heads * n_parts), i / n_parts % n_heads, i % n_parts);
            for block in (part..n_blocks).step_by(n_parts) {
                columns(&batch.spans()[span], head, block * LANES);
            }
        });
    }
}
