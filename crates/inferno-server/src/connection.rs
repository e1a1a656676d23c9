//! One connection: hyper's HTTP/1.1, driven by hand so that every wait has an end.
#![deny(clippy::indexing_slicing)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::Uri;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, EXPECT, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tower::ServiceExt;

use crate::dialect;
use crate::drain::Drain;
use crate::error::ApiError;
use crate::io::{Progress, Stage, Times, Watched};
use crate::page;
use crate::settings::Settings;

/// Where requests go: nowhere yet while the model is loaded.
#[derive(Debug, Default)]
pub(crate) struct Door {
    /// Browsers get the chat page before there is a model.
    has_page: bool,
    /// See [`Settings::root_path`].
    root_path: String,
    router: std::sync::OnceLock<Router>,
    opened: Notify,
}

/// Time that requests wait for a model that is being loaded. Small models are there by then; others need a client that
/// tries again.
const LOADING: Duration = Duration::from_secs(1);

impl Door {
    pub(crate) fn new(settings: &Settings) -> Door {
        Door { has_page: settings.page, root_path: settings.root_path.clone(), ..Door::default() }
    }

    pub(crate) fn open(&self, router: Router) {
        let _ = self.router.set(router);
        self.opened.notify_waiters();
    }

    /// Waits until it is open, for a while.
    async fn opened(&self) {
        let opened = self.opened.notified();
        if self.router.get().is_none() {
            let _ = tokio::time::timeout(LOADING, opened).await;
        }
    }

    async fn answer(&self, mut request: Request) -> Response {
        if let Some(uri) = without_root(request.uri(), &self.root_path) {
            *request.uri_mut() = uri;
        }
        if let Some(uri) = without_slash(request.uri()) {
            *request.uri_mut() = uri;
        }
        let path = request.uri().path();
        if self.has_page
            && self.router.get().is_none()
            && let Some(response) = page::while_loading(request.method(), path, request.headers())
        {
            return response;
        }
        if self.router.get().is_none() && !crate::access::QUIET.contains(&path) {
            self.opened().await;
        }
        match self.router.get() {
            Some(router) => match router.clone().oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
            None if matches!(request.uri().path(), "/live" | "/livez" | "/ping") => {
                crate::health::live().await
            }
            None => {
                let shape = dialect::shape_of(request.uri().path());
                let error = ApiError::unavailable("model_loading", "Loading model", 1);
                dialect::shaped(error.into_response(), shape)
            }
        }
    }
}

/// The same without slashes at the path's end, if there are any: clients put them there, and every route is one with and
/// without.
fn without_slash(uri: &Uri) -> Option<Uri> {
    let path = uri.path().trim_end_matches('/');
    if path.is_empty() || path.len() == uri.path().len() {
        return None;
    }
    with_path(uri, path)
}

/// The same without `root` at the path's start, if it is there.
fn without_root(uri: &Uri, root: &str) -> Option<Uri> {
    let rest = uri.path().strip_prefix(root).filter(|_| !root.is_empty())?;
    match rest {
        "" => with_path(uri, "/"),
        rest if rest.starts_with('/') => with_path(uri, rest),
        _ => None,
    }
}

