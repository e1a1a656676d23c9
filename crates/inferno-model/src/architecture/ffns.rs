//! The feed-forward networks of one file.

use inferno_format::Gguf;

use super::activations::xielu;
use super::families::Family;
use super::keys::Keys;
use super::read::{MAX_WIDTH, vocab_size};
use super::{BothShape, DenseShape, ExpertsShape, FfnShape, Gating, Groups, PerLayerShape, Routing};
use crate::error::LoadError;
use crate::routing::MOST_GROUPS;

/// Above any published model: a hostile number must not size an allocation.
const MAX_EXPERTS: usize = 4096;

/// The gating function that is a softmax over the selected experts: a softmax over all of them, renormalized.
const SOFTMAX_OF_SELECTED: u32 = 3;

/// The feed-forward network of every layer.
pub(super) fn ffns(
    file: &Gguf,
    keys: &Keys<'_>,
    family: &Family,
    dim: usize,
) -> Result<Vec<Option<FfnShape>>, LoadError> {
    if family.recurrent.is_some() && keys.is_zero("feed_forward_length")? {
        return Ok(vec![None; keys.n_layers]);
    }
    let has_gate = family.has_ffn_gate;
    let activations = match family.has_xielu {
        true => xielu(keys)?,
        false => vec![family.activation; keys.n_layers],
    };
    let dense = |(ffn_dim, activation)| DenseShape { ffn_dim, activation, has_gate };
    let n_experts = keys.opt_u32("expert_count")?.unwrap_or(0);
    if n_experts == 0 {
        let layers = keys.each("feed_forward_length", MAX_WIDTH)?.into_iter().zip(activations);
        return Ok(layers.map(|layer| (layer.0 > 0).then(|| FfnShape::Dense(dense(layer)))).collect());
    }
    let n_experts = keys.count("expert_count", MAX_EXPERTS)?;
    let is_mixture = mixtures(file, keys, family)?;
    let expert_widths = keys.opt_each("expert_feed_forward_length", MAX_WIDTH)?;
    // Where all layers are mixtures that have a width of their own, nothing is dense.
    let dense_widths = match &expert_widths {
        Some(_)
            if is_mixture.iter().all(|&is| is)
                && !family.experts_beside_dense
                && !family.has_halves_apart =>
        {
            None
        }
        _ => Some(keys.each("feed_forward_length", MAX_WIDTH)?),
    };
    let routing = routing(file, keys, family, n_experts)?;
    let (shared_width, latent_dim) = (shared_width(file, keys)?, latent_width(keys)?);
    let layer = |i: usize| {
        let activation = activations[i];
        let width = |widths: &Option<Vec<usize>>| widths.as_ref().map(|widths| widths[i]);
        let dense = |ffn_dim| dense((ffn_dim, activation));
        let dense_width = width(&dense_widths).filter(|&n| n > 0);
        if !is_mixture[i] {
            return dense_width.map(|ffn_dim| FfnShape::Dense(dense(ffn_dim)));
        }
        if family.has_halves_apart && dense_width.is_none() {
            return None;
        }
        let ffn_dim = width(&expert_widths).or(width(&dense_widths)).filter(|&n| n > 0)?;
        let shared = shared_width.of(ffn_dim).map(dense);
        let experts = ExpertsShape { n_experts, ffn_dim, activation, has_gate, latent_dim, routing, shared };
        Some(match dense_width.filter(|_| family.experts_beside_dense) {
            Some(ffn_dim) => FfnShape::Both(BothShape { dim, dense: dense(ffn_dim), experts }),
            None => FfnShape::Experts(experts),
        })
    };
    Ok((0..keys.n_layers).map(layer).collect())
}

/// Whether each layer is a mixture of experts: all but leading ones, or every n-th of those. Where a file names no leading ones,
/// layers with a dense network and without a router are none.
fn mixtures(file: &Gguf, keys: &Keys<'_>, family: &Family) -> Result<Vec<bool>, LoadError> {
    let n_leading = keys.opt_u32("leading_dense_block_count")?.unwrap_or(0) as usize;
    let is_silent = n_leading == 0 && !family.experts_beside_dense;
    let has = |i: usize, name: &str| file.tensor(&format!("blk.{i}.{name}.weight")).is_some();
    let is_dense = |i: usize| is_silent && has(i, "ffn_up") && !has(i, "ffn_gate_inp");
    if n_leading > keys.n_layers {
        return Err(keys.unfit("leading_dense_block_count", n_leading, "at most the number of layers"));
    }
    let step = keys.opt_count("interleave_moe_layer_step", keys.n_layers)?.unwrap_or(1);
    let is_mixture = |i: usize| i >= n_leading && (i + 1).is_multiple_of(step) && !is_dense(i);
    Ok((0..keys.n_layers).map(is_mixture).collect())
}

