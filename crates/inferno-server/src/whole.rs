//! An answer in one piece.

use axum::response::Response;
use hyper::StatusCode;
use inferno_engine::TokenLogprob;
use inferno_reply::{Delta, Ending};

use crate::dialect::{Dialect, PromptNews, Whole};
use crate::error::ApiError;
use crate::generation::{Generation, Update};
use crate::wire;

/// A choice as far as it has come.
#[derive(Debug, Default)]
struct Grown {
    delta: Delta,
    prompt_logprobs: Vec<TokenLogprob>,
    ending: Option<Ending>,
}

/// Waits for the end. If nobody waits any more, this is dropped, and with it the request.
pub(crate) async fn respond(
    mut generation: Generation,
    mut dialect: Box<dyn Dialect>,
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
            match update {
                Update::Prompt(PromptNews::Progress { .. }) => {}
                Update::Prompt(PromptNews::Scores { choice, logprobs }) => {
                    grown[choice].prompt_logprobs.extend(logprobs);
                }
                Update::Failed(error) => return Err(error),
                Update::Parts { choice, delta } => grown[choice].delta.append(delta),
                Update::Finished { choice, delta, ending } => {
                    grown[choice].delta.append(delta);
                    grown[choice].ending = Some(ending);
                }
            }
        }
    }
    let choices = grown.into_iter().map(|Grown { delta, prompt_logprobs, ending }| Whole {
        delta,
        ending: ending.expect("all choices have ended"),
        prompt_logprobs,
    });
    let bytes = dialect.whole(&generation, choices.collect());
    Ok(wire::json_bytes(StatusCode::OK, bytes))
}
