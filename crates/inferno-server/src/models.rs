//! `GET /v1/models`: the one model there is, under the names that clients read.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Value, json};

use crate::app::App;
use crate::clock::rfc3339;
use crate::error::ApiError;
use crate::options::check_model;
use crate::wire::ok;

pub(crate) async fn list(State(app): State<Arc<App>>) -> Response {
    let id = app.card.id();
    ok(&json!({
        "object": "list",
        "data": [model(&app)],
        "models": [model(&app)],
        // Anthropic's.
        "has_more": false,
        "first_id": id,
        "last_id": id,
    }))
}

pub(crate) async fn one(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let Path(id) = id.map_err(|_| ApiError::bad_path())?;
    check_model(Some(&id), &app.card, &app.settings)?;
    Ok(ok(&model(&app)))
}

fn model(app: &App) -> Value {
    let card = &app.card;
    let context_len = app.text.context_len;
    json!({
        "id": card.id(),
        "object": "model",
        "type": "model",
        "display_name": card.id(),
        "created": app.created,
        "created_at": rfc3339(Duration::from_secs(app.created)),
        "owned_by": "inferno",
        "root": card.id(),
        "parent": null,
        "aliases": card.aliases(),
        "max_model_len": context_len,
        "context_length": context_len,
        "context_window": context_len,
        "chat": chat(app),
        "meta": {
            "n_ctx": context_len,
            "n_ctx_train": card.context_train,
            "n_vocab": app.text.tokenizer.vocab_size(),
            "n_embd": card.dim,
            "n_params": card.n_params,
            "size": card.n_bytes,
            "ftype": card.dtype,
            "architecture": card.family,
        },
    })
}

/// Features of chats with the model, for clients that show their users a choice.
fn chat(app: &App) -> Value {
    let profile = app.text.template.renderer().map(|renderer| renderer.profile());
    json!({
        "template": profile.is_some(),
        "system": profile.is_some_and(|profile| profile.takes_system),
        "thinking": thinks(app),
        "reasoning_effort": profile.is_some_and(|profile| profile.reply.takes_effort),
    })
}

/// Whether the model's chat template knows of reasoning.
pub(crate) fn thinks(app: &App) -> bool {
    app.text.template.renderer().is_some_and(|renderer| {
        let reply = &renderer.profile().reply;
        reply.thinks || reply.takes_effort || !reply.thinking_variables.is_empty()
    })
}
