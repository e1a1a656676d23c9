//! Updates of a generation as events.

use std::io::Write;

use inferno_engine::TokenLogprob;
use serde::Serialize;
use serde_json::json;

use crate::choice::{Delta, Ending};
use crate::echo::Echo;
use crate::error::ApiError;
use crate::generation::{Generation, Totals, Update};
use crate::options::StreamOptions;
use crate::places::Place;
use crate::wire::{
    self, ChatChunkChoice, ChatDelta, ChatLogprobs, Dialect, Label, More, Names, Object, PromptProgress,
    TextChoice, TextLogprobs, Timings, UsageBody,
};

/// Writes the events of one answer.
pub(super) struct Frames {
    label: Label,
    dialect: Dialect,
    wants: StreamOptions,
    /// The prompts, if completions start with them.
    echo: Vec<Echo>,
    /// One entry per choice.
    told: Vec<Told>,
}

/// The part of a choice that earlier events carried.
#[derive(Debug, Clone, Default)]
struct Told {
    /// Tokens of its prompt, with their log-probabilities.
    n_scored: usize,
    /// Tokens of the completion.
    n_tokens: usize,
    /// The prompt's token ids.
    has_prompt: bool,
}

impl Frames {
    pub(super) fn new(label: Label, dialect: Dialect, generation: &Generation, echo: Vec<Echo>) -> Frames {
        let wants = generation.options().stream.unwrap_or_default();
        Frames { label, dialect, wants, echo, told: vec![Told::default(); generation.n_choices()] }
    }

    pub(super) fn wants_progress(&self) -> bool {
        self.wants.return_progress
    }

    /// Every choice appears once, in order: clients that count on it add new ones to the end of a list.
    pub(super) fn begin(&mut self, generation: &Generation, out: &mut Vec<u8>) {
        for choice in 0..generation.n_choices() {
            match self.dialect {
                Dialect::Chat => {
                    let delta = ChatDelta { role: Some("assistant"), content: Some("") };
                    self.chat(generation, ChatChunkChoice::new(choice, delta), More::default(), out);
                }
                Dialect::Completion => {
                    let text = self.echo.get(choice / generation.n()).map(|echo| echo.text().to_owned());
                    if text.is_some() || generation.n_choices() > 1 {
                        // The first token of a prompt has no probability, so no event brings it.
                        let logprobs = self.scored(generation, choice, &[None]).filter(|_| text.is_some());
                        let text = text.unwrap_or_default();
                        let choice = TextChoice { logprobs, ..TextChoice::new(choice, &text) };
                        self.text(generation, choice, More::default(), out);
                    }
                }
            }
        }
    }

    pub(super) fn update(&mut self, generation: &Generation, update: Update, out: &mut Vec<u8>) {
        match update {
            Update::Progress { prompt_idx, n_done } => self.progress(generation, prompt_idx, n_done, out),
            Update::Prompt { choice, logprobs } => self.prompt(generation, choice, &logprobs, out),
            Update::Text { choice, delta } => self.delta(generation, choice, &delta, None, out),
            Update::Finished { choice, delta, ending } => {
                self.delta(generation, choice, &delta, Some(ending), out);
            }
            Update::Failed(_) => unreachable!("whoever writes frames sees to errors"),
        }
    }

