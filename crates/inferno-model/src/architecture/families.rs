//! The table of families.

mod refused;

use super::NormNames;
use super::recurrent::Recurrent;
use crate::backend::{HeadOrder, QkNorm};
use crate::ffn::Activation;
use crate::rope::Pairing;
use crate::routing::Gating;
pub(super) use refused::missing_part;

/// What a file does not say about its family.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) pairing: Pairing,
    pub(super) activation: Activation,
    pub(super) norms: NormNames,
    /// The tensor that norms the output of the last layer, in files without an `output_norm`.
    pub(super) output_norm: &'static str,
    /// The mixer of layers without attention; `None`: they have no mixer.
    pub(super) recurrent: Option<Recurrent>,
    /// All layers have that mixer, and attention beside it.
    pub(super) is_recurrent_beside_attention: bool,
    /// A layer is a mixer or a feed-forward network: the latter where `feed_forward_length` is above zero.
    pub(super) has_halves_apart: bool,
    /// Embeddings are multiplied by √dim.
    pub(super) scaled_embedding: bool,
    /// Logits are divided by what the file calls their scale.
    pub(super) divides_logits: bool,
    /// The window when the file is silent.
    pub(super) window: Option<u32>,
    /// With a window, every n-th layer still sees everything; `None`: all layers are windowed.
    pub(super) full_every: Option<u32>,
    /// Rotation base of windowed layers, where it is another than that of full ones.
    pub(super) window_theta: Option<f32>,
    /// Scaling of rotations to longer contexts leaves out windowed layers.
    pub(super) windows_unscaled: bool,
    /// Every n-th layer does not rotate.
    pub(super) unrotated_every: Option<usize>,
    /// With a window, layers that see everything do not rotate.
    pub(super) full_unrotated: bool,
    /// A file with sections for images rotates halves.
    pub(super) sections_pair_halves: bool,
    /// A file can say that nothing rotates, by `rope.scaling.finetuned`.
    pub(super) may_not_rotate: bool,
    /// Layers that see everything rotate by `rope_freqs`, which all files have.
    pub(super) has_rope_freqs: bool,
    /// YaRN's ramp begins and ends at whole pairs.
    pub(super) yarn_rounds: bool,
    /// Extent of the norms of queries and keys.
    pub(super) qk_norm: QkNorm,
    /// Values are normed, without weights.
    pub(super) norms_values: bool,
    /// Where layers without windows have no `attn_v`, their values are their keys.
    pub(super) keys_as_values: bool,
    /// Scale of scores when the file is silent; `None`: by the width of a head.
    pub(super) scale: Option<f32>,
    /// Softcaps of scores and logits when the file is silent.
    pub(super) softcaps: (Option<f32>, Option<f32>),
    /// This many layers mean a score scale of `1/√(dim / n_heads)` instead of `1/√head_dim`.
    pub(super) wide_scale_at: Option<usize>,
    /// The activation is xIELU, whose parameters the file has.
    pub(super) has_xielu: bool,
    /// Whether feed-forward networks have a gate.
    pub(super) has_ffn_gate: bool,
    /// From the router's logits to probabilities, when the file is silent.
    pub(super) gating: Gating,
    /// Numbers of layers and of tokens with which a silent file means [`Gating::Sigmoid`].
    pub(super) sigmoid_at: &'static [(usize, usize)],
    /// Whether weights of chosen experts are divided by their sum when the file is silent; `None`: the family has no experts.
    pub(super) renormalizes_experts: Option<bool>,
    /// All layers with attention have one latent row a position for all heads (`attention.kv_lora_rank`).
    pub(super) latent: bool,
    /// Latent attention rotates nothing.
    pub(super) latent_unrotated: bool,
    /// Layers without KV heads are Kimi delta attention, beside latent attention.
    pub(super) has_kda: bool,
    /// Queries have a gate of their heads' outputs beside them: `attn_q` has the rows of a head's query, then those of its gate.
    pub(super) has_attention_gate: bool,
    /// Layers that do not attend are delta-nets; `None`: the family has none.
    pub(super) delta_net: Option<DeltaNetFamily>,
    /// In files with experts, every layer has a dense network beside them.
    pub(super) experts_beside_dense: bool,
    /// Per-layer tensors that all files of the family have, where others may lack them.
    pub(super) required: &'static [&'static str],
}

/// The delta-nets of a family.
pub(super) struct DeltaNetFamily {
    /// The key head of a value head.
    pub(super) order: HeadOrder,
    /// One tensor, `ssm_ba`, projects strengths and decays.
    pub(super) fuses_strengths: bool,
}

