//! Weights as the kernels read them: panels of sixteen outputs, interleaved so that a vector holds the same inputs of
//! all sixteen.
//!
//! ```text
//! floats      [input][16 outputs]
//! integers    [block of 32 inputs][4 inputs at a time][16 outputs][4 inputs]     64 bytes a row of this drawing
//! 4 bits      the same order, two such rows in the low and high halves of one
//! MXFP4       the low halves of a row are inputs 4i..4i + 4, the high ones 16 + 4i..16 + 4i + 4, as in the file
//! ```
//!
//! A panel's quants lie end to end, and so do its scales in a plane of their own.

mod pack;

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use inferno_format::DType;
use inferno_model::backend::HostTensor;
use inferno_model::error::LoadError;

use crate::memory::{Arena, Region};
use crate::pool::Pool;
use crate::simd::LANES;

/// Outputs in a panel.
pub(crate) const PANEL: usize = LANES;

/// How the matrices of a tensor are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// f32
    F32,
    /// The bits of half precision.
    F16,
    /// The upper halves of f32.
    Bf16,
    /// Bytes, a scale in half precision for 32.
    Q8,
    /// Nibbles, a scale in half precision for 32.
    Q4,
    /// Codes of E2M1, a power of two for 32 as its E8M0 byte.
    Mx4,
    /// Nibbles above a minimum; Q4_K's scales, a byte each.
    Q4K,
    /// Nibbles and two bits; Q6_K's scales.
    Q6K,
    /// Bytes with f32 scales: what any type can be unpacked to.
    Wide {
        /// A scale for 16 and not for 32.
        run16: bool,
        /// Weights count from minimums.
        min: bool,
    },
    /// As `Wide`, of Q4_0, but bytes are from 0 to 15.
    WideQ4,
    /// The same of MXFP4, from 4 to 28.
    WideMx4,
    /// The same of Q4_K.
    WideQ4K,
    /// The same of Q6_K, from 0 to 63.
    WideQ6K,
    /// As `Wide`, but numbers have 16 bits.
    Words {
        /// A scale for 16 and not for 32.
        run16: bool,
        /// Weights count from minimums.
        min: bool,
    },
}

/// 32 inputs × 16 outputs in bytes.
pub(crate) type Bytes = [[i8; 64]; 8];
/// 32 inputs × 16 outputs in 16 bits: of four inputs the even ones, then the odd ones.
pub(crate) type Words = [[[i16; 32]; 2]; 8];
/// 32 inputs × 16 outputs in nibbles.
pub(crate) type Nibbles = [[u8; 64]; 4];

/// 32 inputs × 16 outputs of Q6_K.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct SixBits {
    pub(crate) low: Nibbles,
    /// Bits 2i and 2i + 1 of array c are the upper bits of row 4c + i.
    pub(crate) high: [[u8; 64]; 2],
}

/// The scales of 256 inputs × 16 outputs of Q4_K.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct ScalesQ4K {
    pub(crate) scale: [[u8; PANEL]; 8],
    pub(crate) min: [[u8; PANEL]; 8],
    pub(crate) d: [u16; PANEL],
    pub(crate) dmin: [u16; PANEL],
}

/// The scales of 256 inputs × 16 outputs of Q6_K.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct ScalesQ6K {
    pub(crate) scale: [[[i8; PANEL]; 2]; 8],
    pub(crate) d: [u16; PANEL],
}

impl Layout {
    /// The layout that serves a type.
    pub(crate) fn of(dtype: DType) -> Layout {
        match dtype {
            DType::F32 => Layout::F32,
            DType::F16 => Layout::F16,
            DType::BF16 => Layout::Bf16,
            DType::Q8_0 => Layout::Q8,
            DType::Q4_0 => Layout::Q4,
            DType::MXFP4 => Layout::Mx4,
            DType::Q4_K => Layout::Q4K,
            DType::Q6_K => Layout::Q6K,
            other => Layout::Wide { run16: other.scale_len() == 16, min: other.has_minimums() },
        }
    }

    /// The layout that weights of type `dtype` are unpacked to for many rows, if they are. `by_pairs`: for a level that
    /// multiplies pairs of numbers.
    pub(crate) fn unpacked(self, dtype: DType, by_pairs: bool) -> Option<Layout> {
        let (run16, min) = (dtype.scale_len() == 16, dtype.has_minimums());
        match self {
            Layout::F32 | Layout::F16 | Layout::Bf16 => None,
            Layout::Q4 if by_pairs => Some(Layout::WideQ4),
            Layout::Mx4 if by_pairs => Some(Layout::WideMx4),
            Layout::Q4K if by_pairs => Some(Layout::WideQ4K),
            Layout::Q6K if by_pairs => Some(Layout::WideQ6K),
            _ if by_pairs => Some(Layout::Words { run16, min }),
            Layout::Q4 | Layout::Mx4 | Layout::Q4K | Layout::Q6K => Some(Layout::Wide { run16, min }),
            _ => None,
        }
    }

    /// Is the product taken in integers?
    pub(crate) fn is_quantized(self) -> bool {
        !matches!(self, Layout::F32 | Layout::F16 | Layout::Bf16)
    }

