//! Products of few rows with codes as they are stored, of the types that most files with codes have: each byte is read once,
//! so that unpacking it first costs time in which nothing is read.

#![allow(clippy::inline_always, reason = "each level needs a copy with its instructions")]

use std::marker::PhantomData;

use super::codes::{Tables, nibbles, row};
use super::{InputLine, few_rows};
use crate::kernels::formats::Format;
use crate::kernels::{OutTile, PANELS};
use crate::packed::{Codes, FewRows, NibblesMin, PANEL, Panel, ScalesMin, ScalesQ6K};
use crate::simd::Simd;

/// out += rows `0..n_rows` × panels of codes.
#[inline(always)]
pub(super) fn panels_of<S: Simd>(
    s: S,
    out: &mut [OutTile; PANELS],
    panels: &[Panel<'_>],
    codes: Codes,
    x: &[InputLine],
    n_rows: usize,
) {
    for (out, panel) in out.iter_mut().zip(panels) {
        match codes.few_rows {
            Some(FewRows::Q4Min) => few_rows::<S, Q4Min>(s, out, *panel, x, n_rows),
            Some(FewRows::Q5) => few_rows::<S, Q5>(s, out, *panel, x, n_rows),
            Some(FewRows::Q5Min) => few_rows::<S, Q5Min>(s, out, *panel, x, n_rows),
            Some(FewRows::Q2K) => few_rows::<S, Q2K>(s, out, *panel, x, n_rows),
            Some(FewRows::Q3K) => few_rows::<S, Q3K>(s, out, *panel, x, n_rows),
            Some(FewRows::Q5K) => few_rows::<S, Q5K>(s, out, *panel, x, n_rows),
            None => unreachable!("unpacked before it is multiplied"),
        }
    }
}

/// Neighbouring integers in codes of `BITS` bits.
struct Neighbours<S, W, const BITS: usize, const FIRST: i8>(PhantomData<(S, W)>);

impl<S: Simd, W: Format<S>, const BITS: usize, const FIRST: i8> Neighbours<S, W, BITS, FIRST> {
    /// With the biases that [`Format::quarter`] knows: of shift 0, and of the other.
    const TABLES: [Tables; 2] = [
        Tables::of_neighbours::<BITS>(FIRST, S::BIAS),
        Tables::of_neighbours::<BITS>(FIRST, (S::SMALL_BIAS as u32 >> W::BIAS_SHIFT) as u8),
    ];

    #[inline(always)]
    fn quarter(s: S, block: &[[u8; 64]; BITS], i: usize, shift: u32) -> [S::B; 2] {
        let tables = if shift == 0 { const { &Self::TABLES[0] } } else { const { &Self::TABLES[1] } };
        [row::<S, BITS, false>(s, block, tables, 2 * i), row::<S, BITS, false>(s, block, tables, 2 * i + 1)]
    }
}

/// Codes of `$bits` bits from `$first` on with a scale in half precision for 32, and a minimum if there are two numbers.
macro_rules! halves {
    ($name:ident, $bits:literal, $first:literal, $numbers:literal) => {
        struct $name;
        impl<S: Simd> Format<S> for $name {
            type Quants = [[u8; 64]; $bits];
            type Scales = [[u16; PANEL]; $numbers];
            type Unit = ();
            const BLOCKS: usize = 1;
            const MIN: bool = $numbers == 2;
            const BITS: u32 = $bits;

            #[inline(always)]
            fn unit(_: S, _: &Self::Scales) {}
            #[inline(always)]
            fn quarter(s: S, quants: &Self::Quants, _: usize, i: usize, shift: u32) -> [S::B; 2] {
                Neighbours::<S, Self, $bits, $first>::quarter(s, quants, i, shift)
            }
            #[inline(always)]
            fn scales(s: S, scales: &Self::Scales, _: (), _: usize) -> [[S::F; 2]; 2] {
                [[s.load_f16(&scales[0]); 2], [s.load_f16(&scales[$numbers - 1]); 2]]
            }
        }
    };
}
halves!(Q4Min, 4, 0, 2);
halves!(Q5, 5, -16, 1);
halves!(Q5Min, 5, 0, 2);

struct Q2K;
impl<S: Simd> Format<S> for Q2K {
    type Quants = [[[u8; 64]; 2]; 8];
    type Scales = NibblesMin;
    type Unit = (S::F, S::F);
    const BLOCKS: usize = 8;
    const RUN16: bool = true;
    const MIN: bool = true;
    const BITS: u32 = 4;

    #[inline(always)]
    fn unit(s: S, scales: &NibblesMin) -> (S::F, S::F) {
        (s.load_f16(&scales.d), s.load_f16(&scales.dmin))
    }
    #[inline(always)]
    fn quarter(s: S, quants: &Self::Quants, b: usize, i: usize, shift: u32) -> [S::B; 2] {
        Neighbours::<S, Self, 2, 0>::quarter(s, &quants[b], i, shift)
    }
    #[inline(always)]
    fn scales(s: S, scales: &NibblesMin, (d, dmin): (S::F, S::F), b: usize) -> [[S::F; 2]; 2] {
        let [first, second] = [nibbles(s, &scales.both[2 * b]), nibbles(s, &scales.both[2 * b + 1])];
        [[s.mul(d, first[0]), s.mul(d, second[0])], [s.mul(dmin, first[1]), s.mul(dmin, second[1])]]
    }
}

struct Q3K;
impl<S: Simd> Format<S> for Q3K {
    type Quants = [[[u8; 64]; 3]; 8];
    type Scales = ScalesQ6K;
    type Unit = S::F;
    const BLOCKS: usize = 8;
    const RUN16: bool = true;
    const BITS: u32 = 4;

    #[inline(always)]
    fn unit(s: S, scales: &ScalesQ6K) -> S::F {
        s.load_f16(&scales.d)
    }
    #[inline(always)]
    fn quarter(s: S, quants: &Self::Quants, b: usize, i: usize, shift: u32) -> [S::B; 2] {
        Neighbours::<S, Self, 3, -4>::quarter(s, &quants[b], i, shift)
    }
    #[inline(always)]
    fn scales(s: S, scales: &ScalesQ6K, d: S::F, b: usize) -> [[S::F; 2]; 2] {
        let scales: &[[i8; PANEL]; 2] = &scales.scale[b];
        [[s.mul(d, s.load_i8(&scales[0])), s.mul(d, s.load_i8(&scales[1]))], [d; 2]]
    }
}

struct Q5K;
impl<S: Simd> Format<S> for Q5K {
    type Quants = [[[u8; 64]; 5]; 8];
    type Scales = ScalesMin;
    type Unit = (S::F, S::F);
    const BLOCKS: usize = 8;
    const MIN: bool = true;
    const BITS: u32 = 5;

    #[inline(always)]
    fn unit(s: S, scales: &ScalesMin) -> (S::F, S::F) {
        (s.load_f16(&scales.d), s.load_f16(&scales.dmin))
    }
    #[inline(always)]
    fn quarter(s: S, quants: &Self::Quants, b: usize, i: usize, shift: u32) -> [S::B; 2] {
        Neighbours::<S, Self, 5, 0>::quarter(s, &quants[b], i, shift)
    }
    #[inline(always)]
    fn scales(s: S, scales: &ScalesMin, (d, dmin): (S::F, S::F), b: usize) -> [[S::F; 2]; 2] {
        let scale = s.mul(d, s.load_u8(&scales.scale[b]));
        let min = s.mul(dmin, s.load_u8(&scales.min[b]));
        [[scale; 2], [min; 2]]
    }
}