const PLAIN: Family = Family {
    name: "",
    pairing: Pairing::Halves,
    activation: Activation::Silu,
    norms: NormNames::USUAL,
    output_norm: "output_norm.weight",
    recurrent: None,
    is_recurrent_beside_attention: false,
    has_halves_apart: false,
    scaled_embedding: false,
    divides_logits: false,
    window: None,
    full_every: None,
    window_theta: None,
    windows_unscaled: false,
    unrotated_every: None,
    full_unrotated: false,
    sections_pair_halves: false,
    may_not_rotate: false,
    has_rope_freqs: false,
    yarn_rounds: true,
    qk_norm: QkNorm::Heads,
    norms_values: false,
    keys_as_values: false,
    scale: None,
    softcaps: (None, None),
    wide_scale_at: None,
    has_xielu: false,
    has_ffn_gate: true,
    gating: Gating::Softmax,
    sigmoid_at: &[],
    renormalizes_experts: None,
    latent: false,
    latent_unrotated: false,
    has_kda: false,
    has_attention_gate: false,
    delta_net: None,
    experts_beside_dense: false,
    required: &[],
};

/// Nemotron-H, and Nemotron 3 with experts.
const NEMOTRON_H: Family = Family {
    activation: Activation::ReluSquared,
    norms: ONE_NORM,
    recurrent: Some(Recurrent::Mamba2),
    has_halves_apart: true,
    unrotated_every: Some(1),
    has_ffn_gate: false,
    required: &["ssm_norm.weight"],
    ..PLAIN
};

/// The family whose layers have nothing beside what all have, for models that are made up.
pub(crate) const PLAINEST: &str = "llama";

/// A family with latent attention, for models that are made up.
pub(crate) const LATENT: &str = "deepseek2";

/// Families of delta-nets whose strengths and decays have a tensor each, and of those that have one for both, for models that are made up.
pub(crate) const DELTA_NETS: &str = "qwen35";
pub(crate) const FUSED_DELTA_NETS: &str = "qwen3next";

/// A family of Kimi delta attention, for models that are made up.
pub(crate) const KDA: &str = "kimi-linear";

/// Norms before the halves of a layer alone, where the second one is named as if it came after the first half.
const NORMS_BEFORE: NormNames =
    NormNames { after_mixer: None, before_ffn: Some("post_attention_norm.weight"), ..NormNames::USUAL };

/// Norms of the outputs of the halves alone.
const NORMS_AFTER: NormNames = NormNames { before_mixer: None, before_ffn: None, ..NormNames::USUAL };

/// One norm a layer, whichever half the layer is.
const ONE_NORM: NormNames = NormNames {
    before_mixer: Some("attn_norm.weight"),
    after_mixer: None,
    before_ffn: Some("attn_norm.weight"),
    after_ffn: None,
};

const QK_NORM: &[&str] = &["attn_q_norm.weight", "attn_k_norm.weight"];

const QK_NORM_AND_SHARED_GATE: &[&str] =
    &["attn_q_norm.weight", "attn_k_norm.weight", "ffn_gate_inp_shexp.weight"];

const NORMED_BRANCHES_AND_HEADS: &[&str] =
    &["attn_q_norm.weight", "attn_k_norm.weight", "post_attention_norm.weight", "post_ffw_norm.weight"];

