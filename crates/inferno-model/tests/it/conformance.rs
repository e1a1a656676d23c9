//! The conformance suite on the reference backend, and on one with a fault in it.

use inferno_format::Gguf;
use inferno_model::architecture::{Activation, Routing};
use inferno_model::backend::{
    Attention, Backend, CausalConv, DeltaHeads, DeltaRule, DeviceMemory, Experts, HeadOrder, HostTensor,
    KvShape, LayerIdx, MatmulAdd, SsmScan,
};
use inferno_model::batch::{Batch, PageId};
use inferno_model::conformance::{
    Precision, Promise, check, delta_net_layers, first_layers, latent_layers, mixtures,
};
use inferno_model::error::{BackendError, LoadError, StepError};
use inferno_model::reference::{Buffer, KvPool, Reference, Weight};
use inferno_model::rope::{Angles, Pairing};

const BITS: Promise = Promise { operations: Precision::Bits, attention: Precision::Bits };

#[test]
fn the_reference_conforms_and_no_row_depends_on_its_batch() {
    let ember = concat!(env!("CARGO_MANIFEST_DIR"), "/../inferno/models/ember/ember-q8_0.gguf");
    let goldens =
        ["llama", "qwen2", "qwen3moe", "phi3", "gemma2", "gemma3", "gemma4-e2b", "nemotron-h", "lfm2"]
            .map(|name| xtask::testing::testdata(&format!("goldens/{name}.gguf")));
    let mut models: Vec<Gguf> = goldens.iter().map(|path| Gguf::open(path).unwrap()).collect();
    // Layers are alike: three of the nine have all their shapes.
    models.push(first_layers(&Gguf::open(ember.as_ref()).unwrap(), 3));
    models.extend(mixtures());
    models.extend([latent_layers(true), delta_net_layers(false)]);
    check(Reference::default, BITS, &models);
}

#[test]
fn a_reference_that_chooses_as_a_device_conforms() {
    let models = ["qwen2", "gemma3", "gemma4-e2b"]
        .map(|name| Gguf::open(&xtask::testing::testdata(&format!("goldens/{name}.gguf"))).unwrap());
    check(Reference::that_chooses, BITS, &models);
}

/// What a faulty backend gets wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// A sum in another order when there are many rows.
    MatmulByRows,
    WindowIgnored,
    SoftcapIgnored,
    SinksIgnored,
    PairingIgnored,
    ExpertsNotRenormalized,
    ScaleIgnored,
    ResidualLost,
    ColumnsMoved,
    /// Of products head by head.
    HeadsSquashed,
    /// Small and wrong, in the company of rows that are not finite.
    Squashed,
    BiasOfConvolutionIgnored,
    HeadOrderIgnored,
    GroupsIgnored,
    DecaysIgnored,
}

struct Faulty(Reference, Fault);

impl DeviceMemory for Faulty {
    type Weight = Weight;
    type Buffer = Buffer;
    type KvPool = KvPool;

    fn upload(&mut self, tensor: &HostTensor<'_>) -> Result<Weight, LoadError> {
        self.0.upload(tensor)
    }

    fn buffer(&mut self, width: usize) -> Result<Buffer, BackendError> {
        self.0.buffer(width)
    }

    fn kv_pool(&mut self, shape: &KvShape) -> Result<KvPool, BackendError> {
        self.0.kv_pool(shape)
    }

    fn page_bytes(&self, pool: &KvPool, group: usize) -> usize {
        self.0.page_bytes(pool, group)
    }

    fn read_page(
        &mut self,
        pool: &KvPool,
        group: usize,
        page: PageId,
        out: &mut [u8],
    ) -> Result<(), StepError> {
        self.0.read_page(pool, group, page, out)
    }

    fn write_page(
        &mut self,
        pool: &mut KvPool,
        group: usize,
        page: PageId,
        bytes: &[u8],
    ) -> Result<(), StepError> {
        self.0.write_page(pool, group, page, bytes)
    }

    fn write(&mut self, x: &mut Buffer, numbers: &[f32]) {
        self.0.write(x, numbers);
    }

    fn read(&mut self, x: &Buffer, out: &mut Vec<f32>) -> Result<(), StepError> {
        self.0.read(x, out)
    }
}

impl Backend for Faulty {
    fn embed(&mut self, out: &mut Buffer, table: &Weight, tokens: &[u32], scale: f32) {
        self.0.embed(out, table, tokens, if self.1 == Fault::ScaleIgnored { 1.0 } else { scale });
    }

    fn rms_norm(&mut self, out: &mut Buffer, x: &Buffer, weight: &Weight, eps: f32) {
        self.0.rms_norm(out, x, weight, eps);
    }

    fn matmul(&mut self, outs: &mut [&mut Buffer], weights: &[&Weight], x: &Buffer) {
        self.0.matmul(outs, weights, x);
        if self.1 == Fault::MatmulByRows {
            let mut data = Vec::new();
            self.0.read(x, &mut data).unwrap();
            let many = data.len() > 20 * 64;
            outs.iter_mut().for_each(|out| self.0.softcap(out, if many { 1e6 } else { 1e5 }));
        }
        if self.1 == Fault::Squashed {
            outs.iter_mut().for_each(|out| self.0.softcap(out, 1e-6));
        }
    }

    fn matmul_heads(
        &mut self,
        out: &mut Buffer,
        weight: &Weight,
        x: &Buffer,
        tail: Option<&Buffer>,
        n_heads: usize,
    ) {
        self.0.matmul_heads(out, weight, x, tail, n_heads);
        if self.1 == Fault::HeadsSquashed {
            self.0.softcap(out, 10.0);
        }
    }

