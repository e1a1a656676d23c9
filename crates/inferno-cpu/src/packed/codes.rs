//! Types whose weights are few integers: every weight is the place of its integer among those of the type, in as many bits
//! as that takes, and scales are as small as the file has them.

use bytemuck::{Pod, Zeroable};
use inferno_format::{Block32, DType};

use super::pack::half;
use super::{PANEL, ScalesMin};

/// The way in which weights and scales of a type are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Codes {
    /// The integers that weights are, in ascending order, of which a code is the place; neighbours if there are more than 16.
    pub(crate) values: &'static [i8],
    pub(crate) scales: Scales,
    /// The kernel that multiplies few rows by codes as they are stored, if there is one.
    pub(crate) few_rows: Option<FewRows>,
}

/// A kernel for few rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FewRows {
    Q4Min,
    Q5,
    Q5Min,
    Q2K,
    Q3K,
    Q5K,
}

/// Kinds of scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scales {
    /// In half precision, for that many inputs.
    Half(usize),
    /// In half precision for 32 inputs, with a minimum.
    HalfMin,
    /// Signed bytes for 32 inputs or for 16, in units of a number in half precision for 256 over `divisor`, a power of two.
    Bytes { run16: bool, divisor: u8 },
    /// As Q4_K has them.
    BytesMin,
    /// Nibbles for 16 inputs, with minimums, in units of numbers in half precision for 256.
    NibblesMin,
    /// Seven bits of E4M3 for 16 inputs.
    E4m3,
}

/// Scales and minimums of 256 inputs × 16 outputs in nibbles.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct NibblesMin {
    /// Of 16 inputs each: the scale in the low half, the minimum in the high one.
    pub(crate) both: [[u8; PANEL]; 16],
    pub(crate) d: [u16; PANEL],
    pub(crate) dmin: [u16; PANEL],
}

/// Factor of a number in half precision that has the bits of E4M3 in the places of its own: the exponents of both begin
/// elsewhere, and weights of E2M1 are stored doubled.
pub(crate) const E4M3_FACTOR: f32 = 128.0;

const E2M1: [i8; 15] = [-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12];
const IQ1: [i8; 6] = [-9, -7, -1, 1, 7, 9];
const IQ2: [i8; 6] = [-43, -25, -8, 8, 25, 43];
const IQ3_XXS: [i8; 16] = [-62, -52, -44, -36, -28, -20, -12, -4, 4, 12, 20, 28, 36, 44, 52, 62];
const IQ3_S: [i8; 16] = [-15, -13, -11, -9, -7, -5, -3, -1, 1, 3, 5, 7, 9, 11, 13, 15];
const IQ4: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// `first` and those that follow it.
const fn from<const N: usize>(first: i8) -> [i8; N] {
    let mut all = [0; N];
    let mut i = 0;
    while i < N {
        all[i] = first + i as i8;
        i += 1;
    }
    all
}

impl Codes {
    /// The codes of a quantized type, unless it has a layout of its own.
    pub(super) fn of(dtype: DType) -> Option<Codes> {
        let bytes = |divisor| Scales::Bytes { run16: dtype.scale_len() == 16, divisor };
        let (values, scales): (&'static [i8], Scales) = match dtype {
            DType::Q1_0 => (&[-1, 1], Scales::Half(128)),
            DType::Q2_0 => (const { &from::<4>(-1) }, Scales::Half(64)),
            DType::TQ1_0 => (const { &from::<3>(-1) }, Scales::Half(256)),
            DType::TQ2_0 => (const { &from::<4>(-1) }, Scales::Half(256)),
            DType::Q5_0 => (const { &from::<32>(-16) }, Scales::Half(32)),
            DType::IQ4_NL => (&IQ4, Scales::Half(32)),
            DType::Q4_1 => (const { &from::<16>(0) }, Scales::HalfMin),
            DType::Q5_1 => (const { &from::<32>(0) }, Scales::HalfMin),
            DType::Q2_K => (const { &from::<4>(0) }, Scales::NibblesMin),
            DType::Q5_K => (const { &from::<32>(0) }, Scales::BytesMin),
            DType::Q3_K => (const { &from::<8>(-4) }, bytes(1)),
            DType::IQ4_XS => (&IQ4, bytes(1)),
            DType::IQ1_S | DType::IQ1_M => (&IQ1, bytes(8)),
            DType::IQ2_XXS | DType::IQ2_XS | DType::IQ2_S => (&IQ2, bytes(8)),
            DType::IQ3_XXS => (&IQ3_XXS, bytes(4)),
            DType::IQ3_S => (&IQ3_S, bytes(1)),
            DType::NVFP4 => (&E2M1, Scales::E4m3),
            _ => return None,
        };
        let few_rows = match dtype {
            DType::Q4_1 => Some(FewRows::Q4Min),
            DType::Q5_0 => Some(FewRows::Q5),
            DType::Q5_1 => Some(FewRows::Q5Min),
            DType::Q2_K => Some(FewRows::Q2K),
            DType::Q3_K => Some(FewRows::Q3K),
            DType::Q5_K => Some(FewRows::Q5K),
            _ => None,
        };
        Some(Codes { values, scales, few_rows })
    }

    /// Bits of a code.
    pub(crate) fn bits(self) -> usize {
        (self.values.len() - 1).ilog2() as usize + 1
    }

