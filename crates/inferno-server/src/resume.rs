//! Streams that survive their connection, as llama-server has them: a request with the header `X-Conversation-Id` goes on when
//! its client leaves, and `GET /v1/stream?conv_id=ID&from=OFFSET` takes its bytes up again.
//!
//! ```text
//! handler ── body ──▶ task of the stream ──▶ Kept: bytes [ dropped | held ) ──▶ any number of followers, from any offset
//! ```
//!
//! A conversation has one stream: a new request replaces and cancels the one before. Streams belong to the key that asked for
//! them. Each holds a limited number of bytes, and ended ones are kept for a limited time, a limited number of them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header::{CONTENT_TYPE, HeaderName};
use hyper::{HeaderMap, StatusCode, Uri};
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;

use crate::access::AccessLine;
use crate::app::App;
use crate::body::{self, Unread};
use crate::dialect::event;
use crate::dialect::native::error_body;
use crate::error::{ApiError, shown};
use crate::fields::Fields;
use crate::keys::Caller;
use crate::meter::Id;
use crate::options::NAME_BYTES;
use crate::query;
use crate::stream::{PIECES, event_stream};
use crate::wire::ok;

const CONVERSATION: HeaderName = HeaderName::from_static("x-conversation-id");

/// Conversations in one look-up, at most.
const LOOKED_UP: usize = 1024;

/// Streams by their conversation and the key they belong to.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    inside: Mutex<Inside>,
}

type Key = (u32, String);

#[derive(Debug, Default)]
struct Inside {
    kept: HashMap<Key, Arc<Kept>>,
    /// Of requests that have no status line yet: they may come to be streams or not.
    starting: HashMap<Key, Arc<Kept>>,
}

/// The bytes of a stream.
#[derive(Debug)]
struct Kept {
    key: Key,
    /// Seconds since 1970.
    started: u64,
    most_bytes: usize,
    held: Mutex<Held>,
    changed: Notify,
    cancelled: Notify,
}

#[derive(Debug)]
struct Held {
    pieces: VecDeque<Bytes>,
    n_bytes: usize,
    /// Bytes before those that are held.
    n_dropped: u64,
    content_type: &'static str,
    ended: Option<End>,
    is_cancelled: bool,
}

/// The end of a stream.
#[derive(Debug, Clone, Copy)]
struct End {
    at: Instant,
    /// Seconds since 1970.
    time: u64,
}

/// Bytes for a follower.
enum Found {
    Bytes(Bytes),
    End,
    /// The bytes that it wants are dropped.
    Lost,
}

/// Routes that take streams up.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new().route("/v1/stream", get(take_up).delete(stop)).route("/v1/streams/lookup", post(look_up))
}

/// Keeps the answer of a request that names a conversation, if it is a stream.
pub(crate) async fn keep(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if app.settings.kept_streams == 0 {
        return next.run(request).await;
    }
    let name = match conversation(request.headers()) {
        Ok(Some(name)) => name,
        Ok(None) => return next.run(request).await,
        Err(error) => return error.into_response(),
    };
    let tenant = request.extensions().get::<Caller>().map_or(0, |caller| caller.tenant);
    let Some(line) = request.extensions().get::<Id>().map(|Id(line)| Arc::clone(line)) else {
        return next.run(request).await;
    };
    let kept = app.streams.start(&app, (tenant, name));
    let task = tokio::spawn(kept_answer(Arc::clone(&app), Arc::clone(&line), kept, next.run(request)));
    let mut unkept = Unkept { task: Some(task.abort_handle()), line };
    let answered = task.await;
    unkept.task = None;
    match answered {
        Ok(response) => response,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => stopped().into_response(),
    }
}

/// Ends the task of a request whose client leaves before it is a stream.
struct Unkept {
    task: Option<tokio::task::AbortHandle>,
    line: Arc<AccessLine>,
}

impl Drop for Unkept {
    fn drop(&mut self) {
        if let Some(task) = self.task.take().filter(|_| !self.line.is_stream()) {
            task.abort();
        }
    }
}

/// Gives the place of `kept` up if its request does not come to be a stream.
struct Start<'a> {
    app: &'a App,
    kept: &'a Arc<Kept>,
    is_stream: bool,
}

impl Drop for Start<'_> {
    fn drop(&mut self) {
        if !self.is_stream {
            self.app.streams.give_up(self.kept);
        }
    }
}

async fn kept_answer(
    app: Arc<App>,
    line: Arc<AccessLine>,
    kept: Arc<Kept>,
    answer: impl Future<Output = Response>,
) -> Response {
    let mut start = Start { app: &app, kept: &kept, is_stream: false };
    let response = tokio::select! {
        response = answer => response,
        () = kept.cancelled() => return stopped().into_response(),
    };
    if !line.is_stream() || response.status() != StatusCode::OK {
        return response;
    }
    start.is_stream = true;
    drop(start);
    let (head, body) = response.into_parts();
    let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if content_type.is_some_and(|value| value.starts_with(crate::dialect::ollama::NDJSON)) {
        kept.lock().content_type = crate::dialect::ollama::NDJSON;
    }
    app.streams.install(&kept);
    tokio::spawn(fill(Arc::clone(&app), Arc::clone(&kept), body));
    let followed = follow(kept, 0);
    Response::from_parts(head, followed.into_body())
}

