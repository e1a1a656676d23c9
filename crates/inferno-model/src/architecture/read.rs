//! The numbers of one file, each checked.

use inferno_format::{Array, Gguf, MetadataError};

use super::families::{FAMILIES, Family};
use super::keys::Keys;
use super::rotations::{RopeShape, ropes};
use super::{
    Architecture, AttentionShape, CacheGroup, CacheKind, DenseShape, ExpertsShape, FfnShape, LayerShape,
    MAX_CACHE_GROUPS, MixerShape, Routing,
};
use crate::error::LoadError;

/// Bounds on what a file may claim, far above any published model: a hostile number must not size an allocation.
const MAX_LAYERS: usize = 512;
const MAX_WIDTH: usize = 1 << 20;
const MAX_EXPERTS: usize = 4096;
const MAX_VOCAB: usize = 1 << 24;
pub(super) const MAX_CONTEXT: usize = 1 << 24;

impl Architecture {
    /// Reads the numbers of `file`. `context_len` lowers the file's own context length (and with it
    /// chooses between long and short RoPE factors).
    pub fn read(file: &Gguf, context_len: Option<usize>) -> Result<Architecture, LoadError> {
        let name = file.metadata().str("general.architecture")?;
        let family = FAMILIES.iter().find(|f| f.name == name).ok_or_else(|| LoadError::Family {
            found: name.escape_debug().take(64).collect(),
            known: FAMILIES.iter().map(|f| f.name).collect::<Vec<_>>().join(", "),
        })?;
        let mut keys = Keys { metadata: file.metadata(), family: family.name, n_layers: 0 };
        if keys.metadata.opt_bool(&keys.key("attention.causal"))? == Some(false) {
            const EXPECTED: &str = "true: a model whose attention is not causal is an encoder (for embeddings, say) and \
                                    cannot generate text";
            return Err(keys.unfit_text("attention.causal", EXPECTED));
        }
        keys.n_layers = keys.count("block_count", MAX_LAYERS)?;
        let dim = keys.count("embedding_length", MAX_WIDTH)?;
        let heads = Heads::read(&keys, dim)?;

        let trained_context = keys.count("context_length", MAX_CONTEXT)?;
        if let Some(asked) = context_len.filter(|n| !(1..=trained_context).contains(n)) {
            return Err(LoadError::Context { asked, most: trained_context });
        }
        let context_len = context_len.unwrap_or(trained_context);

        let windows = windows(&keys, family)?;
        let shape = RopeShape { key_width: heads.key_width, trained_context, context_len };
        let ropes = ropes(file, &keys, family, shape)?;
        let scale = keys.positive("attention.scale")?;
        let softcap = keys.softcap("attn_logit_softcapping", family.softcaps.0)?;
        let ffns = ffns(&keys, family)?;

        let mut cache_groups = Vec::new();
        let layers = ffns.into_iter().enumerate().map(|(i, ffn)| {
            let (n_heads, n_kv_heads, window) = (heads.n_heads[i], heads.n_kv_heads[i], windows[i]);
            if n_heads == 0 || n_kv_heads == 0 {
                return LayerShape { mixer: None, ffn };
            }
            let Heads { key_width, value_width, .. } = heads;
            let width = if family.wide_scale_at == Some(keys.n_layers) { dim / n_heads } else { key_width };
            let mixer = MixerShape::Attention(AttentionShape {
                n_heads,
                n_kv_heads,
                key_width,
                value_width,
                rope_idx: Some(if window.is_some() { ropes.len() - 1 } else { 0 }),
                window,
                softcap,
                scale: scale.unwrap_or(1.0 / (width as f32).sqrt()),
                group: group(
                    &mut cache_groups,
                    i,
                    CacheKind::Pages { n_kv_heads, key_width, value_width, window },
                ),
            });
            LayerShape { mixer: Some(mixer), ffn }
        });
        let layers = layers.collect();
        if cache_groups.len() > MAX_CACHE_GROUPS {
            return Err(keys
                .unfit_text("attention.head_count_kv", "at most 8 different numbers of heads and windows"));
        }
        let norm_eps = keys.f32("attention.layer_norm_rms_epsilon", |x| (0.0..1.0).contains(&x))?;

        Ok(Architecture {
            family: family.name,
            dim,
            vocab_size: vocab_size(file, &keys)?,
            context_len,
            norm_eps: norm_eps.ok_or_else(|| keys.missing("attention.layer_norm_rms_epsilon", "a number"))?,
            embedding_scale: if family.scaled_embedding { (dim as f32).sqrt() } else { 1.0 },
            final_softcap: keys.softcap("final_logit_softcapping", family.softcaps.1)?,
            layers,
            ropes,
            cache_groups,
            required: family.required,
        })
    }
}

/// Heads of every layer, and their widths.
struct Heads {
    /// Per layer; a layer with zero has no attention.
    n_heads: Vec<usize>,
    n_kv_heads: Vec<usize>,
    key_width: usize,
    value_width: usize,
}

