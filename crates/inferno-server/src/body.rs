//! Reading a request's body: a limit on its bytes, on its time, and on the memory of all requests together.
#![deny(clippy::indexing_slicing)]

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use hyper::{HeaderMap, StatusCode};
use inferno_text::Bounds;
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout_at};

use crate::app::App;
use crate::connection::Peer;
use crate::error::ApiError;
use crate::keys::Caller;
use crate::room::Share;
use crate::workers::{Cancel, Line};

/// A request whose body has not been read.
#[derive(Debug)]
pub(crate) struct Unread {
    headers: HeaderMap,
    body: Body,
    line: Line,
}

impl<S: Send + Sync> FromRequest<S> for Unread {
    type Rejection = Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Unread, Infallible> {
        let (parts, body) = request.into_parts();
        let tenant = parts.extensions.get::<Caller>().map_or(0, |caller| caller.tenant);
        let line = match (tenant, parts.extensions.get::<Peer>()) {
            (0, Some(peer)) => Line::Address(peer.0.ip().to_canonical()),
            (0, None) => Line::Other,
            (tenant, _) => Line::Key(tenant),
        };
        Ok(Unread { headers: parts.headers, body, line })
    }
}

/// A request that is being read: whose turn it takes, and its part of the memory for requests.
#[derive(Debug)]
pub(crate) struct Reading {
    line: Line,
    pub(crate) share: Share,
}

/// A KiB more of a body buys so much more time.
const TIME_PER_KIB: Duration = Duration::from_secs(1);

/// Larger requests are parsed, rendered and tokenized on threads of their own: no other request waits for them.
const LARGE: usize = 32 << 10;

/// Memory of a value of JSON, beside the bytes of strings.
const NODE: usize = std::mem::size_of::<Value>();

/// Bytes of text that are merged as a whole at most, which takes up to 36 times as much memory. Tokens do not reach out
/// of a run of spaces, of letters or of symbols.
const WORD: usize = 1 << 20;

/// Limits of encoding a request's text: `tokens` at most, and only for as long as the client is there.
pub(crate) fn bounds(tokens: usize, is_cancelled: &dyn Fn() -> bool) -> Bounds<'_> {
    Bounds { tokens, word: WORD, is_cancelled }
}

impl Reading {
    /// Does work that takes the longer the more bytes there are: on a thread of its own, when it is the request's turn,
    /// if they are many.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        app: &App,
        n_bytes: usize,
        work: impl FnOnce(&Cancel) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        match n_bytes < LARGE {
            true => work(&Cancel::default()),
            false => app.workers.run(self.line, n_bytes, work).await,
        }
    }

    /// Compiles a grammar on a thread for that when it is the request's turn: it takes time, however few the bytes.
    pub(crate) async fn compile<T: Send + 'static>(
        &self,
        app: &App,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        app.workers.run(self.line, 0, move |_| work()).await
    }

    /// Does work that calls the chat template, on a thread for that when it is the request's turn. It takes any time,
    /// however few the bytes.
    pub(crate) async fn render<T: Send + 'static>(
        &self,
        app: &App,
        n_bytes: usize,
        work: impl FnOnce(&Cancel) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        app.renders.run(self.line, n_bytes, work).await
    }
}

/// The JSON object that is a request's body.
pub(crate) async fn object(app: &App, unread: Unread) -> Result<(Map<String, Value>, Reading), ApiError> {
    let Unread { headers, body, line } = unread;
    let mut reading = Reading { line, share: app.room.share() };
    let bytes = read(app, &headers, body, &mut reading.share).await?;
    let settings = app.settings.clone();
    let n_bytes = bytes.len();
    let (object, n_nodes) =
        reading.run(app, n_bytes, move |_| crate::json::object(&bytes, &settings)).await?;
    // The bytes are gone, their strings are not.
    reading.share.resize(n_bytes + n_nodes * NODE)?;
    Ok((object, reading))
}

/// The JSON value that is a request's body, for routes that do not take an object.
pub(crate) async fn value(app: &App, unread: Unread) -> Result<(Value, Reading), ApiError> {
    let Unread { headers, body, line } = unread;
    let mut reading = Reading { line, share: app.room.share() };
    let bytes = read(app, &headers, body, &mut reading.share).await?;
    let settings = app.settings.clone();
    let value = reading.run(app, bytes.len(), move |_| crate::json::value(&bytes, &settings)).await?;
    Ok((value, reading))
}

async fn read(app: &App, headers: &HeaderMap, mut body: Body, share: &mut Share) -> Result<Bytes, ApiError> {
    let settings = &app.settings;
    let most = settings.body_bytes;
    let too_large = || {
        ApiError::client(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("the body has more than {most} bytes"),
        )
    };
    if let Some(encoding) = headers.get(CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
        let encoding = crate::error::shown(&String::from_utf8_lossy(encoding.as_bytes()));
        return Err(ApiError::client(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_encoding",
            format!("the body is encoded as `{encoding}`, expected plain JSON"),
        ));
    }
    let announced = headers.get(CONTENT_LENGTH).and_then(|n| n.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|n| n > most as u64) {
        return Err(too_large());
    }
    let start = Instant::now();
    let mut bytes: Vec<u8> = Vec::new();
    loop {
        let kib = (bytes.len() >> 10) as u32;
        let deadline = start + settings.body_time + TIME_PER_KIB * kib;
        let frame = match timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => return Ok(bytes.into()),
            Ok(Some(Err(error))) => {
                return Err(ApiError::bad_request(format!("the body does not come whole: {error}")));
            }
            Err(_) => {
                return Err(ApiError::client(
                    StatusCode::REQUEST_TIMEOUT,
                    "body_timeout",
                    format!("the body was not there in time: {} bytes came", bytes.len()),
                ));
            }
        };
        let Ok(data) = frame.into_data() else { continue };
        let n_bytes = bytes.len() + data.len();
        if n_bytes > most {
            return Err(too_large());
        }
        if n_bytes > bytes.capacity() {
            // As much as was announced, but no more than twice what came.
            let announced = announced.map_or(most, |n| n as usize);
            let capacity = (2 * n_bytes).min(announced).max(n_bytes);
            share.resize(capacity)?;
            bytes.try_reserve_exact(capacity - bytes.len()).map_err(|_| ApiError::out_of_memory())?;
        }
        bytes.extend_from_slice(&data);
    }
}
