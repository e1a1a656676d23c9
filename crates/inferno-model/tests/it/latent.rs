//! Latent attention: files of the older form, caches, and files that are not right.

use inferno_format::{DType, Gguf, NewTensor, Value, dequantize, quantize};
use inferno_model::architecture::Architecture;
use inferno_model::backend::KvType;
use inferno_model::conformance::latent_layers;
use inferno_model::weights::WeightBytes;

use crate::bad_models::Parts;
use crate::run;

const TOKENS: [u32; 9] = [1, 5, 2, 8, 39, 0, 3, 3, 7];

fn parts() -> Parts {
    Parts::of_file(&latent_layers(true))
}

fn logits(file: &Gguf) -> Vec<f32> {
    run::load(file, 64).unwrap().append(&TOKENS).concat()
}

fn numbers((tensor, bytes): &(NewTensor, Vec<u8>)) -> Vec<f32> {
    let mut numbers = vec![0.0; tensor.dims.iter().product()];
    dequantize(tensor.dtype, bytes, &mut numbers).unwrap();
    numbers
}

/// The same model as files had it before the absorbed form, with the matrix in that type.
fn older(parts: &mut Parts, dtype: DType) {
    for layer in 0..2 {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let (k, v) = (parts.tensor(&name("attn_k_b")).clone(), parts.tensor(&name("attn_v_b")).clone());
        let ([nope, rank, n_heads], [_, value_width, _]) =
            (k.0.dims[..].try_into().unwrap(), v.0.dims[..].try_into().unwrap());
        let (k, v): (Vec<f32>, Vec<f32>) = (numbers(&k), numbers(&v));
        let mut rows: Vec<f32> = Vec::new();
        for h in 0..n_heads {
            for i in 0..nope {
                rows.extend((0..rank).map(|j| k[(h * rank + j) * nope + i]));
            }
            rows.extend(&v[h * value_width * rank..(h + 1) * value_width * rank]);
        }
        let dims = vec![rank, n_heads * (nope + value_width)];
        let tensor = NewTensor { name: name("attn_kv_b"), dtype, dims };
        let is_kept = |name: &str| !name.ends_with("_b.weight") || name.ends_with("q_b.weight");
        parts.tensors.retain(|(t, _)| is_kept(&t.name) || !t.name.starts_with(&format!("blk.{layer}.")));
        parts.tensors.push((tensor, quantize(dtype, &rows).unwrap()));
    }
    for (key, n) in [("head_count_kv", 3), ("key_length", 16), ("value_length", 12)] {
        parts.metadata.set(format!("deepseek2.attention.{key}"), Value::U32(n));
    }
    for key in ["key_length_mla", "value_length_mla"] {
        parts.without_key(&format!("deepseek2.attention.{key}"));
    }
}

#[test]
fn files_from_before_the_absorbed_form_are_the_same_model() {
    let expected = logits(&latent_layers(true));
    let mut parts = parts();
    older(&mut parts, DType::F32);
    assert_eq!(logits(&parts.file()), expected);
}

#[test]
fn a_file_with_the_matrices_of_both_forms_loads() {
    let mut both = parts();
    older(&mut both, DType::F32);
    let mut parts = parts();
    parts.tensors.extend(both.tensors.into_iter().filter(|(t, _)| t.name.ends_with("attn_kv_b.weight")));
    assert_eq!(logits(&parts.file()), logits(&latent_layers(true)));
}

#[test]
fn a_position_takes_the_latent_row_once() {
    let arch = Architecture::read(&latent_layers(true), None).unwrap();
    let bytes = |kv_type| arch.kv_bytes_per_position(kv_type);
    // Two layers of 24 numbers of the value and 6 beside them in the key.
    assert_eq!([KvType::F32, KvType::F16, KvType::Bf16].map(bytes), [2 * 30 * 4, 2 * 30 * 2, 2 * 30 * 2]);
    assert_eq!(bytes(KvType::Q8_0), 2 * (24 + 2 + 6 + 2));
}

