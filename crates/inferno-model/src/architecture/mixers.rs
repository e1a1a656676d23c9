//! The mixers of one file, their rotations and their caches.

use inferno_format::Gguf;

use super::delta_net::{delta_net, recurrent_layers};
use super::families::Family;
use super::heads::{Heads, Widths};
use super::keys::Keys;
use super::latent;
use super::read::MAX_WIDTH;
use super::recurrent::{Recurrence, with_group};
use super::rotations::{RopeShape, ropes};
use super::windows::windows;
use super::{
    AttentionShape, CacheGroup, CacheKind, DeltaNetShape, MAX_CACHE_GROUPS, MixerShape, ParallelShape,
    SharedShape,
};
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
        if family.latent {
            return latent::mixers(file, keys, family, [trained_context, context_len]);
        }
        let is_ffn = ffns_apart(keys, family)?;
        if family.recurrent.is_some() && Heads::are_absent(keys)? {
            return Mixers::without_attention(keys, family, dim, &is_ffn);
        }
        let heads = Heads::read(keys, dim)?;
        let has_attention = |i: usize| heads.n_heads[i] > 0 && heads.n_kv_heads[i] > 0;
        if (0..keys.n_layers).any(|i| has_attention(i) && is_ffn[i]) {
            const EXPECTED: &str =
                "zero in every layer with heads: a layer of this family is a mixer or a feed-forward network";
            return Err(keys.unfit_text("feed_forward_length", EXPECTED));
        }
        let is_recurrent = |i: usize| family.is_recurrent_beside_attention || !has_attention(i) && !is_ffn[i];
        let needed = family.recurrent.filter(|_| (0..keys.n_layers).any(is_recurrent));
        let recurrence = needed.map(|kind| Recurrence::read(keys, kind, dim)).transpose()?;
        let windows = windows(keys, family)?;
        let has_windows = windows.iter().any(Option::is_some);
        let key_widths = [false, true].map(|is_windowed| heads.widths(is_windowed).key);
        let shape = RopeShape { key_widths, has_windows, trained_context, context_len };
        let ropes = match family.unrotated_every {
            Some(1) => Vec::new(),
            _ => ropes(file, keys, family, shape)?,
        };
        let scale = keys.positive("attention.scale")?.or(family.scale);
        let softcap = keys.softcap("attn_logit_softcapping", family.softcaps.0)?;
        let rotates = Rotates::read(keys, family, has_windows)?;
        let first_shared = keys.n_layers - shared_layers(keys)?;
        // If one layer without a window has values, all of them must.
        let has_values = |i: usize| {
            let has = |name: &str| file.tensor(&format!("blk.{i}.{name}.weight")).is_some();
            windows[i].is_none() && (has("attn_v") || has("attn_qkv"))
        };
        let keys_as_values = family.keys_as_values && !(0..first_shared).any(has_values);

        let delta_nets = match &family.delta_net {
            Some(delta_net_family) => Some((recurrent_layers(keys)?, delta_net(keys, delta_net_family)?)),
            None => None,
        };

        let mut cache_groups = Vec::new();
        let mut shapes = Vec::new();
        for (i, &window) in windows.iter().enumerate() {
            if let Some((is_recurrent, shape)) = &delta_nets
                && is_recurrent[i]
            {
                let kind = CacheKind::State { width: shape.state_width() };
                let group = group(&mut cache_groups, i, kind);
                shapes.push(Some(MixerShape::DeltaNet(DeltaNetShape { group, ..*shape })));
                continue;
            }
            let (n_heads, n_kv_heads) = (heads.n_heads[i], heads.n_kv_heads[i]);
            if !has_attention(i) {
                let recurrence = recurrence.filter(|_| is_recurrent(i));
                shapes.push(recurrence.map(|recurrence| recurrence.layer(&mut cache_groups, i)));
                continue;
            }
            let Widths { key: key_width, value: value_width } = heads.widths(window.is_some());
            let stores = i < first_shared;
            let values_are_keys = stores && keys_as_values && window.is_none();
            if values_are_keys && key_width != value_width {
                let what = "`attention.key_length`, as layers without `attn_v` have keys for values";
                return Err(keys.unfit("attention.value_length", value_width, what));
            }
            let width = if family.wide_scale_at == Some(keys.n_layers) { dim / n_heads } else { key_width };
            let kind = CacheKind::Pages { n_kv_heads, key_width, value_width, window };
            let shape = |group| AttentionShape {
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
                has_gate: family.has_attention_gate,
                group,
            };
            shapes.push(Some(if stores {
                let attention = shape(group(&mut cache_groups, i, kind));
                match recurrence.filter(|_| family.is_recurrent_beside_attention) {
                    Some(Recurrence::Mamba2(mamba2)) => {
                        let mamba2 = with_group(mamba2, &mut cache_groups, i);
                        MixerShape::Parallel(ParallelShape { attention, mamba2 })
                    }
                    Some(Recurrence::ShortConv(_)) | None => MixerShape::Attention(attention),
                }
            } else {
                let (source, its) = source(keys, &shapes[..first_shared], window.is_some())?;
                if cache_groups[its.group].kind != kind {
                    const EXPECTED: &str = "as many in layers that share keys and values";
                    return Err(keys.unfit("attention.head_count_kv", n_kv_heads, EXPECTED));
                }
                MixerShape::Shared(SharedShape { attention: shape(its.group), source })
            }));
        }
        if cache_groups.len() > MAX_CACHE_GROUPS {
            return Err(keys
                .unfit_text("attention.head_count_kv", "at most 8 different numbers of heads and windows"));
        }
        Ok(Mixers { shapes, ropes, cache_groups })
    }

    /// Of a file whose layers have no attention.
    fn without_attention(
        keys: &Keys<'_>,
        family: &Family,
        dim: usize,
        is_ffn: &[bool],
    ) -> Result<Mixers, LoadError> {
        if family.is_recurrent_beside_attention {
            return Err(keys.unfit_text("attention.head_count", "more than zero"));
        }
        if is_ffn.iter().all(|&is| is) {
            return Err(keys.unfit_text("feed_forward_length", "zero in some layer, which has a mixer"));
        }
        let recurrence = family.recurrent.map(|kind| Recurrence::read(keys, kind, dim)).transpose()?;
        let mut cache_groups = Vec::new();
        let layer = |i: usize| recurrence.filter(|_| !is_ffn[i]).map(|r| r.layer(&mut cache_groups, i));
        let shapes = (0..keys.n_layers).map(layer).collect();
        Ok(Mixers { shapes, ropes: Vec::new(), cache_groups })
    }
}

