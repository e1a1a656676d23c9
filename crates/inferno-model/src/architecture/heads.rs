//! Heads of the attention layers of one file.

use super::keys::Keys;
use super::read::MAX_WIDTH;
use crate::error::LoadError;

const HEADS: &str = "attention.head_count";
const KV_HEADS: &str = "attention.head_count_kv";

/// Heads of every layer, and their widths.
pub(super) struct Heads {
    /// Per layer; a layer with zero has no attention.
    pub(super) n_heads: Vec<usize>,
    pub(super) n_kv_heads: Vec<usize>,
    /// Of layers that see everything, and of windowed ones.
    full: Widths,
    windowed: Widths,
}

/// Numbers in one head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Widths {
    /// Of queries and keys.
    pub(super) key: usize,
    pub(super) value: usize,
}

impl Heads {
    /// Whether the file names no heads, or zero of them in every layer.
    pub(super) fn are_absent(keys: &Keys<'_>) -> Result<bool, LoadError> {
        let names_none = |key: &str| keys.metadata.get(&keys.key(key)).is_none();
        Ok(keys.is_zero(HEADS)? || keys.is_zero(KV_HEADS)? || names_none(HEADS) && names_none(KV_HEADS))
    }

    pub(super) fn read(keys: &Keys<'_>, dim: usize) -> Result<Heads, LoadError> {
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
        let width = |key| {
            let width = keys.opt_count(key, MAX_WIDTH)?;
            match width.filter(|width| most * width > MAX_WIDTH) {
                Some(width) => Err(keys.unfit(key, width, "at most 2^20 over all heads")),
                None => Ok(width),
            }
        };
        let key = match width("attention.key_length")? {
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
        let full = Widths { key, value: width("attention.value_length")?.unwrap_or(key) };
        let key = width("attention.key_length_swa")?;
        let value = width("attention.value_length_swa")?.or(key).unwrap_or(full.value);
        Ok(Heads { n_heads, n_kv_heads, full, windowed: Widths { key: key.unwrap_or(full.key), value } })
    }

    /// Of a layer's heads.
    pub(super) fn widths(&self, is_windowed: bool) -> Widths {
        if is_windowed { self.windowed } else { self.full }
    }
}
