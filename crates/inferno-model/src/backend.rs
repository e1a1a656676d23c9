//! What a device does for the transformer: about a dozen operations of a model, not tensor algebra.
//!
//! The transformer calls them in order and looks at nothing in between, so a CPU runs them and a GPU records
//! them. Their meaning is [`crate::reference`]; how near to it a backend must come is what it promises to
//! [`crate::conformance`].

use std::ops::Range;
use std::time::Duration;

use half::{bf16, f16};
use inferno_format::{DType, FormatError, Gguf, TensorEntry};

use crate::architecture::{Activation, CacheGroup, Routing};
use crate::batch::{Batch, PageId};
use crate::error::{BackendError, LoadError, StepError};
use crate::rope::Angles;
use crate::sample::Pick;

/// A tensor on its way from the file to a backend: `n_experts` matrices of (rows, cols), row by row.
#[derive(Debug, Clone)]
pub struct HostTensor<'a> {
    /// GGUF name, for messages.
    pub name: String,
    /// How the bytes encode the numbers.
    pub dtype: DType,
    /// 1 unless the tensor stacks experts.
    pub n_experts: usize,
    /// Output width of one matrix; 1 for a vector.
    pub rows: usize,
    /// Input width, or the length of a vector.
    pub cols: usize,
    /// Where the bytes are.
    pub source: Source<'a>,
}

/// Where a tensor's rows are, in the file's encoding.
#[derive(Debug, Clone)]
pub enum Source<'a> {
    /// All rows, end to end.
    Memory(&'a [u8]),
    /// In one tensor of a file, or in one each for every expert.
    File {
        /// The file.
        file: &'a Gguf,
        /// Equal shares of the rows, in order: a tensor, and the row of it where the share begins.
        parts: Vec<(&'a TensorEntry, usize)>,
    },
}

impl HostTensor<'_> {
    /// Rows of all experts.
    pub fn n_rows(&self) -> usize {
        self.n_experts * self.rows
    }

    /// Bytes of one row.
    pub fn row_bytes(&self) -> usize {
        self.dtype.row_bytes(self.cols).expect("the tensor table has whole rows")
    }

    /// Fills `out` with whole rows from row `first` on, counted over all experts. Threads may read at the same time.
    pub fn read_rows(&self, first: usize, out: &mut [u8]) -> Result<(), FormatError> {
        let row_bytes = self.row_bytes();
        match &self.source {
            Source::Memory(bytes) => out.copy_from_slice(&bytes[first * row_bytes..][..out.len()]),
            Source::File { file, parts } => {
                let share = self.n_rows() / parts.len();
                let (mut row, mut out) = (first, out);
                while !out.is_empty() {
                    let (entry, start) = parts[row / share];
                    let n_rows = (share - row % share).min(out.len() / row_bytes);
                    let (now, rest) = out.split_at_mut(n_rows * row_bytes);
                    file.read_at(entry, ((start + row % share) * row_bytes) as u64, now)?;
                    (row, out) = (row + n_rows, rest);
                }
            }
        }
        Ok(())
    }
}

/// What a KV pool holds.
#[derive(Debug, Clone)]
pub struct KvShape {
    /// Layers by page table, and how many pages each group gets.
    pub groups: Vec<(CacheGroup, usize)>,
    /// Key heads of a layer; as many value heads.
    pub n_kv_heads: usize,
    /// Numbers of one position in a head.
    pub head_dim: usize,
    /// What keys and values are rounded to when stored.
    pub kv_type: KvType,
}

impl KvShape {
    /// One more than the highest layer.
    pub fn n_layers(&self) -> usize {
        let layers = self.groups.iter().flat_map(|(group, _)| &group.layers);
        layers.max().map_or(0, |&last| last + 1)
    }

