//! NEON with dot products of bytes: four registers are a vector. `sdot` takes signed weights and signed inputs. Its
//! intrinsic is not stable in Rust, `asm!` is.
//!
//! `smmla` (i8mm) is not used: it wants 8 inputs of 2 outputs in a register where the packed weights have 4 of 4. To
//! rearrange them here leaves 60 vector instructions instead of 64 for a block of 32 inputs of two rows; it would need
//! a packing of its own.

use std::arch::aarch64::*;
use std::arch::asm;

use super::{LANES, Simd};

/// Four registers.
#[derive(Clone, Copy)]
pub(crate) struct Quad<T>(T, T, T, T);

/// Proof that this CPU has NEON and its dot products.
#[derive(Clone, Copy)]
pub(crate) struct Neon(());

impl Neon {
    /// # Safety
    /// The CPU has the features named above.
    pub(crate) unsafe fn proven() -> Neon {
        Neon(())
    }
}

type F = Quad<float32x4_t>;
type I = Quad<int32x4_t>;
type B = Quad<uint8x16_t>;

/// An expression of intrinsics.
macro_rules! op {
    ($e:expr) => {
        // SAFETY: the proof `self` says that the CPU has the instructions; loads and stores are of references.
        unsafe { $e }
    };
}

/// The same operation on every quarter.
macro_rules! each {
    ($f:ident$(::<$j:literal>)?($($x:ident),+ $(; $c:expr)?)) => {
        op!(Quad(
            $f$(::<$j>)?($($x.0,)+ $($c)?),
            $f$(::<$j>)?($($x.1,)+ $($c)?),
            $f$(::<$j>)?($($x.2,)+ $($c)?),
            $f$(::<$j>)?($($x.3,)+ $($c)?),
        ))
    };
}

/// Lane i of acc += Σ weight 4i + j × input 4 × J + j, j from 0 to 3.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot<const J: usize>(mut acc: int32x4_t, weights: uint8x16_t, inputs: uint8x16_t) -> int32x4_t {
    // SAFETY: it changes `acc` alone.
    unsafe {
        asm!(
            "sdot {acc:v}.4s, {weights:v}.16b, {inputs:v}.4b[{j}]",
            acc = inout(vreg) acc,
            weights = in(vreg) weights,
            inputs = in(vreg) inputs,
            j = const J,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    acc
}

#[allow(
    clippy::inline_always,
    reason = "an operation that is not inlined is a call with its operands in memory"
)]
impl Simd for Neon {
    type F = F;
    type I = I;
    type B = B;

    const BIAS: u8 = 0;
    /// `sdot` takes its inputs from the lanes of one vector.
    const BY_QUARTERS: bool = false;
    const INT8_ROWS: usize = 4;
    const FLOAT_ROWS: usize = 2;

