//! A choice of a request while it lives: what is told of it, and how its tokens are chosen.

use std::time::Duration;

use crate::forecast::Ending;
use crate::request::{Event, Finish, Micros, RequestId, Usage};
use crate::sampler::{Chooser, Constraint, History, SampleError, Sampling, TokenLogprob, TokenMask};
use crate::scheduler::PlanSpan;

use super::Sink;

/// A choice of a request that has not ended.
pub(super) struct Live {
    pub(super) request: RequestId,
    pub(super) choice_idx: u32,
    pub(super) sampling: Sampling,
    pub(super) history: History,
    pub(super) constraint: Option<(Box<dyn Constraint>, TokenMask)>,
    pub(super) prompt_logprobs: Option<usize>,
    pub(super) hash_logits: bool,
    pub(super) sink: Sink,
    pub(super) usage: Usage,
    pub(super) max_tokens: usize,
    pub(super) submitted: Micros,
    /// When it got its first place in a step.
    pub(super) started: Option<Micros>,
    pub(super) last_token: Option<Micros>,
    /// Tokens of the prompt that events have told of.
    pub(super) n_scored: usize,
}

impl Live {
    /// It gets its first place in a step.
    pub(super) fn start(&mut self, now: Micros) {
        self.started = Some(now);
        self.usage.queued = Duration::from_micros(now - self.submitted);
    }

    /// It gets a token; how long is that since the one before, if there was one?
    pub(super) fn time_token(&mut self, now: Micros) -> Option<Micros> {
        let since = self.last_token.replace(now).map(|before| now - before);
        match (since, self.started) {
            (Some(since), _) => self.usage.decode += Duration::from_micros(since),
            (None, Some(started)) => self.usage.prefill = Duration::from_micros(now - started),
            (None, None) => {}
        }
        since
    }

    /// The way it can end before its limit.
    pub(super) fn ending(&self) -> Ending {
        match self.sampling.has_end() || self.constraint.is_some() {
            true => Ending::Anywhere,
            false => Ending::AtLimit,
        }
    }

    /// It ends, and with it the time that it was in.
    pub(super) fn end(&mut self, now: Micros) {
        match (self.started, self.last_token) {
            (None, _) => self.usage.queued = Duration::from_micros(now - self.submitted),
            (Some(started), None) => self.usage.prefill = Duration::from_micros(now - started),
            (Some(_), Some(_)) => {}
        }
    }

    /// Tells the log-probabilities of the prompt's tokens that follow this step's rows.
    ///
    /// # Errors
    /// When logits are not finite.
    pub(super) fn score<'a>(
        &mut self,
        span: &PlanSpan,
        tokens: &[u32],
        n_prompt: usize,
        logits: &dyn Fn(usize) -> Option<&'a [f32]>,
        chooser: &mut Chooser,
    ) -> Result<(), Finish> {
        let Some(top) = self.prompt_logprobs else { return Ok(()) };
        let positions = (self.n_scored - 1).max(span.rows.start)..span.rows.end.min(n_prompt - 1);
        if positions.is_empty() {
            return Ok(());
        }
        self.n_scored = positions.end + 1;
        let logprobs: Result<_, _> = positions
            .map(|p| {
                let logits = logits(p).expect("a row that wants logits has them");
                chooser.prompt_logprob(logits, tokens[p + 1], top)
            })
            .collect();
        let logprobs = logprobs.map_err(failed)?;
        (self.sink)(Event::Prompt { choice_idx: self.choice_idx, logprobs });
        Ok(())
    }

    /// May a device choose its tokens? It depends on the request alone, so that its tokens do not depend on the load.
    pub(super) fn suits_devices(&self) -> bool {
        self.sampling.suits_devices()
            && self.constraint.is_none()
            && self.prompt_logprobs.is_none()
            && !self.hash_logits
    }

    /// A device has chosen that token; `None` if there was none to be chosen.
    pub(super) fn take(&mut self, token: Option<u32>) -> Result<u32, Finish> {
        let token = token.ok_or(SampleError::NotFinite).map_err(failed)?;
        self.history.push(token);
        self.usage.n_completion += 1;
        Ok(token)
    }

    /// The token after the row at `position`.
    pub(super) fn choose(
        &mut self,
        logits: &[f32],
        position: usize,
        chooser: &mut Chooser,
    ) -> Result<(u32, Option<TokenLogprob>), Finish> {
        let mut mask = None;
        if let Some((constraint, allowed)) = &mut self.constraint {
            if constraint.finished() {
                return Err(Finish::Constraint);
            }
            allowed.allow_all();
            constraint.mask(allowed);
            mask = Some(&*allowed);
        }
        let position = u32::try_from(position).expect("positions fit u32");
        let chosen = chooser
            .choose(logits, position, &self.sampling, &self.history, mask, self.usage.n_completion)
            .map_err(failed)?;
        self.history.push(chosen.token);
        self.usage.n_completion += 1;
        if let Some((constraint, _)) = &mut self.constraint {
            constraint.commit(chosen.token);
        }
        Ok((chosen.token, chosen.logprob))
    }

    /// Is that the last one?
    pub(super) fn finish_after(&self, token: u32) -> Option<Finish> {
        if self.sampling.ends_at(token) {
            return Some(Finish::Stop);
        }
        if self.constraint.as_ref().is_some_and(|(constraint, _)| constraint.finished()) {
            return Some(Finish::Constraint);
        }
        (self.usage.n_completion == self.max_tokens).then_some(Finish::Length)
    }
}

fn failed(error: SampleError) -> Finish {
    Finish::Failed(error.to_string())
}
