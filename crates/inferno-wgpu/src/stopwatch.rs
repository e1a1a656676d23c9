//! How long kernels take, by the device's own clock.

use std::time::Duration;

use inferno_model::backend::{KernelTime, KernelTimes};
use sampler::{Sampler, Timed};

use wgpu::{BufferUsages, Features};

use crate::device::Gpu;

mod sampler;

/// Kernels that are timed in one step, at most: two readings of the clock each.
const MOST: u32 = wgpu::QUERY_SET_MAX_QUERIES / 2;

/// Readings of the device's clock before and after some dispatches.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    readback: wgpu::Buffer,
    /// Of a reading, in nanoseconds.
    unit: f64,
    sampler: Sampler,
    /// The kernels between the pairs of readings of this step.
    timed: Vec<Timed>,
    /// The second reading of the last pair is not recorded yet.
    is_open: bool,
}

impl Stopwatch {
    /// `None` if the device has no clock that can be read between dispatches.
    pub(crate) fn new(gpu: &Gpu) -> Option<Stopwatch> {
        let needed = Features::TIMESTAMP_QUERY | Features::TIMESTAMP_QUERY_INSIDE_PASSES;
        if !gpu.device.features().contains(needed) {
            return None;
        }
        let queries = gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: None,
            ty: wgpu::QueryType::Timestamp,
            count: 2 * MOST,
        });
        let buffer = |usage| {
            let size = u64::from(2 * MOST * wgpu::QUERY_SIZE);
            let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
            gpu.device.create_buffer(&descriptor)
        };
        Some(Stopwatch {
            queries,
            resolved: buffer(BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC),
            readback: buffer(BufferUsages::MAP_READ | BufferUsages::COPY_DST),
            unit: f64::from(gpu.queue.get_timestamp_period()),
            sampler: Sampler::default(),
            timed: Vec::new(),
            is_open: false,
        })
    }

    /// Reads the clock before a kernel, if it is one that is timed.
    pub(crate) fn start(&mut self, pass: &mut wgpu::ComputePass<'_>, kernel: &'static str) {
        let Some(timed) = self.sampler.call(kernel).filter(|_| self.timed.len() < MOST as usize) else {
            return;
        };
        pass.write_timestamp(&self.queries, 2 * self.timed.len() as u32);
        self.timed.push(timed);
        self.is_open = true;
    }

    /// Reads it after the kernel.
    pub(crate) fn end(&mut self, pass: &mut wgpu::ComputePass<'_>) {
        if std::mem::take(&mut self.is_open) {
            pass.write_timestamp(&self.queries, 2 * self.timed.len() as u32 - 1);
        }
    }

    /// Records that the readings are to be had.
    pub(crate) fn collect(&self, encoder: &mut wgpu::CommandEncoder) {
        if !self.timed.is_empty() {
            let n = 2 * self.timed.len() as u32;
            encoder.resolve_query_set(&self.queries, 0..n, &self.resolved, 0);
            let n_bytes = u64::from(n * wgpu::QUERY_SIZE);
            encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.readback, 0, n_bytes);
        }
    }

    /// Takes them, once the device is done.
    pub(crate) fn read(&mut self, gpu: &Gpu) {
        if self.timed.is_empty() {
            return;
        }
        let (failure, slice) = (gpu.failure.clone(), self.readback.slice(..));
        slice.map_async(wgpu::MapMode::Read, move |result| {
            if let Err(e) = result {
                failure.note(e.to_string());
            }
        });
        gpu.wait();
        if let Ok(bytes) = slice.get_mapped_range() {
            let readings: &[u64] = bytemuck::cast_slice(&bytes);
            for (timed, pair) in self.timed.iter().zip(readings.chunks_exact(2)) {
                let time = pair[1].saturating_sub(pair[0]) as f64 * self.unit;
                self.sampler.note(*timed, Duration::from_nanos(time as u64));
            }
        }
        self.readback.unmap();
        self.timed.clear();
    }
}

impl KernelTimes for Stopwatch {
    fn take(&mut self) -> Vec<KernelTime> {
        self.sampler.take()
    }
}
