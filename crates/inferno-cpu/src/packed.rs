//! Weights as the kernels read them: panels of sixteen outputs, interleaved so that a vector holds the same inputs of
//! all sixteen.
//!
//! ```text
//! floats      [input][16 outputs]
//! integers    [block of 32 inputs][4 inputs at a time][16 outputs][4 inputs]     64 bytes a row of this drawing
//! 4 bits      the same order, two such rows in the low and high halves of one
//! MXFP4       the low halves of a row are inputs 4i..4i + 4, the high ones 16 + 4i..16 + 4i + 4, as in the file
//! codes       the same order in 1, 2 or 4 bits: 8, 4 or 2 rows in one, earlier ones in lower bits; of codes of 3 or 5
//!             bits the upper ones follow, eight rows in one
//! ```
//!
//! A panel's quants lie end to end, and so do its scales in a plane of their own. Pieces of panels of codes are unpacked to
//! bytes or 16 bits that stay in a near cache, and these are multiplied; few rows multiply some as they are stored.

mod codes;
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

pub(crate) use codes::{Codes, E4M3_FACTOR, FewRows, NibblesMin, Scales, planes};

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
    /// Places among the integers of a type, for all types that have no layout above.
    Codes(Codes),
    /// Bytes with f32 scales: what any type is unpacked to.
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

/// The integer that is stored as 0 where weights are unsigned integers of `bits` bits: 0 in types with minimums, whose
/// integers are not negative, and else the smallest signed integer of that width.
pub(crate) const fn stored_from(bits: u32, min: bool) -> i8 {
    if min { 0 } else { (-1 << (bits - 1)) as i8 }
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

/// The scales of 256 inputs × 16 outputs of Q4_K and Q5_K.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct ScalesMin {
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
    /// The layout that serves a type that has weights.
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
            other => Layout::Codes(Codes::of(other).expect("the loader knows the type")),
        }
    }

    /// The integers that quantized weights are before they are scaled.
    fn integers(self) -> RangeInclusive<i8> {
        match self {
            Layout::Q4 => -8..=7,
            Layout::Mx4 => -12..=12,
            Layout::Q4K => 0..=15,
            Layout::Q6K => -32..=31,
            Layout::Codes(Codes { values, .. }) => values[0]..=values[values.len() - 1],
            _ => i8::MIN..=i8::MAX,
        }
    }

    /// The layout of bytes for quantized weights. `by_pairs`: for a level that multiplies pairs of numbers.
    pub(crate) fn wide(self, by_pairs: bool) -> Layout {
        let (run16, min) = match self {
            Layout::Q4K => (false, true),
            Layout::Q6K => (true, false),
            Layout::Codes(Codes { scales, .. }) => scales.runs(),
            _ => (false, false),
        };
        let bits = if by_pairs { stored_bits(&self.integers(), run16, min) } else { 8 };
        Layout::Wide { bits, run16, min }
    }

    /// The layout that weights are unpacked to for many rows, if they are; `by_pairs` as in [`Layout::wide`].
    pub(crate) fn unpacked(self, by_pairs: bool) -> Option<Layout> {
        if !self.is_quantized() {
            return None;
        }
        match self.wide(by_pairs) {
            Layout::Wide { bits: 8, .. } if by_pairs => Some(Layout::Words),
            // Bytes already.
            _ if self == Layout::Q8 => None,
            wide => Some(wide),
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
            Layout::Q4K => (256, 8 * size_of::<Nibbles>(), size_of::<ScalesMin>()),
            Layout::Q6K => (256, 8 * size_of::<SixBits>(), size_of::<ScalesQ6K>()),
            Layout::Codes(codes) => {
                let (inputs, scales) = codes.scales.unit();
                (inputs, inputs / 32 * codes.bits() * 64, scales)
            }
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

/// Bits of the unsigned integers of a layout of bytes that hold `integers`: the fewest that have kernels of their own.
fn stored_bits(integers: &RangeInclusive<i8>, run16: bool, min: bool) -> u32 {
    // 16 products of 6 signed bits add up in 16 bits, and fewer bits cost as much.
    let fewest = if run16 && !min { 6 } else { 4 };
    let fits = |bits: &u32| {
        let first = i32::from(stored_from(*bits, min));
        first <= (*integers.start()).into() && i32::from(*integers.end()) < first + (1 << bits)
    };
    (fewest..=8).find(fits).expect("bytes hold every type")
}

/// Sixteen outputs' weights.
#[derive(Clone, Copy)]
pub(crate) struct Panel<'a> {
    pub(crate) layout: Layout,
    pub(crate) quants: &'a [u8],
    pub(crate) scales: &'a [u8],
    /// The stored quants that these were unpacked from, else nothing.
    pub(crate) source: &'a [u8],
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
            source: &[],
        }
    }
}
