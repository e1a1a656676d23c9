//! [`Backend`] on a GPU: what is dispatched for an operation, and in what shape.

use std::ops::Range;

use inferno_model::architecture::{Activation, Xielu};
use inferno_model::backend::{
    AttendHeads, Attention, Backend, CausalConv, DeltaRule, DeviceMemory, DeviceSampling, Experts,
    ExpertsAdd, GluMatmul, HostTensor, KernelTimes, KvShape, LayerIdx, MatmulAdd, SsmScan,
};
use inferno_model::batch::{Batch, PageId};
use inferno_model::error::{BackendError, LoadError, StepError};
use inferno_model::rope::{Angles, Pairing};
use inferno_model::sample::{Pick, SampleSpec, as_share};

use crate::batch::Placed;
pub use crate::buffer::Buffer;
use crate::buffer::storages;
use crate::device::{Gpu, Storage};
use crate::kernels::{Glu, Kernel};
use crate::kv::KvGroup;
pub use crate::kv::KvPool;
use crate::layout::{BLOCK, PANEL};
use crate::matmul::Inputs;
pub use crate::matrix::Weight;
use crate::recorder::{Grid, Params, Recorder, VECTOR};
use crate::stopwatch::Stopwatch;
use crate::tuning::choose_halves;

mod attention;
mod compound;
mod experts;
mod heads;
mod recurrent;
mod ssm;

/// One model's GPU.
pub struct Wgpu {
    gpu: Gpu,
    recorder: Recorder,
    placed: Placed,
    /// Cosines and sines that are uploaded, and where.
    angles: Vec<(Angles, [usize; 2])>,
    angles_generation: u64,
    s: Scratch,
}

/// What operations keep between their dispatches.
#[derive(Debug, Default)]
struct Scratch {
    inputs: Inputs,
    /// Attention in partitions.
    parts: Buffer,
    /// Of experts.
    chosen: Buffer,
    shares: Buffer,
    order: Buffer,
    groups: Buffer,
    gate: Buffer,
    up: Buffer,
    down: Buffer,
    /// Of products head by head: inputs apart, and outputs.
    heads: Buffer,
    products: Buffer,
    /// Rows as the delta rule takes them.
    prepared: Buffer,
    /// Of state-space layers.
    steps: Buffer,
}

impl Wgpu {
    /// A backend on that device.
    pub fn new(mut gpu: Gpu) -> Result<Wgpu, BackendError> {
        let uploads = Recorder::first_uploads(&mut gpu)?;
        let mut recorder = Recorder::new(uploads);
        choose_halves(&mut gpu, &mut recorder)?;
        Ok(Wgpu {
            gpu,
            recorder,
            placed: Placed::default(),
            angles: Vec::new(),
            angles_generation: 0,
            s: Scratch::default(),
        })
    }

    /// Takes variants of kernels that are seldom the fastest: for tests of what comes then.
    pub fn take_other_variants(&mut self) {
        self.s.inputs.tuning.takes_others = true;
    }

    /// out = the rows of the table for tokens among the uploads, or those chosen.
    fn embed_from(
        &mut self,
        out: &mut Buffer,
        table: &Weight,
        chosen: Option<&Buffer>,
        tokens: Range<usize>,
        scale: f32,
    ) {
        out.resize(&mut self.gpu, &mut self.recorder, tokens.len());
        let storage = storages!(out);
        let (kernel, source) = match chosen {
            None => (Kernel::Embed(table.layout), None),
            Some(chosen) => (Kernel::EmbedChosen(table.layout), Some(storages!(chosen))),
        };
        for part in &table.parts {
            let params = Params::default()
                .uint(tokens.len())
                .uint(table.n_blocks())
                .uint(table.panel_len())
                .uint(part.first)
                .uint(part.panels.start * PANEL)
                .uint(part.panels.len() * PANEL)
                .uint(tokens.start)
                .float(scale);
            let grid = Grid::Threads(tokens.len() * table.n_blocks());
            let buffers = [Some(&part.storage), Some(storage), source];
            self.recorder.dispatch(&self.gpu, kernel, &buffers, &params, &grid);
        }
    }

