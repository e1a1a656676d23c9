//! How the quants and scales of each layout become vectors of weights.

#![allow(clippy::inline_always, reason = "each level needs a copy with its instructions")]

use bytemuck::Pod;
use inferno_format::E2M1_DOUBLED;

use crate::packed::{Bytes, Nibbles, PANEL, ScalesMin, ScalesQ6K, SixBits};
use crate::simd::{Run, Simd};

/// A block's vectors of weights, biased, with the scales and minimums of its runs. What a format lacks is not made.
#[derive(Clone, Copy)]
pub(super) struct Block<S: Simd> {
    pub(super) weights: [S::B; 8],
    pub(super) scale: [S::F; 2],
    pub(super) min: [S::F; 2],
}

/// How a panel's quants and scales are read. A unit is what shares the outermost scale.
pub(super) trait Format<S: Simd> {
    type Quants: Pod;
    type Scales: Pod;
    /// What is read once a unit.
    type Unit: Copy;
    /// Blocks in a unit.
    const BLOCKS: usize;
    /// A scale for 16 weights and not for 32.
    const RUN16: bool = false;
    /// Weights count from minimums.
    const MIN: bool = false;
    /// Weights are stored as the bytes they are.
    const BYTES: bool = false;
    /// Unpacked from another layout for the products at hand: weights are in a near cache, and few rows are seldom two.
    const UNPACKED: bool = false;
    /// Width of the unsigned integers that weights are with a bias of `S::SMALL_BIAS >> BIAS_SHIFT`, in bits.
    const BITS: u32 = 8;
    /// Products of few rows add only this much of the bias, which saves an instruction for every vector. Weights that count
    /// from minimums are unsigned without any.
    const BIAS_SHIFT: u32 = if Self::MIN && Self::BITS < 8 { 8 } else { 8 - Self::BITS };
    /// The products that share a scale.
    const RUN: Run =
        Run { bits: Self::BITS, is_biased: Self::BIAS_SHIFT < 8, len: if Self::RUN16 { 16 } else { 32 } };

    fn unit(s: S, scales: &Self::Scales) -> Self::Unit;
    /// The vectors [`Format::places`] of block `b` of a unit: a quarter of it, which lies together. To them is added
    /// `S::BIAS` where `shift` is 0, and else `S::SMALL_BIAS >> shift`; it is 0 or [`Format::BIAS_SHIFT`].
    fn quarter(s: S, quants: &Self::Quants, b: usize, i: usize, shift: u32) -> [S::B; 2];
    /// Scales and minimums of the runs of block `b`.
    fn scales(s: S, scales: &Self::Scales, unit: Self::Unit, b: usize) -> [[S::F; 2]; 2];

    /// The numbers of the vectors in quarter `i` of a block.
    #[inline(always)]
    fn places(i: usize) -> [usize; 2] {
        [2 * i, 2 * i + 1]
    }
    /// Block `b` of a unit.
    #[inline(always)]
    fn block(s: S, quants: &Self::Quants, scales: &Self::Scales, unit: Self::Unit, b: usize) -> Block<S> {
        Self::shifted_block(s, quants, scales, unit, b, 0)
    }
    /// The same with a bias as for [`Format::quarter`].
    #[inline(always)]
    fn shifted_block(
        s: S,
        quants: &Self::Quants,
        scales: &Self::Scales,
        unit: Self::Unit,
        b: usize,
        shift: u32,
    ) -> Block<S> {
        let mut weights = [Self::quarter(s, quants, b, 0, shift)[0]; 8];
        for i in 0..QUARTERS {
            let quarter = Self::quarter(s, quants, b, i, shift);
            for (place, w) in Self::places(i).into_iter().zip(quarter) {
                weights[place] = w;
            }
        }
        let [scale, min] = Self::scales(s, scales, unit, b);
        Block { weights, scale, min }
    }
}

/// Parts of a block that are read one after the other.
pub(super) const QUARTERS: usize = 4;

/// The two vectors of nibbles that lie in one, `offset` added, and the bias.
#[inline(always)]
fn from_nibbles<S: Simd>(s: S, x: &[u8; 64], offset: i8, shift: u32) -> [S::B; 2] {
    let x = s.load_bytes(x);
    [add_offset(s, s.low_nibbles(x), offset, shift), add_offset(s, s.high_nibbles(x), offset, shift)]
}

#[inline(always)]
fn add_offset<S: Simd>(s: S, x: S::B, offset: i8, shift: u32) -> S::B {
    match bias::<S>(shift).wrapping_add(offset as u8) {
        0 => x,
        offset => s.add_bytes(x, offset),
    }
}

/// The number that is added to weights, see [`Format::quarter`].
#[inline(always)]
fn bias<S: Simd>(shift: u32) -> u8 {
    let bias = if shift == 0 { S::BIAS } else { S::SMALL_BIAS };
    (u32::from(bias) >> shift) as u8
}

pub(super) struct Q8;
impl<S: Simd> Format<S> for Q8 {
    type Quants = Bytes;
    type Scales = [u16; PANEL];
    type Unit = S::F;
    const BLOCKS: usize = 1;
    const BYTES: bool = true;

