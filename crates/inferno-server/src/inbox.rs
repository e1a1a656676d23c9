//! From the engine's thread to a task: events, collected until the task has time for them.
//!
//! The engine must not wait for anybody: it puts an event down and goes on. A task that is slow (as its client is) finds
//! more events the next time, and writes them together.

use std::sync::{Arc, Mutex, MutexGuard};

use inferno_engine::{Event, Sink};
use tokio::sync::Notify;

/// Events of one request's prompts.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    events: Mutex<Vec<(u32, Event)>>,
    arrived: Notify,
}

impl Inbox {
    /// Where the engine puts the events of prompt `prompt_idx`.
    pub(crate) fn sink(self: &Arc<Self>, prompt_idx: u32) -> Sink {
        let inbox = Arc::clone(self);
        Arc::new(move |event| {
            inbox.lock().push((prompt_idx, event));
            inbox.arrived.notify_one();
        })
    }

    /// All that has come; waits for the first. May be dropped at any time without losing one.
    pub(crate) async fn take(&self, events: &mut Vec<(u32, Event)>) {
        loop {
            events.append(&mut self.lock());
            if !events.is_empty() {
                return;
            }
            self.arrived.notified().await;
        }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Nobody panics with the lock in hand.
    fn lock(&self) -> MutexGuard<'_, Vec<(u32, Event)>> {
        self.events.lock().unwrap_or_else(|e| e.into_inner())
    }
}
