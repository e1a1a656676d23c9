//! Choosing a sequence's next token: what that takes beyond one row of logits.
//!
//! ```text
//! logits ─▶ bias ─▶ penalties ─▶ [DRY] ─▶ masks ─▶ top-k … temperature ─▶ draw      (the last part: SampleSpec)
//!            └─ Sampling ─┘└─ History          └─ TokenMask, allowed, banned, stop tokens
//! ```
//!
//! A token is a function of (logits, [`Sampling`], [`History`], mask, position): how sequences are batched, preempted or
//! resumed has no part in it.

use inferno_model::sample::{Sampler, argmax, logsumexp, top_k};

mod history;
mod mask;
mod params;
#[cfg(test)]
mod tests;

pub use history::History;
pub use mask::{Grammar, TokenMask};
pub use params::{Distribution, InvalidSampling, Logprobs, MAX_TOP_LOGPROBS, Sampling};

/// A token and, if they were asked for, the probabilities around it.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// The token.
    pub token: u32,
    /// What [`Sampling::logprobs`] asked for.
    pub logprob: Option<TokenLogprob>,
}

/// Logarithms of probabilities; -∞ is that of none.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    /// That of the token itself.
    pub logprob: f32,
    /// The most probable tokens, best first; fewer than asked for if no others have a probability. The token
    /// itself need not be among them.
    pub top: Vec<(u32, f32)>,
}

/// Why a sequence has no next token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// The grammar and the request's lists exclude each other.
    #[error(
        "no token is allowed after position {position}: grammar, allowed, banned and stop tokens exclude all"
    )]
    NothingAllowed {
        /// Of the row whose logits were to be sampled.
        position: u32,
    },
    /// A logit is +∞, or none is a finite number.
    #[error("the model's logits are not finite: its weights are damaged, or overflow")]
    NotFinite,
}

/// Room to choose in, shared by all sequences of a thread. Once it has seen each kind of request it allocates nothing but
/// the probabilities that it gives away.
#[derive(Debug, Default)]
pub struct Chooser {
    sampler: Sampler,
    /// (vocab_size,) logits after bias, penalties and masks
    adjusted: Vec<f32>,
    /// Whether the last token was chosen from `adjusted`.
    is_adjusted: bool,
    permitted: TokenMask,
    /// (token, logit)
    best: Vec<(u32, f32)>,
    /// Logits divided by the temperature.
    scaled: Vec<f32>,
}

impl Chooser {
    /// The token that follows the row at `position`, with these `logits` (vocab_size,).
    ///
    /// `sampling` is valid for this vocabulary and `history` was made with it; `mask` is the grammar's; `n_completed`
    /// tokens have been completed before this one. A logit that is NaN counts as -∞; among allowed tokens that are all
    /// -∞ the lowest is chosen.
    ///
    /// # Errors
    /// When no token is allowed, and when the model's own logits are not finite: whatever is allowed, they mean nothing.
    pub fn choose(
        &mut self,
        logits: &[f32],
        position: u32,
        sampling: &Sampling,
        history: &History,
        mask: Option<&TokenMask>,
        n_completed: usize,
    ) -> Result<Chosen, SampleError> {
        let mask = mask.filter(|mask| mask.n_allowed() < mask.n_tokens());
        let has_mask = mask.is_some() || sampling.excludes(n_completed);
        let is_adjusted = has_mask || history.is_tracking() || !sampling.logit_bias.is_empty();
        self.is_adjusted = is_adjusted;
        if is_adjusted {
            self.adjusted.clear();
            self.adjusted.extend_from_slice(logits);
            for &(token, bias) in &sampling.logit_bias {
                self.adjusted[token as usize] += bias;
            }
            history.penalize(&mut self.adjusted, sampling);
        }
        if has_mask {
            self.permit(logits.len(), sampling, mask, n_completed);
            self.permitted.apply(&mut self.adjusted);
        }
        let row = if is_adjusted { &self.adjusted } else { logits };
        let mut token = self.sampler.sample(row, &sampling.spec, position);
        if has_mask && !self.permitted.is_allowed(token) {
            token = self.permitted.first_allowed().ok_or(SampleError::NothingAllowed { position })?;
        }
        if is_broken(logits, token, mask, sampling, n_completed) {
            return Err(SampleError::NotFinite);
        }
        let logprob = sampling.logprobs.map(|Logprobs { top, of }| match of {
            Distribution::Raw => of_logits(logits, token, top, &mut self.best),
            Distribution::Filtered => self.filtered(logits, is_adjusted, token, top, sampling),
        });
        Ok(Chosen { token, logprob })
    }

    /// Probabilities around `token`, which the grammar left no choice about, as [`Sampling::logprobs`] asks for them. No mask
    /// has a part in the model's own distribution; in the filtered one the token is alone.
    ///
    /// # Errors
    /// When the logits are not finite.
    pub fn forced_logprob(
        &mut self,
        logits: &[f32],
        token: u32,
        sampling: &Sampling,
    ) -> Result<Option<TokenLogprob>, SampleError> {
        let Some(Logprobs { top, of }) = sampling.logprobs else { return Ok(None) };
        match of {
            Distribution::Raw => self.prompt_logprob(logits, token, top).map(Some),
            Distribution::Filtered => Ok(Some(alone(token, top))),
        }
    }

