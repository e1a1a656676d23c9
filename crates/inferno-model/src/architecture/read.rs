//! The numbers of one file, each checked.

use inferno_format::{Gguf, MetadataError};

use super::families::{FAMILIES, missing_part};
use super::ffns::{ffns, per_layer};
use super::keys::Keys;
use super::mixers::Mixers;
use super::unserved::refuse_unserved;
use super::{Architecture, LayerShape};
use crate::error::LoadError;

/// Bounds on what a file may claim, far above any published model: a hostile number must not size an allocation.
pub(super) const MAX_LAYERS: usize = 512;
pub(super) const MAX_WIDTH: usize = 1 << 20;
const MAX_VOCAB: usize = 1 << 24;
pub(super) const MAX_CONTEXT: usize = 1 << 24;

impl Architecture {
    /// Whether files of this `general.architecture` can be run.
    pub fn knows(family: &str) -> bool {
        FAMILIES.iter().any(|known| known.name == family)
    }

    /// Reads the numbers of `file`. `context_len` lowers the file's own context length (and with it
    /// chooses between long and short RoPE factors).
    pub fn read(file: &Gguf, context_len: Option<usize>) -> Result<Architecture, LoadError> {
        let name = file.metadata().str("general.architecture")?;
        let family = FAMILIES.iter().find(|f| f.name == name).ok_or_else(|| LoadError::Family {
            found: name.escape_debug().take(64).collect(),
            missing: missing_part(name),
            known: FAMILIES.iter().map(|f| f.name).collect::<Vec<_>>().join(", "),
        })?;
        let mut keys =
            Keys { metadata: file.metadata(), family: family.name, n_layers: 0, n_draft_layers: 0 };
        if keys.metadata.opt_bool(&keys.key("attention.causal"))? == Some(false) {
            const EXPECTED: &str = "true: a model whose attention is not causal is an encoder (for embeddings, say) and \
                                    cannot generate text";
            return Err(keys.unfit_text("attention.causal", EXPECTED));
        }
        refuse_unserved(&keys)?;
        let n_blocks = keys.count("block_count", MAX_LAYERS)?;
        // Multi-token prediction: the last blocks draft, and have no part in the model's own output.
        keys.n_draft_layers = keys.opt_u32("nextn_predict_layers")?.unwrap_or(0) as usize;
        if keys.n_draft_layers >= n_blocks {
            return Err(keys.unfit("nextn_predict_layers", keys.n_draft_layers, "less than `block_count`"));
        }
        keys.n_layers = n_blocks - keys.n_draft_layers;
        let dim = keys.count("embedding_length", MAX_WIDTH)?;

        let trained_context = keys.count("context_length", MAX_CONTEXT)?;
        if let Some(asked) = context_len.filter(|n| !(1..=trained_context).contains(n)) {
            return Err(LoadError::Context { asked, most: trained_context });
        }
        let context_len = context_len.unwrap_or(trained_context);

        let mixers = Mixers::read(file, &keys, family, dim, [trained_context, context_len])?;
        let ffns = ffns(file, &keys, family, dim)?;
        let layers = mixers.shapes.into_iter().zip(ffns).map(|(mixer, ffn)| LayerShape { mixer, ffn });
        let [norm_eps, other_eps] = ["attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"]
            .map(|key| keys.f32(key, |x| (0.0..1.0).contains(&x)));
        // Nemotron-H's files name it as those of LayerNorm do.
        let norm_eps = norm_eps?.or(other_eps?);
        let embedding_scale = if family.scaled_embedding { (dim as f32).sqrt() } else { 1.0 };
        let logit_scale = keys.positive("logit_scale")?;

        Ok(Architecture {
            family: family.name,
            dim,
            vocab_size: vocab_size(file, &keys)?,
            context_len,
            norm_eps: norm_eps.ok_or_else(|| keys.missing("attention.layer_norm_rms_epsilon", "a number"))?,
            norms: family.norms,
            output_norm: match file.tensor("output_norm.weight") {
                Some(_) => "output_norm.weight",
                None => family.output_norm,
            },
            embedding_scale: keys.positive("embedding_scale")?.unwrap_or(embedding_scale),
            residual_scale: keys.positive("residual_scale")?,
            logit_scale: logit_scale.map(|scale| if family.divides_logits { 1.0 / scale } else { scale }),
            per_layer: per_layer(&keys, family)?,
            final_softcap: keys.softcap("final_logit_softcapping", family.softcaps.1)?,
            layers: layers.collect(),
            ropes: mixers.ropes,
            cache_groups: mixers.cache_groups,
            n_draft_layers: keys.n_draft_layers,
            draft_block: None,
            required: family.required,
        })
    }
}

pub(super) fn vocab_size(file: &Gguf, keys: &Keys<'_>) -> Result<usize, LoadError> {
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
