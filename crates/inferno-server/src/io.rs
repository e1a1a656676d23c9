//! A socket that gives up: on a client that does not begin, does not go on, or does not take what it asked for.
//!
//! ```text
//! accepted ──────▶ first byte ──▶ end of the head ──▶ answer ──▶ first byte of the next ──▶ …
//!    [ header_time )      [ header_time )     (the body has a limit of its own)   [ idle_time )
//!                                              [ write_time between two bytes taken )
//! ```

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep};

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing has come yet.
    New,
    /// A request is on its way, but not here.
    Head,
    /// A request is being answered.
    Busy,
    /// A request's head is here, and its body is waited for.
    Body,
    /// Between two requests.
    Idle,
    /// Its last answer is being sent.
    Closing,
}

/// A connection's stage, and since when: its socket and its requests know it.
#[derive(Debug)]
pub(crate) struct Progress {
    inside: Mutex<Inside>,
}

#[derive(Debug)]
struct Inside {
    stage: Stage,
    since: Instant,
    /// Start of the write that the client has taken nothing of yet.
    stalled: Option<Instant>,
    /// Of a reader that waits without a time, as a request is answered.
    reader: Option<Waker>,
}

impl Default for Progress {
    fn default() -> Progress {
        let inside = Inside { stage: Stage::New, since: Instant::now(), stalled: None, reader: None };
        Progress { inside: Mutex::new(inside) }
    }
}

impl Progress {
    pub(crate) fn get(&self) -> (Stage, Instant) {
        let inside = self.lock();
        (inside.stage, inside.since)
    }

    pub(crate) fn enter(&self, stage: Stage) {
        let mut inside = self.lock();
        (inside.stage, inside.since) = (stage, Instant::now());
        let reader = inside.reader.take();
        drop(inside);
        // What it waits for from now on has a time: hyper would not ask again by itself.
        reader.into_iter().for_each(Waker::wake);
    }

    /// Start of the write that waits for the client, if one does.
    pub(crate) fn stalled(&self) -> Option<Instant> {
        self.lock().stalled
    }

    /// Waits for more of a request's body, or has it. A connection that is past the answer stays so.
    pub(crate) fn body(&self, is_missing: bool) {
        let (from, to) = match is_missing {
            true => (Stage::Busy, Stage::Body),
            false => (Stage::Body, Stage::Busy),
        };
        let mut inside = self.lock();
        if inside.stage == from {
            (inside.stage, inside.since) = (to, Instant::now());
        }
    }

    /// Bytes have come.
    fn received(&self) {
        let mut inside = self.lock();
        if matches!(inside.stage, Stage::New | Stage::Idle) {
            (inside.stage, inside.since) = (Stage::Head, Instant::now());
        }
    }

    /// Nothing has come, and whoever reads is told when the stage changes.
    fn waits(&self, cx: &Context<'_>) {
        self.lock().reader = Some(cx.waker().clone());
    }

    /// Nobody panics with the lock in hand.
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// How long a connection may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) header: Duration,
    pub(crate) idle: Duration,
    pub(crate) write: Duration,
}

/// The socket.
pub(crate) struct Watched<S> {
    io: TokioIo<S>,
    progress: Arc<Progress>,
    times: Times,
    reading: Timer,
    writing: Timer,
}

/// Runs while something is waited for.
#[derive(Default)]
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    is_running: bool,
}

impl Timer {
    fn stop(&mut self) {
        self.is_running = false;
    }

    /// Has `deadline` passed? If not, it wakes the task then.
    fn has_passed(&mut self, deadline: Instant, cx: &mut Context<'_>) -> bool {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        self.is_running = true;
        sleep.as_mut().poll(cx).is_ready()
    }
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S, progress: Arc<Progress>, times: Times) -> Watched<S> {
        Watched {
            io: TokioIo::new(stream),
            progress,
            times,
            reading: Timer::default(),
            writing: Timer::default(),
        }
    }

    /// A write took bytes, or waits for the client to take some.
    fn written<T>(&mut self, result: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            if self.writing.is_running {
                self.writing.stop();
                self.progress.lock().stalled = None;
            }
            return result;
        }
        // From the first time it waited on.
        let deadline = match &self.writing.sleep {
            Some(sleep) if self.writing.is_running => sleep.deadline(),
            _ => {
                let now = Instant::now();
                self.progress.lock().stalled = Some(now);
                now + self.times.write
            }
        };
        match self.writing.has_passed(deadline, cx) {
            true => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing"))),
            false => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> Read for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        match Pin::new(&mut this.io).poll_read(cx, buf) {
            Poll::Ready(result) => {
                this.progress.received();
                Poll::Ready(result)
            }
            Poll::Pending => {
                let (stage, since) = this.progress.get();
                let time = match stage {
                    Stage::New | Stage::Head => this.times.header,
                    Stage::Idle => this.times.idle,
                    Stage::Busy | Stage::Body | Stage::Closing => {
                        this.progress.waits(cx);
                        return Poll::Pending;
                    }
                };
                match this.reading.has_passed(since + time, cx) {
                    true => {
                        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client asks nothing")))
                    }
                    false => Poll::Pending,
                }
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> Write for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, buf);
        self.written(result, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.written(result, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
