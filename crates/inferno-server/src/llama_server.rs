//! llama-server's own routes, beside those of OpenAI, Anthropic and llama.cpp's tokens: completions in its words, `/infill`,
//! and what its clients ask about a server.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, State};
use axum::response::Response;
use axum::routing::{get, post};
use hyper::Uri;
use serde_json::{Map, Value, json};

use crate::admin;
use crate::app::App;
use crate::body::{self, Unread};
use crate::dialect::native::{Infills, NativeDialect, Plain, Route, defaults};
use crate::dialect::{CompletionDialect, Reads};
use crate::error::ApiError;
use crate::infill::Marks;
use crate::keys::{Caller, Role};
use crate::meter::Id;
use crate::query;
use crate::routes::{complete, completed};
use crate::wire::ok;

/// Routes that answer from the model.
pub(crate) fn generating() -> Router<Arc<App>> {
    Router::new()
        .route(Plain::PATH, post(complete::<NativeDialect<Plain>>))
        .route("/completions", post(completions))
        .route(Infills::PATH, post(infill))
}

/// Routes that have a body and change nothing.
pub(crate) fn asking() -> Router<Arc<App>> {
    Router::new()
        .route("/props", get(props).post(set_props))
        .route("/slots", get(slots))
        .route("/slots/{id}", post(slot_action))
        .route("/lora-adapters", get(adapters).post(set_adapters))
}

/// `/completions` is a path of OpenAI's here, whose requests name a model, and of llama-server's own there, whose need none.
async fn completions(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(Id(line)): Extension<Id>,
    unread: Unread,
) -> Result<Response, ApiError> {
    let read = body::object(&app, unread).await?;
    if read.0.get("model").is_some_and(|model| !model.is_null()) {
        return completed::<CompletionDialect>(app, caller, line, read).await;
    }
    let answered = completed::<NativeDialect<Plain>>(app, caller, line, read).await;
    Ok(answered.unwrap_or_else(|error| {
        let body = NativeDialect::<Plain>::error(&error);
        error.with_body(&body)
    }))
}

async fn infill(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(Id(line)): Extension<Id>,
    unread: Unread,
) -> Result<Response, ApiError> {
    Marks::of(&app.text.tokenizer)?;
    let read = body::object(&app, unread).await?;
    completed::<NativeDialect<Infills>>(app, caller, line, read).await
}

/// The model, its chat template and the defaults of requests: editors and chat programs look for llama-server here.
async fn props(State(app): State<Arc<App>>) -> Response {
    let (card, tokenizer) = (&app.card, &app.text.tokenizer);
    let text = |id: Option<u32>| id.and_then(|id| tokenizer.token_text(id)).unwrap_or_default();
    let profile = app.text.template.renderer().map(|renderer| renderer.profile());
    let has_template = profile.is_some();
    ok(&json!({
        "default_generation_settings": {
            "params": defaults(&app.settings),
            "n_ctx": app.text.context_len,
        },
        "total_slots": app.engine.max_sequences(),
        "model_alias": card.id(),
        "model_ftype": card.dtype,
        "model_path": card.file,
        "modalities": { "vision": false, "video": false, "audio": false },
        "endpoint_slots": true,
        "endpoint_props": false,
        "endpoint_metrics": true,
        "ui": app.settings.page,
        "chat_template": card.template.as_deref().unwrap_or_default(),
        "chat_template_caps": {
            "supports_system_role": profile.is_some_and(|profile| profile.takes_system),
            "supports_tools": has_template,
            "supports_tool_calls": has_template,
            "supports_parallel_tool_calls": has_template,
        },
        "bos_token": text(tokenizer.bos()),
        "eos_token": text(tokenizer.eos()),
        "build_info": concat!("inferno-", env!("CARGO_PKG_VERSION")),
        "is_sleeping": false,
    }))
}

async fn set_props() -> ApiError {
    ApiError::not_implemented(
        "not_supported",
        "properties are given at the start: `inferno serve --help` lists the flags",
    )
}

/// A slot for each sequence that may run at once. Sequences take any of them; their numbers say nothing about the next answer.
async fn slots(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let snapshot = admin::snapshot(&app).await?;
    let running: Vec<_> = snapshot.sequences.iter().filter(|sequence| sequence.place.is_none()).collect();
    let n_slots = app.engine.max_sequences();
    let must_have = query::parameter(&uri, "fail_on_no_slot").is_some_and(|text| !text.is_empty());
    if must_have && running.len() >= n_slots {
        return Err(ApiError::unavailable("no_slot", "no slot available", 1));
    }
    // Numbers of other keys' requests are theirs.
    let shows_numbers = caller.role == Role::Admin || !app.keyring.is_needed();
    let slot = |id: usize| {
        let mut slot = Map::new();
        slot.insert("id".into(), id.into());
        slot.insert("n_ctx".into(), app.text.context_len.into());
        slot.insert("speculative".into(), app.settings.speculate.into());
        slot.insert("is_processing".into(), running.get(id).is_some().into());
        if let Some(sequence) = running.get(id).filter(|_| shows_numbers) {
            let n_left = sequence.max_len - sequence.n_prompt - sequence.n_completion;
            let next = json!([{
                "has_next_token": n_left > 0,
                "n_remain": n_left,
                "n_decoded": sequence.n_completion,
            }]);
            slot.insert("id_task".into(), sequence.id.0.into());
            slot.insert("n_prompt_tokens".into(), sequence.n_prompt.into());
            slot.insert(
                "n_prompt_tokens_processed".into(),
                sequence.n_computed.min(sequence.n_prompt).into(),
            );
            slot.insert("n_prompt_tokens_cache".into(), sequence.n_cached.into());
            slot.insert("next_token".into(), next);
        }
        slot
    };
    Ok(ok(&(0..n_slots).map(slot).collect::<Vec<Map<String, Value>>>()))
}

async fn slot_action() -> ApiError {
    let message = "slots are not saved, restored or erased here: prefixes are shared by all sequences by themselves, and \
                   `POST /admin/reset_prefix_cache` forgets them";
    ApiError::not_implemented("not_supported", message)
}

/// There are none.
async fn adapters() -> Response {
    ok(&json!([]))
}

async fn set_adapters(State(app): State<Arc<App>>, unread: Unread) -> Result<Response, ApiError> {
    let (value, _reading) = body::value(&app, unread).await?;
    match value {
        Value::Array(items) if items.is_empty() => Ok(ok(&json!({ "success": true }))),
        Value::Array(_) => {
            let message = "adapters are not there: no LoRA is loaded, so that the list must be empty";
            Err(ApiError::not_implemented("not_supported", message))
        }
        _ => Err(ApiError::bad_request(
            "the body is not an array, expected one of objects with `id` and `scale`",
        )),
    }
}
