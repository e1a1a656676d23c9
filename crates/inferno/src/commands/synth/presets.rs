//! The shapes that `synth` knows: models that people name, in true size (`named.rs`, `published.rs`), and a small one per family whose rows are
//! whole blocks of every type.

mod draft_layer;
mod hybrid;
mod keys;
mod named;
mod published;
mod tensors;

use std::ops::Range;

use hybrid::Hybrid;

/// A model without its weights and its vocabulary.
#[derive(Clone, Copy)]
pub(super) struct Preset {
    pub(super) name: &'static str,
    family: &'static str,
    pub(super) n_layers: usize,
    dim: usize,
    n_heads: usize,
    n_kv_heads: usize,
    head_dim: usize,
    /// Width of dense feed-forward networks, and of experts that have none of their own.
    ffn_dim: usize,
    /// Tokens, when no vocabulary is given.
    pub(super) vocab_size: usize,
    context_len: usize,
    theta: f32,
    eps: f32,
    window: Option<u32>,
    softcaps: Option<(f32, f32)>,
    experts: Option<Experts>,
    latent: Option<Latent>,
    gemma4: Option<Gemma4>,
    delta_net: Option<DeltaNet>,
    hybrid: Option<Hybrid>,
    /// No output matrix of its own.
    pub(super) tied: bool,
    qkv_bias: bool,
    output_bias: bool,
    sinks: bool,
    qk_norm: bool,
    post_norms: bool,
    /// The norm before the feed-forward network.
    ffn_norm: &'static str,
    /// One `attn_qkv`, and gate and up in one `ffn_up`.
    fused: bool,
    /// By which Llama 3 divides the frequencies of long waves.
    llama3_factor: Option<f32>,
    /// Keys of the family beside those that follow from the above.
    keys: &'static [(&'static str, Key)],
}

/// The value of a key.
#[derive(Clone, Copy)]
enum Key {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(&'static str),
}

#[derive(Clone, Copy)]
struct Experts {
    count: usize,
    used: usize,
    /// Width of one.
    width: usize,
    /// Width of the shared ones together.
    shared: usize,
    /// The shared ones have a gate.
    shared_gate: bool,
    /// Layers at the start that have a dense network.
    leading_dense: usize,
    /// A bias that only chooses.
    choice_bias: bool,
    /// Biases of experts and router.
    biases: bool,
    /// Experts are MXFP4, whatever the other matrices are.
    mxfp4: bool,
}

const EXPERTS: Experts = Experts {
    count: 4,
    used: 2,
    width: 512,
    shared: 0,
    shared_gate: false,
    leading_dense: 0,
    choice_bias: false,
    biases: false,
    mxfp4: false,
};

/// Latent attention: ranks and widths of a head.
#[derive(Clone, Copy)]
struct Latent {
    /// Rank of queries; `None`: they are projected at once.
    q_rank: Option<usize>,
    kv_rank: usize,
    /// Width that does not rotate.
    nope: usize,
    rope: usize,
    value: usize,
}

/// Parts of Gemma 4. Windowed layers have heads of `head_dim`.
#[derive(Clone, Copy)]
struct Gemma4 {
    /// Every n-th layer sees everything.
    full_every: usize,
    full_head_dim: usize,
    full_kv_heads: usize,
    /// Layers at the end that read the cache of a layer before them.
    shared_layers: usize,
    /// Their feed-forward networks are twice as wide.
    wide: bool,
    /// Numbers that a token adds to each layer.
    per_layer: usize,
    /// Full layers have no matrix of values.
    keys_as_values: bool,
}

/// Delta-nets in all layers but every n-th, which has gated attention whose heads rotate by a quarter.
#[derive(Clone, Copy)]
struct DeltaNet {
    full_every: usize,
    key_heads: usize,
    value_heads: usize,
    /// Of a head.
    width: usize,
    /// Positions that the convolution sees.
    kernel: usize,
    /// Strengths and decays have one matrix.
    fused: bool,
}

const DELTA_NET: DeltaNet =
    DeltaNet { full_every: 4, key_heads: 16, value_heads: 32, width: 128, kernel: 4, fused: false };

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
    eps: 1e-6,
    window: None,
    softcaps: None,
    experts: None,
    latent: None,
    gemma4: None,
    delta_net: None,
    hybrid: None,
    tied: false,
    qkv_bias: false,
    output_bias: false,
    sinks: false,
    qk_norm: false,
    post_norms: false,
    ffn_norm: "ffn_norm",
    fused: false,
    llama3_factor: None,
    keys: &[],
};

