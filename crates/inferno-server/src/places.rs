//! Who waits where: a look into the engine, shared by all who want to know.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use inferno_engine::RequestId;
use tokio::sync::Mutex;

use crate::app::App;

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Place {
    /// How many are before it.
    pub(crate) place: usize,
    pub(crate) n_waiting: usize,
    /// When its turn may come.
    pub(crate) eta: Duration,
}

/// The last look.
#[derive(Debug, Default)]
pub(crate) struct Places {
    seen: Mutex<Option<Arc<Look>>>,
}

#[derive(Debug)]
struct Look {
    at: Instant,
    /// Of each request's first sequence that waits.
    places: HashMap<RequestId, usize>,
    n_waiting: usize,
}

/// A look is good for so long: the engine answers between two steps, and must not be asked by everybody.
const FRESH: Duration = Duration::from_secs(1);

impl Places {
    /// Where a request waits; `None` if it does not.
    pub(crate) async fn of(&self, app: &App, id: RequestId) -> Option<Place> {
        let mut seen = self.seen.lock().await;
        let look = match &*seen {
            Some(look) if look.at.elapsed() < FRESH => Arc::clone(look),
            _ => {
                let engine = app.engine.clone();
                let snapshot = tokio::task::spawn_blocking(move || engine.snapshot()).await.ok()?;
                let waiting = snapshot.sequences.iter().filter_map(|s| Some((s.request, s.place?)));
                let mut look = Look { at: Instant::now(), places: HashMap::new(), n_waiting: 0 };
                for (request, place) in waiting {
                    let first = look.places.entry(request).or_insert(place);
                    *first = place.min(*first);
                    look.n_waiting += 1;
                }
                Arc::clone(seen.insert(Arc::new(look)))
            }
        };
        drop(seen);
        let place = *look.places.get(&id)?;
        Some(Place { place, n_waiting: look.n_waiting, eta: app.engine.wait_estimate(place) })
    }
}
