//! Which type each tensor of a file is stored in.

use std::fmt;

use inferno_format::DType;

use super::presets::{Preset, Weight};
use crate::cli::Encoding;

/// The types that weights can be written in.
const DTYPES: [DType; 7] =
    [DType::F32, DType::F16, DType::BF16, DType::Q8_0, DType::Q4_0, DType::Q4_K, DType::Q6_K];

impl Encoding {
    /// The names of all encodings that can be written.
    pub(super) fn known() -> String {
        let names = DTYPES.map(DType::name).into_iter().chain(["Q4_K_M"]);
        names.collect::<Vec<_>>().join(" ")
    }

    pub(super) fn can_be_written(self) -> bool {
        matches!(self, Encoding::Q4KM) || matches!(self, Encoding::One(dtype) if DTYPES.contains(&dtype))
    }

    /// llama.cpp's number for "mostly this type".
    pub(super) fn file_type(self) -> u32 {
        match self {
            Encoding::One(DType::F32) => 0,
            Encoding::One(DType::F16) => 1,
            Encoding::One(DType::Q4_0) => 2,
            Encoding::One(DType::Q8_0) => 7,
            Encoding::One(DType::Q4_K) => 14,
            Encoding::Q4KM => 15,
            Encoding::One(DType::Q6_K) => 18,
            Encoding::One(DType::BF16) => 32,
            Encoding::One(_) => unreachable!("only these are written"),
        }
    }

    /// The type of one tensor: vectors and routers stay F32. Matrices whose rows are no whole blocks of their type are Q8_0, or
    /// F16 if they are none of its either.
    pub(super) fn of(self, weight: &Weight, preset: &Preset) -> DType {
        let asked = match self {
            _ if !weight.init.is_matrix() => return DType::F32,
            _ if preset.is_mxfp4(weight) => DType::MXFP4,
            Encoding::One(dtype) => dtype,
            Encoding::Q4KM => q4_k_m(&weight.name, preset.tied, preset.n_layers),
        };
        let fits = |dtype: &DType| weight.dims[0].is_multiple_of(dtype.block_len());
        [asked, DType::Q8_0].into_iter().find(fits).unwrap_or(DType::F16)
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Encoding::One(dtype) => dtype.fmt(f),
            Encoding::Q4KM => f.pad("Q4_K_M"),
        }
    }
}

/// llama.cpp's mixture (`llama_tensor_get_type` in `llama-quant.cpp`), without its exceptions for 8 experts and for
/// fused QKV, which is Q5_K there.
pub(crate) fn q4_k_m(name: &str, is_tied: bool, n_layers: usize) -> DType {
    let output = if is_tied { "token_embd.weight" } else { "output.weight" };
    let in_layer = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
    let wants_more = match in_layer {
        None => name == output,
        Some((layer, name)) => {
            let gets_more = |layer| use_more_bits(layer, n_layers);
            (name.starts_with("attn_v.") || name.starts_with("ffn_down"))
                && layer.parse().is_ok_and(gets_more)
        }
    };
    if wants_more { DType::Q6_K } else { DType::Q4_K }
}

/// The first and the last eighth of the layers, and every third between.
fn use_more_bits(layer: usize, n_layers: usize) -> bool {
    let eighth = n_layers / 8;
    layer < eighth || layer >= 7 * n_layers / 8 || (layer - eighth) % 3 == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_layers_get_more_bits() {
        // What `llama-quantize` made of a model of 28 layers.
        let found: Vec<usize> = (0..28).filter(|&i| use_more_bits(i, 28)).collect();
        assert_eq!(found, [0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 24, 25, 26, 27]);
    }
}
