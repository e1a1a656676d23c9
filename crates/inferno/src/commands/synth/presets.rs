//! The shapes that `synth` knows: two true-size models, and a small one per family whose rows are whole blocks of
//! every type.

use std::ops::Range;

use inferno_format::{Metadata, Value};

/// A model without its weights and its vocabulary.
pub(super) struct Preset {
    pub(super) name: &'static str,
    family: &'static str,
    pub(super) n_layers: usize,
    dim: usize,
    n_heads: usize,
    n_kv_heads: usize,
    head_dim: usize,
    ffn_dim: usize,
    /// Tokens, when no vocabulary is given.
    pub(super) vocab_size: usize,
    context_len: usize,
    theta: f32,
    window: Option<u32>,
    softcaps: Option<(f32, f32)>,
    /// How many there are, and how many a row uses.
    experts: Option<(usize, usize)>,
    /// No output matrix of its own.
    pub(super) tied: bool,
    qkv_bias: bool,
    qk_norm: bool,
    post_norms: bool,
    /// One `attn_qkv`, and gate and up in one `ffn_up`.
    fused: bool,
}

const TINY: Preset = Preset {
    name: "",
    family: "",
    n_layers: 3,
    dim: 256,
    n_heads: 4,
    n_kv_heads: 2,
    head_dim: 64,
    ffn_dim: 512,
    vocab_size: 5120,
    context_len: 2048,
    theta: 10_000.0,
    window: None,
    softcaps: None,
    experts: None,
    tied: false,
    qkv_bias: false,
    qk_norm: false,
    post_norms: false,
    fused: false,
};

pub(super) const PRESETS: &[Preset] = &[
    Preset {
        name: "qwen3-0.6b",
        family: "qwen3",
        n_layers: 28,
        dim: 1024,
        n_heads: 16,
        n_kv_heads: 8,
        head_dim: 128,
        ffn_dim: 3072,
        vocab_size: 151_936,
        context_len: 40_960,
        theta: 1e6,
        tied: true,
        qk_norm: true,
        ..TINY
    },
    // The largest of llama2.c's models of short stories.
    Preset {
        name: "stories110m",
        family: "llama",
        n_layers: 12,
        dim: 768,
        n_heads: 12,
        n_kv_heads: 12,
        ffn_dim: 2048,
        vocab_size: 32_000,
        context_len: 1024,
        tied: true,
        ..TINY
    },
    Preset { name: "tiny-llama", family: "llama", ..TINY },
    Preset { name: "tiny-mistral", family: "llama", window: Some(64), ..TINY },
    Preset { name: "tiny-mixtral", family: "llama", experts: Some((4, 2)), ..TINY },
    Preset { name: "tiny-qwen2", family: "qwen2", qkv_bias: true, tied: true, ..TINY },
    Preset { name: "tiny-qwen3", family: "qwen3", qk_norm: true, tied: true, ..TINY },
    Preset { name: "tiny-qwen3moe", family: "qwen3moe", qk_norm: true, experts: Some((8, 2)), ..TINY },
    Preset { name: "tiny-phi3", family: "phi3", fused: true, ..TINY },
    Preset {
        name: "tiny-gemma2",
        family: "gemma2",
        n_layers: 4,
        window: Some(64),
        softcaps: Some((50.0, 30.0)),
        tied: true,
        post_norms: true,
        ..TINY
    },
    Preset {
        name: "tiny-gemma3",
        family: "gemma3",
        n_layers: 7,
        theta: 1e6,
        window: Some(64),
        tied: true,
        qk_norm: true,
        post_norms: true,
        ..TINY
    },
];

/// A tensor to be made.
pub(super) struct Weight {
    pub(super) name: String,
    /// GGUF order, row length first.
    pub(super) dims: Vec<usize>,
    pub(super) init: Init,
}

/// How a tensor's numbers are distributed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Init {
    Embedding,
    /// Its fan-in.
    Projection(usize),
    /// Routers stay in F32, as published models have them.
    Router(usize),
    Norm,
    Bias,
}

impl Preset {
    pub(super) fn metadata(&self, vocab_size: usize) -> Metadata {
        let mut m = Metadata::default();
        m.set("general.architecture", Value::String(self.family.into()));
        m.set("general.type", Value::String("model".into()));
        m.set("general.quantization_version", Value::U32(2));
        let mut set = |key: &str, value: Value| m.set(format!("{}.{key}", self.family), value);
        for (key, n) in [
            ("block_count", self.n_layers),
            ("context_length", self.context_len),
            ("embedding_length", self.dim),
            ("feed_forward_length", self.ffn_dim),
            ("attention.head_count", self.n_heads),
            ("attention.head_count_kv", self.n_kv_heads),
            ("attention.key_length", self.head_dim),
            ("attention.value_length", self.head_dim),
            ("rope.dimension_count", self.head_dim),
            ("vocab_size", vocab_size),
        ] {
            set(key, Value::U32(n as u32));
        }
        set("attention.layer_norm_rms_epsilon", Value::F32(1e-6));
        set("rope.freq_base", Value::F32(self.theta));
        if let Some(window) = self.window {
            set("attention.sliding_window", Value::U32(window));
        }
        if let Some((scores, logits)) = self.softcaps {
            set("attn_logit_softcapping", Value::F32(scores));
            set("final_logit_softcapping", Value::F32(logits));
        }
        if let Some((n, n_used)) = self.experts {
            set("expert_count", Value::U32(n as u32));
            set("expert_used_count", Value::U32(n_used as u32));
            set("expert_feed_forward_length", Value::U32(self.ffn_dim as u32));
        }
        m
    }

