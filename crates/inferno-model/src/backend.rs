//! The operations of a device: about fifteen of a model, not tensor algebra.
//!
//! The transformer calls them in order and looks at nothing in between, so a CPU runs them and a GPU records
//! them. Their meaning is [`crate::reference`]; how near to it a backend must come is what it promises to
//! [`crate::conformance`]. Compound operations have a default, their plain path, which is also their definition; a GPU has
//! kernels for more than one operation at a time. Loading and transfers are [`DeviceMemory`]; what only some devices can do is a type of
//! its own that they return: [`DeviceSampling`], [`KernelTimes`].

use std::ops::Range;

use half::{bf16, f16};

use crate::architecture::{Activation, CacheGroup};
use crate::batch::Batch;
use crate::rope::Angles;

mod capability;
mod compound;
mod heads;
mod memory;
mod recurrent;
mod ssm;
mod tensor;

pub use capability::{DeviceSampling, KernelTime, KernelTimes};
pub(crate) use compound::add_bias;
pub use compound::{Branch, Experts, ExpertsAdd, GluMatmul, MatmulAdd, NormMatmul};
pub use heads::{AttendHeads, QkNorm};
pub(crate) use heads::{norm_and_rotate, scale_queries};
pub use memory::{Activations, DeviceMemory};
pub use recurrent::{
    CausalConv, Columns, DeltaHeads, DeltaRule, HeadOrder, MOST_HEAD_WIDTH, MOST_TAPS, UNIT_EPS,
};
pub use ssm::{SSM_COLUMNS, SSM_SUMS, SsmScan, SsmShape};
pub use tensor::{HostTensor, Source};

/// What a KV pool holds.
#[derive(Debug, Clone)]
pub struct KvShape {
    /// Layers that share a page table, with the heads that each of them stores, and how many pages each group gets.
    pub groups: Vec<(CacheGroup, usize)>,
    /// What keys and values are rounded to when stored.
    pub kv_type: KvType,
}

impl KvShape {
    /// One more than the highest layer.
    pub fn n_layers(&self) -> usize {
        let layers = self.groups.iter().flat_map(|(group, _)| &group.layers);
        layers.max().map_or(0, |&last| last + 1)
    }
}

/// How keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum KvType {
    /// As computed.
    #[default]
    F32,
    /// Rounded to half precision.
    F16,
    /// Rounded to the upper half of an F32.
    Bf16,
    /// 8-bit integers; every 32 numbers of a head (the last of a head may be fewer) have a scale in half precision.
    Q8_0,
}

impl KvType {
    /// All there are.
    pub const ALL: [KvType; 4] = [KvType::F32, KvType::F16, KvType::Bf16, KvType::Q8_0];

    /// As options spell it.
    pub fn name(self) -> &'static str {
        match self {
            KvType::F32 => "f32",
            KvType::F16 => "f16",
            KvType::Bf16 => "bf16",
            KvType::Q8_0 => "q8_0",
        }
    }

    /// Bytes of one position in a head of `width` numbers.
    pub fn head_bytes(self, width: usize) -> usize {
        match self {
            KvType::F32 => 4 * width,
            KvType::F16 | KvType::Bf16 => 2 * width,
            KvType::Q8_0 => width + 2 * width.div_ceil(KV_BLOCK),
        }
    }

    /// The numbers of one position in a head as they will be read.
    pub fn round(self, x: &mut [f32]) {
        match self {
            KvType::F32 => {}
            KvType::F16 => x.iter_mut().for_each(|x| *x = f16::from_f32(*x).to_f32()),
            KvType::Bf16 => x.iter_mut().for_each(|x| *x = bf16::from_f32(*x).to_f32()),
            KvType::Q8_0 => {
                for block in x.chunks_mut(KV_BLOCK) {
                    let (q, d) = quantize_kv(block);
                    block.iter_mut().zip(q).for_each(|(x, q)| *x = d.to_f32() * f32::from(q));
                }
            }
        }
    }
}

/// How attention computes: each of these is one definition, whatever the number of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AttentionRule {
    /// In F32.
    #[default]
    Floats,
    /// In tiles of bf16 with sums in F32. Keys and values are [`KvType::Bf16`].
    Bf16Tiles,
}

/// Numbers of a head that share a scale in [`KvType::Q8_0`].
pub const KV_BLOCK: usize = 32;

/// Up to [`KV_BLOCK`] numbers as integers and what a unit is worth: `amax / 127` rounded to half precision, NaN if a
/// number is not finite.
pub fn quantize_kv(x: &[f32]) -> ([i8; KV_BLOCK], f16) {
    let mut q = [0; KV_BLOCK];
    if !x.iter().all(|x| x.is_finite()) {
        return (q, f16::NAN);
    }
    let amax = x.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let inverse = 127.0 / amax;
    if !inverse.is_finite() {
        return (q, f16::ZERO);
    }
    for (q, x) in q.iter_mut().zip(x) {
        *q = (x * inverse).round_ties_even() as i8;
    }
    (q, f16::from_f32(amax / 127.0))
}

