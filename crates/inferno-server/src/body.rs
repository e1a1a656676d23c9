//! Reading a request's body: so many bytes, in so much time, of all requests together no more than there is room for.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use hyper::{HeaderMap, StatusCode};
use inferno_engine::panic_words;
use serde_json::{Map, Value};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use crate::app::App;
use crate::error::ApiError;

/// A body, and its part of the memory for bodies.
struct Read {
    bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

/// A KiB more of a body buys so much more time.
const TIME_PER_KIB: Duration = Duration::from_secs(1);

/// Larger ones are parsed, rendered and tokenized on threads of their own: no other request waits for them.
const LARGE: usize = 32 << 10;

/// The JSON object that is a request's body.
pub(crate) async fn object(
    app: &App,
    headers: &HeaderMap,
    body: Body,
) -> Result<Map<String, Value>, ApiError> {
    let read = read(app, headers, body).await?;
    let settings = app.settings.clone();
    off_thread(read.bytes.len(), move || crate::json::object(&read.bytes, &settings)).await
}

/// Does what takes longer the more bytes there are, on another thread if they are many.
pub(crate) async fn off_thread<T: Send + 'static>(
    n_bytes: usize,
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    if n_bytes < LARGE {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => {
            let panic = error.try_into_panic().map_or_else(|e| e.to_string(), |panic| panic_words(&*panic));
            tracing::error!(panic, "reading a request failed");
            Err(ApiError::internal("the server failed on this request"))
        }
    }
}

async fn read(app: &App, headers: &HeaderMap, mut body: Body) -> Result<Read, ApiError> {
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
    let mut room: Option<OwnedSemaphorePermit> = None;
    loop {
        let kib = (bytes.len() >> 10) as u32;
        let deadline = start + settings.body_time + TIME_PER_KIB * kib;
        let frame = match timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => return Ok(Read { bytes: bytes.into(), _room: room }),
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
        if bytes.len() + data.len() > most {
            return Err(too_large());
        }
        bytes.extend_from_slice(&data);
        let wanted = (bytes.len().div_ceil(1 << 10) as u32)
            .saturating_sub(room.as_ref().map_or(0, |room| room.num_permits() as u32));
        if wanted > 0 {
            let Ok(more) = app.body_room.clone().try_acquire_many_owned(wanted) else {
                let message = "the bodies of other requests take all the memory there is for them";
                return Err(ApiError::unavailable("bodies_full", message, 1));
            };
            match &mut room {
                Some(room) => room.merge(more),
                None => room = Some(more),
            }
        }
    }
}
