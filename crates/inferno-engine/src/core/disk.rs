//! Pages on disk: a queue of writes and reads, and the thread that works it off.
//!
//! Reads go first, as sequences wait for them, and a page whose write is still queued is handed back as it is. The file serves
//! this process alone and has no name where the system allows that: nothing of it is left, however the process ends.

mod cells;
mod queue;

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use crate::cache::Slot;
use cells::{Cells, Written};
use queue::{Job, Queue};

/// A file for pages that have left the KV pool, and memory on the way back.
#[derive(Debug, Clone)]
pub struct DiskCache {
    file: Arc<File>,
    max_bytes: u64,
    pub(super) transit_bytes: u64,
    pub(super) report: fn(&str),
}

impl DiskCache {
    /// A file of at most `max_bytes` in a directory, for one engine. Pages that were read wait for their place in the KV pool in
    /// about `transit_bytes` of memory: of a longer prefix only the start is read. `report` is called when pages cannot be
    /// written or read, with the reason; it must not block.
    ///
    /// # Errors
    /// No file can be created in the directory.
    pub fn open(
        directory: &Path,
        max_bytes: u64,
        transit_bytes: u64,
        report: fn(&str),
    ) -> io::Result<DiskCache> {
        Ok(DiskCache { file: Arc::new(unnamed(directory)?), max_bytes, transit_bytes, report })
    }

    pub(super) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }
}

/// Creates a file that no other process opens, without a name where the system allows it.
fn unnamed(directory: &Path) -> io::Result<File> {
    static N: AtomicU64 = AtomicU64::new(0);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    #[cfg(windows)]
    {
        use std::os::windows::fs::OpenOptionsExt;
        const FILE_FLAG_DELETE_ON_CLOSE: u32 = 0x0400_0000;
        options.custom_flags(FILE_FLAG_DELETE_ON_CLOSE);
    }
    loop {
        let number = N.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!("inferno-cache-{}-{number}", std::process::id()));
        match options.open(&path) {
            Ok(file) => {
                #[cfg(unix)]
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
            // Another process with the same id, in another container.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && number < 10_000 => {}
            Err(error) => return Err(error),
        }
    }
}

/// A result of the queue.
#[derive(Debug)]
pub(crate) enum Done {
    /// A page that was asked for.
    Read(Slot, Vec<u8>),
    /// A page that was asked for and cannot be read.
    Unread(Slot),
    /// A page that the file has no room for.
    NoRoom(Slot),
    /// A page that could not be written: the disk is full or broken.
    Failed(Slot),
    /// The thread has ended: nothing more comes.
    Gone,
}

/// The disk as the engine's thread sees it.
pub(crate) struct Disk {
    queue: Arc<Queue>,
    done: Receiver<Done>,
    n_reads: usize,
    #[cfg(test)]
    by_hand: Option<ByHand>,
}

impl Disk {
    /// Starts the thread.
    pub(super) fn start(config: &DiskCache) -> io::Result<Disk> {
        let mut worker = Worker::new(Arc::clone(&config.file), config.max_bytes, config.report);
        let (tell, done) = channel();
        let queue = Arc::new(Queue::default());
        let jobs = Arc::clone(&queue);
        let thread = std::thread::Builder::new().name("cache-disk".into());
        thread.spawn(move || {
            while let Some(job) = jobs.wait() {
                worker.work(job, &jobs, &tell);
            }
        })?;
        Ok(Disk::new(queue, done))
    }

    fn new(queue: Arc<Queue>, done: Receiver<Done>) -> Disk {
        Disk {
            queue,
            done,
            n_reads: 0,
            #[cfg(test)]
            by_hand: None,
        }
    }

    /// A disk without a thread: `n_jobs` says how many jobs are done each time that the engine asks.
    #[cfg(test)]
    pub(crate) fn by_hand(
        medium: impl Medium + 'static,
        max_bytes: u64,
        n_jobs: impl FnMut() -> usize + Send + 'static,
    ) -> Disk {
        let (tell, done) = channel();
        let worker = Worker::new(Box::new(medium) as Box<dyn Medium>, max_bytes, |_| {});
        let by_hand = ByHand { worker, tell, n_jobs: Box::new(n_jobs) };
        let mut disk = Disk::new(Arc::default(), done);
        disk.by_hand = Some(by_hand);
        disk
    }

