//! Pages that have left the KV pool, in memory, and the copies between both.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use inferno_model::error::StepError;

use super::Core;
use crate::cache::{Move, Slot};

/// Buffers of one size that are kept for the next pages.
const MOST_SPARE: usize = 64;

/// The bytes of pages outside the pool.
#[derive(Default)]
pub(super) struct Store {
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
                Move::Forget(slot) => {
                    if let Some(bytes) = store.pages.remove(&slot) {
                        store.give_back(bytes);
                    }
                }
            }
        }
        Ok(())
    }
}
