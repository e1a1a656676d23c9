//! Windows, sinks, widths and shared keys of attention.

use super::*;

#[test]
fn windowed_layers_may_be_listed_one_by_one() {
    let pattern = "gemma2.attention.sliding_window_pattern";
    let mut parts = Parts::of("gemma2");
    parts.metadata.set(pattern, Value::Array(Array::Bool(vec![false, true, true])));
    let arch = Architecture::read(&parts.file(), None).unwrap();
    assert_eq!(windows(&arch), [None, Some(8), Some(8)]);
    parts.metadata.set(pattern, Value::Array(Array::I32(vec![0, 1, 1])));
    assert_eq!(Architecture::read(&parts.file(), None).unwrap(), arch);
    parts.metadata.set(pattern, Value::Array(Array::Bool(vec![true])));
    assert_eq!(
        parts.error(),
        format!(
            "metadata key `{pattern}` is an array of 1 bool, expected one value, or an array with one per layer (`block_count`)"
        )
    );
}

#[test]
fn attention_that_is_not_causal_is_refused() {
    key_refused(
        "llama.attention.causal",
        Value::Bool(false),
        "metadata key `llama.attention.causal` is bool false, expected true: a model whose attention is not causal is an \
         encoder (for embeddings, say) and cannot generate text",
    );
    let mut parts = Parts::of("llama");
    parts.metadata.set("llama.attention.causal", Value::Bool(true));
    assert!(run::load(&parts.file(), 64).is_ok());
}

#[test]
fn shared_keys_and_values_need_a_layer_that_stores_them() {
    const SHARED: &str = "gemma4.attention.shared_kv_layers";
    for n in [6, u32::MAX] {
        let message = format!("metadata key `{SHARED}` is {n}, expected less than the number of layers");
        refused("gemma4-e2b", |p| p.metadata.set(SHARED, Value::U32(n)), &message);
    }
    // The two layers before the last four are windowed, and one of the four is not.
    refused(
        "gemma4-e2b",
        |p| p.metadata.set(SHARED, Value::U32(4)),
        &format!(
            "metadata key `{SHARED}` is u32 4, expected so few that a layer with a window and one without come before them, \
             where they have such"
        ),
    );
    let heads = Value::Array(Array::I32(vec![1, 1, 1, 1, 3, 1]));
    refused(
        "gemma4-e2b",
        |p| p.metadata.set("gemma4.attention.head_count_kv", heads),
        "metadata key `gemma4.attention.head_count_kv` is 3, expected as many in layers that share keys and values",
    );
    // What such layers would compute keys and values with does not matter; the others need it.
    let mut parts = Parts::of("gemma4-e2b");
    let expected = run::load(&parts.file(), 64).unwrap().append(&[5, 6, 7]);
    for name in ["attn_k.weight", "attn_v.weight", "attn_k_norm.weight"] {
        let (tensor, bytes) = parts.tensor(&format!("blk.1.{name}")).clone();
        parts.tensors.push((NewTensor { name: format!("blk.4.{name}"), ..tensor }, bytes));
    }
    assert_eq!(run::load(&parts.file(), 64).unwrap().append(&[5, 6, 7]), expected);
}

#[test]
fn sinks_are_one_for_every_head_of_every_layer() {
    const N_LAYERS: usize = 3;
    let put = |p: &mut Parts, layer: usize, n: usize| {
        let name = format!("blk.{layer}.attn_sinks.weight");
        p.tensors.push((NewTensor { name, dtype: DType::F32, dims: vec![n] }, vec![0; 4 * n]));
    };
    refused("qwen3", |p| put(p, 0, 4), "tensor `blk.1.attn_sinks.weight` is missing, expected shape [4]");
    refused(
        "qwen3",
        |p| (0..N_LAYERS).for_each(|layer| put(p, layer, 5)),
        "tensor `blk.0.attn_sinks.weight` has shape [5], expected [4]",
    );
    // Sinks far below all scores change nothing.
    let mut parts = Parts::of("qwen3");
    let plain = run::load(&parts.file(), 64).unwrap().append(&[1, 2, 3]);
    (0..N_LAYERS).for_each(|layer| put(&mut parts, layer, 4));
    let sinks = run::load(&parts.file(), 64).unwrap().append(&[1, 2, 3]);
    assert_ne!(plain, sinks);
    for (_, bytes) in parts.tensors.iter_mut().filter(|(t, _)| t.name.ends_with("attn_sinks.weight")) {
        bytes.chunks_exact_mut(4).for_each(|b| b.copy_from_slice(&(-1e9f32).to_le_bytes()));
    }
    assert_eq!(plain, run::load(&parts.file(), 64).unwrap().append(&[1, 2, 3]));
}

#[test]
fn a_temperature_needs_a_length_and_windowed_heads_have_widths_of_their_own() {
    key_refused(
        "llama.attention.temperature_scale",
        Value::F32(0.1),
        "metadata key `llama.attention.temperature_length` is missing, expected an integer, as there is a temperature",
    );
    refused(
        "llama",
        |p| {
            p.metadata.set("llama.attention.temperature_scale", Value::F32(0.1));
            p.metadata.set("llama.attention.temperature_length", Value::U32(0));
        },
        "metadata key `llama.attention.temperature_length` is 0, expected 1 to 16777216",
    );
    for (key, value, message) in [
        ("attention.key_length_swa", 0, "is 0, expected 1 to 1048576"),
        ("attention.value_length_swa", 0, "is 0, expected 1 to 1048576"),
        ("rope.dimension_count_swa", 3, "is 3, expected an even number"),
        ("rope.dimension_count_swa", 1 << 10, "is 1024, expected 1 to 32"),
    ] {
        refused(
            "gemma3",
            |p| p.metadata.set(format!("gemma3.{key}"), Value::U32(value)),
            &format!("metadata key `gemma3.{key}` {message}"),
        );
    }
    refused(
        "gemma3",
        |p| p.metadata.set("gemma3.attention.key_length_swa", Value::U32(8)),
        "tensor `blk.0.attn_q.weight` has shape [64, 128], expected [64, 32]",
    );
}
