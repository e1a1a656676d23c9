//! From a file's rows to panels.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Mutex;

use inferno_format::{Block32, DType, FormatError, unpack_row};
use inferno_model::backend::HostTensor;
use inferno_model::error::LoadError;

use super::{Layout, Nibbles, PANEL, ScalesMin, ScalesQ6K, SixBits};
use crate::memory::Shares;
use crate::pool::Pool;

/// What a thread reads at a time, about: it is still in the cache when it is packed.
const READ_BYTES: usize = 256 << 10;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

#[derive(Default)]
struct Scratch {
    rows: Vec<u8>,
    /// [16 outputs][blocks]
    blocks: [Vec<Block32>; PANEL],
}

/// Reads all rows of `tensor` and packs them to `quants` and `scales`, which are zero.
pub(super) fn pack(
    tensor: &HostTensor<'_>,
    layout: Layout,
    bias: u8,
    pool: &mut Pool,
    (quants, scales): (&mut [u8], &mut [u8]),
) -> Result<(), LoadError> {
    let panels_each = tensor.rows.div_ceil(PANEL);
    let n_panels = tensor.n_experts * panels_each;
    let (quant_bytes, scale_bytes) = layout.panel_bytes(tensor.cols);
    let (quants, scales) = (Shares::new(quants), Shares::new(scales));
    let row_bytes = tensor.row_bytes();
    let at_once = (READ_BYTES / (PANEL * row_bytes).max(1)).max(1);
    let failure: Mutex<Option<FormatError>> = Mutex::new(None);
    pool.run_ranges(n_panels, at_once, &|range| {
        SCRATCH.with_borrow_mut(|Scratch { rows, blocks }| {
            for panels in cut(range, panels_each, at_once) {
                let (expert, first) = (panels.start / panels_each, panels.start % panels_each * PANEL);
                let n_rows = (tensor.rows - first).min(panels.len() * PANEL);
                rows.resize(n_rows * row_bytes, 0);
                if let Err(e) = tensor.read_rows(expert * tensor.rows + first, rows) {
                    failure.lock().expect("nobody panics with it").get_or_insert(e);
                    return;
                }
                for (i, rows) in panels.zip(rows.chunks((PANEL * row_bytes).max(1))) {
                    // SAFETY: every panel is packed by one thread.
                    let to = unsafe {
                        (
                            quants.at(i * quant_bytes..(i + 1) * quant_bytes),
                            scales.at(i * scale_bytes..(i + 1) * scale_bytes),
                        )
                    };
                    panel(tensor.dtype, layout, bias, (rows, row_bytes), blocks, to);
                }
            }
        });
    });
    match failure.into_inner().expect("nobody panics with it") {
        Some(e) => Err(e.into()),
        None => Ok(()),
    }
}

/// Cuts a range of panels into parts of one expert and of `at_once` at most.
fn cut(range: Range<usize>, panels_each: usize, at_once: usize) -> impl Iterator<Item = Range<usize>> {
    let mut start = range.start;
    std::iter::from_fn(move || {
        let end = range.end.min(start + at_once).min((start / panels_each + 1) * panels_each);
        let part = std::mem::replace(&mut start, end)..end;
        (!part.is_empty()).then_some(part)
    })
}

/// Packs a panel of up to sixteen rows.
fn panel(
    dtype: DType,
    layout: Layout,
    bias: u8,
    (rows, row_bytes): (&[u8], usize),
    blocks: &mut [Vec<Block32>; PANEL],
    (quants, scales): (&mut [u8], &mut [u8]),
) {
    match layout {
        Layout::F32 => floats::<4>(rows, row_bytes, quants),
        Layout::F16 | Layout::Bf16 => floats::<2>(rows, row_bytes, quants),
        Layout::Q8 => {
            q8(rows, row_bytes, bias, bytemuck::cast_slice_mut(quants), bytemuck::cast_slice_mut(scales));
        }
        Layout::Mx4 => {
            mx4(rows, row_bytes, bytemuck::cast_slice_mut(quants), bytemuck::cast_slice_mut(scales))
        }
        _ => {
            let rows = rows.chunks_exact(row_bytes.max(1));
            let n_rows = rows.len();
            for (row, blocks) in rows.zip(&mut *blocks) {
                blocks.clear();
                unpack_row(dtype, row, blocks).expect("whole blocks of a quantized type");
            }
            integers(layout, &blocks[..n_rows], quants, scales);
        }
    }
}

