//! Ollama's `/api`: the one model under the names that its clients read, and what is not there.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, State};
use axum::response::Response;
use axum::routing::{any, delete, get, post};
use hyper::StatusCode;
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::body::{self, Unread};
use crate::clock::{rfc3339, since_1970};
use crate::dialect::ollama::{self, AboutModel, Chats, Generates, OllamaDialect, Route, Said};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::keys::Caller;
use crate::meter::Id;
use crate::models;
use crate::options::{NAME_BYTES, check_model};
use crate::routes::{completed, conversed};
use crate::wire::ok;

mod library;

/// Ollama's version whose API this is: clients ask whether it is new enough.
const API_VERSION: &str = "0.33.0";

/// A hundred years: a model stays until the server ends.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Routes that answer from the model.
pub(crate) fn generating() -> Router<Arc<App>> {
    Router::new().route(Chats::PATH, post(chat)).route(Generates::PATH, post(generate))
}

/// Routes about models, which have a body.
pub(crate) fn asking() -> Router<Arc<App>> {
    Router::new()
        .route("/api/show", post(show))
        .route("/api/pull", post(library::pull))
        .route("/api/copy", post(copy))
        .route("/api/delete", delete(library::remove))
        .route("/api/embed", post(embed))
        .route("/api/embeddings", post(embed))
        .route("/api/create", post(create))
        .route("/api/push", post(create))
        .route("/api/blobs/{digest}", any(create))
}

/// Routes about the server.
pub(crate) fn looking() -> Router<Arc<App>> {
    Router::new()
        .route("/api/tags", get(tags))
        .route("/api/ps", get(running))
        .route("/api/version", get(version))
}

async fn chat(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(Id(line)): Extension<Id>,
    unread: Unread,
) -> Result<Response, ApiError> {
    let (object, reading) = body::object(&app, unread).await?;
    if ollama::asks_for_nothing(&object, "messages") {
        return loaded::<Chats>(&app, object);
    }
    conversed::<OllamaDialect<Chats>>(app, caller, line, (object, reading)).await
}

async fn generate(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(Id(line)): Extension<Id>,
    unread: Unread,
) -> Result<Response, ApiError> {
    let (object, reading) = body::object(&app, unread).await?;
    if ollama::asks_for_nothing(&object, "prompt") {
        return loaded::<Generates>(&app, object);
    }
    if object.get("raw") == Some(&Value::Bool(true)) {
        return completed::<OllamaDialect<Generates>>(app, caller, line, (object, reading)).await;
    }
    conversed::<OllamaDialect<Generates>>(app, caller, line, (object, reading)).await
}

/// The answer to a request that only wants the model to be there. It is, and stays where `keep_alive` is 0.
fn loaded<R: Route>(app: &App, body: Map<String, Value>) -> Result<Response, ApiError> {
    let name = ollama::named(&mut Fields::new(body))?;
    known(app, name.as_deref())?;
    let model = name.unwrap_or_else(|| app.card.id().to_owned());
    let mut line = ollama::line(&model, R::members(Said::default()));
    line.extend([("done_reason".to_owned(), "load".into()), ("done".to_owned(), true.into())]);
    Ok(ok(&line))
}

/// Checks that a name is one of the model's.
///
/// # Errors
/// 404: it is another model's.
fn known(app: &App, name: Option<&str>) -> Result<(), ApiError> {
    check_model(name.map(|name| ollama::untagged(name, app)), &app.card, &app.settings)
}

async fn version() -> Response {
    ok(&json!({ "version": API_VERSION, "server": concat!("inferno ", env!("CARGO_PKG_VERSION")) }))
}

/// The model under its name and those that clients gave it.
async fn tags(State(app): State<Arc<App>>) -> Response {
    let names = std::iter::once(app.card.id().to_owned()).chain(app.card.copied());
    let models = names.map(|name| {
        let mut model = card(&app, &name);
        model["modified_at"] = rfc3339(Duration::from_secs(app.created)).into();
        model
    });
    ok(&json!({ "models": models.collect::<Vec<_>>() }))
}

async fn running(State(app): State<Arc<App>>) -> Response {
    let mut model = card(&app, app.card.id());
    model["expires_at"] = rfc3339(since_1970() + FOREVER).into();
    // The server knows no devices.
    model["size_vram"] = 0.into();
    model["context_length"] = app.text.context_len.into();
    ok(&json!({ "models": [model] }))
}

