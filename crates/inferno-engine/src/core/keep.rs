//! The prefix cache on its way to a file and back.

use std::io::{Read, Write};

use inferno_model::batch::PAGE_LEN;

use super::Core;
use crate::cache::{Pasted, Place};
use crate::cache_file::{CacheFileError, CacheFileSummary, CacheIdentity, Layout, checksum};

impl Core {
    /// Writes what is cached without a holder, in the pool and in memory beside it: what is worth most, in up to about `max_bytes`.
    pub(crate) fn save_cache(
        &mut self,
        out: &mut dyn Write,
        identity: &CacheIdentity,
        salt_key: [u8; 16],
        max_bytes: u64,
    ) -> Result<CacheFileSummary, CacheFileError> {
        self.move_pages()?;
        let layout = self.layout(identity)?;
        let Core { model, scheduler, store, .. } = self;
        let nodes = scheduler.cache().copy(&layout.page_bytes(), max_bytes);
        let pages = model.page_bytes().ok_or(CacheFileError::NoPages)?;
        let n_bytes = layout.write(out, salt_key, &nodes, |group, place, bytes| match place {
            Place::Pool(page) => pages.read(group, page, bytes),
            Place::Beside(slot) => store.copy(slot, bytes),
        })?;
        let n_nodes = nodes.iter().filter(|node| node.pages.iter().any(Option::is_some)).count();
        Ok(CacheFileSummary { n_tokens: n_nodes * PAGE_LEN, n_bytes, salt_key })
    }

    /// Caches what was written, as far as there are free pages and memory beside the pool. Nothing is cached of a file with a fault.
    pub(crate) fn restore_cache(
        &mut self,
        input: &mut dyn Read,
        identity: &CacheIdentity,
    ) -> Result<CacheFileSummary, CacheFileError> {
        let layout = self.layout(identity)?;
        let Core { model, scheduler, store, .. } = self;
        let cache = scheduler.cache_mut();
        let pages = model.page_bytes().ok_or(CacheFileError::NoPages)?;
        let mut pasted = Pasted::default();
        let read = layout.read(input, |node, bytes| {
            let Some(places) = cache.paste(node, &mut pasted) else { return Ok(false) };
            for (group, (place, bytes)) in places.into_iter().zip(bytes).enumerate() {
                match (place, bytes) {
                    (Some(Place::Pool(page)), Some(bytes)) => pages.write(group, page, bytes)?,
                    (Some(Place::Beside(slot)), Some(bytes)) => store.put(slot, bytes),
                    (None, _) | (_, None) => {}
                }
            }
            Ok(true)
        });
        let n_tokens = pasted.n_nodes() * PAGE_LEN;
        cache.finish(pasted);
        if read.is_err() {
            cache.clear();
        }
        read.map(|(n_bytes, salt_key)| CacheFileSummary { n_tokens, n_bytes, salt_key })
    }

    fn layout(&mut self, identity: &CacheIdentity) -> Result<Layout, CacheFileError> {
        if !self.scheduler.limits().prefix_cache {
            return Err(CacheFileError::NoCache);
        }
        let cache = self.scheduler.cache();
        let pages = self.model.page_bytes().ok_or(CacheFileError::NoPages)?;
        let groups = (0..cache.n_groups()).map(|group| (cache.kind(group), pages.n_bytes(group))).collect();
        let placement = ("placement of layers on devices", checksum(0, pages.placement().as_bytes()));
        Ok(Layout { identity: identity.iter().copied().chain([placement]).collect(), groups })
    }
}
