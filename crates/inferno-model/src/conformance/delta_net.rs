//! Models of delta-nets and gated attention.

use inferno_format::{DType, Gguf, Metadata, NewTensor, Value};

use super::{Noise, Promise, kda_layers, made_up};
use crate::architecture::{DELTA_NETS, FUSED_DELTA_NETS};
use crate::backend::Backend;

const DIM: usize = 32;
const N_HEADS: usize = 3;
const HEAD_WIDTH: usize = 12;
const N_KEY_HEADS: usize = 2;
const N_VALUE_HEADS: usize = 6;
const WIDTH: usize = 10;
const KERNEL: usize = 4;
const FFN_DIM: usize = 64;
const VOCAB_SIZE: usize = 40;

/// A model of a delta-net, gated attention and another delta-net, with random weights in F32. Value heads are in either order.
///
/// # Panics
/// Never: the file is right.
pub fn delta_net_layers(is_fused: bool) -> Gguf {
    let family = if is_fused { FUSED_DELTA_NETS } else { DELTA_NETS };
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", Value::String(family.into()));
    metadata.set("general.name", Value::String(format!("delta-nets of {family}")));
    let mut set = |key: &str, value: Value| metadata.set(format!("{family}.{key}"), value);
    for (key, n) in [
        ("block_count", 3),
        ("context_length", 512),
        ("embedding_length", DIM),
        ("vocab_size", VOCAB_SIZE),
        ("feed_forward_length", FFN_DIM),
        ("attention.head_count", N_HEADS),
        ("attention.head_count_kv", 1),
        ("attention.key_length", HEAD_WIDTH),
        ("attention.value_length", HEAD_WIDTH),
        ("rope.dimension_count", 4),
        ("full_attention_interval", 2),
        ("ssm.conv_kernel", KERNEL),
        ("ssm.state_size", WIDTH),
        ("ssm.group_count", N_KEY_HEADS),
        ("ssm.time_step_rank", N_VALUE_HEADS),
        ("ssm.inner_size", N_VALUE_HEADS * WIDTH),
    ] {
        set(key, Value::U32(n as u32));
    }
    set("attention.layer_norm_rms_epsilon", Value::F32(1e-5));

    let mut tensors = Vec::new();
    let mut put = |name: String, dims: &[usize]| {
        tensors.push(NewTensor { name, dtype: DType::F32, dims: dims.to_vec() });
    };
    put("token_embd.weight".into(), &[DIM, VOCAB_SIZE]);
    put("output_norm.weight".into(), &[DIM]);
    let value_dim = N_VALUE_HEADS * WIDTH;
    let channels = 2 * N_KEY_HEADS * WIDTH + value_dim;
    for i in 0..3 {
        let mut put = |name: &str, dims: &[usize]| put(format!("blk.{i}.{name}"), dims);
        put("attn_norm.weight", &[DIM]);
        if i == 1 {
            put("attn_q.weight", &[DIM, 2 * N_HEADS * HEAD_WIDTH]);
            put("attn_k.weight", &[DIM, HEAD_WIDTH]);
            put("attn_v.weight", &[DIM, HEAD_WIDTH]);
            put("attn_q_norm.weight", &[HEAD_WIDTH]);
            put("attn_k_norm.weight", &[HEAD_WIDTH]);
            put("attn_output.weight", &[N_HEADS * HEAD_WIDTH, DIM]);
        } else {
            put("attn_qkv.weight", &[DIM, channels]);
            put("attn_gate.weight", &[DIM, value_dim]);
            if is_fused {
                put("ssm_ba.weight", &[DIM, 2 * N_VALUE_HEADS]);
            } else {
                put("ssm_beta.weight", &[DIM, N_VALUE_HEADS]);
                put("ssm_alpha.weight", &[DIM, N_VALUE_HEADS]);
            }
            put("ssm_conv1d.weight", &[KERNEL, channels]);
            put("ssm_a", &[N_VALUE_HEADS]);
            put("ssm_dt.bias", &[N_VALUE_HEADS]);
            put("ssm_norm.weight", &[WIDTH]);
            put("ssm_out.weight", &[value_dim, DIM]);
        }
        put("post_attention_norm.weight", &[DIM]);
        put("ffn_gate.weight", &[DIM, FFN_DIM]);
        put("ffn_up.weight", &[DIM, FFN_DIM]);
        put("ffn_down.weight", &[FFN_DIM, DIM]);
    }
    made_up::file(&metadata, &tensors, Noise(29))
}

/// Such models on a backend and on the reference: near logits, as bits if that is the promise.
pub(super) fn models<B: Backend<Weight: Send, Buffer: Send, KvPool: Send> + Send>(
    new: impl Fn() -> B,
    promise: Promise,
) {
    for file in [delta_net_layers(false), delta_net_layers(true), kda_layers()] {
        let name = file.metadata().str("general.name").expect("a name");
        made_up::compare_model((name, &file, VOCAB_SIZE), new(), promise);
    }
}
