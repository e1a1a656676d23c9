//! The reference backend with an ear on its routers.

use std::sync::{Arc, Mutex, PoisonError};

use inferno_model::architecture::Activation;
use inferno_model::backend::{
    Activations, Attention, Backend, CausalConv, DeltaRule, DeviceMemory, Experts, HostTensor, KvShape,
    LayerIdx, SsmScan,
};
use inferno_model::batch::{Batch, PageId};
use inferno_model::error::{BackendError, LoadError, StepError};
use inferno_model::reference::{Buffer, KvPool, Reference, Weight};
use inferno_model::rope::Angles;
use inferno_model::routing::route;

/// Logits of the routers of one step, a model's mixtures in the order of their layers.
#[derive(Debug, Default)]
pub(super) struct Routers {
    /// Per mixture: (rows, experts).
    logits: Vec<Vec<f32>>,
}

/// Routers of a step beside those of another one.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Comparison {
    /// Mixtures seen.
    mixtures: usize,
    /// Rows that would have gone to other experts.
    pub(super) turned: usize,
    /// Rows of all mixtures.
    pub(super) rows: usize,
    /// Largest difference of two logits, as a fraction of the root of the row's mean square.
    pub(super) largest: f32,
}

/// A backend that records what its routers say, or that routes every row to the experts of a recording.
pub(super) struct Routed {
    reference: Reference,
    route: Route,
}

enum Route {
    Record(Arc<Mutex<Routers>>),
    Follow(Arc<Routers>, Arc<Mutex<Comparison>>),
}

impl Routed {
    /// Adds what its routers say to `routers`.
    pub(super) fn recording(routers: &Arc<Mutex<Routers>>) -> Routed {
        Routed { reference: Reference::default(), route: Route::Record(Arc::clone(routers)) }
    }

    /// Routes as `routers` do, and says in `comparison` what it would have done.
    pub(super) fn following(routers: &Arc<Routers>, comparison: &Arc<Mutex<Comparison>>) -> Routed {
        let route = Route::Follow(Arc::clone(routers), Arc::clone(comparison));
        Routed { reference: Reference::default(), route }
    }

    fn numbers(&mut self, x: &Buffer) -> Vec<f32> {
        let mut numbers = Vec::new();
        self.reference.read(x, &mut numbers).unwrap();
        numbers
    }
}

impl DeviceMemory for Routed {
    type Weight = Weight;
    type Buffer = Buffer;
    type KvPool = KvPool;

    fn upload(&mut self, tensor: &HostTensor<'_>) -> Result<Weight, LoadError> {
        self.reference.upload(tensor)
    }

    fn buffer(&mut self, width: usize) -> Result<Buffer, BackendError> {
        self.reference.buffer(width)
    }

    fn kv_pool(&mut self, shape: &KvShape) -> Result<KvPool, BackendError> {
        self.reference.kv_pool(shape)
    }

    fn page_bytes(&self, pool: &KvPool, group: usize) -> usize {
        self.reference.page_bytes(pool, group)
    }

    fn read_page(
        &mut self,
        pool: &KvPool,
        group: usize,
        page: PageId,
        out: &mut [u8],
    ) -> Result<(), StepError> {
        self.reference.read_page(pool, group, page, out)
    }

    fn write_page(
        &mut self,
        pool: &mut KvPool,
        group: usize,
        page: PageId,
        bytes: &[u8],
    ) -> Result<(), StepError> {
        self.reference.write_page(pool, group, page, bytes)
    }

    fn write(&mut self, x: &mut Buffer, numbers: &[f32]) {
        self.reference.write(x, numbers);
    }

    fn read(&mut self, x: &Buffer, out: &mut Vec<f32>) -> Result<(), StepError> {
        self.reference.read(x, out)
    }
}

