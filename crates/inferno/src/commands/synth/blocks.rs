//! Random blocks: quantized weights made as bytes, at the speed of a disk. Codes are uniform, and scales are such that weights have
//! the deviation asked for.

use anyhow::Result;
use inferno_format::{DType, quantize};

use super::presets::mix;

/// Weights of a tensor: its type, their mean and standard deviation, and the start of their random numbers.
#[derive(Clone, Copy)]
pub(super) struct Blocks {
    pub(super) dtype: DType,
    pub(super) mean: f32,
    pub(super) deviation: f32,
    pub(super) key: u64,
}

impl Blocks {
    /// Blocks `range` as bytes.
    pub(super) fn bytes(self, range: std::ops::Range<usize>) -> Result<Vec<u8>> {
        let Blocks { dtype, mean, deviation, key } = self;
        if dtype.is_float() {
            let number = |i: usize| {
                let unit = (mix(key.wrapping_add(i as u64)) >> 40) as f32 / (1 << 24) as f32 - 0.5;
                (unit * 12f32.sqrt()).mul_add(deviation, mean)
            };
            return Ok(quantize(dtype, &range.map(number).collect::<Vec<_>>())?);
        }
        let scales = self.scales()?;
        let size = dtype.block_bytes();
        let mut bytes = vec![0; range.len() * size];
        // A stream of random numbers for every block, so that a tensor is the same in whatever parts it is made.
        for (block, i) in bytes.chunks_exact_mut(size).zip(range) {
            let start = mix(key.wrapping_add(i as u64));
            let (words, rest) = block.as_chunks_mut::<8>();
            let mut n = 0;
            for word in words {
                n += 1;
                *word = mix(start ^ n).to_le_bytes();
            }
            let last = mix(start ^ (n + 1)).to_le_bytes();
            rest.copy_from_slice(&last[..rest.len()]);
            scales.put(dtype, block, start >> 63 == 1);
        }
        Ok(bytes)
    }

    /// `n` blocks of any type: of those that `synth` does not write, with scales that are small and finite and otherwise random.
    pub(super) fn any(self, n: usize) -> Result<Vec<u8>> {
        use DType::{MXFP4, Q4_0, Q4_K, Q6_K, Q8_0};
        if self.dtype.is_float() || matches!(self.dtype, Q8_0 | Q4_0 | Q4_K | Q6_K | MXFP4) {
            return self.bytes(0..n);
        }
        // Whichever bytes are a scale in half precision: its exponent is far below one.
        const SMALL: u64 = 0x1b1b_1b1b_1b1b_1b1b;
        let word = |i: usize| (mix(self.key.wrapping_add(i as u64)) & SMALL).to_le_bytes();
        let n_bytes = n * self.dtype.block_bytes();
        Ok((0..n_bytes.div_ceil(8)).flat_map(word).take(n_bytes).collect())
    }

    fn scales(self) -> Result<Scales> {
        // Deviation of codes that are uniform over `n` integers.
        let uniform = |n: f32| ((n * n - 1.0) / 12.0).sqrt();
        let (unit, minimum) = match self.dtype {
            DType::Q8_0 => (self.deviation / uniform(256.0), 0.0),
            DType::Q4_0 => (self.deviation / uniform(16.0), 0.0),
            // All scales and minimums are 32 units, and the minimum is the codes' mean.
            DType::Q4_K => {
                (self.deviation / uniform(16.0) / 32.0, self.deviation / uniform(16.0) / 32.0 * 7.5)
            }
            DType::Q6_K => (self.deviation / uniform(64.0) / 8.0, 0.0),
            _ => (0.0, 0.0),
        };
        let half = |x: f32| -> Result<[u8; 2]> {
            Ok(quantize(DType::F16, &[x])?.try_into().expect("a half has two bytes"))
        };
        // The root of the mean square of all of MXFP4's codes is 2.93.
        let exponent = ((self.deviation / 2.93).log2().round() + 127.0).clamp(0.0, 254.0) as u8;
        Ok(Scales { plus: half(unit)?, minus: half(-unit)?, minimum: half(minimum)?, exponent })
    }
}

/// Scales as files have them.
struct Scales {
    plus: [u8; 2],
    minus: [u8; 2],
    minimum: [u8; 2],
    /// MXFP4's.
    exponent: u8,
}

impl Scales {
    /// Gives a block of random bytes its scales. Codes that are not symmetric have a mean; a sign that changes from block to block
    /// takes it away.
    fn put(&self, dtype: DType, block: &mut [u8], is_negative: bool) {
        match dtype {
            DType::Q8_0 | DType::Q4_0 => {
                block[..2].copy_from_slice(if is_negative { &self.minus } else { &self.plus });
            }
            DType::Q4_K => {
                block[..2].copy_from_slice(&self.plus);
                block[2..4].copy_from_slice(&self.minimum);
                block[4..12].fill(0xa0);
                block[12..16].fill(0);
            }
            DType::Q6_K => {
                for scale in &mut block[192..208] {
                    *scale = if *scale & 1 == 0 { 8 } else { 8u8.wrapping_neg() };
                }
                block[208..].copy_from_slice(&self.plus);
            }
            DType::MXFP4 => block[0] = self.exponent,
            _ => unreachable!("only types that `synth` writes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_the_deviation_asked_for() {
        for dtype in [
            DType::F32,
            DType::F16,
            DType::BF16,
            DType::Q8_0,
            DType::Q4_0,
            DType::Q4_K,
            DType::Q6_K,
            DType::MXFP4,
        ] {
            let n = 65_536 / dtype.block_len();
            let blocks = Blocks { dtype, mean: 0.0, deviation: 0.0123, key: 7 };
            let all = blocks.bytes(0..n).unwrap();
            assert_eq!(blocks.bytes(5..n).unwrap(), all[5 * dtype.block_bytes()..]);
            let mut x = vec![0.0; 65_536];
            inferno_format::dequantize(dtype, &all, &mut x).unwrap();
            let mean = x.iter().sum::<f32>() / x.len() as f32;
            let deviation = (x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32).sqrt();
            // MXFP4's scales are powers of two.
            let most = if dtype == DType::MXFP4 { 1.5 } else { 1.02 };
            assert!(mean.abs() < 0.0004, "{dtype}: {mean}");
            assert!(deviation < 0.0123 * most && deviation > 0.0123 / most, "{dtype}: {deviation}");
        }
    }
}
