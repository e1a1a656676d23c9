//! Responses that later requests may name: `previous_response_id`, item references, retrieval, cancellation.
//!
//! They are in memory, bounded in number and in bytes; the oldest go first. A response belongs to the key that asked for it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::Notify;

use super::event_log::EventLog;

mod saved;

/// Bytes that a value of JSON takes beside its text.
const NODE: usize = size_of::<Value>();

/// All responses that are kept.
#[derive(Debug)]
pub(crate) struct Store {
    most: usize,
    most_bytes: usize,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    all: HashMap<String, Entry>,
    /// Ids from the oldest response on.
    ages: BTreeMap<u64, String>,
    /// Response and place in its conversation for each id of an item of a key: clients choose ids themselves.
    items: HashMap<(u32, String), (String, usize)>,
    n: u64,
    n_bytes: usize,
}

/// A response that is kept.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// The key that it belongs to.
    pub(crate) tenant: u32,
    /// The response object as JSON.
    pub(crate) body: Bytes,
    /// Items of the conversation: those of earlier responses, those of the request, and the output.
    pub(crate) items: Vec<Arc<Value>>,
    /// Number of items of earlier responses.
    pub(crate) n_past: usize,
    /// Number of items of the request.
    pub(crate) n_input: usize,
    /// Events of its stream, if that is computed in the background.
    pub(crate) log: Option<Arc<EventLog>>,
    pub(crate) state: State,
}

/// Progress of a response.
#[derive(Debug, Clone)]
pub(crate) enum State {
    /// Computed in the background until this is notified.
    Running(Arc<Notify>),
    /// Complete, and computed in the background.
    BackgroundDone,
    /// Complete, with an output.
    Done,
    /// Failed or cancelled.
    Unfinished,
}

#[derive(Debug)]
struct Entry {
    kept: Kept,
    age: u64,
    n_bytes: usize,
}

/// The outcome of a cancellation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cancelled {
    /// The response as it is now.
    Body(Bytes),
    /// Not computed in the background.
    Foreground,
    /// No such response.
    Unknown,
}

impl Store {
    /// A store of at most `most` responses and `most_bytes` bytes.
    pub(crate) fn new(most: usize, most_bytes: usize) -> Store {
        Store { most, most_bytes, inside: Mutex::default() }
    }

    /// Keeps a response under its id.
    pub(crate) fn keep(&self, id: &str, kept: Kept) {
        self.lock().insert(id, kept, (self.most, self.most_bytes));
    }

    /// Replaces a response that was computed in the background, unless it was deleted or cancelled meanwhile.
    pub(crate) fn finish(&self, id: &str, kept: Kept) {
        let mut inside = self.lock();
        let runs = inside.all.get(id).is_some_and(|entry| matches!(entry.kept.state, State::Running(_)));
        if runs {
            inside.insert(id, kept, (self.most, self.most_bytes));
        }
    }

    /// Ends a response of the background without an output: `change` says so in its object.
    pub(crate) fn give_up(&self, id: &str, change: impl FnOnce(&mut Value)) {
        self.lock().give_up(id, change);
    }

    /// The response object as JSON.
    pub(crate) fn body(&self, tenant: u32, id: &str) -> Option<Bytes> {
        self.lock().get(tenant, id).map(|kept| kept.body.clone())
    }

    /// The whole conversation up to the response's output, and whether it has one.
    pub(crate) fn conversation(&self, tenant: u32, id: &str) -> Option<(Vec<Arc<Value>>, bool)> {
        let inside = self.lock();
        let kept = inside.get(tenant, id)?;
        Some((kept.items.clone(), matches!(kept.state, State::Done | State::BackgroundDone)))
    }

    /// Events of the response's stream; the inner `None` if it has none that is kept.
    pub(crate) fn log(&self, tenant: u32, id: &str) -> Option<Option<Arc<EventLog>>> {
        self.lock().get(tenant, id).map(|kept| kept.log.clone())
    }

    /// Items of the request that asked for the response.
    pub(crate) fn input(&self, tenant: u32, id: &str) -> Option<Vec<Arc<Value>>> {
        let inside = self.lock();
        let kept = inside.get(tenant, id)?;
        Some(kept.items[kept.n_past..kept.n_past + kept.n_input].to_vec())
    }

    /// An item of a request or of an output.
    pub(crate) fn item(&self, tenant: u32, id: &str) -> Option<Arc<Value>> {
        let inside = self.lock();
        let (response, place) = inside.items.get(&(tenant, id.to_owned()))?;
        inside.get(tenant, response)?.items.get(*place).cloned()
    }

