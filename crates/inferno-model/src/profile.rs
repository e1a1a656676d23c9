//! Where a step's time goes: a backend around another one, which reads the clock before and after every operation.
//!
//! A compound operation that is more than its plain path is timed as one; otherwise its parts are.
//!
//! One that records operations and runs them later is asked for the times of its kernels; if it has none, all its time is
//! in [`DeviceMemory::read`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::architecture::Activation;
use crate::backend::{
    Activations, AttendHeads, Attention, AttentionRule, Backend, CausalConv, DeltaRule, DeviceMemory,
    DeviceSampling, Experts, ExpertsAdd, GluMatmul, HostTensor, KernelTime, KernelTimes, KvShape, KvType,
    LayerIdx, MatmulAdd, NormMatmul, SsmScan,
};
use crate::batch::{Batch, PageId};
use crate::error::{BackendError, LoadError, StepError};
use crate::rope::Angles;

/// An operation, and for products its shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// Its name in [`Backend`].
    pub name: &'static str,
    /// Widths of the input and of all outputs together; equal shapes are one operation.
    pub shape: Option<(usize, usize)>,
}

/// What all calls of an operation took.
#[derive(Debug, Clone)]
pub struct OpTime {
    /// Which.
    pub op: Op,
    /// How often.
    pub n_calls: u64,
    /// Number of calls whose time was measured.
    pub n_timed: u64,
    /// Time of all calls, estimated where only some were measured.
    pub time: Duration,
    /// Multiplications and additions, where the shape tells.
    pub flop: f64,
}

/// The times of all operations so far. Clones share them: one is kept, the other goes with the backend.
#[derive(Debug, Clone, Default)]
pub struct Profile(Arc<Mutex<Vec<OpTime>>>);

impl Profile {
    /// The times since the last call, the longest first.
    pub fn take(&self) -> Vec<OpTime> {
        let mut times = std::mem::take(&mut *self.times());
        times.sort_by_key(|t| std::cmp::Reverse(t.time));
        times
    }

    fn times(&self) -> MutexGuard<'_, Vec<OpTime>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, call: OpTime) {
        let mut times = self.times();
        match times.iter_mut().find(|t| t.op == call.op) {
            Some(t) => t.add(&call),
            None => times.push(call),
        }
    }
}

impl OpTime {
    /// Adds calls of the same operation.
    pub fn add(&mut self, other: &OpTime) {
        self.n_calls += other.n_calls;
        self.n_timed += other.n_timed;
        self.time += other.time;
        self.flop += other.flop;
    }
}

/// A backend whose operations are timed.
#[derive(Debug)]
pub struct Profiled<B> {
    inner: B,
    profile: Profile,
    /// The device times its kernels itself.
    has_kernel_times: bool,
}

impl<B: Backend> Profiled<B> {
    /// `inner`, with its times noted in `profile`.
    pub fn new(mut inner: B, profile: Profile) -> Self {
        let has_kernel_times = inner.time_kernels().is_some();
        Profiled { inner, profile, has_kernel_times }
    }

    /// Notes the times of kernels.
    fn note_kernels(&mut self) {
        if !self.has_kernel_times {
            return;
        }
        for kernel in self.inner.time_kernels().into_iter().flat_map(KernelTimes::take) {
            let KernelTime { name, n_calls, n_timed, time } = kernel;
            self.profile.note(OpTime { op: Op { name, shape: None }, n_calls, n_timed, time, flop: 0.0 });
        }
    }

    fn timed<T>(&mut self, name: &'static str, run: impl FnOnce(&mut B) -> T) -> T {
        self.timed_product(name, None, 0.0, run)
    }

    fn timed_product<T>(
        &mut self,
        name: &'static str,
        shape: Option<(usize, usize)>,
        flop: f64,
        run: impl FnOnce(&mut B) -> T,
    ) -> T {
        let start = Instant::now();
        let result = run(&mut self.inner);
        if !self.has_kernel_times {
            let op = Op { name, shape };
            self.profile.note(OpTime { op, n_calls: 1, n_timed: 1, time: start.elapsed(), flop });
        }
        result
    }
}

impl<B: Backend> DeviceMemory for Profiled<B> {
    type Weight = B::Weight;
    type Buffer = B::Buffer;
    type KvPool = B::KvPool;

    fn upload(&mut self, tensor: &HostTensor<'_>) -> Result<B::Weight, LoadError> {
        self.inner.upload(tensor)
    }