/// A layer, and the cache group whose page tables it uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerIdx {
    /// Counted over the whole model.
    pub layer: usize,
    /// Index into the model's cache groups.
    pub group: usize,
}

/// One layer's attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// Whose keys and values are read.
    pub layer: LayerIdx,
    /// Query heads; `n_heads / n_kv_heads` of them share a key head.
    pub n_heads: usize,
    /// Key and value heads.
    pub n_kv_heads: usize,
    /// Numbers in one query head or key head.
    pub key_width: usize,
    /// Numbers in one value head, and in what a query head gives.
    pub value_width: usize,
    /// Scores are multiplied by this.
    pub scale: f32,
    /// Then squashed to `±cap`.
    pub softcap: Option<f32>,
    /// Keys a row sees, itself included.
    pub window: Option<usize>,
}

impl Attention {
    /// The positions that a row at `position` sees.
    pub fn visible(&self, position: usize) -> Range<usize> {
        self.window.map_or(0, |w| (position + 1).saturating_sub(w))..position + 1
    }
}

/// The three stacked matrices of a layer's experts, their biases and the scales of their outputs.
#[derive(Debug)]
pub struct ExpertWeights<W> {
    /// (n_experts, ffn_dim, dim); `None`: an expert is `down(activation(up(x)))`, and has no biases
    pub ffn_gate_exps: Option<W>,
    /// (n_experts, ffn_dim, dim)
    pub ffn_up_exps: W,
    /// (n_experts, dim, ffn_dim)
    pub ffn_down_exps: W,
    /// Added to their products.
    pub biases: Option<ExpertBiases<W>>,
    /// (n_experts,): an expert's output, bias included, is multiplied by its own
    pub scales: Option<W>,
}

/// Biases of a layer's experts, uploaded by [`DeviceMemory::upload_vectors`].
#[derive(Debug)]
pub struct ExpertBiases<W> {
    /// (n_experts, ffn_dim)
    pub gate: W,
    /// (n_experts, ffn_dim)
    pub up: W,
    /// (n_experts, dim), added before an expert's output is weighted
    pub down: W,
}

impl<W> ExpertWeights<W> {
    /// The same, borrowed.
    pub fn as_ref(&self) -> ExpertWeights<&W> {
        let ExpertWeights { ffn_gate_exps, ffn_up_exps, ffn_down_exps, biases, scales } = self;
        let (ffn_gate_exps, scales) = (ffn_gate_exps.as_ref(), scales.as_ref());
        let biases = biases.as_ref().map(|ExpertBiases { gate, up, down }| ExpertBiases { gate, up, down });
        ExpertWeights { ffn_gate_exps, ffn_up_exps, ffn_down_exps, biases, scales }
    }
}

