//! An answer in one piece.

use axum::response::Response;

use crate::choice::{Ending, FinishReason, Shown};
use crate::echo::Echo;
use crate::error::ApiError;
use crate::generation::{Generation, Update};
use crate::wire::{
    self, ChatChoice, ChatLogprobs, Dialect, Label, Message, Names, Object, TextChoice, TextLogprobs,
    UsageBody,
};

/// A choice as far as it has come.
#[derive(Debug, Default)]
struct Grown {
    text: String,
    tokens: Vec<Shown>,
    prompt_logprobs: Vec<inferno_engine::TokenLogprob>,
    ending: Option<Ending>,
}

/// Waits for the end. If nobody waits any more, this is dropped, and with it the request.
pub(crate) async fn respond(
    mut generation: Generation,
    label: &Label,
    dialect: Dialect,
    echo: &[Echo],
) -> Result<Response, ApiError> {
    let drain = generation.app().drain.clone();
    let mut grown: Vec<Grown> = (0..generation.n_choices()).map(|_| Grown::default()).collect();
    let mut updates = Vec::new();
    while !generation.has_ended() {
        tokio::select! {
            () = drain.ended() => return Err(ApiError::shutting_down()),
            () = generation.next(&mut updates) => {}
        }
        for update in updates.drain(..) {
            let (choice, delta, ending) = match update {
                Update::Progress { .. } => continue,
                Update::Prompt { choice, logprobs } => {
                    grown[choice].prompt_logprobs.extend(logprobs);
                    continue;
                }
                Update::Failed(error) => return Err(error),
                Update::Text { choice, delta } => (choice, delta, None),
                Update::Finished { choice, delta, ending } => (choice, delta, Some(ending)),
            };
            grown[choice].text.push_str(&delta.text);
            grown[choice].tokens.extend(delta.tokens);
            grown[choice].ending = ending.or(grown[choice].ending.take());
        }
    }
    Ok(match dialect {
        Dialect::Chat => chat(&generation, label, grown),
        Dialect::Completion => completion(&generation, label, grown, echo),
    })
}

fn chat(generation: &Generation, label: &Label, grown: Vec<Grown>) -> Response {
    let options = generation.options();
    let names = Names::of(generation);
    let choice = |(index, grown): (usize, Grown)| {
        let (reason, stop_reason) = grown.ending.map_or((FinishReason::Stop, None), |e| (e.reason, e.stop));
        ChatChoice {
            index,
            logprobs: options.sampling.logprobs.map(|_| ChatLogprobs::new(&grown.tokens, names)),
            token_ids: options.return_token_ids.then(|| ids(&grown.tokens)),
            message: Message { role: "assistant", content: grown.text, refusal: None },
            finish_reason: reason,
            stop_reason,
        }
    };
    let choices: Vec<ChatChoice> = grown.into_iter().enumerate().map(choice).collect();
    let prompt = options.return_token_ids.then(|| generation.prompt_tokens(0));
    object(generation, label, "chat.completion", Some(prompt), &choices)
}

fn completion(generation: &Generation, label: &Label, grown: Vec<Grown>, echo: &[Echo]) -> Response {
    let options = generation.options();
    let names = Names::of(generation);
    let texts: Vec<String> = grown
        .iter()
        .enumerate()
        .map(|(index, grown)| match echo.get(index / generation.n()) {
            Some(prompt) => prompt.text().to_owned() + &grown.text,
            None => grown.text.clone(),
        })
        .collect();
    let choice = |(index, grown): (usize, &Grown)| {
        let prompt = generation.prompt_tokens(index / generation.n());
        let echo = echo.get(index / generation.n());
        TextChoice {
            index,
            text: &texts[index],
            logprobs: options.sampling.logprobs.map(|_| {
                let mut logprobs = TextLogprobs::default();
                if let Some(echo) = echo {
                    for (i, &id) in prompt.iter().enumerate() {
                        let logprob = i.checked_sub(1).and_then(|i| grown.prompt_logprobs.get(i));
                        logprobs.push(id, logprob, echo.offset(i), names);
                    }
                }
                logprobs.push_all(&grown.tokens, echo, names);
                logprobs
            }),
            finish_reason: grown.ending.as_ref().map(|ending| ending.reason),
            stop_reason: Some(grown.ending.as_ref().and_then(|ending| ending.stop.clone())),
            token_ids: Some(options.return_token_ids.then(|| ids(&grown.tokens))),
            prompt_token_ids: Some(options.return_token_ids.then_some(prompt)),
        }
    };
    let choices: Vec<TextChoice<'_>> = grown.iter().enumerate().map(choice).collect();
    object(generation, label, "text_completion", None, &choices)
}

fn ids(tokens: &[Shown]) -> Vec<u32> {
    tokens.iter().map(|token| token.span.token).collect()
}

fn object<C: serde::Serialize>(
    generation: &Generation,
    label: &Label,
    object: &'static str,
    prompt_token_ids: Option<Option<&[u32]>>,
    choices: &[C],
) -> Response {
    wire::ok(&Object {
        id: &label.id,
        object,
        created: label.created,
        model: &label.model,
        system_fingerprint: &label.fingerprint,
        prompt_token_ids,
        choices,
        usage: Some(Some(UsageBody::new(&generation.totals()))),
        more: wire::closing(generation),
    })
}
