//! The mixers of one file, their rotations and their caches.

use inferno_format::Gguf;

use super::families::Family;
use super::heads::{Heads, Widths};
use super::keys::Keys;
use super::rotations::{RopeShape, ropes};
use super::windows::windows;
use super::{AttentionShape, CacheGroup, CacheKind, MAX_CACHE_GROUPS, MixerShape};
use crate::error::LoadError;
use crate::rope::Rope;

/// A file's mixers, with the rotations and caches that they index.
pub(super) struct Mixers {
    /// One per layer.
    pub(super) shapes: Vec<Option<MixerShape>>,
    pub(super) ropes: Vec<Rope>,
    pub(super) cache_groups: Vec<CacheGroup>,
}

impl Mixers {
    /// With a residual stream of width `dim`, and contexts as trained and as used.
    pub(super) fn read(
        file: &Gguf,
        keys: &Keys<'_>,
        family: &Family,
        dim: usize,
        [trained_context, context_len]: [usize; 2],
    ) -> Result<Mixers, LoadError> {
        let heads = Heads::read(keys, dim)?;
        let windows = windows(keys, family)?;
        let has_windows = windows.iter().any(Option::is_some);
        let key_widths = [false, true].map(|is_windowed| heads.widths(is_windowed).key);
        let shape = RopeShape { key_widths, has_windows, trained_context, context_len };
        let ropes = ropes(file, keys, family, shape)?;
        let scale = keys.positive("attention.scale")?.or(family.scale);
        let softcap = keys.softcap("attn_logit_softcapping", family.softcaps.0)?;
        let rotates = Rotates::read(keys, family, has_windows)?;

        let mut cache_groups = Vec::new();
        let mut shapes = Vec::new();
        for (i, &window) in windows.iter().enumerate() {
            let (n_heads, n_kv_heads) = (heads.n_heads[i], heads.n_kv_heads[i]);
            if n_heads == 0 || n_kv_heads == 0 {
                shapes.push(None);
                continue;
            }
            let Widths { key: key_width, value: value_width } = heads.widths(window.is_some());
            let has = |name: &str| file.tensor(&format!("blk.{i}.{name}.weight")).is_some();
            let values_are_keys = family.keys_as_values && !has("attn_v") && !has("attn_qkv");
            if values_are_keys && key_width != value_width {
                let what = "`attention.key_length`, as layers without `attn_v` have keys for values";
                return Err(keys.unfit("attention.value_length", value_width, what));
            }
            let width = if family.wide_scale_at == Some(keys.n_layers) { dim / n_heads } else { key_width };
            let kind = CacheKind::Pages { n_kv_heads, key_width, value_width, window };
            shapes.push(Some(MixerShape::Attention(AttentionShape {
                n_heads,
                n_kv_heads,
                key_width,
                value_width,
                rope_idx: rotates.layer(i, window.is_some()).then(|| match window {
                    Some(_) => ropes.len() - 1,
                    None => 0,
                }),
                window,
                softcap,
                scale: scale.unwrap_or(1.0 / (width as f32).sqrt()),
                qk_norm: family.qk_norm,
                norms_values: family.norms_values,
                values_are_keys,
                group: group(&mut cache_groups, i, kind),
            })));
        }
        if cache_groups.len() > MAX_CACHE_GROUPS {
            return Err(keys
                .unfit_text("attention.head_count_kv", "at most 8 different numbers of heads and windows"));
        }
        Ok(Mixers { shapes, ropes, cache_groups })
    }
}

/// The layers that rotate queries and keys.
struct Rotates {
    any: bool,
    full: bool,
    /// Every n-th layer does not.
    unless_every: Option<usize>,
}

impl Rotates {
    fn read(keys: &Keys<'_>, family: &Family, has_windows: bool) -> Result<Rotates, LoadError> {
        let finetuned = keys.metadata.opt_bool(&keys.key("rope.scaling.finetuned"))?;
        Ok(Rotates {
            any: !(family.may_not_rotate && finetuned == Some(false)),
            full: !(family.full_unrotated && has_windows),
            unless_every: family.unrotated_every,
        })
    }

    fn layer(&self, i: usize, is_windowed: bool) -> bool {
        let is_left_out = self.unless_every.is_some_and(|n| (i + 1).is_multiple_of(n));
        self.any && (self.full || is_windowed) && !is_left_out
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