    /// The norm of heads, whose weight is that of one or of all.
    fn norm_heads(&mut self, x: &mut Buffer, weight: &Weight, (n_heads, head_dim): (usize, usize), eps: f32) {
        let to = storages!(x);
        let params = Params::default()
            .uint(x.n_rows)
            .uint(n_heads)
            .uint(head_dim)
            .uint(x.stride())
            .uint(weight.cols)
            .float(eps);
        let buffers = [Some(to), Some(weight.vector())];
        let grid = Grid::Groups(x.n_rows * n_heads);
        self.recorder.dispatch(&self.gpu, Kernel::HeadNorm, &buffers, &params, &grid);
    }

    /// Where the angles are.
    fn place_angles(&mut self, angles: &Angles) -> [usize; 2] {
        if self.angles_generation != self.recorder.generation() {
            self.angles_generation = self.recorder.generation();
            self.angles.clear();
        }
        let placed = self.angles.iter().find(|(a, _)| a.cos == angles.cos && a.sin == angles.sin);
        if let Some((_, at)) = placed {
            return *at;
        }
        let at = [&angles.cos, &angles.sin]
            .map(|numbers| self.recorder.upload(&mut self.gpu, bytemuck::cast_slice(numbers)));
        self.angles.push((angles.clone(), at));
        at
    }
}

impl DeviceMemory for Wgpu {
    type Weight = Weight;
    type Buffer = Buffer;
    type KvPool = KvPool;

    fn upload(&mut self, tensor: &HostTensor<'_>) -> Result<Weight, LoadError> {
        Weight::new(&mut self.gpu, tensor)
    }

    fn upload_vectors(&mut self, tensor: &HostTensor<'_>) -> Result<Weight, LoadError> {
        Weight::vectors(&mut self.gpu, tensor)
    }

    fn upload_together(&mut self, tensors: &[HostTensor<'_>]) -> Result<Vec<Weight>, LoadError> {
        Weight::several(&mut self.gpu, tensors)
    }

    fn buffer(&mut self, width: usize) -> Result<Buffer, BackendError> {
        Ok(Buffer::new(width))
    }

    fn kv_pool(&mut self, shape: &KvShape) -> Result<KvPool, BackendError> {
        KvPool::new(&mut self.gpu, shape)
    }

    fn page_bytes(&self, pool: &KvPool, group: usize) -> usize {
        pool.page_bytes(group)
    }

    fn read_page(
        &mut self,
        pool: &KvPool,
        group: usize,
        page: PageId,
        out: &mut [u8],
    ) -> Result<(), StepError> {
        let parts: Vec<_> = pool.page_parts(group, page).collect();
        self.recorder.read_parts(&mut self.gpu, &parts, |bytes| out.copy_from_slice(bytes))
    }

    fn write_page(
        &mut self,
        pool: &mut KvPool,
        group: usize,
        page: PageId,
        bytes: &[u8],
    ) -> Result<(), StepError> {
        assert_eq!(bytes.len(), pool.page_bytes(group), "the bytes of a page");
        // What was recorded before sees what was there before.
        self.recorder.submit(&self.gpu);
        let mut bytes = bytes;
        for (storage, at, n) in pool.page_parts(group, page) {
            let (part, rest) = bytes.split_at(n as usize);
            self.gpu.queue.write_buffer(&storage.buffer, at, part);
            bytes = rest;
        }
        self.gpu.failure.get().map_or(Ok(()), |what| Err(StepError { what }))
    }

    fn write(&mut self, x: &mut Buffer, numbers: &[f32]) {
        x.resize(&mut self.gpu, &mut self.recorder, numbers.len() / x.width);
        let storage = storages!(x);
        let mut filled = vec![0.0f32; x.len()];
        for (filled, row) in filled.chunks_exact_mut(x.stride()).zip(numbers.chunks_exact(x.width)) {
            filled[..x.width].copy_from_slice(row);
        }
        // What was recorded before sees what was there before.
        self.recorder.submit(&self.gpu);
        self.recorder.forget_quantized();
        self.gpu.queue.write_buffer(&storage.buffer, 0, bytemuck::cast_slice(&filled));
    }

    fn read(&mut self, x: &Buffer, out: &mut Vec<f32>) -> Result<(), StepError> {
        out.clear();
        let Some(storage) = x.storage() else {
            return self.gpu.failure.get().map_or(Ok(()), |what| Err(StepError { what }));
        };
        let take = |bytes: &[u8]| {
            let numbers: &[f32] = bytemuck::cast_slice(bytes);
            numbers.chunks_exact(x.stride()).for_each(|row| out.extend_from_slice(&row[..x.width]));
        };
        self.recorder.read(&mut self.gpu, storage, (0, 4 * x.len() as u64), take)
    }

    fn finish(&mut self) -> Result<(), StepError> {
        self.recorder.finish(&mut self.gpu)
    }
}

impl Backend for Wgpu {
    fn embed(&mut self, out: &mut Buffer, table: &Weight, tokens: &[u32], scale: f32) {
        let at = self.recorder.upload(&mut self.gpu, tokens);
        self.embed_from(out, table, None, at..at + tokens.len(), scale);
    }

