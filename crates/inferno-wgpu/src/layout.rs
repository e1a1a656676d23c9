//! Weights as the kernels read them, still quantized: panels of eight outputs, interleaved so that neighbouring threads read
//! neighbouring vectors of 16 bytes.
//!
//! ```text
//! panel       [quants: a main plane, for some types one with the upper bits][scales]
//! plane       [block of 32 inputs][8 outputs]
//! ```
//!
//! `kernels/formats/` has the other side of every plane.

use half::f16;
use inferno_format::{Block32, DType, E2M1_DOUBLED};

/// Outputs in a panel.
pub(crate) const PANEL: usize = 8;
/// Inputs in a block.
pub(crate) const BLOCK: usize = 32;

/// How the numbers of a tensor are stored on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Layout {
    /// One float each.
    Floats(Floats),
    /// Integers, and scales of blocks.
    Integers(Integers),
}

/// Kinds of floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Floats {
    F32,
    F16,
    Bf16,
}

/// Quantized weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Integers {
    pub(crate) quants: Quants,
    pub(crate) scales: Scales,
    /// By how much the stored quants are too high.
    pub(crate) offset: i32,
}

/// How small integers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Quants {
    Bytes,
    Nibbles,
    Crumbs,
    NibblesAndBits,
    NibblesAndCrumbs,
    CrumbsAndBits,
    /// Nibbles that index a table.
    Codebook(&'static [i8; 16]),
}

/// How a block's scales are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Scales {
    /// In half precision.
    F16,
    /// A power of two as a byte of E8M0: half of that, as the quants are stored doubled.
    E8m0,
    /// With what is added, in half precision both.
    AndMinimum,
    /// Bytes of scale and minimum, their units for 256 weights.
    KMinimum,
    /// A byte of scale for 16 weights, its unit for 256 in f32.
    KHalves,
    /// Nibbles of scale and minimum for 16 weights, their units for 256.
    KHalvesMinimum,
    /// A byte of E4M3 for 16 weights: half of what it stands for, as the quants are stored doubled.
    E4m3Halves,
}