const SMALL: &[Preset] = &[
    Preset { name: "tiny-llama", family: "llama", ..TINY },
    Preset { name: "tiny-mistral", family: "llama", window: Some(64), ..TINY },
    Preset { name: "tiny-mixtral", family: "llama", experts: Some(EXPERTS), ..TINY },
    Preset { name: "tiny-qwen2", family: "qwen2", qkv_bias: true, tied: true, ..TINY },
    Preset { name: "tiny-qwen3", family: "qwen3", qk_norm: true, tied: true, ..TINY },
    Preset {
        name: "tiny-qwen3moe",
        family: "qwen3moe",
        qk_norm: true,
        experts: Some(Experts { count: 8, ..EXPERTS }),
        ..TINY
    },
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
    Preset {
        name: "tiny-gpt-oss",
        window: Some(64),
        dim: 256,
        n_layers: 3,
        n_heads: 4,
        n_kv_heads: 2,
        vocab_size: 5120,
        context_len: 2048,
        ffn_dim: 512,
        experts: Some(Experts { biases: true, mxfp4: true, ..EXPERTS }),
        keys: &[],
        ..named::GPT_OSS_20B
    },
    Preset {
        name: "tiny-gemma4",
        family: "gemma4",
        n_layers: 12,
        theta: 1e6,
        window: Some(64),
        tied: true,
        qk_norm: true,
        post_norms: true,
        gemma4: Some(Gemma4 {
            full_every: 6,
            full_head_dim: 128,
            full_kv_heads: 2,
            shared_layers: 5,
            wide: true,
            per_layer: 256,
            keys_as_values: false,
        }),
        ..TINY
    },
    Preset {
        name: "tiny-qwen35",
        n_layers: 4,
        dim: 256,
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 64,
        ffn_dim: 512,
        vocab_size: 5120,
        context_len: 2048,
        delta_net: Some(DeltaNet { key_heads: 2, value_heads: 4, width: 64, ..DELTA_NET }),
        ..named::QWEN35
    },
    Preset {
        name: "tiny-qwen3next",
        family: "qwen3next",
        n_layers: 4,
        dim: 256,
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 64,
        ffn_dim: 512,
        vocab_size: 5120,
        context_len: 2048,
        tied: false,
        experts: Some(Experts { count: 8, width: 256, shared: 256, shared_gate: true, ..EXPERTS }),
        delta_net: Some(DeltaNet { key_heads: 2, value_heads: 6, width: 64, fused: true, ..DELTA_NET }),
        ..named::QWEN35
    },
    Preset {
        name: "tiny-deepseek2",
        family: "deepseek2",
        latent: Some(Latent { q_rank: Some(256), kv_rank: 256, nope: 32, rope: 32, value: 64 }),
        experts: Some(Experts {
            count: 8,
            width: 256,
            shared: 256,
            leading_dense: 1,
            choice_bias: true,
            ..EXPERTS
        }),
        keys: &[("expert_gating_func", Key::U32(2)), ("expert_weights_norm", Key::Bool(true))],
        ..TINY
    },
];

/// Every preset.
pub(super) fn all() -> impl Iterator<Item = &'static Preset> {
    named::NAMED.iter().chain(published::PUBLISHED).chain(hybrid::HYBRIDS).chain(SMALL)
}

/// The preset of that name.
pub(super) fn find(name: &str) -> Option<&'static Preset> {
    all().find(|preset| preset.name == name)
}

/// A tensor to be made.
pub(super) struct Weight {
    pub(super) name: String,
    /// GGUF order, row length first.
    pub(super) dims: Vec<usize>,
    pub(super) init: Init,
    /// Factor of all numbers.
    pub(super) scale: f32,
    /// The tensor whose random numbers it has; `None`: its own.
    like: Option<String>,
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
    /// 1 in every place.
    Ones,
    /// On the left the identity of this size, on the right zeros.
    Left(usize),
    /// Rates of decays, below zero.
    Decay,
    /// Weights of a convolution over as many positions.
    Taps(usize),
    /// Llama 3's divisors of frequencies.
    Llama3 {
        factor: f32,
        theta: f32,
    },
    /// The first numbers are 1, the others so large that their dimensions do not rotate.
    Rotates(usize),
}