/// The operations of a model on one device. A buffer is (n_rows, width) of f32; an operation gives its output as
/// many rows as its input has. In the shapes below `n` is that number of rows.
pub trait Backend: DeviceMemory {
    /// out (n, cols) = rows `tokens` of `table`, times `scale`.
    fn embed(&mut self, out: &mut Self::Buffer, table: &Self::Weight, tokens: &[u32], scale: f32);
    /// out = x / rms(x) * weight, per row.
    fn rms_norm(&mut self, out: &mut Self::Buffer, x: &Self::Buffer, weight: &Self::Weight, eps: f32);
    /// Every out (n, rows of its weight) = x (n, cols) × its weightᵀ. The input is quantized once for all.
    fn matmul(&mut self, outs: &mut [&mut Self::Buffer], weights: &[&Self::Weight], x: &Self::Buffer);
    /// Products head by head: head `h` of out (n, n_heads × (rows + tail width)) = head `h` of x (n, n_heads × cols) × matrix
    /// `h` of `weight` (n_heads, rows, cols), transposed, followed by head `h` of `tail` (n, n_heads × tail width) where there is
    /// one. The input of a head is quantized on its own.
    fn matmul_heads(
        &mut self,
        out: &mut Self::Buffer,
        weight: &Self::Weight,
        x: &Self::Buffer,
        tail: Option<&Self::Buffer>,
        n_heads: usize,
    );
    /// x += y.
    fn add(&mut self, x: &mut Self::Buffer, y: &Self::Buffer);
    /// x *= factor.
    fn scale(&mut self, x: &mut Self::Buffer, factor: f32);
    /// Every row of x *= its factor, of (n,).
    fn scale_rows(&mut self, x: &mut Self::Buffer, factors: &[f32]);
    /// x += bias, per row.
    fn add_bias(&mut self, x: &mut Self::Buffer, bias: &Self::Weight);
    /// The RMS norm of every head of x on its own; `weight` is (head_dim,), or as wide as a row, which is normed as one head.
    fn head_norm(&mut self, x: &mut Self::Buffer, weight: &Self::Weight, eps: f32);
    /// The RMS norm of each of `n_groups` equal parts of a row of x on its own; `weight` is as wide as a row.
    fn group_norm(&mut self, x: &mut Self::Buffer, weight: &Self::Weight, n_groups: usize, eps: f32);
    /// Rotates the first `angles.dims` numbers of every head of x.
    fn rope(&mut self, x: &mut Self::Buffer, head_dim: usize, angles: &Angles);
    /// Writes k (n, n_kv_heads × key_width) and v (n, n_kv_heads × value_width) of a layer to the slots of the batch's rows. In
    /// a latent cache v (n, rank) is the value and k (n, rope_width) are the numbers that the key has beside it.
    fn store_kv(
        &mut self,
        pool: &mut Self::KvPool,
        layer: LayerIdx,
        k: &Self::Buffer,
        v: &Self::Buffer,
        batch: &Batch,
    );
    /// out (n, n_heads × value_width) = softmax(q kᵀ) v of q (n, n_heads × key_width), each row over its sequence's positions up
    /// to its own.
    /// Keys and values are read from the pool only, this step's too. The softmax of a query head is over the scores and, with
    /// `sinks` (n_heads,), one more, which is neither scaled nor squashed and whose share of the values is nothing. In a latent
    /// cache there is one KV head, and a key is its value followed by what is stored beside it.
    fn attend(
        &mut self,
        out: &mut Self::Buffer,
        q: &Self::Buffer,
        pool: &Self::KvPool,
        batch: &Batch,
        attention: &Attention,
        sinks: Option<&Self::Weight>,
    );
    /// gate = activation(gate) * up.
    fn glu(&mut self, gate: &mut Self::Buffer, up: &Self::Buffer, activation: Activation);
    /// x = activation(x).
    fn activate(&mut self, x: &mut Self::Buffer, activation: Activation);
    /// x (n, width) = x * sigmoid(gate), where each number of `gate` (n, a divisor of width) applies to as many neighbouring
    /// numbers of x.
    fn sigmoid_gate(&mut self, x: &mut Self::Buffer, gate: &Self::Buffer);
    /// out (n, dim) = the sum of every row's chosen experts, weighed.
    fn experts(&mut self, out: &mut Self::Buffer, experts: Experts<'_, Self::Weight, Self::Buffer>);
    /// out (rows.len(), width) = the named rows of x.
    fn take_rows(&mut self, out: &mut Self::Buffer, x: &Self::Buffer, rows: &[usize]);
    /// out (n, its width) = the columns of x from `first` on.
    fn take_columns(&mut self, out: &mut Self::Buffer, x: &Self::Buffer, first: usize);
    /// x = cap * tanh(x / cap).
    fn softcap(&mut self, x: &mut Self::Buffer, cap: f32);
    /// out = activation(depthwise causal convolution of x over the positions of each sequence + bias).
    fn causal_conv(&mut self, op: CausalConv<'_, Self::Weight, Self::Buffer, Self::KvPool>);
    /// out = read-outs of the gated delta rule, whose matrices are continued.
    fn delta_rule(&mut self, op: DeltaRule<'_, Self::Weight, Self::Buffer, Self::KvPool>);
    /// out = what the states of a state-space layer give for x, B and C, row after row.
    fn ssm_scan(&mut self, op: SsmScan<'_, Self::Weight, Self::Buffer, Self::KvPool>);

    /// This device has a compound operation that is not its plain path.
    const HAS_COMPOUNDS: bool = false;
    /// Norm and products of the normed rows.
    fn norm_matmul(&mut self, op: NormMatmul<'_, Self::Weight, Self::Buffer>) {
        op.plain(self);
    }
    /// Product and sum with the residual stream.
    fn matmul_add(&mut self, op: MatmulAdd<'_, Self::Weight, Self::Buffer>) {
        op.plain(self);
    }
    /// Gate, product and sum with the residual stream.
    fn glu_matmul(&mut self, op: GluMatmul<'_, Self::Weight, Self::Buffer>) {
        op.plain(self);
    }
    /// Biases, norms and rotation of heads, storing and attention.
    fn attend_heads(&mut self, op: AttendHeads<'_, Self::Weight, Self::Buffer, Self::KvPool>) {
        op.plain(self);
    }
    /// Experts and sum with the residual stream.
    fn experts_add(&mut self, op: ExpertsAdd<'_, Self::Weight, Self::Buffer>) {
        op.plain(self);
    }

    /// Sampling on this device; `None` on one that leaves it to the host.
    fn device_sampling(&mut self) -> Option<&mut dyn DeviceSampling<Self::Weight, Self::Buffer>> {
        None
    }
    /// Times the device's kernels from now on; `None` on one that runs operations as they are called, or has no clock.
    fn time_kernels(&mut self) -> Option<&mut dyn KernelTimes> {
        None
    }
}
