//! Memory that the tensors of a file take once they are loaded.

use inferno_format::{DType, Gguf, TensorEntry};

use super::layer_of;
use crate::architecture::{Architecture, LatentShape, MixerShape};

/// Bytes of weights in memory.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct WeightBytes {
    /// All of them.
    pub all: u64,
    /// Quantized keys of latent attention, which are F16 in memory: files from before the absorbed form have the rows that
    /// are needed as columns, and columns have no blocks of the file's type.
    pub widened: u64,
}

impl WeightBytes {
    /// The weights of `file`. Left out are draft layers that are not loaded, and tensors that have the numbers of others once more.
    pub fn of(arch: &Architecture, file: &Gguf) -> WeightBytes {
        let mut sum = WeightBytes::default();
        for tensor in file.tensors() {
            let WeightBytes { all, widened } = of_tensor(arch, file, tensor);
            sum.all += all;
            sum.widened += widened;
        }
        sum
    }
}

fn of_tensor(arch: &Architecture, file: &Gguf, tensor: &TensorEntry) -> WeightBytes {
    let as_stored = WeightBytes { all: tensor.n_bytes, widened: 0 };
    let Some((layer, name)) = layer_of(&tensor.name) else { return as_stored };
    let Some(shape) = arch.loaded_layer(layer) else { return WeightBytes::default() };
    let Some(MixerShape::Latent(LatentShape { n_heads, rank, nope_width, value_width, .. })) = shape.mixer
    else {
        return as_stored;
    };
    if name != "attn_kv_b.weight" || tensor.dtype.is_float() {
        return as_stored;
    }
    if file.tensor(&format!("blk.{layer}.attn_k_b.weight")).is_some() {
        return WeightBytes::default();
    }
    let bytes = |dtype: DType, n: usize| dtype.row_bytes(n).unwrap_or(0) as u64;
    let widened = bytes(DType::F16, n_heads * nope_width * rank);
    WeightBytes { all: widened + bytes(tensor.dtype, n_heads * value_width * rank), widened }
}
