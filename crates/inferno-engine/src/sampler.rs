//! Choosing a sequence's next token: what that takes beyond one row of logits.
//!
//! ```text
//! logits ─▶ bias ─▶ penalties ─▶ DRY ─▶ masks ─▶ top-k … temperature ─▶ draw      (the last part: SampleSpec)
//!            └─ Sampling ─┘└── History ──┘   └─ TokenMask, allowed, banned, stop tokens, bad words
//! logits ─▶ bias ─▶ masks ─▶ samplers in any order ─▶ draw                         (where there is a Chain)
//! ```
//!
//! A token is a function of (logits, [`Sampling`], [`History`], mask, position): how sequences are batched, preempted or
//! resumed has no part in it.

use inferno_model::sample::{Left, Room, Sampler, argmax, logsumexp, top_k};

mod chain;
mod dry;
mod history;
mod infill;
mod mask;
mod params;
#[cfg(test)]
#[cfg(not(loom))]
pub(crate) mod tests;

pub use chain::{Chain, SamplerKind, Samplers};
use dry::DryRoom;
pub use dry::{Breakers, Dry};
pub use history::History;
pub use infill::{Infill, Prefixes};
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
    /// itself need not be among them. With [`Sampling::logprob_tokens`] these tokens, which may have none, and the token.
    pub top: Vec<(u32, f32)>,
    /// The token's place among all, from 1 on; of tokens of a prompt.
    pub rank: Option<u32>,
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
    room: Room,
    dry: DryRoom,
    /// The candidates that the last chain left, of the adjusted logits or in `room`.
    left: Left,
}

