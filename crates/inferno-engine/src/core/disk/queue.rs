//! The queue between the engine's thread and the disk's.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard};

use foldhash::fast::RandomState;

use crate::cache::Slot;

/// Bytes of queued writes, at most; further pages are dropped.
const MOST_QUEUED: u64 = 512 << 20;

/// Jobs between the engine's thread and the disk's.
#[derive(Default)]
pub(super) struct Queue {
    jobs: Mutex<Jobs>,
    changed: Condvar,
}

#[derive(Default)]
pub(super) struct Jobs {
    reads: VecDeque<Slot>,
    writes: HashMap<Slot, Vec<u8>, RandomState>,
    /// The order of the writes; some may have been taken back.
    order: VecDeque<Slot>,
    /// Bytes of the writes.
    n_bytes: u64,
    forgotten: Vec<Slot>,
    is_closed: bool,
}

pub(super) enum Job {
    Forget(Slot),
    Read(Slot),
    /// A page that is to be read before it was written.
    Return(Slot, Vec<u8>),
    Write(Slot, Vec<u8>),
}

impl Jobs {
    /// Adds a page to write; false if too many are queued.
    pub(super) fn write(&mut self, slot: Slot, bytes: Vec<u8>) -> bool {
        let has_room = self.n_bytes + bytes.len() as u64 <= MOST_QUEUED;
        if has_room {
            self.n_bytes += bytes.len() as u64;
            self.writes.insert(slot, bytes);
            self.order.push_back(slot);
        }
        has_room
    }

    pub(super) fn read(&mut self, slot: Slot) {
        self.reads.push_back(slot);
    }

    /// Takes a queued write back, or has the file forget the page.
    pub(super) fn forget(&mut self, slot: Slot) {
        if self.take(slot).is_none() {
            self.forgotten.push(slot);
        }
    }

    /// The next job: what costs nothing first, then reads, then writes.
    pub(super) fn next(&mut self) -> Option<Job> {
        if let Some(slot) = self.forgotten.pop() {
            return Some(Job::Forget(slot));
        }
        if let Some(slot) = self.reads.pop_front() {
            return Some(self.take(slot).map_or(Job::Read(slot), |bytes| Job::Return(slot, bytes)));
        }
        self.next_write().map(|(slot, bytes)| Job::Write(slot, bytes))
    }

    /// The next write, as if there were nothing else.
    pub(super) fn next_write(&mut self) -> Option<(Slot, Vec<u8>)> {
        loop {
            let slot = self.order.pop_front()?;
            if let Some(bytes) = self.take(slot) {
                return Some((slot, bytes));
            }
        }
    }

    /// Takes a queued write back.
    fn take(&mut self, slot: Slot) -> Option<Vec<u8>> {
        let bytes = self.writes.remove(&slot)?;
        self.n_bytes -= bytes.len() as u64;
        Some(bytes)
    }
}

impl Queue {
    /// Changes the jobs, and wakes the thread.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Jobs) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_one();
        result
    }

    /// Waits for the next job; `None` when the engine is gone.
    pub(super) fn wait(&self) -> Option<Job> {
        let mut jobs = self.lock();
        loop {
            if jobs.is_closed {
                return None;
            }
            if let Some(job) = jobs.next() {
                return Some(job);
            }
            jobs = self.changed.wait(jobs).unwrap_or_else(|e| e.into_inner());
        }
    }

    /// Ends the thread after what it is doing.
    pub(super) fn close(&self) {
        self.change(|jobs| jobs.is_closed = true);
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(|e| e.into_inner())
    }
}
