//! How the server is: for whoever starts, stops and balances servers.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use inferno_engine::Samplers;
use inferno_model::batch::PAGE_LEN;
use inferno_model::sample::{Mirostat, MirostatVersion};
use serde_json::{Value, json};

use crate::app::App;
use crate::error::ApiError;
use crate::settings::Defaults;
use crate::wire::ok;

/// The process lives.
pub(crate) async fn live() -> Response {
    ok(&json!({ "status": "ok" }))
}

/// It can compute.
pub(crate) async fn health(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    app.health()?;
    Ok(ok(&json!({ "status": "ok" })))
}

/// It takes requests.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    app.health()?;
    match app.drain.is_serving() {
        true => Ok(ok(&json!({ "status": "ok" }))),
        false => Err(ApiError::shutting_down()),
    }
}

pub(crate) async fn version() -> Response {
    ok(&json!({ "version": env!("CARGO_PKG_VERSION") }))
}

/// What it is and how it is set up; for operators.
pub(crate) async fn server_info(State(app): State<Arc<App>>) -> Response {
    let (card, settings, shape) = (&app.card, &app.settings, app.engine.shape());
    ok(&json!({
        "version": env!("CARGO_PKG_VERSION"),
        "model": card.id(),
        "aliases": card.aliases(),
        "system_fingerprint": card.fingerprint,
        "context_length": app.text.context_len,
        "vocab_size": shape.vocab_size,
        "has_chat_template": app.text.template.renderer().is_some(),
        "kv_pool": { "pages": shape.pool_len / PAGE_LEN, "positions": shape.pool_len, "groups": kv_groups(&app) },
        "keys": app.keyring.n_keys(),
        "uptime_s": app.started.elapsed().as_secs(),
        "limits": {
            "body_bytes": settings.body_bytes,
            "connections": settings.connections,
            "n": settings.n,
            "prompts": settings.prompts,
            "messages": settings.messages,
            "responses": settings.responses,
            "stop_strings": settings.stops,
            "logit_bias": settings.logit_bias,
            "json_depth": settings.json_depth,
            "json_nodes": settings.json_nodes,
            "deadline_ms": settings.deadline.map(|time| time.as_millis() as u64),
        },
        "sampling_defaults": sampling_defaults(&settings.defaults),
    }))
}

/// Sampling of requests that do not say; samplers that are off are left out.
fn sampling_defaults(defaults: &Defaults) -> Value {
    let mut all = json!({
        "temperature": short(defaults.temperature),
        "top_k": defaults.top_k,
        "top_p": short(defaults.top_p),
        "min_p": short(defaults.min_p),
        "repetition_penalty": short(defaults.repeat_penalty),
        "repeat_last_n": defaults.repeat_last_n.map_or(-1, |n| n as i64),
        "presence_penalty": short(defaults.presence_penalty),
        "frequency_penalty": short(defaults.frequency_penalty),
    });
    let (on, off) = (&defaults.samplers, Samplers::default());
    let mut add = |is_on: bool, name: &str, value: Value| {
        if is_on {
            all[name] = value;
        }
    };
    let has_xtc = on.xtc_probability > 0.0;
    add(on.top_n_sigma > 0.0, "top_n_sigma", short(on.top_n_sigma).into());
    add(on.typical_p < 1.0, "typical_p", short(on.typical_p).into());
    add(has_xtc, "xtc_probability", short(on.xtc_probability).into());
    add(has_xtc, "xtc_threshold", short(on.xtc_threshold).into());
    add(on.dynatemp_range > 0.0, "dynatemp_range", short(on.dynatemp_range).into());
    add(
        on.dynatemp_exponent != off.dynatemp_exponent,
        "dynatemp_exponent",
        short(on.dynatemp_exponent).into(),
    );
    add(on.has_dry(), "dry_multiplier", short(on.dry_multiplier).into());
    add(on.has_dry(), "dry_base", short(on.dry_base).into());
    add(on.has_dry(), "dry_allowed_length", on.dry_allowed_length.into());
    add(on.has_dry(), "dry_penalty_last_n", on.dry_last_n.map_or(-1, |n| n as i64).into());
    add(on.has_dry(), "dry_sequence_breakers", defaults.dry_sequence_breakers.clone().into());
    if let Some(Mirostat { version, tau, eta }) = on.mirostat {
        add(true, "mirostat", if version == MirostatVersion::One { 1 } else { 2 }.into());
        add(true, "mirostat_tau", short(tau).into());
        add(true, "mirostat_eta", short(eta).into());
    }
    if let Some(order) = &on.order {
        add(true, "samplers", order.iter().map(|kind| kind.name()).collect());
    }
    all
}

/// The cache groups of the KV pool: `window` is null where a row sees all positions.
fn kv_groups(app: &App) -> Vec<Value> {
    let groups = app.engine.kv_groups().iter();
    let kind = |is_state| if is_state { "states" } else { "pages" };
    groups
        .map(|group| json!({ "kind": kind(group.is_state), "window": group.window, "pages": group.n_pages }))
        .collect()
}

/// The number that prints as `x` does: 0.6, not 0.6000000238418579.
fn short(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}

/// How busy it is; for those who balance.
pub(crate) async fn loads(State(app): State<Arc<App>>) -> Response {
    let metrics = app.engine.metrics();
    let (sequences, pages) = (metrics.sequences, metrics.pages);
    ok(&json!({
        "model": app.card.id(),
        "requests": app.registry.len(),
        "sequences_running": sequences.running,
        "sequences_waiting": sequences.waiting,
        "tokens_waiting": sequences.waiting_tokens,
        "kv_pages": { "free": pages.free, "cached": pages.cached, "held": pages.held, "total": pages.total() },
        "kv_usage": metrics.kv_usage(),
        "wait_estimate_s": app.engine.wait_estimate().as_secs_f64(),
        "draining": !app.drain.is_serving(),
    }))
}