    fn upload_together(&mut self, tensors: &[HostTensor<'_>]) -> Result<Vec<B::Weight>, LoadError> {
        self.inner.upload_together(tensors)
    }

    fn upload_vectors(&mut self, tensor: &HostTensor<'_>) -> Result<B::Weight, LoadError> {
        self.inner.upload_vectors(tensor)
    }

    fn buffer(&mut self, width: usize) -> Result<B::Buffer, BackendError> {
        self.inner.buffer(width)
    }

    fn attention_rule(&self, kv_type: KvType) -> AttentionRule {
        self.inner.attention_rule(kv_type)
    }

    fn kv_pool(&mut self, shape: &KvShape) -> Result<B::KvPool, BackendError> {
        self.inner.kv_pool(shape)
    }

    fn page_bytes(&self, pool: &B::KvPool, group: usize) -> usize {
        self.inner.page_bytes(pool, group)
    }

    fn read_page(
        &mut self,
        pool: &B::KvPool,
        group: usize,
        page: PageId,
        out: &mut [u8],
    ) -> Result<(), StepError> {
        self.timed("read_page", |b| b.read_page(pool, group, page, out))
    }

    fn write_page(
        &mut self,
        pool: &mut B::KvPool,
        group: usize,
        page: PageId,
        bytes: &[u8],
    ) -> Result<(), StepError> {
        self.timed("write_page", |b| b.write_page(pool, group, page, bytes))
    }

    fn write(&mut self, x: &mut B::Buffer, numbers: &[f32]) {
        self.timed("write", |b| b.write(x, numbers));
    }

    fn read(&mut self, x: &B::Buffer, out: &mut Vec<f32>) -> Result<(), StepError> {
        let result = self.timed("read", |b| b.read(x, out));
        self.note_kernels();
        result
    }

    fn finish(&mut self) -> Result<(), StepError> {
        let result = self.timed("finish", B::finish);
        self.note_kernels();
        result
    }
}

impl<B: Backend> Backend for Profiled<B> {
    fn embed(&mut self, out: &mut B::Buffer, table: &B::Weight, tokens: &[u32], scale: f32) {
        self.timed("embed", |b| b.embed(out, table, tokens, scale));
    }

    fn rms_norm(&mut self, out: &mut B::Buffer, x: &B::Buffer, weight: &B::Weight, eps: f32) {
        self.timed("rms_norm", |b| b.rms_norm(out, x, weight, eps));
    }

    fn matmul(&mut self, outs: &mut [&mut B::Buffer], weights: &[&B::Weight], x: &B::Buffer) {
        let (shape, flop) = product(x, outs.iter().map(|out| out.width()).sum());
        self.timed_product("matmul", shape, flop, |b| b.matmul(outs, weights, x));
    }

    fn matmul_heads(
        &mut self,
        out: &mut B::Buffer,
        weight: &B::Weight,
        x: &B::Buffer,
        tail: Option<&B::Buffer>,
        n_heads: usize,
    ) {
        let width = (out.width() - tail.map_or(0, Activations::width)) / n_heads;
        let (shape, flop) = product(x, width);
        self.timed_product("matmul_heads", shape, flop, |b| b.matmul_heads(out, weight, x, tail, n_heads));
    }

    fn add(&mut self, x: &mut B::Buffer, y: &B::Buffer) {
        self.timed("add", |b| b.add(x, y));
    }

    fn scale(&mut self, x: &mut B::Buffer, factor: f32) {
        self.timed("scale", |b| b.scale(x, factor));
    }

    fn scale_rows(&mut self, x: &mut B::Buffer, factors: &[f32]) {
        self.timed("scale_rows", |b| b.scale_rows(x, factors));
    }

    fn add_bias(&mut self, x: &mut B::Buffer, bias: &B::Weight) {
        self.timed("add_bias", |b| b.add_bias(x, bias));
    }

    fn head_norm(&mut self, x: &mut B::Buffer, weight: &B::Weight, eps: f32) {
        self.timed("head_norm", |b| b.head_norm(x, weight, eps));
    }

    fn group_norm(&mut self, x: &mut B::Buffer, weight: &B::Weight, n_groups: usize, eps: f32) {
        self.timed("group_norm", |b| b.group_norm(x, weight, n_groups, eps));
    }

    fn rope(&mut self, x: &mut B::Buffer, head_dim: usize, angles: &Angles) {
        self.timed("rope", |b| b.rope(x, head_dim, angles));
    }

    fn store_kv(
        &mut self,
        pool: &mut B::KvPool,
        layer: LayerIdx,
        k: &B::Buffer,
        v: &B::Buffer,
        batch: &Batch,
    ) {
        self.timed("store_kv", |b| b.store_kv(pool, layer, k, v, batch));
    }

    fn attend(
        &mut self,
        out: &mut B::Buffer,
        q: &B::Buffer,
        pool: &B::KvPool,
        batch: &Batch,
        attention: &Attention,
        sinks: Option<&B::Weight>,
    ) {
        let flop = attention_flop(batch, attention);
        self.timed_product("attend", None, flop, |b| b.attend(out, q, pool, batch, attention, sinks));
    }

