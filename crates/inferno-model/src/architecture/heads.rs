//! Heads of the attention layers of one file.

use super::keys::Keys;
use super::read::MAX_WIDTH;
use crate::error::LoadError;

/// Heads of every layer, and their widths.
pub(super) struct Heads {
    /// Per layer; a layer with zero has no attention.
    pub(super) n_heads: Vec<usize>,
    pub(super) n_kv_heads: Vec<usize>,
    pub(super) key_width: usize,
    pub(super) value_width: usize,
}

impl Heads {
    pub(super) fn read(keys: &Keys<'_>, dim: usize) -> Result<Heads, LoadError> {
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
