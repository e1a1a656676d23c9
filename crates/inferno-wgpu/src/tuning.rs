//! What this device is tried for before it is used: whether it widens half precision rightly, and which variant of a
//! product's kernel is the fastest on it.
//!
//! All variants of a kernel add in the same order, so that whichever is chosen, the bits are the same. A device is measured
//! when it first multiplies with a layout; a variant whose bits differ there, or that its driver refuses, is out. What is chosen
//! is kept in a file, so that the next start measures nothing ([`file`]).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::device::{Gpu, Storage};
use crate::kernels::params::{Nothing, Product, word};
use crate::kernels::{Dot, Few, Halves, Kernel, Many, Tile};
use crate::layout::{BLOCK, Integers, Layout, PANEL, Scales};
use crate::matrix::slice_blocks;
use crate::pipelines::Pipelines;
use crate::recorder::{Grid, Recorder, VECTOR};
use file::fnv;
use half::f16;
use inferno_model::error::{BackendError, StepError};

/// Rows up to which small tiles are taken, and up to which a workgroup may have a panel of them.
const SMALL_ROWS: usize = 32;
const SLICED_ROWS: usize = 64;
/// Blocks that a thread may ask for at once.
const IN_FLIGHT: [u32; 3] = [1, 2, 4];

/// What runs everywhere, and what others are compared with.
pub(crate) const FEW: Few = Few { threads: 256, in_flight: 1, dot: Dot::Packed };

/// Numbers of rows that are measured with where rows are many. Up to each of them, from the one before, rows are multiplied in
/// the same way, and more rows as up to the last.
const MANY_ROWS: [usize; 4] = [16, 32, 64, 256];
/// The matrix that is measured with: four blocks in a slice.
const OUTPUTS: usize = 2048;
const N_BLOCKS: usize = 128;
/// Dispatches that are measured together, where rows are few and where they are many, and how often.
const N_FEW: usize = 32;
const N_MANY: usize = 4;
const N_TIMES: usize = 3;
/// Time that all measurements of a start take, about. What comes later takes the first variant, until another start has the time.
const BUDGET: Duration = Duration::from_secs(2);

pub(crate) mod file;

/// Lets the device widen half precision, if it knows all numbers of it.
pub(crate) fn choose_halves(gpu: &mut Gpu, recorder: &mut Recorder) -> Result<(), BackendError> {
    if gpu.widens_halves && !widens_rightly(gpu, recorder, Halves::ByDevice)? {
        recorder.pipelines = Pipelines::default();
    }
    Ok(())
}

/// Widens all numbers in half precision in that way, which stays in use: whether it is right.
fn widens_rightly(gpu: &mut Gpu, recorder: &mut Recorder, halves: Halves) -> Result<bool, BackendError> {
    const ALL: usize = 1 << 16;
    recorder.pipelines = Pipelines::new(halves);
    if !recorder.pipelines.try_get(gpu, Kernel::CheckHalves) {
        return Ok(false);
    }
    let numbers = gpu.storage(4 * ALL as u64, &|| "a trial of half precision".into())?;
    recorder.dispatch(gpu, Kernel::CheckHalves, &[Some(&numbers)], &Nothing {}, &Grid::Threads(ALL));
    let mut is_right = false;
    let check = |bytes: &[u8]| {
        let found: &[f32] = bytemuck::cast_slice(bytes);
        is_right = found.iter().zip(0..=u16::MAX).all(|(&found, bits)| {
            let number = f16::from_bits(bits).to_f32();
            found.to_bits() == number.to_bits() || found.is_nan() && number.is_nan()
        });
    };
    let read = recorder.read(gpu, &numbers, (0, numbers.n_bytes), check);
    recorder.forget(numbers.id);
    gpu.release(numbers);
    read.map_err(|StepError { what }| BackendError { what })?;
    Ok(is_right)
}

/// The variants in use.
#[derive(Debug)]
pub(crate) struct Tuning {
    few: HashMap<Layout, Few>,
    /// By the rows that were measured with.
    many: HashMap<(Layout, usize), Many>,
    /// The rest of [`BUDGET`].
    budget: Duration,
    /// Trials that were measured.
    n_measured: usize,
    /// A processor that acts as a GPU is measured too: for tests.
    measures_processors: bool,
    /// Others than the first ones instead of the fastest: for tests.
    pub(crate) takes_others: bool,
}

impl Default for Tuning {
    fn default() -> Tuning {
        Tuning {
            few: HashMap::new(),
            many: HashMap::new(),
            budget: BUDGET,
            n_measured: 0,
            measures_processors: false,
            takes_others: false,
        }
    }
}

