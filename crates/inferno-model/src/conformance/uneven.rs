//! A model whose layers differ: in heads, in widths, in windows, and in which halves they have. Heads have sinks, queries a
//! temperature, and what layers add a scale.

use inferno_format::{Array, DType, Gguf, GgufWriter, Metadata, NewTensor, Value};

use super::{Noise, Precision, Promise, Results, Sequence, compare};
use crate::architecture::PLAINEST;
use crate::backend::Backend;
use crate::reference::Reference;

const DIM: usize = 32;
/// Numbers in a key head and in a value head, of layers that see everything and of windowed ones.
const WIDTHS: [(usize, usize); 2] = [(8, 12), (16, 16)];
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
    for ((key_width, value_width), suffix) in WIDTHS.into_iter().zip(["", "_swa"]) {
        set(&format!("attention.key_length{suffix}"), Value::U32(key_width as u32));
        set(&format!("attention.value_length{suffix}"), Value::U32(value_width as u32));
    }
    let is_windowed = |layer: usize| layer.is_multiple_of(2);
    set("attention.sliding_window", Value::U32(9));
    let pattern = (0..LAYERS.len()).map(is_windowed).collect();
    set("attention.sliding_window_pattern", Value::Array(Array::Bool(pattern)));
    set("attention.temperature_scale", Value::F32(0.2));
    set("attention.temperature_length", Value::U32(5));
    set("embedding_scale", Value::F32(2.0));
    set("residual_scale", Value::F32(0.7));
    set("logit_scale", Value::F32(0.5));
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
            let (key_width, value_width) = WIDTHS[usize::from(is_windowed(i))];
            put("attn_q", &[DIM, n_heads * key_width]);
            put("attn_k", &[DIM, n_kv_heads * key_width]);
            put("attn_v", &[DIM, n_kv_heads * value_width]);
            put("attn_output", &[n_heads * value_width, DIM]);
            put("attn_sinks", &[n_heads]);
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
