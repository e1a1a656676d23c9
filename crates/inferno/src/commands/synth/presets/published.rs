//! Further models that people name: families with a few of them each. The figures are those of their published `config.json`.

use super::{Preset, TINY};

/// google/gemma-3-4b-it and its kin.
const GEMMA3: Preset = Preset {
    family: "gemma3",
    head_dim: 256,
    vocab_size: 262_144,
    context_len: 131_072,
    theta: 1e6,
    window: Some(1024),
    tied: true,
    qk_norm: true,
    post_norms: true,
    ..TINY
};

/// Qwen/Qwen2.5-7B-Instruct and its kin.
const QWEN2: Preset =
    Preset { family: "qwen2", head_dim: 128, context_len: 131_072, theta: 1e6, qkv_bias: true, ..TINY };

/// HuggingFaceTB/SmolLM2-1.7B-Instruct and its kin.
const SMOLLM2: Preset = Preset {
    family: "llama",
    head_dim: 64,
    vocab_size: 49_152,
    context_len: 8192,
    theta: 130_000.0,
    eps: 1e-5,
    tied: true,
    ..TINY
};

pub(super) const PUBLISHED: &[Preset] = &[
    Preset {
        name: "gemma-3-270m",
        n_layers: 18,
        dim: 640,
        n_heads: 4,
        n_kv_heads: 1,
        ffn_dim: 2048,
        context_len: 32_768,
        window: Some(512),
        ..GEMMA3
    },
    Preset {
        name: "gemma-3-1b",
        n_layers: 26,
        dim: 1152,
        n_heads: 4,
        n_kv_heads: 1,
        ffn_dim: 6912,
        context_len: 32_768,
        window: Some(512),
        ..GEMMA3
    },
    Preset {
        name: "gemma-3-4b",
        n_layers: 34,
        dim: 2560,
        n_heads: 8,
        n_kv_heads: 4,
        ffn_dim: 10_240,
        ..GEMMA3
    },
    Preset {
        name: "gemma-3-12b",
        n_layers: 48,
        dim: 3840,
        n_heads: 16,
        n_kv_heads: 8,
        ffn_dim: 15_360,
        ..GEMMA3
    },
    Preset {
        name: "gemma-3-27b",
        n_layers: 62,
        dim: 5376,
        n_heads: 32,
        n_kv_heads: 16,
        head_dim: 128,
        ffn_dim: 21_504,
        ..GEMMA3
    },
    // mistralai/Mistral-7B-Instruct-v0.3.
    Preset {
        name: "mistral-7b",
        family: "llama",
        n_layers: 32,
        dim: 4096,
        n_heads: 32,
        n_kv_heads: 8,
        head_dim: 128,
        ffn_dim: 14_336,
        vocab_size: 32_768,
        context_len: 32_768,
        theta: 1e6,
        eps: 1e-5,
        ..TINY
    },
    // microsoft/phi-4.
    Preset {
        name: "phi-4",
        family: "phi3",
        n_layers: 40,
        dim: 5120,
        n_heads: 40,
        n_kv_heads: 10,
        head_dim: 128,
        ffn_dim: 17_920,
        vocab_size: 100_352,
        context_len: 16_384,
        theta: 250_000.0,
        eps: 1e-5,
        fused: true,
        ..TINY
    },
    // microsoft/Phi-4-mini-instruct, without the factors of its longest contexts.
    Preset {
        name: "phi-4-mini",
        family: "phi3",
        n_layers: 32,
        dim: 3072,
        n_heads: 24,
        n_kv_heads: 8,
        head_dim: 128,
        ffn_dim: 8192,
        vocab_size: 200_064,
        context_len: 4096,
        eps: 1e-5,
        fused: true,
        tied: true,
        ..TINY
    },
    Preset {
        name: "qwen2.5-7b",
        n_layers: 28,
        dim: 3584,
        n_heads: 28,
        n_kv_heads: 4,
        ffn_dim: 18_944,
        vocab_size: 152_064,
        ..QWEN2
    },
    // deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B.
    Preset {
        name: "deepseek-r1-1.5b",
        n_layers: 28,
        dim: 1536,
        n_heads: 12,
        n_kv_heads: 2,
        ffn_dim: 8960,
        vocab_size: 151_936,
        ..QWEN2
    },
    Preset {
        name: "smollm2-1.7b",
        n_layers: 24,
        dim: 2048,
        n_heads: 32,
        n_kv_heads: 32,
        ffn_dim: 8192,
        ..SMOLLM2
    },
    Preset {
        name: "smollm2-360m",
        n_layers: 32,
        dim: 960,
        n_heads: 15,
        n_kv_heads: 5,
        ffn_dim: 2560,
        ..SMOLLM2
    },
    Preset {
        name: "smollm2-135m",
        n_layers: 30,
        dim: 576,
        n_heads: 9,
        n_kv_heads: 3,
        ffn_dim: 1536,
        ..SMOLLM2
    },
    // HuggingFaceTB/SmolLM3-3B.
    Preset {
        name: "smollm3-3b",
        family: "smollm3",
        n_layers: 36,
        dim: 2048,
        n_heads: 16,
        n_kv_heads: 4,
        head_dim: 128,
        ffn_dim: 11_008,
        vocab_size: 128_256,
        context_len: 65_536,
        theta: 5e6,
        tied: true,
        ..TINY
    },
];
