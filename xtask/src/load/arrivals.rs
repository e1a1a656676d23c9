//! Requests that begin at fixed times, whatever becomes of those before.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

pub(crate) struct Arrivals {
    start: Instant,
    /// Per second.
    rate: f64,
    next: AtomicU64,
}

impl Arrivals {
    pub(crate) fn new(start: Instant, rate: f64) -> Arrivals {
        Arrivals { start, rate, next: AtomicU64::new(0) }
    }

    /// Waits for a request's time, which belongs to the caller alone.
    pub(crate) fn wait(&self) -> Instant {
        let due = self.start + Duration::from_secs_f64(self.next.fetch_add(1, Relaxed) as f64 / self.rate);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        due
    }
}
