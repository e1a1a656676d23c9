//! Models that people name. The figures are those of their published `config.json`, on Hugging Face under the names given.

use super::{DELTA_NET, EXPERTS, Experts, Gemma4, Key, Latent, Preset, TINY};

const QWEN3: Preset = Preset {
    family: "qwen3",
    head_dim: 128,
    n_kv_heads: 8,
    vocab_size: 151_936,
    context_len: 40_960,
    theta: 1e6,
    qk_norm: true,
    ..TINY
};

/// Qwen/Qwen3.5-4B and its kin, without draft layer and images.
pub(super) const QWEN35: Preset = Preset {
    family: "qwen35",
    head_dim: 256,
    vocab_size: 248_320,
    context_len: 262_144,
    theta: 1e7,
    tied: true,
    qk_norm: true,
    ffn_norm: "post_attention_norm",
    delta_net: Some(DELTA_NET),
    ..TINY
};

const LLAMA3: Preset = Preset {
    family: "llama",
    head_dim: 128,
    n_kv_heads: 8,
    vocab_size: 128_256,
    context_len: 131_072,
    theta: 500_000.0,
    eps: 1e-5,
    ..TINY
};

const MISTRAL: Preset = Preset {
    family: "llama",
    head_dim: 128,
    n_heads: 32,
    n_kv_heads: 8,
    vocab_size: 131_072,
    context_len: 131_072,
    eps: 1e-5,
    ..TINY
};

/// mistralai/Ministral-3-3B-Instruct-2512 and its kin.
const MINISTRAL3: Preset = Preset {
    family: "mistral3",
    context_len: 262_144,
    theta: 1e6,
    keys: &[
        ("rope.scaling.type", Key::Text("yarn")),
        ("rope.scaling.factor", Key::F32(16.0)),
        ("rope.scaling.original_context_length", Key::U32(16_384)),
        ("rope.scaling.yarn_beta_fast", Key::F32(32.0)),
        ("rope.scaling.yarn_beta_slow", Key::F32(1.0)),
        ("rope.scaling.yarn_log_multiplier", Key::F32(1.0)),
        ("attention.temperature_scale", Key::F32(0.1)),
    ],
    ..MISTRAL
};

/// google/gemma-4-E4B-it and its kin.
const GEMMA4: Preset = Preset {
    family: "gemma4",
    head_dim: 256,
    vocab_size: 262_144,
    theta: 1e6,
    tied: true,
    qk_norm: true,
    post_norms: true,
    ..TINY
};

const GEMMA4_PARTS: Gemma4 = Gemma4 {
    full_every: 6,
    full_head_dim: 512,
    full_kv_heads: 2,
    shared_layers: 0,
    wide: false,
    per_layer: 0,
    keys_as_values: true,
};

/// openai/gpt-oss-20b.
pub(super) const GPT_OSS_20B: Preset = Preset {
    name: "gpt-oss-20b",
    family: "gpt-oss",
    n_layers: 24,
    dim: 2880,
    n_heads: 64,
    n_kv_heads: 8,
    ffn_dim: 2880,
    vocab_size: 201_088,
    context_len: 131_072,
    theta: 150_000.0,
    eps: 1e-5,
    window: Some(128),
    qkv_bias: true,
    output_bias: true,
    sinks: true,
    ffn_norm: "post_attention_norm",
    experts: Some(Experts { count: 32, used: 4, width: 2880, biases: true, mxfp4: true, ..EXPERTS }),
    keys: &[
        ("rope.scaling.type", Key::Text("yarn")),
        ("rope.scaling.factor", Key::F32(32.0)),
        ("rope.scaling.original_context_length", Key::U32(4096)),
        ("rope.scaling.yarn_beta_fast", Key::F32(32.0)),
        ("rope.scaling.yarn_beta_slow", Key::F32(1.0)),
    ],
    ..TINY
};

