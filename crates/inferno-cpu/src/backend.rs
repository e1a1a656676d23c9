//! [`Backend`] on the CPU: which rows and columns of an operation go to which thread.

use std::num::NonZeroUsize;
use std::ops::Range;

use inferno_format::dequantize;
use inferno_model::architecture::Activation;
use inferno_model::backend::{
    Activations, Attention, AttentionRule, Backend, CausalConv, DeltaRule, DeviceMemory, Experts, HostTensor,
    KvShape, KvType, LayerIdx, SsmScan,
};
use inferno_model::batch::{Batch, PageId};
use inferno_model::error::{BackendError, LoadError, StepError};
use inferno_model::rope::Angles;

use crate::attention::AttentionScratch;
use crate::experts::ExpertScratch;
use crate::heads::HeadScratch;
use crate::isa::{Isa, IsaError};
use crate::kernels::Kernels;
use crate::kv::KvPool;
use crate::matmul::Inputs;
use crate::memory::{Arena, Shares};
use crate::packed::{Layout, PANEL, Packed};
use crate::pool::Pool;
use crate::ssm::SsmScratch;

/// Numbers that are not worth waking a thread for.
pub(crate) const SERIAL: usize = 16 << 10;

/// One model's CPU.
pub struct Cpu {
    pub(crate) kernels: Kernels,
    pub(crate) pool: Pool,
    arena: Arena,
    pub(crate) inputs: Inputs,
    pub(crate) attention: AttentionScratch,
    pub(crate) experts: ExpertScratch,
    pub(crate) heads: [HeadScratch; 2],
    /// Rows as the delta rule takes them.
    pub(crate) recurrent: Buffer,
    pub(crate) ssm: SsmScratch,
}

/// A tensor, packed for this level.
#[derive(Debug)]
pub struct Weight {
    pub(crate) packed: Packed,
    /// The numbers of a single row of floats, or of one per expert: a norm's weight or a bias.
    vector: Vec<f32>,
}

/// Activations: (n_rows, width).
#[derive(Debug)]
pub struct Buffer {
    pub(crate) width: usize,
    pub(crate) data: Vec<f32>,
}

impl Cpu {
    /// A backend of that instruction set with `n_threads` threads, the caller's included.
    pub fn new(isa: Isa, n_threads: NonZeroUsize) -> Result<Cpu, BackendError> {
        let isa = isa.check().map_err(|e: IsaError| BackendError { what: e.to_string() })?;
        Cpu::with(Kernels::of(isa), n_threads)
    }

    /// A backend with those kernels.
    pub(crate) fn with(kernels: Kernels, n_threads: NonZeroUsize) -> Result<Cpu, BackendError> {
        let refused = |e| BackendError { what: format!("the system gives no {n_threads} threads: {e}") };
        let pool = Pool::new(n_threads).map_err(refused)?;
        Ok(Cpu {
            kernels,
            pool,
            arena: Arena::default(),
            inputs: Inputs::default(),
            attention: AttentionScratch::default(),
            experts: ExpertScratch::default(),
            heads: Default::default(),
            recurrent: Buffer::new(1),
            ssm: SsmScratch::default(),
        })
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.kernels.isa
    }

    /// The number of threads in use.
    pub fn n_threads(&self) -> usize {
        self.pool.n_threads()
    }

    /// `f` for every part of the rows of `x`, on many threads if there is much to do. A call gets the rows' numbers
    /// and which rows they are.
    fn rows(&mut self, x: &mut Buffer, f: impl Fn(&Kernels, &mut [f32], Range<usize>) + Sync) {
        each_rows(&self.kernels, &mut self.pool, x, f);
    }
}

/// As [`Cpu::rows`].
pub(crate) fn each_rows(
    kernels: &Kernels,
    pool: &mut Pool,
    x: &mut Buffer,
    f: impl Fn(&Kernels, &mut [f32], Range<usize>) + Sync,
) {
    let (width, n_rows) = (x.width, x.n_rows());
    if x.data.len() <= SERIAL {
        return f(kernels, &mut x.data, 0..n_rows);
    }
    let all = Shares::new(&mut x.data);
    pool.run_ranges(n_rows, SERIAL.div_ceil(width), &|rows| {
        // SAFETY: the ranges of rows do not overlap.
        let x = unsafe { all.at(rows.start * width..rows.end * width) };
        f(kernels, x, rows);
    });
}

impl Weight {
    /// The vector of one expert, `upload_vectors` having had one for each.
    pub(crate) fn vector_of(&self, expert: usize) -> &[f32] {
        &self.vector[expert * self.packed.cols..][..self.packed.cols]
    }