    fn rms_norm(&mut self, out: &mut Buffer, x: &Buffer, weight: &Weight, eps: f32) {
        let Wgpu { gpu, recorder, s, .. } = self;
        out.resize(gpu, recorder, x.n_rows);
        let [quants, scales] = s.inputs.room(gpu, recorder, x);
        let (out, from) = storages!(out, x);
        let params = Params::default().uint(x.n_rows).uint(x.width).uint(x.stride() / VECTOR).float(eps);
        let buffers = [quants, scales, Some(out), Some(weight.vector()), Some(from)];
        recorder.dispatch(gpu, Kernel::RmsNorm, &buffers, &params, &Grid::Groups(x.n_rows));
        recorder.note_quantized(out);
    }

    fn matmul(&mut self, outs: &mut [&mut Buffer], weights: &[&Weight], x: &Buffer) {
        let Wgpu { gpu, recorder, s, .. } = self;
        s.inputs.prepare(gpu, recorder, x, weights);
        s.inputs.multiply(gpu, recorder, (outs, weights, x));
    }

    fn matmul_heads(
        &mut self,
        out: &mut Buffer,
        weight: &Weight,
        x: &Buffer,
        tail: Option<&Buffer>,
        n_heads: usize,
    ) {
        self.multiply_heads(out, weight, x, tail, n_heads);
    }

    fn add(&mut self, x: &mut Buffer, y: &Buffer) {
        self.add_biased(x, y, None);
    }

    fn scale(&mut self, x: &mut Buffer, factor: f32) {
        let to = storages!(x);
        let n = x.len() / VECTOR;
        let params = Params::default().uint(n).float(factor);
        self.recorder.dispatch(&self.gpu, Kernel::Scale, &[Some(to)], &params, &Grid::Threads(n));
    }

    fn scale_rows(&mut self, x: &mut Buffer, factors: &[f32]) {
        let at = self.recorder.upload(&mut self.gpu, bytemuck::cast_slice(factors));
        let to = storages!(x);
        let n = x.len() / VECTOR;
        let params = Params::default().uint(n).uint(x.stride() / VECTOR).uint(at);
        let buffers = [Some(to), None];
        self.recorder.dispatch(&self.gpu, Kernel::ScaleRows, &buffers, &params, &Grid::Threads(n));
    }

