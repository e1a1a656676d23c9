//! One model on two devices: the first layers on one, the others with embedding and output on the other. What both need
//! goes by way of the host.
//!
//! A buffer has a place on both devices and knows where it is up to date. An operation runs where its weights are, and
//! one without weights where its input is.

use std::cell::{Cell, RefCell};
use std::ops::Range;

use crate::architecture::{Activation, Routing};
use crate::backend::{
    Activations, Attention, AttentionRule, Backend, DeviceMemory, DeviceSampling, ExpertWeights, HostTensor,
    KvShape, KvType, LayerIdx,
};
use crate::batch::Batch;
use crate::error::{BackendError, LoadError, StepError};
use crate::rope::Angles;
use crate::sample::Pick;

/// Two devices that share a model.
#[derive(Debug)]
pub struct Split<A, B> {
    first: A,
    second: B,
    /// Layers of the first device.
    n_first: usize,
    moved: Vec<f32>,
    failure: Option<String>,
}

/// A tensor on one of them.
#[derive(Debug)]
pub enum Weight<A, B> {
    /// On the first.
    First(A),
    /// On the second.
    Second(B),
}

/// Activations on both.
#[derive(Debug)]
pub struct Buffer<A, B> {
    first: RefCell<A>,
    second: RefCell<B>,
    /// Where they are up to date.
    fresh: Cell<Fresh>,
}

/// Keys and values: every layer's on the device that has the layer.
#[derive(Debug)]
pub struct KvPool<A, B> {
    first: A,
    second: B,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    First,
    Second,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fresh {
    On(Side),
    OnBoth,
}

impl<A: Backend, B: Backend> Split<A, B> {
    /// The first `n_first` layers on `first`, everything else on `second`.
    pub fn new(first: A, second: B, n_first: usize) -> Self {
        Split { first, second, n_first, moved: Vec::new(), failure: None }
    }

    fn side_of_layer(&self, layer: usize) -> Side {
        if layer < self.n_first { Side::First } else { Side::Second }
    }

    fn side_of_tensor(&self, name: &str) -> Side {
        let layer = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse().ok());
        layer.map_or(Side::Second, |layer| self.side_of_layer(layer))
    }

    /// Makes sure that x is up to date there.
    fn bring(&mut self, x: &Buffer<A::Buffer, B::Buffer>, side: Side) {
        if x.is_fresh(side) {
            return;
        }
        let read = match side {
            Side::First => self.second.read(&x.second.borrow(), &mut self.moved),
            Side::Second => self.first.read(&x.first.borrow(), &mut self.moved),
        };
        if let Err(StepError { what }) = read {
            self.failure.get_or_insert(what);
            return;
        }
        match side {
            Side::First => self.first.write(&mut x.first.borrow_mut(), &self.moved),
            Side::Second => self.second.write(&mut x.second.borrow_mut(), &self.moved),
        }
        x.fresh.set(Fresh::OnBoth);
    }

    fn failed(&self) -> Result<(), StepError> {
        self.failure.clone().map_or(Ok(()), |what| Err(StepError { what }))
    }
}

impl<A: Activations, B: Activations> Activations for Buffer<A, B> {
    fn n_rows(&self) -> usize {
        match self.side() {
            Side::First => self.first.borrow().n_rows(),
            Side::Second => self.second.borrow().n_rows(),
        }
    }

    fn width(&self) -> usize {
        self.first.borrow().width()
    }
}

impl<A, B> Buffer<A, B> {
    fn is_fresh(&self, side: Side) -> bool {
        self.fresh.get() == Fresh::OnBoth || self.fresh.get() == Fresh::On(side)
    }

    /// Where it is up to date; the second where that is both.
    fn side(&self) -> Side {
        if self.is_fresh(Side::Second) { Side::Second } else { Side::First }
    }

    fn written(&mut self, side: Side) {
        self.fresh.set(Fresh::On(side));
    }
}

/// Runs a call on one device: `$b` and `$f` stand for the device and for a buffer's place on it.
macro_rules! run {
    ($self:ident, $side:expr, $op:ident($out:expr $(, in $input:expr)* ; $($rest:expr),*)) => {{
        let side = $side;
        $($self.bring($input, side);)*
        match side {
            Side::First => $self.first.$op($out.first.get_mut() $(, &$input.first.borrow())*, $($rest),*),
            Side::Second => $self.second.$op($out.second.get_mut() $(, &$input.second.borrow())*, $($rest),*),
        }
        $out.written(side);
    }};
}

/// The same for an operation with a weight, between its buffers and the rest.
macro_rules! run_weighed {
    ($self:ident, $weight:expr, $op:ident($out:expr $(, in $input:expr)* ; $($rest:expr),*)) => {{
        match $weight {
            Weight::First(w) => {
                $($self.bring($input, Side::First);)*
                $self.first.$op($out.first.get_mut() $(, &$input.first.borrow())*, w, $($rest),*);
                $out.written(Side::First);
            }
            Weight::Second(w) => {
                $($self.bring($input, Side::Second);)*
                $self.second.$op($out.second.get_mut() $(, &$input.second.borrow())*, w, $($rest),*);
                $out.written(Side::Second);
            }
        }
    }};
}

