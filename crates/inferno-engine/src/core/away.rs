//! Pages that have left the KV pool, in memory and on disk, and the copies between all three.

use std::collections::HashMap;
use std::time::Duration;

use foldhash::fast::RandomState;
use inferno_model::error::StepError;

use super::Core;
use super::disk::{Disk, DiskCache, Done};
use crate::cache::{Move, Room, Slot};
use crate::request::Micros;

/// Buffers of one size that are kept for the next pages.
const MOST_SPARE: usize = 64;

/// Time without writes after one failed: the disk is full, or broken.
const DISK_OFF: Micros = 60_000_000;

/// Time without a result after which a disk hangs: what is on it is computed instead.
const STALLED: Micros = 10_000_000;

/// Time to wait for a page from disk when there is nothing else to do.
pub(super) const WAIT: Duration = Duration::from_millis(2);

/// The bytes of pages outside the pool.
#[derive(Default)]
pub(super) struct Store {
    disk: Option<Disk>,
    /// Told what goes wrong with it.
    report: Option<fn(&str)>,
    /// When the disk is written to again.
    disk_is_off_until: Option<Micros>,
    /// When the disk last had a result, or nothing to read.
    heard: Micros,
    pages: HashMap<Slot, Vec<u8>, RandomState>,
    /// Buffers without a page, by size: memory that the system has given already.
    spare: HashMap<usize, Vec<Vec<u8>>, RandomState>,
}

impl Store {
    fn buffer(&mut self, n_bytes: usize) -> Vec<u8> {
        let spare = self.spare.get_mut(&n_bytes).and_then(Vec::pop);
        spare.unwrap_or_else(|| vec![0; n_bytes])
    }

    fn give_back(&mut self, buffer: Vec<u8>) {
        let spare = self.spare.entry(buffer.len()).or_default();
        if spare.len() < MOST_SPARE {
            spare.push(buffer);
        }
    }

    /// Copies a page's bytes.
    pub(super) fn copy(&self, slot: Slot, out: &mut [u8]) -> Result<(), StepError> {
        let lost = || StepError { what: "a page outside the KV pool is lost".into() };
        let bytes = self.pages.get(&slot).filter(|bytes| bytes.len() == out.len());
        out.copy_from_slice(bytes.ok_or_else(lost)?);
        Ok(())
    }

    /// Keeps a page that comes from elsewhere.
    pub(super) fn put(&mut self, slot: Slot, bytes: &[u8]) {
        self.pages.insert(slot, bytes.to_vec());
    }

    /// Forgets all pages.
    pub(super) fn clear(&mut self) {
        self.pages.clear();
    }
}

impl Core {
    /// Copies pages out of the pool and back, as the scheduler has decided since the last time. It comes before anything is
    /// written to the pool.
    ///
    /// # Errors
    /// The device failed. What was to be copied is lost.
    pub(super) fn move_pages(&mut self) -> Result<(), StepError> {
        let Core { model, scheduler, store, .. } = self;
        let moves = scheduler.cache_mut().moves();
        if moves.is_empty() {
            return Ok(());
        }
        let lost = |what: &str| StepError { what: what.into() };
        let pages = model.page_bytes().ok_or_else(|| lost("pages of this model cannot be copied"))?;
        let mut lost_slots = Vec::new();
        for one in moves.drain(..) {
            match one {
                Move::Out { group, page, slot } => {
                    let mut bytes = store.buffer(pages.n_bytes(group));
                    pages.read(group, page, &mut bytes)?;
                    store.pages.insert(slot, bytes);
                }
                Move::Back { group, page, slot } => {
                    let bytes = store.pages.remove(&slot);
                    let bytes = bytes.ok_or_else(|| lost("a page outside the KV pool is lost"))?;
                    pages.write(group, page, &bytes)?;
                    store.give_back(bytes);
                }
                Move::Spill(slot) => {
                    let (disk, bytes) = (store.disk.as_mut(), store.pages.remove(&slot));
                    let is_queued = disk.zip(bytes).is_some_and(|(disk, bytes)| disk.write(slot, bytes));
                    if !is_queued {
                        lost_slots.push(slot);
                    }
                }
                Move::Fetch(slot) => match &mut store.disk {
                    Some(disk) => disk.read(slot),
                    None => lost_slots.push(slot),
                },
                Move::Forget(slot) => match (store.pages.remove(&slot), &mut store.disk) {
                    (Some(bytes), _) => store.give_back(bytes),
                    (None, Some(disk)) => disk.forget(slot),
                    (None, None) => {}
                },
            }
        }
        lost_slots.into_iter().for_each(|slot| scheduler.cache_mut().lost(slot));
        Ok(())
    }

    /// Keeps pages on disk that memory beside the pool has no room for. It comes before the first request. Without a thread for
    /// the disk there is none, which is reported.
    pub(crate) fn with_disk(mut self, config: &DiskCache) -> Core {
        match Disk::start(config) {
            Ok(disk) => self.set_disk(disk, config.max_bytes(), config.transit_bytes),
            Err(error) => (config.report)(&format!("no cached pages are written to disk: {error}")),
        }
        self.store.report = Some(config.report);
        self
    }

    pub(crate) fn set_disk(&mut self, disk: Disk, max_bytes: u64, transit: u64) {
        let memory = self.scheduler.limits().max_away_bytes;
        let groups = 0..self.scheduler.cache().n_groups();
        let Some(pages) = self.model.page_bytes() else { return };
        let page_bytes = groups.map(|group| pages.n_bytes(group) as u64).collect();
        self.scheduler.cache_mut().keep_away(Room { page_bytes, memory, disk: max_bytes, transit });
        self.store.disk = Some(disk);
    }

    /// Takes the disk's results; waits up to `wait` for one if a sequence may need it.
    pub(super) fn hear_disk(&mut self, mut wait: Option<Duration>) {
        let Core { scheduler, store, clock, .. } = self;
        let (cache, Store { disk: Some(disk), disk_is_off_until, heard, pages, report, .. }) =
            (scheduler.cache_mut(), &mut *store)
        else {
            return;
        };
        if disk_is_off_until.take_if(|until| *until <= clock()).is_some() {
            cache.turn_disk(true);
        }
        let mut is_gone = false;
        if disk.n_reads() == 0 {
            *heard = clock();
        }
        while let Some(done) = disk.done(wait.take()) {
            *heard = clock();
            match done {
                Done::Read(slot, bytes) => {
                    if cache.arrived(slot) {
                        pages.insert(slot, bytes);
                    }
                }
                Done::Unread(slot) | Done::NoRoom(slot) => cache.lost(slot),
                Done::Failed(slot) => {
                    cache.lost(slot);
                    *disk_is_off_until = Some(*heard + DISK_OFF);
                    cache.turn_disk(false);
                }
                Done::Gone => {
                    is_gone = true;
                    break;
                }
            }
        }
        let is_stalled = disk.n_reads() > 0 && clock() >= *heard + STALLED;
        if is_gone || is_stalled {
            cache.lose_disk();
            if let Some(report) = report {
                report("the disk does not answer: no cached pages are kept on it until the next start");
            }
            store.disk = None;
        }
    }
}