    /// Queues a page to write; false if too many are queued.
    pub(super) fn write(&mut self, slot: Slot, bytes: Vec<u8>) -> bool {
        self.queue.change(|jobs| jobs.write(slot, bytes))
    }

    /// Queues a page to read: [`Done::Read`] or [`Done::Unread`] comes later. The file forgets it.
    pub(super) fn read(&mut self, slot: Slot) {
        self.n_reads += 1;
        self.queue.change(|jobs| jobs.read(slot));
    }

    /// Gives up a page, written or queued.
    pub(super) fn forget(&mut self, slot: Slot) {
        self.queue.change(|jobs| jobs.forget(slot));
    }

    /// Reads that are not done yet.
    pub(super) fn n_reads(&self) -> usize {
        self.n_reads
    }

    /// The next result. With `wait` it waits up to that time for one, provided that a read is queued.
    pub(super) fn done(&mut self, wait: Option<Duration>) -> Option<Done> {
        #[cfg(test)]
        let wait = match &mut self.by_hand {
            Some(by_hand) => {
                by_hand.work(&self.queue);
                None
            }
            None => wait,
        };
        let done = match wait.filter(|_| self.n_reads > 0) {
            Some(time) => self.done.recv_timeout(time).map_err(|error| match error {
                RecvTimeoutError::Timeout => TryRecvError::Empty,
                RecvTimeoutError::Disconnected => TryRecvError::Disconnected,
            }),
            None => self.done.try_recv(),
        };
        match done {
            Ok(done) => {
                self.n_reads -= usize::from(matches!(done, Done::Read(..) | Done::Unread(_)));
                Some(done)
            }
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Done::Gone),
        }
    }
}

impl Drop for Disk {
    /// Ends the thread after what it is doing. It is not waited for: a disk may hang.
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// A file, or what tests have in its place.
pub(crate) trait Medium: Read + Write + Seek + Send {}

impl<M: Read + Write + Seek + Send> Medium for M {}

/// Time between two reports of pages that cannot be read: a broken disk has many.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// Does jobs, one at a time.
struct Worker<M> {
    cells: Cells<M>,
    report: fn(&str),
    /// When an unreadable page was last reported.
    reported: Option<Instant>,
}

impl<M: Medium> Worker<M> {
    fn new(medium: M, max_bytes: u64, report: fn(&str)) -> Worker<M> {
        Worker { cells: Cells::new(medium, max_bytes), report, reported: None }
    }

    fn work(&mut self, job: Job, queue: &Queue, tell: &Sender<Done>) {
        // When the engine is gone, so is the queue soon.
        let tell = |done| drop(tell.send(done));
        match job {
            Job::Forget(slot) => self.cells.forget(slot),
            Job::Return(slot, bytes) => tell(Done::Read(slot, bytes)),
            Job::Read(slot) => match self.cells.read(slot) {
                Ok(Some(bytes)) => tell(Done::Read(slot, bytes)),
                Ok(None) => tell(Done::Unread(slot)),
                Err(error) => {
                    if self.reported.is_none_or(|at| at.elapsed() >= REPORT_EVERY) {
                        self.reported = Some(Instant::now());
                        (self.report)(&format!("cached pages cannot be read and are computed: {error}"));
                    }
                    tell(Done::Unread(slot));
                }
            },
            Job::Write(slot, bytes) => match self.cells.write(slot, &bytes) {
                Ok(Written::Whole) => {}
                Ok(Written::NoRoom) => tell(Done::NoRoom(slot)),
                Err(error) => {
                    (self.report)(&format!("no cached pages are written to disk for a minute: {error}"));
                    tell(Done::Failed(slot));
                    // Each of the others would fail with a line of its own.
                    let rest =
                        queue.change(|jobs| std::iter::from_fn(|| jobs.next_write()).collect::<Vec<_>>());
                    rest.into_iter().for_each(|(slot, _)| tell(Done::Failed(slot)));
                }
            },
        }
    }
}

#[cfg(test)]
struct ByHand {
    worker: Worker<Box<dyn Medium>>,
    tell: Sender<Done>,
    n_jobs: Box<dyn FnMut() -> usize + Send>,
}

#[cfg(test)]
impl ByHand {
    fn work(&mut self, queue: &Queue) {
        for _ in 0..(self.n_jobs)() {
            let Some(job) = queue.change(|jobs| jobs.next()) else { return };
            self.worker.work(job, queue, &self.tell);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