    pub(crate) fn vector(&self) -> &[f32] {
        debug_assert_eq!(self.packed.cols, self.vector.len(), "`{}` is no vector", self.packed.name);
        &self.vector
    }
}

impl Buffer {
    pub(crate) fn new(width: usize) -> Buffer {
        Buffer { width, data: Vec::new() }
    }

    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &self.data[row * self.width..][..self.width]
    }

    /// Room for `n_rows`, which hold anything.
    pub(crate) fn resize(&mut self, n_rows: usize) {
        self.data.resize(n_rows * self.width, 0.0);
    }
}

impl Activations for Buffer {
    fn n_rows(&self) -> usize {
        self.data.len() / self.width
    }

    fn width(&self) -> usize {
        self.width
    }
}

impl DeviceMemory for Cpu {
    type Weight = Weight;
    type Buffer = Buffer;
    type KvPool = KvPool;

    fn upload(&mut self, tensor: &HostTensor<'_>) -> Result<Weight, LoadError> {
        let layout = Layout::of(tensor.dtype);
        let packed = Packed::new(tensor, layout, self.kernels.bias, &mut self.pool, &mut self.arena)?;
        let mut vector = Vec::new();
        if tensor.n_rows() == 1 && tensor.dtype.is_float() {
            vector.resize(tensor.cols, 0.0);
            (self.kernels.dequantize_lane)(&mut vector, packed.panel(0, 0), 0);
        }
        Ok(Weight { packed, vector })
    }

    fn upload_vectors(&mut self, tensor: &HostTensor<'_>) -> Result<Weight, LoadError> {
        let what = || format!("no memory for the vectors of tensor `{}`", tensor.name);
        let (mut row, mut vector) = (vec![0; tensor.row_bytes()], Vec::new());
        let n = tensor.n_rows() * tensor.cols;
        vector.try_reserve_exact(n).map_err(|_| BackendError { what: what() })?;
        vector.resize(n, 0.0);
        for (i, vector) in vector.chunks_exact_mut(tensor.cols).enumerate() {
            tensor.read_rows(i, &mut row)?;
            dequantize(tensor.dtype, &row, vector).expect("floats, as the loader checked");
        }
        let layout = Layout::of(tensor.dtype);
        Ok(Weight { packed: Packed::nothing(tensor, layout, &mut self.arena)?, vector })
    }

    fn buffer(&mut self, width: usize) -> Result<Buffer, BackendError> {
        Ok(Buffer::new(width))
    }

    fn attention_rule(&self, kv_type: KvType) -> AttentionRule {
        match kv_type {
            KvType::Bf16 if self.kernels.tiles.is_some() => AttentionRule::Bf16Tiles,
            _ => AttentionRule::Floats,
        }
    }

    fn kv_pool(&mut self, shape: &KvShape) -> Result<KvPool, BackendError> {
        KvPool::new(shape, self.attention_rule(shape.kv_type))
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
        pool.read_page(group, page, out);
        Ok(())
    }

    fn write_page(
        &mut self,
        pool: &mut KvPool,
        group: usize,
        page: PageId,
        bytes: &[u8],
    ) -> Result<(), StepError> {
        pool.write_page(group, page, bytes);
        Ok(())
    }

    fn write(&mut self, x: &mut Buffer, numbers: &[f32]) {
        x.data.clear();
        x.data.extend_from_slice(numbers);
    }

    fn read(&mut self, x: &Buffer, out: &mut Vec<f32>) -> Result<(), StepError> {
        out.clear();
        out.extend_from_slice(&x.data);
        Ok(())
    }
}

impl Backend for Cpu {
    fn embed(&mut self, out: &mut Buffer, table: &Weight, tokens: &[u32], scale: f32) {
        out.resize(tokens.len());
        let width = out.width;
        self.rows(out, |kernels, out, rows| {
            for (out, &token) in out.chunks_exact_mut(width).zip(&tokens[rows]) {
                let (panel, lane) = (token as usize / PANEL, token as usize % PANEL);
                (kernels.dequantize_lane)(out, table.packed.panel(0, panel), lane);
                out.iter_mut().for_each(|x| *x *= scale);
            }
        });
    }

    fn rms_norm(&mut self, out: &mut Buffer, x: &Buffer, weight: &Weight, eps: f32) {
        out.resize(x.n_rows());
        let width = out.width;
        self.rows(out, |kernels, out, rows| {
            let x = &x.data[rows.start * width..rows.end * width];
            (kernels.rms_norm)(out, x, weight.vector(), eps);
        });
    }

