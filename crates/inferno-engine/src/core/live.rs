//! A choice of a request while it lives: what is told of it, and how its tokens are chosen.

use std::time::Duration;

use inferno_model::output::{Output, RowOutput};

use crate::forecast::Ending;
use crate::request::{Event, Finish, Micros, RequestId, Usage};
use crate::sampler::{Chooser, Chosen, History, SampleError, Sampling, TokenLogprob};
use crate::scheduler::PlanSpan;
use crate::stop::StopCondition;

use super::constraint::Constraint;
use super::{Sink, logits_hash};

/// A choice of a request that has not ended.
pub(super) struct Live {
    pub(super) request: RequestId,
    pub(super) choice_idx: u32,
    pub(super) sampling: Sampling,
    pub(super) history: History,
    pub(super) stop: Option<Box<dyn StopCondition>>,
    pub(super) constraint: Option<Box<Constraint>>,
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
        match self.sampling.has_end() || self.stop.is_some() || self.constraint.is_some() {
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

    /// May a device sample its tokens? It depends on the request alone, so that its tokens do not depend on the load.
    pub(super) fn suits_devices(&self) -> bool {
        self.sampling.suits_devices()
            && self.constraint.is_none()
            && self.prompt_logprobs.is_none()
            && !self.hash_logits
    }

    /// Takes the tokens that a chain of steps sampled, up to the end of the completion: what was sampled after it is dropped.
    /// `None` is a row without a token, as no logit was a number.
    pub(super) fn take_chain(
        &mut self,
        tokens: impl Iterator<Item = Option<u32>>,
        sampled: &mut Vec<(u32, Option<TokenLogprob>)>,
    ) -> Option<Finish> {
        for token in tokens {
            let Some(token) = token else { return Some(failed(SampleError::NotFinite)) };
            sampled.push((token, None));
            let finish = self.commit(token);
            if finish.is_some() {
                return finish;
            }
        }
        None
    }

    /// Takes the tokens after a decoded row and the drafts that follow it, as far as the drafts are right, and the forced
    /// tokens after them. `output` has the first row's result at `first_row`; the row is at `position` of the sequence.
    /// Returns the number of drafts that were right.
    pub(super) fn take_rows(
        &mut self,
        output: &Output,
        (first_row, position): (usize, usize),
        drafts: &[u32],
        chooser: &mut Chooser,
        taken: &mut Vec<(u32, Option<TokenLogprob>)>,
    ) -> (usize, Option<Finish>) {
        let mut n_right = 0;
        loop {
            let row = output.get(first_row + n_right).expect("a row that wants something has it");
            let next = match self.next_forced() {
                Some(Ok(token)) => self.forced_logprob(token, &row, chooser).map(|logprob| (token, logprob)),
                Some(Err(finish)) => Err(finish),
                None => self.sample(&row, position + n_right, chooser),
            };
            let (token, logprob) = match next {
                Ok(next) => next,
                // The row of the last token that there is has no part in the completion.
                Err(finish) => return (n_right.saturating_sub(1), Some(finish)),
            };
            taken.push((token, logprob));
            let finish = self.commit(token);
            if finish.is_some() {
                if self.hash_logits {
                    self.usage.logits_hash = output.logits(first_row + n_right).map(logits_hash);
                }
                return (n_right, finish);
            }
            if drafts.get(n_right) != Some(&token) {
                break;
            }
            n_right += 1;
        }
        (n_right, self.take_forced(taken))
    }

    /// Takes the forced tokens at once where no logits of theirs are wanted.
    fn take_forced(&mut self, taken: &mut Vec<(u32, Option<TokenLogprob>)>) -> Option<Finish> {
        if self.wants_forced_logits() {
            return None;
        }
        while let Some(token) = self.next_forced() {
            let token = match token {
                Ok(token) => token,
                Err(finish) => return Some(finish),
            };
            taken.push((token, None));
            let finish = self.commit(token);
            if finish.is_some() {
                return finish;
            }
        }
        None
    }

    /// The token that the grammar forces, which is counted as taken; an error if the request excludes it.
    fn next_forced(&mut self) -> Option<Result<u32, Finish>> {
        let token = self.constraint.as_mut()?.take_forced()?;
        if !self.sampling.permits(token, self.usage.n_completion)
            || self.history.is_bad(token, &self.sampling)
        {
            let position = (self.usage.n_prompt + self.usage.n_completion - 1) as u32;
            return Some(Err(failed(SampleError::NothingAllowed { position })));
        }
        self.usage.n_forced += 1;
        Some(Ok(token))
    }

    /// Whether a forced token is told with what its row's logits say, so that it waits for them.
    fn wants_forced_logits(&self) -> bool {
        self.sampling.logprobs.is_some() || self.hash_logits
    }

    /// Tokens that are forced next and wait for logits, up to `most`: drafts that are right.
    pub(super) fn forced_drafts(&mut self, most: usize) -> impl Iterator<Item = u32> {
        let constraint = if self.wants_forced_logits() { self.constraint.as_mut() } else { None };
        constraint.into_iter().flat_map(move |constraint| constraint.forced(most))
    }

    fn forced_logprob(
        &self,
        token: u32,
        row: &RowOutput,
        chooser: &mut Chooser,
    ) -> Result<Option<TokenLogprob>, Finish> {
        match row {
            RowOutput::Logits(logits) if self.sampling.logprobs.is_some() => {
                chooser.forced_logprob(logits, token, &self.sampling).map_err(failed)
            }
            _ => Ok(None),
        }
    }

    /// The token after the row at `position`.
    fn sample(
        &mut self,
        row: &RowOutput,
        position: usize,
        chooser: &mut Chooser,
    ) -> Result<(u32, Option<TokenLogprob>), Finish> {
        let logits = match *row {
            RowOutput::Token(token) => return Ok((token, None)),
            RowOutput::NoToken => return Err(failed(SampleError::NotFinite)),
            RowOutput::Logits(logits) => logits,
        };
        let mut mask = None;
        if let Some(constraint) = &mut self.constraint {
            if constraint.finished() {
                return Err(Finish::Grammar);
            }
            constraint.compute_mask();
            if let Some(reason) = constraint.failure() {
                return Err(Finish::Failed(reason));
            }
            mask = Some(constraint.mask());
        }
        let position = u32::try_from(position).expect("positions fit u32");
        let n_completed = self.usage.n_completion;
        let chosen = chooser.choose(logits, position, &self.sampling, &mut self.history, mask, n_completed);
        let Chosen { token, logprob } = chosen.map_err(failed)?;
        let settled = self.constraint.as_mut().map_or(token, |constraint| constraint.settle(token));
        match settled == token {
            true => Ok((token, logprob)),
            false => Ok((settled, chooser.logprob_in_place(logits, settled, &self.sampling))),
        }
    }

    /// Adds a sampled token to the completion; the reason if it is the last.
    fn commit(&mut self, token: u32) -> Option<Finish> {
        self.history.push(token);
        self.usage.n_completion += 1;
        if let Some(constraint) = &mut self.constraint {
            constraint.commit(token);
        }
        if let Some(stop) = &mut self.stop {
            stop.commit(token);
        }
        if self.sampling.ends_at(token) {
            return Some(Finish::Stop);
        }
        if self.stop.as_ref().is_some_and(|stop| stop.finished()) {
            return Some(Finish::StopCondition);
        }
        if self.constraint.as_ref().is_some_and(|constraint| constraint.finished()) {
            return Some(Finish::Grammar);
        }
        (self.usage.n_completion == self.max_tokens).then_some(Finish::Length)
    }
}

fn failed(error: SampleError) -> Finish {
    Finish::Failed(error.to_string())
}
