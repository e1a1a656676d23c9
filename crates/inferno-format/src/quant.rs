//! What quantized weights mean.
//!
//! Every quantized type is a sequence of pieces of 32 weights, and all of them fit one form,
//! [`Block32`]: small integers with two integer scales and two integer minimums, and two floats. This
//! module is the definition; the kernels are tested against it, so it is written to be read. For types whose scales or
//! weights are fractions (IQ1, IQ2, IQ3_XXS, MXFP4, NVFP4), `d` includes the power of two that makes them integers; no bit is lost.
//!
//! Source: `dequantize_row_*` in `ggml-quants.c`; [`dequantize`] gives the same bits.

mod quantize;
mod unpack;

pub use quantize::quantize;
pub use unpack::E2M1_DOUBLED;

use half::{bf16, f16};

use crate::dtype::DType;

/// 32 consecutive weights of a row: `value(i) = (d*scale[i/16])*q[i] - dmin*min[i/16]`, each product
/// and the difference rounded to f32.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Block32 {
    /// The weights as integers.
    pub q: [i8; 32],
    /// Integer scales of weights 0..16 and 16..32, less than 2^24 in magnitude.
    pub scale: [i32; 2],
    /// Integer minimums of weights 0..16 and 16..32; 0 in types without minimums.
    pub min: [u8; 2],
    /// What a unit of `scale` times `q` is worth.
    pub d: f32,
    /// What a unit of `min` is worth; 0 in types without minimums.
    pub dmin: f32,
}

impl Block32 {
    /// The 32 weights.
    pub fn values(&self) -> [f32; 32] {
        let scale = self.scale.map(|s| self.d * s as f32);
        let min = self.min.map(|m| self.dmin * f32::from(m));
        std::array::from_fn(|i| scale[i / 16] * f32::from(self.q[i]) - min[i / 16])
    }
}

/// Bytes or values that cannot be converted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantError {
    /// The type has no such conversion here.
    #[error("cannot {action} {dtype}")]
    Unsupported {
        /// `unpack`, `dequantize` or `quantize`.
        action: &'static str,
        /// The type.
        dtype: DType,
    },
    /// The bytes or values are no whole blocks.
    #[error("{found} {unit} are no whole blocks of {dtype}, which have {block}")]
    Ragged {
        /// The type.
        dtype: DType,
        /// `bytes` or `values`.
        unit: &'static str,
        /// Units in a block.
        block: usize,
        /// Units given.
        found: usize,
    },
    /// The output has not the length of the input.
    #[error("room for {found} values, expected {expected}")]
    Length {
        /// Values the input has.
        expected: usize,
        /// Values the output has room for.
        found: usize,
    },
    /// NaN or infinity cannot be quantized.
    #[error("value {index} is not finite")]
    NotFinite {
        /// Which value.
        index: usize,
    },
    /// A finite value that no finite value of the type comes near.
    #[error("value {index} is too large for {dtype}")]
    TooLarge {
        /// The largest value of its block.
        index: usize,
        /// The type.
        dtype: DType,
    },
}

/// Replaces what is in `out` by the pieces of a row of any quantized type ([`DType::is_quantized`]).
pub fn unpack_row(dtype: DType, bytes: &[u8], out: &mut Vec<Block32>) -> Result<(), QuantError> {
    if !dtype.is_quantized() {
        return Err(QuantError::Unsupported { action: "unpack", dtype });
    }
    whole(dtype, "bytes", dtype.block_bytes(), bytes.len())?;
    out.clear();
    unpack::blocks(dtype, bytes, out);
    Ok(())
}

/// The values of a row, or of many rows laid end to end.
pub fn dequantize(dtype: DType, bytes: &[u8], out: &mut [f32]) -> Result<(), QuantError> {
    if !dtype.can_dequantize() {
        return Err(QuantError::Unsupported { action: "dequantize", dtype });
    }
    whole(dtype, "bytes", dtype.block_bytes(), bytes.len())?;
    let expected = bytes.len() / dtype.block_bytes() * dtype.block_len();
    if out.len() != expected {
        return Err(QuantError::Length { expected, found: out.len() });
    }
    match dtype {
        DType::F32 => each(bytes, out, f32::from_le_bytes),
        DType::F16 => each(bytes, out, |b| f16::from_le_bytes(b).to_f32()),
        DType::BF16 => each(bytes, out, |b| bf16::from_le_bytes(b).to_f32()),
        _ => {
            let mut pieces = Vec::with_capacity(dtype.block_len() / 32);
            let blocks = bytes.chunks_exact(dtype.block_bytes());
            for (block, out) in blocks.zip(out.chunks_exact_mut(dtype.block_len())) {
                pieces.clear();
                unpack::blocks(dtype, block, &mut pieces);
                for (piece, out) in pieces.iter().zip(out.chunks_exact_mut(32)) {
                    out.copy_from_slice(&piece.values());
                }
            }
        }
    }
    Ok(())
}

fn each<const N: usize>(bytes: &[u8], out: &mut [f32], value: impl Fn([u8; N]) -> f32) {
    for (&bytes, out) in bytes.as_chunks().0.iter().zip(out) {
        *out = value(bytes);
    }
}

fn whole(dtype: DType, unit: &'static str, block: usize, found: usize) -> Result<(), QuantError> {
    if found.is_multiple_of(block) {
        return Ok(());
    }
    Err(QuantError::Ragged { dtype, unit, block, found })
}
