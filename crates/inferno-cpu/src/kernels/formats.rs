//! How the quants and scales of each layout become vectors of weights.

#![allow(clippy::inline_always, reason = "each level needs a copy with its instructions")]

use bytemuck::Pod;
use inferno_format::E2M1_DOUBLED;

use crate::packed::{Bytes, Nibbles, PANEL, ScalesQ4K, ScalesQ6K, SixBits};
use crate::simd::Simd;

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
    /// Few rows have kernels of their own.
    const TUNED: bool = true;

    fn unit(s: S, scales: &Self::Scales) -> Self::Unit;
    /// Block `b` of a unit.
    fn block(s: S, quants: &Self::Quants, scales: &Self::Scales, unit: Self::Unit, b: usize) -> Block<S>;
}

/// The weights of a block of nibbles, `offset` added.
#[inline(always)]
fn from_nibbles<S: Simd>(s: S, x: &Nibbles, offset: i8) -> [S::B; 8] {
    let mut out = [s.load_bytes(&x[0]); 8];
    for (i, x) in x.iter().enumerate() {
        let x = s.load_bytes(x);
        out[2 * i] = add_offset(s, s.low_nibbles(x), offset);
        out[2 * i + 1] = add_offset(s, s.high_nibbles(x), offset);
    }
    out
}

#[inline(always)]
fn load_weights<S: Simd>(s: S, x: &Bytes) -> [S::B; 8] {
    let mut out = [s.load_weights(&x[0]); 8];
    for (out, x) in out.iter_mut().zip(x) {
        *out = s.load_weights(x);
    }
    out
}

#[inline(always)]
fn add_offset<S: Simd>(s: S, x: S::B, offset: i8) -> S::B {
    match S::BIAS.wrapping_add(offset as u8) {
        0 => x,
        offset => s.add_bytes(x, offset),
    }
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
    fn block(s: S, quants: &Bytes, _: &[u16; PANEL], d: S::F, _: usize) -> Block<S> {
        Block { weights: load_weights(s, quants), scale: [d; 2], min: [d; 2] }
    }
}

pub(super) struct Q4;
impl<S: Simd> Format<S> for Q4 {
    type Quants = Nibbles;
    type Scales = [u16; PANEL];
    type Unit = S::F;
    const BLOCKS: usize = 1;

    #[inline(always)]
    fn unit(s: S, scales: &[u16; PANEL]) -> S::F {
        s.load_f16(scales)
    }
    #[inline(always)]
    fn block(s: S, quants: &Nibbles, _: &[u16; PANEL], d: S::F, _: usize) -> Block<S> {
        Block { weights: from_nibbles(s, quants, -8), scale: [d; 2], min: [d; 2] }
    }
}

pub(super) struct Mx4;
impl<S: Simd> Format<S> for Mx4 {
    type Quants = Nibbles;
    type Scales = [u8; PANEL];
    type Unit = S::F;
    const BLOCKS: usize = 1;

    #[inline(always)]
    fn unit(s: S, scales: &[u8; PANEL]) -> S::F {
        s.load_e8m0(scales)
    }
    #[inline(always)]
    fn block(s: S, quants: &Nibbles, _: &[u8; PANEL], d: S::F, _: usize) -> Block<S> {
        let mut values = [0; 16];
        for (value, code) in values.iter_mut().zip(E2M1_DOUBLED) {
            *value = (code as u8).wrapping_add(S::BIAS);
        }
        let mut weights = [s.load_bytes(&quants[0]); 8];
        for (i, x) in quants.iter().enumerate() {
            let x = s.load_bytes(x);
            weights[i] = s.look_up(&values, s.low_nibbles(x));
            weights[4 + i] = s.look_up(&values, s.high_nibbles(x));
        }
        Block { weights, scale: [d; 2], min: [d; 2] }
    }
}

pub(super) struct Q4K;
impl<S: Simd> Format<S> for Q4K {
    type Quants = [Nibbles; 8];
    type Scales = ScalesQ4K;
    type Unit = (S::F, S::F);
    const BLOCKS: usize = 8;
    const MIN: bool = true;

    #[inline(always)]
    fn unit(s: S, scales: &ScalesQ4K) -> (S::F, S::F) {
        (s.load_f16(&scales.d), s.load_f16(&scales.dmin))
    }
    #[inline(always)]
    fn block(s: S, quants: &[Nibbles; 8], scales: &ScalesQ4K, (d, dmin): (S::F, S::F), b: usize) -> Block<S> {
        let scale = s.mul(d, s.load_u8(&scales.scale[b]));
        let min = s.mul(dmin, s.load_u8(&scales.min[b]));
        Block { weights: from_nibbles(s, &quants[b], 0), scale: [scale; 2], min: [min; 2] }
    }
}