impl<A: Backend, B: Backend> DeviceMemory for Split<A, B> {
    type Weight = Weight<A::Weight, B::Weight>;
    type Buffer = Buffer<A::Buffer, B::Buffer>;
    type KvPool = KvPool<A::KvPool, B::KvPool>;

    fn upload(&mut self, tensor: &HostTensor<'_>) -> Result<Self::Weight, LoadError> {
        Ok(match self.side_of_tensor(&tensor.name) {
            Side::First => Weight::First(self.first.upload(tensor)?),
            Side::Second => Weight::Second(self.second.upload(tensor)?),
        })
    }

    fn upload_together(&mut self, tensors: &[HostTensor<'_>]) -> Result<Vec<Self::Weight>, LoadError> {
        // They are of one layer.
        Ok(match self.side_of_tensor(&tensors[0].name) {
            Side::First => self.first.upload_together(tensors)?.into_iter().map(Weight::First).collect(),
            Side::Second => self.second.upload_together(tensors)?.into_iter().map(Weight::Second).collect(),
        })
    }

    fn buffer(&mut self, width: usize) -> Result<Self::Buffer, BackendError> {
        Ok(Buffer {
            first: RefCell::new(self.first.buffer(width)?),
            second: RefCell::new(self.second.buffer(width)?),
            fresh: Cell::new(Fresh::OnBoth),
        })
    }

    fn attention_rule(&self, kv_type: KvType) -> AttentionRule {
        if self.n_first > 0 {
            self.first.attention_rule(kv_type)
        } else {
            self.second.attention_rule(kv_type)
        }
    }

    fn kv_pool(&mut self, shape: &KvShape) -> Result<Self::KvPool, BackendError> {
        let of = |side| {
            let mut shape = shape.clone();
            shape.groups.iter_mut().for_each(|(group, _)| {
                group.layers.retain(|&layer| self.side_of_layer(layer) == side);
            });
            shape
        };
        let (first, second) = (of(Side::First), of(Side::Second));
        Ok(KvPool { first: self.first.kv_pool(&first)?, second: self.second.kv_pool(&second)? })
    }

    fn write(&mut self, x: &mut Self::Buffer, numbers: &[f32]) {
        run!(self, Side::Second, write(x; numbers));
    }

    fn read(&mut self, x: &Self::Buffer, out: &mut Vec<f32>) -> Result<(), StepError> {
        match x.side() {
            Side::First => self.first.read(&x.first.borrow(), out)?,
            Side::Second => self.second.read(&x.second.borrow(), out)?,
        }
        self.failed()
    }

    fn finish(&mut self) -> Result<(), StepError> {
        self.first.finish()?;
        self.second.finish()?;
        self.failed()
    }
}

impl<A: Backend, B: Backend> Backend for Split<A, B> {
    fn embed(&mut self, out: &mut Self::Buffer, table: &Self::Weight, tokens: &[u32], scale: f32) {
        run_weighed!(self, table, embed(out; tokens, scale));
    }

    fn rms_norm(&mut self, out: &mut Self::Buffer, x: &Self::Buffer, weight: &Self::Weight, eps: f32) {
        run_weighed!(self, weight, rms_norm(out, in x; eps));
    }

    fn matmul(&mut self, outs: &mut [&mut Self::Buffer], weights: &[&Self::Weight], x: &Self::Buffer) {
        let (mut firsts, mut seconds) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
        for (out, weight) in outs.iter_mut().zip(weights) {
            match weight {
                Weight::First(w) => {
                    out.written(Side::First);
                    firsts.0.push(out.first.get_mut());
                    firsts.1.push(w);
                }
                Weight::Second(w) => {
                    out.written(Side::Second);
                    seconds.0.push(out.second.get_mut());
                    seconds.1.push(w);
                }
            }
        }
        if !firsts.0.is_empty() {
            self.bring(x, Side::First);
            self.first.matmul(&mut firsts.0, &firsts.1, &x.first.borrow());
        }
        if !seconds.0.is_empty() {
            self.bring(x, Side::Second);
            self.second.matmul(&mut seconds.0, &seconds.1, &x.second.borrow());
        }
    }

    fn add(&mut self, x: &mut Self::Buffer, y: &Self::Buffer) {
        let side = y.side();
        self.bring(x, side);
        run!(self, side, add(x, in y;));
    }

    fn add_bias(&mut self, x: &mut Self::Buffer, bias: &Self::Weight) {
        self.bring(x, bias.side());
        run_weighed!(self, bias, add_bias(x;));
    }

    fn head_norm(&mut self, x: &mut Self::Buffer, weight: &Self::Weight, eps: f32) {
        self.bring(x, weight.side());
        run_weighed!(self, weight, head_norm(x; eps));
    }

