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
const SLICES: usize = 32;
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
    /// The numbers of a single row as f32, filled up to whole blocks: a norm's weight or a bias.
    vector: Option<Storage>,
}

/// Some panels of a tensor.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) storage: Storage,
    /// Counted over all matrices.
    pub(crate) panels: Range<usize>,
}

impl Weight {
    /// Reads and packs a tensor on all processors.
    pub(crate) fn new(gpu: &mut Gpu, tensor: &HostTensor<'_>) -> Result<Weight, LoadError> {
        let name = &tensor.name;
        let layout = Layout::of(tensor.dtype).ok_or_else(|| BackendError {
            what: format!(
                "tensor `{name}` has type {}, which this backend cannot compute with",
                tensor.dtype
            ),
        })?;
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
            let mut chunk = Vec::new();
            let at_once = (CHUNK_BYTES / panel_bytes).max(1);
            for first in panels.clone().step_by(at_once) {
                let panels_now = first..panels.end.min(first + at_once);
                chunk.clear();
                chunk.resize(panels_now.len() * panel_bytes / 4, 0u32);
                pack(tensor, layout, panels_now, &mut chunk)?;
                let at = ((first - panels.start) * panel_bytes) as u64;
                gpu.queue.write_buffer(&storage.buffer, at, bytemuck::cast_slice(&chunk));
                // What was written is copied by then, and its memory free.
                gpu.queue.submit([]);
                gpu.wait();
            }
            parts.push(Part { storage, panels });
        }
        if let Some(what) = gpu.failure.get() {
            return Err(BackendError { what }.into());
        }
        let vector = if tensor.n_rows() == 1 { Some(vector(gpu, tensor)?) } else { None };
        Ok(Weight { name: name.clone(), layout, rows: tensor.rows, cols: tensor.cols, parts, vector })
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

fn vector(gpu: &mut Gpu, tensor: &HostTensor<'_>) -> Result<Storage, LoadError> {
    let mut bytes = vec![0; tensor.row_bytes()];
    tensor.read_rows(0, &mut bytes)?;
    let mut numbers = vec![0.0f32; tensor.cols];
    dequantize(tensor.dtype, &bytes, &mut numbers).expect("types with a layout can be dequantized");
    numbers.resize(tensor.cols.next_multiple_of(BLOCK), 0.0);
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