pub(super) const FAMILIES: &[Family] = &[
    // Llama 1 to 3, Mistral and Mixtral all call themselves llama.
    Family { name: "llama", pairing: Pairing::Adjacent, renormalizes_experts: Some(true), ..PLAIN },
    Family { name: "qwen2", required: &["attn_q.bias", "attn_k.bias", "attn_v.bias"], ..PLAIN },
    Family { name: "qwen3", required: QK_NORM, ..PLAIN },
    // Qwen3.5 and 3.6. Their converter reorders value heads.
    Family {
        name: "qwen35",
        norms: NORMS_BEFORE,
        has_attention_gate: true,
        delta_net: Some(DeltaNetFamily { order: HeadOrder::Alternating, fuses_strengths: false }),
        required: QK_NORM,
        ..PLAIN
    },
    Family {
        name: "qwen35moe",
        norms: NORMS_BEFORE,
        has_attention_gate: true,
        delta_net: Some(DeltaNetFamily { order: HeadOrder::Alternating, fuses_strengths: false }),
        renormalizes_experts: Some(true),
        required: QK_NORM_AND_SHARED_GATE,
        ..PLAIN
    },
    Family {
        name: "qwen3next",
        norms: NORMS_BEFORE,
        has_attention_gate: true,
        delta_net: Some(DeltaNetFamily { order: HeadOrder::Grouped, fuses_strengths: true }),
        renormalizes_experts: Some(true),
        required: QK_NORM_AND_SHARED_GATE,
        ..PLAIN
    },
    Family { name: "qwen3moe", renormalizes_experts: Some(true), required: QK_NORM, ..PLAIN },
    Family { name: "qwen3vlmoe", renormalizes_experts: Some(true), required: QK_NORM, ..PLAIN },
    Family {
        name: "qwen2moe",
        renormalizes_experts: Some(false),
        required: &["attn_q.bias", "attn_k.bias", "attn_v.bias", "ffn_gate_inp_shexp.weight"],
        ..PLAIN
    },
    Family {
        name: "mellum",
        full_every: Some(4),
        windows_unscaled: true,
        renormalizes_experts: Some(true),
        required: QK_NORM,
        ..PLAIN
    },
    Family {
        name: "hy_v3",
        gating: Gating::Sigmoid,
        renormalizes_experts: Some(false),
        required: &["attn_q_norm.weight", "attn_k_norm.weight", "exp_probs_b.bias"],
        ..PLAIN
    },
    Family {
        name: "exaone-moe",
        full_every: Some(4),
        full_unrotated: true,
        gating: Gating::Sigmoid,
        renormalizes_experts: Some(false),
        required: &["attn_q_norm.weight", "attn_k_norm.weight", "exp_probs_b.bias"],
        ..PLAIN
    },
    Family {
        name: "dots1",
        gating: Gating::Sigmoid,
        renormalizes_experts: Some(false),
        required: &["attn_q_norm.weight", "attn_k_norm.weight", "exp_probs_b.bias"],
        ..PLAIN
    },
    Family {
        name: "ernie4_5-moe",
        pairing: Pairing::Adjacent,
        renormalizes_experts: Some(true),
        required: &["exp_probs_b.bias"],
        ..PLAIN
    },
    Family {
        name: "gpt-oss",
        activation: Activation::ClampedSwiglu,
        norms: NORMS_BEFORE,
        window: Some(128),
        full_every: Some(2),
        yarn_rounds: false,
        // Softmax over the selected experts is softmax over all, renormalized.
        renormalizes_experts: Some(true),
        required: &[
            "attn_sinks.weight",
            "attn_q.bias",
            "attn_k.bias",
            "attn_v.bias",
            "attn_output.bias",
            "ffn_gate_inp.bias",
            "ffn_down_exps.bias",
        ],
        ..PLAIN
    },
    Family {
        name: "glm4moe",
        norms: NORMS_BEFORE,
        gating: Gating::Sigmoid,
        renormalizes_experts: Some(false),
        required: &["exp_probs_b.bias"],
        ..PLAIN
    },
    Family {
        name: "olmoe",
        qk_norm: QkNorm::Rows,
        renormalizes_experts: Some(false),
        required: QK_NORM,
        ..PLAIN
    },
    Family {
        name: "minimax-m2",
        qk_norm: QkNorm::Rows,
        gating: Gating::Sigmoid,
        renormalizes_experts: Some(true),
        required: &["attn_q_norm.weight", "attn_k_norm.weight", "exp_probs_b.bias"],
        ..PLAIN
    },
    Family {
        name: "hunyuan-moe",
        qk_norm: QkNorm::RotatedHeads,
        renormalizes_experts: Some(true),
        required: QK_NORM,
        ..PLAIN
    },
    Family {
        name: "granitemoe",
        pairing: Pairing::Adjacent,
        divides_logits: true,
        renormalizes_experts: Some(true),
        ..PLAIN
    },
    Family {
        name: "arcee",
        pairing: Pairing::Adjacent,
        activation: Activation::ReluSquared,
        has_ffn_gate: false,
        ..PLAIN
    },
    Family { name: "apertus", has_xielu: true, has_ffn_gate: false, required: QK_NORM, ..PLAIN },
    Family { name: "phi3", ..PLAIN },
    Family { name: "exaone", ..PLAIN },
    // Text alone: its positions are the same in all sections of a rotation.
    Family { name: "qwen2vl", required: &["attn_q.bias", "attn_k.bias", "attn_v.bias"], ..PLAIN },
    Family { name: "qwen3vl", required: QK_NORM, ..PLAIN },
    Family { name: "mistral3", pairing: Pairing::Adjacent, ..PLAIN },
    Family { name: "smollm3", pairing: Pairing::Adjacent, unrotated_every: Some(4), ..PLAIN },
    Family { name: "ernie4_5", pairing: Pairing::Adjacent, ..PLAIN },
    Family {
        name: "granite",
        pairing: Pairing::Adjacent,
        divides_logits: true,
        may_not_rotate: true,
        ..PLAIN
    },
    Family {
        name: "seed_oss",
        norms: NORMS_BEFORE,
        required: &["attn_q.bias", "attn_k.bias", "attn_v.bias"],
        ..PLAIN
    },
    Family { name: "hunyuan-dense", qk_norm: QkNorm::RotatedHeads, required: QK_NORM, ..PLAIN },
    // OLMo 2 and 3: the latter has windows.
    Family {
        name: "olmo2",
        norms: NORMS_AFTER,
        full_every: Some(4),
        windows_unscaled: true,
        qk_norm: QkNorm::Rows,
        required: NORMED_BRANCHES_AND_HEADS,
        ..PLAIN
    },
    Family {
        name: "exaone4",
        norms: NORMS_AFTER,
        full_every: Some(4),
        full_unrotated: true,
        required: NORMED_BRANCHES_AND_HEADS,
        ..PLAIN
    },
    Family {
        name: "glm4",
        pairing: Pairing::Adjacent,
        sections_pair_halves: true,
        required: &["post_attention_norm.weight", "post_ffw_norm.weight"],
        ..PLAIN
    },
    Family { name: "gemma", activation: Activation::GeluTanh, scaled_embedding: true, ..PLAIN },
    Family {
        name: "mamba2",
        recurrent: Some(Recurrent::Mamba2),
        required: &["ssm_conv1d.bias", "ssm_norm.weight"],
        ..PLAIN
    },
    Family { name: "nemotron_h", ..NEMOTRON_H },
    Family {
        name: "nemotron_h_moe",
        gating: Gating::Sigmoid,
        renormalizes_experts: Some(false),
        ..NEMOTRON_H
    },
    Family {
        name: "granitehybrid",
        pairing: Pairing::Adjacent,
        recurrent: Some(Recurrent::Mamba2),
        divides_logits: true,
        may_not_rotate: true,
        renormalizes_experts: Some(true),
        required: &["ssm_norm.weight"],
        ..PLAIN
    },
    Family {
        name: "falcon-h1",
        norms: NormNames { after_mixer: None, before_ffn: Some("ffn_norm"), ..NormNames::USUAL },
        recurrent: Some(Recurrent::Mamba2),
        is_recurrent_beside_attention: true,
        ..PLAIN
    },
    Family {
        name: "lfm2",
        output_norm: "token_embd_norm.weight",
        recurrent: Some(Recurrent::ShortConv),
        required: QK_NORM,
        ..PLAIN
    },
    Family {
        name: "lfm2moe",
        output_norm: "token_embd_norm.weight",
        recurrent: Some(Recurrent::ShortConv),
        gating: Gating::Sigmoid,
        renormalizes_experts: Some(true),
        required: &["attn_q_norm.weight", "attn_k_norm.weight", "exp_probs_b.bias"],
        ..PLAIN
    },
    // DeepSeek V2 to V3.1, Kimi K2, GLM-4.7-Flash and GigaChat 3.
    Family {
        name: "deepseek2",
        pairing: Pairing::Adjacent,
        latent: true,
        // Early files of GLM-4.7-Flash.
        sigmoid_at: &[(47, 154_880), (48, 154_880)],
        renormalizes_experts: Some(false),
        ..PLAIN
    },
    Family {
        name: "mistral4",
        pairing: Pairing::Adjacent,
        latent: true,
        renormalizes_experts: Some(false),
        ..PLAIN
    },
    Family {
        name: "kimi-linear",
        latent: true,
        latent_unrotated: true,
        has_kda: true,
        gating: Gating::Sigmoid,
        renormalizes_experts: Some(true),
        required: &["exp_probs_b.bias"],
        ..PLAIN
    },
    Family {
        name: "gemma2",
        activation: Activation::GeluTanh,
        scaled_embedding: true,
        window: Some(4096),
        full_every: Some(2),
        softcaps: (Some(50.0), Some(30.0)),
        wide_scale_at: Some(46),
        required: &["post_attention_norm.weight", "post_ffw_norm.weight"],
        ..PLAIN
    },
    Family {
        name: "gemma3",
        activation: Activation::GeluTanh,
        scaled_embedding: true,
        full_every: Some(6),
        window_theta: Some(10_000.0),
        wide_scale_at: Some(62),
        required: NORMED_BRANCHES_AND_HEADS,
        ..PLAIN
    },
    Family {
        name: "gemma4",
        activation: Activation::GeluTanh,
        scaled_embedding: true,
        window_theta: Some(10_000.0),
        has_rope_freqs: true,
        norms_values: true,
        keys_as_values: true,
        scale: Some(1.0),
        renormalizes_experts: Some(true),
        experts_beside_dense: true,
        required: &[
            "attn_q_norm.weight",
            "attn_k_norm.weight",
            "post_attention_norm.weight",
            "post_ffw_norm.weight",
            "post_ffw_norm_1.weight",
            "post_ffw_norm_2.weight",
            "ffn_down_exps.scale",
        ],
        ..PLAIN
    },
];