impl Weight {
    /// Name of the tensor whose random numbers it has.
    pub(super) fn like(&self) -> &str {
        self.like.as_deref().unwrap_or(&self.name)
    }
}

impl Preset {
    /// The same with `n` layers.
    pub(super) fn cut(self, n: usize) -> Preset {
        let gemma4 = self.gemma4.map(|parts| {
            let shared = parts.shared_layers * n / self.n_layers;
            // A full layer must be left to read from.
            let shared_layers = if n - shared < parts.full_every { 0 } else { shared };
            Gemma4 { shared_layers, ..parts }
        });
        Preset { n_layers: n, gemma4, ..self }
    }

    /// Models of more weights are made of random blocks.
    pub(super) fn is_large(&self) -> bool {
        const MOST: usize = 1_000_000_000;
        let weights = self.weights(self.vocab_size);
        weights.iter().map(|w| w.dims.iter().product::<usize>()).sum::<usize>() > MOST
    }

    /// Whether a tensor is MXFP4 in all files of the model.
    pub(super) fn is_mxfp4(&self, weight: &Weight) -> bool {
        self.experts.is_some_and(|e| e.mxfp4) && weight.name.ends_with("_exps.weight")
    }
}

impl Init {
    /// Stored in the type asked for; the others stay F32.
    pub(super) fn is_matrix(self) -> bool {
        matches!(self, Init::Embedding | Init::Projection(_) | Init::Left(_))
    }

    /// Whether random blocks can take the place of its numbers.
    pub(super) fn is_random_matrix(self) -> bool {
        matches!(self, Init::Embedding | Init::Projection(_))
    }

    /// Mean and standard deviation.
    pub(super) fn moments(self) -> (f32, f32) {
        match self {
            Init::Embedding => (0.0, 0.02),
            Init::Projection(fan_in) | Init::Router(fan_in) | Init::Taps(fan_in) => {
                (0.0, (fan_in as f32).sqrt().recip())
            }
            Init::Norm => (1.0, 0.1),
            Init::Bias => (0.0, 0.1),
            Init::Decay => (-1.0, 0.1),
            Init::Llama3 { .. } | Init::Rotates(_) | Init::Ones | Init::Left(_) => (0.0, 0.0),
        }
    }

    /// The numbers `range` of the tensor `name`, of `n` in all.
    pub(super) fn numbers(self, seed: u64, name: &str, range: Range<usize>, n: usize) -> Vec<f32> {
        match self {
            Init::Llama3 { factor, theta } => range.map(|i| llama3(i, n, factor, theta)).collect(),
            Init::Ones => vec![1.0; range.len()],
            Init::Left(size) => {
                range.map(|i| if i / (2 * size) == i % (2 * size) { 1.0 } else { 0.0 }).collect()
            }
            Init::Rotates(most) => range.map(|i| if i < most { 1.0 } else { 1e30 }).collect(),
            _ => {
                let (mean, deviation) = self.moments();
                let key = key(seed, name);
                range.map(|i| normal(mix(key.wrapping_add(i as u64))).mul_add(deviation, mean)).collect()
            }
        }
    }
}

/// Llama 3's divisor of frequency `i` of `n`: waves longer than the original context of 8,192 are stretched, those shorter than
/// a quarter of it are left, and those between are stretched in part.
fn llama3(i: usize, n: usize, factor: f32, theta: f32) -> f32 {
    const ORIGINAL: f32 = 8192.0;
    let wave = 2.0 * std::f32::consts::PI * theta.powf(i as f32 / n as f32);
    let share = (ORIGINAL / wave - 1.0) / 3.0;
    let share = share.clamp(0.0, 1.0);
    ((1.0 - share) / factor + share).recip()
}

/// The start of a tensor's random numbers.
pub(super) fn key(seed: u64, name: &str) -> u64 {
    name.bytes().fold(mix(seed), |key, byte| mix(key ^ u64::from(byte)))
}

/// Nearly N(0, 1): the sum of four uniform 16-bit numbers, less its mean, over its deviation.
fn normal(bits: u64) -> f32 {
    let sum: i32 = (0..4).map(|i| (bits >> (16 * i)) as u16).map(i32::from).sum();
    (sum - 2 * 65_535) as f32 * (1.732_050_8 / 65_536.0)
}

/// The output function of SplitMix64 (Steele, Lea, Flood 2014).
pub(super) fn mix(x: u64) -> u64 {
    let z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

#[cfg(test)]
mod tests;
