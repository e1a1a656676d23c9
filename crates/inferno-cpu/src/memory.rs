//! Memory for weights and keys: anonymous, zero, in huge pages where the system has them.

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use inferno_model::error::BackendError;
use memmap2::{MmapOptions, MmapRaw};

/// Where a huge page begins.
const HUGE_PAGE: usize = 2 << 20;

/// Bytes that an arena asks the system for at a time. What is not written takes no memory.
const CHUNK: usize = 256 << 20;

/// Bytes that it asks for at least where the system does not give as much: a limit on address space counts all of them.
const SMALL_CHUNK: usize = 4 << 20;

/// Where a region begins.
const ALIGN: usize = 64;

/// Gives out regions that lie end to end, so that huge pages are full.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    chunk: Option<Chunk>,
    used: usize,
    /// Bytes of all chunks.
    total: usize,
}

/// Zero bytes of the system's, at the start of a huge page.
#[derive(Debug)]
struct Chunk {
    map: Arc<MmapRaw>,
    start: usize,
    len: usize,
}

/// Bytes at an address that is a multiple of a cache line.
#[derive(Debug)]
pub(crate) struct Region {
    start: NonNull<u8>,
    len: usize,
    /// Keeps the memory alive.
    _map: Arc<MmapRaw>,
}

// SAFETY: a region is the only one to have its bytes, as a `Vec` has.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Chunk {
    fn new(len: usize, what: &dyn Fn() -> String) -> Result<Chunk, BackendError> {
        let refused = |e: &dyn std::fmt::Display| BackendError {
            what: format!("no memory for the {len} bytes of {}: {e}", what()),
        };
        let padded = len.max(1).checked_add(HUGE_PAGE).ok_or_else(|| refused(&"too many"))?;
        let map = MmapOptions::new().len(padded).no_reserve_swap().map_anon().map_err(|e| refused(&e))?;
        #[cfg(target_os = "linux")]
        {
            // A system without huge pages serves us too.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        let map = MmapRaw::from(map);
        let start = map.as_ptr().align_offset(HUGE_PAGE);
        Ok(Chunk { map: Arc::new(map), start, len })
    }

    fn region(&self, range: Range<usize>) -> Region {
        assert!(range.end <= self.len, "a part of the chunk");
        // SAFETY: the chunk has `len` bytes from `start` on.
        let start = unsafe { self.map.as_mut_ptr().add(self.start + range.start) };
        let start = NonNull::new(start).expect("a mapping is not at zero");
        Region { start, len: range.len(), _map: Arc::clone(&self.map) }
    }
}

impl Arena {
    /// `len` zero bytes; `what` they are for is named if there are none to be had.
    pub(crate) fn region(&mut self, len: usize, what: &dyn Fn() -> String) -> Result<Region, BackendError> {
        let chunk = match &mut self.chunk {
            Some(chunk) if chunk.len - self.used >= len => chunk,
            other => {
                let chunk = new_chunk(len, self.total, what)?;
                self.used = 0;
                self.total += chunk.len;
                other.insert(chunk)
            }
        };
        let region = chunk.region(self.used..self.used + len);
        self.used = (self.used + len).next_multiple_of(ALIGN).min(chunk.len);
        Ok(region)
    }
}

/// A chunk for `len` bytes and more, beside `total` bytes of others.
fn new_chunk(len: usize, total: usize, what: &dyn Fn() -> String) -> Result<Chunk, BackendError> {
    let mut size = CHUNK;
    while size > len && size >= SMALL_CHUNK {
        if let Ok(chunk) = Chunk::new(size, what) {
            return Ok(chunk);
        }
        size /= 4;
    }
    Chunk::new(len, &|| format!("{}, beside {total} bytes for other weights", what()))
}

impl Region {
    /// `len` zero bytes of its own.
    pub(crate) fn new(len: usize, what: &dyn Fn() -> String) -> Result<Region, BackendError> {
        Ok(Chunk::new(len, what)?.region(0..len))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the bytes are this region's, zero at first, and live as long as it does.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
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

    /// # Safety
    /// No element of the range is written while the slice lives.
    pub(crate) unsafe fn read(&self, range: Range<usize>) -> &[T] {
        assert!(range.start <= range.end && range.end <= self.len, "a part of the whole");
        // SAFETY: in bounds by the assertion, not written by the caller's word.
        unsafe { std::slice::from_raw_parts(self.start.add(range.start), range.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_zero_aligned_and_apart() {
        let mut arena = Arena::default();
        let what = || "a test".to_owned();
        let mut regions: Vec<Region> = [0, 1, 63, 64, 65, 3 << 20, CHUNK - 100, CHUNK + 1]
            .map(|n| arena.region(n, &what).unwrap())
            .into();
        drop(arena);
        for (i, region) in regions.iter_mut().enumerate() {
            assert_eq!(region.bytes().as_ptr().align_offset(ALIGN), 0);
            let n = region.bytes().len();
            for at in [0, n / 2, n.saturating_sub(1)].into_iter().filter(|&at| at < n) {
                region.bytes_mut()[at] = i as u8;
            }
        }
        for (i, region) in regions.iter().enumerate().filter(|(_, r)| !r.bytes().is_empty()) {
            assert_eq!((region.bytes()[0], region.bytes()[region.bytes().len() - 1]), (i as u8, i as u8));
        }
    }

    #[test]
    fn an_arena_without_memory_names_what_it_was_for_and_what_there_is() {
        let mut arena = Arena::default();
        arena.region(100, &|| "tensor `a`".into()).unwrap();
        let error = arena.region(1 << 60, &|| "tensor `b`".into()).unwrap_err();
        let start = format!(
            "no memory for the {} bytes of tensor `b`, beside {CHUNK} bytes for other weights: ",
            1u64 << 60
        );
        assert!(error.what.starts_with(&start), "{}", error.what);
    }

    #[test]
    fn memory_that_is_not_there_is_an_error_with_a_name() {
        let error = Region::new(usize::MAX, &|| "tensor `x`".into()).unwrap_err();
        assert_eq!(error.what, format!("no memory for the {} bytes of tensor `x`: too many", usize::MAX));
        assert!(Region::new(1 << 60, &|| "tensor `x`".into()).unwrap_err().what.contains("tensor `x`: "));
    }
}