impl Tuning {
    /// For few rows.
    pub(crate) fn few(&mut self, gpu: &mut Gpu, pipelines: &mut Pipelines, layout: Layout) -> Few {
        if let Some(&few) = self.few.get(&layout) {
            return few;
        }
        let few = self.choose_few(gpu, pipelines, layout);
        self.few.insert(layout, few);
        few
    }

    fn choose_few(&mut self, gpu: &mut Gpu, pipelines: &mut Pipelines, layout: Layout) -> Few {
        if self.takes_others {
            return Few { threads: 128, in_flight: 2, dot: dots(layout)[dots(layout).len() - 1] };
        }
        if gpu.is_processor() && !self.measures_processors {
            return FEW;
        }
        let kernel = |few| Kernel::MatmulFew(layout, 1, few, 1);
        let with_dots = |few: Few| dots(layout).iter().map(move |&dot| Few { dot, ..few });
        let in_flight = |few: Few| IN_FLIGHT.into_iter().map(move |in_flight| Few { in_flight, ..few });
        let all: Vec<Few> = few_variants(gpu).into_iter().flat_map(in_flight).flat_map(with_dots).collect();
        let kept = Kept::new(format!("few {layout:?}"), &all, pipelines, kernel);
        if let Some(few) = kept.choice(gpu, &all) {
            return few;
        }
        // Threads first, then what they ask for at once, then how they multiply: fewer kernels to make than all of them.
        let shape = |few| (kernel(few), Grid::Groups(OUTPUTS / PANEL), N_FEW);
        let threads = self.fastest(gpu, pipelines, (layout, 1), few_variants(gpu), shape);
        let asked = self.fastest(gpu, pipelines, (layout, 1), in_flight(threads.variant).collect(), shape);
        let few = self.fastest(gpu, pipelines, (layout, 1), with_dots(asked.variant).collect(), shape);
        if threads.is_whole && asked.is_whole && few.is_whole {
            kept.keep(gpu, few.variant);
        }
        few.variant
    }

    /// For so many, which are more than few.
    pub(crate) fn many(
        &mut self,
        gpu: &mut Gpu,
        pipelines: &mut Pipelines,
        layout: Layout,
        n_rows: usize,
    ) -> Many {
        let [.., most] = MANY_ROWS;
        let n_rows = MANY_ROWS.into_iter().find(|&n| n_rows <= n).unwrap_or(most);
        if let Some(&many) = self.many.get(&(layout, n_rows)) {
            return many;
        }
        let many = self.choose_many(gpu, pipelines, layout, n_rows);
        self.many.insert((layout, n_rows), many);
        many
    }

    fn choose_many(
        &mut self,
        gpu: &mut Gpu,
        pipelines: &mut Pipelines,
        layout: Layout,
        n_rows: usize,
    ) -> Many {
        let few = self.few(gpu, pipelines, layout);
        let all = many_variants(gpu, layout, n_rows, few);
        if self.takes_others {
            return *all.last().expect("one that certainly runs");
        }
        if gpu.is_processor() && !self.measures_processors {
            return all[0];
        }
        let kernel = |many: Many| many.kernel(layout, 1);
        let kept = Kept::new(format!("many {layout:?} {n_rows}"), &all, pipelines, kernel);
        if let Some(many) = kept.choice(gpu, &all) {
            return many;
        }
        let shape = |many: Many| (kernel(many), many.grid(OUTPUTS, n_rows), N_MANY);
        let many = self.fastest(gpu, pipelines, (layout, n_rows), all, shape);
        if many.is_whole {
            kept.keep(gpu, many.variant);
        }
        many.variant
    }

    /// Measures variants, as long as the budget lasts.
    fn fastest<V: Copy>(
        &mut self,
        gpu: &mut Gpu,
        pipelines: &mut Pipelines,
        (layout, n_rows): (Layout, usize),
        variants: Vec<V>,
        shape: impl Fn(V) -> (Kernel, Grid, usize),
    ) -> Chosen<V> {
        let first = Chosen { variant: variants[0], is_whole: false };
        if variants.len() == 1 {
            return Chosen { is_whole: true, ..first };
        }
        if self.budget.is_zero() {
            return first;
        }
        self.n_measured += 1;
        let start = Instant::now();
        let chosen = fastest(gpu, pipelines, (layout, n_rows), variants, shape, start + self.budget);
        self.budget = self.budget.saturating_sub(start.elapsed());
        chosen
    }
}

