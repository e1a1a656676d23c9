//! An answer in one piece.

use axum::response::Response;

use crate::choice::{FinishReason, Shown};
use crate::completion::Prompt;
use crate::error::ApiError;
use crate::generation::{Generation, Update};
use crate::wire::{
    self, ChatChoice, ChatLogprobs, Dialect, Label, Message, Object, TextChoice, TextLogprobs, UsageBody,
};

/// A choice as far as it has come.
#[derive(Debug, Default)]
struct Grown {
    text: String,
    tokens: Vec<Shown>,
    prompt_logprobs: Vec<inferno_engine::TokenLogprob>,
    reason: Option<FinishReason>,
}

/// Waits for the end. If nobody waits any more, this is dropped, and with it the request.
pub(crate) async fn respond(
    mut generation: Generation,
    label: &Label,
    dialect: Dialect,
    echo: &[Prompt],
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
            let (choice, delta, reason) = match update {
                Update::Progress { .. } => continue,
                Update::Prompt { choice, logprobs } => {
                    grown[choice].prompt_logprobs.extend(logprobs);
                    continue;
                }
                Update::Failed(error) => return Err(error),
                Update::Text { choice, delta } => (choice, delta, None),
                Update::Finished { choice, delta, reason } => (choice, delta, Some(reason)),
            };
            grown[choice].text.push_str(&delta.text);
            grown[choice].tokens.extend(delta.tokens);
            grown[choice].reason = reason.or(grown[choice].reason);
        }
    }
    Ok(match dialect {
        Dialect::Chat => chat(&generation, label, grown),
        Dialect::Completion => completion(&generation, label, grown, echo),
    })
}

fn chat(generation: &Generation, label: &Label, grown: Vec<Grown>) -> Response {
    let options = generation.options();
    let tokenizer = &generation.app().text.tokenizer;
    let choice = |(index, grown): (usize, Grown)| ChatChoice {
        index,
        logprobs: options.sampling.logprobs.map(|_| ChatLogprobs::new(&grown.tokens, tokenizer)),
        token_ids: options.return_token_ids.then(|| grown.tokens.iter().map(|t| t.id).collect()),
        message: Message { role: "assistant", content: grown.text, refusal: None },
        finish_reason: grown.reason.unwrap_or(FinishReason::Stop),
    };
    let choices: Vec<ChatChoice> = grown.into_iter().enumerate().map(choice).collect();
    object(generation, label, "chat.completion", &choices)
}

fn completion(generation: &Generation, label: &Label, grown: Vec<Grown>, echo: &[Prompt]) -> Response {
    let options = generation.options();
    let tokenizer = &generation.app().text.tokenizer;
    let texts: Vec<String> = grown
        .iter()
        .enumerate()
        .map(|(index, grown)| match echo.get(index / generation.n()) {
            Some(prompt) => prompt.text(tokenizer) + &grown.text,
            None => grown.text.clone(),
        })
        .collect();
    let choice = |(index, grown): (usize, &Grown)| TextChoice {
        index,
        text: &texts[index],
        logprobs: options.sampling.logprobs.map(|_| {
            let mut logprobs = TextLogprobs::default();
            let mut offset = 0;
            if !echo.is_empty() {
                let prompt = generation.prompt_tokens(index / generation.n());
                logprobs.push_prompt(prompt, &grown.prompt_logprobs, &mut offset, tokenizer);
            }
            for token in &grown.tokens {
                logprobs.push(token.id, token.logprob.as_ref(), &mut offset, tokenizer);
            }
            logprobs
        }),
        token_ids: options.return_token_ids.then(|| grown.tokens.iter().map(|t| t.id).collect()),
        finish_reason: grown.reason,
    };
    let choices: Vec<TextChoice<'_>> = grown.iter().enumerate().map(choice).collect();
    object(generation, label, "text_completion", &choices)
}

fn object<C: serde::Serialize>(
    generation: &Generation,
    label: &Label,
    object: &'static str,
    choices: &[C],
) -> Response {
    wire::ok(&Object {
        id: &label.id,
        object,
        created: label.created,
        model: &label.model,
        system_fingerprint: &label.fingerprint,
        choices,
        usage: Some(Some(UsageBody::new(&generation.totals()))),
        more: wire::closing(generation),
    })
}
