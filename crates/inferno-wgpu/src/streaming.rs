//! The rate at which a device reads its memory: the limit of a decode step, which reads every weight once.

use std::time::{Duration, Instant};

use inferno_model::error::BackendError;

use crate::device::{Gpu, Storage};
use crate::kernels::{GROUP, Kernel, STREAM_VECTORS};
use crate::recorder::{Grid, Params, Recorder};

/// Buffers of a dispatch. A dispatch is long enough to hide the gap between two.
const N_BUFFERS: usize = 4;

/// Times that are measured, of which the least counts.
const N_SAMPLES: usize = 4;

/// Of a sample, at least: what the host does before and after is little beside it.
const LEAST_TIME: Duration = Duration::from_millis(10);

/// Of a sample, about the most: a device that is a processor in disguise reads less.
const MOST_TIME: Duration = Duration::from_millis(100);

/// Rounds of a sample, at most.
const MOST_ROUNDS: usize = 256;

/// Bytes of a workgroup.
const GROUP_BYTES: u64 = 16 * (GROUP * STREAM_VECTORS) as u64;

/// Buffers on a device of their own, read by a kernel that does nothing else.
pub struct StreamingRead {
    gpu: Gpu,
    recorder: Recorder,
    buffers: [Storage; N_BUFFERS],
    found: Storage,
    /// Workgroups that read a buffer.
    n_groups: u64,
    /// Times that a sample reads all buffers.
    n_rounds: usize,
}

impl StreamingRead {
    /// About `n_bytes` of the device's memory, or as much as its buffers may have.
    ///
    /// # Errors
    /// The device has not as much memory, or does not run the kernel.
    pub fn new(mut gpu: Gpu, n_bytes: u64) -> Result<StreamingRead, BackendError> {
        let n_bytes = (n_bytes / N_BUFFERS as u64).min(gpu.binding_bytes) / GROUP_BYTES * GROUP_BYTES;
        let what = || "measuring how fast memory is read".to_owned();
        let mut buffer = || gpu.storage(n_bytes.max(GROUP_BYTES), &what);
        let buffers = [buffer()?, buffer()?, buffer()?, buffer()?];
        let found = gpu.storage(4, &what)?;
        let recorder = Recorder::new(Recorder::first_uploads(&mut gpu)?);
        let n_groups = buffers[0].n_bytes / GROUP_BYTES;
        let mut read = StreamingRead { gpu, recorder, buffers, found, n_groups, n_rounds: 1 };
        // The first time, the kernel is compiled and zeros are written.
        read.sample()?;
        while read.n_groups > 1 && read.sample()? > MOST_TIME {
            read.n_groups /= 2;
        }
        while read.n_rounds < MOST_ROUNDS && read.sample()? < LEAST_TIME {
            read.n_rounds *= 2;
        }
        Ok(read)
    }

    /// Bytes that are read, of all buffers.
    pub fn n_bytes(&self) -> u64 {
        N_BUFFERS as u64 * self.n_groups * GROUP_BYTES
    }

    /// Bytes per second of the fastest of some samples; 0 if the device was lost.
    pub fn measure(&mut self) -> f64 {
        let mut least = Duration::MAX;
        for _ in 0..N_SAMPLES {
            match self.sample() {
                Ok(time) => least = least.min(time),
                Err(_) => return 0.0,
            }
        }
        self.n_rounds as f64 * self.n_bytes() as f64 / least.as_secs_f64()
    }

    /// The time that the device takes to read everything, `n_rounds` times.
    fn sample(&mut self) -> Result<Duration, BackendError> {
        let start = Instant::now();
        for _ in 0..self.n_rounds {
            let [a, b, c, d] = &self.buffers;
            let params = Params::default().uint((self.n_groups * GROUP_BYTES / 16) as usize).uint(1);
            let grid = Grid::Stacked(self.n_groups as usize, N_BUFFERS);
            let buffers = [a, b, c, d, &self.found].map(Some);
            self.recorder.dispatch(&self.gpu, Kernel::Stream, &buffers, &params, &grid);
        }
        self.recorder.finish(&mut self.gpu).map_err(|e| BackendError { what: e.to_string() })?;
        Ok(start.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::gpu;

    #[test]
    fn every_workgroup_reads_its_part() {
        let Some(gpu) = gpu() else { return };
        let n_bytes = 3 * N_BUFFERS as u64 * GROUP_BYTES;
        let mut read = StreamingRead::new(gpu, n_bytes).unwrap();
        read.n_groups = 3; // A slow device reads less.
        assert_eq!(read.n_bytes(), n_bytes);
        assert!(read.measure() > 0.0);
        let found = |read: &mut StreamingRead| {
            let (mut word, storage) = (0, read.found.clone());
            read.recorder.read(&mut read.gpu, &storage, (0, 4), |bytes| word = bytes[0]).unwrap();
            word
        };
        assert_eq!(found(&mut read), 0);
        // A word that the kernel looks for, in the last vectors of each buffer.
        for i in 0..N_BUFFERS {
            let (buffer, none) = (read.buffers[i].clone(), read.found.clone());
            read.gpu.queue.write_buffer(&none.buffer, 0, &[0; 4]);
            read.gpu.queue.write_buffer(&buffer.buffer, buffer.n_bytes - 20, &1u32.to_le_bytes());
            read.sample().unwrap();
            assert_eq!(found(&mut read), 1, "buffer {i}");
            read.gpu.queue.write_buffer(&buffer.buffer, buffer.n_bytes - 20, &[0; 4]);
        }
    }
}
