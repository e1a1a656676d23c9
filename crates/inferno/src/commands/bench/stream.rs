//! The streaming read: how fast the processor's threads, or a GPU, read memory, which is what a decode step cannot exceed.

use inferno_cpu::StreamingRead;

use crate::load::DeviceRead;

/// The memory that weights are read from.
pub(super) enum Limit {
    Processor(Box<StreamingRead>),
    Gpu(Box<dyn DeviceRead>),
}

impl Limit {
    /// Bytes that are read.
    pub(super) fn n_bytes(&self) -> usize {
        match self {
            Limit::Processor(read) => read.n_bytes(),
            Limit::Gpu(read) => read.n_bytes(),
        }
    }

    /// Bytes per second, the most of some reads.
    pub(super) fn measure(&mut self) -> f64 {
        match self {
            Limit::Processor(read) => read.measure(),
            Limit::Gpu(read) => read.measure(),
        }
    }

    /// Its name in reports.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Limit::Processor(_) => "streaming read",
            Limit::Gpu(_) => "streaming read on the GPU",
        }
    }
}