/// Transposes rows of numbers of `N` bytes.
fn floats<const N: usize>(rows: &[u8], row_bytes: usize, quants: &mut [u8]) {
    let quants = quants.as_chunks_mut::<N>().0;
    for (lane, row) in rows.chunks_exact(row_bytes.max(1)).enumerate() {
        for (input, out) in row.as_chunks::<N>().0.iter().zip(quants.chunks_exact_mut(PANEL)) {
            out[lane] = *input;
        }
    }
}

/// Q8_0 as it comes: `d | 32 x i8` a block.
fn q8(
    rows: &[u8],
    row_bytes: usize,
    bias: u8,
    quants: &mut [[[u32; PANEL]; 8]],
    scales: &mut [[u16; PANEL]],
) {
    const BLOCK: usize = 34;
    const FOURS: usize = 4;
    let n_rows = rows.len() / row_bytes;
    let bias = u32::from_ne_bytes([bias; 4]);
    for (b, (quants, scales)) in quants.iter_mut().zip(scales).enumerate() {
        for lane in (0..PANEL).step_by(FOURS) {
            // A row that is not there is as good as the last.
            let blocks: [&[u8; BLOCK]; FOURS] = std::array::from_fn(|i| {
                let row = &rows[(lane + i).min(n_rows - 1) * row_bytes..];
                row[b * BLOCK..].first_chunk().expect("a row is whole blocks")
            });
            for (block, scale) in blocks.iter().zip(&mut scales[lane..]) {
                *scale = u16::from_le_bytes([block[0], block[1]]);
            }
            for (half, quants) in quants.as_chunks_mut::<FOURS>().0.iter_mut().enumerate() {
                let mut rows = [[0; FOURS]; FOURS];
                for (row, block) in rows.iter_mut().zip(blocks) {
                    let bytes: &[u8; 16] =
                        block[2 + 16 * half..].first_chunk().expect("a block has 32 bytes");
                    // Adding 128 to a byte turns its top bit.
                    let fours: [u32; FOURS] = bytemuck::cast(*bytes);
                    row.iter_mut().zip(fours).for_each(|(out, four)| *out = four ^ bias);
                }
                for (out, fours) in quants.iter_mut().zip(transpose(rows)) {
                    out[lane..lane + FOURS].copy_from_slice(&fours);
                }
            }
        }
    }
}

/// MXFP4 as it comes: `e | 16 nibble pairs` a block.
fn mx4(rows: &[u8], row_bytes: usize, quants: &mut [Nibbles], scales: &mut [[u8; PANEL]]) {
    const BLOCK: usize = 17;
    const FOURS: usize = 4;
    let n_rows = rows.len() / row_bytes;
    for (b, (quants, scales)) in quants.iter_mut().zip(scales).enumerate() {
        for lane in (0..PANEL).step_by(FOURS) {
            // Lanes past the last row repeat it.
            let blocks: [&[u8; BLOCK]; FOURS] = std::array::from_fn(|i| {
                let row = &rows[(lane + i).min(n_rows - 1) * row_bytes..];
                row[b * BLOCK..].first_chunk().expect("a row is whole blocks")
            });
            let mut pairs = [[0; FOURS]; FOURS];
            for ((pairs, block), scale) in pairs.iter_mut().zip(blocks).zip(&mut scales[lane..]) {
                let bytes: &[u8; 16] = block[1..].first_chunk().expect("a block has 32 codes");
                (*scale, *pairs) = (block[0], bytemuck::cast(*bytes));
            }
            for (out, pairs) in quants.iter_mut().zip(transpose(pairs)) {
                out[4 * lane..][..4 * FOURS].copy_from_slice(bytemuck::cast_slice(&pairs));
            }
        }
    }
}

/// Number i of every row becomes row i.
#[cfg(target_arch = "x86_64")]
fn transpose(rows: [[u32; 4]; 4]) -> [[u32; 4]; 4] {
    use std::arch::x86_64::{_mm_unpackhi_epi32, _mm_unpackhi_epi64, _mm_unpacklo_epi32, _mm_unpacklo_epi64};
    let [a, b, c, d] = bytemuck::cast(rows);
    // SAFETY: every x86-64 has SSE2.
    let columns = unsafe {
        let (low, high) = (_mm_unpacklo_epi32(a, b), _mm_unpackhi_epi32(a, b));
        let (next_low, next_high) = (_mm_unpacklo_epi32(c, d), _mm_unpackhi_epi32(c, d));
        [
            _mm_unpacklo_epi64(low, next_low),
            _mm_unpackhi_epi64(low, next_low),
            _mm_unpacklo_epi64(high, next_high),
            _mm_unpackhi_epi64(high, next_high),
        ]
    };
    bytemuck::cast(columns)
}