/// Whether each layer is a feed-forward network alone.
fn ffns_apart(keys: &Keys<'_>, family: &Family) -> Result<Vec<bool>, LoadError> {
    if !family.has_halves_apart || keys.is_zero("feed_forward_length")? {
        return Ok(vec![false; keys.n_layers]);
    }
    Ok(keys.each("feed_forward_length", MAX_WIDTH)?.into_iter().map(|width| width > 0).collect())
}

const SHARED: &str = "attention.shared_kv_layers";

/// Number of layers at the end that share the keys and values of layers before them.
fn shared_layers(keys: &Keys<'_>) -> Result<usize, LoadError> {
    match keys.opt_u32(SHARED)?.unwrap_or(0) as usize {
        n if n < keys.n_layers => Ok(n),
        n => Err(keys.unfit(SHARED, n, "less than the number of layers")),
    }
}

/// The last layer that stores keys and values, of those that are windowed or of those that are not.
fn source<'a>(
    keys: &Keys<'_>,
    storing: &'a [Option<MixerShape>],
    is_windowed: bool,
) -> Result<(usize, &'a AttentionShape), LoadError> {
    let attention = |(i, shape): (usize, &'a Option<MixerShape>)| match shape {
        Some(MixerShape::Attention(shape)) if shape.window.is_some() == is_windowed => Some((i, shape)),
        Some(_) | None => None,
    };
    storing.iter().enumerate().rev().find_map(attention).ok_or_else(|| {
        const EXPECTED: &str =
            "so few that a layer with a window and one without come before them, where they have such";
        keys.unfit_text(SHARED, EXPECTED)
    })
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
pub(super) fn group(groups: &mut Vec<CacheGroup>, i: usize, kind: CacheKind) -> usize {
    let group = groups.iter().position(|g| g.kind == kind).unwrap_or_else(|| {
        groups.push(CacheGroup { layers: Vec::new(), kind });
        groups.len() - 1
    });
    groups[group].layers.push(i);
    group
}
