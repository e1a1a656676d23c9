//! The executable specification: every operation of [`Backend`] as plain safe loops over f32.
//!
//! Here an operation's result is defined to the bit; a faster backend gives the same bits wherever it shares the
//! definition (see `conformance::Promise`). One rule runs through it: a row's result
//! depends on nothing but that row and, in attention, its own sequence.

mod attention;
mod recurrent;
mod ssm;
mod tensors;
mod tiles;

use std::ops::Range;

use crate::architecture::{Activation, CacheGroup, CacheKind};
use crate::backend::{
    Activations as _, Attention, AttentionRule, Backend, CausalConv, DeltaRule, DeviceMemory, DeviceSampling,
    ExpertWeights, Experts, HostTensor, KvShape, KvType, LayerIdx, SsmScan,
};
use crate::batch::{Batch, PAGE_LEN, PageId, Span};
use crate::error::{BackendError, LoadError, StepError};
use crate::numerics::{self, QuantizedRow, rms_scale};
use crate::rope::{Angles, Pairing};
use crate::routing::{Choice, route, scale_shares};
use crate::sample::Pick;
use attention::Keys;
use tensors::WeightRow;

pub use tensors::{Buffer, Weight};

/// The reference backend: slow, single-threaded, right by definition.
#[derive(Debug, Default)]
pub struct Reference {
    bf16_rule: AttentionRule,
    chooses: bool,
    quantized: Vec<QuantizedRow>,
    row: WeightRow,
}

/// Keys and values: per layer (n_pages × PAGE_LEN, n_kv_heads × width of a head) each, as far as pages have been written. Keys
/// of a latent cache lack the numbers that are their value's.
#[derive(Debug)]
pub struct KvPool {
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
    /// Of recurrent layers: (n_pages, width), as far as pages have been written.
    states: Vec<Vec<f32>>,
    /// With the number of pages.
    groups: Vec<(CacheGroup, usize)>,
    kv_type: KvType,
    rule: AttentionRule,
}

/// x += y.
fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

impl Reference {
    /// A reference that attends to [`KvType::Bf16`] by that rule.
    pub fn with_bf16_rule(bf16_rule: AttentionRule) -> Reference {
        Reference { bf16_rule, ..Reference::default() }
    }

    /// A reference that chooses tokens as a device does.
    pub fn that_chooses() -> Reference {
        Reference { chooses: true, ..Reference::default() }
    }

    /// Quantizes the rows of `x` if a product that follows is taken in integers.
    fn quantize(&mut self, x: &Buffer, weights: &[&Weight]) {
        if !weights.iter().any(|w| w.is_quantized()) {
            return;
        }
        self.quantized.resize_with(x.n_rows(), QuantizedRow::default);
        for (q, x) in self.quantized.iter_mut().zip(x.rows()) {
            q.quantize(x);
        }
    }
}

impl DeviceMemory for Reference {
    type Weight = Weight;
    type Buffer = Buffer;
    type KvPool = KvPool;

    fn upload(&mut self, tensor: &HostTensor<'_>) -> Result<Weight, LoadError> {
        let HostTensor { name, dtype, rows, cols, .. } = tensor.clone();
        let row_bytes = tensor.row_bytes();
        let n_bytes = tensor.n_rows() * row_bytes;
        let mut bytes = Vec::new();
        if bytes.try_reserve_exact(n_bytes).is_err() {
            let what = format!("no memory for the {n_bytes} bytes of tensor `{name}`");
            return Err(BackendError { what }.into());
        }
        bytes.resize(n_bytes, 0);
        tensor.read_rows(0, &mut bytes)?;
        Ok(Weight { name, dtype, rows, cols, row_bytes, bytes })
    }

    fn buffer(&mut self, width: usize) -> Result<Buffer, BackendError> {
        Ok(Buffer { width, data: Vec::new() })
    }

    fn attention_rule(&self, kv_type: KvType) -> AttentionRule {
        if kv_type == KvType::Bf16 { self.bf16_rule } else { AttentionRule::Floats }
    }

    fn kv_pool(&mut self, shape: &KvShape) -> Result<KvPool, BackendError> {
        let none = vec![Vec::new(); shape.n_layers()];
        Ok(KvPool {
            keys: none.clone(),
            values: none.clone(),
            states: none,
            groups: shape.groups.clone(),
            kv_type: shape.kv_type,
            rule: self.attention_rule(shape.kv_type),
        })
    }

    fn page_bytes(&self, pool: &KvPool, group: usize) -> usize {
        let (CacheGroup { layers, kind }, _) = &pool.groups[group];
        layers.len() * page_widths(*kind).iter().sum::<usize>() * size_of::<f32>()
    }

