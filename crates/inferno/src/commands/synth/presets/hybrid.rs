//! Models with layers of several kinds, some of them with Mamba-2 or short convolutions. The figures are those of their published
//! `config.json`, on Hugging Face under the names given.

use inferno_format::{Array, Value};

use super::tensors::Tensors;
use super::{EXPERTS, Experts, Init, Key, Preset, TINY};

/// The kinds of a model's layers.
#[derive(Clone, Copy)]
pub(super) struct Hybrid {
    /// A letter for every layer: `M` has Mamba-2, `C` a short convolution, `*` attention, `P` attention and Mamba-2 side by side, and
    /// `-` is a feed-forward network alone. Without a `-` all layers have a feed-forward network, if `ffn_dim` is above zero.
    layers: &'static str,
    ssm: Option<Ssm>,
    /// Feed-forward networks and experts have no gate.
    ungated: bool,
}

/// Mamba-2.
#[derive(Clone, Copy)]
struct Ssm {
    heads: usize,
    /// Width of a head.
    width: usize,
    groups: usize,
    state: usize,
    /// Heads are normed.
    norm: bool,
}

/// Positions that convolutions of Mamba-2, and short ones, see.
const TAPS: usize = 4;
const SHORT_TAPS: usize = 3;

const TINY_SSM: Ssm = Ssm { heads: 8, width: 64, groups: 1, state: 64, norm: true };

const LFM2_1_2B: Preset = Preset {
    name: "lfm2-1.2b",
    family: "lfm2",
    n_layers: 16,
    dim: 2048,
    n_heads: 32,
    n_kv_heads: 8,
    head_dim: 64,
    ffn_dim: 8192,
    vocab_size: 65_536,
    context_len: 128_000,
    theta: 1e6,
    eps: 1e-5,
    tied: true,
    qk_norm: true,
    hybrid: Some(Hybrid { layers: "CC*CC*CC*C*C*C*C", ssm: None, ungated: false }),
    ..TINY
};

const GRANITE4_H_TINY: Preset = Preset {
    name: "granite-4.0-h-tiny",
    family: "granitehybrid",
    n_layers: 40,
    dim: 1536,
    n_heads: 12,
    n_kv_heads: 4,
    head_dim: 128,
    ffn_dim: 512,
    vocab_size: 100_352,
    context_len: 131_072,
    eps: 1e-5,
    tied: true,
    hybrid: Some(Hybrid {
        layers: "MMMMM*MMMMMMMMM*MMMMMMMMM*MMMMMMMMM*MMMM",
        ssm: Some(Ssm { heads: 48, width: 64, groups: 1, state: 128, norm: true }),
        ungated: false,
    }),
    experts: Some(Experts { count: 64, used: 6, width: 512, shared: 1024, ..EXPERTS }),
    keys: &[
        ("attention.scale", Key::F32(0.007_812_5)),
        ("embedding_scale", Key::F32(12.0)),
        ("residual_scale", Key::F32(0.22)),
        ("logit_scale", Key::F32(6.0)),
        ("rope.scaling.finetuned", Key::Bool(false)),
    ],
    ..TINY
};

const NEMOTRON3_NANO: Preset = Preset {
    name: "nemotron-3-nano-30b-a3b",
    family: "nemotron_h_moe",
    n_layers: 52,
    dim: 2688,
    n_heads: 32,
    n_kv_heads: 2,
    head_dim: 128,
    ffn_dim: 1856,
    vocab_size: 131_072,
    context_len: 262_144,
    eps: 1e-5,
    hybrid: Some(Hybrid {
        layers: "M-M-M*-M-M-M*-M-M-M*-M-M-M*-M-M-M*-M-M-M-M*-M-M-M-M-",
        ssm: Some(Ssm { heads: 64, width: 64, groups: 8, state: 128, norm: true }),
        ungated: true,
    }),
    experts: Some(Experts { count: 128, used: 6, width: 1856, shared: 3712, choice_bias: true, ..EXPERTS }),
    keys: &[
        ("expert_group_count", Key::U32(1)),
        ("expert_group_used_count", Key::U32(1)),
        ("expert_weights_norm", Key::Bool(true)),
        ("expert_weights_scale", Key::F32(2.5)),
        ("rope.scaling.finetuned", Key::Bool(false)),
    ],
    ..TINY
};

