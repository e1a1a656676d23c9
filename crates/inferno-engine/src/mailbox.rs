//! Between the engine's thread and all others: letters in, numbers out.

use std::collections::VecDeque;
use std::time::Duration;

#[cfg(loom)]
use loom::sync::{Condvar, Mutex, MutexGuard};
use std::sync::mpsc::Sender;
#[cfg(not(loom))]
use std::sync::{Condvar, Mutex, MutexGuard};

use crate::core::{Sink, Snapshot};
use crate::forecast::{Ending, Job, Places};
use crate::metrics::Metrics;
use crate::request::{Micros, Refusal, Request, RequestId, SeqId};

/// What others ask of the engine.
pub(crate) enum Letter {
    /// With the time it was handed in.
    Request(RequestId, Box<Request>, Micros, Sink),
    Cancel(RequestId),
    ClearCache,
    Inspect(Sender<Snapshot>),
}

/// How long the engine's thread waits for letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    No,
    For(Duration),
    Long,
}

/// What it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Post {
    /// Letters, or none if it did not want to wait.
    Letters,
    /// Nothing came in the time it waited.
    Nothing,
    /// It is to end.
    Stop,
}

/// What waits, in the mailbox and in the engine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) n_waiting: usize,
    pub(crate) n_waiting_tokens: usize,
    pub(crate) n_running: usize,
}

/// The engine's places with all that it knew of, as it told last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Forecast {
    pub(crate) at: Micros,
    pub(crate) places: Places,
    /// The last request that it knew of.
    pub(crate) last: RequestId,
}

#[derive(Default)]
pub(crate) struct Mailbox {
    inside: Mutex<Inside>,
    arrived: Condvar,
}

/// Sequences that are not the engine's yet, and the tokens of their prompts.
#[derive(Default)]
struct Waiting {
    n_sequences: usize,
    n_tokens: usize,
}

#[derive(Default)]
struct Inside {
    letters: Vec<Letter>,
    /// What the letters bring.
    waiting: Waiting,
    metrics: Metrics,
    forecast: Forecast,
    /// Of requests that came after the forecast was made, the sequences.
    fresh: VecDeque<(RequestId, u32, Job)>,
    n_requests: u64,
    stop: bool,
    is_closed: bool,
}

impl Inside {
    fn load(&self) -> Result<Load, Refusal> {
        if self.stop || self.is_closed {
            return Err(Refusal::Stopped);
        }
        let waiting = self.metrics.sequences;
        Ok(Load {
            n_waiting: self.waiting.n_sequences + waiting.waiting,
            n_waiting_tokens: self.waiting.n_tokens + waiting.waiting_tokens,
            n_running: waiting.running,
        })
    }

    /// The engine's places, with all requests that were handed in.
    fn places(&self, now: Micros) -> Places {
        let mut places = self.forecast.places.clone();
        places.pass(now.saturating_sub(self.forecast.at));
        for (_, n, job) in &self.fresh {
            for _ in 0..*n {
                places.admit(job);
            }
        }
        places
    }

    /// Time until all waiting requests have started: a request that comes then finds an empty queue.
    fn retry_after(&self, now: Micros) -> Duration {
        Duration::from_micros(self.places(now).last_start()).max(Duration::from_secs(1))
    }
}

impl Inside {
    /// A sequence of a request that the engine has not seen yet.
    fn job(&self, request: &Request) -> Job {
        let n_tokens = request.prompt.len();
        Job {
            // Of its own only as to how long it may be.
            id: SeqId(self.n_requests),
            n_rows: n_tokens as f64 * self.forecast.places.experience().share_to_compute(),
            n_tokens,
            n_completion: 0,
            limit: request.max_tokens,
            ending: if request.can_end_early() { Ending::Anywhere } else { Ending::AtLimit },
        }
    }
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mailbox")
    }
}

