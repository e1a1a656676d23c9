//! The tensor types of ggml: id, name and block size of each.
//!
//! Source: `enum ggml_type` in `ggml.h` and the block structures in `ggml-common.h`
//! (<https://github.com/ggml-org/ggml>).
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::fmt;
use std::str::FromStr;

/// A name that no tensor type has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no tensor type")]
pub struct UnknownDType(pub String);

/// Makes the enum and its tables from one list.
macro_rules! dtypes {
    ($($name:ident = $id:literal, $block_len:literal, $block_bytes:expr;)+) => {
        /// How the elements of a tensor are stored. The names are ggml's.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(non_camel_case_types, missing_docs, reason = "the names are the format's")]
        pub enum DType {
            $($name = $id,)+
        }

        impl DType {
            /// Every type there is, in the order of ids.
            pub const ALL: &[DType] = &[$(DType::$name),+];

            /// The type with ggml's number `id`; `None` if it is unknown or removed.
            pub fn from_ggml(id: u32) -> Option<DType> {
                match id {
                    $($id => Some(DType::$name),)+
                    _ => None,
                }
            }

            /// The name, as ggml spells it.
            pub fn name(self) -> &'static str {
                match self {
                    $(DType::$name => stringify!($name),)+
                }
            }

            /// Elements in a block; a row is a whole number of blocks.
            pub fn block_len(self) -> usize {
                match self {
                    $(DType::$name => $block_len,)+
                }
            }

            /// Bytes in a block.
            pub fn block_bytes(self) -> usize {
                match self {
                    $(DType::$name => $block_bytes,)+
                }
            }
        }
    };
}

dtypes! {
    // name = id, elements, bytes
    F32     =  0,   1, 4;
    F16     =  1,   1, 2;
    Q4_0    =  2,  32, 2 + 16;
    Q4_1    =  3,  32, 2 + 2 + 16;
    Q5_0    =  6,  32, 2 + 4 + 16;
    Q5_1    =  7,  32, 2 + 2 + 4 + 16;
    Q8_0    =  8,  32, 2 + 32;
    Q8_1    =  9,  32, 2 + 2 + 32;
    Q2_K    = 10, 256, 16 + 64 + 2 + 2;
    Q3_K    = 11, 256, 32 + 64 + 12 + 2;
    Q4_K    = 12, 256, 2 + 2 + 12 + 128;
    Q5_K    = 13, 256, 2 + 2 + 12 + 32 + 128;
    Q6_K    = 14, 256, 128 + 64 + 16 + 2;
    Q8_K    = 15, 256, 4 + 256 + 32;
    IQ2_XXS = 16, 256, 2 + 64;
    IQ2_XS  = 17, 256, 2 + 64 + 8;
    IQ3_XXS = 18, 256, 2 + 96;
    IQ1_S   = 19, 256, 2 + 32 + 16;
    IQ4_NL  = 20,  32, 2 + 16;
    IQ3_S   = 21, 256, 2 + 64 + 8 + 32 + 4;
    IQ2_S   = 22, 256, 2 + 64 + 8 + 8;
    IQ4_XS  = 23, 256, 2 + 2 + 4 + 128;
    I8      = 24,   1, 1;
    I16     = 25,   1, 2;
    I32     = 26,   1, 4;
    I64     = 27,   1, 8;
    F64     = 28,   1, 8;
    IQ1_M   = 29, 256, 32 + 16 + 8;
    BF16    = 30,   1, 2;
    TQ1_0   = 34, 256, 48 + 4 + 2;
    TQ2_0   = 35, 256, 64 + 2;
    MXFP4   = 39,  32, 1 + 16;
    NVFP4   = 40,  64, 4 + 32;
    Q1_0    = 41, 128, 2 + 16;
    Q2_0    = 42,  64, 2 + 16;
}

impl DType {
    /// ggml's number for the type, as a file stores it.
    pub fn ggml_id(self) -> u32 {
        self as u32
    }

    /// True if the format once had a type with this number and dropped it.
    pub fn was_removed(id: u32) -> bool {
        matches!(id, 4 | 5 | 31..=33 | 36..=38)
    }

    /// True if `dequantize` knows the type.
    pub fn can_dequantize(self) -> bool {
        self.is_float() || self.is_quantized()
    }