    /// Deletes a response, and ends it if it is computed in the background; false if there is none.
    pub(crate) fn delete(&self, tenant: u32, id: &str) -> bool {
        let mut inside = self.lock();
        if inside.get(tenant, id).is_none() {
            return false;
        }
        inside.remove(id);
        true
    }

    /// Ends a response of the background; `change` says so in its object.
    pub(crate) fn cancel(&self, tenant: u32, id: &str, change: impl FnOnce(&mut Value)) -> Cancelled {
        let mut inside = self.lock();
        let state = match inside.get(tenant, id) {
            Some(kept) => kept.state.clone(),
            None => return Cancelled::Unknown,
        };
        match state {
            State::Done => return Cancelled::Foreground,
            State::BackgroundDone | State::Unfinished => {}
            State::Running(stop) => {
                stop.notify_one();
                inside.give_up(id, change);
            }
        }
        inside.get(tenant, id).map_or(Cancelled::Unknown, |kept| Cancelled::Body(kept.body.clone()))
    }

    /// Responses and their bytes.
    #[cfg(test)]
    fn used(&self) -> (usize, usize) {
        let inside = self.lock();
        (inside.all.len(), inside.n_bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn get(&self, tenant: u32, id: &str) -> Option<&Kept> {
        self.all.get(id).map(|entry| &entry.kept).filter(|kept| kept.tenant == tenant)
    }

    fn insert(&mut self, id: &str, kept: Kept, (most, most_bytes): (usize, usize)) {
        self.replace(id);
        // Items are shared with other responses of the conversation. Each counts them in full, so that the sum is never too
        // small, whichever of them goes first.
        let items: usize = kept.items.iter().map(|item| weight(item)).sum();
        // The last event, which has the body, comes after this.
        let events = kept.log.as_ref().map_or(0, |log| log.n_bytes() + kept.body.len());
        let n_bytes = kept.body.len() + items + events;
        if most == 0 || n_bytes > most_bytes {
            return;
        }
        while self.all.len() >= most || self.n_bytes + n_bytes > most_bytes {
            let Some((_, oldest)) = self.ages.first_key_value() else { break };
            let oldest = oldest.clone();
            self.remove(&oldest);
        }
        for (place, item) in kept.items.iter().enumerate().skip(kept.n_past) {
            if let Some(item_id) = item["id"].as_str() {
                self.items.insert((kept.tenant, item_id.to_owned()), (id.to_owned(), place));
            }
        }
        self.n += 1;
        self.n_bytes += n_bytes;
        self.ages.insert(self.n, id.to_owned());
        self.all.insert(id.to_owned(), Entry { kept, age: self.n, n_bytes });
    }

    /// Takes a response out, and stops it.
    fn remove(&mut self, id: &str) {
        if let Some(Entry { kept: Kept { state: State::Running(stop), .. }, .. }) = self.replace(id) {
            stop.notify_one();
        }
    }

    /// Takes a response out for another one of its id.
    fn replace(&mut self, id: &str) -> Option<Entry> {
        let entry = self.all.remove(id)?;
        self.ages.remove(&entry.age);
        self.n_bytes -= entry.n_bytes;
        let Kept { tenant, items, n_past, .. } = &entry.kept;
        for item_id in items.iter().skip(*n_past).filter_map(|item| item["id"].as_str()) {
            let key = (*tenant, item_id.to_owned());
            // A later response may have an item of the same id.
            if self.items.get(&key).is_some_and(|(response, _)| response == id) {
                self.items.remove(&key);
            }
        }
        Some(entry)
    }

    fn give_up(&mut self, id: &str, change: impl FnOnce(&mut Value)) {
        let Some(entry) = self.all.get_mut(id) else { return };
        if !matches!(entry.kept.state, State::Running(_)) {
            return;
        }
        let mut body: Value = serde_json::from_slice(&entry.kept.body).unwrap_or_default();
        change(&mut body);
        let body = Bytes::from(body.to_string());
        self.n_bytes = self.n_bytes - entry.kept.body.len() + body.len();
        entry.n_bytes = entry.n_bytes - entry.kept.body.len() + body.len();
        entry.kept.body = body;
        entry.kept.state = State::Unfinished;
    }
}

/// Bytes that an item takes in memory, about.
pub(crate) fn weight(value: &Value) -> usize {
    NODE + match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Object(pairs) => pairs.iter().map(|(key, value)| NODE + key.len() + weight(value)).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
