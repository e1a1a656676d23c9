//! The common part of OpenAI's two dialects.

use inferno_reply::{Ending, StopReason};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::event;
use crate::error::ApiError;
use crate::generation::{Generation, Totals};
use crate::options::StreamOptions;
use crate::wire::{self, Label, More, Object, PromptLogprobs, PromptProgress, Timings, UsageBody};

/// The envelope of an answer's objects, and what its events have told.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) label: Label,
    /// `object` of events.
    pub(super) chunk: &'static str,
    /// One entry per choice.
    told: Vec<Told>,
    /// Choices whose end is told.
    n_ended: usize,
}

/// The part of a choice that earlier events carried.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    /// Tokens of its prompt, with their log-probabilities.
    pub(super) n_scored: usize,
    /// Tokens of the answer.
    pub(super) n_tokens: usize,
    /// The prompt's token ids.
    pub(super) has_prompt: bool,
}

impl Envelope {
    pub(super) fn new(label: Label, chunk: &'static str) -> Envelope {
        Envelope { label, chunk, told: Vec::new(), n_ended: 0 }
    }

    pub(super) fn told(&mut self, choice: usize) -> &mut Told {
        if self.told.len() <= choice {
            self.told.resize_with(choice + 1, Told::default);
        }
        &mut self.told[choice]
    }

    /// Writes usage and what is told of the whole beside it, if it is wanted, and the end.
    pub(super) fn end<C: Serialize>(&self, answer: &Generation, out: &mut Vec<u8>) {
        if wants(answer).include_usage {
            let usage = Some(Some(UsageBody::new(&answer.totals())));
            self.event::<C>(None, &[], usage, wire::closing(answer), out);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    pub(super) fn progress<C: Serialize>(
        &self,
        answer: &Generation,
        prompt_idx: usize,
        n_done: usize,
        out: &mut Vec<u8>,
    ) {
        if !wants(answer).return_progress {
            return;
        }
        let progress = PromptProgress {
            total: answer.prompt_tokens(prompt_idx).len(),
            cache: answer.cached().map_or(0, |c| c.0),
            processed: n_done,
            time_ms: answer.elapsed().as_millis() as u64,
        };
        let timings = wants(answer).timings_per_token.then(|| Timings::of_prompt(answer, n_done));
        let more = More { prompt_progress: Some(progress), timings, ..More::default() };
        self.event::<C>(None, &[], self.usage(answer), more, out);
    }

    /// Notes the end of a choice, and returns what its event tells of the whole: all there is to tell if it is the last one,
    /// and no event of the usage follows.
    pub(super) fn end_of_choice(&mut self, answer: &Generation) -> More {
        self.n_ended += 1;
        let is_last = self.n_ended == answer.n_choices() && !wants(answer).include_usage;
        if is_last { wire::closing(answer) } else { More::default() }
    }

    /// With the times so far, if every event is to have them.
    pub(super) fn timed(&self, answer: &Generation, more: More) -> More {
        match (wants(answer).timings_per_token, more.timings) {
            (true, None) => More { timings: Some(Timings::new(&answer.totals_so_far())), ..more },
            (_, timings) => More { timings, ..more },
        }
    }

    /// Usage is null in all events but the last, or what events have told so far.
    pub(super) fn usage(&self, answer: &Generation) -> Option<Option<UsageBody>> {
        let StreamOptions { include_usage, continuous_usage, .. } = wants(answer);
        let so_far = || {
            let n_completion = self.told.iter().map(|told| told.n_tokens).sum();
            UsageBody::new(&Totals { n_completion, ..answer.totals() })
        };
        include_usage.then(|| continuous_usage.then(so_far))
    }

    pub(super) fn event<C: Serialize>(
        &self,
        prompt_token_ids: Option<Option<&[u32]>>,
        choices: &[C],
        usage: Option<Option<UsageBody>>,
        more: More,
        out: &mut Vec<u8>,
    ) {
        event(&self.object(self.chunk, prompt_token_ids, choices, usage, more), out);
    }

    /// The answer in one piece.
    pub(super) fn whole<C: Serialize>(
        &self,
        object: &'static str,
        answer: &Generation,
        (prompt_token_ids, prompt_logprobs): OfPrompt<'_>,
        choices: &[C],
    ) -> Vec<u8> {
        let usage = Some(Some(UsageBody::new(&answer.totals())));
        let object = self.object(object, prompt_token_ids, choices, usage, wire::closing(answer));
        let object = Object { prompt_logprobs, ..object };
        serde_json::to_vec(&object).expect("what is answered is JSON")
    }

    fn object<'a, C>(
        &'a self,
        object: &'static str,
        prompt_token_ids: Option<Option<&'a [u32]>>,
        choices: &'a [C],
        usage: Option<Option<UsageBody>>,
        more: More,
    ) -> Object<'a, C> {
        let Label { id, created, model, fingerprint } = &self.label;
        let (created, system_fingerprint) = (*created, fingerprint);
        Object {
            id,
            object,
            created,
            model,
            system_fingerprint,
            prompt_token_ids,
            choices,
            prompt_logprobs: None,
            usage,
            more,
        }
    }
}

/// The tokens of a chat's prompt, and their log-probabilities.
pub(super) type OfPrompt<'a> = (Option<Option<&'a [u32]>>, Option<PromptLogprobs<'a>>);

/// The stream's options.
pub(super) fn wants(answer: &Generation) -> StreamOptions {
    answer.options().stream.unwrap_or_default()
}

/// The stop condition that ended a choice, as vLLM reports it: a stop string, a token of `stop_token_ids`, or null.
pub(super) fn stop_reason(ending: &Ending) -> Value {
    match &ending.stop {
        Some(StopReason::String(text)) => text.as_str().into(),
        Some(StopReason::Token(id)) => (*id).into(),
        None => Value::Null,
    }
}

/// OpenAI's error object.
pub(crate) fn error_body(error: &ApiError) -> Value {
    let mut object = Map::new();
    object.insert("message".into(), error.message.clone().into());
    object.insert("type".into(), error.kind.into());
    object.insert("param".into(), error.param.as_deref().map_or(Value::Null, Value::from));
    object.insert("code".into(), error.code.map_or(Value::Null, Value::from));
    object.extend(error.extra.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    json!({ "error": object })
}