/// The fastest variant of those that were measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Chosen<V> {
    variant: V,
    /// Whether all were measured.
    is_whole: bool,
}

/// A choice as the file has it: by a trial's name and the text of its kernels, so that another build's are none of it.
struct Kept {
    key: String,
}

impl Kept {
    fn new<V: Copy>(name: String, all: &[V], pipelines: &Pipelines, kernel: impl Fn(V) -> Kernel) -> Kept {
        let texts: String = all.iter().map(|&variant| pipelines.text(kernel(variant))).collect();
        Kept { key: format!("{:016x} {name}", fnv(&texts)) }
    }

    fn choice<V: Copy + std::fmt::Debug>(&self, gpu: &Gpu, all: &[V]) -> Option<V> {
        let name = gpu.tuned.as_ref()?.get(&self.key)?;
        all.iter().find(|variant| format!("{variant:?}") == name).copied()
    }

    fn keep(self, gpu: &mut Gpu, variant: impl std::fmt::Debug) {
        if let Some(file) = &mut gpu.tuned {
            file.set(self.key, format!("{variant:?}"));
        }
    }
}

/// Those that this device can run, the first of which it certainly can; they multiply as they may.
pub(crate) fn few_variants(gpu: &Gpu) -> Vec<Few> {
    let threads = [128, 64, 32].into_iter().filter(|&n| n >= gpu.subgroup_size());
    [FEW].into_iter().chain(threads.map(|threads| Few { threads, ..FEW })).collect()
}

/// Likewise for `n_rows` rows; `few` is the choice for few rows.
pub(crate) fn many_variants(gpu: &Gpu, layout: Layout, n_rows: usize, few: Few) -> Vec<Many> {
    let tile = if n_rows <= SMALL_ROWS { Tile::Small } else { Tile::Large };
    let mut all: Vec<Many> = dots(layout).iter().map(|&dot| Many::Dots(dot, tile)).collect();
    if let Layout::Integers(_) = layout {
        all.extend(gpu.matrices.map(Many::Matrices));
    }
    if n_rows <= SLICED_ROWS {
        all.push(Many::Slices(few));
    }
    all
}

/// Ways to multiply bytes, if there are some.
pub(crate) fn dots(layout: Layout) -> &'static [Dot] {
    match layout {
        Layout::Integers(_) => &[Dot::Packed, Dot::Floats],
        Layout::Floats(_) => &[Dot::Packed],
    }
}

/// The fastest variant of those that are measured until `deadline`; the first one is always among them.
fn fastest<V: Copy>(
    gpu: &mut Gpu,
    pipelines: &mut Pipelines,
    (layout, n_rows): (Layout, usize),
    variants: Vec<V>,
    shape: impl Fn(V) -> (Kernel, Grid, usize),
    deadline: Instant,
) -> Chosen<V> {
    let first = Chosen { variant: variants[0], is_whole: false };
    // Without memory for this there will be none for anything.
    let Ok(trial) = Trial::new(gpu, layout, OUTPUTS, n_rows) else { return first };
    let mut best: Option<(V, Duration)> = None;
    let mut expected = None;
    let mut is_whole = true;
    for variant in variants {
        if expected.is_some() && Instant::now() >= deadline {
            is_whole = false;
            break;
        }
        let (kernel, grid, n) = shape(variant);
        if !pipelines.try_get(gpu, kernel) {
            continue;
        }
        // A processor takes long enough for one.
        let n = if gpu.is_processor() { 1 } else { n };
        let times = (0..N_TIMES).map(|_| trial.time(gpu, pipelines, kernel, &grid, n));
        let time = times.min().unwrap_or_default();
        let found = trial.output(gpu);
        if *expected.get_or_insert_with(|| found.clone()) == found
            && best.is_none_or(|(_, least)| time < least)
        {
            best = Some((variant, time));
        }
    }
    trial.end(gpu);
    best.map_or(first, |(variant, _)| Chosen { variant, is_whole })
}

/// A product that kernels are tried with.
pub(crate) struct Trial {
    layout: Layout,
    n_outputs: usize,
    n_rows: usize,
    weights: Storage,
    out: Storage,
    /// Floats, or quants and scales.
    inputs: Vec<Storage>,
    readback: wgpu::Buffer,
}