    /// Inputs that a unit of quants and one of scales stand for, and the bytes of both units for a panel.
    fn unit(self) -> (usize, usize, usize) {
        match self {
            Layout::F32 => (1, 4 * PANEL, 0),
            Layout::F16 | Layout::Bf16 => (1, 2 * PANEL, 0),
            Layout::Q8 => (32, size_of::<Bytes>(), 2 * PANEL),
            Layout::Q4 => (32, size_of::<Nibbles>(), 2 * PANEL),
            Layout::Mx4 => (32, size_of::<Nibbles>(), PANEL),
            Layout::Q4K => (256, 8 * size_of::<Nibbles>(), size_of::<ScalesQ4K>()),
            Layout::Q6K => (256, 8 * size_of::<SixBits>(), size_of::<ScalesQ6K>()),
            Layout::Wide { run16, min } | Layout::Words { run16, min } => {
                let n_vectors = (1 + usize::from(run16)) * (1 + usize::from(min));
                let is_bytes = matches!(self, Layout::Wide { .. });
                let quants = if is_bytes { size_of::<Bytes>() } else { size_of::<Words>() };
                (32, quants, 4 * PANEL * n_vectors)
            }
            Layout::WideQ4 | Layout::WideMx4 => (32, size_of::<Bytes>(), 4 * PANEL),
            Layout::WideQ4K | Layout::WideQ6K => (32, size_of::<Bytes>(), 4 * PANEL * 2),
        }
    }

    /// Bytes of quants and of scales of a panel with `cols` inputs.
    pub(crate) fn panel_bytes(self, cols: usize) -> (usize, usize) {
        let (inputs, quants, scales) = self.unit();
        (cols / inputs * quants, cols / inputs * scales)
    }
}

/// Sixteen outputs' weights.
#[derive(Clone, Copy)]
pub(crate) struct Panel<'a> {
    pub(crate) layout: Layout,
    pub(crate) quants: &'a [u8],
    pub(crate) scales: &'a [u8],
}

impl<'a> Panel<'a> {
    /// Only those inputs, which are whole units.
    pub(crate) fn part(self, inputs: &Range<usize>) -> Panel<'a> {
        let (start, end) = (self.layout.panel_bytes(inputs.start), self.layout.panel_bytes(inputs.end));
        Panel { quants: &self.quants[start.0..end.0], scales: &self.scales[start.1..end.1], ..self }
    }
}

/// A tensor's matrices, packed.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) name: String,
    pub(crate) dtype: DType,
    pub(crate) layout: Layout,
    /// Outputs of one matrix.
    pub(crate) rows: usize,
    /// Inputs.
    pub(crate) cols: usize,
    /// Bytes of a panel's quants and of its scales.
    panel_bytes: (usize, usize),
    quants: Region,
    scales: Region,
}

impl Packed {
    /// Reads and packs a tensor on all threads of `pool`. `bias` is added to bytes.
    pub(crate) fn new(
        tensor: &HostTensor<'_>,
        bias: u8,
        pool: &mut Pool,
        arena: &mut Arena,
    ) -> Result<Packed, LoadError> {
        let layout = Layout::of(tensor.dtype);
        let n_panels = tensor.n_experts * tensor.rows.div_ceil(PANEL);
        let (quant_bytes, scale_bytes) = layout.panel_bytes(tensor.cols);
        let what = || format!("tensor `{}`", tensor.name);
        let mut packed = Packed {
            name: tensor.name.clone(),
            dtype: tensor.dtype,
            layout,
            rows: tensor.rows,
            cols: tensor.cols,
            panel_bytes: (quant_bytes, scale_bytes),
            quants: arena.region(n_panels * quant_bytes, &what)?,
            scales: arena.region(n_panels * scale_bytes, &what)?,
        };
        let (quants, scales) = (packed.quants.bytes_mut(), packed.scales.bytes_mut());
        pack::pack(tensor, layout, bias, pool, (quants, scales))?;
        Ok(packed)
    }

    /// The shape of a tensor whose numbers are kept elsewhere.
    pub(crate) fn nothing(tensor: &HostTensor<'_>, arena: &mut Arena) -> Result<Packed, LoadError> {
        let what = || format!("tensor `{}`", tensor.name);
        Ok(Packed {
            name: tensor.name.clone(),
            dtype: tensor.dtype,
            layout: Layout::of(tensor.dtype),
            rows: 0,
            cols: tensor.cols,
            panel_bytes: (0, 0),
            quants: arena.region(0, &what)?,
            scales: arena.region(0, &what)?,
        })
    }

    /// Panels of one matrix; the last may have fewer than sixteen outputs.
    pub(crate) fn n_panels(&self) -> usize {
        self.rows.div_ceil(PANEL)
    }

    /// A panel of matrix `expert`.
    pub(crate) fn panel(&self, expert: usize, panel: usize) -> Panel<'_> {
        let (quant_bytes, scale_bytes) = self.panel_bytes;
        let i = expert * self.n_panels() + panel;
        Panel {
            layout: self.layout,
            quants: &self.quants.bytes()[i * quant_bytes..][..quant_bytes],
            scales: &self.scales.bytes()[i * scale_bytes..][..scale_bytes],
        }
    }
}