impl Backend for Routed {
    fn experts(&mut self, out: &mut Buffer, experts: Experts<'_, Weight, Buffer>) {
        let mut logits = self.numbers(experts.router);
        let n_experts = experts.router.width();
        // What a bias adds to nothing is the bias.
        let bias = experts.exp_probs_b.map(|bias| {
            let mut zeros = Buffer::from_rows(n_experts, vec![0.0; n_experts]);
            self.reference.add_bias(&mut zeros, bias);
            self.numbers(&zeros)
        });
        match &self.route {
            Route::Record(routers) => {
                let mut routers = routers.lock().unwrap_or_else(PoisonError::into_inner);
                routers.logits.push(logits.clone());
            }
            Route::Follow(routers, comparison) => {
                let mut comparison = comparison.lock().unwrap_or_else(PoisonError::into_inner);
                let expected = &routers.logits[comparison.mixtures];
                comparison.mixtures += 1;
                let chosen = |logits: &[f32]| {
                    let mut choices = Vec::new();
                    route(logits, bias.as_deref(), experts.routing, &mut choices);
                    choices.iter().map(|choice| choice.expert).collect::<Vec<_>>()
                };
                for (row, expected) in
                    logits.chunks_exact_mut(n_experts).zip(expected.chunks_exact(n_experts))
                {
                    let size = (expected.iter().map(|x| x * x).sum::<f32>() / n_experts as f32).sqrt();
                    let off = row.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    comparison.largest = comparison.largest.max(off / size);
                    comparison.rows += 1;
                    if chosen(row) != chosen(expected) {
                        comparison.turned += 1;
                        row.copy_from_slice(expected);
                    }
                }
            }
        }
        let router = Buffer::from_rows(n_experts, logits);
        self.reference.experts(out, Experts { router: &router, ..experts });
    }

    fn embed(&mut self, out: &mut Buffer, table: &Weight, tokens: &[u32], scale: f32) {
        self.reference.embed(out, table, tokens, scale);
    }

    fn rms_norm(&mut self, out: &mut Buffer, x: &Buffer, weight: &Weight, eps: f32) {
        self.reference.rms_norm(out, x, weight, eps);
    }

    fn matmul(&mut self, outs: &mut [&mut Buffer], weights: &[&Weight], x: &Buffer) {
        self.reference.matmul(outs, weights, x);
    }

    fn matmul_heads(
        &mut self,
        out: &mut Buffer,
        weight: &Weight,
        x: &Buffer,
        tail: Option<&Buffer>,
        n_heads: usize,
    ) {
        self.reference.matmul_heads(out, weight, x, tail, n_heads);
    }

    fn add(&mut self, x: &mut Buffer, y: &Buffer) {
        self.reference.add(x, y);
    }

    fn scale(&mut self, x: &mut Buffer, factor: f32) {
        self.reference.scale(x, factor);
    }

    fn scale_rows(&mut self, x: &mut Buffer, factors: &[f32]) {
        self.reference.scale_rows(x, factors);
    }

    fn add_bias(&mut self, x: &mut Buffer, bias: &Weight) {
        self.reference.add_bias(x, bias);
    }

    fn head_norm(&mut self, x: &mut Buffer, weight: &Weight, eps: f32) {
        self.reference.head_norm(x, weight, eps);
    }

    fn group_norm(&mut self, x: &mut Buffer, weight: &Weight, n_groups: usize, eps: f32) {
        self.reference.group_norm(x, weight, n_groups, eps);
    }

    fn rope(&mut self, x: &mut Buffer, head_dim: usize, angles: &Angles) {
        self.reference.rope(x, head_dim, angles);
    }

    fn store_kv(&mut self, pool: &mut KvPool, layer: LayerIdx, k: &Buffer, v: &Buffer, batch: &Batch) {
        self.reference.store_kv(pool, layer, k, v, batch);
    }

    fn attend(
        &mut self,
        out: &mut Buffer,
        q: &Buffer,
        pool: &KvPool,
        batch: &Batch,
        shape: &Attention,
        sinks: Option<&Weight>,
    ) {
        self.reference.attend(out, q, pool, batch, shape, sinks);
    }

    fn glu(&mut self, gate: &mut Buffer, up: &Buffer, activation: Activation) {
        self.reference.glu(gate, up, activation);
    }

    fn activate(&mut self, x: &mut Buffer, activation: Activation) {
        self.reference.activate(x, activation);
    }

    fn sigmoid_gate(&mut self, x: &mut Buffer, gate: &Buffer) {
        self.reference.sigmoid_gate(x, gate);
    }

    fn take_rows(&mut self, out: &mut Buffer, x: &Buffer, rows: &[usize]) {
        self.reference.take_rows(out, x, rows);
    }

    fn take_columns(&mut self, out: &mut Buffer, x: &Buffer, first: usize) {
        self.reference.take_columns(out, x, first);
    }

    fn softcap(&mut self, x: &mut Buffer, cap: f32) {
        self.reference.softcap(x, cap);
    }

    fn causal_conv(&mut self, op: CausalConv<'_, Weight, Buffer, KvPool>) {
        self.reference.causal_conv(op);
    }

    fn delta_rule(&mut self, op: DeltaRule<'_, Weight, Buffer, KvPool>) {
        self.reference.delta_rule(op);
    }

    fn ssm_scan(&mut self, op: SsmScan<'_, Weight, Buffer, KvPool>) {
        self.reference.ssm_scan(op);
    }
}
