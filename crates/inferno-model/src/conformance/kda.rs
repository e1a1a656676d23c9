//! A model of Kimi delta attention and latent attention.

use inferno_format::{Array, DType, Gguf, Metadata, NewTensor, Value};

use super::{Noise, made_up};
use crate::architecture::KDA;

const DIM: usize = 32;
const N_HEADS: usize = 3;
const WIDTH: usize = 10;
const KERNEL: usize = 4;
const RANK: usize = 24;
const NOPE_WIDTH: usize = 10;
const ROPE_WIDTH: usize = 6;
const VALUE_WIDTH: usize = 12;
const FFN_DIM: usize = 64;
const VOCAB_SIZE: usize = 40;

/// A model of Kimi delta attention, latent attention that does not rotate, and Kimi delta attention, with random weights in F32.
///
/// # Panics
/// Never: the file is right.
pub fn kda_layers() -> Gguf {
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", Value::String(KDA.into()));
    metadata.set("general.name", Value::String("Kimi delta attention".into()));
    let mut set = |key: &str, value: Value| metadata.set(format!("{KDA}.{key}"), value);
    for (key, n) in [
        ("block_count", 3),
        ("context_length", 512),
        ("embedding_length", DIM),
        ("vocab_size", VOCAB_SIZE),
        ("feed_forward_length", FFN_DIM),
        ("attention.head_count", N_HEADS),
        ("attention.kv_lora_rank", RANK),
        ("attention.key_length", RANK + ROPE_WIDTH),
        ("attention.value_length", RANK),
        ("attention.key_length_mla", NOPE_WIDTH + ROPE_WIDTH),
        ("attention.value_length_mla", VALUE_WIDTH),
        ("rope.dimension_count", ROPE_WIDTH),
        ("ssm.conv_kernel", KERNEL),
        ("kda.head_dim", WIDTH),
    ] {
        set(key, Value::U32(n as u32));
    }
    set("attention.head_count_kv", Value::Array(Array::I32(vec![0, 1, 0])));
    set("attention.layer_norm_rms_epsilon", Value::F32(1e-5));

    let mut tensors = Vec::new();
    let mut put = |name: String, dims: &[usize]| {
        tensors.push(NewTensor { name, dtype: DType::F32, dims: dims.to_vec() });
    };
    put("token_embd.weight".into(), &[DIM, VOCAB_SIZE]);
    put("output_norm.weight".into(), &[DIM]);
    let value_dim = N_HEADS * WIDTH;
    for i in 0..3 {
        let mut put = |name: &str, dims: &[usize]| put(format!("blk.{i}.{name}"), dims);
        put("attn_norm.weight", &[DIM]);
        if i == 1 {
            put("attn_q.weight", &[DIM, N_HEADS * (NOPE_WIDTH + ROPE_WIDTH)]);
            put("attn_kv_a_mqa.weight", &[DIM, RANK + ROPE_WIDTH]);
            put("attn_kv_a_norm.weight", &[RANK]);
            put("attn_k_b.weight", &[NOPE_WIDTH, RANK, N_HEADS]);
            put("attn_v_b.weight", &[RANK, VALUE_WIDTH, N_HEADS]);
            put("attn_output.weight", &[N_HEADS * VALUE_WIDTH, DIM]);
        } else {
            for x in ["q", "k", "v"] {
                put(&format!("attn_{x}.weight"), &[DIM, value_dim]);
                put(&format!("ssm_conv1d_{x}.weight"), &[KERNEL, 1, value_dim]);
            }
            for x in ["f", "g"] {
                put(&format!("ssm_{x}_a.weight"), &[DIM, WIDTH]);
                put(&format!("ssm_{x}_b.weight"), &[WIDTH, value_dim]);
            }
            put("ssm_beta.weight", &[DIM, N_HEADS]);
            put("ssm_a", &[1, N_HEADS]);
            put("ssm_dt.bias", &[value_dim]);
            put("ssm_norm.weight", &[WIDTH]);
            put("attn_output.weight", &[value_dim, DIM]);
        }
        put("ffn_norm.weight", &[DIM]);
        put("ffn_gate.weight", &[DIM, FFN_DIM]);
        put("ffn_up.weight", &[DIM, FFN_DIM]);
        put("ffn_down.weight", &[FFN_DIM, DIM]);
    }
    made_up::file(&metadata, &tensors, Noise(37))
}
