//! AVX2 with FMA, with or without AVX-VNNI: two registers are a vector.

use std::arch::x86_64::*;

use super::{LANES, Run, Simd};
use pairs::{Sums, dot4_avx2, pinned};

/// Two registers.
#[derive(Clone, Copy)]
pub(crate) struct Pair<T>(T, T);

/// Proof that this CPU has AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

/// Proof that this CPU has AVX-VNNI too.
#[derive(Clone, Copy)]
pub(crate) struct AvxVnni(());

impl Avx2 {
    /// # Safety
    /// The CPU has the features named above.
    pub(crate) unsafe fn proven() -> Avx2 {
        Avx2(())
    }
}

impl AvxVnni {
    /// # Safety
    /// The CPU has the features named above.
    pub(crate) unsafe fn proven() -> AvxVnni {
        AvxVnni(())
    }
}

/// An expression of intrinsics.
macro_rules! op {
    ($e:expr) => {
        // SAFETY: the proof `self` says that the CPU has the instructions; loads and stores are of references.
        unsafe { $e }
    };
}

/// The same operation on both halves.
macro_rules! both {
    ($f:ident($($x:ident),+ $(; $c:expr)?)) => {
        op!(Pair($f($($x.0,)+ $($c)?), $f($($x.1,)+ $($c)?)))
    };
}

type F = Pair<__m256>;
type I = Pair<__m256i>;

// Below the macros, one of which it uses.
mod pairs;

/// Eight columns of `from`, from `j` on, of its eight rows from `i` on, become those rows and columns of `out`.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn transpose_eight(out: &mut [[f32; LANES]; LANES], from: &[[f32; LANES]; LANES], i: usize, j: usize) {
    assert!(i + 8 <= LANES && j + 8 <= LANES, "eight rows and columns");
    // SAFETY: see above; loads and stores are within rows.
    unsafe {
        let mut r = [_mm256_setzero_ps(); 8];
        for k in 0..8 {
            r[k] = _mm256_loadu_ps(from[i + k].as_ptr().add(j));
        }
        let mut t = r;
        for k in 0..4 {
            t[2 * k] = _mm256_unpacklo_ps(r[2 * k], r[2 * k + 1]);
            t[2 * k + 1] = _mm256_unpackhi_ps(r[2 * k], r[2 * k + 1]);
        }
        // Half l of r[4k + m] is column 4l + m of rows 4k to 4k + 3.
        for k in 0..2 {
            r[4 * k] = _mm256_shuffle_ps(t[4 * k], t[4 * k + 2], 0x44);
            r[4 * k + 1] = _mm256_shuffle_ps(t[4 * k], t[4 * k + 2], 0xEE);
            r[4 * k + 2] = _mm256_shuffle_ps(t[4 * k + 1], t[4 * k + 3], 0x44);
            r[4 * k + 3] = _mm256_shuffle_ps(t[4 * k + 1], t[4 * k + 3], 0xEE);
        }
        for m in 0..4 {
            let low = _mm256_permute2f128_ps(r[m], r[4 + m], 0x20);
            let high = _mm256_permute2f128_ps(r[m], r[4 + m], 0x31);
            _mm256_storeu_ps(out[j + m].as_mut_ptr().add(i), low);
            _mm256_storeu_ps(out[j + 4 + m].as_mut_ptr().add(i), high);
        }
    }
}

