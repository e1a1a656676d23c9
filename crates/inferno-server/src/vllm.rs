//! vLLM's own routes: its load, and SageMaker's path for any request.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, State};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json};

use crate::app::App;
use crate::body::{self, Unread};
use crate::dialect::{ChatDialect, CompletionDialect};
use crate::error::ApiError;
use crate::health;
use crate::keys::Caller;
use crate::meter::Id;
use crate::routes::{completed, conversed};
use crate::wire::ok;

/// Routes that answer from the model.
pub(crate) fn generating() -> Router<Arc<App>> {
    Router::new().route("/invocations", post(invocations))
}

/// Routes about the server.
pub(crate) fn looking() -> Router<Arc<App>> {
    Router::new().route("/load", get(load)).route("/ping", get(health::live).post(health::live))
}

/// Requests that are at work or wait.
async fn load(State(app): State<Arc<App>>) -> Response {
    ok(&json!({ "server_load": app.registry.len() }))
}

/// A chat or a completion, whichever the body is.
async fn invocations(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(Id(line)): Extension<Id>,
    unread: Unread,
) -> Result<Response, ApiError> {
    let read = body::object(&app, unread).await?;
    let has = |name: &str| read.0.get(name).is_some_and(|value: &Value| !value.is_null());
    match (has("messages"), has("prompt")) {
        (true, _) => conversed::<ChatDialect>(app, caller, line, read).await,
        (false, true) => completed::<CompletionDialect>(app, caller, line, read).await,
        (false, false) => {
            let message =
                "the body asks for nothing: expected `messages` of a chat or `prompt` of a completion";
            Err(ApiError::missing("messages", message))
        }
    }
}