/// Models that people name, and small ones.
pub(super) const HYBRIDS: &[Preset] = &[
    // LiquidAI/LFM2-1.2B.
    LFM2_1_2B,
    // ibm-granite/granite-4.0-h-tiny.
    GRANITE4_H_TINY,
    // nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16.
    NEMOTRON3_NANO,
    Preset {
        name: "tiny-mamba2",
        family: "mamba2",
        ffn_dim: 0,
        n_heads: 0,
        n_kv_heads: 0,
        hybrid: Some(Hybrid { layers: "MMM", ssm: Some(TINY_SSM), ungated: false }),
        ..TINY
    },
    Preset {
        name: "tiny-granite4",
        n_layers: 4,
        dim: 256,
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 64,
        ffn_dim: 512,
        vocab_size: 5120,
        context_len: 2048,
        hybrid: Some(Hybrid { layers: "MM*M", ssm: Some(TINY_SSM), ungated: false }),
        experts: Some(Experts { count: 8, width: 256, shared: 256, ..EXPERTS }),
        ..GRANITE4_H_TINY
    },
    Preset {
        name: "tiny-nemotron3",
        n_layers: 5,
        dim: 256,
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 64,
        ffn_dim: 256,
        vocab_size: 5120,
        context_len: 2048,
        hybrid: Some(Hybrid { layers: "M-*M-", ssm: Some(Ssm { groups: 2, ..TINY_SSM }), ungated: true }),
        experts: Some(Experts { count: 8, width: 256, shared: 512, choice_bias: true, ..EXPERTS }),
        ..NEMOTRON3_NANO
    },
    Preset {
        name: "tiny-falcon-h1",
        family: "falcon-h1",
        theta: 1e11,
        hybrid: Some(Hybrid { layers: "PPP", ssm: Some(Ssm { norm: false, ..TINY_SSM }), ungated: false }),
        ..TINY
    },
    Preset {
        name: "tiny-lfm2",
        n_layers: 4,
        dim: 256,
        n_heads: 4,
        n_kv_heads: 2,
        ffn_dim: 512,
        vocab_size: 5120,
        context_len: 2048,
        hybrid: Some(Hybrid { layers: "CC*C", ssm: None, ungated: false }),
        ..LFM2_1_2B
    },
];

impl Hybrid {
    fn layer(&self, i: usize) -> char {
        char::from(self.layers.as_bytes()[i])
    }

    /// A layer is a mixer or a feed-forward network.
    fn is_apart(&self) -> bool {
        self.layers.contains('-')
    }
}

impl Ssm {
    fn inner(&self) -> usize {
        self.heads * self.width
    }

    /// Of the convolution.
    fn channels(&self) -> usize {
        self.inner() + 2 * self.groups * self.state
    }
}

impl Preset {
    pub(super) fn is_ungated(&self) -> bool {
        self.hybrid.is_some_and(|hybrid| hybrid.ungated)
    }

    pub(super) fn set_hybrid(&self, hybrid: Hybrid, set: &mut impl FnMut(&str, Value)) {
        let each = |number: &dyn Fn(char) -> usize| {
            let numbers = (0..self.n_layers).map(|i| number(hybrid.layer(i)) as i32);
            Value::Array(Array::I32(numbers.collect()))
        };
        let attends = |layer: char| layer == '*' || layer == 'P';
        let kv_heads = each(&|layer| if attends(layer) { self.n_kv_heads } else { 0 });
        set("attention.head_count_kv", kv_heads);
        if hybrid.is_apart() {
            set("feed_forward_length", each(&|layer| if layer == '-' { self.ffn_dim } else { 0 }));
        }
        match hybrid.ssm {
            None => set("shortconv.l_cache", Value::U32(SHORT_TAPS as u32)),
            Some(ssm) => {
                for (key, n) in [
                    ("conv_kernel", TAPS),
                    ("inner_size", ssm.inner()),
                    ("state_size", ssm.state),
                    ("time_step_rank", ssm.heads),
                    ("group_count", ssm.groups),
                ] {
                    set(&format!("ssm.{key}"), Value::U32(n as u32));
                }
            }
        }
        if let Some(experts) = self.experts {
            set("expert_shared_feed_forward_length", Value::U32(experts.shared as u32));
        }
    }

    /// The tensors of layer `i` but its first norm.
    pub(super) fn hybrid_layer(&self, hybrid: Hybrid, i: usize, t: &mut Tensors) {
        let (dim, layer) = (self.dim, hybrid.layer(i));
        if matches!(layer, '*' | 'P') {
            self.attention(i, t);
        }
        match hybrid.ssm {
            Some(ssm) if matches!(layer, 'M' | 'P') => self.mamba2(ssm, t),
            None if layer == 'C' => {
                t.project("shortconv.in_proj", dim, 3 * dim);
                t.put("shortconv.conv.weight", &[SHORT_TAPS, dim], Init::Taps(SHORT_TAPS));
                t.project("shortconv.out_proj", dim, dim);
            }
            _ => {}
        }
        if hybrid.is_apart() {
            if layer == '-' {
                self.ffn(i, t);
            }
        } else if self.ffn_dim > 0 {
            // Falcon-H1's files leave out how names of weights end.
            let suffix = if self.family == "falcon-h1" { "" } else { ".weight" };
            t.put(&format!("ffn_norm{suffix}"), &[dim], Init::Norm);
            self.ffn(i, t);
        }
    }

    fn mamba2(&self, ssm: Ssm, t: &mut Tensors) {
        let (dim, inner, channels) = (self.dim, ssm.inner(), ssm.channels());
        t.project("ssm_in", dim, inner + channels + ssm.heads);
        t.put("ssm_conv1d.weight", &[TAPS, channels], Init::Taps(TAPS));
        t.bias("ssm_conv1d", &[channels]);
        t.bias("ssm_dt", &[ssm.heads]);
        t.put("ssm_a", &[1, ssm.heads], Init::Decay);
        t.put("ssm_d", &[1, ssm.heads], Init::Norm);
        if ssm.norm {
            t.put("ssm_norm.weight", &[inner / ssm.groups, ssm.groups], Init::Norm);
        }
        t.project("ssm_out", inner, dim);
    }
}