impl Mailbox {
    /// Hands a request in, if `allow` does: it sees what waits, and can ask when all of it will have started.
    pub(crate) fn submit(
        &self,
        request: Request,
        now: Micros,
        sink: Sink,
        allow: impl FnOnce(&Load, &dyn Fn() -> Duration) -> Result<(), Refusal>,
    ) -> Result<RequestId, Refusal> {
        let mut inside = self.lock();
        allow(&inside.load()?, &|| inside.retry_after(now))?;
        inside.waiting.n_sequences += request.n as usize;
        inside.waiting.n_tokens += request.n as usize * request.prompt.len();
        inside.n_requests += 1;
        let id = RequestId(inside.n_requests);
        let job = inside.job(&request);
        inside.fresh.push_back((id, request.n, job));
        inside.letters.push(Letter::Request(id, Box::new(request), now, sink));
        drop(inside);
        self.arrived.notify_one();
        Ok(id)
    }

    /// Asks `allow` of what a request that comes now would find.
    pub(crate) fn ask(
        &self,
        now: Micros,
        allow: impl FnOnce(&Load, &dyn Fn() -> Duration) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let inside = self.lock();
        allow(&inside.load()?, &|| inside.retry_after(now))
    }

    /// Time until a short request that comes now would start.
    pub(crate) fn wait_estimate(&self, now: Micros) -> Duration {
        let inside = self.lock();
        let places = inside.places(now);
        let job = inside.job(&Request::new(vec![0], 1));
        drop(inside);
        Duration::from_micros(places.next_start(&job))
    }

    /// Any other letter; it is dropped if nobody is there to read it.
    pub(crate) fn send(&self, letter: Letter) {
        let mut inside = self.lock();
        if !inside.is_closed {
            inside.letters.push(letter);
            drop(inside);
            self.arrived.notify_one();
        }
    }

    /// All letters.
    pub(crate) fn take(&self, letters: &mut Vec<Letter>, wait: Wait) -> Post {
        let mut inside = self.lock();
        while wait != Wait::No && inside.letters.is_empty() && !inside.stop {
            match wait {
                Wait::For(time) => {
                    let waited = self.arrived.wait_timeout(inside, time).unwrap_or_else(|e| e.into_inner());
                    inside = waited.0;
                    if waited.1.timed_out() && inside.letters.is_empty() && !inside.stop {
                        return Post::Nothing;
                    }
                }
                _ => inside = self.arrived.wait(inside).unwrap_or_else(|e| e.into_inner()),
            }
        }
        if inside.stop {
            return Post::Stop;
        }
        letters.append(&mut inside.letters);
        // What they bring is the engine's now, which reports it from its next step on.
        let waiting = std::mem::take(&mut inside.waiting);
        inside.metrics.sequences.waiting += waiting.n_sequences;
        inside.metrics.sequences.waiting_tokens += waiting.n_tokens;
        Post::Letters
    }

    /// What the engine has done.
    pub(crate) fn publish(&self, metrics: Metrics) {
        self.lock().metrics = metrics;
    }

    /// Publishes the engine's forecast.
    pub(crate) fn foretell(&self, forecast: Forecast) {
        let mut inside = self.lock();
        while inside.fresh.front().is_some_and(|(id, ..)| *id <= forecast.last) {
            inside.fresh.pop_front();
        }
        inside.forecast = forecast;
    }

    pub(crate) fn metrics(&self) -> Metrics {
        self.lock().metrics
    }

    /// Asks the engine to end.
    pub(crate) fn stop(&self) {
        self.lock().stop = true;
        self.arrived.notify_one();
    }

    /// Nothing is taken any more; what was not read comes back.
    pub(crate) fn close(&self) -> Vec<Letter> {
        let mut inside = self.lock();
        inside.is_closed = true;
        std::mem::take(&mut inside.letters)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.lock().is_closed
    }

    /// Nobody panics with the lock in hand; if it happened, what is inside would still be whole.
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(|e| e.into_inner())
    }
}

#[cfg(all(test, loom))]
mod tests;
