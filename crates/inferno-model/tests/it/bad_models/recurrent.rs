//! Recurrent layers.

use inferno_model::conformance::delta_net_layers;

use super::*;

/// The error of a model of delta-nets with one change.
#[track_caller]
fn refused(change: impl FnOnce(&mut Parts), message: &str) {
    let mut parts = Parts::of_file(&delta_net_layers(false));
    change(&mut parts);
    assert_eq!(parts.error(), message);
}

#[track_caller]
fn key_refused(key: &str, value: u32, message: &str) {
    let key = format!("qwen35.{key}");
    refused(|p| p.metadata.set(&key, Value::U32(value)), &format!("metadata key `{key}` is {message}"));
}

#[test]
fn numbers_of_a_delta_net_are_in_range_and_fit_together() {
    for (key, most) in [
        ("ssm.group_count", 4096),
        ("ssm.time_step_rank", 4096),
        ("ssm.state_size", 512),
        ("ssm.conv_kernel", 16),
    ] {
        for n in [0, 5000, u32::MAX] {
            key_refused(key, n, &format!("{n}, expected 1 to {most}"));
        }
    }
    refused(
        |p| p.metadata.set("qwen35.ssm.group_count", Value::U32(4)),
        "metadata key `qwen35.ssm.time_step_rank` is 6, expected a multiple of `ssm.group_count`",
    );
    key_refused("ssm.inner_size", 61, "61, expected `ssm.time_step_rank` heads of `ssm.state_size`");
    key_refused("full_attention_interval", 0, "0, expected 1 to 512");
    for key in ["ssm.group_count", "ssm.time_step_rank", "ssm.state_size", "ssm.conv_kernel"] {
        let key = format!("qwen35.{key}");
        refused(
            |p| p.without_key(&key),
            &format!("metadata key `{key}` is missing, expected a positive integer"),
        );
    }
    refused(
        |p| {
            p.metadata.set("qwen35.ssm.time_step_rank", Value::U32(4096));
            p.metadata.set("qwen35.ssm.state_size", Value::U32(512));
        },
        "metadata key `qwen35.ssm.time_step_rank` is 4096, expected at most 2^20 numbers over all heads",
    );
}

#[test]
fn recurrent_layers_may_be_listed() {
    const LIST: &str = "qwen35.attention.recurrent_layers";
    let mut parts = Parts::of_file(&delta_net_layers(false));
    let expected = run::load(&parts.file(), 64).unwrap().append(&[5, 6, 7]);
    parts.without_key("qwen35.full_attention_interval");
    parts.metadata.set(LIST, Value::Array(Array::Bool(vec![true, false, true])));
    assert_eq!(run::load(&parts.file(), 64).unwrap().append(&[5, 6, 7]), expected);
    parts.metadata.set(LIST, Value::Array(Array::I32(vec![1, 0, 1])));
    assert_eq!(run::load(&parts.file(), 64).unwrap().append(&[5, 6, 7]), expected);
    parts.metadata.set(LIST, Value::Array(Array::Bool(vec![true, false])));
    assert_eq!(
        parts.error(),
        format!(
            "metadata key `{LIST}` is an array of 2 bool, expected one value, or an array with one per layer (`block_count`)"
        )
    );
    parts.metadata.set(LIST, Value::Bool(true));
    assert_eq!(
        parts.error(),
        format!(
            "metadata key `{LIST}` is bool true, expected an array with one entry per layer (`block_count`)"
        )
    );
}

#[test]
fn tensors_of_a_delta_net_are_there_and_have_their_shapes() {
    for (name, shape) in [
        ("attn_qkv.weight", "[32, 100]"),
        ("attn_gate.weight", "[32, 60]"),
        ("ssm_beta.weight", "[32, 6]"),
        ("ssm_alpha.weight", "[32, 6]"),
        ("ssm_conv1d.weight", "[4, 100]"),
        ("ssm_a", "[6]"),
        ("ssm_dt.bias", "[6]"),
        ("ssm_norm.weight", "[10]"),
        ("ssm_out.weight", "[60, 32]"),
    ] {
        let name = format!("blk.2.{name}");
        refused(
            |p| p.tensors.retain(|(tensor, _)| tensor.name != name),
            &format!("tensor `{name}` is missing, expected shape {shape}"),
        );
        let mut parts = Parts::of_file(&delta_net_layers(false));
        let (tensor, bytes) = parts.tensor(&name);
        let last = tensor.dims.len() - 1;
        tensor.dims[last] += 1;
        bytes.resize(4 * tensor.dims.iter().product::<usize>(), 0);
        let found = format!("{:?}", tensor.dims);
        assert_eq!(parts.error(), format!("tensor `{name}` has shape {found}, expected {shape}"));
    }
    // Attention without a gate would have half of the rows.
    refused(
        |p| {
            let (tensor, bytes) = p.tensor("blk.1.attn_q.weight");
            tensor.dims[1] /= 2;
            bytes.truncate(bytes.len() / 2);
        },
        "tensor `blk.1.attn_q.weight` has shape [32, 36], expected [32, 72]",
    );
}