    #[inline(always)]
    fn unit(s: S, scales: &[u16; PANEL]) -> S::F {
        s.load_f16(scales)
    }
    #[inline(always)]
    fn quarter(s: S, quants: &Bytes, _: usize, i: usize, _: u32) -> [S::B; 2] {
        [s.load_weights(&quants[2 * i]), s.load_weights(&quants[2 * i + 1])]
    }
    #[inline(always)]
    fn scales(_: S, _: &[u16; PANEL], d: S::F, _: usize) -> [[S::F; 2]; 2] {
        [[d; 2]; 2]
    }
}

pub(super) struct Q4;
impl<S: Simd> Format<S> for Q4 {
    type Quants = Nibbles;
    type Scales = [u16; PANEL];
    type Unit = S::F;
    const BLOCKS: usize = 1;
    const BITS: u32 = 4;

    #[inline(always)]
    fn unit(s: S, scales: &[u16; PANEL]) -> S::F {
        s.load_f16(scales)
    }
    #[inline(always)]
    fn quarter(s: S, quants: &Nibbles, _: usize, i: usize, shift: u32) -> [S::B; 2] {
        from_nibbles(s, &quants[i], -8, shift)
    }
    #[inline(always)]
    fn scales(_: S, _: &[u16; PANEL], d: S::F, _: usize) -> [[S::F; 2]; 2] {
        [[d; 2]; 2]
    }
}

pub(super) struct Mx4;
impl<S: Simd> Format<S> for Mx4 {
    type Quants = Nibbles;
    type Scales = [u8; PANEL];
    type Unit = S::F;
    const BLOCKS: usize = 1;
    const BITS: u32 = 5;

    #[inline(always)]
    fn unit(s: S, scales: &[u8; PANEL]) -> S::F {
        s.load_e8m0(scales)
    }
    #[inline(always)]
    fn quarter(s: S, quants: &Nibbles, _: usize, i: usize, shift: u32) -> [S::B; 2] {
        let mut values = [0; 16];
        for (value, code) in values.iter_mut().zip(E2M1_DOUBLED) {
            *value = (code as u8).wrapping_add(bias::<S>(shift));
        }
        let x = s.load_bytes(&quants[i]);
        [s.look_up(&values, s.low_nibbles(x)), s.look_up(&values, s.high_nibbles(x))]
    }
    #[inline(always)]
    fn places(i: usize) -> [usize; 2] {
        [i, QUARTERS + i]
    }
    #[inline(always)]
    fn scales(_: S, _: &[u8; PANEL], d: S::F, _: usize) -> [[S::F; 2]; 2] {
        [[d; 2]; 2]
    }
}

pub(super) struct Q4K;
impl<S: Simd> Format<S> for Q4K {
    type Quants = [Nibbles; 8];
    type Scales = ScalesMin;
    type Unit = (S::F, S::F);
    const BLOCKS: usize = 8;
    const MIN: bool = true;
    const BITS: u32 = 4;

    #[inline(always)]
    fn unit(s: S, scales: &ScalesMin) -> (S::F, S::F) {
        (s.load_f16(&scales.d), s.load_f16(&scales.dmin))
    }
    #[inline(always)]
    fn quarter(s: S, quants: &[Nibbles; 8], b: usize, i: usize, shift: u32) -> [S::B; 2] {
        from_nibbles(s, &quants[b][i], 0, shift)
    }
    #[inline(always)]
    fn scales(s: S, scales: &ScalesMin, (d, dmin): (S::F, S::F), b: usize) -> [[S::F; 2]; 2] {
        let scale = s.mul(d, s.load_u8(&scales.scale[b]));
        let min = s.mul(dmin, s.load_u8(&scales.min[b]));
        [[scale; 2], [min; 2]]
    }
}

pub(super) struct Q6K;
impl<S: Simd> Format<S> for Q6K {
    type Quants = [SixBits; 8];
    type Scales = ScalesQ6K;
    type Unit = S::F;
    const BLOCKS: usize = 8;
    const RUN16: bool = true;
    const BITS: u32 = 6;

    #[inline(always)]
    fn unit(s: S, scales: &ScalesQ6K) -> S::F {
        s.load_f16(&scales.d)
    }
    #[inline(always)]
    fn quarter(s: S, quants: &[SixBits; 8], b: usize, i: usize, shift: u32) -> [S::B; 2] {
        let low = s.load_bytes(&quants[b].low[i]);
        let high = s.load_bytes(&quants[b].high[i / 2]);
        let crumbs = [s.crumbs(high, 2 * (i % 2)), s.crumbs(high, 2 * (i % 2) + 1)];
        [
            add_offset(s, s.or(s.low_nibbles(low), crumbs[0]), -32, shift),
            add_offset(s, s.or(s.high_nibbles(low), crumbs[1]), -32, shift),
        ]
    }
    #[inline(always)]
    fn scales(s: S, scales: &ScalesQ6K, d: S::F, b: usize) -> [[S::F; 2]; 2] {
        let scales = &scales.scale[b];
        let scale = [s.mul(d, s.load_i8(&scales[0])), s.mul(d, s.load_i8(&scales[1]))];
        [scale, [d; 2]]
    }
}

