//! Operations of recurrent layers: each continues the states of a batch's sequences.
//!
//! A span reads the state from the page that holds the position before its first row, zeros at the start of a sequence, and writes
//! the state after its last row to the page of that row's position ([`Batch::states`]). Several operations of a layer have parts of its
//! state of their own, which they name by the number where theirs begins. `n` is the number of rows.

use super::LayerIdx;
use crate::architecture::Activation;
use crate::batch::Batch;

/// Largest number of positions that a [`CausalConv`] sees.
pub const MOST_TAPS: usize = 16;

/// A depthwise causal convolution over positions: out = activation(Σ weight of tap t × x of the position `kernel - 1 - t` before + bias).
///
/// A sum begins with the bias, or zero, and is one chain of fused multiply-adds, the oldest position first. The state is the tail of the
/// sequence, (kernel - 1, channels) of x, the oldest row first.
#[derive(Debug)]
pub struct CausalConv<'a, W, T, P> {
    /// (n, channels)
    pub out: &'a mut T,
    /// (n, channels)
    pub x: &'a T,
    /// (kernel, channels), uploaded by [`DeviceMemory::upload_vectors`](super::DeviceMemory::upload_vectors); the last one multiplies
    /// the row's own position
    pub weight: &'a W,
    /// Positions that a row sees, its own included, from 1 to [`MOST_TAPS`].
    pub kernel: usize,
    /// (channels,)
    pub bias: Option<&'a W>,
    /// Applied to the sums.
    pub activation: Option<Activation>,
    /// Where states are.
    pub pool: &'a mut P,
    /// The layer whose states are continued.
    pub layer: LayerIdx,
    /// Number of the layer's state where the tail begins.
    pub at: usize,
    /// The step.
    pub batch: &'a Batch,
}

/// The gated delta rule (<https://arxiv.org/abs/2412.06464>), one row after the other: a value head's state S is (width, width), and a row
/// with key k, value v, query q, decay g and strength β does
///
/// ```text
/// S ← g S        every row of S by its own number of g (KDA, https://arxiv.org/abs/2510.26692), or all by one
/// δ = β (v - Sᵀ k)
/// S ← S + k δᵀ
/// out = Sᵀ q
/// ```
///
/// Queries and keys are normed to length 1 first, `x / √(Σx² + 1e-6)`, and queries multiplied by `1/√width`. `g = e^(a · softplus(alpha + dt))`,
/// `β = σ(beta)`. Sums over rows of S are four chains of fused multiply-adds, of every fourth row each, added up as (0 + 1) + (2 + 3).
#[derive(Debug)]
pub struct DeltaRule<'a, W, T, P> {
    /// (n, n_value_heads × width)
    pub out: &'a mut T,
    /// Queries, (n, n_key_heads × width)
    pub q: Columns<'a, T>,
    /// Keys, (n, n_key_heads × width)
    pub k: Columns<'a, T>,
    /// Values, (n, n_value_heads × width)
    pub v: Columns<'a, T>,
    /// (n, n_value_heads), logits of the strengths
    pub beta: &'a T,
    /// (n, n_value_heads), or (n, n_value_heads × width) where every row of a state has its own decay
    pub alpha: &'a T,
    /// (n_value_heads,), below zero
    pub ssm_a: &'a W,
    /// As wide as `alpha`, which it is added to.
    pub ssm_dt: &'a W,
    /// Heads and their widths.
    pub heads: DeltaHeads,
    /// Where states are.
    pub pool: &'a mut P,
    /// The layer whose states are continued.
    pub layer: LayerIdx,
    /// Number of the layer's state where the matrices begin, those of a head after those of the one before. The order of a matrix's numbers
    /// is the backend's own.
    pub at: usize,
    /// The step.
    pub batch: &'a Batch,
}

/// Columns of a buffer from one on.
#[derive(Debug)]
pub struct Columns<'a, T> {
    /// (n, at least `first` and the columns that are used)
    pub x: &'a T,
    /// The first of them.
    pub first: usize,
}

/// Heads of a delta-net.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeltaHeads {
    /// Heads of queries and keys.
    pub n_key_heads: usize,
    /// Heads of values, a multiple.
    pub n_value_heads: usize,
    /// Numbers in a head, up to [`MOST_HEAD_WIDTH`].
    pub width: usize,
    /// The key head of a value head.
    pub order: HeadOrder,
}

/// Largest width of a [`DeltaHeads`].
pub const MOST_HEAD_WIDTH: usize = 512;

/// Added to the sum of squares of a query or a key before its root.
pub const UNIT_EPS: f32 = 1e-6;

/// The key head that a value head uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadOrder {
    /// Value heads that follow each other have key heads that follow each other: number modulo key heads.
    Alternating,
    /// Value heads of one key head follow each other.
    Grouped,
}

impl DeltaHeads {
    /// Numbers of all queries, and of all keys.
    pub fn key_dim(&self) -> usize {
        self.n_key_heads * self.width
    }

    /// Numbers of all values.
    pub fn value_dim(&self) -> usize {
        self.n_value_heads * self.width
    }

    /// Numbers of all matrices.
    pub fn state_width(&self) -> usize {
        self.value_dim() * self.width
    }

    /// The key head of a value head.
    pub fn key_head(&self, value_head: usize) -> usize {
        match self.order {
            HeadOrder::Alternating => value_head % self.n_key_heads,
            HeadOrder::Grouped => value_head / (self.n_value_heads / self.n_key_heads),
        }
    }
}