impl Heads {
    fn read(keys: &Keys<'_>, dim: usize) -> Result<Heads, LoadError> {
        const HEADS: &str = "attention.head_count";
        const KV_HEADS: &str = "attention.head_count_kv";
        let n_heads = keys.each(HEADS, MAX_WIDTH)?;
        let most = n_heads.iter().copied().max().unwrap_or(0);
        if most == 0 {
            return Err(keys.unfit_text(HEADS, "more than zero in some layer"));
        }
        let n_kv_heads = keys.opt_each(KV_HEADS, most)?.unwrap_or_else(|| n_heads.clone());
        let pairs = || n_heads.iter().copied().zip(n_kv_heads.iter().copied());
        if let Some((_, n)) = pairs().find(|&(n, n_kv)| n_kv > 0 && !n.is_multiple_of(n_kv)) {
            return Err(keys.unfit(KV_HEADS, n, "a divisor of `attention.head_count`"));
        }
        let Some((first, _)) = pairs().find(|&(n, n_kv)| n > 0 && n_kv > 0) else {
            return Err(keys.unfit_text(KV_HEADS, "more than zero in some layer"));
        };
        let key_width = match keys.opt_count("attention.key_length", MAX_WIDTH)? {
            Some(width) => width,
            None if n_heads.iter().any(|&n| n != first) => {
                return Err(keys.missing(
                    "attention.key_length",
                    "an integer, as layers have different numbers of heads",
                ));
            }
            None if dim.is_multiple_of(first) => dim / first,
            None => return Err(keys.unfit(HEADS, first, "a divisor of `embedding_length`")),
        };
        let value_width = keys.opt_count("attention.value_length", MAX_WIDTH)?.unwrap_or(key_width);
        for (key, width) in [("attention.key_length", key_width), ("attention.value_length", value_width)] {
            if most * width > MAX_WIDTH {
                return Err(keys.unfit(key, width, "at most 2^20 over all heads"));
            }
        }
        Ok(Heads { n_heads, n_kv_heads, key_width, value_width })
    }
}

/// The feed-forward network of every layer.
fn ffns(keys: &Keys<'_>, family: &Family) -> Result<Vec<Option<FfnShape>>, LoadError> {
    let activation = family.activation;
    let n_experts = keys.opt_u32("expert_count")?.unwrap_or(0);
    if n_experts == 0 {
        let widths = keys.each("feed_forward_length", MAX_WIDTH)?.into_iter();
        let dense = |ffn_dim| FfnShape::Dense(DenseShape { ffn_dim, activation });
        return Ok(widths.map(|ffn_dim| (ffn_dim > 0).then(|| dense(ffn_dim))).collect());
    }
    let n_experts = keys.count("expert_count", MAX_EXPERTS)?;
    // 1 is softmax; the others (sigmoid and kin) come with the families that use them.
    if let Some(other) = keys.opt_u32("expert_gating_func")?.filter(|&f| f > 1) {
        return Err(keys.unfit("expert_gating_func", other as usize, "1 (softmax)"));
    }
    let widths = match keys.opt_each("expert_feed_forward_length", MAX_WIDTH)? {
        Some(widths) => widths,
        None => keys.each("feed_forward_length", MAX_WIDTH)?,
    };
    let renormalize = keys.metadata.opt_bool(&keys.key("expert_weights_norm"))?;
    let renormalize = renormalize.or(family.renormalizes_experts).ok_or_else(|| {
        keys.missing("expert_weights_norm", "a bool, as this family has no experts in other files")
    })?;
    let routing = Routing {
        n_used: keys.count("expert_used_count", n_experts)?,
        renormalize,
        scale: keys.positive("expert_weights_scale")?.unwrap_or(1.0),
    };
    let experts = |ffn_dim| FfnShape::Experts(ExpertsShape { n_experts, ffn_dim, activation, routing });
    Ok(widths.into_iter().map(|ffn_dim| (ffn_dim > 0).then(|| experts(ffn_dim))).collect())
}

/// Keys that a row sees in every layer.
fn windows(keys: &Keys<'_>, family: &Family) -> Result<Vec<Option<usize>>, LoadError> {
    const PATTERN: &str = "attention.sliding_window_pattern";
    let window = keys.opt_u32("attention.sliding_window")?.or(family.window).filter(|&w| w > 0);
    let is_windowed = |array: &Array, i: usize| match array {
        Array::Bool(bools) => bools.get(i).copied(),
        _ => array.integer(i).map(|n| n != 0),
    };
    let is_windowed = match keys.entries(PATTERN, is_windowed)? {
        Some(entries) => entries,
        None => {
            let full_every = keys.opt_u32(PATTERN)?.or(family.full_every).filter(|&n| n > 0);
            (1..=keys.n_layers as u32).map(|i| full_every.is_none_or(|n| !i.is_multiple_of(n))).collect()
        }
    };
    Ok(is_windowed.into_iter().map(|is| window.filter(|_| is).map(|w| w as usize)).collect())
}

/// The group of caches of that kind, with layer `i` added to it.
fn group(groups: &mut Vec<CacheGroup>, i: usize, kind: CacheKind) -> usize {
    let group = groups.iter().position(|g| g.kind == kind).unwrap_or_else(|| {
        groups.push(CacheGroup { layers: Vec::new(), kind });
        groups.len() - 1
    });
    groups[group].layers.push(i);
    group
}

fn vocab_size(file: &Gguf, keys: &Keys<'_>) -> Result<usize, LoadError> {
    const TOKENS: &str = "tokenizer.ggml.tokens";
    match file.metadata().opt_strings(TOKENS)? {
        Some(tokens) if (1..=MAX_VOCAB).contains(&tokens.len()) => Ok(tokens.len()),
        Some(tokens) => Err(LoadError::Metadata(MetadataError::Unfit {
            key: TOKENS.into(),
            expected: "an array of 1 to 2^24 strings",
            found: format!("an array of {} string", tokens.len()),
        })),
        None => keys.count("vocab_size", MAX_VOCAB),
    }
}