macro_rules! wide {
    ($name:ident, $vectors:literal, run16: $run16:literal, min: $min:literal) => {
        /// Bytes of `BITS` bits, stored with the bias of these.
        pub(super) struct $name<const BITS: u32>;
        impl<S: Simd, const BITS: u32> Format<S> for $name<BITS> {
            type Quants = Bytes;
            type Scales = [[f32; PANEL]; $vectors];
            type Unit = ();
            const BLOCKS: usize = 1;
            const RUN16: bool = $run16;
            const MIN: bool = $min;
            const BYTES: bool = true;
            const UNPACKED: bool = true;
            const BITS: u32 = BITS;

            #[inline(always)]
            fn unit(_: S, _: &Self::Scales) {}
            #[inline(always)]
            fn quarter(s: S, quants: &Bytes, _: usize, i: usize, shift: u32) -> [S::B; 2] {
                let unbiased = (bias::<S>(<Self as Format<S>>::BIAS_SHIFT) as i8).wrapping_neg();
                [
                    add_offset(s, s.load_weights(&quants[2 * i]), unbiased, shift),
                    add_offset(s, s.load_weights(&quants[2 * i + 1]), unbiased, shift),
                ]
            }
            #[inline(always)]
            fn scales(s: S, scales: &Self::Scales, _: (), _: usize) -> [[S::F; 2]; 2] {
                const RUNS: usize = 1 + $run16 as usize;
                let scale = [s.load(&scales[0]), s.load(&scales[RUNS - 1])];
                let min = [s.load(&scales[$vectors - RUNS]), s.load(&scales[$vectors - 1])];
                [scale, min]
            }
        }
    };
}
wide!(Wide, 1, run16: false, min: false);
wide!(WideMin, 2, run16: false, min: true);
wide!(WideRun16, 2, run16: true, min: false);
wide!(WideRun16Min, 4, run16: true, min: true);

/// Calls `$f::<S, format>(arguments)` with the format of a layout that weights are stored in.
macro_rules! with_stored_format {
    ($layout:expr, $f:ident($($arg:expr),*)) => {
        match $layout {
            $crate::packed::Layout::Q8 => $f::<S, $crate::kernels::formats::Q8>($($arg),*),
            $crate::packed::Layout::Q4 => $f::<S, $crate::kernels::formats::Q4>($($arg),*),
            $crate::packed::Layout::Mx4 => $f::<S, $crate::kernels::formats::Mx4>($($arg),*),
            $crate::packed::Layout::Q4K => $f::<S, $crate::kernels::formats::Q4K>($($arg),*),
            $crate::packed::Layout::Q6K => $f::<S, $crate::kernels::formats::Q6K>($($arg),*),
            $crate::packed::Layout::Codes(_) => unreachable!("codes are unpacked first"),
            $crate::packed::Layout::F32 | $crate::packed::Layout::F16 | $crate::packed::Layout::Bf16 => unreachable!("floats have no integer product"),
            $crate::packed::Layout::Wide { .. } | $crate::packed::Layout::Words => unreachable!("unpacked, and not stored"),
        }
    };
}
pub(super) use with_stored_format;

/// The same of layouts that weights are unpacked to, too.
macro_rules! with_format {
    ($layout:expr, $f:ident($($arg:expr),*)) => {
        match $layout {
            // Few bits are of levels by pairs, and no type has bytes with minimums or runs of 16 there.
            $crate::packed::Layout::Wide { bits, run16, min } => match (S::BY_PAIRS, bits, run16, min) {
                (_, 8, false, false) => $f::<S, $crate::kernels::formats::Wide<8>>($($arg),*),
                (false, 8, false, true) => $f::<S, $crate::kernels::formats::WideMin<8>>($($arg),*),
                (false, 8, true, false) => $f::<S, $crate::kernels::formats::WideRun16<8>>($($arg),*),
                (false, 8, true, true) => $f::<S, $crate::kernels::formats::WideRun16Min<8>>($($arg),*),
                (true, 4, false, false) => $f::<S, $crate::kernels::formats::Wide<4>>($($arg),*),
                (true, 4, false, true) => $f::<S, $crate::kernels::formats::WideMin<4>>($($arg),*),
                (true, 4, true, true) => $f::<S, $crate::kernels::formats::WideRun16Min<4>>($($arg),*),
                (true, 5, false, false) => $f::<S, $crate::kernels::formats::Wide<5>>($($arg),*),
                (true, 5, false, true) => $f::<S, $crate::kernels::formats::WideMin<5>>($($arg),*),
                (true, 6, true, false) => $f::<S, $crate::kernels::formats::WideRun16<6>>($($arg),*),
                (true, 7, false, false) => $f::<S, $crate::kernels::formats::Wide<7>>($($arg),*),
                (true, 7, true, false) => $f::<S, $crate::kernels::formats::WideRun16<7>>($($arg),*),
                other => unreachable!("no type has {other:?}"),
            },
            stored => $crate::kernels::formats::with_stored_format!(stored, $f($($arg),*)),
        }
    };
}
pub(super) use with_format;
