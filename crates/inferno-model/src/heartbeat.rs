//! A sign of life from inside a step.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what is done inside of steps. Who watches can tell a long step from one that hangs.
#[derive(Debug, Default)]
pub struct Heartbeat(AtomicU64);

impl Heartbeat {
    /// Something was done.
    pub fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Beats since the start.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