fn with_path(uri: &Uri, path: &str) -> Option<Uri> {
    let with_query = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(with_query.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// Serves a connection until its end, or until it is told to make room.
pub(crate) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: SocketAddr,
    door: Arc<Door>,
    settings: Arc<Settings>,
    drain: Arc<Drain>,
    (progress, make_room): (Arc<Progress>, Arc<Notify>),
) {
    let times = Times { header: settings.header_time, idle: settings.idle_time, write: settings.write_time };
    let io = Watched::new(stream, Arc::clone(&progress), times);
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let door = Arc::clone(&door);
        let is_draining = !drain.is_serving();
        let busy = Busy::new(&progress, &drain);
        async move {
            let progress = Arc::clone(&busy.progress);
            let waits = request.headers().contains_key(EXPECT);
            let unread = UnreadBody::default();
            let mut request = request.map(|body| {
                let (body, unread) = (Some(body), Arc::clone(&unread));
                Body::new(Asking { body, waits, progress, unread })
            });
            request.extensions_mut().insert(Peer(peer));
            let mut response = door.answer(request).await;
            drain_unread(unread).await;
            if is_draining {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response.map(|body| Answering { body, _busy: busy }))
        }
    });
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_headers(settings.headers)
        .max_header_size(settings.header_bytes)
        .max_buf_size(settings.header_bytes.max(64 << 10))
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let mut is_draining = false;
    loop {
        tokio::select! {
            result = &mut connection => {
                if let Err(error) = result {
                    tracing::debug!(%peer, %error, "a connection ended");
                }
                return;
            }
            () = make_room.notified() => return,
            () = drain.begun(), if !is_draining => {
                is_draining = true;
                // One that has a request answers it and closes; others may still ask how things are.
                if progress.get().0 == Stage::Busy {
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// Marks a connection as busy while it lives.
struct Busy {
    progress: Arc<Progress>,
    drain: Arc<Drain>,
}

impl Busy {
    fn new(progress: &Arc<Progress>, drain: &Arc<Drain>) -> Busy {
        progress.enter(Stage::Busy);
        Busy { progress: Arc::clone(progress), drain: Arc::clone(drain) }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.progress.enter(if self.drain.is_serving() { Stage::Idle } else { Stage::Closing });
    }
}

/// A request's body that was dropped before its end.
type UnreadBody = Arc<Mutex<Option<Incoming>>>;

/// Maximum number of bytes to read of an unread body. A longer one ends the connection anyway.
const UNREAD: usize = 64 << 10;
/// Maximum time to read them: only a client that does not send its body waits this long for an answer.
const UNREAD_TIME: Duration = Duration::from_secs(1);

/// Reads the rest of an unread body: a connection that is closed on unread bytes is reset, and the client might never see the
/// answer.
async fn drain_unread(unread: UnreadBody) {
    let body = unread.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(body) = body.filter(|body| body.size_hint().lower() <= UNREAD as u64) {
        let _ = tokio::time::timeout(UNREAD_TIME, Limited::new(body, UNREAD).collect()).await;
    }
}

/// A request's body. It reports to its connection when more is awaited, and hands over an unread rest.
struct Asking {
    /// `None` only while it is dropped.
    body: Option<Incoming>,
    /// The client waits for a 100 before it sends the body (RFC 9110, 10.1.1), and has none yet.
    waits: bool,
    progress: Arc<Progress>,
    unread: UnreadBody,
}

impl HttpBody for Asking {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.waits = false;
        let frame = self.body.as_mut().map_or(Poll::Ready(None), |body| Pin::new(body).poll_frame(cx));
        self.progress.body(frame.is_pending());
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::new, HttpBody::size_hint)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.progress.body(false);
        let body = self.body.take().filter(|body| !self.waits && !body.is_end_stream());
        if let Some(body) = body {
            *self.unread.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        }
    }
}

/// A body that keeps its connection busy until it is sent.
struct Answering {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_have_the_page_before_there_is_a_model() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let door = Door::new(&Settings::default());
        let ask = |method: &str, path: &str| {
            let request = Request::builder().method(method).uri(path).header("accept", "text/html");
            runtime.block_on(door.answer(request.body(Body::empty()).unwrap())).status().as_u16()
        };
        for path in ["/", "/page/main.js", "/page/style.css"] {
            assert_eq!((ask("GET", path), ask("HEAD", path)), (200, 200), "{path}");
        }
        assert_eq!(ask("GET", "/ready"), 503);
    }

    #[test]
    fn requests_wait_for_a_small_model_and_probes_do_not() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let door = Arc::<Door>::default();
        let status = |path: &'static str| {
            let door = Arc::clone(&door);
            async move { door.answer(Request::get(path).body(Body::empty()).unwrap()).await.status().as_u16() }
        };
        runtime.block_on(async {
            assert_eq!((status("/ready").await, status("/live").await), (503, 200));
            let waiting = tokio::spawn(status("/v1/models"));
            tokio::time::sleep(Duration::from_millis(50)).await;
            door.open(Router::new().route("/v1/models", axum::routing::get(|| async { "here" })));
            assert_eq!(waiting.await.unwrap(), 200);
            assert_eq!(status("/v1/models").await, 200);
        });
    }
}
