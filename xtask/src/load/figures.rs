//! Many durations, and what is told of them.

use std::time::Duration;

use serde_json::{Value as Json, json};

/// Durations in microseconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Times(Vec<u32>);

/// In milliseconds; not numbers if there was none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    pub(crate) n: usize,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Times {
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
    }

    pub(crate) fn append(&mut self, other: &Times) {
        self.0.extend_from_slice(&other.0);
    }

    pub(crate) fn summary(&self) -> Summary {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let ms = |share| percentile(&sorted, share).map_or(f64::NAN, |us| f64::from(us) / 1000.0);
        Summary { n: sorted.len(), p50: ms(0.5), p90: ms(0.9), p99: ms(0.99), max: ms(1.0) }
    }
}

impl Summary {
    pub(super) fn to_json(self) -> Json {
        json!({ "n": self.n, "p50_ms": self.p50, "p90_ms": self.p90, "p99_ms": self.p99, "max_ms": self.max })
    }
}

/// The least number that is not exceeded by this share of all (nearest rank).
fn percentile(sorted: &[u32], share: f64) -> Option<u32> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// What a bar says: not a number is never within it.
pub(super) fn is_at_most(x: f64, bar: f64) -> bool {
    x <= bar
}

/// See [`is_at_most`].
pub(super) fn is_at_least(x: f64, bar: f64) -> bool {
    x >= bar
}

/// What good clients saw in one phase.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Figures {
    pub(super) done: usize,
    pub(super) failed: usize,
    /// Of requests that are done.
    pub(super) tokens: u64,
    /// From the request to the first text.
    pub(super) first: Times,
    /// From text to text.
    pub(super) gaps: Times,
}

impl Figures {
    pub(super) fn append(&mut self, other: &Figures) {
        self.done += other.done;
        self.failed += other.failed;
        self.tokens += other.tokens;
        self.first.append(&other.first);
        self.gaps.append(&other.gaps);
    }
}