impl Chooser {
    /// The token that follows the row at `position`, with these `logits` (vocab_size,).
    ///
    /// `sampling` is valid for this vocabulary and `history` was made with it; `mask` is the grammar's; `n_completed`
    /// tokens have been completed before this one. A logit that is NaN counts as -∞; among allowed tokens that are all
    /// -∞ the lowest is chosen. Mirostat moves the history's state, nothing else does.
    ///
    /// # Errors
    /// When no token is allowed, and when the model's own logits are not finite: whatever is allowed, they mean nothing.
    pub fn choose(
        &mut self,
        logits: &[f32],
        position: u32,
        sampling: &Sampling,
        history: &mut History,
        mask: Option<&TokenMask>,
        n_completed: usize,
    ) -> Result<Chosen, SampleError> {
        let mask = mask.filter(|mask| mask.n_allowed() < mask.n_tokens());
        let has_mask =
            mask.is_some() || sampling.excludes(n_completed) || history.bad_tokens(sampling).next().is_some();
        let is_adjusted = has_mask
            || history.is_tracking()
            || sampling.dry.is_some()
            || sampling.chain.is_some()
            || !sampling.logit_bias.is_empty();
        self.is_adjusted = is_adjusted;
        if is_adjusted {
            self.adjusted.clear();
            self.adjusted.extend_from_slice(logits);
            for &(token, bias) in &sampling.logit_bias {
                self.adjusted[token as usize] += bias;
            }
            if sampling.chain.is_none() {
                self.penalize(sampling, history);
            }
        }
        if has_mask {
            self.permit(logits.len(), (sampling, history), mask, n_completed);
            self.permitted.apply(&mut self.adjusted);
        }
        let mut token = match &sampling.chain {
            None => {
                let row = if is_adjusted { &self.adjusted } else { logits };
                self.sampler.sample(row, &sampling.spec, position)
            }
            Some(chain) => {
                let room = (&mut self.adjusted[..], &mut self.room, &mut self.dry);
                let (token, candidates) = chain.choose(room, position, sampling, history);
                self.left = candidates.left();
                token
            }
        };
        if has_mask && !self.permitted.is_allowed(token) {
            token = self.permitted.first_allowed().ok_or(SampleError::NothingAllowed { position })?;
        }
        if is_broken(logits, token, mask, (sampling, history), n_completed) {
            return Err(SampleError::NotFinite);
        }
        let logprob = self.logprob_in_place(logits, token, sampling);
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
        let wanted = (top, &*sampling.logprob_tokens);
        match of {
            Distribution::Raw => self.scored(logits, token, wanted).map(Some),
            Distribution::Filtered => Ok(Some(alone(token, wanted, &mut self.scaled))),
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
        let wanted = (top, &*sampling.logprob_tokens);
        Some(match of {
            Distribution::Raw => of_logits(logits, token, wanted, &mut self.best),
            Distribution::Filtered => self.filtered(logits, token, wanted, sampling),
        })
    }

    /// Applies penalties and DRY to the adjusted logits.
    fn penalize(&mut self, sampling: &Sampling, history: &History) {
        history.penalize(&mut self.adjusted, sampling);
        let Some(dry) = &sampling.dry else { return };
        self.dry.search(dry, history.tokens());
        for token in self.dry.tokens() {
            if let Some(logit) = self.adjusted.get_mut(token as usize) {
                *logit = self.dry.penalized(dry, token, *logit);
            }
        }
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
        let logprob = self.scored(logits, token, (top, &[]))?;
        Ok(TokenLogprob { rank: Some(rank(logits, token)), ..logprob })
    }

    fn scored(
        &mut self,
        logits: &[f32],
        token: u32,
        wanted: Wanted<'_>,
    ) -> Result<TokenLogprob, SampleError> {
        let logprob = of_logits(logits, token, wanted, &mut self.best);
        // A probability says that there is a sum: only where there is none all logits are looked at.
        match logprob.logprob.is_finite() && logits[token as usize].is_finite() || has_finite_best(logits) {
            true => Ok(logprob),
            false => Err(SampleError::NotFinite),
        }
    }

    /// Notes which of `n_tokens` tokens may be chosen.
    fn permit(
        &mut self,
        n_tokens: usize,
        (sampling, history): (&Sampling, &History),
        mask: Option<&TokenMask>,
        n_completed: usize,
    ) {
        self.permitted.reset(n_tokens);
        if let Some(allowed) = &sampling.allowed {
            self.permitted.ban_all();
            allowed.iter().for_each(|&token| self.permitted.allow(token));
        }
        if let Some(mask) = mask {
            self.permitted.intersect(mask);
        }
        sampling.banned_now(n_completed).for_each(|token| self.permitted.ban(token));
        history.bad_tokens(sampling).for_each(|token| self.permitted.ban(token));
    }

    /// Probabilities in the distribution that the last token was drawn from, from these `logits`.
    fn filtered(
        &mut self,
        logits: &[f32],
        token: u32,
        wanted: Wanted<'_>,
        sampling: &Sampling,
    ) -> TokenLogprob {
        let row = if self.is_adjusted { &self.adjusted } else { logits };
        let spec = &sampling.spec;
        let (candidates, temperature) = match (&sampling.chain, self.left) {
            (Some(_), Left::List { temperature }) => (Some(self.room.list()), temperature),
            (Some(_), Left::Row { temperature }) => (None, temperature),
            (None, _) => {
                let best = row.iter().fold(f32::NEG_INFINITY, |m, &x| m.max(x));
                if spec.is_greedy() || !best.is_finite() {
                    return alone(token, wanted, &mut self.scaled);
                }
                let keeps_all = spec.keeps_all(row.len());
                ((!keeps_all).then(|| self.sampler.filter(row, spec)), spec.temperature)
            }
        };
        match candidates {
            Some(candidates) => among(candidates, temperature, token, wanted, &mut self.scaled),
            None => {
                self.scaled.clear();
                self.scaled.extend(row.iter().map(|l| l / temperature));
                of_logits(&self.scaled, token, wanted, &mut self.best)
            }
        }
    }
}

/// The number of the most probable tokens to tell, or the tokens.
type Wanted<'a> = (usize, &'a [u32]);

