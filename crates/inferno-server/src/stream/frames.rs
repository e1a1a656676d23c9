//! Updates of a generation as events.

use std::io::Write;

use inferno_engine::TokenLogprob;
use serde::Serialize;
use serde_json::json;

use crate::choice::{Delta, FinishReason};
use crate::completion::Prompt;
use crate::error::ApiError;
use crate::generation::{Generation, Update};
use crate::options::StreamOptions;
use crate::places::Place;
use crate::wire::{
    self, ChatChunkChoice, ChatDelta, ChatLogprobs, Dialect, Label, More, Object, PromptProgress, TextChoice,
    TextLogprobs, UsageBody,
};

/// Writes the events of one answer.
pub(super) struct Frames {
    label: Label,
    dialect: Dialect,
    wants: StreamOptions,
    /// The prompts, if completions start with them.
    echo: Vec<Prompt>,
    /// Of each choice, for `text_offset`.
    offsets: Vec<usize>,
    /// Tokens of each choice's prompt that were told.
    told: Vec<usize>,
}

impl Frames {
    pub(super) fn new(label: Label, dialect: Dialect, generation: &Generation, echo: Vec<Prompt>) -> Frames {
        let wants = generation.options().stream.unwrap_or_default();
        let zeros = vec![0; generation.n_choices()];
        Frames { label, dialect, wants, echo, offsets: zeros.clone(), told: zeros }
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
                    self.chat(choice, delta, None, None, More::default(), out);
                }
                Dialect::Completion => {
                    let prompt = self.echo.get(choice / generation.n());
                    let text = prompt.map(|prompt| prompt.text(&generation.app().text.tokenizer));
                    if text.is_some() || generation.n_choices() > 1 {
                        // The first token of a prompt has no probability, so no event brings it.
                        let first = self.scored(generation, choice, &[None]).filter(|_| text.is_some());
                        let text = text.unwrap_or_default();
                        self.text(choice, &text, first, None, None, More::default(), out);
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
            Update::Finished { choice, delta, reason } => {
                self.delta(generation, choice, &delta, Some(reason), out);
            }
            Update::Failed(_) => unreachable!("whoever writes frames sees to errors"),
        }
    }

    /// Usage, if it is wanted, and the end.
    pub(super) fn end(&mut self, generation: &Generation, out: &mut Vec<u8>) {
        if self.wants.include_usage {
            let usage = Some(Some(UsageBody::new(&generation.totals())));
            match self.dialect {
                Dialect::Chat => self.object::<ChatChunkChoice<'_>>(&[], usage, More::default(), out),
                Dialect::Completion => self.object::<TextChoice<'_>>(&[], usage, More::default(), out),
            }
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
        match self.dialect {
            Dialect::Chat => self.object::<ChatChunkChoice<'_>>(&[], self.no_usage(), more, out),
            Dialect::Completion => self.object::<TextChoice<'_>>(&[], self.no_usage(), more, out),
        }
    }

    /// Log-probabilities of a prompt that is echoed. They come in order.
    fn prompt(
        &mut self,
        generation: &Generation,
        choice: usize,
        logprobs: &[TokenLogprob],
        out: &mut Vec<u8>,
    ) {
        let logprobs: Vec<Option<&TokenLogprob>> = logprobs.iter().map(Some).collect();
        if let Some(body) = self.scored(generation, choice, &logprobs).filter(|_| !self.echo.is_empty()) {
            self.text(choice, "", Some(body), None, None, More::default(), out);
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
        let tokenizer = &generation.app().text.tokenizer;
        let prompt = generation.prompt_tokens(choice / generation.n());
        let mut body = TextLogprobs::default();
        for logprob in logprobs {
            let id = prompt[self.told[choice]];
            body.push(id, *logprob, &mut self.offsets[choice], tokenizer);
            self.told[choice] += 1;
        }
        Some(body)
    }

    fn delta(
        &mut self,
        generation: &Generation,
        choice: usize,
        delta: &Delta,
        reason: Option<FinishReason>,
        out: &mut Vec<u8>,
    ) {
        let options = generation.options();
        let tokenizer = &generation.app().text.tokenizer;
        let has_more = !delta.text.is_empty() || !delta.tokens.is_empty();
        let token_ids = || options.return_token_ids.then(|| delta.tokens.iter().map(|t| t.id).collect());
        // All has ended with this one: what there is to tell of the whole goes with it.
        let closing = || match generation.has_ended() && reason.is_some() {
            true => wire::closing(generation),
            false => More::default(),
        };
        match self.dialect {
            Dialect::Chat => {
                if has_more {
                    let logprobs =
                        options.sampling.logprobs.map(|_| ChatLogprobs::new(&delta.tokens, tokenizer));
                    let text = ChatDelta { role: None, content: Some(&delta.text) };
                    let choice = ChatChunkChoice {
                        index: choice,
                        delta: text,
                        logprobs,
                        finish_reason: None,
                        token_ids: token_ids(),
                    };
                    self.object(&[choice], self.no_usage(), More::default(), out);
                }
                if reason.is_some() {
                    self.chat(choice, ChatDelta::default(), None, reason, closing(), out);
                }
            }
            Dialect::Completion if has_more || reason.is_some() => {
                let logprobs = options.sampling.logprobs.map(|_| {
                    let mut body = TextLogprobs::default();
                    for token in &delta.tokens {
                        body.push(token.id, token.logprob.as_ref(), &mut self.offsets[choice], tokenizer);
                    }
                    body
                });
                self.text(choice, &delta.text, logprobs, token_ids(), reason, closing(), out);
            }
            Dialect::Completion => {}
        }
    }

    fn chat(
        &self,
        index: usize,
        delta: ChatDelta<'_>,
        logprobs: Option<ChatLogprobs>,
        finish_reason: Option<FinishReason>,
        more: More,
        out: &mut Vec<u8>,
    ) {
        let choice = ChatChunkChoice { index, delta, logprobs, finish_reason, token_ids: None };
        self.object(&[choice], self.no_usage(), more, out);
    }

    #[allow(clippy::too_many_arguments, reason = "the members of the object")]
    fn text(
        &self,
        index: usize,
        text: &str,
        logprobs: Option<TextLogprobs>,
        token_ids: Option<Vec<u32>>,
        finish_reason: Option<FinishReason>,
        more: More,
        out: &mut Vec<u8>,
    ) {
        let choice = TextChoice { index, text, logprobs, finish_reason, token_ids };
        self.object(&[choice], self.no_usage(), more, out);
    }

    /// Where usage is wanted it is null in all chunks but the last.
    fn no_usage(&self) -> Option<Option<UsageBody>> {
        self.wants.include_usage.then_some(None)
    }

    fn object<C: Serialize>(
        &self,
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
        event(&Object { id, object, created, model, system_fingerprint, choices, usage, more }, out);
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