    /// Usage and what is told of the whole beside it, if it is wanted, and the end.
    pub(super) fn end(&mut self, generation: &Generation, out: &mut Vec<u8>) {
        if self.wants.include_usage {
            let usage = Some(Some(UsageBody::new(&generation.totals())));
            self.event_without_choices(usage, wire::closing(generation), out);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    /// Where it stands, for people and for proxies.
    pub(super) fn comment(&self, generation: &Generation, place: Option<Place>, out: &mut Vec<u8>) {
        let _ = match place {
            Some(Place { place, n_waiting, eta }) => {
                let place = place + 1;
                write!(out, ": queued {place}/{n_waiting} eta {:.1}s\n\n", eta.as_secs_f64())
            }
            None if generation.has_begun() => write!(out, ": keep-alive\n\n"),
            None => write!(out, ": reading the prompt, {:.1}s\n\n", generation.elapsed().as_secs_f64()),
        };
    }

    fn progress(&self, generation: &Generation, prompt_idx: usize, n_done: usize, out: &mut Vec<u8>) {
        if !self.wants.return_progress {
            return;
        }
        let progress = PromptProgress {
            total: generation.prompt_tokens(prompt_idx).len(),
            cache: generation.cached().map_or(0, |c| c.0),
            processed: n_done,
            time_ms: generation.elapsed().as_millis() as u64,
        };
        let more = More { prompt_progress: Some(progress), ..More::default() };
        self.event_without_choices(self.usage(generation), more, out);
    }

    /// Log-probabilities of a prompt that is echoed. They come in order.
    fn prompt(
        &mut self,
        generation: &Generation,
        choice: usize,
        logprobs: &[TokenLogprob],
        out: &mut Vec<u8>,
    ) {
        let scores: Vec<Option<&TokenLogprob>> = logprobs.iter().map(Some).collect();
        if let Some(body) = self.scored(generation, choice, &scores).filter(|_| !self.echo.is_empty()) {
            let choice = TextChoice { logprobs: Some(body), ..TextChoice::new(choice, "") };
            self.text(generation, choice, More::default(), out);
        }
    }

    /// The next tokens of a choice's prompt, if log-probabilities are wanted.
    fn scored(
        &mut self,
        generation: &Generation,
        choice: usize,
        logprobs: &[Option<&TokenLogprob>],
    ) -> Option<TextLogprobs> {
        generation.options().sampling.logprobs?;
        let prompt = generation.prompt_tokens(choice / generation.n());
        let echo = self.echo.get(choice / generation.n());
        let mut body = TextLogprobs::default();
        let told = &mut self.told[choice];
        for logprob in logprobs {
            let offset = echo.map_or(0, |echo| echo.offset(told.n_scored));
            body.push(prompt[told.n_scored], *logprob, offset, Names::of(generation));
            told.n_scored += 1;
        }
        Some(body)
    }

    fn delta(
        &mut self,
        generation: &Generation,
        choice: usize,
        delta: &Delta,
        ending: Option<Ending>,
        out: &mut Vec<u8>,
    ) {
        let options = generation.options();
        let names = Names::of(generation);
        let (reason, stop) = ending.map_or((None, None), |e| (Some(e.reason), Some(e.stop)));
        // Tokens without text, as the one that ends an answer, are worth an event only to clients that count tokens.
        let tells_tokens = options.sampling.logprobs.is_some() || options.return_token_ids;
        let has_more = !delta.text.is_empty() || tells_tokens && !delta.tokens.is_empty();
        self.told[choice].n_tokens += delta.tokens.len();
        let ids = options.return_token_ids.then(|| delta.tokens.iter().map(|t| t.span.token).collect());
        // All has ended with this one: what there is to tell of the whole goes with it, or with the usage.
        let is_last = generation.has_ended() && reason.is_some() && !self.wants.include_usage;
        let closing = if is_last { wire::closing(generation) } else { More::default() };
        match self.dialect {
            Dialect::Chat => {
                if has_more {
                    let text = ChatDelta { role: None, content: Some(&delta.text) };
                    let logprobs = options.sampling.logprobs.map(|_| ChatLogprobs::new(&delta.tokens, names));
                    let part =
                        ChatChunkChoice { logprobs, token_ids: ids, ..ChatChunkChoice::new(choice, text) };
                    self.chat(generation, part, More::default(), out);
                }
                if reason.is_some() {
                    self.told[choice].n_tokens = generation.n_tokens(choice);
                    let last = ChatChunkChoice {
                        finish_reason: reason,
                        stop_reason: stop,
                        ..ChatChunkChoice::new(choice, ChatDelta::default())
                    };
                    self.chat(generation, last, closing, out);
                }
            }
            Dialect::Completion if has_more || reason.is_some() => {
                if reason.is_some() {
                    self.told[choice].n_tokens = generation.n_tokens(choice);
                }
                let logprobs = options.sampling.logprobs.map(|_| {
                    let mut body = TextLogprobs::default();
                    body.push_all(&delta.tokens, self.echo.get(choice / generation.n()), names);
                    body
                });
                let part = TextChoice {
                    logprobs,
                    finish_reason: reason,
                    stop_reason: stop,
                    token_ids: ids.map(Some),
                    ..TextChoice::new(choice, &delta.text)
                };
                self.text(generation, part, closing, out);
            }
            Dialect::Completion => {}
        }
    }

    fn chat(&mut self, generation: &Generation, choice: ChatChunkChoice<'_>, more: More, out: &mut Vec<u8>) {
        // vLLM has the prompt's tokens in the first event of a chat, and beside the first text of a completion.
        let tells = generation.options().return_token_ids && !self.told[0].has_prompt;
        self.told[0].has_prompt = true;
        let prompt = tells.then(|| generation.prompt_tokens(0));
        // As llama.cpp has it: nothing has taken any time before the first token.
        let more = if choice.delta.role.is_some() { more } else { self.timed(generation, more) };
        self.object(prompt.map(Some), &[choice], self.usage(generation), more, out);
    }

    fn text<'g>(
        &mut self,
        generation: &'g Generation,
        mut choice: TextChoice<'g>,
        more: More,
        out: &mut Vec<u8>,
    ) {
        if generation.options().return_token_ids {
            choice.token_ids.get_or_insert_default().get_or_insert_default();
            let told = &mut self.told[choice.index];
            if !std::mem::replace(&mut told.has_prompt, true) {
                choice.prompt_token_ids = Some(Some(generation.prompt_tokens(choice.index / generation.n())));
            }
        }
        self.object(None, &[choice], self.usage(generation), self.timed(generation, more), out);
    }

    /// With the times so far, if every event is to have them.
    fn timed(&self, generation: &Generation, more: More) -> More {
        match (self.wants.timings_per_token, more.timings) {
            (true, None) => More { timings: Some(Timings::new(&generation.totals_so_far())), ..more },
            (_, timings) => More { timings, ..more },
        }
    }

    /// Usage is null in all events but the last, or what events have told so far.
    fn usage(&self, generation: &Generation) -> Option<Option<UsageBody>> {
        let StreamOptions { include_usage, continuous_usage, .. } = self.wants;
        let so_far = || {
            let n_completion = self.told.iter().map(|told| told.n_tokens).sum();
            UsageBody::new(&Totals { n_completion, ..generation.totals() })
        };
        include_usage.then(|| continuous_usage.then(so_far))
    }

    fn event_without_choices(&self, usage: Option<Option<UsageBody>>, more: More, out: &mut Vec<u8>) {
        match self.dialect {
            Dialect::Chat => self.object::<ChatChunkChoice<'_>>(None, &[], usage, more, out),
            Dialect::Completion => self.object::<TextChoice<'_>>(None, &[], usage, more, out),
        }
    }

    fn object<C: Serialize>(
        &self,
        prompt_token_ids: Option<Option<&[u32]>>,
        choices: &[C],
        usage: Option<Option<UsageBody>>,
        more: More,
        out: &mut Vec<u8>,
    ) {
        let Label { id, created, model, fingerprint } = &self.label;
        let object = match self.dialect {
            Dialect::Chat => "chat.completion.chunk",
            Dialect::Completion => "text_completion",
        };
        let (created, system_fingerprint) = (*created, fingerprint);
        event(
            &Object {
                id,
                object,
                created,
                model,
                system_fingerprint,
                prompt_token_ids,
                choices,
                usage,
                more,
            },
            out,
        );
    }
}

/// An error after which nothing comes, not even `[DONE]`.
pub(super) fn error(error: &ApiError, out: &mut Vec<u8>) {
    event(&json!(error.body()), out);
}

fn event(value: &impl Serialize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
    serde_json::to_writer(&mut *out, value).expect("what is answered is JSON");
    out.extend_from_slice(b"\n\n");
}
