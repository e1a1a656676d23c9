//! The queue, its thread, and a disk that fails.

use std::io::{Cursor, SeekFrom};
use std::sync::atomic::AtomicUsize;

use super::*;
use crate::cache::slots_for_tests;

/// A medium in memory, on which operations fail when `fault` says so.
pub(crate) struct Flawed<F> {
    pub(crate) inside: Cursor<Vec<u8>>,
    pub(crate) fault: F,
}

/// A fault of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Nothing,
    /// An error.
    Error,
    /// Bytes that are read are not those that were written.
    Damage,
}

impl<F: FnMut() -> Fault> Read for Flawed<F> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let fault = (self.fault)();
        if fault == Fault::Error {
            return Err(io::Error::other("unreadable"));
        }
        let n = self.inside.read(out)?;
        if fault == Fault::Damage && n > 0 {
            out[n / 2] ^= 1;
        }
        Ok(n)
    }
}

impl<F: FnMut() -> Fault> Write for Flawed<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match (self.fault)() {
            Fault::Error => Err(ErrorKind::StorageFull.into()),
            // A part of it.
            Fault::Damage => self.inside.write(&bytes[..bytes.len().div_ceil(2)]),
            Fault::Nothing => self.inside.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<F> Seek for Flawed<F> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inside.seek(to)
    }
}

/// Results as text, with the first byte of each page.
fn told(disk: &mut Disk, n: usize) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..n {
        let done = disk.done.recv_timeout(Duration::from_secs(60)).expect("a result");
        told.push(match done {
            Done::Read(slot, bytes) => format!("{slot:?} has {} of {}", bytes.len(), bytes[0]),
            other => format!("{other:?}"),
        });
    }
    told
}

#[test]
fn a_file_of_its_own_is_left_nowhere() {
    let directory = std::env::temp_dir().join(format!("inferno-disk-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let open = || DiskCache::open(&directory, 1 << 20, 1 << 20, |_| {}).expect("a file");
    let slots = slots_for_tests(3);
    // Two servers with one directory.
    let mut disks = [open(), open()].map(|config| Disk::start(&config).expect("a thread"));
    for (disk, byte) in disks.iter_mut().zip([1, 2]) {
        assert!(slots.iter().all(|&slot| disk.write(slot, vec![byte; 1000])));
    }
    #[cfg(unix)]
    std::fs::remove_dir(&directory).expect("a directory without a file");
    for (disk, byte) in disks.iter_mut().zip([1, 2]) {
        disk.forget(slots[1]);
        slots.iter().for_each(|&slot| disk.read(slot));
        let mut told = told(disk, 3);
        told.sort();
        let expected = [format!("Slot(1) has 1000 of {byte}"), format!("Slot(3) has 1000 of {byte}")];
        assert_eq!(told[..2], expected);
        assert_eq!(told[2], "Unread(Slot(2))");
        assert!(disk.done(None).is_none());
    }
}

#[test]
fn a_directory_without_a_place_for_a_file_is_an_error() {
    let missing = std::env::temp_dir().join(format!("inferno-missing-{}", std::process::id()));
    let error = DiskCache::open(&missing, 1, 1, |_| {}).expect_err("no directory");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn a_page_is_read_before_the_writes_that_wait() {
    let n = Arc::new(AtomicUsize::new(0));
    let n_jobs = Arc::clone(&n);
    let set = |jobs| n.store(jobs, Ordering::Relaxed);
    let medium = Flawed { inside: Cursor::new(Vec::new()), fault: || Fault::Nothing };
    let mut disk = Disk::by_hand(medium, 2500, move || n_jobs.swap(0, Ordering::Relaxed));
    let slots = slots_for_tests(4);
    for (&slot, byte) in slots.iter().zip(1..) {
        assert!(disk.write(slot, vec![byte; 1000]));
    }
    set(1);
    assert!(disk.done(None).is_none(), "one is written");
    disk.read(slots[3]);
    disk.read(slots[0]);
    set(2);
    assert!(
        matches!(disk.done(None), Some(Done::Read(slot, bytes)) if slot == slots[3] && bytes == [4; 1000])
    );
    assert!(
        matches!(disk.done(None), Some(Done::Read(slot, bytes)) if slot == slots[0] && bytes == [1; 1000])
    );
    assert_eq!(disk.n_reads(), 0);
    set(9);
    assert!(disk.done(None).is_none(), "the others have room");
    assert!(disk.write(slots[0], vec![5; 1000]));
    set(9);
    assert!(matches!(disk.done(None), Some(Done::NoRoom(slot)) if slot == slots[0]));
}

#[test]
fn after_a_failed_write_the_others_are_given_up() {
    let mut faults = vec![Fault::Nothing, Fault::Error, Fault::Nothing, Fault::Damage].into_iter();
    let medium =
        Flawed { inside: Cursor::new(Vec::new()), fault: move || faults.next().unwrap_or(Fault::Nothing) };
    let mut disk = Disk::by_hand(medium, 1 << 20, || 1);
    let slots = slots_for_tests(3);
    assert!(slots.iter().all(|&slot| disk.write(slot, vec![7; 1000])));
    assert!(disk.done(None).is_none());
    let failed = [disk.done(None), disk.done(None)];
    assert!(matches!(failed, [Some(Done::Failed(a)), Some(Done::Failed(b))] if [a, b] == slots[1..]));
    disk.read(slots[0]);
    assert!(matches!(disk.done(None), Some(Done::Read(..))), "what was written is there");
    assert!(disk.write(slots[0], vec![7; 1000]));
    assert!(disk.done(None).is_none(), "written in two parts");
    disk.read(slots[0]);
    assert!(matches!(disk.done(None), Some(Done::Read(_, bytes)) if bytes == [7; 1000]));
}

#[test]
fn without_its_thread_nothing_is_waited_for() {
    let config = DiskCache::open(&std::env::temp_dir(), 1 << 20, 1, |_| {}).expect("a file");
    let mut disk = Disk::start(&config).expect("a thread");
    disk.queue.close();
    disk.read(slots_for_tests(1)[0]);
    let began = std::time::Instant::now();
    let gone = std::iter::repeat_with(|| disk.done(Some(Duration::from_millis(1)))).find(Option::is_some);
    assert!(matches!(gone, Some(Some(Done::Gone))), "after {:?}", began.elapsed());
}
