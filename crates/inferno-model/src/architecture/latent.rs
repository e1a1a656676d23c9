//! Latent attention of one file, and the Kimi delta attention of its recurrent layers.

use inferno_format::Gguf;

use super::delta_net::{self, MAX_HEADS};
use super::families::Family;
use super::keys::Keys;
use super::mixers::{Mixers, group};
use super::read::MAX_WIDTH;
use super::rotations::{RopeShape, ropes};
use super::{CacheKind, KdaShape, LatentShape, MixerShape};
use crate::backend::{DeltaHeads, HeadOrder, MOST_HEAD_WIDTH, MOST_TAPS};
use crate::error::LoadError;

const KEY_WIDTH: &str = "attention.key_length_mla";
const VALUE_WIDTH: &str = "attention.value_length_mla";
const ROPE_WIDTH: &str = "rope.dimension_count";

/// The mixers of a file, which are latent attention or Kimi delta attention, with contexts as trained and as used.
pub(super) fn mixers(
    file: &Gguf,
    keys: &Keys<'_>,
    family: &Family,
    [trained_context, context_len]: [usize; 2],
) -> Result<Mixers, LoadError> {
    let n_heads = keys.each("attention.head_count", MAX_WIDTH)?;
    let most = n_heads.iter().copied().max().unwrap_or(0);
    if most == 0 {
        return Err(keys.unfit_text("attention.head_count", "more than zero in some layer"));
    }
    let shape = shape(keys, family, most)?;
    let LatentShape { rank, rope_width, .. } = shape;
    let key_widths = [rope_width; 2];
    let ropes = ropes(
        file,
        keys,
        family,
        RopeShape { key_widths, has_windows: false, trained_context, context_len },
    )?;
    let is_recurrent = if family.has_kda { recurrent_layers(keys)? } else { vec![false; keys.n_layers] };
    let kda = match is_recurrent.contains(&true) {
        true => Some(kda(keys, most)?),
        false => None,
    };
    let mut cache_groups = Vec::new();
    let layer = |(i, n_heads)| {
        if let Some(shape) = kda.filter(|_| is_recurrent[i]) {
            let group = group(&mut cache_groups, i, CacheKind::State { width: shape.state_width() });
            return Some(MixerShape::Kda(KdaShape { group, ..shape }));
        }
        let shape = |group| MixerShape::Latent(LatentShape { n_heads, group, ..shape });
        (n_heads > 0).then(|| shape(group(&mut cache_groups, i, CacheKind::Latent { rank, rope_width })))
    };
    let shapes = n_heads.into_iter().enumerate().map(layer).collect();
    Ok(Mixers { shapes, ropes, cache_groups })
}

/// Every layer: is it recurrent? A list in the file, or those without KV heads.
fn recurrent_layers(keys: &Keys<'_>) -> Result<Vec<bool>, LoadError> {
    if keys.metadata.get(&keys.key(delta_net::LIST)).is_some() {
        return delta_net::recurrent_layers(keys);
    }
    let n_kv_heads = keys.each("attention.head_count_kv", MAX_WIDTH)?;
    Ok(n_kv_heads.into_iter().map(|n| n == 0).collect())
}

/// The Kimi delta attention of all recurrent layers but its cache group.
fn kda(keys: &Keys<'_>, n_heads: usize) -> Result<KdaShape, LoadError> {
    const WIDTH: &str = "kda.head_dim";
    let width = keys.count(WIDTH, MOST_HEAD_WIDTH)?;
    if n_heads > MAX_HEADS || n_heads * width > MAX_WIDTH {
        return Err(keys.unfit(WIDTH, width, "at most 4096 heads of at most 2^20 numbers together"));
    }
    let heads = DeltaHeads { n_key_heads: n_heads, n_value_heads: n_heads, width, order: HeadOrder::Grouped };
    Ok(KdaShape { heads, kernel: keys.count("ssm.conv_kernel", MOST_TAPS)?, group: 0 })
}

/// The numbers of all layers but their heads, of which there are `most` at most.
fn shape(keys: &Keys<'_>, family: &Family, most: usize) -> Result<LatentShape, LoadError> {
    let rank = keys.count("attention.kv_lora_rank", MAX_WIDTH)?;
    let query_rank = keys.opt_count("attention.q_lora_rank", MAX_WIDTH)?;
    let rope_width = keys.count(ROPE_WIDTH, MAX_WIDTH)?;
    // Files from before the absorbed form have the widths of its heads where later ones have those of the cache.
    let [head_width, value_width] = match keys.opt_count(KEY_WIDTH, MAX_WIDTH)? {
        Some(head_width) => {
            for (key, expected) in
                [("attention.key_length", rank + rope_width), ("attention.value_length", rank)]
            {
                if let Some(found) = keys.opt_count(key, MAX_WIDTH)?.filter(|&found| found != expected) {
                    const EXPECTED: &str = "the width of the cache: `attention.kv_lora_rank`, and for keys \
                                                `rope.dimension_count` more";
                    return Err(keys.unfit(key, found, EXPECTED));
                }
            }
            [head_width, keys.count(VALUE_WIDTH, MAX_WIDTH)?]
        }
        None => ["attention.key_length", "attention.value_length"]
            .map(|key| keys.count(key, MAX_WIDTH))
            .into_iter()
            .collect::<Result<Vec<_>, _>>()
            .map(|widths| [widths[0], widths[1]])?,
    };
    if rope_width >= head_width {
        return Err(keys.unfit(ROPE_WIDTH, rope_width, "less than the width of a query head"));
    }
    for (key, width) in
        [("attention.kv_lora_rank", rank + rope_width), (KEY_WIDTH, head_width), (VALUE_WIDTH, value_width)]
    {
        if most * width > MAX_WIDTH {
            return Err(keys.unfit(key, width, "at most 2^20 over all heads"));
        }
    }
    Ok(LatentShape {
        n_heads: 0,
        query_rank,
        rank,
        nope_width: head_width - rope_width,
        rope_width,
        value_width,
        rope_idx: (!family.latent_unrotated).then_some(0),
        scale: scale(keys, head_width)?,
        group: 0,
    })
}

/// `1/√(head width)`, and where YaRN stretches the context the square of its magnitude, which cosine and sine do not have here
/// (`yarn_get_mscale` of DeepSeek's own code; the file has a tenth of `mscale_all_dim`).
fn scale(keys: &Keys<'_>, head_width: usize) -> Result<f32, LoadError> {
    if let Some(scale) = keys.positive("attention.scale")? {
        return Ok(scale);
    }
    let multiplier = keys.positive("rope.scaling.yarn_log_multiplier")?.map_or(0.0, f64::from);
    let factor = match keys.opt_str("rope.scaling.type")? {
        Some("yarn") => keys.positive("rope.scaling.factor")?.map_or(1.0, f64::from),
        _ => 1.0,
    };
    let magnitude = 1.0 + multiplier * libm::log(factor.max(1.0));
    Ok((magnitude * magnitude / (head_width as f64).sqrt()) as f32)
}
