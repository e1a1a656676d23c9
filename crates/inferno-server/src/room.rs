//! The memory of requests: bodies from their first byte until they are read, and answers until they are written.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::error::ApiError;

/// Answers of fewer bytes are not counted: the connection's own buffers are as large.
const SMALL: usize = 16 << 10;

/// Shares of more bytes are large: they leave an eighth of all memory to others, so that small requests are served when
/// large ones have taken what they may.
const LARGE: usize = 64 << 10;

/// Memory for requests and answers, counted in bytes.
#[derive(Debug)]
pub(crate) struct Room {
    limit: usize,
    used: AtomicUsize,
}

/// A request's part of it, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    room: Arc<Room>,
    n_bytes: usize,
}

impl Room {
    pub(crate) fn new(limit: usize) -> Arc<Room> {
        Arc::new(Room { limit, used: AtomicUsize::new(0) })
    }

    /// A share of nothing yet.
    pub(crate) fn share(self: &Arc<Self>) -> Share {
        Share { room: Arc::clone(self), n_bytes: 0 }
    }

    /// Bytes that are taken.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

impl Share {
    /// Makes this larger by `n_bytes`, if there is room for them.
    pub(crate) fn grow(&mut self, n_bytes: usize) -> Result<(), ApiError> {
        self.resize(self.n_bytes.saturating_add(n_bytes))
    }

    /// Makes this a share of `n_bytes`, if there is room for more.
    pub(crate) fn resize(&mut self, n_bytes: usize) -> Result<(), ApiError> {
        if let Some(less) = self.n_bytes.checked_sub(n_bytes) {
            self.room.used.fetch_sub(less, Ordering::Relaxed);
        } else {
            let more = n_bytes - self.n_bytes;
            let limit = self.room.limit;
            let limit = if n_bytes > LARGE { limit - limit / 8 } else { limit };
            let fits = |used: usize| used.checked_add(more).filter(|&sum| sum <= limit);
            let taken = self.room.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
            taken.map_err(|_| {
                let message = "other requests take all the memory there is for them (`--bodies-bytes`)";
                ApiError::unavailable("bodies_full", message, 1)
            })?;
        }
        self.n_bytes = n_bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.used.fetch_sub(self.n_bytes, Ordering::Relaxed);
    }
}

/// Counts an answer that is in memory as a whole until it is written, or takes back what there is no room for.
pub(crate) fn counted(room: &Arc<Room>, response: Response) -> Response {
    let n_bytes = response.body().size_hint().exact().map_or(0, |n| n as usize);
    if n_bytes < SMALL {
        return response;
    }
    let mut share = room.share();
    match share.resize(n_bytes) {
        Ok(()) => {
            let share = Arc::new(share);
            response.map(|body| Body::new(Counted { body, share }))
        }
        Err(error) => error.into_response(),
    }
}

/// A body whose pieces are counted while they live, wherever they wait to be written.
struct Counted {
    body: Body,
    share: Arc<Share>,
}

/// A piece of an answer.
struct Piece {
    bytes: Bytes,
    _share: Arc<Share>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        let share = &self.share;
        let piece = |bytes| Bytes::from_owner(Piece { bytes, _share: Arc::clone(share) });
        frame.map_ok(|frame| frame.map_data(piece))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_requests_leave_room_for_small_ones_and_all_is_given_back() {
        let room = Room::new(8 << 20);
        let mut large = room.share();
        assert!(large.resize((7 << 20) + 1).is_err());
        assert_eq!(room.used(), 0);
        large.resize(7 << 20).unwrap();
        assert!(large.resize(8 << 20).is_err());
        let mut small: Vec<Share> = (0..16).map(|_| room.share()).collect();
        small.iter_mut().for_each(|share| share.resize(LARGE).unwrap());
        assert_eq!(room.used(), 8 << 20);
        assert!(room.share().resize(1).is_err());
        large.resize(1 << 20).unwrap();
        assert_eq!(room.used(), 2 << 20);
        drop((large, small));
        assert_eq!(room.used(), 0);
    }
}