    fn read_page(
        &mut self,
        pool: &KvPool,
        group: usize,
        page: PageId,
        out: &mut [u8],
    ) -> Result<(), StepError> {
        let (CacheGroup { layers, kind }, _) = &pool.groups[group];
        let mut out = out.as_chunks_mut::<4>().0.iter_mut();
        for &layer in layers {
            let all = [&pool.keys[layer], &pool.values[layer], &pool.states[layer]];
            for (x, width) in all.into_iter().zip(page_widths(*kind)) {
                for i in page.0 as usize * width..(page.0 as usize + 1) * width {
                    // A page that was never written is zero.
                    let number = x.get(i).copied().unwrap_or(0.0);
                    *out.next().expect("a page's bytes") = number.to_le_bytes();
                }
            }
        }
        Ok(())
    }

    fn write_page(
        &mut self,
        pool: &mut KvPool,
        group: usize,
        page: PageId,
        bytes: &[u8],
    ) -> Result<(), StepError> {
        let (CacheGroup { layers, kind }, _) = pool.groups[group].clone();
        let mut bytes = bytes.as_chunks::<4>().0.iter();
        for layer in layers {
            pool.reach(layer, group, page);
            let all = [&mut pool.keys[layer], &mut pool.values[layer], &mut pool.states[layer]];
            for (x, width) in all.into_iter().zip(page_widths(kind)) {
                for number in &mut x[page.0 as usize * width..][..width] {
                    *number = f32::from_le_bytes(*bytes.next().expect("a page's bytes"));
                }
            }
        }
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

impl Backend for Reference {
    fn embed(&mut self, out: &mut Buffer, table: &Weight, tokens: &[u32], scale: f32) {
        out.reset(tokens.len());
        for (out, &token) in out.rows_mut().zip(tokens) {
            table.dequantize_row(token as usize, out);
            out.iter_mut().for_each(|x| *x *= scale);
        }
    }

    fn rms_norm(&mut self, out: &mut Buffer, x: &Buffer, weight: &Weight, eps: f32) {
        let weight = weight.vector();
        out.reset(x.n_rows());
        for (out, x) in out.rows_mut().zip(x.rows()) {
            let scale = rms_scale(x, eps);
            for ((out, x), w) in out.iter_mut().zip(x).zip(&weight) {
                *out = (x * scale) * w;
            }
        }
    }

    fn matmul(&mut self, outs: &mut [&mut Buffer], weights: &[&Weight], x: &Buffer) {
        self.quantize(x, weights);
        for (out, weight) in outs.iter_mut().zip(weights) {
            weight.product(0, out, x, self);
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
        assert_eq!(x.width, n_heads * weight.cols, "inputs of `{}`", weight.name);
        let (head_width, tail_width) = (out.width / n_heads, tail.map_or(0, |tail| tail.width / n_heads));
        assert_eq!(head_width, weight.rows + tail_width, "heads of `{}`", weight.name);
        out.reset(x.n_rows());
        let mut product = Buffer { width: weight.rows, data: Vec::new() };
        for h in 0..n_heads {
            let rows = x.rows().flat_map(|x| &x[h * weight.cols..][..weight.cols]).copied().collect();
            let input = Buffer { width: weight.cols, data: rows };
            self.quantize(&input, &[weight]);
            weight.product(h, &mut product, &input, self);
            for (row, (out, y)) in out.rows_mut().zip(product.rows()).enumerate() {
                let out = &mut out[h * head_width..][..head_width];
                out[..weight.rows].copy_from_slice(y);
                if let Some(tail) = tail {
                    out[weight.rows..].copy_from_slice(&tail.row(row)[h * tail_width..][..tail_width]);
                }
            }
        }
    }

    fn add(&mut self, x: &mut Buffer, y: &Buffer) {
        add(&mut x.data, &y.data);
    }

    fn scale(&mut self, x: &mut Buffer, factor: f32) {
        x.data.iter_mut().for_each(|x| *x *= factor);
    }

    fn scale_rows(&mut self, x: &mut Buffer, factors: &[f32]) {
        assert_eq!(x.n_rows(), factors.len(), "a factor for every row");
        x.rows_mut().zip(factors).for_each(|(x, factor)| x.iter_mut().for_each(|x| *x *= factor));
    }

    fn add_bias(&mut self, x: &mut Buffer, bias: &Weight) {
        let bias = bias.vector();
        for x in x.rows_mut() {
            add(x, &bias);
        }
    }

    fn head_norm(&mut self, x: &mut Buffer, weight: &Weight, eps: f32) {
        let weight = weight.vector();
        for head in x.data.chunks_exact_mut(weight.len()) {
            let scale = rms_scale(head, eps);
            head.iter_mut().zip(&weight).for_each(|(x, w)| *x = (*x * scale) * w);
        }
    }

    fn group_norm(&mut self, x: &mut Buffer, weight: &Weight, n_groups: usize, eps: f32) {
        let weight = weight.vector();
        let width = weight.len() / n_groups;
        assert_eq!((x.width, x.width % n_groups), (weight.len(), 0), "whole groups");
        for x in x.rows_mut() {
            for (x, weight) in x.chunks_exact_mut(width).zip(weight.chunks_exact(width)) {
                let scale = rms_scale(x, eps);
                x.iter_mut().zip(weight).for_each(|(x, w)| *x = (*x * scale) * w);
            }
        }
    }

    fn rope(&mut self, x: &mut Buffer, head_dim: usize, angles: &Angles) {
        let half = angles.dims / 2;
        for (row, x) in x.rows_mut().enumerate() {
            let cos = &angles.cos[row * half..][..half];
            let sin = &angles.sin[row * half..][..half];
            for head in x.chunks_exact_mut(head_dim) {
                for i in 0..half {
                    let (a, b) = match angles.pairing {
                        Pairing::Adjacent => (2 * i, 2 * i + 1),
                        Pairing::Halves => (i, i + half),
                    };
                    let (x, y) = (head[a], head[b]);
                    head[a] = x.mul_add(cos[i], -(y * sin[i]));
                    head[b] = x.mul_add(sin[i], y * cos[i]);
                }
            }
        }
    }

    fn store_kv(&mut self, pool: &mut KvPool, layer: LayerIdx, k: &Buffer, v: &Buffer, batch: &Batch) {
        let LayerIdx { layer, group } = layer;
        for span in batch.spans() {
            for row in span.rows.clone() {
                let slot = batch.slot(span, group, batch.positions()[row] as usize).0 as usize;
                pool.reach(layer, group, PageId((slot / PAGE_LEN) as u32));
                let [_, key_width, value_width] = pool.groups[group].0.kind.heads();
                let [keys, values] = [&mut pool.keys[layer], &mut pool.values[layer]];
                for (kept, x, head) in [(keys, k, key_width), (values, v, value_width)] {
                    let kept = &mut kept[slot * x.width..][..x.width];
                    kept.copy_from_slice(x.row(row));
                    kept.chunks_exact_mut(head).for_each(|head| pool.kv_type.round(head));
                }
            }
        }
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
        let sinks = sinks.map(Weight::vector);
        out.reset(q.n_rows());
        for span in batch.spans() {
            for row in span.rows.clone() {
                let visible = attention.visible(batch.positions()[row] as usize);
                for head in 0..attention.n_heads {
                    let Attention { key_width, value_width, .. } = *attention;
                    let keys = Keys { pool, batch, span, attention, head };
                    let q = &q.row(row)[head * key_width..][..key_width];
                    let out = &mut out.data[row * out.width + head * value_width..][..value_width];
                    let sink = sinks.as_ref().map(|sinks| sinks[head]);
                    attention::attend(out, q, &keys, visible.clone(), sink);
                }
            }
        }
    }

    fn glu(&mut self, gate: &mut Buffer, up: &Buffer, activation: Activation) {
        for (gate, up) in gate.data.iter_mut().zip(&up.data) {
            *gate = numerics::glu(*gate, *up, activation);
        }
    }

    fn activate(&mut self, x: &mut Buffer, activation: Activation) {
        x.data.iter_mut().for_each(|x| *x = numerics::activate(*x, activation));
    }

    fn sigmoid_gate(&mut self, x: &mut Buffer, gate: &Buffer) {
        for (x, gate) in x.data.chunks_exact_mut(x.width / gate.width).zip(&gate.data) {
            let factor = numerics::sigmoid(*gate);
            x.iter_mut().for_each(|x| *x *= factor);
        }
    }

    fn experts(&mut self, out: &mut Buffer, experts: Experts<'_, Weight, Buffer>) {
        let Experts { x, router, weights, exp_probs_b, routing, activation } = experts;
        let ExpertWeights { ffn_gate_exps, ffn_up_exps, ffn_down_exps, biases, scales } = weights;
        let [exp_probs_b, scales] = [exp_probs_b, scales].map(|vector| vector.map(Weight::vector));
        let ffn_dim = ffn_up_exps.rows;
        let mut gate = Buffer { width: ffn_dim, data: Vec::new() };
        let mut up = gate.clone();
        let mut down = Buffer { width: x.width, data: Vec::new() };
        let mut choices = Vec::new();
        out.reset(x.n_rows());
        for (row, out) in out.rows_mut().enumerate() {
            let x = Buffer { width: x.width, data: x.row(row).to_vec() };
            route(router.row(row), exp_probs_b.as_deref(), routing, &mut choices);
            scale_shares(&mut choices, scales.as_deref());
            for &Choice { expert, share } in &choices {
                self.quantize(&x, &[ffn_up_exps]);
                ffn_up_exps.product(expert, &mut up, &x, self);
                if let Some(ffn_gate_exps) = ffn_gate_exps {
                    self.quantize(&x, &[ffn_gate_exps]);
                    ffn_gate_exps.product(expert, &mut gate, &x, self);
                    if let Some(biases) = &biases {
                        add(&mut gate.data, &biases.gate.vector_of(expert));
                        add(&mut up.data, &biases.up.vector_of(expert));
                    }
                    self.glu(&mut gate, &up, activation);
                } else {
                    std::mem::swap(&mut gate, &mut up);
                    self.activate(&mut gate, activation);
                }
                self.quantize(&gate, &[ffn_down_exps]);
                ffn_down_exps.product(expert, &mut down, &gate, self);
                if let Some(biases) = &biases {
                    add(&mut down.data, &biases.down.vector_of(expert));
                }
                for (out, &y) in out.iter_mut().zip(&down.data) {
                    *out = share.mul_add(y, *out);
                }
            }
        }
    }

    fn take_rows(&mut self, out: &mut Buffer, x: &Buffer, rows: &[usize]) {
        out.data.clear();
        rows.iter().for_each(|&row| out.data.extend_from_slice(x.row(row)));
    }

    fn take_columns(&mut self, out: &mut Buffer, x: &Buffer, first: usize) {
        out.data.clear();
        x.rows().for_each(|row| out.data.extend_from_slice(&row[first..][..out.width]));
    }

    fn softcap(&mut self, x: &mut Buffer, cap: f32) {
        x.data.iter_mut().for_each(|x| *x = numerics::softcap(*x, cap));
    }

    fn causal_conv(&mut self, op: CausalConv<'_, Weight, Buffer, KvPool>) {
        recurrent::causal_conv(op);
    }

    fn delta_rule(&mut self, op: DeltaRule<'_, Weight, Buffer, KvPool>) {
        recurrent::delta_rule(op);
    }

    fn ssm_scan(&mut self, op: SsmScan<'_, Weight, Buffer, KvPool>) {
        ssm::ssm_scan(op);
    }

    fn device_sampling(&mut self) -> Option<&mut dyn DeviceSampling<Weight, Buffer>> {
        if self.chooses { Some(self) } else { None }
    }
}

impl DeviceSampling<Weight, Buffer> for Reference {
    fn choose(&mut self, out: &mut Buffer, first: usize, total: usize, x: &Buffer, picks: &[Pick]) {
        out.data.resize(total, 0.0);
        for (out, pick) in out.data[first..].iter_mut().zip(picks) {
            *out = pick.choose(x.row(pick.row)).map_or(-1.0, |token| token as f32);
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
        let tokens: Vec<u32> = chosen.data[rows].iter().map(|&token| token as u32).collect();
        self.embed(out, table, &tokens, scale);
    }
}

/// Numbers of a layer in a page: of its keys, of its values and of its state.
fn page_widths(kind: CacheKind) -> [usize; 3] {
    let [n_kv_heads, key_width, value_width] = kind.heads();
    [PAGE_LEN * n_kv_heads * key_width, PAGE_LEN * n_kv_heads * value_width, kind.state_width()]
}

impl KvPool {
    /// Makes sure that a page is there: memory grows with the pages that are used, not with what is allowed.
    fn reach(&mut self, layer: usize, group: usize, page: PageId) {
        let (CacheGroup { kind, .. }, n_pages) = &self.groups[group];
        assert!((page.0 as usize) < *n_pages, "pages are within the pool");
        let [n_kv_heads, key_width, value_width] = kind.heads();
        for (x, width) in [(&mut self.keys[layer], key_width), (&mut self.values[layer], value_width)] {
            let end = (page.0 as usize + 1) * PAGE_LEN * n_kv_heads * width;
            if x.len() < end {
                x.resize(end, 0.0);
            }
        }
        let (states, end) = (&mut self.states[layer], (page.0 as usize + 1) * kind.state_width());
        if states.len() < end {
            states.resize(end, 0.0);
        }
    }

    /// Numbers `part` of a recurrent layer's state for a span to continue in place: a copy of those before its first row, zeros at the
    /// start of a sequence.
    fn continued(
        &mut self,
        LayerIdx { layer, group }: LayerIdx,
        part: Range<usize>,
        (batch, span): (&Batch, &Span),
    ) -> &mut [f32] {
        let (before, after) = batch.states(span, group);
        self.reach(layer, group, after);
        let width = self.groups[group].0.kind.state_width();
        let at = |page: PageId| page.0 as usize * width + part.start..page.0 as usize * width + part.end;
        let states = &mut self.states[layer];
        match before {
            Some(before) => states.copy_within(at(before), at(after).start),
            None => states[at(after)].fill(0.0),
        }
        &mut states[at(after)]
    }
}

#[cfg(test)]
mod tests;
