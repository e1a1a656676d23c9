//! The feed-forward networks of one file.

use super::families::Family;
use super::keys::Keys;
use super::read::MAX_WIDTH;
use super::{DenseShape, ExpertsShape, FfnShape, Routing};
use crate::error::LoadError;

/// Above any published model: a hostile number must not size an allocation.
const MAX_EXPERTS: usize = 4096;

/// The feed-forward network of every layer.
pub(super) fn ffns(keys: &Keys<'_>, family: &Family) -> Result<Vec<Option<FfnShape>>, LoadError> {
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
