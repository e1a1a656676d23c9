//! What others can do with an engine.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use super::pulse::{Pulse, Vitals};
use crate::core::{Shape, Sink, Snapshot, check};
use crate::mailbox::{Letter, Mailbox};
use crate::metrics::Metrics;
use crate::request::{Event, Refusal, Request, RequestId};

/// A way to an engine, for any thread.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) vitals: Arc<Vitals>,
    pub(super) shape: Shape,
    pub(super) max_waiting: usize,
    pub(super) max_waiting_tokens: usize,
}

/// A request that was taken.
#[derive(Debug)]
pub struct Ticket {
    /// Its number, to cancel it.
    pub id: RequestId,
    /// What happens to it; the last event of each choice is its end.
    pub events: Receiver<Event>,
}

impl Handle {
    /// Hands a request in; its events come through a channel without an end.
    ///
    /// # Errors
    /// It cannot be served, or not now.
    pub fn submit(&self, request: Request) -> Result<Ticket, Refusal> {
        let (sender, events) = channel();
        // Nobody listens any more: the request goes on until it is cancelled.
        let id = self.submit_to(request, Arc::new(move |event| drop(sender.send(event))))?;
        Ok(Ticket { id, events })
    }

    /// Hands a request in; `sink` gets its events on the engine's thread and must not block.
    ///
    /// # Errors
    /// It cannot be served, or not now.
    pub fn submit_to(&self, request: Request, sink: Sink) -> Result<RequestId, Refusal> {
        check(&request, &self.shape)?;
        let (n, n_tokens) = (request.n as usize, request.n as usize * request.prompt.len());
        if n > self.max_waiting {
            return Err(Refusal::Choices { n: request.n, n_constraints: request.constraints.len() });
        }
        self.mailbox.submit(request, sink, |load| {
            let retry_after = load.retry_after();
            let (n_waiting, n_waiting_tokens) = (load.n_waiting + n, load.n_waiting_tokens + n_tokens);
            if n_waiting > self.max_waiting {
                return Err(Refusal::QueueFull {
                    n_waiting: load.n_waiting,
                    most: self.max_waiting,
                    retry_after,
                });
            }
            if n_waiting_tokens > self.max_waiting_tokens && n_waiting > 1 {
                let most = self.max_waiting_tokens;
                return Err(Refusal::QueueTokens { n_tokens: load.n_waiting_tokens, most, retry_after });
            }
            Ok(())
        })
    }

    /// Gives a request up: within one step it has ended and its pages are free.
    pub fn cancel(&self, id: RequestId) {
        self.mailbox.send(Letter::Cancel(id));
    }

    /// Forgets all cached pages that no sequence holds.
    pub fn clear_cache(&self) {
        self.mailbox.send(Letter::ClearCache);
    }

    /// The counters after the last step.
    pub fn metrics(&self) -> Metrics {
        self.mailbox.metrics()
    }

    /// What the engine holds now; empty if it has stopped.
    pub fn snapshot(&self) -> Snapshot {
        let (sender, receiver) = channel();
        self.mailbox.send(Letter::Inspect(sender));
        receiver.recv().unwrap_or_default()
    }

    /// Is the thread alive? It is seen without waiting for it, so also when a step hangs.
    pub fn pulse(&self) -> Pulse {
        self.vitals.pulse()
    }

    /// Has the engine ended?
    pub fn is_stopped(&self) -> bool {
        self.mailbox.is_stopped()
    }

    /// What limits requests.
    pub fn shape(&self) -> Shape {
        self.shape
    }
}