impl Trial {
    /// Noise for weights and for rows.
    pub(crate) fn new(
        gpu: &mut Gpu,
        layout: Layout,
        n_outputs: usize,
        n_rows: usize,
    ) -> Result<Trial, BackendError> {
        let mut state = 1u32;
        let mut noise = || {
            // Xorshift (https://www.jstatsoft.org/article/view/v008i14).
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state
        };
        let n_words = 4 * layout.panel_len(N_BLOCKS * BLOCK) * n_outputs / PANEL;
        // Scales that are finite: halves and floats below 2, or exponents of a byte that are below 1.
        let mask = match layout {
            Layout::Integers(Integers { scales: Scales::E8m0, .. }) => 0x7f7f_7f7f,
            _ => 0x3fff_3fff,
        };
        let weights: Vec<u32> = (0..n_words).map(|_| noise() & mask).collect();
        let quants: Vec<i8> = (0..n_rows * N_BLOCKS * BLOCK).map(|_| (noise() as i8).max(-127)).collect();
        let inputs: Vec<Vec<u32>> = match layout {
            Layout::Floats(_) => vec![quants.iter().map(|&q| f32::from(q).to_bits()).collect()],
            Layout::Integers(_) => {
                let halves = quants.chunks_exact(BLOCK / 2);
                let sums: Vec<i32> = halves.map(|half| half.iter().map(|&q| i32::from(q)).sum()).collect();
                let scales = sums.chunks_exact(2).flat_map(|sums| {
                    let scale = 0.01 + (sums[0] as f32 / 1e4).abs();
                    [scale.to_bits(), sums[0] as u32 & 0xffff | (sums[1] as u32) << 16]
                });
                vec![bytemuck::cast_slice(&quants).to_vec(), scales.collect()]
            }
        };
        let mut place = |words: &[u32]| {
            let storage = gpu.storage(4 * words.len() as u64, &|| "a trial of kernels".into())?;
            gpu.queue.write_buffer(&storage.buffer, 0, bytemuck::cast_slice(words));
            Ok(storage)
        };
        let weights = place(&weights)?;
        let inputs: Result<Vec<Storage>, BackendError> = inputs.iter().map(|words| place(words)).collect();
        let out = gpu.storage((4 * n_rows * n_outputs) as u64, &|| "a trial of kernels".into())?;
        let readback = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: out.n_bytes,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Ok(Trial { layout, n_outputs, n_rows, weights, out, inputs: inputs?, readback })
    }

    /// What `n` dispatches take.
    pub(crate) fn time(
        &self,
        gpu: &Gpu,
        pipelines: &mut Pipelines,
        kernel: Kernel,
        grid: &Grid,
        n: usize,
    ) -> Duration {
        let pipeline = pipelines.get(gpu, kernel);
        let buffers = [&self.weights, &self.out].into_iter().chain(&self.inputs);
        let group = pipeline.bind(gpu, buffers);
        let params = Product {
            n_blocks: word(N_BLOCKS),
            slice_blocks: word(slice_blocks(N_BLOCKS)),
            panel_len: word(self.layout.panel_len(N_BLOCKS * BLOCK)),
            n_panels: word(self.n_outputs / PANEL),
            n_rows: word(self.n_rows),
            input_stride: word(N_BLOCKS * BLOCK / VECTOR),
            n_outputs: word(self.n_outputs),
            out_stride: word(self.n_outputs),
            ..Product::default()
        };
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline.pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.set_immediates(0, bytemuck::bytes_of(&params));
        let [x, y, z] = grid.size();
        (0..n).for_each(|_| pass.dispatch_workgroups(x, y, z));
        drop(pass);
        let commands = encoder.finish();
        let start = Instant::now();
        gpu.queue.submit([commands]);
        gpu.wait();
        start.elapsed()
    }

    /// The bits of the last product, which are forgotten on the device.
    pub(crate) fn output(&self, gpu: &Gpu) -> Vec<u32> {
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(&self.out.buffer, 0, &self.readback, 0, self.out.n_bytes);
        encoder.clear_buffer(&self.out.buffer, 0, None);
        gpu.queue.submit([encoder.finish()]);
        let slice = self.readback.slice(..);
        let failure = gpu.failure.clone();
        slice.map_async(wgpu::MapMode::Read, move |result| {
            if let Err(e) = result {
                failure.note(e.to_string());
            }
        });
        gpu.wait();
        let bits = slice
            .get_mapped_range()
            .map_or_else(|_| Vec::new(), |bytes| bytemuck::pod_collect_to_vec(&bytes));
        self.readback.unmap();
        bits
    }

    fn end(self, gpu: &mut Gpu) {
        [self.weights, self.out].into_iter().chain(self.inputs).for_each(|storage| gpu.release(storage));
    }
}

#[cfg(test)]
mod tests;
