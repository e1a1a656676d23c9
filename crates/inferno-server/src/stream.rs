//! An answer as server-sent events.
//!
//! The status line waits for the first token, but not for long: what fails before is an HTTP status, what fails after is
//! an event. A stream that has nothing to say says where it stands in a comment, so that nobody on the way takes it for
//! dead.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::Frame;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use inferno_engine::RequestId;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::dialect::{Dialect, PromptNews};
use crate::error::ApiError;
use crate::generation::{Generation, Update};
use crate::meter::caught;
use crate::places::Place;

/// Pieces of a body that hyper has not asked for yet.
pub(crate) const PIECES: usize = 4;

/// Starts a stream, or says why there is none.
pub(crate) async fn respond(generation: Generation, dialect: Box<dyn Dialect>) -> Result<Response, ApiError> {
    let (head, opened) = oneshot::channel();
    let (pieces, body) = mpsc::channel(PIECES);
    let mut failed = Vec::new();
    dialect.fail(&ApiError::internal("the server failed on this request"), &mut failed);
    let content_type = dialect.content_type();
    let writer = Writer {
        dialect,
        drain: generation.app().drain.clone(),
        generation,
        head: Some(head),
        pieces: pieces.clone(),
        out: Vec::new(),
    };
    tokio::spawn(async move {
        if let Err(words) = caught(writer.run()).await {
            tracing::error!(panic = words, "a stream failed");
            let _ = pieces.send(Bytes::from(failed)).await;
        }
    });
    match opened.await {
        Ok(Ok(())) => Ok(event_stream(body, content_type)),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(ApiError::internal("the server failed on this request")),
    }
}

struct Writer {
    generation: Generation,
    dialect: Box<dyn Dialect>,
    drain: std::sync::Arc<crate::drain::Drain>,
    /// Until the status line is out.
    head: Option<oneshot::Sender<Result<(), ApiError>>>,
    pieces: mpsc::Sender<Bytes>,
    /// What is to be sent next.
    out: Vec<u8>,
}

impl Writer {
    /// To the end, or until nobody listens: then the generation is dropped, which cancels it.
    async fn run(mut self) {
        let settings = self.generation.app().settings.clone();
        let mut updates = Vec::new();
        // Until the head is out the time to let it go; then that of the next sign of life.
        let mut due = Instant::now() + settings.hold;
        let pieces = self.pieces.clone();
        let mut left = pin!(pieces.closed());
        loop {
            tokio::select! {
                () = &mut left => return,
                () = self.drain.ended() => return self.fail(ApiError::shutting_down()).await,
                () = sleep_until(due) => {
                    self.open();
                    let place = match self.generation.waiting() {
                        Some(id) => self.place(id).await,
                        None => None,
                    };
                    self.dialect.idle(&self.generation, place, &mut self.out);
                }
                () = self.generation.next(&mut updates) => {
                    for update in updates.drain(..) {
                        if let Err(error) = self.write(update) {
                            return self.fail(error).await;
                        }
                    }
                    if self.generation.has_ended() {
                        self.open();
                        self.dialect.end(&self.generation, &mut self.out);
                    }
                }
            }
            if self.head.is_none() && !self.out.is_empty() {
                due = Instant::now() + settings.keep_alive;
                let piece = Bytes::from(std::mem::take(&mut self.out));
                if !self.send(piece, settings.write_time, settings.pending_events).await {
                    return;
                }
            }
            if self.generation.has_ended() {
                return;
            }
        }
    }

    async fn place(&self, id: RequestId) -> Option<Place> {
        let app = self.generation.app();
        app.places.of(&app.engine, id).await
    }

    fn write(&mut self, update: Update) -> Result<(), ApiError> {
        if let Update::Failed(error) = update {
            return Err(error);
        }
        let is_progress = matches!(update, Update::Prompt(PromptNews::Progress { .. }));
        if !is_progress || self.dialect.wants_progress(&self.generation) {
            self.open();
        }
        let Writer { dialect, generation, out, .. } = self;
        match update {
            Update::Prompt(news) => dialect.prompt(generation, &news, out),
            Update::Parts { choice, delta } => dialect.piece(generation, choice, &delta, None, out),
            Update::Finished { choice, delta, ending } => {
                dialect.piece(generation, choice, &delta, Some(&ending), out);
            }
            Update::Failed(_) => unreachable!("errors have returned"),
        }
        Ok(())
    }

    /// Lets the status line go, if it has not gone yet.
    fn open(&mut self) {
        if let Some(head) = self.head.take() {
            self.dialect.begin(&self.generation, &mut self.out);
            let _ = head.send(Ok(()));
        }
    }

    /// Hands a piece to the connection; false if nobody takes it any more. A reader may be slow for as long as it takes
    /// anything: the connection sees to that. One that lets more and more wait is given up.
    async fn send(&self, piece: Bytes, time: Duration, most_pending: usize) -> bool {
        let mut send = pin!(self.pieces.send(piece));
        loop {
            tokio::select! {
                sent = &mut send => return sent.is_ok(),
                () = tokio::time::sleep(time) => {
                    if self.generation.n_pending() > most_pending {
                        tracing::info!(pending = self.generation.n_pending(), "a reader is too slow");
                        return false;
                    }
                }
            }
        }
    }

    async fn fail(mut self, error: ApiError) {
        match self.head.take() {
            Some(head) => drop(head.send(Err(error))),
            None => {
                self.dialect.fail(&error, &mut self.out);
                let _ = self.pieces.send(Bytes::from(std::mem::take(&mut self.out))).await;
            }
        }
    }
}

/// The response whose body is `pieces`.
pub(crate) fn event_stream(pieces: mpsc::Receiver<Bytes>, content_type: &'static str) -> Response {
    let mut response = Response::new(Body::new(Pieces(pieces)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies of nginx's kind would wait for more.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

/// A body of pieces that come when they come.
struct Pieces(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
