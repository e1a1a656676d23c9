//! AVX-512 with VNNI: one register is a vector. `vpdpbusd` takes unsigned weights and signed inputs.

use std::arch::x86_64::*;

use super::{LANES, Simd};

/// An expression of intrinsics.
macro_rules! op {
    ($e:expr) => {
        // SAFETY: the proof `self` says that the CPU has the instructions; loads and stores are of references.
        unsafe { $e }
    };
}

/// Proof that this CPU has AVX-512 F, BW, VL, DQ and VNNI, FMA and F16C. Weights are stored with this bias: 128, or 0
/// beside tiles, which take signed ones.
#[derive(Clone, Copy)]
pub(crate) struct Avx512<const STORED_BIAS: u8>(());

impl<const STORED_BIAS: u8> Avx512<STORED_BIAS> {
    /// # Safety
    /// The CPU has the features named above.
    pub(crate) unsafe fn proven() -> Self {
        Avx512(())
    }

    #[allow(clippy::inline_always, reason = "as below")]
    #[inline(always)]
    pub(crate) fn load_i32(self, x: &[i32; LANES]) -> __m512i {
        op!(_mm512_loadu_si512(x.as_ptr().cast()))
    }

    /// To the nearest bf16, ties to even.
    #[allow(clippy::inline_always, reason = "as below")]
    #[inline(always)]
    pub(crate) fn round_bf16(self, x: __m512) -> __m512 {
        op!({
            let bits = _mm512_castps_si512(x);
            let even = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
            let half = _mm512_add_epi32(even, _mm512_set1_epi32(0x7FFF));
            let rounded = _mm512_and_si512(_mm512_add_epi32(bits, half), _mm512_set1_epi32(!0xFFFF));
            let is_nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
            _mm512_mask_blend_ps(is_nan, _mm512_castsi512_ps(rounded), _mm512_set1_ps(f32::NAN))
        })
    }

    /// The upper halves.
    #[allow(clippy::inline_always, reason = "as below")]
    #[inline(always)]
    pub(crate) fn store_bf16(self, out: &mut [u16; LANES], x: __m512) {
        op!({
            let halves = _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_castps_si512(x), 16));
            _mm256_storeu_si256(out.as_mut_ptr().cast(), halves);
        })
    }

    /// From stored weights to what `vpdpbusd` takes, and back: 128 added turns the top bit.
    #[allow(clippy::inline_always, reason = "as below")]
    #[inline(always)]
    fn rebias(self, x: __m512i) -> __m512i {
        if STORED_BIAS == 128 { x } else { op!(_mm512_xor_si512(x, _mm512_set1_epi8(i8::MIN))) }
    }
}

#[allow(
    clippy::inline_always,
    reason = "an operation that is not inlined is a call with its operands in memory"
)]
impl<const STORED_BIAS: u8> Simd for Avx512<STORED_BIAS> {
    type F = __m512;
    type I = __m512i;
    type B = __m512i;

