//! `truncate_prompt_tokens`: prompts that a request wants cut, as vLLM has it. An answer to a cut prompt says so in `warnings`,
//! and `usage` counts the tokens that are left.
#![deny(clippy::indexing_slicing)]

use crate::error::ApiError;
use crate::fields::Fields;

/// Size and side of a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Truncation {
    /// Tokens at most; `None` is what the context has room for.
    most: Option<usize>,
    side: Side,
}

/// The side at which tokens are cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

const NAME: &str = "truncate_prompt_tokens";
const SIDE: &str = "truncation_side";

impl Truncation {
    /// Reads it; `None` where prompts are left as they are.
    ///
    /// # Errors
    /// 400: a field has a value that is not allowed.
    pub(crate) fn read(fields: &mut Fields) -> Result<Option<Truncation>, ApiError> {
        let side = match fields.string(SIDE, 16)?.as_deref() {
            None | Some("left") => Side::Left,
            Some("right") => Side::Right,
            Some(other) => return Err(fields.expected(SIDE, &other.into(), "\"left\" or \"right\"")),
        };
        let most = match fields.integer(NAME, -1..=i64::from(u32::MAX))? {
            None => return Ok(None),
            Some(0) => {
                let message =
                    format!("`{NAME}` is 0, expected a number of tokens from 1 on, or -1 for what fits");
                return Err(ApiError::invalid(NAME, message));
            }
            Some(n) => usize::try_from(n).ok(),
        };
        Ok(Some(Truncation { most, side }))
    }

    /// Tokens that a prompt may have, of which the context has room for `room`.
    ///
    /// # Errors
    /// 400: more tokens are wanted than there is room for.
    pub(crate) fn most(self, room: usize) -> Result<usize, ApiError> {
        match self.most {
            Some(most) if most > room => {
                let message = format!(
                    "`{NAME}` is {most}, expected at most {room}: the context has no room for more beside the answer"
                );
                Err(ApiError::invalid(NAME, message))
            }
            most => Ok(most.unwrap_or(room)),
        }
    }

    /// Cuts `tokens` to `most`; the number of tokens that were cut off at the start, and what to tell of it. `None` if they were
    /// few enough.
    pub(crate) fn cut(self, tokens: &mut Vec<u32>, most: usize) -> Option<(usize, String)> {
        let n_tokens = tokens.len();
        let n_cut = n_tokens.checked_sub(most).filter(|&n| n > 0)?;
        let (at_start, place) = match self.side {
            Side::Left => {
                tokens.drain(..n_cut);
                (n_cut, "start")
            }
            Side::Right => {
                tokens.truncate(most);
                (0, "end")
            }
        };
        let note = format!("`{NAME}` has cut {n_cut} tokens off the {place} of a prompt of {n_tokens}");
        Some((at_start, note))
    }

    /// Whether the end of a prompt that is cut is gone.
    pub(crate) fn cuts_end(self) -> bool {
        self.side == Side::Right
    }
}
