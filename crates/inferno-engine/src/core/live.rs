//! A choice of a request while it lives: what is told of it, and how its tokens are chosen.

use std::time::Duration;

use inferno_model::output::{Output, RowOutput};

use crate::forecast::Ending;
use crate::request::{Event, Finish, Micros, RequestId, Usage};
use crate::sampler::{Chooser, Chosen, Grammar, History, SampleError, Sampling, TokenLogprob, TokenMask};
use crate::scheduler::PlanSpan;
use crate::stop::StopCondition;

use super::{Sink, logits_hash};

/// A choice of a request that has not ended.
pub(super) struct Live {
    pub(super) request: RequestId,
    pub(super) choice_idx: u32,
    pub(super) sampling: Sampling,
    pub(super) history: History,
    pub(super) stop: Option<Box<dyn StopCondition>>,
    pub(super) grammar: Option<(Box<dyn Grammar>, TokenMask)>,
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
        match self.sampling.has_end() || self.stop.is_some() || self.grammar.is_some() {
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
            && self.grammar.is_none()
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

    /// Samples from a decoded row and the drafts after it, as far as the drafts are right. `output` has the first row's result
    /// at `first_row`; the row is at `position` of the sequence.
    pub(super) fn take_rows(
        &mut self,
        output: &Output,
        (first_row, position): (usize, usize),
        drafts: &[u32],
        chooser: &mut Chooser,
        sampled: &mut Vec<(u32, Option<TokenLogprob>)>,
    ) -> Option<Finish> {
        for i in 0..=drafts.len() {
            let row = output.get(first_row + i).expect("a row that wants something has it");
            let (token, logprob) = match row {
                RowOutput::Token(token) => (token, None),
                RowOutput::NoToken => return Some(failed(SampleError::NotFinite)),
                RowOutput::Logits(logits) => match self.sample(logits, position + i, chooser) {
                    Ok(chosen) => (chosen.token, chosen.logprob),
                    Err(finish) => return Some(finish),
                },
            };
            sampled.push((token, logprob));
            let finish = self.commit(token);
            if finish.is_some() && self.hash_logits {
                self.usage.logits_hash = output.logits(first_row + i).map(logits_hash);
            }
            if finish.is_some() || drafts.get(i) != Some(&token) {
                return finish;
            }
        }
        None
    }

    /// The token after the row at `position`.
    fn sample(&mut self, logits: &[f32], position: usize, chooser: &mut Chooser) -> Result<Chosen, Finish> {
        let mut mask = None;
        if let Some((grammar, allowed)) = &mut self.grammar {
            if grammar.finished() {
                return Err(Finish::Grammar);
            }
            allowed.allow_all();
            grammar.mask(allowed);
            mask = Some(&*allowed);
        }
        let position = u32::try_from(position).expect("positions fit u32");
        chooser
            .choose(logits, position, &self.sampling, &self.history, mask, self.usage.n_completion)
            .map_err(failed)
    }

    /// Adds a sampled token to the completion; the reason if it is the last.
    fn commit(&mut self, token: u32) -> Option<Finish> {
        self.history.push(token);
        self.usage.n_completion += 1;
        if let Some((grammar, _)) = &mut self.grammar {
            grammar.commit(token);
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
        if self.grammar.as_ref().is_some_and(|(grammar, _)| grammar.finished()) {
            return Some(Finish::Grammar);
        }
        (self.usage.n_completion == self.max_tokens).then_some(Finish::Length)
    }
}

fn failed(error: SampleError) -> Finish {
    Finish::Failed(error.to_string())
}
