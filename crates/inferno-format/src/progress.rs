//! Progress of reading tensors.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Bytes of tensors read from a [`Gguf`](crate::Gguf) so far, and a way to stop reading from another thread.
#[derive(Debug, Default)]
pub struct ReadProgress {
    n_read: AtomicU64,
    is_stopped: AtomicBool,
}

impl ReadProgress {
    /// Bytes read so far; bytes that are read twice count twice.
    pub fn n_read(&self) -> u64 {
        self.n_read.load(Ordering::Relaxed)
    }

    /// Makes every later read of a tensor fail.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, n_bytes: u64) {
        self.n_read.fetch_add(n_bytes, Ordering::Relaxed);
    }
}
