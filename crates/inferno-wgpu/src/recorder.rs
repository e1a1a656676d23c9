//! A step's dispatches, recorded until somebody reads a result, and what the host uploads for them.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::Ordering;

use inferno_model::error::{BackendError, StepError};

use crate::device::{Gpu, Storage};
use crate::kernels::params::{Member, Params};
use crate::kernels::{Bindings, GROUP, Kernel};
use crate::pipelines::Pipelines;
use crate::stopwatch::Stopwatch;

/// Bytes of the first buffer of uploads.
const UPLOAD_BYTES: u64 = 256 << 10;
/// Dispatches after which those so far are handed to the device, so that it is at work while the rest is recorded.
const AT_ONCE: usize = 256;
/// Workgroups in a dimension.
pub(crate) const MOST_GROUPS: usize = 65_535;
/// Numbers of a vector.
pub(crate) const VECTOR: usize = 4;

/// How many workgroups.
#[derive(Debug)]
pub(crate) enum Grid {
    /// One thread for each of so many.
    Threads(usize),
    /// So many, in rows as long as they may be.
    Groups(usize),
    /// The same, and so many of that: in x and y, and in z.
    Stacked(usize, usize),
    /// In x, y and z.
    Box(usize, usize, usize),
}

impl Grid {
    pub(crate) fn size(&self) -> [u32; 3] {
        let rows = |n: usize, z: usize| [n.min(MOST_GROUPS), n.div_ceil(MOST_GROUPS), z].map(|n| n as u32);
        match *self {
            Grid::Threads(n) => rows(n.div_ceil(GROUP as usize), 1),
            Grid::Groups(n) => rows(n, 1),
            Grid::Stacked(n, z) => rows(n, z),
            Grid::Box(x, y, z) => [x, y, z].map(|n| n as u32),
        }
    }
}

/// Buffers of a kernel, at most.
pub(crate) const MOST_BUFFERS: usize = 11;

/// The buffers of a dispatch, in the order in which its kernel declares them. `None` stands for the uploads.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bound<'a> {
    storages: [Option<&'a Storage>; MOST_BUFFERS],
    n: usize,
}

