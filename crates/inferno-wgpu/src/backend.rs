//! [`Backend`] on a GPU: what is dispatched for an operation, and in what shape.

use inferno_model::architecture::Activation;
use inferno_model::backend::{
    AttendHeads, Attention, Backend, CausalConv, DeltaRule, DeviceSampling, Experts, ExpertsAdd, GluMatmul,
    KernelTimes, LayerIdx, MatmulAdd, NormMatmul, SsmScan,
};
use inferno_model::batch::Batch;
use inferno_model::error::BackendError;
use inferno_model::rope::{Angles, Pairing};

use crate::batch::Placed;
pub use crate::buffer::Buffer;
use crate::buffer::storages;
use crate::device::Gpu;
use crate::kernels::Kernel;
use crate::kernels::params::{self, word};
use crate::kv::KvGroup;
pub use crate::kv::KvPool;
use crate::layout::BLOCK;
use crate::matmul::Inputs;
pub use crate::matrix::Weight;
use crate::recorder::{Grid, Recorder, VECTOR};
use crate::stopwatch::Stopwatch;
use crate::tuning::choose_halves;

mod activation;
mod attention;
mod compound;
mod experts;
mod heads;
mod memory;
mod recurrent;
mod ssm;
mod tokens;

use activation::glu;

/// One model's GPU.
pub struct Wgpu {
    gpu: Gpu,
    recorder: Recorder,
    placed: Placed,
    /// Cosines and sines that are uploaded, and where.
    angles: Vec<(Angles, [usize; 2])>,
    angles_generation: u64,
    /// The size of the cooperative matrices that attend; `None` if it is vectors.
    attention_matrices: Option<u32>,
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
        let mut backend = Wgpu {
            gpu,
            recorder,
            placed: Placed::default(),
            angles: Vec::new(),
            angles_generation: 0,
            attention_matrices: None,
            s: Scratch::default(),
        };
        backend.choose_attention();
        Ok(backend)
    }

    /// Takes variants of kernels that are seldom the fastest: for tests of what comes then.
    pub fn take_other_variants(&mut self) {
        self.s.inputs.tuning.takes_others = true;
    }

    /// The norm of heads, whose weight is that of one or of all.
    fn norm_heads(&mut self, x: &mut Buffer, weight: &Weight, (n_heads, head_dim): (usize, usize), eps: f32) {
        let to = storages!(x);
        let params = params::HeadNorm {
            n_rows: word(x.n_rows),
            n_heads: word(n_heads),
            head_dim: word(head_dim),
            stride: word(x.stride()),
            n_weights: word(weight.cols),
            eps,
        };
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
        let params = params::RmsNorm {
            n_rows: word(x.n_rows),
            width: word(x.width),
            stride: word(x.stride() / VECTOR),
            eps,
        };
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
        let params = params::Scale { n: word(n), factor };
        self.recorder.dispatch(&self.gpu, Kernel::Scale, &[Some(to)], &params, &Grid::Threads(n));
    }

    fn scale_rows(&mut self, x: &mut Buffer, factors: &[f32]) {
        let at = self.recorder.upload(&mut self.gpu, bytemuck::cast_slice(factors));
        let to = storages!(x);
        let n = x.len() / VECTOR;
        let params = params::ScaleRows { n: word(n), stride: word(x.stride() / VECTOR), factors: word(at) };
        let buffers = [Some(to), None];
        self.recorder.dispatch(&self.gpu, Kernel::ScaleRows, &buffers, &params, &Grid::Threads(n));
    }

    fn add_bias(&mut self, x: &mut Buffer, bias: &Weight) {
        let to = storages!(x);
        let n = x.len() / VECTOR;
        let params = params::Add { n: word(n), stride: word(x.stride() / VECTOR) };
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
        let params = params::Rope {
            n_rows: word(x.n_rows),
            n_heads: word(n_heads),
            head_dim: word(head_dim),
            n_pairs: word(n_pairs),
            stride: word(x.stride()),
            cos: word(cos),
            sin: word(sin),
            is_adjacent: u32::from(angles.pairing == Pairing::Adjacent),
        };
        let grid = Grid::Threads(x.n_rows * n_heads * n_pairs);
        self.recorder.dispatch(&self.gpu, Kernel::Rope, &[Some(to), None], &params, &grid);
    }

    fn store_kv(&mut self, pool: &mut KvPool, layer: LayerIdx, k: &Buffer, v: &Buffer, batch: &Batch) {
        let Wgpu { gpu, recorder, placed, .. } = self;
        placed.place(recorder, gpu, batch, pool.groups.len());
        let (keys, values) = storages!(k, v);
        let (storage, slots) = (pool.layer(layer), placed.slots(layer.group));
        let KvGroup { layout, n_kv_heads, .. } = pool.groups[layer.group];
        let params = params::StoreKv {
            n_rows: word(k.n_rows),
            n_kv_heads: word(n_kv_heads),
            k_stride: word(k.stride()),
            v_stride: word(v.stride()),
            slots: word(slots),
        };
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
        self.attend_to(out, q, pool, batch, (attention, sinks), None);
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
        let params = params::SigmoidGate {
            n: word(x.len()),
            width: word(x.width),
            stride: word(x.stride()),
            n_together: word(x.width / gate.width),
            gate_stride: word(gate.stride()),
        };
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
        let params = params::TakeRows { n: word(n), stride: word(x.stride() / VECTOR), rows: word(at) };
        let buffers = [Some(to), Some(from), None];
        self.recorder.dispatch(&self.gpu, Kernel::TakeRows, &buffers, &params, &Grid::Threads(n));
    }

    fn take_columns(&mut self, out: &mut Buffer, x: &Buffer, first: usize) {
        out.resize(&mut self.gpu, &mut self.recorder, x.n_rows);
        let (to, from) = storages!(out, x);
        let n = out.len() / VECTOR;
        let params = params::TakeColumns {
            n: word(n),
            stride: word(out.stride() / VECTOR),
            width: word(out.width),
            x_stride: word(x.stride()),
            first: word(first),
        };
        let buffers = [Some(to), Some(from)];
        self.recorder.dispatch(&self.gpu, Kernel::TakeColumns, &buffers, &params, &Grid::Threads(n));
    }

    fn softcap(&mut self, x: &mut Buffer, cap: f32) {
        let to = storages!(x);
        let params = params::Softcap { n: word(x.len()), cap };
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

    fn norm_matmul(&mut self, op: NormMatmul<'_, Weight, Buffer>) {
        self.multiply_normed(op);
    }

    fn matmul_add(&mut self, op: MatmulAdd<'_, Weight, Buffer>) {
        self.matmul_onto(op);
    }

    fn glu_matmul(&mut self, op: GluMatmul<'_, Weight, Buffer>) {
        self.multiply_gated(op);
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
