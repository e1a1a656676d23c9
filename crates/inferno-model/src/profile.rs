//! Where a step's time goes: a backend around another one, which reads the clock before and after every operation.
//!
//! One that records operations and runs them later is asked to measure itself; if it cannot, all its time is in
//! [`Backend::read`].

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::architecture::{Activation, Routing};
use crate::backend::{
    Attention, AttentionRule, Backend, ExpertWeights, HostTensor, KvShape, KvType, LayerIdx,
};
use crate::batch::{Batch, PageId};
use crate::error::{BackendError, LoadError, StepError};
use crate::rope::Angles;
use crate::sample::Pick;

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
    /// How long.
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

    fn note(&self, op: Op, time: Duration, flop: f64) {
        let mut times = self.times();
        match times.iter_mut().find(|t| t.op == op) {
            Some(t) => {
                t.n_calls += 1;
                t.time += time;
                t.flop += flop;
            }
            None => times.push(OpTime { op, n_calls: 1, time, flop }),
        }
    }
}

/// A backend whose operations are timed.
#[derive(Debug)]
pub struct Profiled<B> {
    inner: B,
    profile: Profile,
    measures_itself: bool,
}

/// Its buffers know their shape.
#[derive(Debug)]
pub struct Buffer<T> {
    inner: T,
    width: usize,
    n_rows: usize,
}

impl<B: Backend> Profiled<B> {
    /// `inner`, with its times noted in `profile`.
    pub fn new(mut inner: B, profile: Profile) -> Self {
        let measures_itself = inner.measure_itself();
        Profiled { inner, profile, measures_itself }
    }

    /// Notes what the device measured.
    fn note_times(&mut self) {
        for (name, time) in self.inner.take_times() {
            self.profile.note(Op { name, shape: None }, time, 0.0);
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
        if !self.measures_itself {
            self.profile.note(Op { name, shape }, start.elapsed(), flop);
        }
        result
    }
}

impl<B: Backend> Backend for Profiled<B> {
    type Weight = B::Weight;
    type Buffer = Buffer<B::Buffer>;
    type KvPool = B::KvPool;

    fn upload(&mut self, tensor: &HostTensor<'_>) -> Result<Self::Weight, LoadError> {
        self.inner.upload(tensor)
    }

