//! Which requests there are: for operators to see, and to end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use inferno_engine::RequestId;

/// All requests that have come as far as a prompt.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    n: u64,
    all: HashMap<u64, Known>,
}

/// A request as operators see it.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) request_id: Arc<str>,
    /// The id of its answer.
    pub(crate) id: String,
    pub(crate) route: &'static str,
    pub(crate) key: Arc<str>,
    pub(crate) is_stream: bool,
    pub(crate) since: Instant,
    /// Its requests in the engine, one for each prompt.
    pub(crate) engine_ids: Vec<RequestId>,
}

/// A place in the registry, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Entry {
    app: Arc<crate::app::App>,
    number: u64,
}

impl Registry {
    /// Writes a request down.
    pub(crate) fn enter(app: &Arc<crate::app::App>, known: Known) -> Entry {
        let mut inside = app.registry.lock();
        inside.n += 1;
        let number = inside.n;
        inside.all.insert(number, known);
        drop(inside);
        Entry { app: Arc::clone(app), number }
    }

    /// All, oldest first.
    pub(crate) fn list(&self) -> Vec<Known> {
        let inside = self.lock();
        let mut all: Vec<(u64, Known)> = inside.all.iter().map(|(n, known)| (*n, known.clone())).collect();
        drop(inside);
        all.sort_by_key(|(n, _)| *n);
        all.into_iter().map(|(_, known)| known).collect()
    }

    /// Those of one name, be it that of the request or that of its answer.
    pub(crate) fn find(&self, name: &str) -> Vec<Known> {
        let mut all = self.list();
        all.retain(|known| *known.request_id == *name || known.id == name);
        all
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().all.len()
    }

    /// Nobody panics with the lock in hand.
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Entry {
    /// It has a request in the engine.
    pub(crate) fn add(&self, id: RequestId) {
        if let Some(known) = self.app.registry.lock().all.get_mut(&self.number) {
            known.engine_ids.push(id);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.app.registry.lock().all.remove(&self.number);
    }
}
