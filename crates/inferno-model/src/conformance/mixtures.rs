//! Small models with every kind of mixture of experts: routing, shared experts, biases, leading dense layers; and one with none.

use inferno_format::{DType, Gguf, GgufWriter, Metadata, NewTensor, Value};

use super::{Noise, Precision, Promise, Results, Sequence, compare};
use crate::architecture::PLAINEST;
use crate::backend::Backend;
use crate::reference::Reference;

const DIM: usize = 32;
const HEADS: (usize, usize, usize) = (4, 2, 8);
const FFN_DIM: usize = 96;
const EXPERT_DIM: usize = 64;
const N_EXPERTS: usize = 8;
pub(super) const VOCAB_SIZE: usize = 40;

/// A model that is being made up.
struct MadeUp {
    metadata: Metadata,
    tensors: Vec<NewTensor>,
    /// The type of the experts' matrices.
    dtype: DType,
}

impl MadeUp {
    /// Embedding, attention in type `attention`, and norms of `n_layers` layers.
    fn new(name: &str, n_layers: usize, dtype: DType, attention: DType) -> MadeUp {
        let mut model = MadeUp { metadata: Metadata::default(), tensors: Vec::new(), dtype };
        model.metadata.set("general.architecture", Value::String(PLAINEST.into()));
        model.metadata.set("general.name", Value::String(format!("{name} in {dtype}")));
        let (n_heads, n_kv_heads, width) = HEADS;
        for (key, n) in [
            ("block_count", n_layers),
            ("context_length", 512),
            ("embedding_length", DIM),
            ("vocab_size", VOCAB_SIZE),
            ("attention.head_count", n_heads),
            ("attention.head_count_kv", n_kv_heads),
            ("attention.key_length", width),
            ("feed_forward_length", FFN_DIM),
            ("expert_feed_forward_length", EXPERT_DIM),
            ("expert_count", N_EXPERTS),
            ("expert_used_count", 3),
        ] {
            model.set(key, Value::U32(n as u32));
        }
        model.set("attention.layer_norm_rms_epsilon", Value::F32(1e-5));
        model.put("token_embd.weight", DType::F32, &[DIM, VOCAB_SIZE]);
        model.put("output_norm.weight", DType::F32, &[DIM]);
        for i in 0..n_layers {
            let mut put = |name: &str, dtype, dims: &[usize]| {
                model.put(&format!("blk.{i}.{name}.weight"), dtype, dims);
            };
            put("attn_norm", DType::F32, &[DIM]);
            put("attn_q", attention, &[DIM, n_heads * width]);
            put("attn_k", attention, &[DIM, n_kv_heads * width]);
            put("attn_v", attention, &[DIM, n_kv_heads * width]);
            put("attn_output", attention, &[n_heads * width, DIM]);
            put("ffn_norm", DType::F32, &[DIM]);
        }
        model
    }

    fn set(&mut self, key: &str, value: Value) {
        self.metadata.set(format!("{PLAINEST}.{key}"), value);
    }

    fn put(&mut self, name: &str, dtype: DType, dims: &[usize]) {
        self.tensors.push(NewTensor { name: name.into(), dtype, dims: dims.to_vec() });
    }

    /// The matrices of a network in layer `i`, with names that end in `suffix`.
    fn put_network(&mut self, i: usize, suffix: &str, dtype: DType, ffn_dim: usize) {
        for (name, dims) in [("gate", [DIM, ffn_dim]), ("up", [DIM, ffn_dim]), ("down", [ffn_dim, DIM])] {
            self.put(&format!("blk.{i}.ffn_{name}{suffix}.weight"), dtype, &dims);
        }
    }

    /// Router and experts of layer `i`. Gate and up may be one tensor.
    fn put_experts(&mut self, i: usize, is_fused: bool) {
        let dtype = self.dtype;
        self.put(&format!("blk.{i}.ffn_gate_inp.weight"), DType::F32, &[DIM, N_EXPERTS]);
        let mut put = |name: &str, dims: [usize; 2]| {
            self.put(&format!("blk.{i}.ffn_{name}_exps.weight"), dtype, &[dims[0], dims[1], N_EXPERTS]);
        };
        put("down", [EXPERT_DIM, DIM]);
        if is_fused {
            put("gate_up", [DIM, 2 * EXPERT_DIM]);
        } else {
            put("gate", [DIM, EXPERT_DIM]);
            put("up", [DIM, EXPERT_DIM]);
        }
    }

