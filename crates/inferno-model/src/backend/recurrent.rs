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