    fn add_bias(&mut self, x: &mut Buffer, bias: &Weight) {
        let to = storages!(x);
        let n = x.len() / VECTOR;
        let params = Params::default().uint(n).uint(x.stride() / VECTOR);
        let buffers = [Some(to), Some(bias.vector())];
        self.recorder.dispatch(&self.gpu, Kernel::AddBias, &buffers, &params, &Grid::Threads(n));
    }

    fn head_norm(&mut self, x: &mut Buffer, weight: &Weight, eps: f32) {
        let n_heads = x.width / weight.cols;
        self.norm_heads(x, weight, (n_heads, weight.cols), eps);
    }

    fn group_norm(&mut self, x: &mut Buffer, weight: &Weight, n_groups: usize, eps: f32) {
        self.norm_heads(x, weight, (n_groups, x.width / n_groups), eps);
    }

    fn rope(&mut self, x: &mut Buffer, head_dim: usize, angles: &Angles) {
        let [cos, sin] = self.place_angles(angles);
        let to = storages!(x);
        let (n_heads, n_pairs) = (x.width / head_dim, angles.dims / 2);
        let params = Params::default()
            .uint(x.n_rows)
            .uint(n_heads)
            .uint(head_dim)
            .uint(n_pairs)
            .uint(x.stride())
            .uint(cos)
            .uint(sin)
            .uint(usize::from(angles.pairing == Pairing::Adjacent));
        let grid = Grid::Threads(x.n_rows * n_heads * n_pairs);
        self.recorder.dispatch(&self.gpu, Kernel::Rope, &[Some(to), None], &params, &grid);
    }

    fn store_kv(&mut self, pool: &mut KvPool, layer: LayerIdx, k: &Buffer, v: &Buffer, batch: &Batch) {
        let Wgpu { gpu, recorder, placed, .. } = self;
        placed.place(recorder, gpu, batch, pool.groups.len());
        let (keys, values) = storages!(k, v);
        let (storage, slots) = (pool.layer(layer), placed.slots(layer.group));
        let KvGroup { layout, n_kv_heads, .. } = pool.groups[layer.group];
        let strides = [k.stride(), v.stride()];
        let params = Params::default().uint(k.n_rows).uint(n_kv_heads).uints(&strides).uint(slots);
        let n_blocks = [layout.key_width, layout.value_width].map(|width| (width as usize).div_ceil(BLOCK));
        let grid = Grid::Threads(k.n_rows * n_kv_heads * (n_blocks[0] + n_blocks[1]));
        let buffers = [Some(storage), Some(keys), Some(values), None];
        recorder.dispatch(gpu, Kernel::StoreKv(layout), &buffers, &params, &grid);
    }

    fn attend(
        &mut self,
        out: &mut Buffer,
        q: &Buffer,
        pool: &KvPool,
        batch: &Batch,
        attention: &Attention,
        sinks: Option<&Weight>,
    ) {
        self.attend_to(out, q, pool, batch, attention, sinks);
    }

    fn glu(&mut self, gate: &mut Buffer, up: &Buffer, activation: Activation) {
        let Wgpu { gpu, recorder, s, .. } = self;
        glu(recorder, gpu, &mut s.inputs, (gate, Some(up)), None, activation);
    }

    fn activate(&mut self, x: &mut Buffer, activation: Activation) {
        let Wgpu { gpu, recorder, s, .. } = self;
        glu(recorder, gpu, &mut s.inputs, (x, None), None, activation);
    }

    fn sigmoid_gate(&mut self, x: &mut Buffer, gate: &Buffer) {
        let (to, from) = storages!(x, gate);
        let params = Params::default()
            .uint(x.len())
            .uint(x.width)
            .uint(x.stride())
            .uint(x.width / gate.width)
            .uint(gate.stride());
        let buffers = [Some(to), Some(from)];
        self.recorder.dispatch(&self.gpu, Kernel::SigmoidGate, &buffers, &params, &Grid::Threads(x.len()));
    }