    fn write(self) -> Gguf {
        let mut noise = Noise(19);
        let mut writer = GgufWriter::new(Vec::new(), &self.metadata, &self.tensors).expect("a small header");
        for tensor in &self.tensors {
            let numbers = noise.numbers(tensor.dims.iter().product());
            let bytes = inferno_format::quantize(tensor.dtype, &numbers).expect("a type that is written");
            writer.append(&tensor.name, &bytes).expect("the tensor has its size");
        }
        Gguf::from_bytes(writer.finish().expect("all tensors are there"))
            .expect("a file that was just written")
    }
}

/// Dense layers, all matrices in one type.
pub(super) fn dense(dtype: DType) -> Gguf {
    let mut model = MadeUp::new("dense layers", 2, dtype, dtype);
    (0..2).for_each(|i| model.put_network(i, "", dtype, FFN_DIM));
    model.write()
}

/// Sigmoid routing with a bias and groups, a shared expert, a dense layer before the mixtures.
pub(super) fn grouped(dtype: DType) -> Gguf {
    let mut model = MadeUp::new("grouped experts", 3, dtype, DType::F32);
    for (key, n) in [
        ("leading_dense_block_count", 1),
        ("expert_gating_func", 2),
        ("expert_group_count", 4),
        ("expert_group_used_count", 2),
        ("expert_shared_count", 2),
    ] {
        model.set(key, Value::U32(n));
    }
    model.set("expert_weights_norm", Value::Bool(true));
    model.set("expert_weights_scale", Value::F32(1.5));
    model.put_network(0, "", dtype, FFN_DIM);
    for i in 1..3 {
        model.put_experts(i, false);
        model.put(&format!("blk.{i}.exp_probs_b.bias"), DType::F32, &[N_EXPERTS]);
        model.put_network(i, "_shexp", dtype, 2 * EXPERT_DIM);
    }
    model.write()
}

/// A shared expert with a gate; gate and up of the experts in one tensor.
fn gated(dtype: DType) -> Gguf {
    let mut model = MadeUp::new("gated experts", 3, dtype, DType::F32);
    model.set("expert_shared_feed_forward_length", Value::U32(FFN_DIM as u32));
    for i in 0..3 {
        model.put_experts(i, true);
        model.put_network(i, "_shexp", dtype, FFN_DIM);
        model.put(&format!("blk.{i}.ffn_gate_inp_shexp.weight"), DType::F32, &[DIM]);
    }
    model.write()
}

/// Biases of the router and of the experts, and softmax routing without renormalization.
fn biased(dtype: DType) -> Gguf {
    let mut model = MadeUp::new("biased experts", 3, dtype, DType::F32);
    model.set("expert_weights_norm", Value::Bool(false));
    for i in 0..3 {
        model.put_experts(i, false);
        model.put(&format!("blk.{i}.ffn_gate_inp.bias"), DType::F32, &[N_EXPERTS]);
        for (name, n) in [("gate", EXPERT_DIM), ("up", EXPERT_DIM), ("down", DIM)] {
            model.put(&format!("blk.{i}.ffn_{name}_exps.bias"), DType::F32, &[n, N_EXPERTS]);
        }
    }
    model.write()
}

/// Models with mixtures of every kind, in floats and in integers.
///
/// # Panics
/// Never: the files are right.
pub fn mixtures() -> Vec<Gguf> {
    let of_type = |dtype| [grouped(dtype), gated(dtype), biased(dtype)];
    [DType::F32, DType::Q8_0].into_iter().flat_map(of_type).collect()
}

/// The models on a backend and on the reference: near logits, as bits if that is the promise.
pub(super) fn mixtures_are_right<B: Backend<Weight: Send, Buffer: Send, KvPool: Send> + Send>(
    new: impl Fn() -> B,
    promise: Promise,
) {
    let precision = match (promise.operations, promise.attention) {
        (Precision::Bits, Precision::Bits) => Precision::Bits,
        _ => Precision::Close(1e-3),
    };
    for file in mixtures() {
        let tokens: Vec<u32> = (0..37).map(|i| i * 7 % VOCAB_SIZE as u32).collect();
        let name = file.metadata().str("general.name").expect("a name").to_owned();
        let results =
            |logits: Vec<Vec<f32>>| -> Results { vec![(name.clone(), VOCAB_SIZE, logits.concat())] };
        let expected =
            Sequence::new(&file, Reference::default(), 64).expect("a model that loads").append(&tokens);
        let found = Sequence::new(&file, new(), 64).expect("a model that loads").append(&tokens);
        compare(&results(found), &results(expected), precision);
    }
}