    fn rope(&mut self, x: &mut Self::Buffer, head_dim: usize, angles: &Angles) {
        run!(self, x.side(), rope(x; head_dim, angles));
    }

    fn store_kv(
        &mut self,
        pool: &mut Self::KvPool,
        layer: LayerIdx,
        k: &Self::Buffer,
        v: &Self::Buffer,
        batch: &Batch,
    ) {
        let side = self.side_of_layer(layer.layer);
        self.bring(k, side);
        self.bring(v, side);
        match side {
            Side::First => {
                self.first.store_kv(&mut pool.first, layer, &k.first.borrow(), &v.first.borrow(), batch);
            }
            Side::Second => {
                self.second.store_kv(&mut pool.second, layer, &k.second.borrow(), &v.second.borrow(), batch);
            }
        }
    }

    fn attend(
        &mut self,
        out: &mut Self::Buffer,
        q: &Self::Buffer,
        pool: &Self::KvPool,
        batch: &Batch,
        attention: &Attention,
    ) {
        let side = self.side_of_layer(attention.layer.layer);
        self.bring(q, side);
        match side {
            Side::First => {
                self.first.attend(out.first.get_mut(), &q.first.borrow(), &pool.first, batch, attention);
            }
            Side::Second => {
                self.second.attend(out.second.get_mut(), &q.second.borrow(), &pool.second, batch, attention);
            }
        }
        out.written(side);
    }

    fn glu(&mut self, gate: &mut Self::Buffer, up: &Self::Buffer, activation: Activation) {
        let side = up.side();
        self.bring(gate, side);
        run!(self, side, glu(gate, in up; activation));
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
        let ExpertWeights { ffn_gate_exps, ffn_up_exps, ffn_down_exps } = weights;
        match (ffn_gate_exps, ffn_up_exps, ffn_down_exps) {
            (Weight::First(gate), Weight::First(up), Weight::First(down)) => {
                self.bring(x, Side::First);
                self.bring(router, Side::First);
                let weights = ExpertWeights { ffn_gate_exps: gate, ffn_up_exps: up, ffn_down_exps: down };
                let (x, router) = (x.first.borrow(), router.first.borrow());
                self.first.experts(out.first.get_mut(), &x, &router, weights, routing, activation);
                out.written(Side::First);
            }
            (Weight::Second(gate), Weight::Second(up), Weight::Second(down)) => {
                self.bring(x, Side::Second);
                self.bring(router, Side::Second);
                let weights = ExpertWeights { ffn_gate_exps: gate, ffn_up_exps: up, ffn_down_exps: down };
                let (x, router) = (x.second.borrow(), router.second.borrow());
                self.second.experts(out.second.get_mut(), &x, &router, weights, routing, activation);
                out.written(Side::Second);
            }
            _ => unreachable!("a layer's tensors are on one device"),
        }
    }

    fn take_rows(&mut self, out: &mut Self::Buffer, x: &Self::Buffer, rows: &[usize]) {
        run!(self, x.side(), take_rows(out, in x; rows));
    }

    fn softcap(&mut self, x: &mut Self::Buffer, cap: f32) {
        run!(self, x.side(), softcap(x; cap));
    }

    fn device_sampling(&mut self) -> Option<&mut dyn DeviceSampling<Self::Weight, Self::Buffer>> {
        if self.second.device_sampling().is_some() { Some(self) } else { None }
    }
}

impl<A: Backend, B: Backend> DeviceSampling<Weight<A::Weight, B::Weight>, Buffer<A::Buffer, B::Buffer>>
    for Split<A, B>
{
    fn choose(
        &mut self,
        out: &mut Buffer<A::Buffer, B::Buffer>,
        first: usize,
        total: usize,
        x: &Buffer<A::Buffer, B::Buffer>,
        picks: &[Pick],
    ) {
        self.bring(x, Side::Second);
        let sampling = self.second.device_sampling().expect("asked for only if it is there");
        sampling.choose(out.second.get_mut(), first, total, &x.second.borrow(), picks);
        out.written(Side::Second);
    }

    fn embed_chosen(
        &mut self,
        out: &mut Buffer<A::Buffer, B::Buffer>,
        table: &Weight<A::Weight, B::Weight>,
        chosen: &Buffer<A::Buffer, B::Buffer>,
        rows: Range<usize>,
        scale: f32,
    ) {
        let Weight::Second(table) = table else { unreachable!("the table is where tokens are chosen") };
        let sampling = self.second.device_sampling().expect("asked for only if it is there");
        sampling.embed_chosen(out.second.get_mut(), table, &chosen.second.borrow(), rows, scale);
        out.written(Side::Second);
    }
}

impl<A, B> Weight<A, B> {
    fn side(&self) -> Side {
        match self {
            Weight::First(_) => Side::First,
            Weight::Second(_) => Side::Second,
        }
    }
}
