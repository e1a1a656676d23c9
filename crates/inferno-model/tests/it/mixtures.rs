//! Mixtures of experts in goldens of the data: what a file must have, and weights of 4 bits with activations in full.

use inferno_format::{DType, Gguf, dequantize};
use inferno_model::conformance::check_golden;
use inferno_model::reference::Reference;
use xtask::testing::Golden;

use crate::bad_models::Parts;

/// A golden of the data.
fn golden(name: &str) -> Option<(Parts, Golden)> {
    let path = xtask::testing::data(&format!("goldens/{name}.gguf"))?;
    Some((Parts::of_file(&Gguf::open(&path).unwrap()), Golden::read(&path.with_extension("json"))?))
}

#[test]
fn mxfp4_experts_match_float64_when_activations_are_not_rounded() {
    let Some((mut parts, golden)) = golden("gpt-oss-mxfp4") else { return };
    let mut n = 0;
    for (tensor, bytes) in parts.tensors.iter_mut().filter(|(t, _)| t.dtype == DType::MXFP4) {
        let mut numbers = vec![0.0f32; tensor.dims.iter().product()];
        dequantize(tensor.dtype, bytes, &mut numbers).unwrap();
        (tensor.dtype, *bytes) = (DType::F32, numbers.iter().flat_map(|x| x.to_le_bytes()).collect());
        n += 1;
    }
    assert_eq!(n, 9, "three matrices in three layers");
    check_golden(&parts.file(), Reference::default(), &golden.prompt, &golden.logits, &golden.greedy);
}

#[test]
fn tensors_that_a_family_must_have_are_named_when_they_are_missing() {
    for (name, tensors) in [
        (
            "gpt-oss",
            &[
                "attn_sinks.weight",
                "attn_q.bias",
                "attn_output.bias",
                "ffn_gate_inp.bias",
                "ffn_gate_exps.bias",
                "ffn_down_exps.bias",
                "post_attention_norm.weight",
            ][..],
        ),
        ("glm4moe", &["exp_probs_b.bias", "ffn_up_shexp.weight", "ffn_gate_inp.weight"]),
        ("qwen2moe", &["ffn_gate_inp_shexp.weight", "attn_v.bias"]),
        ("minimax-m2", &["attn_q_norm.weight", "exp_probs_b.bias"]),
    ] {
        for &tensor in tensors {
            let Some((mut parts, _)) = golden(name) else { return };
            let is_there = |name: &str| name.strip_prefix("blk.").is_some_and(|rest| rest.ends_with(tensor));
            // In all layers, so that no layer says that the others have it.
            parts.tensors.retain(|(t, _)| !is_there(&t.name));
            let error = parts.error();
            assert!(
                error.starts_with("tensor `blk.")
                    && error.contains(&format!("{tensor}` is missing, expected shape")),
                "{name} without {tensor}: {error}"
            );
        }
    }
}

#[test]
fn vectors_of_experts_are_checked_by_shape_and_type() {
    let Some((mut parts, _)) = golden("gpt-oss") else { return };
    let name = "blk.1.ffn_up_exps.bias";
    let (tensor, _) = parts.tensors.iter_mut().find(|(t, _)| t.name == name).unwrap();
    tensor.dims = vec![5, 32];
    assert_eq!(parts.error(), format!("tensor `{name}` has shape [5, 32], expected [32, 5]"));
    let (tensor, bytes) = parts.tensors.iter_mut().find(|(t, _)| t.name == name).unwrap();
    (tensor.dims, tensor.dtype) = (vec![32, 5], DType::Q8_0);
    bytes.truncate(34 * 5);
    let error = parts.error();
    assert!(error.starts_with(&format!("tensor `{name}` has type Q8_0")), "{error}");
}
