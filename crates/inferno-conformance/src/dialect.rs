//! The checks of each API, a module each.

mod bodies;
mod chat;
mod completions;
mod messages;
mod native;
mod ollama;
mod responses;
mod rules;

use serde_json::json;

use crate::check::{Check, Dialect};
use crate::exchange::Request;
use crate::probe::{Probe, cut};

/// Tables of checks, in the order of [`Dialect::ALL`].
pub(crate) const CHECKS: [&[Check]; 6] =
    [chat::CHECKS, completions::CHECKS, responses::CHECKS, messages::CHECKS, ollama::CHECKS, native::CHECKS];

/// The reason why a server has none of a dialect; `None` if it has it. Native routes are looked for one by one.
pub(crate) fn absence(probe: &Probe<'_>, dialect: Dialect) -> Option<String> {
    let model = &probe.model;
    let messages = json!([{ "role": "user", "content": "Hi" }]);
    let request = match dialect {
        Dialect::Chat => Request::post(
            "/v1/chat/completions",
            &json!({ "model": model, "messages": messages, "max_tokens": 1 }),
        ),
        Dialect::Completions => {
            Request::post("/v1/completions", &json!({ "model": model, "prompt": "Hi", "max_tokens": 1 }))
        }
        Dialect::Responses => Request::post(
            "/v1/responses",
            &json!({ "model": model, "input": "Hi", "max_output_tokens": 16, "store": false }),
        ),
        Dialect::Messages => {
            let body = json!({ "model": model, "messages": messages, "max_tokens": 1 });
            Request::post("/v1/messages", &body).with("anthropic-version", messages::VERSION)
        }
        // Its clients ask for the version first.
        Dialect::Ollama => Request::get("/api/version"),
        Dialect::Native => return None,
    };
    let shown = format!("{} {}", request.method, request.path);
    // Without an answer the checks fail, and say why.
    let answer = probe.ask(request).ok()?;
    if !matches!(answer.status, 404 | 405 | 501) {
        return None;
    }
    // The route may be there, and the model not.
    let text = answer.text();
    if answer.status == 404
        && (text.contains("model_not_found") || text.contains("model") && text.contains(model.as_str()))
    {
        return None;
    }
    Some(format!("{shown} is {}: {}", answer.status, cut(&answer.message(), 80)))
}