    /// True for the types with one float per element: F32, F16, BF16.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F16 | DType::BF16)
    }

    /// True for the block types whose meaning this crate knows: those `unpack_row` takes.
    pub fn is_quantized(self) -> bool {
        use DType::*;
        // Q8_1 and Q8_K are of activations only.
        !self.is_float() && !matches!(self, Q8_1 | Q8_K | I8 | I16 | I32 | I64 | F64)
    }

    /// Weights of a quantized row that share a scale (and a minimum, if the type has them): 16 or 32.
    pub fn scale_len(self) -> usize {
        use DType::*;
        if matches!(self, Q2_K | Q3_K | Q6_K | IQ1_M | IQ2_XS | IQ2_S | NVFP4) { 16 } else { 32 }
    }

    /// True for the quantized types whose weights are counted from a minimum.
    pub fn has_minimums(self) -> bool {
        use DType::*;
        matches!(self, Q4_1 | Q5_1 | Q2_K | Q4_K | Q5_K)
    }

    /// Bytes of a row of `n` elements; `None` unless that is whole blocks and fits `usize`.
    pub fn row_bytes(self, n: usize) -> Option<usize> {
        if n.checked_rem(self.block_len())? != 0 {
            return None;
        }
        n.checked_div(self.block_len())?.checked_mul(self.block_bytes())
    }

    /// Bytes of all rows of a tensor: the one place where a tensor's size is computed. `None` unless rows
    /// are whole blocks and both the elements (in `isize`) and the bytes (in `u64`) can be counted.
    pub(crate) fn tensor_bytes(self, dims: &[u64]) -> Option<u64> {
        let block_len = self.block_len() as u64;
        let n_elements = dims.iter().try_fold(1u64, |n, &dim| n.checked_mul(dim))?;
        if n_elements > isize::MAX as u64 || !dims.first()?.is_multiple_of(block_len) {
            return None;
        }
        n_elements.checked_div(block_len)?.checked_mul(self.block_bytes() as u64)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// By name, in any case: `q4_k` is `Q4_K`.
impl FromStr for DType {
    type Err = UnknownDType;

    fn from_str(name: &str) -> Result<DType, UnknownDType> {
        let found = DType::ALL.iter().find(|t| t.name().eq_ignore_ascii_case(name));
        found.copied().ok_or_else(|| UnknownDType(name.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_by_its_id_and_by_its_name() {
        for &t in DType::ALL {
            assert_eq!(DType::from_ggml(t.ggml_id()), Some(t));
            assert_eq!(t.name().to_lowercase().parse(), Ok(t));
            assert!(!DType::was_removed(t.ggml_id()));
        }
        assert_eq!("Q4_K_M".parse::<DType>(), Err(UnknownDType("Q4_K_M".into())));
    }

    #[test]
    fn ids_without_a_type_are_the_removed_ones_and_those_past_the_end() {
        let none: Vec<u32> = (0..50).filter(|&id| DType::from_ggml(id).is_none()).collect();
        assert_eq!(none, [4, 5, 31, 32, 33, 36, 37, 38, 43, 44, 45, 46, 47, 48, 49]);
    }

    #[test]
    fn scales_and_minimums_are_where_the_type_says() {
        for &t in DType::ALL.iter().filter(|t| t.is_quantized()) {
            let (mut two_scales, mut minimum) = (false, false);
            for seed in 0..16u8 {
                let bytes: Vec<u8> = (0..t.block_bytes())
                    .map(|i| (i as u8).wrapping_mul(37) ^ seed.wrapping_mul(89))
                    .collect();
                let mut blocks = Vec::new();
                crate::unpack_row(t, &bytes, &mut blocks).expect("a block");
                two_scales |= blocks.iter().any(|b| b.scale[0] != b.scale[1] || b.min[0] != b.min[1]);
                minimum |= blocks.iter().any(|b| b.min != [0, 0]);
            }
            assert_eq!(two_scales, t.scale_len() == 16, "{t}");
            assert_eq!(minimum, t.has_minimums(), "{t}");
        }
    }

    #[test]
    fn a_row_is_whole_blocks() {
        assert_eq!(DType::Q4_K.row_bytes(512), Some(288));
        assert_eq!(DType::Q4_K.row_bytes(500), None);
        assert_eq!(DType::F32.row_bytes(3), Some(12));
        assert_eq!(DType::F32.row_bytes(usize::MAX), None);
    }
}
