//! Capabilities that some devices have: a backend returns the type or `None`, so that no method is there without an
//! implementation.

use std::ops::Range;
use std::time::Duration;

use crate::sample::Pick;

/// Sampling on the device: tokens need not come to the host before they are embedded. `W` and `B` are the backend's
/// weights and buffers.
pub trait DeviceSampling<W, B> {
    /// Rows `first..` of out (total, 1) = the tokens that `picks` choose from rows of x, as numbers; -1 where no logit is a
    /// number. [`Pick::choose`] is the definition.
    fn choose(&mut self, out: &mut B, first: usize, total: usize, x: &B, picks: &[Pick]);
    /// As [`Backend::embed`](super::Backend::embed), for the tokens in those rows of `chosen`; any token where none was
    /// chosen.
    fn embed_chosen(&mut self, out: &mut B, table: &W, chosen: &B, rows: Range<usize>, scale: f32);
}

/// Times of a device's kernels, measured by the device itself.
pub trait KernelTimes {
    /// Kernels since the last call, as far as results have been read; each name once.
    fn take(&mut self) -> Vec<KernelTime>;
}

/// Time of all calls of a kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KernelTime {
    /// The kernel.
    pub name: &'static str,
    /// Number of calls.
    pub n_calls: u64,
    /// Number of calls whose time was measured: a sample, if reading the clock costs more than the calls it is read around.
    pub n_timed: u64,
    /// Time of all calls, estimated from those that were measured.
    pub time: Duration,
}