    /// Numbers in one position's keys of one layer; as many in its values.
    pub fn width(&self) -> usize {
        self.n_kv_heads * self.head_dim
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

    /// Bytes of one position in a head.
    pub fn head_bytes(self, head_dim: usize) -> usize {
        match self {
            KvType::F32 => 4 * head_dim,
            KvType::F16 | KvType::Bf16 => 2 * head_dim,
            KvType::Q8_0 => head_dim + 2 * head_dim.div_ceil(KV_BLOCK),
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
    /// Width of a head.
    pub head_dim: usize,
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

/// The three stacked matrices of a layer's experts.
#[derive(Debug)]
pub struct ExpertWeights<W> {
    /// (n_experts, ffn_dim, dim)
    pub ffn_gate_exps: W,
    /// (n_experts, ffn_dim, dim)
    pub ffn_up_exps: W,
    /// (n_experts, dim, ffn_dim)
    pub ffn_down_exps: W,
}

impl<W> ExpertWeights<W> {
    /// The same, borrowed.
    pub fn as_ref(&self) -> ExpertWeights<&W> {
        let ExpertWeights { ffn_gate_exps, ffn_up_exps, ffn_down_exps } = self;
        ExpertWeights { ffn_gate_exps, ffn_up_exps, ffn_down_exps }
    }
}

/// A device that runs one model's steps. A buffer is (n_rows, width) of f32; an operation gives its output as
/// many rows as its input has. In the shapes below `n` is that number of rows.
pub trait Backend {
    /// A tensor in the layout this device computes with.
    type Weight;
    /// Activations.
    type Buffer;
    /// Keys and values of all sequences.
    type KvPool;

    /// Reads and packs a tensor: nothing borrows from the file afterwards.
    fn upload(&mut self, tensor: &HostTensor<'_>) -> Result<Self::Weight, LoadError>;
    /// The same for matrices that are multiplied with the same input by one call: a device may keep them together.
    fn upload_together(&mut self, tensors: &[HostTensor<'_>]) -> Result<Vec<Self::Weight>, LoadError> {
        tensors.iter().map(|tensor| self.upload(tensor)).collect()
    }
    /// A buffer of rows of `width`; it grows to the largest batch seen.
    fn buffer(&mut self, width: usize) -> Result<Self::Buffer, BackendError>;
    /// How this device attends to keys and values of that type.
    fn attention_rule(&self, _kv_type: KvType) -> AttentionRule {
        AttentionRule::Floats
    }
    /// Room for keys and values.
    fn kv_pool(&mut self, shape: &KvShape) -> Result<Self::KvPool, BackendError>;

    /// out (n, cols) = rows `tokens` of `table`, times `scale`.
    fn embed(&mut self, out: &mut Self::Buffer, table: &Self::Weight, tokens: &[u32], scale: f32);
    /// out = x / rms(x) * weight, per row.
    fn rms_norm(&mut self, out: &mut Self::Buffer, x: &Self::Buffer, weight: &Self::Weight, eps: f32);
    /// Every out (n, rows of its weight) = x (n, cols) × its weightᵀ. The input is quantized once for all.
    fn matmul(&mut self, outs: &mut [&mut Self::Buffer], weights: &[&Self::Weight], x: &Self::Buffer);
    /// x += y.
    fn add(&mut self, x: &mut Self::Buffer, y: &Self::Buffer);
    /// x += bias, per row.
    fn add_bias(&mut self, x: &mut Self::Buffer, bias: &Self::Weight);
    /// The RMS norm of every head of x on its own; `weight` is (head_dim,).
    fn head_norm(&mut self, x: &mut Self::Buffer, weight: &Self::Weight, eps: f32);
    /// Rotates the first `angles.dims` numbers of every head of x.
    fn rope(&mut self, x: &mut Self::Buffer, head_dim: usize, angles: &Angles);
    /// Writes k and v (n, width) of a layer to the slots of the batch's rows.
    fn store_kv(
        &mut self,
        pool: &mut Self::KvPool,
        layer: LayerIdx,
        k: &Self::Buffer,
        v: &Self::Buffer,
        batch: &Batch,
    );
    /// out (n, n_heads × head_dim) = softmax(q kᵀ) v, each row over its sequence's positions up to its own.
    /// Keys and values are read from the pool only, this step's too.
    fn attend(
        &mut self,
        out: &mut Self::Buffer,
        q: &Self::Buffer,
        pool: &Self::KvPool,
        batch: &Batch,
        attention: &Attention,
    );
    /// gate = activation(gate) * up.
    fn glu(&mut self, gate: &mut Self::Buffer, up: &Self::Buffer, activation: Activation);
    /// out (n, dim) = the sum of every row's chosen experts, weighed by `router` (n, n_experts), its logits.
    fn experts(
        &mut self,
        out: &mut Self::Buffer,
        x: &Self::Buffer,
        router: &Self::Buffer,
        weights: ExpertWeights<&Self::Weight>,
        routing: &Routing,
        activation: Activation,
    );
    /// out (rows.len(), width) = the named rows of x.
    fn take_rows(&mut self, out: &mut Self::Buffer, x: &Self::Buffer, rows: &[usize]);
    /// x = cap * tanh(x / cap).
    fn softcap(&mut self, x: &mut Self::Buffer, cap: f32);
    /// Does this device choose tokens itself? Then it has [`Backend::choose`] and [`Backend::embed_chosen`], and tokens that
    /// were chosen need not come to the host before they are embedded.
    fn chooses(&self) -> bool {
        false
    }
    /// Rows `first..` of out (total, 1) = the tokens that `picks` choose from rows of x, as numbers; -1 where no logit is a
    /// number. [`Pick::choose`] is the definition.
    fn choose(
        &mut self,
        _out: &mut Self::Buffer,
        _first: usize,
        _total: usize,
        _x: &Self::Buffer,
        _picks: &[Pick],
    ) {
        unreachable!("a device that chooses has this")
    }
    /// As [`Backend::embed`], for the tokens in those rows of `chosen`. Where none was chosen any will do.
    fn embed_chosen(
        &mut self,
        _out: &mut Self::Buffer,
        _table: &Self::Weight,
        _chosen: &Self::Buffer,
        _rows: Range<usize>,
        _scale: f32,
    ) {
        unreachable!("a device that chooses has this")
    }
    /// x (n, width) = these numbers, row after row.
    fn write(&mut self, x: &mut Self::Buffer, numbers: &[f32]);
    /// Waits for everything asked so far and copies x to `out`, row after row.
    fn read(&mut self, x: &Self::Buffer, out: &mut Vec<f32>) -> Result<(), StepError>;
    /// Asks a device that runs operations later to measure itself what they take; whether it can.
    fn measure_itself(&mut self) -> bool {
        false
    }
    /// What it measured since the last call: kernels and times.
    fn take_times(&mut self) -> Vec<(&'static str, Duration)> {
        Vec::new()
    }
    /// Waits for everything asked so far, where nothing of it is read.
    fn finish(&mut self) -> Result<(), StepError> {
        Ok(())
    }

    /// Copies a page of cache group `group`.
    fn copy_page(&mut self, pool: &mut Self::KvPool, group: usize, from: PageId, to: PageId);
    /// The bytes of a page, to be given to [`Backend::write_page`] of the same kind of pool.
    fn read_page(&mut self, pool: &Self::KvPool, group: usize, page: PageId) -> Result<Vec<u8>, StepError>;
    /// Puts back what [`Backend::read_page`] gave.
    fn write_page(&mut self, pool: &mut Self::KvPool, group: usize, page: PageId, bytes: &[u8]);
}
