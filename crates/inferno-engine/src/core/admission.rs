//! Which requests make sense on a model.

use crate::request::{Refusal, Request};

/// What of the model limits requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Tokens there are.
    pub vocab_size: usize,
    /// Positions of a sequence.
    pub context_len: usize,
    /// Positions of the KV pool.
    pub pool_len: usize,
}

/// Can the model take it at all?
pub(crate) fn check(request: &Request, model: &Shape) -> Result<(), Refusal> {
    let Request { prompt, max_tokens, n, sampling, stop_conditions, grammars, .. } = request;
    let Shape { vocab_size, context_len, pool_len } = *model;
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
    if *max_tokens == 0 && request.prompt_logprobs.is_none() {
        return Err(Refusal::NothingWanted);
    }
    sampling.validate(vocab_size)?;
    let needed = prompt.len().saturating_add(*max_tokens);
    if needed > context_len {
        return Err(Refusal::Context { n_prompt: prompt.len(), max_tokens: *max_tokens, context_len });
    }
    if needed > pool_len {
        return Err(Refusal::NeverFits { needed, most: pool_len });
    }
    Ok(())
}