    fn experts(&mut self, out: &mut Buffer, experts: Experts<'_, Weight, Buffer>) {
        self.experts_to(out, false, experts);
    }

    fn take_rows(&mut self, out: &mut Buffer, x: &Buffer, rows: &[usize]) {
        out.resize(&mut self.gpu, &mut self.recorder, rows.len());
        let rows: Vec<u32> = rows.iter().map(|&row| row as u32).collect();
        let at = self.recorder.upload(&mut self.gpu, &rows);
        let (to, from) = storages!(out, x);
        let n = out.len() / VECTOR;
        let params = Params::default().uint(n).uint(x.stride() / VECTOR).uint(at);
        let buffers = [Some(to), Some(from), None];
        self.recorder.dispatch(&self.gpu, Kernel::TakeRows, &buffers, &params, &Grid::Threads(n));
    }

    fn take_columns(&mut self, out: &mut Buffer, x: &Buffer, first: usize) {
        out.resize(&mut self.gpu, &mut self.recorder, x.n_rows);
        let (to, from) = storages!(out, x);
        let n = out.len() / VECTOR;
        let params = Params::default()
            .uint(n)
            .uint(out.stride() / VECTOR)
            .uint(out.width)
            .uint(x.stride())
            .uint(first);
        let buffers = [Some(to), Some(from)];
        self.recorder.dispatch(&self.gpu, Kernel::TakeColumns, &buffers, &params, &Grid::Threads(n));
    }

    fn softcap(&mut self, x: &mut Buffer, cap: f32) {
        let to = storages!(x);
        let params = Params::default().uint(x.len()).float(cap);
        self.recorder.dispatch(&self.gpu, Kernel::Softcap, &[Some(to)], &params, &Grid::Threads(x.len()));
    }

    fn causal_conv(&mut self, op: CausalConv<'_, Weight, Buffer, KvPool>) {
        self.convolve(op);
    }

    fn delta_rule(&mut self, op: DeltaRule<'_, Weight, Buffer, KvPool>) {
        self.apply_delta_rule(op);
    }

    fn ssm_scan(&mut self, op: SsmScan<'_, Weight, Buffer, KvPool>) {
        self.scan(op);
    }

    const HAS_COMPOUNDS: bool = true;

    fn matmul_add(&mut self, op: MatmulAdd<'_, Weight, Buffer>) {
        self.matmul_onto(op);
    }

    fn glu_matmul(&mut self, op: GluMatmul<'_, Weight, Buffer>) {
        let GluMatmul { gate, up, activation, down, branch } = op;
        match up {
            Some(up) => self.glu(gate, up, activation),
            None => self.activate(gate, activation),
        }
        self.matmul_onto(MatmulAdd { input: gate, weight: down, branch });
    }

    fn attend_heads(&mut self, op: AttendHeads<'_, Weight, Buffer, KvPool>) {
        self.prepare_and_attend(op);
    }

    fn experts_add(&mut self, op: ExpertsAdd<'_, Weight, Buffer>) {
        self.experts_onto(op);
    }

    fn device_sampling(&mut self) -> Option<&mut dyn DeviceSampling<Weight, Buffer>> {
        Some(self)
    }

