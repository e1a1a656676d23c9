//! The numbers of one file, each checked.

use inferno_format::{Gguf, MetadataError};

use super::families::FAMILIES;
use super::ffns::ffns;
use super::heads::Heads;
use super::keys::Keys;
use super::rotations::{RopeShape, ropes};
use super::windows::windows;
use super::{Architecture, AttentionShape, CacheGroup, CacheKind, LayerShape, MAX_CACHE_GROUPS, MixerShape};
use crate::error::LoadError;

/// Bounds on what a file may claim, far above any published model: a hostile number must not size an allocation.
const MAX_LAYERS: usize = 512;
pub(super) const MAX_WIDTH: usize = 1 << 20;
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
        let mut keys =
            Keys { metadata: file.metadata(), family: family.name, n_layers: 0, n_draft_layers: 0 };
        if keys.metadata.opt_bool(&keys.key("attention.causal"))? == Some(false) {
            const EXPECTED: &str = "true: a model whose attention is not causal is an encoder (for embeddings, say) and \
                                    cannot generate text";
            return Err(keys.unfit_text("attention.causal", EXPECTED));
        }
        let n_blocks = keys.count("block_count", MAX_LAYERS)?;
        // Multi-token prediction: the last blocks draft, and have no part in the model's own output.
        keys.n_draft_layers = keys.opt_u32("nextn_predict_layers")?.unwrap_or(0) as usize;
        if keys.n_draft_layers >= n_blocks {
            return Err(keys.unfit("nextn_predict_layers", keys.n_draft_layers, "less than `block_count`"));
        }
        keys.n_layers = n_blocks - keys.n_draft_layers;
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
        let ffns = ffns(file, &keys, family)?;

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
            n_draft_layers: keys.n_draft_layers,
            ffn_norm: family.ffn_norm,
            required: family.required,
        })
    }
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
