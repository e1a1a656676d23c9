//! How long kernels take, by the device's own clock.

use std::time::Duration;

use inferno_model::backend::KernelTimes;

use wgpu::{BufferUsages, Features};

use crate::device::Gpu;

/// Readings of the clock in one step, at most; kernels beyond are not timed.
const MOST: u32 = wgpu::QUERY_SET_MAX_QUERIES;

/// Readings of the device's clock between dispatches.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    readback: wgpu::Buffer,
    /// Of a reading, in nanoseconds.
    unit: f64,
    /// What was between the readings of this step.
    kernels: Vec<&'static str>,
    times: Vec<(&'static str, Duration)>,
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
            count: MOST,
        });
        let buffer = |usage| {
            let size = u64::from(MOST * wgpu::QUERY_SIZE);
            let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
            gpu.device.create_buffer(&descriptor)
        };
        Some(Stopwatch {
            queries,
            resolved: buffer(BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC),
            readback: buffer(BufferUsages::MAP_READ | BufferUsages::COPY_DST),
            unit: f64::from(gpu.queue.get_timestamp_period()),
            kernels: Vec::new(),
            times: Vec::new(),
        })
    }

    /// Reads the clock before the first kernel of a step.
    pub(crate) fn start(&mut self, pass: &mut wgpu::ComputePass<'_>) {
        if self.kernels.is_empty() {
            pass.write_timestamp(&self.queries, 0);
        }
    }

    /// Reads it after a kernel.
    pub(crate) fn note(&mut self, pass: &mut wgpu::ComputePass<'_>, kernel: &'static str) {
        if self.kernels.len() + 1 < MOST as usize {
            self.kernels.push(kernel);
            pass.write_timestamp(&self.queries, self.kernels.len() as u32);
        }
    }

    /// Records that the readings are to be had.
    pub(crate) fn collect(&self, encoder: &mut wgpu::CommandEncoder) {
        if !self.kernels.is_empty() {
            encoder.resolve_query_set(&self.queries, 0..self.kernels.len() as u32 + 1, &self.resolved, 0);
            encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.readback, 0, self.resolved.size());
        }
    }

    /// Takes them, once the device is done.
    pub(crate) fn read(&mut self, gpu: &Gpu) {
        if self.kernels.is_empty() {
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
            for (kernel, two) in self.kernels.iter().zip(readings.windows(2)) {
                let time = Duration::from_nanos((two[1].saturating_sub(two[0]) as f64 * self.unit) as u64);
                self.times.push((kernel, time));
            }
        }
        self.readback.unmap();
        self.kernels.clear();
    }
}

impl KernelTimes for Stopwatch {
    fn take(&mut self) -> Vec<(&'static str, Duration)> {
        std::mem::take(&mut self.times)
    }
}