    fn time_kernels(&mut self) -> Option<&mut dyn KernelTimes> {
        let Wgpu { gpu, recorder, .. } = self;
        if recorder.stopwatch.is_none() {
            recorder.stopwatch = Stopwatch::new(gpu);
        }
        recorder.stopwatch.as_mut().map(|stopwatch| stopwatch as _)
    }
}

impl DeviceSampling<Weight, Buffer> for Wgpu {
    fn choose(&mut self, out: &mut Buffer, first: usize, total: usize, x: &Buffer, picks: &[Pick]) {
        out.resize(&mut self.gpu, &mut self.recorder, total);
        let words = |(i, pick): (usize, &Pick)| {
            let SampleSpec { top_p, min_p, temperature, .. } = pick.spec;
            let ints = [first + i, pick.row, pick.spec.n_candidates().unwrap_or(0)].map(|n| n as u32);
            let floats = [top_p, min_p, temperature, pick.number].map(f32::to_bits);
            let shares = [top_p, pick.number].map(as_share);
            [&ints[..], &[u32::from(pick.spec.is_greedy())], &floats, &shares].concat()
        };
        let (to, from) = storages!(out, x);
        for (kernel, is_from_all) in [(Kernel::Choose, false), (Kernel::ChooseFromAll, true)] {
            let of_kind = |(_, pick): &(usize, &Pick)| pick.spec.n_candidates().is_none() == is_from_all;
            let picks: Vec<(usize, &Pick)> = picks.iter().enumerate().filter(of_kind).collect();
            let n = picks.len();
            let words: Vec<u32> = picks.into_iter().flat_map(words).collect();
            let at = self.recorder.upload(&mut self.gpu, &words);
            let params = Params::default().uint(n).uint(x.width).uint(x.stride()).uint(at).uint(out.stride());
            let buffers = [Some(to), Some(from), None];
            self.recorder.dispatch(&self.gpu, kernel, &buffers, &params, &Grid::Groups(n));
        }
    }

    fn embed_chosen(
        &mut self,
        out: &mut Buffer,
        table: &Weight,
        chosen: &Buffer,
        rows: Range<usize>,
        scale: f32,
    ) {
        self.embed_from(out, table, Some(chosen), rows, scale);
    }
}

/// gate = activation(gate) * up, or activation(gate); quantized as well. With biases, gate and up have a row per routed expert.
fn glu(
    recorder: &mut Recorder,
    gpu: &mut Gpu,
    inputs: &mut Inputs,
    (gate, up): (&Buffer, Option<&Buffer>),
    biases: Option<RoutedBiases<'_>>,
    activation: Activation,
) {
    let [quants, scales] = inputs.room(gpu, recorder, gate);
    let to = storages!(gate);
    let n = gate.len() / VECTOR;
    let params = Params::default().uint(n).uint(gate.width).uint(gate.stride() / VECTOR);
    let params = with_activation(params, Some(activation));
    let mut buffers = vec![quants, scales, Some(to)];
    let kernel = match (up, biases) {
        (None, _) => Kernel::Glu(Glu::Alone),
        (Some(up), None) => {
            buffers.push(Some(storages!(up)));
            Kernel::Glu(Glu::Gated)
        }
        (Some(up), Some(RoutedBiases { experts, gate, up: up_bias })) => {
            buffers.extend([storages!(up), experts, gate.vector(), up_bias.vector()].map(Some));
            Kernel::Glu(Glu::Biased)
        }
    };
    recorder.dispatch(gpu, kernel, &buffers, &params, &Grid::Threads(n));
    recorder.note_quantized(to);
}

/// With an activation as `activations.wgsl` takes it.
fn with_activation(params: Params, activation: Option<Activation>) -> Params {
    let (code, constants) = match activation {
        Some(Activation::Silu) => (0, [0.0; 4]),
        Some(Activation::GeluTanh) => (1, [0.0; 4]),
        Some(Activation::ReluSquared) => (2, [0.0; 4]),
        Some(Activation::ClampedSwiglu) => (3, [0.0; 4]),
        Some(Activation::Xielu(Xielu { alpha_p, alpha_n, beta, eps })) => (4, [alpha_p, alpha_n, beta, eps]),
        Some(Activation::Identity) | None => (5, [0.0; 4]),
    };
    constants.into_iter().fold(params.uint(code), Params::float)
}

/// Biases of experts, and the expert of every row.
struct RoutedBiases<'a> {
    experts: &'a Storage,
    gate: &'a Weight,
    up: &'a Weight,
}