impl<'a> Bound<'a> {
    pub(crate) fn new<const N: usize>(storages: [Option<&'a Storage>; N]) -> Bound<'a> {
        Bound::default().and(storages)
    }

    /// With more of them after these.
    pub(crate) fn and(mut self, storages: impl IntoIterator<Item = Option<&'a Storage>>) -> Bound<'a> {
        for storage in storages {
            self.storages[self.n] = storage;
            self.n += 1;
        }
        self
    }
}

impl<'a> Deref for Bound<'a> {
    type Target = [Option<&'a Storage>];

    fn deref(&self) -> &Self::Target {
        &self.storages[..self.n]
    }
}

/// Of the buffers that a kernel binds; 0 for none.
type Ids = [u32; MOST_BUFFERS];

/// The commands of a step.
pub(crate) struct Recorder {
    pub(crate) pipelines: Pipelines,
    commands: Option<Commands>,
    /// Keyed by layout and the buffers' ids.
    groups: HashMap<(Bindings, Ids), wgpu::BindGroup>,
    uploads: Uploads,
    readback: Option<wgpu::Buffer>,
    /// Pipelines that the file of pipelines has.
    n_saved: usize,
    /// The buffer whose rows are quantized, until it is written again.
    quantized: Option<u32>,
    /// If kernels are timed.
    pub(crate) stopwatch: Option<Stopwatch>,
}

struct Commands {
    encoder: wgpu::CommandEncoder,
    pass: Option<wgpu::ComputePass<'static>>,
    n_dispatches: usize,
}

/// Words from the host, end to end: a step's tokens, positions, page tables.
struct Uploads {
    storage: Storage,
    words: Vec<u32>,
    /// How many of them the device has.
    n_sent: usize,
    /// Those before a larger buffer took their place, until the step is over.
    outgrown: Vec<Storage>,
    /// What was uploaded when, to be found again.
    generation: u64,
}

impl Recorder {
    pub(crate) fn new(storage: Storage) -> Recorder {
        let uploads = Uploads { storage, words: Vec::new(), n_sent: 0, outgrown: Vec::new(), generation: 0 };
        Recorder {
            pipelines: Pipelines::default(),
            commands: None,
            groups: HashMap::new(),
            uploads,
            readback: None,
            n_saved: 0,
            quantized: None,
            stopwatch: None,
        }
    }

    /// Room for the first uploads.
    pub(crate) fn first_uploads(gpu: &mut Gpu) -> Result<Storage, BackendError> {
        gpu.storage(UPLOAD_BYTES, &|| "a step's input".into())
    }

    /// Puts words where kernels find them: the index of the first one.
    pub(crate) fn upload(&mut self, gpu: &mut Gpu, words: &[u32]) -> usize {
        let at = self.uploads.words.len();
        let n_bytes = (4 * (at + words.len())) as u64;
        if n_bytes > self.uploads.storage.n_bytes {
            match gpu.storage(n_bytes.next_power_of_two(), &|| "a step's input".into()) {
                Ok(storage) => {
                    // What was recorded before looks at the old one: it gets its words now.
                    self.send(gpu);
                    self.uploads.n_sent = 0;
                    let old = std::mem::replace(&mut self.uploads.storage, storage);
                    self.forget(old.id);
                    self.uploads.outgrown.push(old);
                }
                Err(e) => {
                    gpu.failure.note(e.what);
                    return 0;
                }
            }
        }
        self.uploads.words.extend_from_slice(words);
        at
    }

    /// Changes when everything uploaded so far is gone.
    pub(crate) fn generation(&self) -> u64 {
        self.uploads.generation
    }

    /// The groups that bind a buffer which is going away.
    pub(crate) fn forget(&mut self, id: u32) {
        self.groups.retain(|(_, ids), _| !ids.contains(&id));
    }

    fn send(&mut self, gpu: &Gpu) {
        let words = &self.uploads.words[self.uploads.n_sent..];
        if !words.is_empty() {
            let at = 4 * self.uploads.n_sent as u64;
            gpu.queue.write_buffer(&self.uploads.storage.buffer, at, bytemuck::cast_slice(words));
            self.uploads.n_sent = self.uploads.words.len();
        }
    }

    /// Records a dispatch. `None` among the buffers stands for the uploads.
    pub(crate) fn dispatch<P: Params>(
        &mut self,
        gpu: &Gpu,
        kernel: Kernel,
        buffers: &[Option<&Storage>],
        params: &P,
        grid: &Grid,
    ) {
        self.record(gpu, kernel, buffers, (P::MEMBERS, bytemuck::bytes_of(params)), grid.size());
    }

    fn record(
        &mut self,
        gpu: &Gpu,
        kernel: Kernel,
        buffers: &[Option<&Storage>],
        (members, params): (&'static [Member], &[u8]),
        size: [u32; 3],
    ) {
        if size.contains(&0) || gpu.failure.is_noted() {
            return;
        }
        let pipeline = self.pipelines.get(gpu, kernel);
        debug_assert_eq!(pipeline.members, members, "parameters of {kernel:?}");
        assert_eq!(usize::from(pipeline.bindings.n), buffers.len(), "buffers of {kernel:?}");
        let buffers = buffers.iter().map(|b| b.unwrap_or(&self.uploads.storage));
        let mut ids = [0; MOST_BUFFERS];
        ids.iter_mut().zip(buffers.clone()).for_each(|(id, b)| *id = b.id);
        let is_written =
            |(i, id): (usize, &u32)| pipeline.bindings.is_written(i) && Some(*id) == self.quantized;
        if ids.iter().enumerate().any(is_written) {
            self.quantized = None;
        }
        let group =
            self.groups.entry((pipeline.bindings, ids)).or_insert_with(|| pipeline.bind(gpu, buffers));
        let commands = self.commands.get_or_insert_with(|| Commands::new(&gpu.device));
        let pass = commands.pass();
        pass.set_pipeline(&pipeline.pipeline);
        pass.set_bind_group(0, &*group, &[]);
        pass.set_immediates(0, params);
        if let Some(stopwatch) = &mut self.stopwatch {
            stopwatch.start(pass, pipeline.name);
        }
        pass.dispatch_workgroups(size[0], size[1], size[2]);
        if let Some(stopwatch) = &mut self.stopwatch {
            stopwatch.end(pass);
        }
        commands.n_dispatches += 1;
        gpu.n_dispatches.fetch_add(1, Ordering::Relaxed);
        if commands.n_dispatches >= AT_ONCE {
            self.submit(gpu);
        }
    }

    /// The rows of a buffer are quantized now; they are until it is written.
    pub(crate) fn note_quantized(&mut self, storage: &Storage) {
        self.quantized = Some(storage.id);
    }

    pub(crate) fn forget_quantized(&mut self) {
        self.quantized = None;
    }

    pub(crate) fn is_quantized(&self, storage: &Storage) -> bool {
        self.quantized == Some(storage.id)
    }

    /// Hands everything recorded to the device.
    pub(crate) fn submit(&mut self, gpu: &Gpu) {
        self.send(gpu);
        if let Some(mut commands) = self.commands.take() {
            commands.pass = None;
            gpu.queue.submit([commands.encoder.finish()]);
        }
    }

    /// Does everything recorded.
    pub(crate) fn finish(&mut self, gpu: &mut Gpu) -> Result<(), StepError> {
        if let Some(stopwatch) = &self.stopwatch {
            let commands = self.commands.get_or_insert_with(|| Commands::new(&gpu.device));
            stopwatch.collect(commands.encoder());
        }
        self.submit(gpu);
        gpu.wait();
        if let Some(stopwatch) = &mut self.stopwatch {
            stopwatch.read(gpu);
        }
        if self.n_saved < self.pipelines.n() {
            self.n_saved = self.pipelines.n();
            if let Some(file) = &gpu.pipelines {
                file.save();
            }
        }
        self.uploads.reset(gpu);
        gpu.failure.get().map_or(Ok(()), |what| Err(StepError { what }))
    }

    /// Does everything recorded, then calls `take` with `n` bytes of a buffer.
    pub(crate) fn read(
        &mut self,
        gpu: &mut Gpu,
        storage: &Storage,
        (at, n): (u64, u64),
        take: impl FnOnce(&[u8]),
    ) -> Result<(), StepError> {
        self.read_parts(gpu, &[(storage, at, n)], take)
    }

    /// Does everything recorded, then calls `take` with parts of buffers end to end: from a byte on, as many as are said.
    pub(crate) fn read_parts(
        &mut self,
        gpu: &mut Gpu,
        parts: &[(&Storage, u64, u64)],
        take: impl FnOnce(&[u8]),
    ) -> Result<(), StepError> {
        let n: u64 = parts.iter().map(|(.., n)| n).sum();
        let size = n.max(4);
        if self.readback.as_ref().is_none_or(|b| b.size() < size) {
            self.readback = Some(gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("readback"),
                size: size.next_power_of_two(),
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            }));
        }
        let readback = self.readback.as_ref().expect("just made");
        let mut end = 0;
        for &(storage, at, n) in parts.iter().filter(|(.., n)| *n > 0) {
            let commands = self.commands.get_or_insert_with(|| Commands::new(&gpu.device));
            commands.encoder().copy_buffer_to_buffer(&storage.buffer, at, readback, end, n);
            end += n;
        }
        let readback = readback.clone();
        self.finish(gpu)?;
        let (failure, slice) = (gpu.failure.clone(), readback.slice(0..size));
        slice.map_async(wgpu::MapMode::Read, move |result| {
            if let Err(e) = result {
                failure.note(e.to_string());
            }
        });
        gpu.wait();
        take(&slice.get_mapped_range().map_err(|e| StepError { what: e.to_string() })?[..n as usize]);
        readback.unmap();
        Ok(())
    }
}

impl Commands {
    fn new(device: &wgpu::Device) -> Commands {
        let encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        Commands { encoder, pass: None, n_dispatches: 0 }
    }

    fn pass(&mut self) -> &mut wgpu::ComputePass<'static> {
        let encoder = &mut self.encoder;
        self.pass.get_or_insert_with(|| {
            encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()).forget_lifetime()
        })
    }

    /// For what is no dispatch.
    fn encoder(&mut self) -> &mut wgpu::CommandEncoder {
        self.pass = None;
        &mut self.encoder
    }
}

impl Uploads {
    /// The device has done what looked at them.
    fn reset(&mut self, gpu: &mut Gpu) {
        self.words.clear();
        self.n_sent = 0;
        self.generation += 1;
        self.outgrown.drain(..).for_each(|old| gpu.release(old));
    }
}
