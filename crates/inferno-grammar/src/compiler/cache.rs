//! The compiled grammars that are kept, by content.

use std::collections::HashMap;
use std::sync::Arc;

use super::Compiled;

/// Grammars that were asked for last, within bytes and number.
pub(super) struct Cache {
    entries: HashMap<String, Entry>,
    most_bytes: usize,
    most_entries: usize,
    n_bytes: usize,
    clock: u64,
}

struct Entry {
    compiled: Arc<Compiled>,
    n_bytes: usize,
    used: u64,
}

impl Cache {
    pub(super) fn new(most_bytes: usize, most_entries: usize) -> Cache {
        Cache { entries: HashMap::new(), most_bytes, most_entries, n_bytes: 0, clock: 0 }
    }

    pub(super) fn get(&mut self, key: &str) -> Option<Arc<Compiled>> {
        self.clock += 1;
        let entry = self.entries.get_mut(key)?;
        entry.used = self.clock;
        Some(entry.compiled.clone())
    }

    pub(super) fn insert(&mut self, key: String, compiled: &Arc<Compiled>) {
        let n_bytes = key.len() + compiled.n_bytes();
        if n_bytes > self.most_bytes || self.most_entries == 0 {
            return;
        }
        self.remove(&key);
        while self.n_bytes + n_bytes > self.most_bytes || self.entries.len() >= self.most_entries {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone());
            match oldest {
                Some(key) => self.remove(&key),
                None => break,
            }
        }
        self.clock += 1;
        self.n_bytes += n_bytes;
        self.entries.insert(key, Entry { compiled: compiled.clone(), n_bytes, used: self.clock });
    }

    fn remove(&mut self, key: &str) {
        if let Some(entry) = self.entries.remove(key) {
            self.n_bytes -= entry.n_bytes;
        }
    }
}
