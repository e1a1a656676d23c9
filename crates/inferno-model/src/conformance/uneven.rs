//! A model whose layers differ: in heads, in widths, and in which halves they have.

use inferno_format::{Array, DType, Gguf, GgufWriter, Metadata, NewTensor, Value};

use super::{Noise, Precision, Promise, Results, Sequence, compare};
use crate::architecture::PLAINEST;
use crate::backend::Backend;
use crate::reference::Reference;

const DIM: usize = 32;
const KEY_WIDTH: usize = 8;
const VALUE_WIDTH: usize = 12;
const VOCAB_SIZE: usize = 40;
/// Query heads, KV heads and FFN width of each layer; the third has no attention, the fourth no FFN.
const LAYERS: [(usize, usize, usize); 5] = [(4, 2, 64), (2, 1, 96), (0, 0, 32), (4, 4, 0), (8, 2, 64)];

/// Random weights in F32, in layers that differ.
///
/// # Panics
/// Never: the file is right.
pub fn uneven_layers() -> Gguf {
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", Value::String(PLAINEST.into()));
    let mut set = |key: &str, value: Value| metadata.set(format!("{PLAINEST}.{key}"), value);
    let each = |n: fn(&(usize, usize, usize)) -> usize| {
        Value::Array(Array::I32(LAYERS.iter().map(|layer| n(layer) as i32).collect()))
    };
    set("block_count", Value::U32(LAYERS.len() as u32));
    set("context_length", Value::U32(64));
    set("embedding_length", Value::U32(DIM as u32));
    set("vocab_size", Value::U32(VOCAB_SIZE as u32));
    set("attention.head_count", each(|layer| layer.0));
    set("attention.head_count_kv", each(|layer| layer.1));
    set("attention.key_length", Value::U32(KEY_WIDTH as u32));
    set("attention.value_length", Value::U32(VALUE_WIDTH as u32));
    set("feed_forward_length", each(|layer| layer.2));
    set("attention.layer_norm_rms_epsilon", Value::F32(1e-5));

    let mut tensors = Vec::new();
    let mut put = |name: String, dims: &[usize]| {
        tensors.push(NewTensor { name, dtype: DType::F32, dims: dims.to_vec() });
    };
    put("token_embd.weight".into(), &[DIM, VOCAB_SIZE]);
    put("output_norm.weight".into(), &[DIM]);
    for (i, (n_heads, n_kv_heads, ffn_dim)) in LAYERS.into_iter().enumerate() {
        let mut put = |name: &str, dims: &[usize]| put(format!("blk.{i}.{name}.weight"), dims);
        if n_heads > 0 {
            put("attn_norm", &[DIM]);
            put("attn_q", &[DIM, n_heads * KEY_WIDTH]);
            put("attn_k", &[DIM, n_kv_heads * KEY_WIDTH]);
            put("attn_v", &[DIM, n_kv_heads * VALUE_WIDTH]);
            put("attn_output", &[n_heads * VALUE_WIDTH, DIM]);
        }
        if ffn_dim > 0 {
            put("ffn_norm", &[DIM]);
            put("ffn_gate", &[DIM, ffn_dim]);
            put("ffn_up", &[DIM, ffn_dim]);
            put("ffn_down", &[ffn_dim, DIM]);
        }
    }
    let mut noise = Noise(17);
    let mut writer = GgufWriter::new(Vec::new(), &metadata, &tensors).expect("a small header");
    for tensor in &tensors {
        let bytes = noise.bytes(tensor.dtype, tensor.dims.iter().product());
        writer.append(&tensor.name, &bytes).expect("the tensor has its size");
    }
    Gguf::from_bytes(writer.finish().expect("all tensors are there")).expect("a file that was just written")
}

/// The model on a backend and on the reference: near logits, as bits if that is the promise.
pub(super) fn layers_may_differ<B: Backend<Weight: Send, Buffer: Send, KvPool: Send> + Send>(
    new: impl Fn() -> B,
    promise: Promise,
) {
    let file = uneven_layers();
    let precision = match (promise.operations, promise.attention) {
        (Precision::Bits, Precision::Bits) => Precision::Bits,
        _ => Precision::Close(1e-3),
    };
    let tokens: Vec<u32> = (0..37).map(|i| i * 7 % VOCAB_SIZE as u32).collect();
    let results = |logits: Vec<Vec<f32>>| -> Results { vec![("uneven".into(), VOCAB_SIZE, logits.concat())] };
    let expected =
        Sequence::new(&file, Reference::default(), 64).expect("a model that loads").append(&tokens);
    let found = Sequence::new(&file, new(), 64).expect("a model that loads").append(&tokens);
    compare(&results(found), &results(expected), precision);
}
