//! What the kernels need of an instruction set: sixteen lanes of f32 or i32, and sixty-four bytes.
//!
//! Every level has the same sixteen lanes, in one register or in several, and every operation rounds once, as IEEE 754
//! says. So a kernel written over [`Simd`] gives the same bits on every level.
//!
//! A value of a [`Simd`] type is the proof that the CPU has its instructions. The operations must be inlined into a
//! function that enables them (see `kernels::table`), else each is a call.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod scalar;
#[cfg(test)]
mod tests;

/// Lanes of a vector: as many as a sum has stripes.
pub(crate) const LANES: usize = inferno_model::numerics::STRIPES;

/// Products with weights that share a scale.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// Width of weights in bits. Those of fewer than eight are unsigned.
    pub(crate) bits: u32,
    /// A bias was added to weights, where the level has one: half of `2^bits`.
    pub(crate) is_biased: bool,
    /// Products in the run: 16 or 32.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "AVX2 alone reads it"))]
    pub(crate) len: usize,
}

/// One instruction set.
pub(crate) trait Simd: Copy {
    /// 16 × f32
    type F: Copy;
    /// 16 × i32
    type I: Copy;
    /// 64 × i8, weights as `dot4` takes them or on their way there
    type B: Copy;

    /// Added (wrapping) to weights from -128 to 127 to make what `dot4` multiplies: 0, or 128 where the instruction
    /// takes unsigned weights.
    const BIAS: u8;
    /// The same of weights that are stored as bytes.
    const STORED_BIAS: u8 = Self::BIAS;
    /// The same of weights of few bits, where it is shifted (`Format::BIAS_SHIFT`).
    const SMALL_BIAS: u8 = Self::BIAS;
    /// Instructions add up pairs of products and not fours. Unsigned weights of few bits are faster then, added up by
    /// [`Simd::dot8`] in 16 bits; bytes are unpacked to 16 bits for many rows, and multiplied by [`Simd::dot2`].
    const BY_PAIRS: bool = false;
    /// Weights of few rows are unpacked and multiplied quarter by quarter of a block, or else a block at a time.
    const BY_QUARTERS: bool = true;
    /// Rows whose sums fit in the registers of an integer product: a divisor of [`ROW_GROUP`].
    const INT8_ROWS: usize;
    /// The same of a float product with two vectors of outputs.
    const FLOAT_ROWS: usize;

    fn splat(self, x: f32) -> Self::F;
    fn load(self, x: &[f32; LANES]) -> Self::F;
    fn store(self, out: &mut [f32; LANES], x: Self::F);
    /// From half precision.
    fn load_f16(self, x: &[u16; LANES]) -> Self::F;
    /// To half precision, to nearest, ties to even.
    fn store_f16(self, out: &mut [u16; LANES], x: Self::F);
    /// From the upper halves of f32.
    fn load_bf16(self, x: &[u16; LANES]) -> Self::F;
    /// `2^(e - 128)`: half of what a byte of E8M0 stands for, as weights of E2M1 are stored doubled.
    fn load_e8m0(self, x: &[u8; LANES]) -> Self::F;
    fn load_i8(self, x: &[i8; LANES]) -> Self::F;
    fn load_u8(self, x: &[u8; LANES]) -> Self::F;
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// a × b + c
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// -(a × b) + c
    fn fnma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// b where a is no number.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    fn abs(self, x: Self::F) -> Self::F;
    /// The magnitude of x with the sign of `sign`.
    fn copysign(self, x: Self::F, sign: Self::F) -> Self::F;
    /// To the nearest integer, ties to even.
    fn round(self, x: Self::F) -> Self::F;
    /// Per lane `a < b ? x : y`.
    fn select_lt(self, a: Self::F, b: Self::F, x: Self::F, y: Self::F) -> Self::F;
    /// The largest lane; of lanes that are not all numbers, anything.
    fn max_lane(self, x: Self::F) -> f32;

    fn splat_i32(self, x: i32) -> Self::I;
    /// Of a whole number that fits.
    fn to_i32(self, x: Self::F) -> Self::I;
    fn to_f32(self, x: Self::I) -> Self::F;
    /// `2^n` for n from -126 to 127.
    fn power_of_two(self, n: Self::I) -> Self::F;
    fn sub_i32(self, a: Self::I, b: Self::I) -> Self::I;
    /// Half of it, rounded towards zero.
    fn halve(self, x: Self::I) -> Self::I;
    fn sum_lanes(self, x: Self::I) -> i32;
    /// The low bytes.
    fn store_i8(self, out: &mut [i8; LANES], x: Self::I);