    /// Probabilities around `token`, which took the place of the one that [`Chooser::choose`] has just chosen from the same
    /// `logits`, in the distribution of that choice.
    pub fn logprob_in_place(
        &mut self,
        logits: &[f32],
        token: u32,
        sampling: &Sampling,
    ) -> Option<TokenLogprob> {
        let Logprobs { top, of } = sampling.logprobs?;
        Some(match of {
            Distribution::Raw => of_logits(logits, token, top, &mut self.best),
            Distribution::Filtered => self.filtered(logits, self.is_adjusted, token, top, sampling),
        })
    }

    /// The logarithm of the probability of a prompt's `token`, given the `logits` of the row before it, and the `top`
    /// most probable tokens there. Of the model's own distribution.
    ///
    /// # Errors
    /// When the logits are not finite.
    pub fn prompt_logprob(
        &mut self,
        logits: &[f32],
        token: u32,
        top: usize,
    ) -> Result<TokenLogprob, SampleError> {
        let logprob = of_logits(logits, token, top, &mut self.best);
        // A probability says that there is a sum: only where there is none all logits are looked at.
        match logprob.logprob.is_finite() && logits[token as usize].is_finite() || has_finite_best(logits) {
            true => Ok(logprob),
            false => Err(SampleError::NotFinite),
        }
    }

    /// Notes which of `n_tokens` tokens may be chosen.
    fn permit(&mut self, n_tokens: usize, sampling: &Sampling, mask: Option<&TokenMask>, n_completed: usize) {
        self.permitted.reset(n_tokens);
        if let Some(allowed) = &sampling.allowed {
            self.permitted.ban_all();
            allowed.iter().for_each(|&token| self.permitted.allow(token));
        }
        if let Some(mask) = mask {
            self.permitted.intersect(mask);
        }
        sampling.banned_now(n_completed).for_each(|token| self.permitted.ban(token));
    }

    /// Probabilities in the distribution that `token` was drawn from.
    fn filtered(
        &mut self,
        logits: &[f32],
        is_adjusted: bool,
        token: u32,
        top: usize,
        sampling: &Sampling,
    ) -> TokenLogprob {
        let row = if is_adjusted { &self.adjusted } else { logits };
        let spec = &sampling.spec;
        let best = row.iter().fold(f32::NEG_INFINITY, |m, &x| m.max(x));
        if spec.is_greedy() || !best.is_finite() {
            return alone(token, top);
        }
        self.scaled.clear();
        if spec.keeps_all(row.len()) {
            self.scaled.extend(row.iter().map(|l| l / spec.temperature));
            return of_logits(&self.scaled, token, top, &mut self.best);
        }
        let candidates = self.sampler.filter(row, spec);
        self.scaled.extend(candidates.iter().map(|c| (c.1 - best) / spec.temperature));
        let sum = logsumexp(&self.scaled);
        let mut all = candidates.iter().zip(&self.scaled).map(|(c, &l)| (c.0, log_prob(l, sum)));
        let top = all.clone().take(top).filter(|t| t.1 > f32::NEG_INFINITY).collect();
        let logprob = all.find(|c| c.0 == token).map_or(f32::NEG_INFINITY, |c| c.1);
        TokenLogprob { logprob, top }
    }
}

/// Is the best of the model's own logits not finite? `token` was chosen; a row is read again only where that leaves doubt.
fn is_broken(
    logits: &[f32],
    token: u32,
    mask: Option<&TokenMask>,
    sampling: &Sampling,
    n_completed: usize,
) -> bool {
    let is_restricted = mask.is_some() || sampling.allowed.is_some();
    if is_restricted || !logits[token as usize].is_finite() {
        return !has_finite_best(logits);
    }
    // Of all that are not excluded +∞ would have been chosen.
    sampling.banned_now(n_completed).any(|banned| logits[banned as usize] == f32::INFINITY)
}

fn has_finite_best(logits: &[f32]) -> bool {
    logits[argmax(logits) as usize].is_finite()
}

/// The distribution of a token that was certain.
fn alone(token: u32, top: usize) -> TokenLogprob {
    TokenLogprob { logprob: 0.0, top: [(token, 0.0)][..top.min(1)].to_vec() }
}

/// Probabilities by a softmax of `logits`. `best` is room.
fn of_logits(logits: &[f32], token: u32, top: usize, best: &mut Vec<(u32, f32)>) -> TokenLogprob {
    let sum = logsumexp(logits);
    top_k(logits, top, best);
    let all = best.iter().map(|&(token, logit)| (token, log_prob(logit, sum)));
    TokenLogprob {
        logprob: log_prob(logits[token as usize], sum),
        top: all.filter(|t| t.1 > f32::NEG_INFINITY).collect(),
    }
}

/// `logit - sum`, never NaN: of infinite logits each has probability 1, of NaN and where all are -∞ none has any.
fn log_prob(logit: f32, sum: f32) -> f32 {
    match logit - sum {
        x if !x.is_nan() => x.min(0.0),
        _ if logit == f32::INFINITY => 0.0,
        _ => f32::NEG_INFINITY,
    }
}