    const BIAS: u8 = 128;
    const STORED_BIAS: u8 = STORED_BIAS;
    const INT8_ROWS: usize = 8;
    const FLOAT_ROWS: usize = 8;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        op!(_mm512_set1_ps(x))
    }
    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> __m512 {
        op!(_mm512_loadu_ps(x.as_ptr()))
    }
    #[inline(always)]
    fn store(self, out: &mut [f32; LANES], x: __m512) {
        op!(_mm512_storeu_ps(out.as_mut_ptr(), x))
    }
    #[inline(always)]
    fn load_f16(self, x: &[u16; LANES]) -> __m512 {
        op!(_mm512_cvtph_ps(_mm256_loadu_si256(x.as_ptr().cast())))
    }
    #[inline(always)]
    fn store_f16(self, out: &mut [u16; LANES], x: __m512) {
        op!(_mm256_storeu_si256(out.as_mut_ptr().cast(), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT)))
    }
    #[inline(always)]
    fn load_bf16(self, x: &[u16; LANES]) -> __m512 {
        op!({
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(x.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))
        })
    }
    #[inline(always)]
    fn load_e8m0(self, x: &[u8; LANES]) -> __m512 {
        op!({
            // The exponent of e - 1, or (e + 1) × 2^21 where that is larger: for 0 and 1, whose powers are subnormal.
            let e = _mm512_cvtepu8_epi32(_mm_loadu_si128(x.as_ptr().cast()));
            let one = _mm512_set1_epi32(1);
            let normal = _mm512_slli_epi32(_mm512_sub_epi32(e, one), 23);
            let subnormal = _mm512_slli_epi32(_mm512_add_epi32(e, one), 21);
            _mm512_castsi512_ps(_mm512_max_epi32(normal, subnormal))
        })
    }
    #[inline(always)]
    fn load_i8(self, x: &[i8; LANES]) -> __m512 {
        op!(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(x.as_ptr().cast()))))
    }
    #[inline(always)]
    fn load_u8(self, x: &[u8; LANES]) -> __m512 {
        op!(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(x.as_ptr().cast()))))
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_add_ps(a, b))
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_sub_ps(a, b))
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_mul_ps(a, b))
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_div_ps(a, b))
    }
    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        op!(_mm512_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn fnma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        op!(_mm512_fnmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_max_ps(a, b))
    }
    #[inline(always)]
    fn abs(self, x: __m512) -> __m512 {
        op!(_mm512_abs_ps(x))
    }
    #[inline(always)]
    fn copysign(self, x: __m512, sign: __m512) -> __m512 {
        op!({
            let top = _mm512_set1_epi32(i32::MIN);
            // top ? sign : x
            let bits =
                _mm512_ternarylogic_epi32(top, _mm512_castps_si512(sign), _mm512_castps_si512(x), 0xCA);
            _mm512_castsi512_ps(bits)
        })
    }
    #[inline(always)]
    fn round(self, x: __m512) -> __m512 {
        op!(_mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC))
    }
    #[inline(always)]
    fn select_lt(self, a: __m512, b: __m512, x: __m512, y: __m512) -> __m512 {
        op!(_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x))
    }
    #[inline(always)]
    fn max_lane(self, x: __m512) -> f32 {
        op!(_mm512_reduce_max_ps(x))
    }

    #[inline(always)]
    fn splat_i32(self, x: i32) -> __m512i {
        op!(_mm512_set1_epi32(x))
    }
    #[inline(always)]
    fn to_i32(self, x: __m512) -> __m512i {
        op!(_mm512_cvttps_epi32(x))
    }
    #[inline(always)]
    fn to_f32(self, x: __m512i) -> __m512 {
        op!(_mm512_cvtepi32_ps(x))
    }
    #[inline(always)]
    fn power_of_two(self, n: __m512i) -> __m512 {
        op!(_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(n, _mm512_set1_epi32(127)), 23)))
    }
    #[inline(always)]
    fn sub_i32(self, a: __m512i, b: __m512i) -> __m512i {
        op!(_mm512_sub_epi32(a, b))
    }
    #[inline(always)]
    fn halve(self, x: __m512i) -> __m512i {
        op!(_mm512_srai_epi32(_mm512_add_epi32(x, _mm512_srli_epi32(x, 31)), 1))
    }
    #[inline(always)]
    fn sum_lanes(self, x: __m512i) -> i32 {
        op!(_mm512_reduce_add_epi32(x))
    }
    #[inline(always)]
    fn store_i8(self, out: &mut [i8; LANES], x: __m512i) {
        op!(_mm_storeu_si128(out.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(x)))
    }

    #[inline(always)]
    fn transpose(self, x: &mut [[f32; LANES]; LANES]) {
        op!({
            let mut r = [_mm512_setzero_ps(); LANES];
            for i in 0..LANES {
                r[i] = _mm512_loadu_ps(x[i].as_ptr());
            }
            // Two rows, then four: lane l of r[4i + j] is column 4l + j of rows 4i to 4i + 3.
            let mut t = r;
            for i in 0..LANES / 2 {
                t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
            }
            for i in 0..LANES / 4 {
                let (a, b) = (_mm512_castps_pd(t[4 * i]), _mm512_castps_pd(t[4 * i + 1]));
                let (c, d) = (_mm512_castps_pd(t[4 * i + 2]), _mm512_castps_pd(t[4 * i + 3]));
                r[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
                r[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
                r[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
                r[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
            }
            // Even lanes and odd ones of eight rows, then of all.
            for j in 0..4 {
                let even = [
                    _mm512_shuffle_f32x4(r[j], r[4 + j], 0x88),
                    _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0x88),
                ];
                let odd = [
                    _mm512_shuffle_f32x4(r[j], r[4 + j], 0xDD),
                    _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0xDD),
                ];
                _mm512_storeu_ps(x[j].as_mut_ptr(), _mm512_shuffle_f32x4(even[0], even[1], 0x88));
                _mm512_storeu_ps(x[4 + j].as_mut_ptr(), _mm512_shuffle_f32x4(odd[0], odd[1], 0x88));
                _mm512_storeu_ps(x[8 + j].as_mut_ptr(), _mm512_shuffle_f32x4(even[0], even[1], 0xDD));
                _mm512_storeu_ps(x[12 + j].as_mut_ptr(), _mm512_shuffle_f32x4(odd[0], odd[1], 0xDD));
            }
        });
    }

    #[inline(always)]
    fn load_bytes(self, x: &[u8; 64]) -> __m512i {
        op!(_mm512_loadu_si512(x.as_ptr().cast()))
    }
    #[inline(always)]
    fn low_nibbles(self, x: __m512i) -> __m512i {
        op!(_mm512_and_si512(x, _mm512_set1_epi8(15)))
    }
    #[inline(always)]
    fn high_nibbles(self, x: __m512i) -> __m512i {
        op!(_mm512_and_si512(_mm512_srli_epi16(x, 4), _mm512_set1_epi8(15)))
    }
    #[inline(always)]
    fn crumbs(self, x: __m512i, i: usize) -> __m512i {
        op!({
            let shifted = match i {
                0 => _mm512_slli_epi16(x, 4),
                1 => _mm512_slli_epi16(x, 2),
                2 => x,
                _ => _mm512_srli_epi16(x, 2),
            };
            _mm512_and_si512(shifted, _mm512_set1_epi8(0x30))
        })
    }
    #[inline(always)]
    fn look_up(self, table: &[u8; 16], x: __m512i) -> __m512i {
        op!(_mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast())), x))
    }
    #[inline(always)]
    fn or(self, a: __m512i, b: __m512i) -> __m512i {
        op!(_mm512_or_si512(a, b))
    }
    #[inline(always)]
    fn add_bytes(self, a: __m512i, b: u8) -> __m512i {
        op!(_mm512_add_epi8(a, _mm512_set1_epi8(b as i8)))
    }
    #[inline(always)]
    fn load_weights(self, x: &[i8; 64]) -> __m512i {
        self.rebias(op!(_mm512_loadu_si512(x.as_ptr().cast())))
    }
    #[inline(always)]
    fn store_weights(self, out: &mut [i8; 64], x: __m512i) {
        op!(_mm512_storeu_si512(out.as_mut_ptr().cast(), self.rebias(x)))
    }
    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        op!({
            _mm_prefetch::<_MM_HINT_T0>(at.cast());
            // Loads stay where they are written, before it or behind it.
            std::arch::asm!("", options(nostack, preserves_flags));
        })
    }
    #[inline(always)]
    fn dot4(self, acc: __m512i, weights: __m512i, inputs: [i8; 4]) -> __m512i {
        op!(_mm512_dpbusd_epi32(acc, weights, _mm512_set1_epi32(i32::from_le_bytes(inputs.map(|x| x as u8)))))
    }
}