    fn load_bytes(self, x: &[u8; 64]) -> Self::B;
    fn low_nibbles(self, x: Self::B) -> Self::B;
    fn high_nibbles(self, x: Self::B) -> Self::B;
    /// Bits 2i and 2i + 1 of every byte, in the places of bits 4 and 5.
    fn crumbs(self, x: Self::B, i: usize) -> Self::B;
    /// Entries of a table; the bytes of `x` are from 0 to 15.
    fn look_up(self, table: &[u8; 16], x: Self::B) -> Self::B;
    fn or(self, a: Self::B, b: Self::B) -> Self::B;
    /// Wrapping.
    fn add_bytes(self, a: Self::B, b: u8) -> Self::B;
    /// Stored weights, as `dot4` takes them.
    fn load_weights(self, x: &[i8; 64]) -> Self::B;
    fn store_weights(self, out: &mut [i8; 64], x: Self::B);
    /// Lane i of acc += Σ (biased) weight 4i + j × input j, j from 0 to 3. `inputs` has them in memory order.
    fn dot4(self, acc: Self::I, weights: Self::B, inputs: [i8; 4]) -> Self::I;
    /// The same of sixteen inputs.
    #[inline(always)]
    fn dot16(self, acc: Self::I, weights: &[Self::B; 4], inputs: &[[i8; 4]; 4]) -> Self::I {
        let acc = self.dot4(self.dot4(acc, weights[0], inputs[0]), weights[1], inputs[1]);
        self.dot4(self.dot4(acc, weights[2], inputs[2]), weights[3], inputs[3])
    }

    /// The even and the odd bytes, in 16 bits. Only of levels with [`Simd::BY_PAIRS`], as the next two.
    #[inline(always)]
    fn to_words(self, _: Self::B) -> [Self::B; 2] {
        unreachable!("bytes are multiplied as they are")
    }
    /// Weights in 16 bits, read once.
    #[inline(always)]
    fn load_words(self, _: &[i16; 32]) -> Self::B {
        unreachable!("bytes are multiplied as they are")
    }
    /// Lane i of acc += Σ weight 2i + j × input j, j from 0 to 1, all in 16 bits.
    #[inline(always)]
    fn dot2(self, _acc: Self::I, _weights: Self::B, _inputs: [i16; 2]) -> Self::I {
        unreachable!("bytes are multiplied as they are")
    }

    /// Minus the products of a run's inputs `_x`, whose sum is `sum`, and the bias, in a form of the level's own.
    #[inline(always)]
    fn start(self, _x: &[[i8; 4]], sum: i32) -> i32 {
        -i32::from(Self::BIAS) * sum
    }
    /// Sums of a run of products before the first, from the [`Simd::start`] of its inputs.
    #[inline(always)]
    fn begin(self, run: Run, start: i32) -> Self::I {
        self.splat_i32(if Self::BIAS != 0 && run.is_biased { start >> (8 - run.bits) } else { 0 })
    }
    /// Adds the products of eight inputs.
    #[inline(always)]
    fn dot8(self, sums: Self::I, _run: Run, weights: [Self::B; 2], x: [[i8; 4]; 2]) -> Self::I {
        self.dot4(self.dot4(sums, weights[0], x[0]), weights[1], x[1])
    }
    /// The total of sums that began with `start`.
    #[inline(always)]
    fn total(self, sums: Self::I, _run: Run, _start: i32) -> Self::I {
        sums
    }

    /// Rows for columns.
    #[inline(always)]
    fn transpose(self, x: &mut [[f32; LANES]; LANES]) {
        let old = *x;
        for (i, row) in x.iter_mut().enumerate() {
            row.iter_mut().zip(&old).for_each(|(x, old)| *x = old[i]);
        }
    }

    /// Asks for the cache line at `at`, which need not be there.
    #[inline(always)]
    fn prefetch(self, _at: *const u8) {}

    #[inline(always)]
    fn zero(self) -> Self::F {
        self.splat(0.0)
    }

    #[inline(always)]
    fn to_array(self, x: Self::F) -> [f32; LANES] {
        let mut out = [0.0; LANES];
        self.store(&mut out, x);
        out
    }
}

/// Rows that are computed together; their activations are interleaved.
pub(crate) const ROW_GROUP: usize = 8;
