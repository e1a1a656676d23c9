//! How fast this machine reads memory from one end to the other, or a GPU copies its own: what a decode step cannot exceed.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

use crate::load::Copying;

/// Times the buffer is read per sample: a tenth of a second or so.
const N_PASSES: usize = 3;

/// What memory allows.
pub(super) enum Limit {
    /// Of the processor.
    Read(Stream),
    /// Of a GPU.
    Copy(Box<Copying>),
}

impl Limit {
    pub(super) fn n_bytes(&self) -> usize {
        match self {
            Limit::Read(stream) => stream.n_bytes(),
            Limit::Copy(copying) => copying.n_bytes() as usize,
        }
    }

    /// Bytes per second.
    pub(super) fn measure(&self) -> f64 {
        match self {
            Limit::Read(stream) => stream.measure(),
            Limit::Copy(copying) => copying.measure(),
        }
    }

    /// What is measured.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Limit::Read(_) => "streaming read",
            Limit::Copy(_) => "copy on the GPU",
        }
    }
}

/// A buffer larger than the caches, in one part per thread.
pub(in crate::commands) struct Stream {
    parts: Vec<Vec<u64>>,
}

impl Stream {
    /// A buffer of about `n_bytes`. Each part is written, so that it has memory, by a thread of its own.
    pub(in crate::commands) fn new(n_bytes: usize, n_threads: usize) -> Stream {
        let len = (n_bytes / 8 / n_threads).max(LANES);
        let fill = || (0..len as u64).collect::<Vec<u64>>();
        let parts = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..n_threads).map(|_| scope.spawn(fill)).collect();
            workers.into_iter().map(|w| w.join().expect("filling a buffer does not panic")).collect()
        });
        Stream { parts }
    }

    pub(super) fn n_bytes(&self) -> usize {
        self.parts.iter().map(|part| 8 * part.len()).sum()
    }

    /// Bytes per second over all threads, which start together: from the first start to the last end.
    pub(in crate::commands) fn measure(&self) -> f64 {
        let together = Barrier::new(self.parts.len());
        let spans: Vec<(Instant, Instant)> = std::thread::scope(|scope| {
            let read = |part: &[u64]| {
                together.wait();
                let start = Instant::now();
                for _ in 0..N_PASSES {
                    black_box(sum(black_box(part)));
                }
                (start, Instant::now())
            };
            let workers: Vec<_> = self.parts.iter().map(|part| scope.spawn(move || read(part))).collect();
            workers.into_iter().map(|w| w.join().expect("reading a buffer does not panic")).collect()
        });
        let start = spans.iter().map(|s| s.0).min().expect("there are threads");
        let end = spans.iter().map(|s| s.1).max().expect("there are threads");
        (N_PASSES * self.n_bytes()) as f64 / (end - start).as_secs_f64()
    }
}

/// Four cache lines a turn, each in a sum of its own: additions keep up with any memory.
const LANES: usize = 32;

fn sum(part: &[u64]) -> u64 {
    let mut sums = [0u64; LANES];
    for lanes in part.as_chunks::<LANES>().0 {
        for i in 0..LANES {
            sums[i] = sums[i].wrapping_add(lanes[i]);
        }
    }
    sums.iter().fold(0, |a, &b| a.wrapping_add(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_read() {
        let stream = Stream::new(3 << 20, 3);
        assert_eq!(stream.n_bytes(), 3 << 20);
        let n = (1 << 20) / 8u64;
        stream.parts.iter().for_each(|part| assert_eq!(sum(part), n * (n - 1) / 2));
        assert!(stream.measure() > 0.0);
    }
}
