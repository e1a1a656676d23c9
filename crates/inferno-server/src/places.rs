//! Who waits where: a look into the engine, shared by all who want to know.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use inferno_engine::{Handle, RequestId};
use tokio::time::timeout;

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Place {
    /// How many are before it.
    pub(crate) place: usize,
    pub(crate) n_waiting: usize,
    /// Time until its first token, about.
    pub(crate) eta: Duration,
}

/// The last look.
#[derive(Debug, Default)]
pub(crate) struct Places {
    seen: Mutex<Option<Arc<Look>>>,
    is_looking: AtomicBool,
}

#[derive(Debug)]
struct Look {
    at: Instant,
    /// Of each request's first sequence that waits: its place, and the time from then on to its first token.
    places: HashMap<RequestId, (usize, Duration)>,
    n_waiting: usize,
}

/// A look is good for so long: the engine answers between two steps, and must not be asked by everybody.
const FRESH: Duration = Duration::from_secs(1);
/// Nobody waits longer for an engine that does not answer.
const PATIENCE: Duration = Duration::from_millis(250);

impl Places {
    /// Where a request waits, as far as is known; `None` if it does not.
    pub(crate) async fn of(self: &Arc<Self>, engine: &Handle, id: RequestId) -> Option<Place> {
        if self.seen().is_none_or(|look| look.at.elapsed() >= FRESH) {
            self.look(engine).await;
        }
        let look = self.seen()?;
        let (place, eta) = *look.places.get(&id)?;
        Some(Place { place, n_waiting: look.n_waiting, eta: eta.saturating_sub(look.at.elapsed()) })
    }

    /// Looks, unless somebody does.
    async fn look(self: &Arc<Self>, engine: &Handle) {
        if self.is_looking.swap(true, Ordering::Acquire) {
            return;
        }
        let (places, engine) = (Arc::clone(self), engine.clone());
        let look = tokio::task::spawn_blocking(move || {
            let snapshot = engine.snapshot();
            let waiting = snapshot.sequences.iter().filter_map(|s| Some((s.request, (s.place?, s.eta?))));
            let mut look = Look { at: Instant::now(), places: HashMap::new(), n_waiting: 0 };
            for (request, place) in waiting {
                let first = look.places.entry(request).or_insert(place);
                *first = if place.0 < first.0 { place } else { *first };
                look.n_waiting += 1;
            }
            *places.lock() = Some(Arc::new(look));
            places.is_looking.store(false, Ordering::Release);
        });
        let _ = timeout(PATIENCE, look).await;
    }

    fn seen(&self) -> Option<Arc<Look>> {
        self.lock().clone()
    }

    /// Nobody panics with the lock in hand.
    fn lock(&self) -> MutexGuard<'_, Option<Arc<Look>>> {
        self.seen.lock().unwrap_or_else(|e| e.into_inner())
    }
}
