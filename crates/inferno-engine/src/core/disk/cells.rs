//! A file of pages, each with a checksum that is kept in memory.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, SeekFrom};

use foldhash::fast::RandomState;

use super::Medium;
use crate::cache::Slot;
use crate::cache_file::checksum;

/// Pages in a file, at the first free place that is large enough.
pub(super) struct Cells<M> {
    medium: M,
    used: HashMap<Slot, Cell, RandomState>,
    /// Free bytes by where they start, no two next to each other.
    free: BTreeMap<u64, u64>,
}

#[derive(Clone, Copy)]
struct Cell {
    at: u64,
    n_bytes: usize,
    checksum: u64,
}

/// The result of a write without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Whole,
    /// The file would be larger than it may be.
    NoRoom,
}

impl<M: Medium> Cells<M> {
    pub(super) fn new(medium: M, max_bytes: u64) -> Cells<M> {
        Cells { medium, used: HashMap::default(), free: BTreeMap::from([(0, max_bytes)]) }
    }

    /// Writes a page.
    ///
    /// # Errors
    /// The file takes it not or in part; the page is not there then.
    pub(super) fn write(&mut self, slot: Slot, bytes: &[u8]) -> io::Result<Written> {
        let Some(at) = self.take(bytes.len() as u64) else { return Ok(Written::NoRoom) };
        self.used.insert(slot, Cell { at, n_bytes: bytes.len(), checksum: checksum(0, bytes) });
        let written = self.medium.seek(SeekFrom::Start(at)).and_then(|_| self.medium.write_all(bytes));
        if written.is_err() {
            self.forget(slot);
        }
        written.map(|()| Written::Whole)
    }

    /// Takes a page, whose cell is free then; `None` if it is not there.
    ///
    /// # Errors
    /// The file cannot be read, or the page's checksum is wrong.
    pub(super) fn read(&mut self, slot: Slot) -> io::Result<Option<Vec<u8>>> {
        let Some(cell) = self.used.get(&slot).copied() else { return Ok(None) };
        self.forget(slot);
        let mut bytes = vec![0; cell.n_bytes];
        self.medium.seek(SeekFrom::Start(cell.at))?;
        self.medium.read_exact(&mut bytes)?;
        match checksum(0, &bytes) == cell.checksum {
            true => Ok(Some(bytes)),
            false => Err(io::Error::other("it is not what was written (checksum)")),
        }
    }

    pub(super) fn forget(&mut self, slot: Slot) {
        let Some(Cell { at, n_bytes, .. }) = self.used.remove(&slot) else { return };
        let (mut start, mut end) = (at, at + n_bytes as u64);
        if let Some((&before, &n)) = self.free.range(..start).next_back()
            && before + n == start
        {
            start = before;
        }
        if let Some(n) = self.free.remove(&end) {
            end += n;
        }
        self.free.insert(start, end - start);
    }

    /// A place for `n_bytes`.
    fn take(&mut self, n_bytes: u64) -> Option<u64> {
        let (&at, &free) = self.free.iter().find(|&(_, &free)| free >= n_bytes)?;
        self.free.remove(&at);
        if free > n_bytes {
            self.free.insert(at + n_bytes, free - n_bytes);
        }
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::cache::slots_for_tests;

    #[test]
    fn pages_come_back_as_they_were_once_and_damage_shows() {
        let mut cells = Cells::new(Cursor::new(Vec::new()), 250);
        let slots = slots_for_tests(4);
        let mut write = |slot: usize, byte: u8| cells.write(slots[slot], &[byte; 100]).expect("a file");
        assert_eq!(
            [write(0, 1), write(1, 2), write(2, 3)],
            [Written::Whole, Written::Whole, Written::NoRoom]
        );
        assert_eq!(cells.read(slots[0]).expect("it is there"), Some(vec![1; 100]));
        assert_eq!(cells.read(slots[0]).expect("no fault"), None);
        assert_eq!(cells.write(slots[3], &[4; 100]).expect("the cell is free"), Written::Whole);
        cells.medium.get_mut()[150] = 9;
        assert!(cells.read(slots[1]).is_err());
        assert_eq!(cells.read(slots[3]).expect("it is there"), Some(vec![4; 100]));
        assert_eq!(cells.free, BTreeMap::from([(0, 250)]));
    }

    #[test]
    fn free_cells_next_to_each_other_are_one() {
        let mut cells = Cells::new(Cursor::new(Vec::new()), 300);
        let slots = slots_for_tests(4);
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0], [0, 2, 1]] {
            for &slot in &slots[..3] {
                assert_eq!(cells.write(slot, &[7; 100]).expect("a file"), Written::Whole);
            }
            assert!(cells.free.is_empty());
            for slot in order {
                cells.forget(slots[slot]);
            }
            assert_eq!(cells.write(slots[3], &[8; 300]).expect("a file"), Written::Whole, "after {order:?}");
            cells.forget(slots[3]);
        }
    }
}
