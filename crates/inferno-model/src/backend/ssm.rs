//! The operation of Mamba-2.

use super::LayerIdx;
use crate::batch::Batch;

/// Columns of a head's state that lie together.
pub const SSM_COLUMNS: usize = 16;

/// Partial sums of a product with the state: number `i` of a column goes to sum `i % SSM_SUMS`.
pub const SSM_SUMS: usize = 4;

/// Heads and widths of a state-space layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SsmShape {
    /// Heads; `n_heads / n_groups` neighbours share B and C.
    pub n_heads: usize,
    /// Numbers of a head in x and in the output: columns of its state.
    pub head_width: usize,
    /// Vectors B, and vectors C, of a row.
    pub n_groups: usize,
    /// Numbers of a B, of a C, and of a column of a state.
    pub state_size: usize,
}

impl SsmShape {
    /// Numbers of a row in all heads.
    pub fn inner(&self) -> usize {
        self.n_heads * self.head_width
    }

    /// Numbers of a row of x, B and C together.
    pub fn xbc_width(&self) -> usize {
        self.inner() + 2 * self.n_groups * self.state_size
    }

    /// Blocks of [`SSM_COLUMNS`] in a head's state.
    pub fn n_blocks(&self) -> usize {
        self.head_width.div_ceil(SSM_COLUMNS)
    }

    /// Numbers of the states of all heads, the last block of each filled up.
    pub fn state_len(&self) -> usize {
        self.n_heads * self.n_blocks() * SSM_COLUMNS * self.state_size
    }
}

/// The recurrence of Mamba-2 (<https://arxiv.org/abs/2405.21060>), one position after the other. For each head, with
/// `dt = softplus(dt + dt_bias)` and S of (state_size, head_width):
///
/// ```text
/// S ← e^(dt · a) S + B (dt · x)ᵀ        out = Sᵀ C + d · x
/// ```
///
/// A number of S is one fused multiply-add, of `dt * x * B` and the product of S with the decay. A number of the output is the sum of
/// [`SSM_SUMS`] chains of fused multiply-adds, `(0 + 1) + (2 + 3)`, to which `d * x` is added by another. Heads' states follow each
/// other in the layer's state, each in blocks of [`SSM_COLUMNS`]: (n_heads, n_blocks, state_size, [`SSM_COLUMNS`]).
#[derive(Debug)]
pub struct SsmScan<'a, W, T, P> {
    /// (n, n_heads × head_width)
    pub out: &'a mut T,
    /// (n, n_heads × head_width + 2 × n_groups × state_size): x, B and C
    pub xbc: &'a T,
    /// (n, n_heads), without bias
    pub dt: &'a T,
    /// (n_heads,)
    pub dt_bias: &'a W,
    /// (n_heads,), below zero
    pub a: &'a W,
    /// (n_heads,)
    pub d: &'a W,
    /// Heads and widths.
    pub shape: SsmShape,
    /// Where states are.
    pub pool: &'a mut P,
    /// The layer whose states are continued.
    pub layer: LayerIdx,
    /// Number of the layer's state where those of the heads begin.
    pub at: usize,
    /// The step.
    pub batch: &'a Batch,
}