    /// Packs the blocks of up to sixteen rows to bytes that are zero.
    pub(super) fn pack(self, rows: &[Vec<Block32>], quants: &mut [u8], scales: &mut [u8]) {
        let mut code_of = [0; 256];
        for (code, value) in (0..).zip(self.values) {
            code_of[usize::from(*value as u8)] = code;
        }
        for (lane, blocks) in rows.iter().enumerate() {
            for (block, quants) in blocks.iter().zip(quants.chunks_exact_mut(64 * self.bits())) {
                self.pack_weights(&block.q.map(|q| code_of[usize::from(q as u8)]), lane, quants);
            }
            self.scales.pack(blocks, lane, scales);
        }
    }

    /// 32 codes of one output.
    fn pack_weights(self, codes: &[u8; 32], lane: usize, out: &mut [u8]) {
        let [low, high] = planes(self.bits());
        for (i, four) in codes.as_chunks::<4>().0.iter().enumerate() {
            let four = u32::from_ne_bytes(*four);
            for (bits, skipped) in [(low, 0), (high, low)] {
                let (row, shift) = (skipped + i * bits / 8, i * bits % 8);
                let mask = u32::from_ne_bytes([(1 << bits) - 1; 4]);
                for (out, part) in
                    out[64 * row..].iter_mut().skip(4 * lane).zip((four >> skipped & mask).to_ne_bytes())
                {
                    *out |= part << shift;
                }
            }
        }
    }
}

/// The bits of a code that lie in each of both planes, the lower ones first: the plane of a power of two of them, and that of
/// the bit that is left, if there is one.
pub(crate) const fn planes(bits: usize) -> [usize; 2] {
    let low = 1 << bits.ilog2();
    [low, bits - low]
}

impl Scales {
    /// Are there scales for 16 inputs, and minimums?
    pub(super) fn runs(self) -> (bool, bool) {
        match self {
            Scales::Half(_) => (false, false),
            Scales::HalfMin | Scales::BytesMin => (false, true),
            Scales::Bytes { run16, .. } => (run16, false),
            Scales::NibblesMin => (true, true),
            Scales::E4m3 => (true, false),
        }
    }

    /// Inputs that a unit stands for, and its bytes for a panel.
    pub(crate) fn unit(self) -> (usize, usize) {
        match self {
            Scales::Half(len) => (len, 2 * PANEL),
            Scales::HalfMin => (32, 4 * PANEL),
            Scales::Bytes { run16, .. } => (256, PANEL * (8 * (1 + usize::from(run16)) + 2)),
            Scales::BytesMin => (256, size_of::<ScalesMin>()),
            Scales::NibblesMin => (256, size_of::<NibblesMin>()),
            Scales::E4m3 => (32, 2 * PANEL),
        }
    }

    /// The scales of one output.
    fn pack(self, blocks: &[Block32], lane: usize, out: &mut [u8]) {
        let units = blocks.chunks_exact(self.unit().0 / 32);
        match self {
            Scales::Half(_) => {
                for (blocks, out) in units.zip(bytemuck::cast_slice_mut::<_, [u16; PANEL]>(out)) {
                    out[lane] = half(blocks[0].d);
                }
            }
            Scales::HalfMin => {
                for (blocks, out) in units.zip(bytemuck::cast_slice_mut::<_, [[u16; PANEL]; 2]>(out)) {
                    (out[0][lane], out[1][lane]) = (half(blocks[0].d), half(blocks[0].dmin));
                }
            }
            Scales::Bytes { run16, divisor } => {
                for (blocks, out) in units.zip(out.chunks_exact_mut(self.unit().1)) {
                    let (bytes, d) = out.split_at_mut(self.unit().1 - 2 * PANEL);
                    let scales = blocks.iter().flat_map(|block| &block.scale[..1 + usize::from(run16)]);
                    for (out, scale) in bytes.chunks_exact_mut(PANEL).zip(scales) {
                        out[lane] = *scale as u8;
                    }
                    bytemuck::cast_slice_mut(d)[lane] = half(blocks[0].d * f32::from(divisor));
                }
            }
            Scales::BytesMin => {
                for (blocks, out) in units.zip(bytemuck::cast_slice_mut::<_, ScalesMin>(out)) {
                    out.set(blocks, lane);
                }
            }
            Scales::NibblesMin => {
                for (blocks, out) in units.zip(bytemuck::cast_slice_mut::<_, NibblesMin>(out)) {
                    (out.d[lane], out.dmin[lane]) = (half(blocks[0].d), half(blocks[0].dmin));
                    for (block, out) in blocks.iter().zip(out.both.as_chunks_mut::<2>().0) {
                        for (run, out) in out.iter_mut().enumerate() {
                            out[lane] = block.scale[run] as u8 | block.min[run] << 4;
                        }
                    }
                }
            }
            Scales::E4m3 => {
                for (blocks, out) in units.zip(bytemuck::cast_slice_mut::<_, [[u8; PANEL]; 2]>(out)) {
                    for (scale, out) in blocks[0].scale.iter().zip(out) {
                        out[lane] = (half(blocks[0].d * *scale as f32 / E4M3_FACTOR) >> 7) as u8;
                    }
                }
            }
        }
    }
}