    fn add(&mut self, x: &mut Buffer, y: &Buffer) {
        self.0.add(x, y);
    }

    fn scale(&mut self, x: &mut Buffer, factor: f32) {
        self.0.scale(x, factor);
    }

    fn scale_rows(&mut self, x: &mut Buffer, factors: &[f32]) {
        self.0.scale_rows(x, factors);
    }

    fn add_bias(&mut self, x: &mut Buffer, bias: &Weight) {
        self.0.add_bias(x, bias);
    }

    fn head_norm(&mut self, x: &mut Buffer, weight: &Weight, eps: f32) {
        self.0.head_norm(x, weight, eps);
    }

    fn rope(&mut self, x: &mut Buffer, head_dim: usize, angles: &Angles) {
        let pairing = if self.1 == Fault::PairingIgnored { Pairing::Halves } else { angles.pairing };
        self.0.rope(x, head_dim, &Angles { pairing, ..angles.clone() });
    }

    fn store_kv(&mut self, pool: &mut KvPool, layer: LayerIdx, k: &Buffer, v: &Buffer, batch: &Batch) {
        self.0.store_kv(pool, layer, k, v, batch);
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
        let window = if self.1 == Fault::WindowIgnored { None } else { shape.window };
        let sinks = sinks.filter(|_| self.1 != Fault::SinksIgnored);
        self.0.attend(out, q, pool, batch, &Attention { window, ..*shape }, sinks);
    }

    fn glu(&mut self, gate: &mut Buffer, up: &Buffer, activation: Activation) {
        self.0.glu(gate, up, activation);
    }

    fn activate(&mut self, x: &mut Buffer, activation: Activation) {
        self.0.activate(x, activation);
    }

    fn sigmoid_gate(&mut self, x: &mut Buffer, gate: &Buffer) {
        self.0.sigmoid_gate(x, gate);
    }

    fn experts(&mut self, out: &mut Buffer, experts: Experts<'_, Weight, Buffer>) {
        let renormalize = experts.routing.renormalize && self.1 != Fault::ExpertsNotRenormalized;
        let routing = Routing { renormalize, ..*experts.routing };
        self.0.experts(out, Experts { routing: &routing, ..experts });
    }

    const HAS_COMPOUNDS: bool = true;
    fn matmul_add(&mut self, op: MatmulAdd<'_, Weight, Buffer>) {
        match self.1 {
            Fault::ResidualLost => self.0.matmul(&mut [op.branch.x], &[op.weight], op.input),
            _ => op.plain(self),
        }
    }
    fn take_rows(&mut self, out: &mut Buffer, x: &Buffer, rows: &[usize]) {
        self.0.take_rows(out, x, rows);
    }

    fn take_columns(&mut self, out: &mut Buffer, x: &Buffer, first: usize) {
        self.0.take_columns(out, x, if self.1 == Fault::ColumnsMoved { 0 } else { first });
    }

    fn causal_conv(&mut self, op: CausalConv<'_, Weight, Buffer, KvPool>) {
        let bias = op.bias.filter(|_| self.1 != Fault::BiasOfConvolutionIgnored);
        self.0.causal_conv(CausalConv { bias, ..op });
    }

    fn delta_rule(&mut self, op: DeltaRule<'_, Weight, Buffer, KvPool>) {
        let order = if self.1 == Fault::HeadOrderIgnored { HeadOrder::Grouped } else { op.heads.order };
        self.0.delta_rule(DeltaRule { heads: DeltaHeads { order, ..op.heads }, ..op });
    }

    fn group_norm(&mut self, x: &mut Buffer, weight: &Weight, n_groups: usize, eps: f32) {
        self.0.group_norm(x, weight, if self.1 == Fault::GroupsIgnored { 1 } else { n_groups }, eps);
    }

    fn ssm_scan(&mut self, op: SsmScan<'_, Weight, Buffer, KvPool>) {
        match self.1 {
            Fault::DecaysIgnored => self.0.ssm_scan(SsmScan { a: op.d, ..op }),
            _ => self.0.ssm_scan(op),
        }
    }

    fn softcap(&mut self, x: &mut Buffer, cap: f32) {
        if self.1 != Fault::SoftcapIgnored {
            self.0.softcap(x, cap);
        }
    }
}

#[test]
fn every_fault_is_found() {
    let llama = || vec![Gguf::open(&xtask::testing::testdata("goldens/llama.gguf")).unwrap()];
    // Loose enough that the batch-dependent product passes as an operation: the invariance check must find it.
    let loose = Promise { operations: Precision::Close(1e-2), attention: Precision::Close(1e-4) };
    let conforms = |fault| {
        std::panic::catch_unwind(|| check(|| Faulty(Reference::default(), fault), loose, &llama())).is_ok()
    };
    assert!(conforms(Fault::None));
    for fault in [
        Fault::MatmulByRows,
        Fault::WindowIgnored,
        Fault::SoftcapIgnored,
        Fault::SinksIgnored,
        Fault::PairingIgnored,
        Fault::ExpertsNotRenormalized,
        Fault::ScaleIgnored,
        Fault::ResidualLost,
        Fault::ColumnsMoved,
        Fault::HeadsSquashed,
        Fault::Squashed,
        Fault::BiasOfConvolutionIgnored,
        Fault::HeadOrderIgnored,
        Fault::GroupsIgnored,
        Fault::DecaysIgnored,
    ] {
        assert!(!conforms(fault), "{fault:?} went unnoticed");
    }
}
