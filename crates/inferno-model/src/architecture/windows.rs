//! Windows of the attention layers of one file.

use inferno_format::Array;

use super::families::Family;
use super::keys::Keys;
use crate::error::LoadError;

/// Keys that a row sees in every layer.
pub(super) fn windows(keys: &Keys<'_>, family: &Family) -> Result<Vec<Option<usize>>, LoadError> {
    const PATTERN: &str = "attention.sliding_window_pattern";
    let window = keys.opt_u32("attention.sliding_window")?.or(family.window).filter(|&w| w > 0);
    let is_windowed = |array: &Array, i: usize| match array {
        Array::Bool(bools) => bools.get(i).copied(),
        _ => array.integer(i).map(|n| n != 0),
    };
    let is_windowed = match keys.entries(PATTERN, is_windowed)? {
        Some(entries) => entries,
        None => {
            let full_every = keys.opt_u32(PATTERN)?.or(family.full_every).filter(|&n| n > 0);
            (1..=keys.n_layers as u32).map(|i| full_every.is_none_or(|n| !i.is_multiple_of(n))).collect()
        }
    };
    Ok(is_windowed.into_iter().map(|is| window.filter(|_| is).map(|w| w as usize)).collect())
}
