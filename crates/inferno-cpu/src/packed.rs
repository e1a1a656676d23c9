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
#[cfg(test)]
mod tests;

use std::ops::{Range, RangeInclusive};

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
        /// Bits of the weights' integers: 8, or fewer where bytes are the unsigned integers of [`stored_from`].
        bits: u32,
        /// A scale for 16 and not for 32.
        run16: bool,
        /// Weights count from minimums.
        min: bool,
    },
    /// As `Wide` with a scale for 32 and no minimums, but integers have 16 bits.
    Words,
}

/// Width of the narrowest integers that have kernels of their own.
const FEWEST_BITS: u32 = 4;

/// The integers that the weights of a quantized type are before they are scaled.
fn integers(dtype: DType) -> RangeInclusive<i8> {
    match dtype {
        DType::Q1_0 | DType::TQ1_0 => -1..=1,
        DType::Q2_0 | DType::TQ2_0 => -1..=2,
        DType::Q2_K => 0..=3,
        DType::Q3_K => -4..=3,
        DType::Q4_0 => -8..=7,
        DType::Q4_1 | DType::Q4_K => 0..=15,
        DType::Q5_0 => -16..=15,
        DType::Q5_1 | DType::Q5_K => 0..=31,
        DType::Q6_K => -32..=31,
        DType::IQ1_S | DType::IQ1_M => -9..=9,
        DType::IQ2_XXS | DType::IQ2_XS | DType::IQ2_S => -43..=43,
        DType::IQ3_XXS => -62..=62,
        DType::IQ3_S => -15..=15,
        DType::MXFP4 | DType::NVFP4 => -12..=12,
        _ => i8::MIN..=i8::MAX,
    }
}

/// The integer that is stored as 0 where weights are unsigned integers of `bits` bits: 0 in types with minimums, whose
/// integers are not negative, and else the smallest signed integer of that width.
const fn stored_from(bits: u32, min: bool) -> i8 {
    if min { 0 } else { (-1 << (bits - 1)) as i8 }
}

/// Bits of the unsigned integers that hold all weights of a quantized type, [`FEWEST_BITS`] at least.
fn stored_bits(dtype: DType) -> u32 {
    let integers = integers(dtype);
    let fits = |bits: &u32| {
        let first = i32::from(stored_from(*bits, dtype.has_minimums()));
        first <= (*integers.start()).into() && i32::from(*integers.end()) < first + (1 << bits)
    };
    (FEWEST_BITS..=8).find(fits).expect("bytes hold every type")
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
    /// The layout that serves a type. `by_pairs`: for a level that multiplies pairs of numbers.
    pub(crate) fn of(dtype: DType, by_pairs: bool) -> Layout {
        match dtype {
            DType::F32 => Layout::F32,
            DType::F16 => Layout::F16,
            DType::BF16 => Layout::Bf16,
            DType::Q8_0 => Layout::Q8,
            DType::Q4_0 => Layout::Q4,
            DType::MXFP4 => Layout::Mx4,
            DType::Q4_K => Layout::Q4K,
            DType::Q6_K => Layout::Q6K,
            other => Layout::wide(other, by_pairs),
        }
    }

    /// The layout of bytes for a quantized type.
    fn wide(dtype: DType, by_pairs: bool) -> Layout {
        let bits = if by_pairs { stored_bits(dtype) } else { 8 };
        Layout::Wide { bits, run16: dtype.scale_len() == 16, min: dtype.has_minimums() }
    }

    /// The layout that weights of type `dtype` are unpacked to for many rows, if they are; `by_pairs` as in [`Layout::of`].
    pub(crate) fn unpacked(self, dtype: DType, by_pairs: bool) -> Option<Layout> {
        if !self.is_quantized() {
            return None;
        }
        let wide = Layout::wide(dtype, by_pairs);
        match wide {
            Layout::Wide { bits: 8, run16: false, min: false } if by_pairs => Some(Layout::Words),
            // Bytes already.
            _ if self == wide || self == Layout::Q8 => None,
            _ => Some(wide),
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
            Layout::Wide { run16, min, .. } => {
                let n_vectors = (1 + usize::from(run16)) * (1 + usize::from(min));
                (32, size_of::<Bytes>(), 4 * PANEL * n_vectors)
            }
            Layout::Words => (32, size_of::<Words>(), 4 * PANEL),
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
    /// Reads and packs a tensor on all threads of `pool`. `bias` is added to bytes of eight bits.
    pub(crate) fn new(
        tensor: &HostTensor<'_>,
        layout: Layout,
        bias: u8,
        pool: &mut Pool,
        arena: &mut Arena,
    ) -> Result<Packed, LoadError> {
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
    pub(crate) fn nothing(
        tensor: &HostTensor<'_>,
        layout: Layout,
        arena: &mut Arena,
    ) -> Result<Packed, LoadError> {
        let what = || format!("tensor `{}`", tensor.name);
        Ok(Packed {
            name: tensor.name.clone(),
            dtype: tensor.dtype,
            layout,
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