/// Is the best of the model's own logits not finite? `token` was chosen; a row is read again only where that leaves doubt.
fn is_broken(
    logits: &[f32],
    token: u32,
    mask: Option<&TokenMask>,
    (sampling, history): (&Sampling, &History),
    n_completed: usize,
) -> bool {
    let is_restricted = mask.is_some() || sampling.allowed.is_some();
    if is_restricted || !logits[token as usize].is_finite() {
        return !has_finite_best(logits);
    }
    // Of all that are not excluded +∞ would have been chosen.
    let mut banned = sampling.banned_now(n_completed).chain(history.bad_tokens(sampling));
    banned.any(|banned| logits[banned as usize] == f32::INFINITY)
}

fn has_finite_best(logits: &[f32]) -> bool {
    logits[argmax(logits) as usize].is_finite()
}

/// The distribution of a token that was certain.
fn alone(token: u32, wanted: Wanted<'_>, scaled: &mut Vec<f32>) -> TokenLogprob {
    among(&[(token, 0.0)], 1.0, token, wanted, scaled)
}

/// Probabilities by a softmax of `logits`: of `token`, and of the `top` best or of the `tokens` that are there. `best` is room.
fn of_logits(
    logits: &[f32],
    token: u32,
    (top, tokens): Wanted<'_>,
    best: &mut Vec<(u32, f32)>,
) -> TokenLogprob {
    let sum = logsumexp(logits);
    let of = |token: u32| log_prob(logits[token as usize], sum);
    if !tokens.is_empty() {
        return TokenLogprob { logprob: of(token), top: asked(token, tokens, of), rank: None };
    }
    top_k(logits, top, best);
    let all = best.iter().map(|&(token, logit)| (token, log_prob(logit, sum)));
    TokenLogprob { logprob: of(token), top: all.filter(|t| t.1 > f32::NEG_INFINITY).collect(), rank: None }
}

/// The same among `candidates`, best first, whose logits are divided by the temperature. `scaled` is room.
fn among(
    candidates: &[(u32, f32)],
    temperature: f32,
    token: u32,
    (top, tokens): Wanted<'_>,
    scaled: &mut Vec<f32>,
) -> TokenLogprob {
    let best = candidates[0].1;
    scaled.clear();
    match best.is_finite() {
        true => scaled.extend(candidates.iter().map(|c| (c.1 - best) / temperature)),
        // Only the best has a probability.
        false => scaled
            .extend(candidates.iter().enumerate().map(|c| if c.0 == 0 { 0.0 } else { f32::NEG_INFINITY })),
    }
    let sum = logsumexp(scaled);
    let all = candidates.iter().zip(&*scaled).map(|(c, &l)| (c.0, log_prob(l, sum)));
    let of = |token: u32| all.clone().find(|c| c.0 == token).map_or(f32::NEG_INFINITY, |c| c.1);
    let top = match tokens {
        [] => all.clone().take(top).filter(|t| t.1 > f32::NEG_INFINITY).collect(),
        _ => asked(token, tokens, of),
    };
    TokenLogprob { logprob: of(token), top, rank: None }
}

/// The tokens that were asked for and the one that came, by probability.
fn asked(token: u32, tokens: &[u32], of: impl Fn(u32) -> f32) -> Vec<(u32, f32)> {
    let mut all: Vec<(u32, f32)> = tokens.iter().chain([&token]).map(|&token| (token, of(token))).collect();
    all.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all.dedup_by_key(|c| c.0);
    all
}

/// The place of a token among all, from 1 on: those with equal logits are in the order of their ids.
fn rank(logits: &[f32], token: u32) -> u32 {
    let own = logits[token as usize];
    let (before, after) = logits.split_at(token as usize);
    let count = |logits: &[f32], is_better: fn(f32, f32) -> bool| {
        logits.iter().map(|&x| u32::from(is_better(x, own))).sum::<u32>()
    };
    // What is not a number is last.
    match own.is_nan() {
        true => 1 + count(before, |_, _| true) + count(&after[1..], |x, _| x > f32::NEG_INFINITY),
        false => 1 + count(before, |x, own| x >= own) + count(&after[1..], |x, own| x > own),
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