pub(super) const NAMED: &[Preset] = &[
    // Qwen/Qwen3-0.6B and its kin.
    Preset { name: "qwen3-0.6b", n_layers: 28, dim: 1024, n_heads: 16, ffn_dim: 3072, tied: true, ..QWEN3 },
    Preset { name: "qwen3-1.7b", n_layers: 28, dim: 2048, n_heads: 16, ffn_dim: 6144, tied: true, ..QWEN3 },
    Preset { name: "qwen3-4b", n_layers: 36, dim: 2560, n_heads: 32, ffn_dim: 9728, tied: true, ..QWEN3 },
    Preset { name: "qwen3-8b", n_layers: 36, dim: 4096, n_heads: 32, ffn_dim: 12_288, ..QWEN3 },
    Preset { name: "qwen3-14b", n_layers: 40, dim: 5120, n_heads: 40, ffn_dim: 17_408, ..QWEN3 },
    Preset { name: "qwen3-32b", n_layers: 64, dim: 5120, n_heads: 64, ffn_dim: 25_600, ..QWEN3 },
    Preset {
        name: "qwen3-30b-a3b",
        family: "qwen3moe",
        n_layers: 48,
        dim: 2048,
        n_heads: 32,
        n_kv_heads: 4,
        ffn_dim: 6144,
        experts: Some(Experts { count: 128, used: 8, width: 768, ..EXPERTS }),
        ..QWEN3
    },
    Preset {
        name: "qwen3.5-4b",
        n_layers: 32,
        dim: 2560,
        n_heads: 16,
        n_kv_heads: 4,
        ffn_dim: 9216,
        ..QWEN35
    },
    Preset {
        name: "qwen3.6-35b-a3b",
        family: "qwen35moe",
        n_layers: 40,
        dim: 2048,
        n_heads: 16,
        n_kv_heads: 2,
        ffn_dim: 512,
        tied: false,
        experts: Some(Experts { count: 256, used: 8, width: 512, shared: 512, shared_gate: true, ..EXPERTS }),
        ..QWEN35
    },
    // meta-llama/Llama-3.2-1B and its kin.
    Preset {
        name: "llama-3.2-1b",
        n_layers: 16,
        dim: 2048,
        n_heads: 32,
        head_dim: 64,
        ffn_dim: 8192,
        tied: true,
        llama3_factor: Some(32.0),
        ..LLAMA3
    },
    Preset {
        name: "llama-3.2-3b",
        n_layers: 28,
        dim: 3072,
        n_heads: 24,
        ffn_dim: 8192,
        tied: true,
        llama3_factor: Some(32.0),
        ..LLAMA3
    },
    Preset {
        name: "llama-3.1-8b",
        n_layers: 32,
        dim: 4096,
        n_heads: 32,
        ffn_dim: 14_336,
        llama3_factor: Some(8.0),
        ..LLAMA3
    },
    // mistralai/Mistral-Small-3.2-24B-Instruct-2506.
    Preset { name: "mistral-small-3.2-24b", n_layers: 40, dim: 5120, ffn_dim: 32_768, theta: 1e9, ..MISTRAL },
    Preset { name: "ministral-3-3b", n_layers: 26, dim: 3072, ffn_dim: 9216, tied: true, ..MINISTRAL3 },
    Preset { name: "ministral-3-8b", n_layers: 34, dim: 4096, ffn_dim: 14_336, ..MINISTRAL3 },
    Preset { name: "ministral-3-14b", n_layers: 40, dim: 5120, ffn_dim: 16_384, theta: 1e9, ..MINISTRAL3 },
    GPT_OSS_20B,
    Preset {
        name: "gpt-oss-120b",
        n_layers: 36,
        experts: Some(Experts { count: 128, used: 4, width: 2880, biases: true, mxfp4: true, ..EXPERTS }),
        ..GPT_OSS_20B
    },
    Preset {
        name: "gemma-4-e2b",
        n_layers: 35,
        dim: 1536,
        n_heads: 8,
        n_kv_heads: 1,
        ffn_dim: 6144,
        context_len: 131_072,
        window: Some(512),
        gemma4: Some(Gemma4 {
            full_every: 5,
            full_kv_heads: 1,
            shared_layers: 20,
            wide: true,
            per_layer: 256,
            keys_as_values: false,
            ..GEMMA4_PARTS
        }),
        ..GEMMA4
    },
    Preset {
        name: "gemma-4-e4b",
        n_layers: 42,
        dim: 2560,
        n_heads: 8,
        n_kv_heads: 2,
        ffn_dim: 10_240,
        context_len: 131_072,
        window: Some(512),
        gemma4: Some(Gemma4 { shared_layers: 18, per_layer: 256, keys_as_values: false, ..GEMMA4_PARTS }),
        ..GEMMA4
    },
    Preset {
        name: "gemma-4-26b-a4b",
        n_layers: 30,
        dim: 2816,
        n_heads: 16,
        n_kv_heads: 8,
        ffn_dim: 2112,
        context_len: 262_144,
        window: Some(1024),
        experts: Some(Experts { count: 128, used: 8, width: 704, ..EXPERTS }),
        gemma4: Some(GEMMA4_PARTS),
        ..GEMMA4
    },
    Preset {
        name: "gemma-4-31b",
        n_layers: 60,
        dim: 5376,
        n_heads: 32,
        n_kv_heads: 16,
        ffn_dim: 21_504,
        context_len: 262_144,
        window: Some(1024),
        gemma4: Some(Gemma4 { full_kv_heads: 4, ..GEMMA4_PARTS }),
        ..GEMMA4
    },
    // deepseek-ai/DeepSeek-V2-Lite.
    Preset {
        name: "deepseek-v2-lite",
        family: "deepseek2",
        n_layers: 27,
        dim: 2048,
        n_heads: 16,
        ffn_dim: 10_944,
        vocab_size: 102_400,
        context_len: 163_840,
        latent: Some(Latent { q_rank: None, kv_rank: 512, nope: 128, rope: 64, value: 128 }),
        experts: Some(Experts { count: 64, used: 6, width: 1408, shared: 2816, leading_dense: 1, ..EXPERTS }),
        keys: &[
            ("rope.scaling.type", Key::Text("yarn")),
            ("rope.scaling.factor", Key::F32(40.0)),
            ("rope.scaling.original_context_length", Key::U32(4096)),
            ("rope.scaling.yarn_beta_fast", Key::F32(32.0)),
            ("rope.scaling.yarn_beta_slow", Key::F32(1.0)),
            ("rope.scaling.yarn_log_multiplier", Key::F32(0.0707)),
            ("expert_gating_func", Key::U32(1)),
            ("expert_weights_scale", Key::F32(1.0)),
        ],
        ..TINY
    },
    // zai-org/GLM-4.7-Flash, without its draft layer.
    Preset {
        name: "glm-4.7-flash",
        family: "deepseek2",
        n_layers: 47,
        dim: 2048,
        n_heads: 20,
        ffn_dim: 10_240,
        vocab_size: 154_880,
        context_len: 202_752,
        theta: 1e6,
        eps: 1e-5,
        latent: Some(Latent { q_rank: Some(768), kv_rank: 512, nope: 192, rope: 64, value: 256 }),
        experts: Some(Experts {
            count: 64,
            used: 4,
            width: 1536,
            shared: 1536,
            leading_dense: 1,
            choice_bias: true,
            ..EXPERTS
        }),
        keys: &[
            ("expert_gating_func", Key::U32(2)),
            ("expert_group_count", Key::U32(1)),
            ("expert_group_used_count", Key::U32(1)),
            ("expert_weights_scale", Key::F32(1.8)),
            ("expert_weights_norm", Key::Bool(true)),
        ],
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
];
