//! Which requests make sense on a model.

use inferno_model::architecture::Architecture;

use crate::group::{longest_sequence, pool_len};
use crate::request::{Refusal, Request};

/// What of the model limits requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Tokens there are.
    pub vocab_size: usize,
    /// Positions of a sequence.
    pub context_len: usize,
    /// Positions that the KV pool has room for, see [`crate::pool_len`].
    pub pool_len: usize,
    /// Positions of the longest sequence that fits the KV pool; `usize::MAX` if any does.
    pub longest: usize,
}

impl Shape {
    /// The limits of a model whose KV pool has `n_pages` pages in each cache group.
    pub(crate) fn of(arch: &Architecture, n_pages: &[usize]) -> Shape {
        Shape {
            vocab_size: arch.vocab_size,
            context_len: arch.context_len,
            pool_len: pool_len(&arch.cache_groups, n_pages),
            longest: longest_sequence(&arch.cache_groups, n_pages),
        }
    }
}

/// Can the model take it at all?
pub(crate) fn check(request: &Request, model: &Shape) -> Result<(), Refusal> {
    let Request { prompt, max_tokens, n, sampling, stop_conditions, grammars, .. } = request;
    let Shape { vocab_size, context_len, longest, .. } = *model;
    if prompt.is_empty() {
        return Err(Refusal::EmptyPrompt);
    }
    if let Some(&token) = prompt.iter().find(|t| **t as usize >= vocab_size) {
        return Err(Refusal::UnknownToken { token, vocab_size });
    }
    if *n == 0 {
        return Err(Refusal::Choices { n: 0 });
    }
    for (what, n_given) in [("stop conditions", stop_conditions.len()), ("grammars", grammars.len())] {
        if n_given != 0 && n_given != *n as usize {
            return Err(Refusal::PerChoice { n: *n, n_given, what });
        }
    }
    sampling.validate(vocab_size)?;
    let needed = prompt.len().saturating_add(*max_tokens);
    if needed > context_len {
        return Err(Refusal::Context { n_prompt: prompt.len(), max_tokens: *max_tokens, context_len });
    }
    if needed > longest {
        return Err(Refusal::NeverFits { needed, most: longest });
    }
    Ok(())
}
