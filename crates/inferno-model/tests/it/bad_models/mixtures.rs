//! Experts and their routing.

use super::*;

#[test]
fn experts_in_tensors_of_their_own_are_the_same_experts() {
    let mut parts = Parts::of("mixtral");
    let expected = run::load(&parts.file(), 64).unwrap().append(&[5, 6, 7]);
    let (stacked, mut tensors): (Vec<_>, Vec<_>) =
        parts.tensors.into_iter().partition(|(t, _)| t.name.contains("_exps"));
    for (t, bytes) in stacked {
        for (expert, bytes) in bytes.chunks_exact(bytes.len() / t.dims[2]).enumerate() {
            let name = t.name.replace("_exps", &format!(".{expert}"));
            tensors.push((NewTensor { name, dims: t.dims[..2].to_vec(), ..t.clone() }, bytes.to_vec()));
        }
    }
    parts.tensors = tensors;
    assert_eq!(run::load(&parts.file(), 64).unwrap().append(&[5, 6, 7]), expected);
    parts.tensors.retain(|(t, _)| t.name != "blk.1.ffn_up.3.weight");
    assert_eq!(parts.error(), "tensor `blk.1.ffn_up.3.weight` is missing, expected shape [64, 128]");
}

#[test]
fn gate_and_up_of_experts_in_one_tensor_are_the_same_experts() {
    let mut parts = Parts::of("mixtral");
    let expected = run::load(&parts.file(), 64).unwrap().append(&[5, 6, 7]);
    for layer in 0..3 {
        let name = |matrix: &str| format!("blk.{layer}.ffn_{matrix}_exps.weight");
        let (gate, up) = (parts.tensor(&name("gate")).clone(), parts.tensor(&name("up")).clone());
        let size = gate.1.len() / gate.0.dims[2];
        let pairs = gate.1.chunks_exact(size).zip(up.1.chunks_exact(size));
        let bytes = pairs.flat_map(|(gate, up)| [gate, up].concat()).collect();
        let dims = vec![gate.0.dims[0], 2 * gate.0.dims[1], gate.0.dims[2]];
        parts.tensors.retain(|(t, _)| ![name("gate"), name("up")].contains(&t.name));
        parts.tensors.push((NewTensor { name: name("gate_up"), dims, ..gate.0 }, bytes));
    }
    assert_eq!(run::load(&parts.file(), 64).unwrap().append(&[5, 6, 7]), expected);
    parts.tensor("blk.2.ffn_gate_up_exps.weight").0.dims = vec![128, 64, 8];
    assert_eq!(
        parts.error(),
        "tensor `blk.2.ffn_gate_up_exps.weight` has shape [128, 64, 8], expected [64, 256, 4]"
    );
}

#[test]
fn a_shared_expert_is_on_every_mixture_or_on_none() {
    let mut parts = Parts::of("mixtral");
    for (name, dims) in [("gate", [64, 32]), ("up", [64, 32]), ("down", [32, 64])] {
        for layer in 0..3 {
            let name = format!("blk.{layer}.ffn_{name}_shexp.weight");
            let tensor = NewTensor { name, dtype: DType::F32, dims: dims.to_vec() };
            parts.tensors.push((tensor, vec![0; 4 * 64 * 32]));
        }
    }
    // Its weights are zero, and so is what it adds; its width is in its tensors alone.
    let plain = run::load(&Parts::of("mixtral").file(), 64).unwrap().append(&[5, 6, 7]);
    assert_eq!(run::load(&parts.file(), 64).unwrap().append(&[5, 6, 7]), plain);
    parts.metadata.set("llama.expert_shared_feed_forward_length", Value::U32(16));
    assert_eq!(parts.error(), "tensor `blk.0.ffn_gate_shexp.weight` has shape [64, 32], expected [64, 16]");
    parts.without_key("llama.expert_shared_feed_forward_length");
    parts.tensors.retain(|(t, _)| !t.name.starts_with("blk.1.ffn_up_shexp"));
    assert_eq!(parts.error(), "tensor `blk.1.ffn_up_shexp.weight` is missing, expected shape [64, 32]");
}

/// A change to integers of the golden `mixtral`, which has 3 layers of 4 experts and 2 of them a row.
#[track_caller]
fn mixture_refused(numbers: &[(&str, u32)], message: &str) {
    let set = |p: &mut Parts| {
        for (key, n) in numbers {
            p.metadata.set(format!("llama.{key}"), Value::U32(*n));
        }
    };
    refused("mixtral", set, message);
}

#[test]
fn routing_that_does_not_fit_the_experts_is_refused() {
    mixture_refused(
        &[("expert_group_count", 0)],
        "metadata key `llama.expert_group_count` is 0, expected 1 to 256",
    );
    mixture_refused(
        &[("expert_group_count", 3)],
        "metadata key `llama.expert_group_count` is 3, expected a divisor of `expert_count`",
    );
    mixture_refused(
        &[("expert_group_count", 4), ("expert_group_used_count", 0)],
        "metadata key `llama.expert_group_used_count` is 0, expected 1 to 4",
    );
    mixture_refused(
        &[("expert_group_count", 4), ("expert_group_used_count", 1)],
        "metadata key `llama.expert_group_used_count` is 1, expected groups that have at least `expert_used_count` experts together",
    );
    mixture_refused(
        &[("leading_dense_block_count", 4)],
        "metadata key `llama.leading_dense_block_count` is 4, expected at most the number of layers",
    );
    mixture_refused(
        &[("leading_dense_block_count", 1)],
        "tensor `blk.0.ffn_gate.weight` is missing, expected shape [64, 128]",
    );
    mixture_refused(
        &[("expert_shared_count", 1)],
        "tensor `blk.0.ffn_gate_shexp.weight` is missing, expected shape [64, 128]",
    );
    mixture_refused(
        &[("expert_shared_feed_forward_length", u32::MAX)],
        "metadata key `llama.expert_shared_feed_forward_length` is 4294967295, expected 0 to 1048576",
    );
    mixture_refused(
        &[("nextn_predict_layers", 3)],
        "metadata key `llama.nextn_predict_layers` is 3, expected less than `block_count`",
    );
}

#[test]
fn experts_beside_a_dense_network_need_their_norms_and_scales() {
    for (name, len) in [
        ("post_ffw_norm_1.weight", 48),
        ("post_ffw_norm_2.weight", 48),
        ("pre_ffw_norm_2.weight", 48),
        ("ffn_gate_inp.scale", 48),
        ("ffn_down_exps.scale", 5),
    ] {
        let message = format!("tensor `blk.0.{name}` is missing, expected shape [{len}]");
        refused("gemma4-moe", |p| p.tensors.retain(|(t, _)| !t.name.ends_with(name)), &message);
    }
    refused(
        "gemma4-moe",
        |p| p.metadata.set("gemma4.expert_count", Value::U32(6)),
        "tensor `blk.0.ffn_gate_inp.weight` has shape [48, 5], expected [48, 6]",
    );
}