async fn show(State(app): State<Arc<App>>, unread: Unread) -> Result<Response, ApiError> {
    let (object, _reading) = body::object(&app, unread).await?;
    known(&app, AboutModel::read(object)?.name.as_deref())?;
    let card = &app.card;
    let mut capabilities = vec!["completion"];
    if app.text.template.renderer().is_some() {
        capabilities.push("tools");
    }
    if models::thinks(&app) {
        capabilities.push("thinking");
    }
    let defaults = &app.settings.defaults;
    let parameters = format!(
        "temperature {}\ntop_k {}\ntop_p {}\nmin_p {}",
        defaults.temperature, defaults.top_k, defaults.top_p, defaults.min_p
    );
    let family = &card.family;
    let mut info = Map::new();
    info.insert("general.architecture".into(), family.as_str().into());
    info.insert("general.parameter_count".into(), card.n_params.into());
    info.insert(format!("{family}.context_length"), app.text.context_len.into());
    info.insert(format!("{family}.embedding_length"), card.dim.into());
    Ok(ok(&json!({
        "license": "",
        "modelfile": format!("FROM {}\n", card.id()),
        "parameters": parameters,
        "template": card.template.as_deref().unwrap_or_default(),
        "details": details(&app),
        "model_info": info,
        "capabilities": capabilities,
        "modified_at": rfc3339(Duration::from_secs(app.created)),
    })))
}

/// The model as lists have it, under one of its names.
fn card(app: &App, name: &str) -> Value {
    let card = &app.card;
    let name = if name.contains(':') { name.to_owned() } else { format!("{name}:latest") };
    json!({
        "name": name,
        "model": name,
        "size": card.n_bytes,
        "digest": digest(&card.fingerprint),
        "details": details(app),
    })
}

fn details(app: &App) -> Value {
    let card = &app.card;
    json!({
        "parent_model": "",
        "format": "gguf",
        "family": card.family,
        "families": [card.family],
        "parameter_size": size(card.n_params),
        "quantization_level": card.dtype,
    })
}

/// A number of parameters as Ollama writes it: `8.4M`.
fn size(n: u64) -> String {
    let unit = |unit: u64, name: &str| {
        let tenths = (n + unit / 20) / (unit / 10);
        format!("{}.{}{name}", tenths / 10, tenths % 10)
    };
    match n {
        1_000_000_000.. => unit(1_000_000_000, "B"),
        1_000_000.. => unit(1_000_000, "M"),
        1_000.. => unit(1_000, "K"),
        _ => n.to_string(),
    }
}

/// 64 hexadecimal digits that differ between models, as clients compare them. They are no checksum of the file.
fn digest(fingerprint: &str) -> String {
    let hash = |seed: u64| {
        let start = 0xcbf2_9ce4_8422_2325 ^ seed;
        fingerprint.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    };
    (0..4).map(|seed| format!("{:016x}", hash(seed))).collect()
}

/// The names in a request for a copy: the present one and the new one.
///
/// # Errors
/// 400: one is missing or no string.
pub(crate) fn names_of_copy(body: Map<String, Value>) -> Result<(String, String), ApiError> {
    let mut fields = Fields::new(body);
    let mut name = |name: &'static str| {
        let found = fields.string(name, NAME_BYTES)?.filter(|found| !found.is_empty());
        found.ok_or_else(|| ApiError::missing(name, format!("`{name}` is missing: the name of a model")))
    };
    Ok((name("source")?, name("destination")?))
}

/// Gives the model another name, until the server ends.
async fn copy(State(app): State<Arc<App>>, unread: Unread) -> Result<Response, ApiError> {
    let (object, _reading) = body::object(&app, unread).await?;
    let (source, destination) = names_of_copy(object)?;
    check_model(Some(ollama::untagged(&source, &app)), &app.card, &app.settings)?;
    match app.card.copy(ollama::untagged(&destination, &app)) {
        true => Ok(Response::default()),
        false => {
            let message =
                "the model has as many other names as it may have: `DELETE /api/delete` takes one away";
            Err(ApiError::client(StatusCode::CONFLICT, "too_many_names", message))
        }
    }
}

async fn embed(State(app): State<Arc<App>>, unread: Unread) -> Result<Response, ApiError> {
    body::object(&app, unread).await?;
    Err(absent("embeddings are not there yet: this server has a model that writes text"))
}

async fn create() -> ApiError {
    absent("models are not made or uploaded here: `inferno serve -m FILE` serves a GGUF file")
}

fn absent(message: impl Into<String>) -> ApiError {
    ApiError::not_implemented("not_supported", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_decimal_and_digests_differ() {
        let sizes = [0, 999, 1_050, 8_394_624, 999_960_000, 7_615_616_512].map(size);
        assert_eq!(sizes, ["0", "999", "1.1K", "8.4M", "1000.0M", "7.6B"]);
        assert_eq!(digest("fp_a").len(), 64);
        assert_ne!(digest("fp_a"), digest("fp_b"));
    }
}
