//! `/admin`: what runs, and how to end it.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use inferno_engine::Snapshot;
use serde_json::{Value, json};

use crate::app::App;
use crate::error::{ApiError, shown};
use crate::registry::Known;
use crate::wire::ok;

/// All requests, with what the engine holds for each.
pub(crate) async fn requests(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let snapshot = snapshot(&app).await?;
    let mut sequences: HashMap<_, Vec<Value>> = HashMap::new();
    for s in &snapshot.sequences {
        sequences.entry(s.request).or_default().push(json!({
            "choice": s.choice_idx,
            "state": if s.place.is_some() { "waiting" } else { "running" },
            "queue_position": s.place.map(|place| place + 1),
            "eta_ms": s.eta.map(|eta| eta.as_millis() as u64),
            "prompt_tokens": s.n_prompt,
            "cached_tokens": s.n_cached,
            "computed_tokens": s.n_computed,
            "completion_tokens": s.n_completion,
            "kv_pages": s.n_pages,
            "preemptions": s.n_preemptions,
            "priority": s.priority,
        }));
    }
    let request = |known: Known| {
        let own = known.engine_ids.iter().filter_map(|id| sequences.remove(id)).flatten();
        json!({
            "request_id": &*known.request_id,
            "id": known.id,
            "route": known.route,
            "key": &*known.key,
            "stream": known.is_stream,
            "age_ms": known.since.elapsed().as_millis() as u64,
            "sequences": own.collect::<Vec<Value>>(),
        })
    };
    let requests: Vec<Value> = app.registry.list().into_iter().map(request).collect();
    Ok(ok(&json!({ "requests": requests })))
}

/// What the engine holds. It answers between two steps; one that hangs is not waited for.
pub(crate) async fn snapshot(app: &App) -> Result<Snapshot, ApiError> {
    let engine = app.engine.clone();
    let snapshot = tokio::task::spawn_blocking(move || engine.snapshot());
    match tokio::time::timeout(app.settings.stall, snapshot).await {
        Ok(snapshot) => Ok(snapshot.unwrap_or_default()),
        Err(_) => Err(ApiError::unavailable("engine_stalled", "the engine does not answer", 5)),
    }
}

/// Ends a request, named by its own id or by that of its answer.
pub(crate) async fn cancel(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let Path(id) = id.map_err(|_| ApiError::bad_path())?;
    let found = app.registry.find(&id);
    if found.is_empty() {
        let message = format!("there is no request `{}`: `GET /admin/requests` lists them", shown(&id));
        return Err(ApiError::client(hyper::StatusCode::NOT_FOUND, "request_not_found", message));
    }
    let n: usize = found.iter().map(|known| known.engine_ids.len()).sum();
    found.iter().flat_map(|known| &known.engine_ids).for_each(|&id| app.engine.cancel(id));
    tracing::info!(id, n, "cancelled by the operator");
    Ok(ok(&json!({ "cancelled": found.len() })))
}

/// Forgets every cached page that nobody uses.
pub(crate) async fn reset_prefix_cache(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    app.engine.clear_cache();
    // Answers once it is done: letters are read in order.
    let snapshot = snapshot(&app).await?;
    Ok(ok(&json!({ "status": "ok", "cached_pages_left": snapshot.n_nodes })))
}
