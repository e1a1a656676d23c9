//! How fast a device copies from one end of its memory to the other: what a decode step cannot exceed.

use std::time::Instant;

use inferno_model::error::BackendError;

use crate::device::{Gpu, Storage};

/// Copies per sample.
const N_COPIES: usize = 8;

/// Two buffers on a device of their own.
#[derive(Debug)]
pub struct Copying {
    gpu: Gpu,
    from: Storage,
    to: Storage,
}

impl Copying {
    /// Buffers of `n_bytes`, or as many as one may have.
    pub fn new(mut gpu: Gpu, n_bytes: u64) -> Result<Copying, BackendError> {
        let n_bytes = n_bytes.min(gpu.binding_bytes) / 16 * 16;
        let what = || "what is copied".to_owned();
        let (from, to) = (gpu.storage(n_bytes, &what)?, gpu.storage(n_bytes, &what)?);
        let copying = Copying { gpu, from, to };
        // The first copy has zeros to write before.
        copying.copy(1);
        Ok(copying)
    }

    /// Of each buffer.
    pub fn n_bytes(&self) -> u64 {
        self.from.n_bytes
    }

    /// Bytes per second, read and written.
    pub fn measure(&self) -> f64 {
        let start = Instant::now();
        self.copy(N_COPIES);
        (2 * N_COPIES) as f64 * self.n_bytes() as f64 / start.elapsed().as_secs_f64()
    }

    fn copy(&self, n: usize) {
        let descriptor = wgpu::CommandEncoderDescriptor { label: None };
        let mut encoder = self.gpu.device.create_command_encoder(&descriptor);
        for _ in 0..n {
            encoder.copy_buffer_to_buffer(&self.from.buffer, 0, &self.to.buffer, 0, self.n_bytes());
        }
        self.gpu.queue.submit([encoder.finish()]);
        self.gpu.wait();
    }
}
