//! Memory for weights and keys: anonymous, zero, in huge pages where the system has them.

use std::ops::Range;

use inferno_model::error::BackendError;
use memmap2::MmapMut;

/// Where a huge page begins.
const HUGE_PAGE: usize = 2 << 20;

/// Bytes at an address that is a multiple of a cache line; of a huge page if there are so many. What is not written
/// takes no memory.
#[derive(Debug)]
pub(crate) struct Region {
    map: MmapMut,
    range: Range<usize>,
}

impl Region {
    /// `len` zero bytes; `what` they are for is named if there are none to be had.
    pub(crate) fn new(len: usize, what: &dyn Fn() -> String) -> Result<Region, BackendError> {
        let align = if len >= HUGE_PAGE { HUGE_PAGE } else { 64 };
        let refused = |e: &dyn std::fmt::Display| BackendError {
            what: format!("no memory for the {len} bytes of {}: {e}", what()),
        };
        let padded = len.max(1).checked_add(align).ok_or_else(|| refused(&"too many"))?;
        let map = MmapMut::map_anon(padded).map_err(|e| refused(&e))?;
        #[cfg(target_os = "linux")]
        if align == HUGE_PAGE {
            // A system without huge pages serves us too.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        let start = map.as_ptr().align_offset(align);
        Ok(Region { map, range: start..start + len })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map[self.range.clone()]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.map[self.range.clone()]
    }
}

/// A mutable slice that many threads write, each to places of its own.
pub(crate) struct Shares<'a, T> {
    start: *mut T,
    len: usize,
    life: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: it is a `&mut [T]` whose parts are handed out; `Shares::at` asks that they do not overlap.
unsafe impl<T: Send> Sync for Shares<'_, T> {}

impl<'a, T> Shares<'a, T> {
    pub(crate) fn new(all: &'a mut [T]) -> Shares<'a, T> {
        Shares { start: all.as_mut_ptr(), len: all.len(), life: std::marker::PhantomData }
    }

    /// # Safety
    /// No element of the range is used elsewhere while the slice lives.
    #[allow(clippy::mut_from_ref, reason = "the caller keeps the parts apart")]
    pub(crate) unsafe fn at(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "a part of the whole");
        // SAFETY: in bounds by the assertion, alone by the caller's word.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}
