//! The rate at which all threads together read memory: the limit of a decode step, which reads every weight once.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::time::Instant;

use inferno_model::error::BackendError;

use crate::isa::{Isa, IsaError};
use crate::kernels::Kernels;
use crate::memory::{Region, Shares};
use crate::pool::Pool;

/// Regions that are read in turn: each is out of the caches again when its turn comes, and no single one decides by where the
/// system has put it.
const N_REGIONS: usize = 4;

/// Bytes of a task. Small enough that threads end together.
const TASK: usize = 1 << 20;

/// Bytes ahead of the reads at which lines are prefetched, pass by pass: as the kernels of products do it, nearer, and by the
/// hardware alone. Which is fastest depends on the processor.
const AHEAD: [usize; 3] = [4096, 1024, 0];

/// Memory that is read as decoding reads weights: in huge pages, by a pool of threads, with the loads and prefetches of an
/// instruction set.
pub struct StreamingRead {
    kernels: Kernels,
    pool: Pool,
    regions: Vec<Region>,
}

impl StreamingRead {
    /// About `n_bytes` of memory, all written, and `n_threads` threads, the caller's included. The caches should hold a
    /// quarter of it at most.
    ///
    /// # Errors
    /// The machine lacks the instruction set, the memory or the threads.
    pub fn new(isa: Isa, n_threads: NonZeroUsize, n_bytes: usize) -> Result<StreamingRead, BackendError> {
        let isa = isa.check().map_err(|e: IsaError| BackendError { what: e.to_string() })?;
        let refused = |e| BackendError { what: format!("the system gives no {n_threads} threads: {e}") };
        let mut pool = Pool::new(n_threads).map_err(refused)?;
        let len = n_bytes.div_ceil(N_REGIONS).next_multiple_of(4096);
        let mut regions = Vec::new();
        for _ in 0..N_REGIONS {
            let mut region = Region::new(len, &|| "measuring how fast memory is read".into())?;
            let bytes = Shares::new(region.bytes_mut());
            // Memory that was never written may be one page of zeros, in the cache.
            pool.run(len.div_ceil(TASK), &|i| {
                // SAFETY: the tasks' ranges do not overlap.
                unsafe { bytes.at(i * TASK..len.min((i + 1) * TASK)) }.fill(1);
            });
            regions.push(region);
        }
        Ok(StreamingRead { kernels: Kernels::of(isa), pool, regions })
    }

    /// Bytes that are read, of all regions.
    pub fn n_bytes(&self) -> usize {
        self.regions.iter().map(|region| region.bytes().len()).sum()
    }

    /// Bytes per second of the fastest of a dozen reads, each of one region by all threads. As a limit is asked for, callers
    /// with several measurements take the most.
    pub fn measure(&mut self) -> f64 {
        let StreamingRead { kernels, pool, regions } = self;
        let mut best = 0.0f64;
        for ahead in AHEAD {
            for region in &*regions {
                let bytes = region.bytes();
                let start = Instant::now();
                pool.run(bytes.len().div_ceil(TASK), &|i| {
                    let mut seen = [0; 64];
                    (kernels.stream)(&mut seen, &bytes[i * TASK..bytes.len().min((i + 1) * TASK)], ahead);
                    black_box(seen);
                });
                best = best.max(bytes.len() as f64 / start.elapsed().as_secs_f64());
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_sees_every_line_on_every_level() {
        for isa in Isa::available() {
            let kernels = Kernels::of(isa);
            let read = |bytes: &[u8], ahead| {
                let mut seen = [0; 64];
                (kernels.stream)(&mut seen, bytes, ahead);
                seen
            };
            let mut bytes = vec![0; 64 << 10];
            let nothing = read(&bytes, 0);
            for line in 0..bytes.len() / 64 {
                bytes[64 * line + line % 64] = 1;
                for ahead in AHEAD {
                    assert_ne!(read(&bytes, ahead), nothing, "{isa}: line {line}");
                }
                bytes[64 * line + line % 64] = 0;
            }
        }
    }

    #[test]
    fn all_of_the_memory_is_written_and_read() {
        for n_bytes in [1, 3 << 20, (9 << 20) + 5] {
            let mut read = StreamingRead::new(Isa::best(), NonZeroUsize::new(3).unwrap(), n_bytes).unwrap();
            assert!((n_bytes..n_bytes + N_REGIONS * 4096).contains(&read.n_bytes()), "{}", read.n_bytes());
            assert!(read.regions.iter().all(|region| region.bytes().iter().all(|&x| x == 1)));
            let rate = read.measure();
            assert!(rate.is_finite() && rate > 0.0);
        }
    }
}
