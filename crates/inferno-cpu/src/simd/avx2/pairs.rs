//! Products of bytes with `vpmaddubsw`, which adds up pairs of them in 16 bits.

#![allow(
    clippy::inline_always,
    reason = "an operation that is not inlined is a call with its operands in memory"
)]

use std::arch::x86_64::*;

use super::{Avx2, I, Pair};
use crate::simd::Run;

/// Four products a lane of signed weights and inputs. `vpmaddubsw` takes unsigned by signed, so a weight's sign goes to
/// the input: no pair of products exceeds 2 × 128 × 127, which fits 16 bits.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
pub(super) unsafe fn dot4_avx2(acc: __m256i, weights: __m256i, inputs: __m256i) -> __m256i {
    // SAFETY: see above.
    unsafe {
        let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(inputs, weights));
        pinned(_mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))))
    }
}

/// The same value, computed here: a compiler that sorts the terms of sums computes all products first, and keeps them in
/// memory for lack of registers.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn pinned(mut x: __m256i) -> __m256i {
    // SAFETY: there is no instruction.
    unsafe { std::arch::asm!("/* {x} */", x = inout(ymm_reg) x, options(nostack, preserves_flags)) };
    x
}

impl Avx2 {
    /// acc + the products of pairs of unsigned weights and inputs, in 16 bits.
    #[inline(always)]
    pub(super) fn add_pairs(self, acc: I, weights: I, inputs: [i8; 4]) -> I {
        op!({
            let x = _mm256_set1_epi32(i32::from_le_bytes(inputs.map(|x| x as u8)));
            let one = |acc, w| pinned(_mm256_add_epi16(acc, _mm256_maddubs_epi16(w, x)));
            Pair(one(acc.0, weights.0), one(acc.1, weights.1))
        })
    }

    /// acc + the products of fours of unsigned weights of up to seven bits and inputs, in 32 bits.
    #[inline(always)]
    pub(super) fn add_fours(self, acc: I, weights: I, inputs: [i8; 4]) -> I {
        op!({
            let x = _mm256_set1_epi32(i32::from_le_bytes(inputs.map(|x| x as u8)));
            let ones = _mm256_set1_epi16(1);
            let one =
                |acc, w| pinned(_mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), ones)));
            Pair(one(acc.0, weights.0), one(acc.1, weights.1))
        })
    }

    /// -2^(bits - 1) times the sums of the inputs that each 16-bit lane multiplies.
    #[inline(always)]
    pub(super) fn short_start(self, run: Run, start: i32) -> I {
        op!({
            let x = _mm256_sll_epi16(_mm256_set1_epi32(start), _mm_cvtsi32_si128(run.bits as i32 - 4));
            Pair(x, x)
        })
    }

    /// acc + 32-bit sums of neighbouring 16-bit numbers.
    #[inline(always)]
    pub(super) fn widen(self, acc: I, pairs: I) -> I {
        op!({
            let one = |acc, pairs| _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
            Pair(one(acc.0, pairs.0), one(acc.1, pairs.1))
        })
    }
}

/// The width in which the products of a run are added up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sums {
    /// In 16 bits, from nothing.
    Short,
    /// In 16 bits, from the bias times the inputs. Sums may wrap around on their way: where the totals are those of
    /// weights from -2^(bits - 1), they fit.
    ShortSigned,
    /// In 32 bits, four by four.
    Long,
    /// The same, of signed weights.
    Signed,
}

impl Sums {
    pub(super) const fn of(run: Run) -> Sums {
        // A lane of 16 bits has every second pair.
        let n = run.len as i32 / 2;
        if run.bits > BITS_OF_TWO {
            Sums::Signed
        } else if !run.is_biased && n * ((1 << run.bits) - 1) * 127 < 1 << 15 {
            Sums::Short
        } else if n * (1 << (run.bits - 1)) * 127 < 1 << 15 {
            Sums::ShortSigned
        } else {
            Sums::Long
        }
    }
}

/// Bits of the widest unsigned weights of which no pair of products saturates.
const BITS_OF_TWO: u32 = 7;
const _: () = {
    assert!(2 * ((1 << BITS_OF_TWO) - 1) * 127 < 1 << 15);
};
