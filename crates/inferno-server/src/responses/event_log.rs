//! Events of a response that is computed in the background, for clients that come and go.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::response::Response;
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;

use crate::app::App;
use crate::error::ApiError;
use crate::room::Share;
use crate::stream;

/// All events of a response so far, by sequence number.
#[derive(Debug)]
pub(crate) struct EventLog {
    inside: Mutex<Inside>,
    changed: Notify,
}

#[derive(Debug)]
struct Inside {
    events: Vec<Bytes>,
    n_bytes: usize,
    is_over: bool,
    /// Memory of the events until they are counted with the response.
    share: Share,
}

impl EventLog {
    pub(crate) fn new(app: &App) -> Arc<EventLog> {
        let inside = Inside { events: Vec::new(), n_bytes: 0, is_over: false, share: app.room.share() };
        Arc::new(EventLog { inside: Mutex::new(inside), changed: Notify::new() })
    }

    /// Adds the events of a piece of a stream. Comments have no number and are left out.
    ///
    /// # Errors
    /// There is no memory for them.
    pub(crate) fn push(&self, piece: &Bytes) -> Result<(), ApiError> {
        let mut inside = self.lock();
        let n_bytes = inside.n_bytes + piece.len();
        inside.share.resize(n_bytes)?;
        inside.n_bytes = n_bytes;
        let mut start = 0;
        while let Some(length) = piece[start..].windows(2).position(|pair| pair == b"\n\n") {
            let event = piece.slice(start..start + length + 2);
            if event.starts_with(b"event: ") {
                inside.events.push(event);
            }
            start += length + 2;
        }
        drop(inside);
        self.changed.notify_waiters();
        Ok(())
    }

    /// Notes that no more events come.
    pub(crate) fn end(&self) {
        let mut inside = self.lock();
        inside.is_over = true;
        // Giving memory back succeeds.
        let _ = inside.share.resize(0);
        drop(inside);
        self.changed.notify_waiters();
    }

    /// Bytes of all events.
    pub(crate) fn n_bytes(&self) -> usize {
        self.lock().n_bytes
    }

    /// Data of the last event.
    pub(crate) fn last(&self) -> Option<Value> {
        let last = self.lock().events.last()?.clone();
        let data = last.windows(7).position(|text| text == b"\ndata: ")? + 7;
        serde_json::from_slice(&last[data..]).ok()
    }

    /// Number of events.
    pub(crate) fn n_events(&self) -> usize {
        self.lock().events.len()
    }

    /// Events from number `from` on, and whether they are the last. Waits for at least one.
    async fn after(&self, from: usize) -> (Vec<Bytes>, bool) {
        loop {
            let changed = self.changed.notified();
            {
                let inside = self.lock();
                if inside.is_over || inside.events.len() > from {
                    return (inside.events.get(from..).unwrap_or_default().to_vec(), inside.is_over);
                }
            }
            changed.await;
        }
    }

    /// A stream of the events from number `from` on, to the end of the response.
    pub(crate) fn follow(self: Arc<EventLog>, mut from: usize, app: &App) -> Response {
        let (pieces, body) = mpsc::channel(stream::PIECES);
        let keep_alive = app.settings.keep_alive;
        tokio::spawn(async move {
            loop {
                let (piece, is_over) = tokio::select! {
                    () = pieces.closed() => return,
                    () = sleep(keep_alive) => (Bytes::from_static(b": keep-alive\n\n"), false),
                    (events, is_over) = self.after(from) => {
                        if events.is_empty() {
                            return;
                        }
                        from += events.len();
                        (Bytes::from(events.concat::<u8>()), is_over)
                    }
                };
                if pieces.send(piece).await.is_err() || is_over {
                    return;
                }
            }
        });
        stream::event_stream(body, "text/event-stream; charset=utf-8")
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
