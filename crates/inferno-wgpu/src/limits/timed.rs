//! A kernel whose dispatches are timed.

use std::time::{Duration, Instant};

use inferno_model::error::BackendError;
use wgpu::{BufferUsages, Features};

use crate::device::{Gpu, Storage};
use crate::pipelines::module;

/// Times that are measured, of which the least counts.
const N_SAMPLES: usize = 4;
/// Time of the dispatches of a sample, at least.
const LEAST_TIME: Duration = Duration::from_millis(10);
/// Time of a dispatch, at most: a processor that acts as a GPU does less in one.
const MOST_TIME: Duration = Duration::from_millis(50);
/// Dispatches of a sample, at most.
const MOST_DISPATCHES: usize = 1 << 10;

/// A kernel with its buffers.
pub(crate) struct Timed {
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
    clock: Option<Clock>,
}

/// Number of dispatches, and workgroups of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) n_groups: u32,
    pub(crate) n_dispatches: usize,
}

/// Seconds of a dispatch that waits for the one before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DispatchTime {
    /// By the host's clock: what more dispatches take than fewer, so that submitting and waiting are left out.
    pub by_host: f64,
    /// By the device's own clock; `None` if it has none.
    pub by_device: Option<f64>,
}

impl DispatchTime {
    /// The device's time if it is plausible: no longer than the host's, except for noise.
    pub fn seconds(&self) -> f64 {
        self.by_device.filter(|&time| time > 0.0 && time < 1.5 * self.by_host).unwrap_or(self.by_host)
    }
}

impl Timed {
    /// Compiles `wgsl`, whose binding i is `buffers[i]`. `None` if the driver refuses it.
    pub(crate) fn new(gpu: &Gpu, wgsl: &str, buffers: &[&Storage]) -> Option<Timed> {
        let filters = [wgpu::ErrorFilter::Validation, wgpu::ErrorFilter::Internal];
        let scopes = filters.map(|filter| gpu.device.push_error_scope(filter));
        let source = wgpu::ShaderSource::Wgsl(wgsl.into());
        let module = module(&gpu.device, wgpu::ShaderModuleDescriptor { label: Some("limits"), source });
        let pipeline = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("limits"),
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        let entries = buffers.iter().zip(0..).map(|(buffer, binding)| wgpu::BindGroupEntry {
            binding,
            resource: buffer.buffer.as_entire_binding(),
        });
        let group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries.collect::<Vec<_>>(),
        });
        // The last one was pushed on top.
        let errors = scopes.into_iter().rev().map(|scope| pollster::block_on(scope.pop()));
        let is_made = errors.filter(Option::is_some).count() == 0;
        is_made.then(|| Timed { pipeline, group, clock: Clock::new(gpu) })
    }

    /// Runs dispatches one after the other. Gives the times of all by the host's clock and by the device's.
    pub(crate) fn run(&self, gpu: &Gpu, size: Size) -> Result<(Duration, Option<Duration>), BackendError> {
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: None,
            timestamp_writes: self.clock.as_ref().map(|clock| wgpu::ComputePassTimestampWrites {
                query_set: &clock.queries,
                beginning_of_pass_write_index: Some(0),
                end_of_pass_write_index: Some(1),
            }),
        });
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        (0..size.n_dispatches).for_each(|_| pass.dispatch_workgroups(size.n_groups, 1, 1));
        drop(pass);
        if let Some(clock) = &self.clock {
            clock.collect(&mut encoder);
        }
        let commands = encoder.finish();
        let start = Instant::now();
        gpu.queue.submit([commands]);
        gpu.wait();
        let by_host = start.elapsed();
        let by_device = self.clock.as_ref().and_then(|clock| clock.read(gpu));
        gpu.failure.get().map_or(Ok((by_host, by_device)), |what| Err(BackendError { what }))
    }

    /// The time of one of `size.n_dispatches` dispatches, the least of some samples.
    pub(crate) fn measure(&self, gpu: &Gpu, size: Size) -> Result<DispatchTime, BackendError> {
        let twice = Size { n_dispatches: 2 * size.n_dispatches, ..size };
        let (mut once_least, mut twice_least) = (Duration::MAX, Duration::MAX);
        let mut device_least: Option<Duration> = None;
        for _ in 0..N_SAMPLES {
            let (by_host, by_device) = self.run(gpu, size)?;
            once_least = once_least.min(by_host);
            if let Some(time) = by_device {
                device_least = Some(device_least.map_or(time, |least| least.min(time)));
            }
            twice_least = twice_least.min(self.run(gpu, twice)?.0);
        }
        let each = |time: Duration| time.as_secs_f64() / size.n_dispatches as f64;
        let by_host = match twice_least.saturating_sub(once_least) {
            // The machine was disturbed.
            Duration::ZERO => each(once_least),
            difference => each(difference),
        };
        Ok(DispatchTime { by_host, by_device: device_least.map(each) })
    }

    /// The size of a sample that is long enough to be measured, of at most `n_groups` workgroups.
    pub(crate) fn settle(&self, gpu: &Gpu, n_groups: u32) -> Result<Size, BackendError> {
        let mut size = Size { n_groups, n_dispatches: 1 };
        // The first time, the driver compiles and zeros are written.
        self.run(gpu, Size { n_groups: 1, ..size })?;
        while size.n_groups > 1 && self.run(gpu, size)?.0 > MOST_TIME {
            size.n_groups = size.n_groups.div_ceil(4);
        }
        // A single slow run is a moment's, and no reason to stop.
        while size.n_dispatches < MOST_DISPATCHES
            && self.run(gpu, size)?.0.min(self.run(gpu, size)?.0) < LEAST_TIME
        {
            size.n_dispatches *= 2;
        }
        Ok(size)
    }
}

/// The device's clock at the beginning and at the end of a pass.
struct Clock {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    readback: wgpu::Buffer,
    /// Seconds of a unit.
    unit: f64,
}

impl Clock {
    fn new(gpu: &Gpu) -> Option<Clock> {
        if !gpu.device.features().contains(Features::TIMESTAMP_QUERY) {
            return None;
        }
        let ty = wgpu::QueryType::Timestamp;
        let queries = gpu.device.create_query_set(&wgpu::QuerySetDescriptor { label: None, ty, count: 2 });
        let buffer = |usage| {
            let size = u64::from(2 * wgpu::QUERY_SIZE);
            let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
            gpu.device.create_buffer(&descriptor)
        };
        Some(Clock {
            queries,
            resolved: buffer(BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC),
            readback: buffer(BufferUsages::MAP_READ | BufferUsages::COPY_DST),
            unit: f64::from(gpu.queue.get_timestamp_period()) / 1e9,
        })
    }

    fn collect(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.resolve_query_set(&self.queries, 0..2, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.readback, 0, self.resolved.size());
    }

    fn read(&self, gpu: &Gpu) -> Option<Duration> {
        let (failure, slice) = (gpu.failure.clone(), self.readback.slice(..));
        slice.map_async(wgpu::MapMode::Read, move |result| {
            if let Err(e) = result {
                failure.note(e.to_string());
            }
        });
        gpu.wait();
        let readings = slice.get_mapped_range().map_or([0; 2], |bytes| {
            let readings: &[u64] = bytemuck::cast_slice(&bytes);
            [readings[0], readings[1]]
        });
        self.readback.unmap();
        let units = readings[1].checked_sub(readings[0]).filter(|&units| units > 0)?;
        Some(Duration::from_secs_f64(units as f64 * self.unit))
    }
}