    #[inline(always)]
    fn splat(self, x: f32) -> F {
        op!(quad(vdupq_n_f32(x)))
    }
    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> F {
        op!({
            let at = x.as_ptr();
            Quad(vld1q_f32(at), vld1q_f32(at.add(4)), vld1q_f32(at.add(8)), vld1q_f32(at.add(12)))
        })
    }
    #[inline(always)]
    fn store(self, out: &mut [f32; LANES], x: F) {
        op!({
            let at = out.as_mut_ptr();
            vst1q_f32(at, x.0);
            vst1q_f32(at.add(4), x.1);
            vst1q_f32(at.add(8), x.2);
            vst1q_f32(at.add(12), x.3);
        })
    }
    #[inline(always)]
    fn load_f16(self, x: &[u16; LANES]) -> F {
        op!({
            let wide = |at| vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(at)));
            let at = x.as_ptr();
            Quad(wide(at), wide(at.add(4)), wide(at.add(8)), wide(at.add(12)))
        })
    }
    #[inline(always)]
    fn store_f16(self, out: &mut [u16; LANES], x: F) {
        op!({
            let narrow = |at, x| vst1_u16(at, vreinterpret_u16_f16(vcvt_f16_f32(x)));
            let at = out.as_mut_ptr();
            narrow(at, x.0);
            narrow(at.add(4), x.1);
            narrow(at.add(8), x.2);
            narrow(at.add(12), x.3);
        })
    }
    #[inline(always)]
    fn load_bf16(self, x: &[u16; LANES]) -> F {
        op!({
            let wide = |at| vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(at)));
            let at = x.as_ptr();
            Quad(wide(at), wide(at.add(4)), wide(at.add(8)), wide(at.add(12)))
        })
    }
    #[inline(always)]
    fn load_e8m0(self, x: &[u8; LANES]) -> F {
        op!({
            // The exponent of e - 1, or (e + 1) × 2^21 where that is larger: for 0 and 1, whose powers are subnormal.
            let one = |x| {
                let (e, one) = (vreinterpretq_s32_u32(vmovl_u16(x)), vdupq_n_s32(1));
                let normal = vshlq_n_s32::<23>(vsubq_s32(e, one));
                let subnormal = vshlq_n_s32::<21>(vaddq_s32(e, one));
                vreinterpretq_f32_s32(vmaxq_s32(normal, subnormal))
            };
            let x = vld1q_u8(x.as_ptr());
            let (low, high) = (vmovl_u8(vget_low_u8(x)), vmovl_high_u8(x));
            Quad(
                one(vget_low_u16(low)),
                one(vget_high_u16(low)),
                one(vget_low_u16(high)),
                one(vget_high_u16(high)),
            )
        })
    }
    #[inline(always)]
    fn load_i8(self, x: &[i8; LANES]) -> F {
        op!({
            let x = vld1q_s8(x.as_ptr());
            let (low, high) = (vmovl_s8(vget_low_s8(x)), vmovl_high_s8(x));
            self.to_f32(Quad(
                vmovl_s16(vget_low_s16(low)),
                vmovl_high_s16(low),
                vmovl_s16(vget_low_s16(high)),
                vmovl_high_s16(high),
            ))
        })
    }
    #[inline(always)]
    fn load_u8(self, x: &[u8; LANES]) -> F {
        op!({
            let x = vld1q_u8(x.as_ptr());
            let (low, high) = (vmovl_u8(vget_low_u8(x)), vmovl_high_u8(x));
            let wide = |x| vcvtq_f32_u32(x);
            Quad(
                wide(vmovl_u16(vget_low_u16(low))),
                wide(vmovl_high_u16(low)),
                wide(vmovl_u16(vget_low_u16(high))),
                wide(vmovl_high_u16(high)),
            )
        })
    }
    #[inline(always)]
    fn add(self, a: F, b: F) -> F {
        each!(vaddq_f32(a, b))
    }
    #[inline(always)]
    fn sub(self, a: F, b: F) -> F {
        each!(vsubq_f32(a, b))
    }
    #[inline(always)]
    fn mul(self, a: F, b: F) -> F {
        each!(vmulq_f32(a, b))
    }
    #[inline(always)]
    fn div(self, a: F, b: F) -> F {
        each!(vdivq_f32(a, b))
    }
    #[inline(always)]
    fn fma(self, a: F, b: F, c: F) -> F {
        each!(vfmaq_f32(c, a, b))
    }
    #[inline(always)]
    fn fnma(self, a: F, b: F, c: F) -> F {
        each!(vfmsq_f32(c, a, b))
    }
    #[inline(always)]
    fn max(self, a: F, b: F) -> F {
        // `fmax` would give no number where either is none.
        self.select_lt(b, a, a, b)
    }
    #[inline(always)]
    fn abs(self, x: F) -> F {
        each!(vabsq_f32(x))
    }
    #[inline(always)]
    fn copysign(self, x: F, sign: F) -> F {
        op!({
            let top = vdupq_n_u32(1 << 31);
            let one = |x, sign| vbslq_f32(top, sign, x);
            Quad(one(x.0, sign.0), one(x.1, sign.1), one(x.2, sign.2), one(x.3, sign.3))
        })
    }
    #[inline(always)]
    fn round(self, x: F) -> F {
        each!(vrndnq_f32(x))
    }
    #[inline(always)]
    fn select_lt(self, a: F, b: F, x: F, y: F) -> F {
        op!({
            let one = |a, b, x, y| vbslq_f32(vcltq_f32(a, b), x, y);
            Quad(
                one(a.0, b.0, x.0, y.0),
                one(a.1, b.1, x.1, y.1),
                one(a.2, b.2, x.2, y.2),
                one(a.3, b.3, x.3, y.3),
            )
        })
    }
    #[inline(always)]
    fn max_lane(self, x: F) -> f32 {
        op!(vmaxnmvq_f32(vmaxnmq_f32(vmaxnmq_f32(x.0, x.1), vmaxnmq_f32(x.2, x.3))))
    }

    #[inline(always)]
    fn splat_i32(self, x: i32) -> I {
        op!(quad(vdupq_n_s32(x)))
    }
    #[inline(always)]
    fn to_i32(self, x: F) -> I {
        each!(vcvtq_s32_f32(x))
    }
    #[inline(always)]
    fn to_f32(self, x: I) -> F {
        each!(vcvtq_f32_s32(x))
    }
    #[inline(always)]
    fn power_of_two(self, n: I) -> F {
        op!({
            let bias = vdupq_n_s32(127);
            let one = |n| vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(n, bias)));
            Quad(one(n.0), one(n.1), one(n.2), one(n.3))
        })
    }
    #[inline(always)]
    fn sub_i32(self, a: I, b: I) -> I {
        each!(vsubq_s32(a, b))
    }
    #[inline(always)]
    fn halve(self, x: I) -> I {
        op!({
            let sign = |x| vreinterpretq_s32_u32(vshrq_n_u32::<31>(vreinterpretq_u32_s32(x)));
            let one = |x| vshrq_n_s32::<1>(vaddq_s32(x, sign(x)));
            Quad(one(x.0), one(x.1), one(x.2), one(x.3))
        })
    }
    #[inline(always)]
    fn sum_lanes(self, x: I) -> i32 {
        op!(vaddvq_s32(vaddq_s32(vaddq_s32(x.0, x.1), vaddq_s32(x.2, x.3))))
    }
    #[inline(always)]
    fn store_i8(self, out: &mut [i8; LANES], x: I) {
        op!({
            let narrow = |a, b| vcombine_s16(vmovn_s32(a), vmovn_s32(b));
            let (low, high) = (narrow(x.0, x.1), narrow(x.2, x.3));
            vst1q_s8(out.as_mut_ptr(), vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
        })
    }

    #[inline(always)]
    fn load_bytes(self, x: &[u8; 64]) -> B {
        op!({
            let at = x.as_ptr();
            Quad(vld1q_u8(at), vld1q_u8(at.add(16)), vld1q_u8(at.add(32)), vld1q_u8(at.add(48)))
        })
    }
    #[inline(always)]
    fn low_nibbles(self, x: B) -> B {
        each!(vandq_u8(x; vdupq_n_u8(15)))
    }
    #[inline(always)]
    fn high_nibbles(self, x: B) -> B {
        op!({
            let one = |x| vshrq_n_u8::<4>(x);
            Quad(one(x.0), one(x.1), one(x.2), one(x.3))
        })
    }
    #[inline(always)]
    fn crumbs(self, x: B, i: usize) -> B {
        op!({
            let mask = vdupq_n_u8(0x30);
            let one = |x| {
                let shifted = match i {
                    0 => vshlq_n_u8::<4>(x),
                    1 => vshlq_n_u8::<2>(x),
                    2 => x,
                    _ => vshrq_n_u8::<2>(x),
                };
                vandq_u8(shifted, mask)
            };
            Quad(one(x.0), one(x.1), one(x.2), one(x.3))
        })
    }
    #[inline(always)]
    fn look_up(self, table: &[u8; 16], x: B) -> B {
        op!({
            let table = vld1q_u8(table.as_ptr());
            let one = |x| vqtbl1q_u8(table, x);
            Quad(one(x.0), one(x.1), one(x.2), one(x.3))
        })
    }
    #[inline(always)]
    fn or(self, a: B, b: B) -> B {
        each!(vorrq_u8(a, b))
    }
    #[inline(always)]
    fn add_bytes(self, a: B, b: u8) -> B {
        each!(vaddq_u8(a; vdupq_n_u8(b)))
    }
    #[inline(always)]
    fn load_weights(self, x: &[i8; 64]) -> B {
        self.load_bytes(bytemuck::cast_ref(x))
    }
    #[inline(always)]
    fn store_weights(self, out: &mut [i8; 64], x: B) {
        op!({
            let at = out.as_mut_ptr().cast::<u8>();
            vst1q_u8(at, x.0);
            vst1q_u8(at.add(16), x.1);
            vst1q_u8(at.add(32), x.2);
            vst1q_u8(at.add(48), x.3);
        })
    }
    #[inline(always)]
    fn dot4(self, acc: I, weights: B, inputs: [i8; 4]) -> I {
        let inputs = op!(vreinterpretq_u8_u32(vdupq_n_u32(u32::from_le_bytes(inputs.map(|x| x as u8)))));
        each!(sdot::<0>(acc, weights; inputs))
    }
    #[inline(always)]
    fn dot16(self, acc: I, weights: &[B; 4], inputs: &[[i8; 4]; 4]) -> I {
        let [w0, w1, w2, w3] = *weights;
        let inputs = op!(vld1q_u8(inputs.as_ptr().cast()));
        let acc = each!(sdot::<0>(acc, w0; inputs));
        let acc = each!(sdot::<1>(acc, w1; inputs));
        let acc = each!(sdot::<2>(acc, w2; inputs));
        each!(sdot::<3>(acc, w3; inputs))
    }
}

#[inline(always)]
#[allow(clippy::inline_always, reason = "as above")]
fn quad<T: Copy>(x: T) -> Quad<T> {
    Quad(x, x, x, x)
}
