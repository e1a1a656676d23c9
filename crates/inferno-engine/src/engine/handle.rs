//! What others can do with an engine.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::micros_since;
use super::pulse::{Pulse, Vitals};
use crate::core::{Shape, Sink, Snapshot, check};
use crate::group::KvGroup;
use crate::mailbox::{Letter, Load, Mailbox};
use crate::metrics::Metrics;
use crate::request::{Event, Refusal, Request, RequestId};

/// A way to an engine, for any thread.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) vitals: Arc<Vitals>,
    pub(super) began: Instant,
    pub(super) shape: Shape,
    pub(super) kv_groups: Arc<[KvGroup]>,
    pub(super) max_waiting: usize,
    pub(super) max_sequences: usize,
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

/// What wants room in the queue.
struct Asked {
    /// Choices.
    n: u32,
    /// Tokens of the prompt of each.
    n_tokens: usize,
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
        let asked = Asked { n: request.n, n_tokens: request.prompt.len() };
        // The time until the engine reads it counts.
        let now = micros_since(self.began);
        self.mailbox.submit(request, now, sink, |load, retry_after| self.allow(load, &asked, retry_after))
    }

    /// What [`Handle::submit_to`] would say of the queue now to `n` choices whose prompts have `n_tokens` each; 0 if that is
    /// not known yet. Nothing is handed in, and the next one to come may take the room.
    ///
    /// # Errors
    /// Too many wait, or too many tokens; so many choices never have room; the engine has stopped.
    pub fn room(&self, n: u32, n_tokens: usize) -> Result<(), Refusal> {
        // Every prompt has a token.
        let asked = Asked { n, n_tokens: n_tokens.max(1) };
        let now = micros_since(self.began);
        self.mailbox.ask(now, |load, retry_after| self.allow(load, &asked, retry_after))
    }

    fn allow(&self, load: &Load, asked: &Asked, retry_after: &dyn Fn() -> Duration) -> Result<(), Refusal> {
        let Load { n_waiting, n_waiting_tokens, n_running } = *load;
        let Asked { n, n_tokens } = *asked;
        if n as usize > self.max_waiting.saturating_add(self.max_sequences) {
            return Err(Refusal::Choices { n });
        }
        // Those for whom there is a place among the running only wait for the next step.
        let n_waiting = (n_waiting + n_running).saturating_sub(self.max_sequences);
        let n_over = (load.n_waiting + n_running + n as usize).saturating_sub(self.max_sequences);
        if n_over > self.max_waiting {
            return Err(Refusal::QueueFull { n_waiting, most: self.max_waiting, retry_after: retry_after() });
        }
        let n_new = n_tokens.saturating_mul(n as usize);
        let is_alone = load.n_waiting + n as usize <= 1;
        if n_waiting_tokens.saturating_add(n_new) > self.max_waiting_tokens && !is_alone {
            let most = self.max_waiting_tokens;
            return Err(Refusal::QueueTokens {
                n_tokens: n_waiting_tokens,
                most,
                retry_after: retry_after(),
            });
        }
        Ok(())
    }

    /// Time until a request that is handed in now starts, about; 10 minutes at most. [`SequenceState::eta`] has it for those
    /// that wait already.
    ///
    /// [`SequenceState::eta`]: crate::SequenceState::eta
    pub fn wait_estimate(&self) -> Duration {
        self.mailbox.wait_estimate(micros_since(self.began))
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

    /// The cache groups of the KV pool, in the order of [`Metrics::group_pages`].
    pub fn kv_groups(&self) -> &[KvGroup] {
        &self.kv_groups
    }

    /// Sequences that run at once, at most.
    pub fn max_sequences(&self) -> usize {
        self.max_sequences
    }

    /// What limits requests.
    pub fn shape(&self) -> Shape {
        self.shape
    }
}
