//! `GET /v1/models`: the one model there is, under the names that clients read.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Value, json};

use crate::app::App;
use crate::error::ApiError;
use crate::options::check_model;
use crate::wire::ok;

pub(crate) async fn list(State(app): State<Arc<App>>) -> Response {
    ok(&json!({ "object": "list", "data": [model(&app)], "models": [model(&app)] }))
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
        "created": app.created,
        "owned_by": "inferno",
        "root": card.id(),
        "parent": null,
        "aliases": card.names[1..],
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
    let thinks = profile.is_some_and(|profile| {
        let reply = &profile.reply;
        reply.thinks || reply.takes_effort || !reply.thinking_variables.is_empty()
    });
    json!({
        "template": profile.is_some(),
        "system": profile.is_some_and(|profile| profile.takes_system),
        "thinking": thinks,
        "reasoning_effort": profile.is_some_and(|profile| profile.reply.takes_effort),
    })
}