macro_rules! level {
    ($name:ident, $bias:literal, $dot4:expr, { $($own:tt)* }) => {
        #[allow(
            clippy::inline_always,
            reason = "an operation that is not inlined is a call with its operands in memory"
        )]
        impl Simd for $name {
            type F = F;
            type I = I;
            type B = I;

            const BIAS: u8 = $bias;
            const INT8_ROWS: usize = 2;
            const FLOAT_ROWS: usize = 2;

            $($own)*

            #[inline(always)]
            fn splat(self, x: f32) -> F {
                op!(Pair(_mm256_set1_ps(x), _mm256_set1_ps(x)))
            }
            #[inline(always)]
            fn load(self, x: &[f32; LANES]) -> F {
                op!(Pair(_mm256_loadu_ps(x.as_ptr()), _mm256_loadu_ps(x.as_ptr().add(8))))
            }
            #[inline(always)]
            fn store(self, out: &mut [f32; LANES], x: F) {
                op!({
                    _mm256_storeu_ps(out.as_mut_ptr(), x.0);
                    _mm256_storeu_ps(out.as_mut_ptr().add(8), x.1);
                })
            }
            #[inline(always)]
            fn load_f16(self, x: &[u16; LANES]) -> F {
                op!({
                    let at = x.as_ptr().cast::<__m128i>();
                    Pair(_mm256_cvtph_ps(_mm_loadu_si128(at)), _mm256_cvtph_ps(_mm_loadu_si128(at.add(1))))
                })
            }
            #[inline(always)]
            fn store_f16(self, out: &mut [u16; LANES], x: F) {
                op!({
                    let at = out.as_mut_ptr().cast::<__m128i>();
                    _mm_storeu_si128(at, _mm256_cvtps_ph(x.0, _MM_FROUND_TO_NEAREST_INT));
                    _mm_storeu_si128(at.add(1), _mm256_cvtps_ph(x.1, _MM_FROUND_TO_NEAREST_INT));
                })
            }
            #[inline(always)]
            fn load_bf16(self, x: &[u16; LANES]) -> F {
                op!({
                    let at = x.as_ptr().cast::<__m128i>();
                    let wide = |half| _mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16);
                    let (low, high) = (wide(_mm_loadu_si128(at)), wide(_mm_loadu_si128(at.add(1))));
                    Pair(_mm256_castsi256_ps(low), _mm256_castsi256_ps(high))
                })
            }
            #[inline(always)]
            fn load_e8m0(self, x: &[u8; LANES]) -> F {
                op!({
                    // The exponent of e - 1, or (e + 1) × 2^21 where that is larger: for 0 and 1, whose powers are
                    // subnormal.
                    let one = |x| {
                        let (e, one) = (_mm256_cvtepu8_epi32(x), _mm256_set1_epi32(1));
                        let normal = _mm256_slli_epi32(_mm256_sub_epi32(e, one), 23);
                        let subnormal = _mm256_slli_epi32(_mm256_add_epi32(e, one), 21);
                        _mm256_castsi256_ps(_mm256_max_epi32(normal, subnormal))
                    };
                    let x = _mm_loadu_si128(x.as_ptr().cast());
                    Pair(one(x), one(_mm_srli_si128(x, 8)))
                })
            }
            #[inline(always)]
            fn load_i8(self, x: &[i8; LANES]) -> F {
                op!({
                    let x = _mm_loadu_si128(x.as_ptr().cast());
                    let (low, high) = (_mm256_cvtepi8_epi32(x), _mm256_cvtepi8_epi32(_mm_srli_si128(x, 8)));
                    Pair(_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high))
                })
            }
            #[inline(always)]
            fn load_u8(self, x: &[u8; LANES]) -> F {
                op!({
                    let x = _mm_loadu_si128(x.as_ptr().cast());
                    let (low, high) = (_mm256_cvtepu8_epi32(x), _mm256_cvtepu8_epi32(_mm_srli_si128(x, 8)));
                    Pair(_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high))
                })
            }
            #[inline(always)]
            fn add(self, a: F, b: F) -> F {
                both!(_mm256_add_ps(a, b))
            }
            #[inline(always)]
            fn sub(self, a: F, b: F) -> F {
                both!(_mm256_sub_ps(a, b))
            }
            #[inline(always)]
            fn mul(self, a: F, b: F) -> F {
                both!(_mm256_mul_ps(a, b))
            }
            #[inline(always)]
            fn div(self, a: F, b: F) -> F {
                both!(_mm256_div_ps(a, b))
            }
            #[inline(always)]
            fn fma(self, a: F, b: F, c: F) -> F {
                both!(_mm256_fmadd_ps(a, b, c))
            }
            #[inline(always)]
            fn fnma(self, a: F, b: F, c: F) -> F {
                both!(_mm256_fnmadd_ps(a, b, c))
            }
            #[inline(always)]
            fn max(self, a: F, b: F) -> F {
                both!(_mm256_max_ps(a, b))
            }
            #[inline(always)]
            fn abs(self, x: F) -> F {
                op!({
                    let top = _mm256_set1_ps(-0.0);
                    Pair(_mm256_andnot_ps(top, x.0), _mm256_andnot_ps(top, x.1))
                })
            }
            #[inline(always)]
            fn copysign(self, x: F, sign: F) -> F {
                op!({
                    let top = _mm256_set1_ps(-0.0);
                    let one = |x, sign| _mm256_or_ps(_mm256_andnot_ps(top, x), _mm256_and_ps(top, sign));
                    Pair(one(x.0, sign.0), one(x.1, sign.1))
                })
            }
            #[inline(always)]
            fn round(self, x: F) -> F {
                op!({
                    const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
                    Pair(_mm256_round_ps(x.0, NEAREST), _mm256_round_ps(x.1, NEAREST))
                })
            }
            #[inline(always)]
            fn select_lt(self, a: F, b: F, x: F, y: F) -> F {
                op!({
                    let one = |a, b, x, y| _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
                    Pair(one(a.0, b.0, x.0, y.0), one(a.1, b.1, x.1, y.1))
                })
            }
            #[inline(always)]
            fn max_lane(self, x: F) -> f32 {
                op!({
                    let x = _mm256_max_ps(x.0, x.1);
                    let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
                    let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
                    _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)))
                })
            }

            #[inline(always)]
            fn splat_i32(self, x: i32) -> I {
                op!(Pair(_mm256_set1_epi32(x), _mm256_set1_epi32(x)))
            }
            #[inline(always)]
            fn to_i32(self, x: F) -> I {
                both!(_mm256_cvttps_epi32(x))
            }
            #[inline(always)]
            fn to_f32(self, x: I) -> F {
                both!(_mm256_cvtepi32_ps(x))
            }
            #[inline(always)]
            fn power_of_two(self, n: I) -> F {
                op!({
                    let bias = _mm256_set1_epi32(127);
                    let one = |n| _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, bias), 23));
                    Pair(one(n.0), one(n.1))
                })
            }
            #[inline(always)]
            fn sub_i32(self, a: I, b: I) -> I {
                both!(_mm256_sub_epi32(a, b))
            }
            #[inline(always)]
            fn halve(self, x: I) -> I {
                op!({
                    let one = |x| _mm256_srai_epi32(_mm256_add_epi32(x, _mm256_srli_epi32(x, 31)), 1);
                    Pair(one(x.0), one(x.1))
                })
            }
            #[inline(always)]
            fn sum_lanes(self, x: I) -> i32 {
                op!({
                    let x = _mm256_add_epi32(x.0, x.1);
                    let x = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
                    let x = _mm_add_epi32(x, _mm_shuffle_epi32(x, 0b01_00_11_10));
                    _mm_cvtsi128_si32(_mm_add_epi32(x, _mm_shuffle_epi32(x, 0b10_11_00_01)))
                })
            }
            #[inline(always)]
            fn transpose(self, x: &mut [[f32; LANES]; LANES]) {
                let old = *x;
                for (i, j) in [(0, 0), (0, 8), (8, 0), (8, 8)] {
                    // SAFETY: the proof `self` says that the CPU has AVX2.
                    unsafe { transpose_eight(x, &old, i, j) };
                }
            }
            #[inline(always)]
            fn store_i8(self, out: &mut [i8; LANES], x: I) {
                op!({
                    // Packs take fours of both registers in turn.
                    let low = _mm256_set1_epi32(255);
                    let words = _mm256_packus_epi32(_mm256_and_si256(x.0, low), _mm256_and_si256(x.1, low));
                    let bytes = _mm256_packus_epi16(words, words);
                    let (even, odd) = (_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
                    _mm_storeu_si128(out.as_mut_ptr().cast(), _mm_unpacklo_epi32(even, odd));
                })
            }

            #[inline(always)]
            fn load_bytes(self, x: &[u8; 64]) -> I {
                op!({
                    let at = x.as_ptr().cast::<__m256i>();
                    Pair(_mm256_loadu_si256(at), _mm256_loadu_si256(at.add(1)))
                })
            }
            #[inline(always)]
            fn low_nibbles(self, x: I) -> I {
                op!({
                    let mask = _mm256_set1_epi8(15);
                    Pair(_mm256_and_si256(x.0, mask), _mm256_and_si256(x.1, mask))
                })
            }
            #[inline(always)]
            fn high_nibbles(self, x: I) -> I {
                op!({
                    let mask = _mm256_set1_epi8(15);
                    let one = |x| _mm256_and_si256(_mm256_srli_epi16(x, 4), mask);
                    Pair(one(x.0), one(x.1))
                })
            }
            #[inline(always)]
            fn crumbs(self, x: I, i: usize) -> I {
                op!({
                    let mask = _mm256_set1_epi8(0x30);
                    let one = |x| {
                        let shifted = match i {
                            0 => _mm256_slli_epi16(x, 4),
                            1 => _mm256_slli_epi16(x, 2),
                            2 => x,
                            _ => _mm256_srli_epi16(x, 2),
                        };
                        _mm256_and_si256(shifted, mask)
                    };
                    Pair(one(x.0), one(x.1))
                })
            }
            #[inline(always)]
            fn look_up(self, table: &[u8; 16], x: I) -> I {
                op!({
                    let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
                    Pair(_mm256_shuffle_epi8(table, x.0), _mm256_shuffle_epi8(table, x.1))
                })
            }
            #[inline(always)]
            fn or(self, a: I, b: I) -> I {
                both!(_mm256_or_si256(a, b))
            }
            #[inline(always)]
            fn add_bytes(self, a: I, b: u8) -> I {
                op!({
                    let b = _mm256_set1_epi8(b as i8);
                    Pair(_mm256_add_epi8(a.0, b), _mm256_add_epi8(a.1, b))
                })
            }
            #[inline(always)]
            fn load_weights(self, x: &[i8; 64]) -> I {
                self.load_bytes(bytemuck::cast_ref(x))
            }
            #[inline(always)]
            fn store_weights(self, out: &mut [i8; 64], x: I) {
                op!({
                    let at = out.as_mut_ptr().cast::<__m256i>();
                    _mm256_storeu_si256(at, x.0);
                    _mm256_storeu_si256(at.add(1), x.1);
                })
            }
            #[inline(always)]
            fn prefetch(self, at: *const u8) {
                op!(_mm_prefetch::<_MM_HINT_T0>(at.cast()))
            }
            #[inline(always)]
            fn dot4(self, acc: I, weights: I, inputs: [i8; 4]) -> I {
                op!({
                    let inputs = _mm256_set1_epi32(i32::from_le_bytes(inputs.map(|x| x as u8)));
                    Pair($dot4(acc.0, weights.0, inputs), $dot4(acc.1, weights.1, inputs))
                })
            }
        }
    };
}