/// Routing in all mixtures.
fn routing(file: &Gguf, keys: &Keys<'_>, family: &Family, n_experts: usize) -> Result<Routing, LoadError> {
    let is_sigmoid = !family.sigmoid_at.is_empty()
        && family.sigmoid_at.contains(&(keys.n_layers, vocab_size(file, keys)?));
    let function = keys.opt_u32("expert_gating_func")?;
    let gating = match function {
        None | Some(0) if is_sigmoid => Gating::Sigmoid,
        None | Some(0) => family.gating,
        Some(1 | SOFTMAX_OF_SELECTED) => Gating::Softmax,
        Some(2) => Gating::Sigmoid,
        Some(4) => Gating::SqrtSoftplus,
        Some(other) => {
            const EXPECTED: &str =
                "1 (softmax), 2 (sigmoid), 3 (softmax of the selected) or 4 (square root of softplus)";
            return Err(keys.unfit("expert_gating_func", other as usize, EXPECTED));
        }
    };
    let renormalize = keys.metadata.opt_bool(&keys.key("expert_weights_norm"))?;
    let renormalize = renormalize.or(family.renormalizes_experts).ok_or_else(|| {
        keys.missing("expert_weights_norm", "a bool, as this family has no experts in other files")
    })?;
    let n_used = keys.count("expert_used_count", n_experts)?;
    Ok(Routing {
        n_used,
        gating,
        groups: groups(keys, gating, n_experts, n_used)?,
        renormalize: renormalize || function == Some(SOFTMAX_OF_SELECTED),
        scale: keys.positive("expert_weights_scale")?.unwrap_or(1.0),
    })
}

/// The groups of experts that rows are limited to; `None` where all may be used.
fn groups(
    keys: &Keys<'_>,
    gating: Gating,
    n_experts: usize,
    n_used_experts: usize,
) -> Result<Option<Groups>, LoadError> {
    const USED: &str = "expert_group_used_count";
    let Some(n) = keys.opt_count("expert_group_count", MOST_GROUPS)? else { return Ok(None) };
    if !n_experts.is_multiple_of(n) {
        return Err(keys.unfit("expert_group_count", n, "a divisor of `expert_count`"));
    }
    let n_used = keys.opt_count(USED, n)?.unwrap_or(n);
    if n_used * (n_experts / n) < n_used_experts {
        return Err(keys.unfit(
            USED,
            n_used,
            "groups that have at least `expert_used_count` experts together",
        ));
    }
    // DeepSeek-V2 ranks groups by their best expert, V3 and all after it by the sum of their two best.
    let n_best = if gating == Gating::Softmax { 1 } else { 2 };
    Ok((n_used < n).then_some(Groups { n, n_used, n_best }))
}

/// Width of the shared expert.
enum SharedWidth {
    None,
    /// In all layers.
    Fixed(usize),
    /// The width of an expert, times this number of shared experts.
    Experts(usize),
}

impl SharedWidth {
    fn of(&self, expert_dim: usize) -> Option<usize> {
        match *self {
            SharedWidth::None => None,
            SharedWidth::Fixed(ffn_dim) => Some(ffn_dim),
            SharedWidth::Experts(n) => Some(n * expert_dim),
        }
    }
}

/// From the file's keys; from the tensors of a file that has none.
fn shared_width(file: &Gguf, keys: &Keys<'_>) -> Result<SharedWidth, LoadError> {
    if let Some(ffn_dim) = keys.opt_u32("expert_shared_feed_forward_length")?.filter(|&n| n > 0) {
        return Ok(match ffn_dim as usize {
            ffn_dim if ffn_dim <= MAX_WIDTH => SharedWidth::Fixed(ffn_dim),
            found => {
                let key = keys.key("expert_shared_feed_forward_length");
                return Err(LoadError::Range { key, found, least: 0, most: MAX_WIDTH });
            }
        });
    }
    let n = keys.opt_u32("expert_shared_count")?.unwrap_or(0) as usize;
    if n > MAX_EXPERTS {
        let key = keys.key("expert_shared_count");
        return Err(LoadError::Range { key, found: n, least: 0, most: MAX_EXPERTS });
    }
    if n > 0 {
        return Ok(SharedWidth::Experts(n));
    }
    let mut up = (0..keys.n_layers).filter_map(|i| file.tensor(&format!("blk.{i}.ffn_up_shexp.weight")));
    Ok(up.next().map_or(SharedWidth::None, |tensor| SharedWidth::Fixed(tensor.n_rows())))
}

/// The width that experts read and write, where that is another than the residual stream's.
fn latent_width(keys: &Keys<'_>) -> Result<Option<usize>, LoadError> {
    const WIDTH: &str = "moe_latent_size";
    match keys.opt_u32(WIDTH)?.map_or(0, |width| width as usize) {
        0 => Ok(None),
        width if width <= MAX_WIDTH => Ok(Some(width)),
        found => Err(LoadError::Range { key: keys.key(WIDTH), found, least: 0, most: MAX_WIDTH }),
    }
}

/// The embeddings that each layer has of its own.
pub(super) fn per_layer(keys: &Keys<'_>, family: &Family) -> Result<Option<PerLayerShape>, LoadError> {
    const WIDTH: &str = "embedding_length_per_layer_input";
    // Zero in files of models without them.
    let width = keys.opt_u32(WIDTH)?.filter(|&width| width > 0);
    match width.map(|width| width as usize) {
        Some(width) if width > MAX_WIDTH / keys.n_layers => {
            Err(keys.unfit(WIDTH, width, "at most 2^20 over all layers"))
        }
        width => Ok(width.map(|width| PerLayerShape { width, activation: family.activation })),
    }
}
