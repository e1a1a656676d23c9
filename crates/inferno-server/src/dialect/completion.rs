//! `/v1/completions`: OpenAI's text completions. All parts are text.

use std::borrow::Cow;

use inferno_engine::TokenLogprob;
use inferno_reply::{Delta, Ending, Shown};
use serde::Serialize;
use serde_json::{Map, Value};

use super::openai::{Envelope, error_body, stop_reason, wants};
use super::{Dialect, PromptNews, Reads, Whole, event};
use crate::app::App;
use crate::completion::Completion;
use crate::echo::Echo;
use crate::error::ApiError;
use crate::generation::Generation;
use crate::wire::{Label, More, Names, PromptLogprobs, TextLogprobs};

/// Writes text completions.
#[derive(Debug)]
pub(crate) struct CompletionDialect {
    envelope: Envelope,
    /// The prompts, if completions start with them.
    echo: Vec<Echo>,
}

#[derive(Debug, Serialize)]
struct TextChoice<'a> {
    index: usize,
    text: &'a str,
    logprobs: Option<TextLogprobs>,
    finish_reason: Option<&'static str>,
    /// Left out of events before the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_reason: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_ids: Option<Option<Vec<u32>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_token_ids: Option<Option<&'a [u32]>>,
    /// As vLLM has them, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_logprobs: Option<PromptLogprobs<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    closed_early: bool,
}

impl CompletionDialect {
    /// The next tokens of a choice's prompt, if log-probabilities are wanted.
    fn scored(
        &mut self,
        answer: &Generation,
        choice: usize,
        logprobs: &[Option<&TokenLogprob>],
    ) -> Option<TextLogprobs> {
        answer.options().sampling.logprobs?;
        let prompt = answer.prompt_tokens(choice / answer.n());
        let echo = self.echo.get(choice / answer.n());
        let mut body = TextLogprobs::default();
        let told = self.envelope.told(choice);
        for logprob in logprobs {
            let offset = echo.map_or(0, |echo| echo.offset(told.n_scored));
            body.push(prompt[told.n_scored], *logprob, offset, Names::of(answer));
            told.n_scored += 1;
        }
        Some(body)
    }

    fn chunk<'a>(
        &mut self,
        answer: &'a Generation,
        mut choice: TextChoice<'a>,
        more: More,
        out: &mut Vec<u8>,
    ) {
        if answer.options().return_token_ids {
            choice.token_ids.get_or_insert_default().get_or_insert_default();
            // vLLM has the prompt's tokens beside the first text.
            let told = self.envelope.told(choice.index);
            if !std::mem::replace(&mut told.has_prompt, true) {
                choice.prompt_token_ids = Some(Some(answer.prompt_tokens(choice.index / answer.n())));
            }
        }
        let more = self.envelope.timed(answer, more);
        self.envelope.event(None, &[choice], self.envelope.usage(answer), more, out);
    }
}

impl Dialect for CompletionDialect {
    fn id(&self) -> &str {
        &self.envelope.label.id
    }

    fn set_echo(&mut self, echo: Vec<Echo>) {
        self.echo = echo;
    }

    /// Every choice appears once, in order: clients that count on it add new ones to the end of a list.
    fn begin(&mut self, answer: &Generation, out: &mut Vec<u8>) {
        for choice in 0..answer.n_choices() {
            let text = self.echo.get(choice / answer.n()).map(|echo| echo.text().to_owned());
            if text.is_some() || answer.n_choices() > 1 {
                // The first token of a prompt has no probability, so no event brings it.
                let logprobs = self.scored(answer, choice, &[None]).filter(|_| text.is_some());
                let text = text.unwrap_or_default();
                self.chunk(
                    answer,
                    TextChoice { logprobs, ..TextChoice::new(choice, &text) },
                    More::default(),
                    out,
                );
            }
        }
    }

    fn wants_progress(&self, answer: &Generation) -> bool {
        wants(answer).return_progress
    }

    fn prompt(&mut self, answer: &Generation, news: &PromptNews, out: &mut Vec<u8>) {
        match news {
            PromptNews::Progress { prompt_idx, n_done } => {
                self.envelope.progress::<TextChoice<'_>>(answer, *prompt_idx, *n_done, out);
            }
            // Of a prompt that is echoed. They come in order.
            PromptNews::Scores { choice, logprobs } => {
                let scores: Vec<Option<&TokenLogprob>> = logprobs.iter().map(Some).collect();
                if let Some(body) = self.scored(answer, *choice, &scores).filter(|_| !self.echo.is_empty()) {
                    let choice = TextChoice { logprobs: Some(body), ..TextChoice::new(*choice, "") };
                    self.chunk(answer, choice, More::default(), out);
                }
            }
        }
    }

