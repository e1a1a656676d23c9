//! Weights on the device.

use std::num::NonZero;
use std::ops::Range;
use std::sync::Mutex;

use inferno_format::{Block32, FormatError, dequantize, unpack_row};
use inferno_model::backend::HostTensor;
use inferno_model::error::{BackendError, LoadError};

use crate::device::{Gpu, Storage};
use crate::layout::{BLOCK, Floats, Layout, PANEL, pack_blocks, pack_floats};

/// Inputs are cut into so many slices at most, each summed up by a thread of `matmul_few`.
pub(crate) const SLICES: usize = 32;
/// Tensors that share a storage, at most: as many as a kernel has outputs for.
pub(crate) const MOST_TOGETHER: usize = 3;
/// Bytes that are packed and sent at a time.
const CHUNK_BYTES: usize = 32 << 20;

/// A tensor's matrices.
#[derive(Debug)]
pub struct Weight {
    pub(crate) name: String,
    pub(crate) layout: Layout,
    /// Outputs of one matrix.
    pub(crate) rows: usize,
    /// Inputs.
    pub(crate) cols: usize,
    /// All panels in order, as many of them in a buffer as it may have.
    pub(crate) parts: Vec<Part>,
    /// The numbers of a single row, or of one per expert, as f32, filled up to whole blocks: a norm's weight or a bias.
    vector: Option<Storage>,
}

/// Some panels of a tensor.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) storage: Storage,
    /// The panel of the storage where they begin: behind those of other tensors that share it.
    pub(crate) first: usize,
    /// Counted over all matrices.
    pub(crate) panels: Range<usize>,
}

impl Weight {
    /// Reads and packs a tensor on all processors.
    pub(crate) fn new(gpu: &mut Gpu, tensor: &HostTensor<'_>) -> Result<Weight, LoadError> {
        let (name, layout) = (&tensor.name, layout(tensor)?);
        let panel_bytes = 16 * layout.panel_len(tensor.cols);
        let panels_each = tensor.rows.div_ceil(PANEL);
        // Matrices of experts are not cut.
        let unit = if tensor.n_experts > 1 { panels_each } else { 1 };
        let most = (gpu.part_bytes / panel_bytes as u64) as usize / unit * unit;
        if most == 0 {
            let what = format!(
                "an expert of tensor `{name}` takes {} bytes on `{}`, which has {} at most for a buffer",
                unit * panel_bytes,
                gpu.name(),
                gpu.part_bytes
            );
            return Err(BackendError { what }.into());
        }
        let n_panels = tensor.n_experts * panels_each;
        let mut parts = Vec::new();
        for start in (0..n_panels).step_by(most) {
            let panels = start..n_panels.min(start + most);
            let n_bytes = (panels.len() * panel_bytes) as u64;
            let storage = gpu.storage(n_bytes, &|| format!("tensor `{name}`"))?;
            fill(gpu, &storage, 0, (tensor, layout), panels.clone())?;
            parts.push(Part { storage, first: 0, panels });
        }
        let vector = if tensor.n_rows() == 1 { Some(vector(gpu, tensor)?) } else { None };
        Ok(Weight { name: name.clone(), layout, rows: tensor.rows, cols: tensor.cols, parts, vector })
    }

    /// A vector of floats per expert, end to end as f32.
    pub(crate) fn vectors(gpu: &mut Gpu, tensor: &HostTensor<'_>) -> Result<Weight, LoadError> {
        let HostTensor { name, cols, .. } = tensor.clone();
        let (layout, vector) = (layout(tensor)?, Some(vector(gpu, tensor)?));
        Ok(Weight { name, layout, rows: 0, cols, parts: Vec::new(), vector })
    }