/// Takes all of a body, and lets it be forgotten after a while.
async fn fill(app: Arc<App>, kept: Arc<Kept>, mut body: Body) {
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = kept.cancelled() => break,
        };
        match frame {
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    kept.push(bytes);
                }
            }
            Some(Err(_)) | None => break,
        }
    }
    // A body that is dropped ends its request.
    drop(body);
    app.streams.end(&kept, app.now(), app.settings.kept_streams);
    // One that is replaced or one too many is freed before its time is over.
    let (key, kept) = (kept.key.clone(), Arc::downgrade(&kept));
    sleep(app.settings.kept_stream_time).await;
    app.streams.remove(&key, &kept);
}

fn conversation(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(CONVERSATION) else { return Ok(None) };
    match value.to_str() {
        Ok("") => Ok(None),
        Ok(name) if name.len() <= NAME_BYTES => Ok(Some(name.to_owned())),
        _ => {
            let message =
                format!("the header `{CONVERSATION}` is expected to be text of at most {NAME_BYTES} bytes");
            Err(ApiError::bad_request(message))
        }
    }
}

impl Streams {
    fn start(&self, app: &App, key: Key) -> Arc<Kept> {
        let held = Held {
            pieces: VecDeque::new(),
            n_bytes: 0,
            n_dropped: 0,
            content_type: "text/event-stream; charset=utf-8",
            ended: None,
            is_cancelled: false,
        };
        let kept = Arc::new(Kept {
            key,
            started: app.now(),
            most_bytes: app.settings.kept_stream_bytes,
            held: Mutex::new(held),
            changed: Notify::new(),
            cancelled: Notify::new(),
        });
        self.lock().starting.insert(kept.key.clone(), Arc::clone(&kept));
        kept
    }

    /// A request that is no stream leaves the conversation's stream as it is.
    fn give_up(&self, kept: &Arc<Kept>) {
        let starting = &mut self.lock().starting;
        if starting.get(&kept.key).is_some_and(|other| Arc::ptr_eq(other, kept)) {
            starting.remove(&kept.key);
        }
        kept.lock().ended = Some(End { at: Instant::now(), time: kept.started });
        kept.changed.notify_waiters();
    }

    /// Makes it the conversation's stream, and ends the one before.
    fn install(&self, kept: &Arc<Kept>) {
        let before = {
            let mut inside = self.lock();
            if inside.starting.get(&kept.key).is_some_and(|other| Arc::ptr_eq(other, kept)) {
                inside.starting.remove(&kept.key);
            }
            inside.kept.insert(kept.key.clone(), Arc::clone(kept))
        };
        if let Some(before) = before {
            before.cancel();
        }
    }

    fn find(&self, key: &Key) -> Option<Arc<Kept>> {
        let inside = self.lock();
        inside.starting.get(key).or_else(|| inside.kept.get(key)).map(Arc::clone)
    }