    fn piece(
        &mut self,
        answer: &Generation,
        choice: usize,
        delta: &Delta,
        ending: Option<&Ending>,
        out: &mut Vec<u8>,
    ) {
        let options = answer.options();
        let (text, tokens) = joined(delta);
        // Tokens without text, as the one that ends an answer, are worth an event only to clients that count tokens.
        let tells_tokens = options.sampling.logprobs.is_some() || options.return_token_ids;
        let told = self.envelope.told(choice);
        told.n_tokens = if ending.is_some() { answer.n_tokens(choice) } else { told.n_tokens + tokens.len() };
        let has_more = !text.is_empty() || tells_tokens && !tokens.is_empty();
        if !has_more && ending.is_none() {
            return;
        }
        let logprobs = options.sampling.logprobs.map(|_| {
            let mut body = TextLogprobs::default();
            body.push_all(tokens.iter().copied(), self.echo.get(choice / answer.n()), Names::of(answer));
            body
        });
        let ids = options.return_token_ids.then(|| tokens.iter().map(|token| token.span.token).collect());
        let part = TextChoice {
            logprobs,
            finish_reason: ending.map(|ending| ending.reason.as_str()),
            stop_reason: ending.map(stop_reason),
            token_ids: ids.map(Some),
            closed_early: ending.is_some_and(|ending| ending.closed_early),
            ..TextChoice::new(choice, &text)
        };
        let more = match ending {
            Some(_) => self.envelope.end_of_choice(answer),
            None => More::default(),
        };
        self.chunk(answer, part, more, out);
    }

    fn end(&mut self, answer: &Generation, out: &mut Vec<u8>) {
        self.envelope.end::<TextChoice<'_>>(answer, out);
    }

    fn whole(&mut self, answer: &Generation, choices: Vec<Whole>) -> Vec<u8> {
        let options = answer.options();
        let names = Names::of(answer);
        let texts: Vec<String> = choices
            .iter()
            .enumerate()
            .map(|(index, whole)| match self.echo.get(index / answer.n()) {
                Some(prompt) => prompt.text().to_owned() + &joined(&whole.delta).0,
                None => joined(&whole.delta).0.into_owned(),
            })
            .collect();
        let choice = |index: usize| {
            let whole = &choices[index];
            let prompt = answer.prompt_tokens(index / answer.n());
            let echo = self.echo.get(index / answer.n());
            let (_, tokens) = joined(&whole.delta);
            TextChoice {
                index,
                text: &texts[index],
                logprobs: options.sampling.logprobs.map(|wanted| {
                    let mut logprobs = TextLogprobs::default();
                    if let Some(echo) = echo {
                        for (i, &id) in prompt.iter().enumerate() {
                            let logprob = i.checked_sub(1).and_then(|i| whole.prompt_logprobs.get(i));
                            // There may be more of the best, for `prompt_logprobs`.
                            let logprob = logprob.map(|all| {
                                let top = all.top.iter().take(wanted.top).copied().collect();
                                TokenLogprob { top, ..*all }
                            });
                            logprobs.push(id, logprob.as_ref(), echo.offset(i), names);
                        }
                    }
                    logprobs.push_all(tokens.iter().copied(), echo, names);
                    logprobs
                }),
                finish_reason: Some(whole.ending.reason.as_str()),
                stop_reason: Some(stop_reason(&whole.ending)),
                token_ids: Some(
                    options.return_token_ids.then(|| tokens.iter().map(|token| token.span.token).collect()),
                ),
                prompt_token_ids: Some(options.return_token_ids.then_some(prompt)),
                prompt_logprobs: options
                    .prompt_logprobs
                    .map(|top| PromptLogprobs::new(prompt, &whole.prompt_logprobs, top, names)),
                closed_early: whole.ending.closed_early,
            }
        };
        let choices: Vec<TextChoice<'_>> = (0..choices.len()).map(choice).collect();
        self.envelope.whole("text_completion", answer, (None, None), &choices)
    }

    fn fail(&self, error: &ApiError, out: &mut Vec<u8>) {
        event(&error_body(error), out);
    }
}

impl Reads<Completion> for CompletionDialect {
    const ROUTE: &'static str = "/v1/completions";

    fn read(body: Map<String, Value>, app: &App) -> Result<(Completion, CompletionDialect), ApiError> {
        let envelope = Envelope::new(Label::new(app, "cmpl-"), "text_completion");
        Ok((Completion::read(body, app)?, CompletionDialect { envelope, echo: Vec::new() }))
    }

    fn error(error: &ApiError) -> Value {
        error_body(error)
    }
}

/// The text of all parts, and their tokens.
fn joined(delta: &Delta) -> (Cow<'_, str>, Vec<&Shown>) {
    let text = match &*delta.parts {
        [part] => Cow::Borrowed(&*part.text),
        parts => parts.iter().map(|part| &*part.text).collect(),
    };
    (text, delta.parts.iter().flat_map(|part| &part.tokens).collect())
}

impl<'a> TextChoice<'a> {
    /// A part of a choice with nothing beside it.
    fn new(index: usize, text: &'a str) -> TextChoice<'a> {
        TextChoice {
            index,
            text,
            logprobs: None,
            finish_reason: None,
            stop_reason: None,
            token_ids: None,
            prompt_token_ids: None,
            prompt_logprobs: None,
            closed_early: false,
        }
    }
}
