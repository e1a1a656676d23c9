//! A log line a request, written when it is over: who asked for what, what came of it, and how long it took.
#![deny(clippy::indexing_slicing)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::Request;

use crate::connection::Peer;
use crate::error::shown;
use crate::generation::Totals;

/// Facts of a request, which its handler and the task of its stream share: the last to let go writes the line.
#[derive(Debug)]
pub(crate) struct AccessLine {
    pub(crate) request_id: Arc<str>,
    peer: Option<SocketAddr>,
    method: String,
    /// Without its query, where a secret may stand.
    path: String,
    /// Health checks and the like are logged for debugging only.
    is_quiet: bool,
    start: Instant,
    /// The answer is a stream, which may go on without its client.
    is_stream: AtomicBool,
    rest: Mutex<Rest>,
}

/// Facts that come later.
#[derive(Debug, Default)]
struct Rest {
    key: Option<Arc<str>>,
    /// Of the first line of the answer.
    status: Option<u16>,
    reason: Option<&'static str>,
    generated: Option<Generated>,
}

/// Fields of a log line that a generation adds.
#[derive(Debug, Clone)]
pub(crate) struct Generated {
    /// As the client named it.
    pub(crate) model: String,
    pub(crate) is_stream: bool,
    pub(crate) finish: Finishes,
    pub(crate) totals: Totals,
    pub(crate) first_token: Option<Duration>,
}

/// Finish reasons of a request's choices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Finishes {
    pub(crate) stop: bool,
    pub(crate) length: bool,
    pub(crate) failed: bool,
    /// The client left, or the server ended.
    pub(crate) abandoned: bool,
}

impl Finishes {
    fn words(self) -> String {
        let all = [
            (self.stop, "stop"),
            (self.length, "length"),
            (self.failed, "error"),
            (self.abandoned, "abandoned"),
        ];
        let those: Vec<&str> = all.into_iter().filter(|(is_so, _)| *is_so).map(|(_, word)| word).collect();
        those.join(",")
    }
}

/// Routes that are asked all the time by programs that watch the server.
pub(crate) const QUIET: [&str; 8] =
    ["/health", "/healthz", "/live", "/livez", "/ready", "/readyz", "/ping", "/metrics"];

impl AccessLine {
    pub(crate) fn new(request_id: Arc<str>, request: &Request) -> AccessLine {
        let path = request.uri().path();
        AccessLine {
            request_id,
            peer: request.extensions().get::<Peer>().map(|peer| peer.0),
            method: request.method().as_str().chars().take(16).collect(),
            path: shown(path),
            is_quiet: QUIET.contains(&path),
            start: Instant::now(),
            is_stream: AtomicBool::new(false),
            rest: Mutex::default(),
        }
    }

    /// Time since the request's head was read.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    pub(crate) fn set_stream(&self) {
        self.is_stream.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.is_stream.load(Ordering::Relaxed)
    }

    pub(crate) fn set_key(&self, name: &Arc<str>) {
        self.rest().key = Some(Arc::clone(name));
    }

    pub(crate) fn answered(&self, status: u16, reason: Option<&'static str>) {
        let mut rest = self.rest();
        rest.status = Some(status);
        rest.reason = rest.reason.or(reason);
    }

    /// A stream failed after its first line.
    pub(crate) fn failed(&self, reason: &'static str) {
        self.rest().reason = Some(reason);
    }

    pub(crate) fn generated(&self, generated: Generated) {
        self.rest().generated = Some(generated);
    }

    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AccessLine {
    fn drop(&mut self) {
        let Rest { key, status, reason, generated } = std::mem::take(&mut *self.rest());
        let (request_id, key) = (&*self.request_id, key.as_deref());
        let peer = self.peer.map(|peer| peer.to_string());
        let (peer, method, path) = (peer.as_deref(), &*self.method, &*self.path);
        let ms = millis(self.start.elapsed());
        if let Some(generated) = generated {
            let Generated { model, is_stream, finish, totals, first_token } = generated;
            tracing::info!(
                request_id,
                key,
                peer,
                method,
                path,
                status,
                reason,
                model,
                stream = is_stream,
                finish = finish.words(),
                prompt_tokens = totals.n_prompt,
                cached_tokens = totals.n_cached,
                completion_tokens = totals.n_completion,
                queue_ms = millis(totals.queued),
                first_token_ms = first_token.map(millis),
                ms,
                "answered"
            );
        } else if self.is_quiet {
            tracing::debug!(request_id, key, peer, method, path, status, reason, ms, "answered");
        } else {
            tracing::info!(request_id, key, peer, method, path, status, reason, ms, "answered");
        }
    }
}

fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}