    fn upload_together(&mut self, tensors: &[HostTensor<'_>]) -> Result<Vec<Self::Weight>, LoadError> {
        self.inner.upload_together(tensors)
    }

    fn buffer(&mut self, width: usize) -> Result<Self::Buffer, BackendError> {
        Ok(Buffer { inner: self.inner.buffer(width)?, width, n_rows: 0 })
    }

    fn attention_rule(&self, kv_type: KvType) -> AttentionRule {
        self.inner.attention_rule(kv_type)
    }

    fn kv_pool(&mut self, shape: &KvShape) -> Result<Self::KvPool, BackendError> {
        self.inner.kv_pool(shape)
    }

    fn embed(&mut self, out: &mut Self::Buffer, table: &Self::Weight, tokens: &[u32], scale: f32) {
        out.n_rows = tokens.len();
        self.timed("embed", |b| b.embed(&mut out.inner, table, tokens, scale));
    }

    fn rms_norm(&mut self, out: &mut Self::Buffer, x: &Self::Buffer, weight: &Self::Weight, eps: f32) {
        out.n_rows = x.n_rows;
        self.timed("rms_norm", |b| b.rms_norm(&mut out.inner, &x.inner, weight, eps));
    }

    fn matmul(&mut self, outs: &mut [&mut Self::Buffer], weights: &[&Self::Weight], x: &Self::Buffer) {
        outs.iter_mut().for_each(|out| out.n_rows = x.n_rows);
        let width = outs.iter().map(|out| out.width).sum();
        let flop = 2.0 * x.n_rows as f64 * x.width as f64 * width as f64;
        let mut outs: Vec<&mut B::Buffer> = outs.iter_mut().map(|out| &mut out.inner).collect();
        let shape = Some((x.width, width));
        self.timed_product("matmul", shape, flop, |b| b.matmul(&mut outs, weights, &x.inner));
    }

    fn add(&mut self, x: &mut Self::Buffer, y: &Self::Buffer) {
        self.timed("add", |b| b.add(&mut x.inner, &y.inner));
    }

    fn add_bias(&mut self, x: &mut Self::Buffer, bias: &Self::Weight) {
        self.timed("add_bias", |b| b.add_bias(&mut x.inner, bias));
    }

    fn head_norm(&mut self, x: &mut Self::Buffer, weight: &Self::Weight, eps: f32) {
        self.timed("head_norm", |b| b.head_norm(&mut x.inner, weight, eps));
    }

    fn rope(&mut self, x: &mut Self::Buffer, head_dim: usize, angles: &Angles) {
        self.timed("rope", |b| b.rope(&mut x.inner, head_dim, angles));
    }

    fn store_kv(
        &mut self,
        pool: &mut Self::KvPool,
        layer: LayerIdx,
        k: &Self::Buffer,
        v: &Self::Buffer,
        batch: &Batch,
    ) {
        self.timed("store_kv", |b| b.store_kv(pool, layer, &k.inner, &v.inner, batch));
    }

    fn attend(
        &mut self,
        out: &mut Self::Buffer,
        q: &Self::Buffer,
        pool: &Self::KvPool,
        batch: &Batch,
        attention: &Attention,
    ) {
        out.n_rows = q.n_rows;
        // A product with the keys and one with the values.
        let n_keys: usize = batch.positions().iter().map(|&p| attention.visible(p as usize).len()).sum();
        let flop = 4.0 * n_keys as f64 * (attention.n_heads * attention.head_dim) as f64;
        self.timed_product("attend", None, flop, |b| {
            b.attend(&mut out.inner, &q.inner, pool, batch, attention)
        });
    }

    fn glu(&mut self, gate: &mut Self::Buffer, up: &Self::Buffer, activation: Activation) {
        self.timed("glu", |b| b.glu(&mut gate.inner, &up.inner, activation));
    }

    fn experts(
        &mut self,
        out: &mut Self::Buffer,
        x: &Self::Buffer,
        router: &Self::Buffer,
        weights: ExpertWeights<&Self::Weight>,
        routing: &Routing,
        activation: Activation,
    ) {
        out.n_rows = x.n_rows;
        self.timed("experts", |b| {
            b.experts(&mut out.inner, &x.inner, &router.inner, weights, routing, activation)
        });
    }

    fn take_rows(&mut self, out: &mut Self::Buffer, x: &Self::Buffer, rows: &[usize]) {
        out.n_rows = rows.len();
        self.timed("take_rows", |b| b.take_rows(&mut out.inner, &x.inner, rows));
    }

    fn softcap(&mut self, x: &mut Self::Buffer, cap: f32) {
        self.timed("softcap", |b| b.softcap(&mut x.inner, cap));
    }

    fn chooses(&self) -> bool {
        self.inner.chooses()
    }

    fn choose(
        &mut self,
        out: &mut Self::Buffer,
        first: usize,
        total: usize,
        x: &Self::Buffer,
        picks: &[Pick],
    ) {
        out.n_rows = total;
        self.timed("choose", |b| b.choose(&mut out.inner, first, total, &x.inner, picks));
    }

    fn embed_chosen(
        &mut self,
        out: &mut Self::Buffer,
        table: &Self::Weight,
        chosen: &Self::Buffer,
        rows: Range<usize>,
        scale: f32,
    ) {
        out.n_rows = rows.len();
        self.timed("embed", |b| b.embed_chosen(&mut out.inner, table, &chosen.inner, rows, scale));
    }

    fn write(&mut self, x: &mut Self::Buffer, numbers: &[f32]) {
        x.n_rows = numbers.len() / x.width;
        self.timed("write", |b| b.write(&mut x.inner, numbers));
    }

    fn read(&mut self, x: &Self::Buffer, out: &mut Vec<f32>) -> Result<(), StepError> {
        let result = self.timed("read", |b| b.read(&x.inner, out));
        self.note_times();
        result
    }

    fn finish(&mut self) -> Result<(), StepError> {
        let result = self.timed("finish", B::finish);
        self.note_times();
        result
    }

    fn copy_page(&mut self, pool: &mut Self::KvPool, group: usize, from: PageId, to: PageId) {
        self.timed("copy_page", |b| b.copy_page(pool, group, from, to));
    }

    fn read_page(&mut self, pool: &Self::KvPool, group: usize, page: PageId) -> Result<Vec<u8>, StepError> {
        self.timed("read_page", |b| b.read_page(pool, group, page))
    }

    fn write_page(&mut self, pool: &mut Self::KvPool, group: usize, page: PageId, bytes: &[u8]) {
        self.timed("write_page", |b| b.write_page(pool, group, page, bytes));
    }
}

#[cfg(test)]
mod tests;