    fn matmul(&mut self, outs: &mut [&mut Buffer], weights: &[&Weight], x: &Buffer) {
        self.products(outs, weights, x);
    }

    fn matmul_heads(
        &mut self,
        out: &mut Buffer,
        weight: &Weight,
        x: &Buffer,
        tail: Option<&Buffer>,
        n_heads: usize,
    ) {
        self.head_products(out, weight, x, tail, n_heads);
    }

    fn add(&mut self, x: &mut Buffer, y: &Buffer) {
        let width = x.width;
        self.rows(x, |kernels, x, rows| {
            (kernels.add)(x, &y.data[rows.start * width..rows.end * width]);
        });
    }

    fn scale(&mut self, x: &mut Buffer, factor: f32) {
        self.rows(x, |kernels, x, _| (kernels.scale)(x, factor));
    }

    fn scale_rows(&mut self, x: &mut Buffer, factors: &[f32]) {
        let width = x.width;
        self.rows(x, |kernels, x, rows| {
            let rows = x.chunks_exact_mut(width).zip(&factors[rows]);
            rows.for_each(|(x, &factor)| (kernels.scale)(x, factor));
        });
    }

    fn add_bias(&mut self, x: &mut Buffer, bias: &Weight) {
        let width = x.width;
        self.rows(x, |kernels, x, _| {
            x.chunks_exact_mut(width).for_each(|x| (kernels.add)(x, bias.vector()));
        });
    }

    fn head_norm(&mut self, x: &mut Buffer, weight: &Weight, eps: f32) {
        self.rows(x, |kernels, x, _| (kernels.norm_in_place)(x, weight.vector(), eps));
    }

    fn group_norm(&mut self, x: &mut Buffer, weight: &Weight, n_groups: usize, eps: f32) {
        let weight = weight.vector();
        let width = weight.len() / n_groups;
        self.rows(x, |kernels, x, _| {
            for x in x.chunks_exact_mut(weight.len()) {
                for (x, weight) in x.chunks_exact_mut(width).zip(weight.chunks_exact(width)) {
                    (kernels.norm_in_place)(x, weight, eps);
                }
            }
        });
    }

    fn rope(&mut self, x: &mut Buffer, head_dim: usize, angles: &Angles) {
        let width = x.width;
        self.rows(x, |kernels, x, rows| {
            for (x, row) in x.chunks_exact_mut(width).zip(rows) {
                (kernels.rope)(x, head_dim, angles, row);
            }
        });
    }

    fn store_kv(&mut self, pool: &mut KvPool, layer: LayerIdx, k: &Buffer, v: &Buffer, batch: &Batch) {
        self.store(pool, layer, k, v, batch);
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
        out.resize(q.n_rows());
        self.attention(out, q, pool, batch, attention, sinks.map(Weight::vector));
    }

    fn glu(&mut self, gate: &mut Buffer, up: &Buffer, activation: Activation) {
        let width = gate.width;
        self.rows(gate, |kernels, gate, rows| {
            (kernels.glu)(gate, &up.data[rows.start * width..rows.end * width], activation);
        });
    }

    fn activate(&mut self, x: &mut Buffer, activation: Activation) {
        self.rows(x, |kernels, x, _| (kernels.activate)(x, activation));
    }

    fn sigmoid_gate(&mut self, x: &mut Buffer, gate: &Buffer) {
        let gate_width = gate.width;
        self.rows(x, |kernels, x, rows| {
            let gate = &gate.data[rows.start * gate_width..rows.end * gate_width];
            (kernels.sigmoid_gate)(x, gate);
        });
    }

    fn experts(&mut self, out: &mut Buffer, experts: Experts<'_, Weight, Buffer>) {
        self.chosen_experts(out, experts);
    }

    fn take_rows(&mut self, out: &mut Buffer, x: &Buffer, rows: &[usize]) {
        out.data.clear();
        rows.iter().for_each(|&row| out.data.extend_from_slice(x.row(row)));
    }

    fn take_columns(&mut self, out: &mut Buffer, x: &Buffer, first: usize) {
        out.data.clear();
        (0..x.n_rows()).for_each(|row| out.data.extend_from_slice(&x.row(row)[first..][..out.width]));
    }

    fn softcap(&mut self, x: &mut Buffer, cap: f32) {
        self.rows(x, |kernels, x, _| (kernels.softcap)(x, cap));
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
}