    pub(super) fn weights(&self, vocab_size: usize) -> Vec<Weight> {
        let Preset { dim, head_dim, ffn_dim, .. } = *self;
        let (q_dim, kv_dim) = (self.n_heads * head_dim, self.n_kv_heads * head_dim);
        let mut all = Vec::new();
        let mut put = |name: String, dims: &[usize], init| all.push(Weight { name, dims: dims.into(), init });
        put("token_embd.weight".into(), &[dim, vocab_size], Init::Embedding);
        for i in 0..self.n_layers {
            let mut put = |name: &str, dims: &[usize], init| put(format!("blk.{i}.{name}"), dims, init);
            put("attn_norm.weight", &[dim], Init::Norm);
            if self.fused {
                put("attn_qkv.weight", &[dim, q_dim + 2 * kv_dim], Init::Projection(dim));
            } else {
                for (name, width) in [("attn_q", q_dim), ("attn_k", kv_dim), ("attn_v", kv_dim)] {
                    put(&format!("{name}.weight"), &[dim, width], Init::Projection(dim));
                    if self.qkv_bias {
                        put(&format!("{name}.bias"), &[width], Init::Bias);
                    }
                }
            }
            if self.qk_norm {
                put("attn_q_norm.weight", &[head_dim], Init::Norm);
                put("attn_k_norm.weight", &[head_dim], Init::Norm);
            }
            put("attn_output.weight", &[q_dim, dim], Init::Projection(q_dim));
            if self.post_norms {
                put("post_attention_norm.weight", &[dim], Init::Norm);
                put("post_ffw_norm.weight", &[dim], Init::Norm);
            }
            put("ffn_norm.weight", &[dim], Init::Norm);
            match self.experts {
                Some((n, _)) => {
                    put("ffn_gate_inp.weight", &[dim, n], Init::Router(dim));
                    put("ffn_gate_exps.weight", &[dim, ffn_dim, n], Init::Projection(dim));
                    put("ffn_up_exps.weight", &[dim, ffn_dim, n], Init::Projection(dim));
                    put("ffn_down_exps.weight", &[ffn_dim, dim, n], Init::Projection(ffn_dim));
                }
                None => {
                    if self.fused {
                        put("ffn_up.weight", &[dim, 2 * ffn_dim], Init::Projection(dim));
                    } else {
                        put("ffn_gate.weight", &[dim, ffn_dim], Init::Projection(dim));
                        put("ffn_up.weight", &[dim, ffn_dim], Init::Projection(dim));
                    }
                    put("ffn_down.weight", &[ffn_dim, dim], Init::Projection(ffn_dim));
                }
            }
        }
        put("output_norm.weight".into(), &[dim], Init::Norm);
        if !self.tied {
            put("output.weight".into(), &[dim, vocab_size], Init::Projection(dim));
        }
        all
    }
}

impl Init {
    /// Stored in the type asked for; the others stay F32.
    pub(super) fn is_matrix(self) -> bool {
        matches!(self, Init::Embedding | Init::Projection(_))
    }

    /// The numbers `range` of the tensor `name`.
    pub(super) fn numbers(self, seed: u64, name: &str, range: Range<usize>) -> Vec<f32> {
        let (mean, deviation) = match self {
            Init::Embedding => (0.0, 0.02),
            Init::Projection(fan_in) | Init::Router(fan_in) => (0.0, (fan_in as f32).sqrt().recip()),
            Init::Norm => (1.0, 0.1),
            Init::Bias => (0.0, 0.1),
        };
        let key = name.bytes().fold(mix(seed), |key, byte| mix(key ^ u64::from(byte)));
        range.map(|i| normal(mix(key.wrapping_add(i as u64))).mul_add(deviation, mean)).collect()
    }
}

/// Nearly N(0, 1): the sum of four uniform 16-bit numbers, less its mean, over its deviation.
fn normal(bits: u64) -> f32 {
    let sum: i32 = (0..4).map(|i| (bits >> (16 * i)) as u16).map(i32::from).sum();
    (sum - 2 * 65_535) as f32 * (1.732_050_8 / 65_536.0)
}

/// The output function of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(x: u64) -> u64 {
    let z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}
