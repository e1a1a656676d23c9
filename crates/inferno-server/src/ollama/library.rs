//! `/api/pull` and `/api/delete`: models beside the one that is served.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{absent, known};
use crate::app::App;
use crate::body::{self, Unread};
use crate::dialect::ollama::{self, AboutModel, NDJSON};
use crate::error::ApiError;
use crate::library::Library;
use crate::stream::event_stream;
use crate::wire::ok;

/// Time between two lines of progress.
const TICK: Duration = Duration::from_millis(250);
/// Time after which a client may ask for another download.
const LATER: Duration = Duration::from_secs(10);
/// Lines that a slow reader has not taken yet.
const LINES: usize = 4;

/// Downloads a model, one at a time. The model of this server is there already.
pub(super) async fn pull(State(app): State<Arc<App>>, unread: Unread) -> Result<Response, ApiError> {
    let (object, _reading) = body::object(&app, unread).await?;
    let about = AboutModel::read(object)?;
    let is_stream = about.is_stream;
    let name = about.required()?;
    if known(&app, Some(&name)).is_ok() {
        return Ok(ok(&json!({ "status": "success" })));
    }
    let Some(library) = app.settings.library.clone() else {
        return Err(absent("this server downloads no models: `inferno pull` does"));
    };
    let Some(turn) = Turn::take(&app.is_pulling) else {
        return Err(ApiError::overloaded("another model is being downloaded: try again later", LATER));
    };
    let (sender, mut lines) = mpsc::channel(LINES);
    let work = move || {
        let _turn = turn;
        download(&*library, &name, &sender);
    };
    std::thread::Builder::new()
        .name("pull".into())
        .spawn(work)
        .map_err(|error| ApiError::internal(format!("cannot start a thread: {error}")))?;
    if is_stream {
        return Ok(event_stream(lines, NDJSON));
    }
    let mut last = Bytes::new();
    while let Some(line) = lines.recv().await {
        last = line;
    }
    let last: Value = serde_json::from_slice(&last).unwrap_or_default();
    match last["error"].as_str() {
        Some(error) => Err(ApiError::internal(error)),
        None => Ok(ok(&last)),
    }
}

/// Removes a downloaded model, which cannot be the one of this server, or a name that `/api/copy` gave.
pub(super) async fn remove(State(app): State<Arc<App>>, unread: Unread) -> Result<Response, ApiError> {
    let (object, _reading) = body::object(&app, unread).await?;
    let name = AboutModel::read(object)?.required()?;
    if app.card.forget(ollama::untagged(&name, &app)) {
        return Ok(Response::default());
    }
    if known(&app, Some(&name)).is_ok() {
        return Err(absent(
            "the model of a running server is not deleted: end the server and use `inferno rm`",
        ));
    }
    let Some(library) = app.settings.library.clone() else {
        return Err(absent("this server removes no models: `inferno rm` does"));
    };
    let removed = tokio::task::spawn_blocking(move || library.remove(&name)).await;
    match removed {
        Ok(Ok(())) => Ok(Response::default()),
        Ok(Err(reason)) => Err(ApiError::client(StatusCode::NOT_FOUND, "model_not_found", reason)),
        Err(_) => Err(ApiError::internal("the server failed on this request")),
    }
}

/// Downloads a model and tells of it, a line of JSON each.
fn download(library: &dyn Library, name: &str, lines: &mpsc::Sender<Bytes>) {
    let line = |value: Value| Bytes::from(format!("{value}\n"));
    if lines.blocking_send(line(json!({ "status": "pulling manifest" }))).is_err() {
        return;
    }
    let due = Mutex::new(Instant::now());
    let progress = |completed: u64, total: u64| {
        let mut due = due.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if now >= *due {
            *due = now + TICK;
            // A reader that is behind gets a later line.
            let status = format!("pulling {name}");
            let _ = lines.try_send(line(json!({ "status": status, "total": total, "completed": completed })));
        }
        !lines.is_closed()
    };
    let last = match library.pull(name, &progress) {
        Ok(()) => json!({ "status": "success" }),
        Err(reason) => json!({ "error": reason }),
    };
    // The client may have left.
    let _ = lines.blocking_send(line(last));
}

/// The one download at a time.
#[derive(Debug)]
struct Turn(Arc<AtomicBool>);

impl Turn {
    fn take(is_taken: &Arc<AtomicBool>) -> Option<Turn> {
        let was_taken = is_taken.swap(true, Ordering::Relaxed);
        (!was_taken).then(|| Turn(Arc::clone(is_taken)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