    fn glu(&mut self, gate: &mut B::Buffer, up: &B::Buffer, activation: Activation) {
        self.timed("glu", |b| b.glu(gate, up, activation));
    }

    fn activate(&mut self, x: &mut B::Buffer, activation: Activation) {
        self.timed("activate", |b| b.activate(x, activation));
    }

    fn sigmoid_gate(&mut self, x: &mut B::Buffer, gate: &B::Buffer) {
        self.timed("sigmoid_gate", |b| b.sigmoid_gate(x, gate));
    }

    fn experts(&mut self, out: &mut B::Buffer, experts: Experts<'_, B::Weight, B::Buffer>) {
        self.timed("experts", |b| b.experts(out, experts));
    }

    fn take_rows(&mut self, out: &mut B::Buffer, x: &B::Buffer, rows: &[usize]) {
        self.timed("take_rows", |b| b.take_rows(out, x, rows));
    }

    fn take_columns(&mut self, out: &mut B::Buffer, x: &B::Buffer, first: usize) {
        self.timed("take_columns", |b| b.take_columns(out, x, first));
    }

    fn softcap(&mut self, x: &mut B::Buffer, cap: f32) {
        self.timed("softcap", |b| b.softcap(x, cap));
    }

    fn causal_conv(&mut self, op: CausalConv<'_, B::Weight, B::Buffer, B::KvPool>) {
        self.timed("causal_conv", |b| b.causal_conv(op));
    }

    fn delta_rule(&mut self, op: DeltaRule<'_, B::Weight, B::Buffer, B::KvPool>) {
        self.timed("delta_rule", |b| b.delta_rule(op));
    }

    fn ssm_scan(&mut self, op: SsmScan<'_, B::Weight, B::Buffer, B::KvPool>) {
        self.timed("ssm_scan", |b| b.ssm_scan(op));
    }

    const HAS_COMPOUNDS: bool = B::HAS_COMPOUNDS;

    fn norm_matmul(&mut self, op: NormMatmul<'_, B::Weight, B::Buffer>) {
        if !B::HAS_COMPOUNDS {
            return op.plain(self);
        }
        let width = op.outs.iter().map(|out| out.width()).sum();
        let (shape, flop) = product(op.x, width);
        self.timed_product("norm_matmul", shape, flop, |b| b.norm_matmul(op));
    }

    fn matmul_add(&mut self, op: MatmulAdd<'_, B::Weight, B::Buffer>) {
        if !B::HAS_COMPOUNDS {
            return op.plain(self);
        }
        let (shape, flop) = product(op.input, op.branch.x.width());
        self.timed_product("matmul_add", shape, flop, |b| b.matmul_add(op));
    }

    fn glu_matmul(&mut self, op: GluMatmul<'_, B::Weight, B::Buffer>) {
        if !B::HAS_COMPOUNDS {
            return op.plain(self);
        }
        let (shape, flop) = product(op.gate, op.branch.x.width());
        self.timed_product("glu_matmul", shape, flop, |b| b.glu_matmul(op));
    }

    fn attend_heads(&mut self, op: AttendHeads<'_, B::Weight, B::Buffer, B::KvPool>) {
        if !B::HAS_COMPOUNDS {
            return op.plain(self);
        }
        let flop = attention_flop(op.batch, op.attention);
        self.timed_product("attend_heads", None, flop, |b| b.attend_heads(op));
    }

    fn experts_add(&mut self, op: ExpertsAdd<'_, B::Weight, B::Buffer>) {
        if !B::HAS_COMPOUNDS {
            return op.plain(self);
        }
        self.timed("experts_add", |b| b.experts_add(op));
    }

    /// Without a clock around it: a device that samples records, and its kernels have the times.
    fn device_sampling(&mut self) -> Option<&mut dyn DeviceSampling<B::Weight, B::Buffer>> {
        self.inner.device_sampling()
    }
}

/// The widths of a product with x, and its multiplications and additions.
fn product(x: &impl Activations, width: usize) -> (Option<(usize, usize)>, f64) {
    (Some((x.width(), width)), 2.0 * (x.n_rows() * x.width()) as f64 * width as f64)
}

/// A product with the keys and one with the values.
fn attention_flop(batch: &Batch, attention: &Attention) -> f64 {
    let n_keys: usize = batch.positions().iter().map(|&p| attention.visible(p as usize).len()).sum();
    let numbers = attention.n_heads * (attention.key_width + attention.value_width);
    2.0 * n_keys as f64 * numbers as f64
}

#[cfg(test)]
mod tests;