level!(Avx2, 0, dot4_avx2, {
    const SMALL_BIAS: u8 = 128;
    const BY_PAIRS: bool = true;

    #[inline(always)]
    fn to_words(self, x: I) -> [I; 2] {
        op!({
            let even = |x| _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8);
            let odd = |x| _mm256_srai_epi16(x, 8);
            [Pair(even(x.0), even(x.1)), Pair(odd(x.0), odd(x.1))]
        })
    }
    #[inline(always)]
    fn load_words(self, x: &[i16; 32]) -> I {
        let x = self.load_bytes(bytemuck::cast_ref(x));
        // A compiler that reads them again for every row has more loads than products.
        op!(Pair(pinned(x.0), pinned(x.1)))
    }
    #[inline(always)]
    fn dot2(self, acc: I, weights: I, inputs: [i16; 2]) -> I {
        op!({
            let x = _mm256_set1_epi32(bytemuck::cast(inputs));
            let one = |acc, w| pinned(_mm256_add_epi32(acc, _mm256_madd_epi16(w, x)));
            Pair(one(acc.0, weights.0), one(acc.1, weights.1))
        })
    }

    /// -8 times the sums of the inputs that each 16-bit lane multiplies.
    #[inline(always)]
    fn start(self, x: &[[i8; 4]], _: i32) -> i32 {
        op!({
            let mut sums = _mm_setzero_si128();
            for fours in x.as_chunks::<4>().0 {
                let x = _mm_loadu_si128(fours.as_ptr().cast());
                sums = _mm_add_epi16(sums, _mm_maddubs_epi16(_mm_set1_epi8(1), x));
            }
            sums = _mm_add_epi16(sums, _mm_shuffle_epi32(sums, 0b01_00_11_10));
            sums = _mm_add_epi16(sums, _mm_shuffle_epi32(sums, 0b10_11_00_01));
            _mm_cvtsi128_si32(_mm_sub_epi16(_mm_setzero_si128(), _mm_slli_epi16(sums, 3)))
        })
    }
    #[inline(always)]
    fn begin(self, run: Run, start: i32) -> I {
        match Sums::of(run) {
            Sums::ShortSigned => self.short_start(run, start),
            Sums::Long if run.is_biased => op!({
                let x = _mm256_madd_epi16(_mm256_set1_epi32(start), _mm256_set1_epi16(1 << (run.bits - 4)));
                Pair(x, x)
            }),
            _ => self.splat_i32(0),
        }
    }
    #[inline(always)]
    fn dot8(self, sums: I, run: Run, [w0, w1]: [I; 2], [x0, x1]: [[i8; 4]; 2]) -> I {
        match Sums::of(run) {
            Sums::Short | Sums::ShortSigned => self.add_pairs(self.add_pairs(sums, w0, x0), w1, x1),
            Sums::Long => self.add_fours(self.add_fours(sums, w0, x0), w1, x1),
            Sums::Signed => self.dot4(self.dot4(sums, w0, x0), w1, x1),
        }
    }
    #[inline(always)]
    fn total(self, sums: I, run: Run, start: i32) -> I {
        let zero = self.splat_i32(0);
        match Sums::of(run) {
            Sums::ShortSigned if !run.is_biased => {
                self.sub_i32(self.widen(zero, sums), self.widen(zero, self.short_start(run, start)))
            }
            Sums::Short | Sums::ShortSigned => self.widen(zero, sums),
            Sums::Long | Sums::Signed => sums,
        }
    }
});
level!(AvxVnni, 128, _mm256_dpbusd_avx_epi32, {});