    /// Streams of a conversation, under its name or under that with a model's behind `::`.
    fn variants(&self, tenant: u32, name: &str) -> Vec<Arc<Kept>> {
        let inside = self.lock();
        let is_one = |kept: &&Arc<Kept>| {
            let rest = kept.key.1.strip_prefix(name);
            kept.key.0 == tenant && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        inside.starting.values().chain(inside.kept.values()).filter(is_one).map(Arc::clone).collect()
    }

    fn remove(&self, key: &Key, kept: &Weak<Kept>) {
        let all = &mut self.lock().kept;
        if all.get(key).is_some_and(|other| std::ptr::eq(Arc::as_ptr(other), kept.as_ptr())) {
            all.remove(key);
        }
    }

    /// Ends a stream, and forgets the oldest of more than `most` ended ones before followers see the end. Those that run are as
    /// many as the engine takes.
    fn end(&self, kept: &Kept, time: u64, most: usize) {
        let mut inside = self.lock();
        kept.lock().ended = Some(End { at: Instant::now(), time });
        let ended = |kept: &Arc<Kept>| Some((kept.lock().ended?.at, kept.key.clone()));
        let mut ended: Vec<(Instant, Key)> = inside.kept.values().filter_map(ended).collect();
        ended.sort_unstable();
        for (_, key) in ended.iter().take(ended.len().saturating_sub(most)) {
            inside.kept.remove(key);
        }
        drop(inside);
        kept.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn push(&self, bytes: Bytes) {
        let mut held = self.lock();
        held.n_bytes += bytes.len();
        held.pieces.push_back(bytes);
        while let n_over @ 1.. = held.n_bytes.saturating_sub(self.most_bytes)
            && let Some(first) = held.pieces.front_mut()
        {
            let n = n_over.min(first.len());
            drop(first.split_to(n));
            if first.is_empty() {
                held.pieces.pop_front();
            }
            held.n_bytes -= n;
            held.n_dropped += n as u64;
        }
        drop(held);
        self.changed.notify_waiters();
    }

    fn cancel(&self) {
        self.lock().is_cancelled = true;
        self.cancelled.notify_waiters();
    }

    async fn cancelled(&self) {
        let cancelled = self.cancelled.notified();
        if !self.lock().is_cancelled {
            cancelled.await;
        }
    }

    /// Bytes from `from` on; waits for them.
    async fn after(&self, from: u64) -> Found {
        loop {
            let changed = self.changed.notified();
            {
                let held = self.lock();
                let Some(mut skipped) = from.checked_sub(held.n_dropped) else { return Found::Lost };
                for piece in &held.pieces {
                    match skipped.checked_sub(piece.len() as u64) {
                        Some(rest) => skipped = rest,
                        None => return Found::Bytes(piece.slice(skipped as usize..)),
                    }
                }
                if held.ended.is_some() {
                    return Found::End;
                }
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A response of the bytes from `from` on, to the end of the stream.
fn follow(kept: Arc<Kept>, mut from: u64) -> Response {
    let (pieces, body) = mpsc::channel(PIECES);
    let content_type = kept.lock().content_type;
    tokio::spawn(async move {
        loop {
            let found = tokio::select! {
                () = pieces.closed() => return,
                found = kept.after(from) => found,
            };
            let bytes = match found {
                Found::Bytes(bytes) => bytes,
                Found::End => return,
                Found::Lost => {
                    let mut out = Vec::new();
                    event(&error_body(&lost()), &mut out);
                    let _ = pieces.send(out.into()).await;
                    return;
                }
            };
            from += bytes.len() as u64;
            if pieces.send(bytes).await.is_err() {
                return;
            }
        }
    });
    event_stream(body, content_type)
}

fn stopped() -> ApiError {
    let message = "the stream was cancelled before it began (`DELETE /v1/stream`)";
    ApiError::client(StatusCode::BAD_REQUEST, "request_cancelled", message)
}

fn lost() -> ApiError {
    ApiError::client(
        StatusCode::BAD_REQUEST,
        "offset_lost",
        "the bytes from this offset on are not kept any more: start with a later one, or ask again",
    )
}

fn named(uri: &Uri) -> Result<String, ApiError> {
    query::parameter(uri, "conv_id").filter(|name| !name.is_empty()).ok_or_else(|| {
        ApiError::missing("conv_id", "`conv_id` is missing in the query: the conversation's id")
    })
}

async fn take_up(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let name = named(&uri)?;
    let from = match query::parameter(&uri, "from").filter(|from| !from.is_empty()) {
        None => 0,
        Some(from) => from.parse::<u64>().map_err(|_| {
            ApiError::invalid("from", format!("`from` is \"{}\", expected a number of bytes", shown(&from)))
        })?,
    };
    let Some(kept) = app.streams.find(&(caller.tenant, name)) else {
        let message = "there is no stream of this conversation: it was never there, is over for too long, or was stopped";
        return Err(ApiError::client(StatusCode::NOT_FOUND, "stream_not_found", message));
    };
    if from < kept.lock().n_dropped {
        return Err(lost());
    }
    Ok(follow(kept, from))
}

/// Ends a stream, and forgets it. One that is not there is as good as ended.
async fn stop(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<StatusCode, ApiError> {
    let key = (caller.tenant, named(&uri)?);
    let mut inside = app.streams.lock();
    let all = [inside.starting.remove(&key), inside.kept.remove(&key)];
    drop(inside);
    all.into_iter().flatten().for_each(|kept| kept.cancel());
    Ok(StatusCode::NO_CONTENT)
}

/// The streams of conversations that the caller names; no others.
async fn look_up(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    unread: Unread,
) -> Result<Response, ApiError> {
    let (object, _reading) = body::object(&app, unread).await?;
    let names = looked_up(object)?;
    let names = names.iter().filter_map(Value::as_str).filter(|name| !name.is_empty());
    let all = names.flat_map(|name| app.streams.variants(caller.tenant, name)).map(|kept| {
        let held = kept.lock();
        json!({
            "conversation_id": kept.key.1,
            "is_done": held.ended.is_some(),
            "total_bytes": held.n_dropped + held.n_bytes as u64,
            "started_at": kept.started,
            "completed_at": held.ended.map_or(0, |end| end.time),
        })
    });
    Ok(ok(&all.collect::<Vec<Value>>()))
}

/// The conversations that a request names.
///
/// # Errors
/// 400: an element is not a string, or there are more than [`LOOKED_UP`].
pub(crate) fn looked_up(body: Map<String, Value>) -> Result<Vec<Value>, ApiError> {
    const NAME: &str = "conversation_ids";
    let mut fields = Fields::new(body);
    match fields.take(NAME) {
        None => Ok(Vec::new()),
        Some(Value::Array(names)) if names.len() <= LOOKED_UP && names.iter().all(Value::is_string) => {
            Ok(names)
        }
        Some(other) => {
            Err(fields.expected(NAME, &other, &format!("an array of at most {LOOKED_UP} strings")))
        }
    }
}
