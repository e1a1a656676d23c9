//! Delta-nets of one file, and which layers are recurrent.

use inferno_format::Array;

use super::DeltaNetShape;
use super::families::DeltaNetFamily;
use super::keys::Keys;
use super::read::{MAX_LAYERS, MAX_WIDTH};
use crate::backend::{DeltaHeads, MOST_HEAD_WIDTH, MOST_TAPS};
use crate::error::LoadError;

/// The key of the list of recurrent layers.
pub(super) const LIST: &str = "attention.recurrent_layers";

/// Every layer: is it recurrent? A list in the file, or all but every n-th.
pub(super) fn recurrent_layers(keys: &Keys<'_>) -> Result<Vec<bool>, LoadError> {
    const INTERVAL: &str = "full_attention_interval";
    let is_recurrent = |array: &Array, i: usize| match array {
        Array::Bool(bools) => bools.get(i).copied(),
        _ => array.integer(i).map(|n| n != 0),
    };
    if let Some(entries) = keys.entries(LIST, is_recurrent)? {
        return Ok(entries);
    }
    if keys.metadata.get(&keys.key(LIST)).is_some() {
        return Err(keys.unfit_text(LIST, "an array with one entry per layer (`block_count`)"));
    }
    let interval = keys.opt_count(INTERVAL, MAX_LAYERS)?.unwrap_or(FULL_EVERY);
    Ok((1..=keys.n_layers).map(|i| !i.is_multiple_of(interval)).collect())
}

/// Above any published model: a hostile number must not size an allocation.
pub(super) const MAX_HEADS: usize = 4096;

/// Every n-th layer attends when the file is silent.
const FULL_EVERY: usize = 4;

/// The delta-net of all recurrent layers but its cache group.
pub(super) fn delta_net(keys: &Keys<'_>, family: &DeltaNetFamily) -> Result<DeltaNetShape, LoadError> {
    const KEY_HEADS: &str = "ssm.group_count";
    const VALUE_HEADS: &str = "ssm.time_step_rank";
    const INNER: &str = "ssm.inner_size";
    let heads = DeltaHeads {
        n_key_heads: keys.count(KEY_HEADS, MAX_HEADS)?,
        n_value_heads: keys.count(VALUE_HEADS, MAX_HEADS)?,
        width: keys.count("ssm.state_size", MOST_HEAD_WIDTH)?,
        order: family.order,
    };
    if !heads.n_value_heads.is_multiple_of(heads.n_key_heads) {
        return Err(keys.unfit(VALUE_HEADS, heads.n_value_heads, "a multiple of `ssm.group_count`"));
    }
    if heads.value_dim() > MAX_WIDTH {
        return Err(keys.unfit(VALUE_HEADS, heads.n_value_heads, "at most 2^20 numbers over all heads"));
    }
    match keys.opt_count(INNER, MAX_WIDTH)? {
        Some(inner) if inner != heads.value_dim() => {
            const EXPECTED: &str = "`ssm.time_step_rank` heads of `ssm.state_size`";
            return Err(keys.unfit(INNER, inner, EXPECTED));
        }
        _ => {}
    }
    let kernel = keys.count("ssm.conv_kernel", MOST_TAPS)?;
    Ok(DeltaNetShape { heads, kernel, fuses_strengths: family.fuses_strengths, group: 0 })
}