/// Eight times -1, 0 and 1, each an eighth less and more: the weights of IQ1.
const IQ1: [i8; 16] = [-9, -7, -1, 1, 7, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// The weights of IQ2.
const IQ2: [i8; 16] = [8, 25, 43, -8, -25, -43, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// The weights of IQ3_XXS.
const IQ3_XXS: [i8; 16] = [4, 12, 20, 28, 36, 44, 52, 62, -4, -12, -20, -28, -36, -44, -52, -62];
/// The weights of IQ3_S.
const IQ3_S: [i8; 16] = [1, 3, 5, 7, 9, 11, 13, 15, -1, -3, -5, -7, -9, -11, -13, -15];
/// `kvalues_iq4nl` of ggml.
const IQ4: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

impl Layout {
    /// The layout of a type; `None` if there is none.
    pub(crate) fn of(dtype: DType) -> Option<Layout> {
        let integers = |quants, scales, offset| Layout::Integers(Integers { quants, scales, offset });
        Some(match dtype {
            DType::F32 => Layout::Floats(Floats::F32),
            DType::F16 => Layout::Floats(Floats::F16),
            DType::BF16 => Layout::Floats(Floats::Bf16),
            DType::Q8_0 => integers(Quants::Bytes, Scales::F16, 0),
            DType::Q4_0 => integers(Quants::Nibbles, Scales::F16, 8),
            DType::Q4_1 => integers(Quants::Nibbles, Scales::AndMinimum, 0),
            DType::Q5_0 => integers(Quants::NibblesAndBits, Scales::F16, 16),
            DType::Q5_1 => integers(Quants::NibblesAndBits, Scales::AndMinimum, 0),
            DType::Q2_K => integers(Quants::Crumbs, Scales::KHalvesMinimum, 0),
            DType::Q3_K => integers(Quants::CrumbsAndBits, Scales::KHalves, 4),
            DType::Q4_K => integers(Quants::Nibbles, Scales::KMinimum, 0),
            DType::Q5_K => integers(Quants::NibblesAndBits, Scales::KMinimum, 0),
            DType::Q6_K => integers(Quants::NibblesAndCrumbs, Scales::KHalves, 32),
            DType::IQ1_S | DType::IQ1_M => integers(Quants::Codebook(&IQ1), Scales::KHalves, 0),
            DType::IQ2_XXS | DType::IQ2_XS | DType::IQ2_S => {
                integers(Quants::Codebook(&IQ2), Scales::KHalves, 0)
            }
            DType::IQ3_XXS => integers(Quants::Codebook(&IQ3_XXS), Scales::KHalves, 0),
            DType::IQ3_S => integers(Quants::Codebook(&IQ3_S), Scales::KHalves, 0),
            DType::TQ1_0 | DType::TQ2_0 | DType::Q1_0 | DType::Q2_0 => {
                integers(Quants::Crumbs, Scales::F16, 1)
            }
            DType::NVFP4 => integers(Quants::Codebook(&E2M1_DOUBLED), Scales::E4m3Halves, 0),
            DType::IQ4_NL => integers(Quants::Codebook(&IQ4), Scales::F16, 0),
            DType::IQ4_XS => integers(Quants::Codebook(&IQ4), Scales::KHalves, 0),
            DType::MXFP4 => integers(Quants::Codebook(&E2M1_DOUBLED), Scales::E8m0, 0),
            _ => return None,
        })
    }

    /// Vectors of 16 bytes in a panel with `cols` inputs.
    pub(crate) fn panel_len(self, cols: usize) -> usize {
        let n_blocks = cols.div_ceil(BLOCK);
        match self {
            Layout::Floats(Floats::F32) => n_blocks * 2 * BLOCK,
            Layout::Floats(_) => n_blocks * BLOCK,
            Layout::Integers(Integers { quants, scales, .. }) => {
                let (main, extra) = quants.planes();
                let (halves, words) = scales.planes(n_blocks);
                n_blocks * (main + extra) + halves + words
            }
        }
    }
}

impl Quants {
    /// Vectors of a block in the main plane and in the other.
    fn planes(self) -> (usize, usize) {
        match self {
            Quants::Bytes => (16, 0),
            Quants::Nibbles | Quants::Codebook(_) => (8, 0),
            Quants::Crumbs => (4, 0),
            Quants::NibblesAndBits => (8, 2),
            Quants::NibblesAndCrumbs => (8, 4),
            Quants::CrumbsAndBits => (4, 2),
        }
    }
}

impl Scales {
    /// Vectors of the plane of 8 or 16 bits and of the plane of words.
    fn planes(self, n_blocks: usize) -> (usize, usize) {
        match self {
            Scales::E8m0 => (n_blocks.div_ceil(2), 0),
            Scales::F16 | Scales::E4m3Halves => (n_blocks, 0),
            Scales::AndMinimum => (0, 2 * n_blocks),
            _ => (n_blocks, 2 * n_blocks.div_ceil(8)),
        }
    }
}

/// Packs up to eight rows of floats, of `cols` numbers of `N` bytes each.
pub(crate) fn pack_floats<const N: usize>(rows: &[u8], cols: usize, panel: &mut [u8]) {
    // Inputs of an output that lie together.
    let n = 16 / N;
    for (lane, row) in rows.chunks_exact((cols * N).max(1)).enumerate() {
        for (i, inputs) in row.chunks(n * N).enumerate() {
            panel[(i * PANEL + lane) * 16..][..inputs.len()].copy_from_slice(inputs);
        }
    }
}

/// Packs up to eight rows of blocks.
pub(crate) fn pack_blocks(layout: Integers, rows: &[Vec<Block32>], panel: &mut [u32]) {
    let n_blocks = rows[0].len();
    for (lane, row) in rows.iter().enumerate() {
        for (b, block) in row.iter().enumerate() {
            pack_quants(layout, block, (n_blocks, b, lane), panel);
            pack_scales(layout, block, (n_blocks, b, lane), panel);
        }
    }
}

fn pack_quants(
    layout: Integers,
    block: &Block32,
    (n_blocks, b, lane): (usize, usize, usize),
    panel: &mut [u32],
) {
    let stored: [u8; BLOCK] = match layout.quants {
        Quants::Codebook(book) => block.q.map(|q| {
            book.iter().position(|&entry| entry == q).expect("quants are entries of the codebook") as u8
        }),
        _ => block.q.map(|q| (i32::from(q) + layout.offset) as u8),
    };
    let (main, extra) = layout.quants.planes();
    let main = main * b;
    let extra = n_blocks * layout.quants.planes().0 + extra * b;
    match layout.quants {
        Quants::Bytes => {
            for (i, word) in stored.as_chunks::<4>().0.iter().enumerate() {
                panel[4 * (main + 8 * (i / 4) + lane) + i % 4] = u32::from_le_bytes(*word);
            }
        }
        Quants::Nibbles | Quants::Codebook(_) => nibbles(&stored, main + lane, panel),
        Quants::Crumbs => crumbs(&stored, 2 * main + lane, panel),
        Quants::NibblesAndBits => {
            nibbles(&stored.map(|q| q & 15), main + lane, panel);
            bits(&stored.map(|q| q >> 4), 4 * extra + lane, panel);
        }
        Quants::NibblesAndCrumbs => {
            nibbles(&stored.map(|q| q & 15), main + lane, panel);
            crumbs(&stored.map(|q| q >> 4), 2 * extra + lane, panel);
        }
        Quants::CrumbsAndBits => {
            crumbs(&stored.map(|q| q & 3), 2 * main + lane, panel);
            bits(&stored.map(|q| q >> 2), 4 * extra + lane, panel);
        }
    }
}

/// The vector `at`.
fn nibbles(q: &[u8; BLOCK], at: usize, panel: &mut [u32]) {
    for i in 0..4 {
        let bytes = std::array::from_fn(|b| q[4 * i + b] | q[16 + 4 * i + b] << 4);
        panel[4 * at + i] = u32::from_le_bytes(bytes);
    }
}

/// The pair of words `at`.
fn crumbs(q: &[u8; BLOCK], at: usize, panel: &mut [u32]) {
    for i in 0..2 {
        let byte = |b| (0..4).fold(0, |byte, j| byte | q[16 * i + 4 * j + b] << (2 * j));
        panel[2 * at + i] = u32::from_le_bytes(std::array::from_fn(byte));
    }
}

/// The word `at`.
fn bits(q: &[u8; BLOCK], at: usize, panel: &mut [u32]) {
    let byte = |b| (0..8).fold(0, |byte, i| byte | q[4 * i + b] << i);
    panel[at] = u32::from_le_bytes(std::array::from_fn(byte));
}

fn pack_scales(
    layout: Integers,
    block: &Block32,
    (n_blocks, b, lane): (usize, usize, usize),
    panel: &mut [u32],
) {
    let half = |x: f32| u32::from(f16::from_f32(x).to_bits());
    let (main, extra) = layout.quants.planes();
    let start = n_blocks * (main + extra);
    let (n_halves, _) = layout.scales.planes(n_blocks);
    let [scale, other_scale] = block.scale.map(|s| u32::from(s as u8));
    let [min, other_min] = block.min.map(u32::from);
    let (short, word) = match layout.scales {
        Scales::F16 => (half(block.d), None),
        Scales::E8m0 => {
            panel[4 * start + 2 * b + lane / 4] |= e8m0(block.d) << (8 * (lane % 4));
            return;
        }
        Scales::AndMinimum => (0, Some((b, half(block.d) | half(-block.dmin) << 16))),
        Scales::KMinimum => (scale | min << 8, Some((b / 8, half(block.d) | half(block.dmin) << 16))),
        Scales::KHalves => (scale | other_scale << 8, Some((b / 8, block.d.to_bits()))),
        Scales::E4m3Halves => {
            let [low, high] = block.scale.map(e4m3);
            (low | high << 8, None)
        }
        Scales::KHalvesMinimum => {
            let nibbles = scale | other_scale << 4 | min << 8 | other_min << 12;
            (nibbles, Some((b / 8, half(block.d) | half(block.dmin) << 16)))
        }
    };
    if n_halves > 0 {
        panel[4 * (start + b) + lane / 2] |= short << (16 * (lane % 2));
    }
    if let Some((unit, word)) = word {
        panel[4 * (start + n_halves + 2 * unit) + lane] = word;
    }
}

/// The byte whose half is the power of two `d`.
fn e8m0(d: f32) -> u32 {
    match d.to_bits() {
        // 2^-128 and 2^-127 are subnormal.
        0x0020_0000 => 0,
        0x0040_0000 => 1,
        bits => (bits >> 23) + 1,
    }
}

/// The byte of E4M3 whose half is `scale` units of 2^-10.
fn e4m3(scale: i32) -> u32 {
    let shift = (28 - scale.leading_zeros() as i32).max(0);
    match shift {
        0 => scale as u32,
        _ => ((shift + 1) << 3) as u32 | (scale >> shift) as u32 & 7,
    }
}

#[cfg(test)]
mod tests {
    use inferno_format::unpack_row;

    use super::*;

    #[test]
    fn every_scale_of_mxfp4_is_its_byte() {
        for e in 0..=u8::MAX {
            let (mut bytes, mut blocks) = ([0x71; 17], Vec::new());
            bytes[0] = e;
            unpack_row(DType::MXFP4, &bytes, &mut blocks).unwrap();
            assert_eq!(e8m0(blocks[0].d), u32::from(e));
        }
    }

    #[test]
    fn every_scale_of_nvfp4_is_its_byte() {
        for e in (0..=u8::MAX).filter(|e| *e != 0x7f) {
            let (mut bytes, mut blocks) = ([0x71; 36], Vec::new());
            bytes[0] = e;
            unpack_row(DType::NVFP4, &bytes, &mut blocks).unwrap();
            assert_eq!(e4m3(blocks[0].scale[0]), u32::from(e & 0x7f));
        }
    }

    #[test]
    fn mxfp4_takes_as_much_as_in_the_file() {
        let layout = Layout::of(DType::MXFP4).unwrap();
        let n_blocks = 90;
        assert_eq!(16 * layout.panel_len(BLOCK * n_blocks), PANEL * n_blocks * 17);
    }
}
