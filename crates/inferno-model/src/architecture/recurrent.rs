//! Layers without attention: Mamba-2 and short convolutions of one file.

use super::keys::Keys;
use super::mixers::group;
use super::read::MAX_WIDTH;
use super::{CacheGroup, CacheKind, Mamba2Shape, MixerShape, ShortConvShape};
use crate::backend::{MOST_TAPS, SsmShape};
use crate::error::LoadError;

/// Most numbers of a B or a C: above any published model, and what a GPU's thread keeps a quarter of.
const MAX_STATE: usize = 1024;

/// Most numbers of one layer's state: a hostile file must not size an allocation.
const MAX_STATE_WIDTH: usize = 1 << 26;

/// The mixers that a family's layers have in place of attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recurrent {
    Mamba2,
    ShortConv,
}

/// Widths of one, without its cache group.
#[derive(Clone, Copy)]
pub(super) enum Recurrence {
    Mamba2(Mamba2Shape),
    ShortConv(ShortConvShape),
}

impl Recurrence {
    /// With a residual stream of width `dim`.
    pub(super) fn read(keys: &Keys<'_>, kind: Recurrent, dim: usize) -> Result<Recurrence, LoadError> {
        match kind {
            Recurrent::Mamba2 => mamba2(keys).map(Recurrence::Mamba2),
            Recurrent::ShortConv => {
                let kernel = keys.count("shortconv.l_cache", MOST_TAPS)?;
                Ok(Recurrence::ShortConv(ShortConvShape { channels: dim, kernel, group: 0 }))
            }
        }
    }

    /// The mixer of layer `i`.
    pub(super) fn layer(self, cache_groups: &mut Vec<CacheGroup>, i: usize) -> MixerShape {
        match self {
            Recurrence::Mamba2(shape) => MixerShape::Mamba2(with_group(shape, cache_groups, i)),
            Recurrence::ShortConv(shape) => {
                let kind = CacheKind::State { width: shape.state_width() };
                MixerShape::ShortConv(ShortConvShape { group: group(cache_groups, i, kind), ..shape })
            }
        }
    }
}

/// Layer `i` of that shape.
pub(super) fn with_group(shape: Mamba2Shape, cache_groups: &mut Vec<CacheGroup>, i: usize) -> Mamba2Shape {
    let kind = CacheKind::State { width: shape.state_width() };
    Mamba2Shape { group: group(cache_groups, i, kind), ..shape }
}

fn mamba2(keys: &Keys<'_>) -> Result<Mamba2Shape, LoadError> {
    const INNER: &str = "ssm.inner_size";
    const HEADS: &str = "ssm.time_step_rank";
    const GROUPS: &str = "ssm.group_count";
    const STATE: &str = "ssm.state_size";
    let inner = keys.count(INNER, MAX_WIDTH)?;
    let n_heads = keys.count(HEADS, inner)?;
    let n_groups = keys.count(GROUPS, n_heads)?;
    let state_size = keys.count(STATE, MAX_STATE)?;
    if !inner.is_multiple_of(n_heads) {
        return Err(keys.unfit(HEADS, n_heads, "a divisor of `ssm.inner_size`"));
    }
    if !n_heads.is_multiple_of(n_groups) {
        return Err(keys.unfit(GROUPS, n_groups, "a divisor of `ssm.time_step_rank`"));
    }
    let ssm = SsmShape { n_heads, head_width: inner / n_heads, n_groups, state_size };
    let shape = Mamba2Shape { ssm, kernel: keys.count("ssm.conv_kernel", MOST_TAPS)?, group: 0 };
    if shape.state_width() > MAX_STATE_WIDTH {
        return Err(keys.unfit(STATE, state_size, "at most 2^26 numbers of a layer's state"));
    }
    Ok(shape)
}