/// Number i of every row becomes row i.
#[cfg(not(target_arch = "x86_64"))]
fn transpose(rows: [[u32; 4]; 4]) -> [[u32; 4]; 4] {
    std::array::from_fn(|i| rows.map(|row| row[i]))
}

/// Quantized types from their blocks.
fn integers(layout: Layout, rows: &[Vec<Block32>], quants: &mut [u8], scales: &mut [u8]) {
    match layout {
        Layout::Q4 => {
            let quants: &mut [Nibbles] = bytemuck::cast_slice_mut(quants);
            let scales: &mut [[u16; PANEL]] = bytemuck::cast_slice_mut(scales);
            for (lane, blocks) in rows.iter().enumerate() {
                for ((block, quants), scales) in blocks.iter().zip(&mut *quants).zip(&mut *scales) {
                    nibbles(&block.q.map(|q| (q + 8) as u8), lane, quants);
                    scales[lane] = half(block.d);
                }
            }
        }
        Layout::Q4K => {
            let quants: &mut [[Nibbles; 8]] = bytemuck::cast_slice_mut(quants);
            let scales: &mut [ScalesMin] = bytemuck::cast_slice_mut(scales);
            for (lane, blocks) in rows.iter().enumerate() {
                for ((blocks, quants), scales) in
                    blocks.as_chunks::<8>().0.iter().zip(&mut *quants).zip(&mut *scales)
                {
                    scales.set(blocks, lane);
                    for (block, quants) in blocks.iter().zip(quants) {
                        nibbles(&block.q.map(|q| q as u8), lane, quants);
                    }
                }
            }
        }
        Layout::Q6K => {
            let quants: &mut [[SixBits; 8]] = bytemuck::cast_slice_mut(quants);
            let scales: &mut [ScalesQ6K] = bytemuck::cast_slice_mut(scales);
            for (lane, blocks) in rows.iter().enumerate() {
                for ((blocks, quants), scales) in
                    blocks.as_chunks::<8>().0.iter().zip(&mut *quants).zip(&mut *scales)
                {
                    scales.d[lane] = half(blocks[0].d);
                    for (b, block) in blocks.iter().enumerate() {
                        let q = block.q.map(|q| (q + 32) as u8);
                        nibbles(&q.map(|q| q & 15), lane, &mut quants[b].low);
                        for (row, four) in q.as_chunks::<4>().0.iter().enumerate() {
                            let high = &mut quants[b].high[row / 4][4 * lane..][..4];
                            high.iter_mut().zip(four).for_each(|(h, q)| *h |= (q >> 4) << (2 * (row % 4)));
                        }
                        (0..2).for_each(|half| scales.scale[b][half][lane] = block.scale[half] as i8);
                    }
                }
            }
        }
        Layout::Codes(codes) => codes.pack(rows, quants, scales),
        Layout::F32 | Layout::F16 | Layout::Bf16 | Layout::Q8 | Layout::Mx4 => {
            unreachable!("packed without blocks")
        }
        Layout::Wide { .. } | Layout::Words => unreachable!("only made of packed weights"),
    }
}

/// 32 nibbles of one output.
fn nibbles(q: &[u8; 32], lane: usize, out: &mut Nibbles) {
    for (eight, out) in q.as_chunks::<8>().0.iter().zip(out) {
        let [low, high] =
            [0, 4].map(|i| u32::from_ne_bytes([eight[i], eight[i + 1], eight[i + 2], eight[i + 3]]));
        out[4 * lane..][..4].copy_from_slice(&(low | high << 4).to_ne_bytes());
    }
}

impl ScalesMin {
    /// The scales of one output.
    pub(super) fn set(&mut self, blocks: &[Block32], lane: usize) {
        (self.d[lane], self.dmin[lane]) = (half(blocks[0].d), half(blocks[0].dmin));
        for ((block, scale), min) in blocks.iter().zip(&mut self.scale).zip(&mut self.min) {
            (scale[lane], min[lane]) = (block.scale[0] as u8, block.min[0]);
        }
    }
}

/// The bits of a number that was read from half precision.
pub(super) fn half(x: f32) -> u16 {
    half::f16::from_f32(x).to_bits()
}