    /// The same for several. Those that follow each other with the same layout share a storage, if it may be as large.
    pub(crate) fn several(gpu: &mut Gpu, tensors: &[HostTensor<'_>]) -> Result<Vec<Weight>, LoadError> {
        let mut weights = Vec::new();
        let mut rest = tensors;
        while let Some(first) = rest.first() {
            let layout = layout(first)?;
            let panel_bytes = 16 * layout.panel_len(first.cols) as u64;
            let mut n_bytes = 0;
            let n = rest.iter().take(MOST_TOGETHER).take_while(|tensor| {
                n_bytes += tensor.rows.div_ceil(PANEL) as u64 * panel_bytes;
                let is_alike = Layout::of(tensor.dtype) == Some(layout) && tensor.cols == first.cols;
                is_alike && tensor.n_experts == 1 && n_bytes <= gpu.part_bytes
            });
            let (now, later) = rest.split_at(n.count().max(1));
            match now {
                [tensor] => weights.push(Weight::new(gpu, tensor)?),
                now => weights.extend(Weight::together(gpu, now, layout)?),
            }
            rest = later;
        }
        Ok(weights)
    }

    fn together(gpu: &mut Gpu, tensors: &[HostTensor<'_>], layout: Layout) -> Result<Vec<Weight>, LoadError> {
        let n_panels: usize = tensors.iter().map(|tensor| tensor.rows.div_ceil(PANEL)).sum();
        let n_bytes = 16 * (layout.panel_len(tensors[0].cols) * n_panels) as u64;
        let storage = gpu.storage(n_bytes, &|| format!("tensor `{}` and those with it", tensors[0].name))?;
        let mut first = 0;
        let mut weights = Vec::new();
        for tensor in tensors {
            let panels = 0..tensor.rows.div_ceil(PANEL);
            fill(gpu, &storage, first, (tensor, layout), panels.clone())?;
            let parts = vec![Part { storage: storage.clone(), first, panels: panels.clone() }];
            let (name, rows, cols) = (tensor.name.clone(), tensor.rows, tensor.cols);
            weights.push(Weight { name, layout, rows, cols, parts, vector: None });
            first += panels.len();
        }
        Ok(weights)
    }

    /// Do the panels of `next` follow those of this one?
    pub(crate) fn goes_on_with(&self, next: &Weight) -> bool {
        match (self.parts.as_slice(), next.parts.as_slice()) {
            ([part], [after]) => {
                part.storage.id == after.storage.id && part.first + part.panels.len() == after.first
            }
            _ => false,
        }
    }

    /// A norm's weight or a bias.
    pub(crate) fn vector(&self) -> &Storage {
        self.vector.as_ref().unwrap_or_else(|| panic!("`{}` is a vector", self.name))
    }

    pub(crate) fn n_blocks(&self) -> usize {
        self.cols.div_ceil(BLOCK)
    }

    pub(crate) fn panel_len(&self) -> usize {
        self.layout.panel_len(self.cols)
    }

    /// Panels of one matrix.
    pub(crate) fn n_panels(&self) -> usize {
        self.rows.div_ceil(PANEL)
    }
}

/// Blocks of a row that are summed up before they are added to others.
pub(crate) fn slice_blocks(n_blocks: usize) -> usize {
    n_blocks.div_ceil(SLICES)
}

fn layout(tensor: &HostTensor<'_>) -> Result<Layout, BackendError> {
    let HostTensor { name, dtype, .. } = tensor;
    Layout::of(*dtype).ok_or_else(|| BackendError {
        what: format!("tensor `{name}` has type {dtype}, which this backend cannot compute with"),
    })
}

/// Packs some panels of a tensor into a storage, from its panel `first` on.
fn fill(
    gpu: &Gpu,
    storage: &Storage,
    first: usize,
    (tensor, layout): (&HostTensor<'_>, Layout),
    panels: Range<usize>,
) -> Result<(), LoadError> {
    let panel_bytes = 16 * layout.panel_len(tensor.cols);
    let mut chunk = Vec::new();
    let at_once = (CHUNK_BYTES / panel_bytes).max(1);
    for start in panels.clone().step_by(at_once) {
        let panels_now = start..panels.end.min(start + at_once);
        chunk.clear();
        chunk.resize(panels_now.len() * panel_bytes / 4, 0u32);
        pack(tensor, layout, panels_now, &mut chunk)?;
        let at = ((first + start - panels.start) * panel_bytes) as u64;
        gpu.queue.write_buffer(&storage.buffer, at, bytemuck::cast_slice(&chunk));
        // What was written is copied by then, and its memory free.
        gpu.queue.submit([]);
        gpu.wait();
    }
    gpu.failure.get().map_or(Ok(()), |what| Err(BackendError { what }.into()))
}

fn vector(gpu: &mut Gpu, tensor: &HostTensor<'_>) -> Result<Storage, LoadError> {
    let mut bytes = vec![0; tensor.n_rows() * tensor.row_bytes()];
    tensor.read_rows(0, &mut bytes)?;
    let mut numbers = vec![0.0f32; tensor.n_rows() * tensor.cols];
    dequantize(tensor.dtype, &bytes, &mut numbers).expect("types with a layout can be dequantized");
    numbers.resize(numbers.len().next_multiple_of(BLOCK), 0.0);
    let storage = gpu.storage(4 * numbers.len() as u64, &|| format!("tensor `{}`", tensor.name))?;
    gpu.queue.write_buffer(&storage.buffer, 0, bytemuck::cast_slice(&numbers));
    Ok(storage)
}

/// Packs panels, counted over all matrices, into `out`, which is zero.
fn pack(
    tensor: &HostTensor<'_>,
    layout: Layout,
    panels: Range<usize>,
    out: &mut [u32],
) -> Result<(), LoadError> {
    let panel_words = out.len() / panels.len();
    let n_threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let share = panels.len().div_ceil(n_threads);
    let failure: Mutex<Option<FormatError>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for (first, out) in panels.step_by(share).zip(out.chunks_mut(share * panel_words)) {
            let failure = &failure;
            scope.spawn(move || {
                let mut scratch = Scratch::default();
                for (i, panel) in out.chunks_exact_mut(panel_words).enumerate() {
                    if let Err(e) = scratch.panel(tensor, layout, first + i, panel) {
                        failure.lock().expect("nobody panics with it").get_or_insert(e);
                        return;
                    }
                }
            });
        }
    });
    failure.into_inner().expect("nobody panics with it").map_or(Ok(()), |e| Err(e.into()))
}

#[derive(Default)]
struct Scratch {
    rows: Vec<u8>,
    blocks: Vec<Vec<Block32>>,
}

impl Scratch {
    fn panel(
        &mut self,
        tensor: &HostTensor<'_>,
        layout: Layout,
        panel: usize,
        out: &mut [u32],
    ) -> Result<(), FormatError> {
        let panels_each = tensor.rows.div_ceil(PANEL);
        let (expert, first) = (panel / panels_each, panel % panels_each * PANEL);
        let n_rows = PANEL.min(tensor.rows - first);
        let row_bytes = tensor.row_bytes();
        self.rows.resize(n_rows * row_bytes, 0);
        tensor.read_rows(expert * tensor.rows + first, &mut self.rows)?;
        match layout {
            Layout::Floats(Floats::F32) => {
                pack_floats::<4>(&self.rows, tensor.cols, bytemuck::cast_slice_mut(out))
            }
            Layout::Floats(_) => pack_floats::<2>(&self.rows, tensor.cols, bytemuck::cast_slice_mut(out)),
            Layout::Integers(integers) => {
                self.blocks.resize_with(n_rows, Vec::new);
                for (row, blocks) in self.rows.chunks_exact(row_bytes).zip(&mut self.blocks) {
                    unpack_row(tensor.dtype, row, blocks).expect("whole blocks of a quantized type");
                }
                pack_blocks(integers, &self.blocks[..n_rows], out);
            }
        }
        Ok(())
    }
}
