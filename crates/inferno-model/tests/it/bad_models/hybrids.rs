//! Mamba-2, short convolutions, and layers that are one half.

use super::*;

const NEMOTRON: &str = "nemotron_h_moe";

#[test]
fn widths_of_mamba_fit_together() {
    for (key, n, expected) in [
        ("inner_size", 0, "1 to 1048576"),
        ("inner_size", u32::MAX, "1 to 1048576"),
        ("time_step_rank", 0, "1 to 128"),
        ("time_step_rank", 129, "1 to 128"),
        ("time_step_rank", 7, "a divisor of `ssm.inner_size`"),
        ("group_count", 0, "1 to 8"),
        ("group_count", 3, "a divisor of `ssm.time_step_rank`"),
        ("state_size", 0, "1 to 1024"),
        ("state_size", u32::MAX, "1 to 1024"),
        ("conv_kernel", 0, "1 to 16"),
        ("conv_kernel", 1000, "1 to 16"),
    ] {
        refused(
            "nemotron-h",
            |p| p.metadata.set(format!("{NEMOTRON}.ssm.{key}"), Value::U32(n)),
            &format!("metadata key `{NEMOTRON}.ssm.{key}` is {n}, expected {expected}"),
        );
    }
    refused(
        "nemotron-h",
        |p| {
            p.metadata.set(format!("{NEMOTRON}.ssm.inner_size"), Value::U32(1 << 20));
            p.metadata.set(format!("{NEMOTRON}.ssm.state_size"), Value::U32(1024));
        },
        &format!(
            "metadata key `{NEMOTRON}.ssm.state_size` is 1024, expected at most 2^26 numbers of a layer's state"
        ),
    );
    for key in ["inner_size", "time_step_rank", "group_count", "state_size", "conv_kernel"] {
        let key = format!("{NEMOTRON}.ssm.{key}");
        let message = format!("metadata key `{key}` is missing, expected a positive integer");
        refused("nemotron-h", |p| p.without_key(&key), &message);
    }
    refused(
        "nemotron-h",
        |p| p.metadata.set(format!("{NEMOTRON}.ssm.state_size"), Value::U32(8)),
        "tensor `blk.0.ssm_in.weight` has shape [48, 328], expected [48, 296]",
    );
}

#[test]
fn recurrent_layers_have_all_their_tensors() {
    for (model, name, shape) in [
        ("nemotron-h", "blk.0.attn_norm.weight", "[48]"),
        ("nemotron-h", "blk.0.ssm_in.weight", "[48, 328]"),
        ("nemotron-h", "blk.3.ssm_conv1d.weight", "[4, 192]"),
        ("nemotron-h", "blk.3.ssm_conv1d.bias", "[192]"),
        ("nemotron-h", "blk.0.ssm_dt.bias", "[8]"),
        ("nemotron-h", "blk.3.ssm_a", "[8]"),
        ("nemotron-h", "blk.3.ssm_d", "[8]"),
        ("nemotron-h", "blk.0.ssm_norm.weight", "[64, 2]"),
        ("nemotron-h", "blk.3.ssm_out.weight", "[128, 48]"),
        ("nemotron-h", "blk.4.ffn_up_exps.weight", "[48, 32, 6]"),
        ("lfm2", "blk.0.shortconv.in_proj.weight", "[48, 144]"),
        ("lfm2", "blk.1.shortconv.conv.weight", "[3, 48]"),
        ("lfm2", "blk.3.shortconv.out_proj.weight", "[48, 48]"),
        ("lfm2", "token_embd_norm.weight", "[48]"),
    ] {
        let message = format!("tensor `{name}` is missing, expected shape {shape}");
        refused(model, |p| p.tensors.retain(|(t, _)| t.name != name), &message);
    }
    refused(
        "nemotron-h",
        |p| p.tensor("blk.0.ssm_norm.weight").0.dims = vec![2, 64],
        "tensor `blk.0.ssm_norm.weight` has shape [2, 64], expected [64, 2]",
    );
    refused(
        "nemotron-h",
        |p| p.metadata.set(format!("{NEMOTRON}.ssm.conv_kernel"), Value::U32(5)),
        "tensor `blk.0.ssm_conv1d.weight` has shape [4, 192], expected [5, 192]",
    );
    for n in [0, 17] {
        let message = format!("metadata key `lfm2.shortconv.l_cache` is {n}, expected 1 to 16");
        refused("lfm2", |p| p.metadata.set("lfm2.shortconv.l_cache", Value::U32(n)), &message);
    }
}

#[test]
fn a_layer_of_nemotron_is_a_mixer_or_a_network() {
    let set = |key: &'static str, numbers: [i32; 5]| {
        move |p: &mut Parts| {
            p.metadata.set(format!("{NEMOTRON}.{key}"), Value::Array(Array::I32(numbers.to_vec())));
        }
    };
    refused(
        "nemotron-h",
        set("feed_forward_length", [0, 32, 32, 0, 32]),
        "metadata key `nemotron_h_moe.feed_forward_length` is an array of 5 i32, expected zero in every layer with heads: a \
         layer of this family is a mixer or a feed-forward network",
    );
    refused(
        "nemotron-h",
        |p| {
            set("feed_forward_length", [32; 5])(p);
            set("attention.head_count_kv", [0; 5])(p);
        },
        "metadata key `nemotron_h_moe.feed_forward_length` is an array of 5 i32, expected zero in some layer, which has a \
         mixer",
    );
    // What a layer is not it has no tensors of.
    refused(
        "nemotron-h",
        set("feed_forward_length", [0, 32, 0, 0, 0]),
        "tensor `blk.4.ssm_in.weight` is missing, expected shape [48, 328]",
    );
    refused(
        "nemotron-h",
        set("attention.head_count_kv", [1, 0, 1, 0, 0]),
        "tensor `blk.0.attn_q.weight` is missing, expected shape [48, 48]",
    );
}
