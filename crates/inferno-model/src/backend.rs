//! What a device does for the transformer: about a dozen operations of a model, not tensor algebra.
//!
//! The transformer calls them in order and looks at nothing in between, so a CPU runs them and a GPU records
//! them. Their meaning is [`crate::reference`], to the bit but for attention, which a backend may sum in an order of
//! its own; [`crate::conformance`] holds it to that.

use inferno_format::DType;

use crate::architecture::{Activation, CacheGroup, Routing};
use crate::batch::{Batch, PageId};
use crate::error::{BackendError, StepError};
use crate::rope::Angles;

/// A tensor on its way from the file to a backend: `n_experts` matrices of (rows, cols), row by row.
#[derive(Debug, Clone)]
pub struct HostTensor {
    /// GGUF name, for messages.
    pub name: String,
    /// How `bytes` encode the numbers.
    pub dtype: DType,
    /// 1 unless the tensor stacks experts.
    pub n_experts: usize,
    /// Output width of one matrix; 1 for a vector.
    pub rows: usize,
    /// Input width, or the length of a vector.
    pub cols: usize,
    /// The file's encoding, unchanged.
    pub bytes: Vec<u8>,
}

/// What a KV pool holds.
#[derive(Debug, Clone)]
pub struct KvShape {
    /// Layers by page table, and how many pages each group gets.
    pub groups: Vec<(CacheGroup, usize)>,
    /// Numbers in one position's keys of one layer; as many in its values.
    pub width: usize,
    /// What keys and values are rounded to when stored.
    pub kv_type: KvType,
}

/// How keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KvType {
    /// As computed.
    #[default]
    F32,
    /// Rounded to half precision.
    F16,
}

impl KvType {
    /// Bytes of `width` numbers.
    pub fn row_bytes(self, width: usize) -> usize {
        match self {
            KvType::F32 => 4 * width,
            KvType::F16 => 2 * width,
        }
    }
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

/// A device that runs one model's steps. A buffer is (n_rows, width) of f32; an operation gives its output as
/// many rows as its input has. In the shapes below `n` is that number of rows.
pub trait Backend {
    /// A tensor in the layout this device computes with.
    type Weight;
    /// Activations.
    type Buffer;
    /// Keys and values of all sequences.
    type KvPool;

    /// Packs a tensor. Its bytes are dropped: nothing borrows from the file.
    fn upload(&mut self, tensor: HostTensor) -> Result<Self::Weight, BackendError>;
    /// A buffer of rows of `width`; it grows to the largest batch seen.
    fn buffer(&mut self, width: usize) -> Result<Self::Buffer, BackendError>;
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
        weights: &ExpertWeights<Self::Weight>,
        routing: &Routing,
        activation: Activation,
    );
    /// out (rows.len(), width) = the named rows of x.
    fn take_rows(&mut self, out: &mut Self::Buffer, x: &Self::Buffer, rows: &[usize]);
    /// x = cap * tanh(x / cap).
    fn softcap(&mut self, x: &mut Self::Buffer, cap: f32);
    /// Waits for everything asked so far and copies x to `out`, row after row.
    fn read(&mut self, x: &Self::Buffer, out: &mut Vec<f32>) -> Result<(), StepError>;

    /// Copies a page of cache group `group`.
    fn copy_page(&mut self, pool: &mut Self::KvPool, group: usize, from: PageId, to: PageId);
    /// The bytes of a page, to be given to [`Backend::write_page`] of the same kind of pool.
    fn read_page(&mut self, pool: &Self::KvPool, group: usize, page: PageId) -> Result<Vec<u8>, StepError>;
    /// Puts back what [`Backend::read_page`] gave.
    fn write_page(&mut self, pool: &mut Self::KvPool, group: usize, page: PageId, bytes: &[u8]);
}