pub(super) struct Q6K;
impl<S: Simd> Format<S> for Q6K {
    type Quants = SixBits;
    type Scales = ScalesQ6K;
    type Unit = S::F;
    const BLOCKS: usize = 8;
    const RUN16: bool = true;

    #[inline(always)]
    fn unit(s: S, scales: &ScalesQ6K) -> S::F {
        s.load_f16(&scales.d)
    }
    #[inline(always)]
    fn block(s: S, quants: &SixBits, scales: &ScalesQ6K, d: S::F, b: usize) -> Block<S> {
        let mut weights = [s.load_bytes(&quants.low[b][0]); 8];
        for c in 0..2 {
            let high = s.load_bytes(&quants.high[b][c]);
            for i in 0..4 {
                let x = s.load_bytes(&quants.low[b][2 * c + i / 2]);
                let low = if i % 2 == 0 { s.low_nibbles(x) } else { s.high_nibbles(x) };
                weights[4 * c + i] = add_offset(s, s.or(low, s.crumbs(high, i)), -32);
            }
        }
        let scales = &scales.scale[b];
        let scale = [s.mul(d, s.load_i8(&scales[0])), s.mul(d, s.load_i8(&scales[1]))];
        Block { weights, scale, min: [d; 2] }
    }
}

macro_rules! wide {
    ($name:ident, $vectors:literal, run16: $run16:literal, min: $min:literal) => {
        pub(super) struct $name;
        impl<S: Simd> Format<S> for $name {
            type Quants = Bytes;
            type Scales = [[f32; PANEL]; $vectors];
            type Unit = ();
            const BLOCKS: usize = 1;
            const RUN16: bool = $run16;
            const MIN: bool = $min;
            const BYTES: bool = true;
            const TUNED: bool = false;

            #[inline(always)]
            fn unit(_: S, _: &Self::Scales) {}
            #[inline(always)]
            fn block(s: S, quants: &Bytes, scales: &Self::Scales, _: (), _: usize) -> Block<S> {
                const RUNS: usize = 1 + $run16 as usize;
                let scale = [s.load(&scales[0]), s.load(&scales[RUNS - 1])];
                let min = [s.load(&scales[$vectors - RUNS]), s.load(&scales[$vectors - 1])];
                Block { weights: load_weights(s, quants), scale, min }
            }
        }
    };
}
wide!(Wide, 1, run16: false, min: false);
wide!(WideMin, 2, run16: false, min: true);
wide!(WideRun16, 2, run16: true, min: false);
wide!(WideRun16Min, 4, run16: true, min: true);

/// Calls `$f::<S, format>(arguments)` with the format of a layout.
macro_rules! with_format {
    ($layout:expr, $f:ident($($arg:expr),*)) => {
        match $layout {
            $crate::packed::Layout::Q8 => $f::<S, $crate::kernels::formats::Q8>($($arg),*),
            $crate::packed::Layout::Q4 => $f::<S, $crate::kernels::formats::Q4>($($arg),*),
            $crate::packed::Layout::Mx4 => $f::<S, $crate::kernels::formats::Mx4>($($arg),*),
            $crate::packed::Layout::Q4K => $f::<S, $crate::kernels::formats::Q4K>($($arg),*),
            $crate::packed::Layout::Q6K => $f::<S, $crate::kernels::formats::Q6K>($($arg),*),
            $crate::packed::Layout::Wide { run16: false, min: false } => $f::<S, $crate::kernels::formats::Wide>($($arg),*),
            $crate::packed::Layout::Wide { run16: false, min: true } => $f::<S, $crate::kernels::formats::WideMin>($($arg),*),
            $crate::packed::Layout::Wide { run16: true, min: false } => $f::<S, $crate::kernels::formats::WideRun16>($($arg),*),
            $crate::packed::Layout::Wide { run16: true, min: true } => $f::<S, $crate::kernels::formats::WideRun16Min>($($arg),*),
            $crate::packed::Layout::F32 | $crate::packed::Layout::F16 | $crate::packed::Layout::Bf16 => unreachable!("floats have no integer product"),
        }
    };
}
pub(super) use with_format;