#[test]
fn memory_of_weights_counts_what_is_loaded() {
    let bytes = |parts: &Parts| {
        let file = parts.file();
        WeightBytes::of(&Architecture::read(&file, None).unwrap(), &file)
    };
    let absorbed = parts();
    let all: usize = absorbed.tensors.iter().map(|(_, bytes)| bytes.len()).sum();
    assert_eq!(bytes(&absorbed), WeightBytes { all: all as u64, widened: 0 });
    // Floats are kept as they are; 3 heads of 10 rows of 24 numbers in each of two layers become F16.
    let mut older_floats = parts();
    older(&mut older_floats, DType::F32);
    assert_eq!(bytes(&older_floats).widened, 0);
    let mut halves = parts();
    older(&mut halves, DType::F16);
    assert_eq!(bytes(&halves).widened, 0);
    // The same tensors once more, and those of a layer that drafts.
    let mut more = parts();
    let mut draft = more.tensor("blk.1.attn_output.weight").clone();
    draft.0.name = "blk.2.attn_output.weight".into();
    more.tensors.push(draft);
    more.metadata.set("deepseek2.block_count", Value::U32(3));
    more.metadata.set("deepseek2.nextn_predict_layers", Value::U32(1));
    assert_eq!(bytes(&more).all, all as u64);
}

#[track_caller]
fn refused(change: impl FnOnce(&mut Parts), message: &str) {
    let mut parts = parts();
    change(&mut parts);
    assert_eq!(parts.error(), message);
}

#[track_caller]
fn number_refused(key: &str, n: u32, message: &str) {
    refused(|p| p.metadata.set(format!("deepseek2.{key}"), Value::U32(n)), message);
}

#[test]
fn files_that_are_not_right_are_refused() {
    number_refused(
        "attention.kv_lora_rank",
        0,
        "metadata key `deepseek2.attention.kv_lora_rank` is 0, expected 1 to 1048576",
    );
    refused(
        |p| p.without_key("deepseek2.attention.kv_lora_rank"),
        "metadata key `deepseek2.attention.kv_lora_rank` is missing, expected a positive integer",
    );
    refused(
        |p| p.without_key("deepseek2.rope.dimension_count"),
        "metadata key `deepseek2.rope.dimension_count` is missing, expected a positive integer",
    );
    refused(
        |p| p.without_key("deepseek2.attention.value_length_mla"),
        "metadata key `deepseek2.attention.value_length_mla` is missing, expected a positive integer",
    );
    number_refused(
        "attention.key_length",
        31,
        "metadata key `deepseek2.attention.key_length` is 31, expected the width of the cache: \
         `attention.kv_lora_rank`, and for keys `rope.dimension_count` more",
    );
    number_refused(
        "attention.key_length_mla",
        6,
        "metadata key `deepseek2.rope.dimension_count` is 6, expected less than the width of a query head",
    );
    number_refused(
        "attention.key_length_mla",
        17,
        "tensor `blk.0.attn_q_b.weight` has shape [20, 48], expected [20, 51]",
    );
    number_refused(
        "attention.q_lora_rank",
        19,
        "tensor `blk.0.attn_q_a.weight` has shape [32, 20], expected [32, 19]",
    );
    refused(
        |p| p.without_key("deepseek2.attention.q_lora_rank"),
        "tensor `blk.0.attn_q.weight` is missing, expected shape [32, 48]",
    );
    refused(
        |p| p.tensors.retain(|(t, _)| t.name != "blk.1.attn_k_b.weight"),
        "tensor `blk.1.attn_k_b.weight` is missing, expected shape [10, 24, 3]",
    );
    refused(
        |p| p.tensor("blk.1.attn_v_b.weight").0.dims = vec![24, 18, 2],
        "tensor `blk.1.attn_v_b.weight` has shape [24, 18, 2], expected [24, 12, 3]",
    );
}
