//! When sequences will start and have their first token: the queue played forward on what steps took so far.
//!
//! Three things are learned from every step: how long steps with `n` decoding sequences take, what a row of a prompt adds
//! ([`Speed`]), and where completions end ([`Lengths`]). A forecast admits the sequences that wait one after the other, each
//! when there is a place and pages for it, and lets those that run end one after the other.

mod lengths;
mod places;
mod speed;

#[cfg(test)]
#[cfg(not(loom))]
mod tests;

pub(crate) use lengths::{Ending, Lengths};
pub(crate) use places::{Job, Places, Pool, Turn};
pub(crate) use speed::Speed;

use crate::request::Micros;

/// No estimate is longer: ten minutes.
pub(crate) const MAX_ESTIMATE: Micros = 600_000_000;

/// Statistics learned from a model, a machine and the requests they get.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Experience {
    pub(crate) speed: Speed,
    pub(crate) lengths: Lengths,
    /// Tokens of prompts lately, and those of them that were cached.
    prompts: (f64, f64),
}

/// Tokens of prompts after which half of what was cached is forgotten.
const PROMPT_MEMORY: f64 = 65_536.0;

impl Experience {
    /// A prompt of `n_prompt` tokens had `n_cached` of them in the cache.
    pub(crate) fn found(&mut self, n_prompt: usize, n_cached: usize) {
        let (tokens, cached) = &mut self.prompts;
        *tokens += n_prompt as f64;
        *cached += n_cached as f64;
        if *tokens > PROMPT_MEMORY {
            (*tokens, *cached) = (*tokens / 2.0, *cached / 2.0);
        }
    }

    /// Share of a prompt's tokens that is not in the cache, about.
    pub(crate) fn share_to_compute(&self) -> f64 {
        let (tokens, cached) = self.prompts;
        // Nothing is cached before anything is known.
        1.0 - cached / (tokens + 1024.0)
    }
}
