//! Threads that read large requests (their JSON, their tokens), and others that render chats. Turns go fairly among
//! clients, and to short requests before long ones.
//!
//! Every key, or without keys every address, has a line. The line that has had the least goes next, and in it the request
//! that is due first. A byte is worth a microsecond, and work that takes longer counts for its time: a long request waits
//! for shorter ones, though not for ever. One thread is kept for short requests. Where too many wait, the longest line
//! loses its last.

use std::collections::HashMap;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use inferno_engine::panic_words;
use tokio::sync::oneshot;

use crate::error::ApiError;

/// Requests of fewer bytes are short.
const SHORT: usize = 256 << 10;
/// Requests that may wait.
const WAITING: usize = 1024;
/// Bytes of requests after which freed memory is given back.
const MUCH: usize = 512 << 10;
/// Idle time after which freed memory is given back.
const REST: Duration = Duration::from_millis(300);
/// The least that a turn counts for.
const TURN: u64 = 4 << 10;
/// Memory that must be there beside what a request itself may need.
const HEADROOM: usize = 32 << 20;

/// The line that a request waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Line {
    /// A key's, by its tenant.
    Key(u32),
    /// An address's, where no keys are needed.
    Address(IpAddr),
    /// Requests with neither.
    Other,
}

/// The threads, which end when this is dropped, and the requests that wait for them.
#[derive(Debug)]
pub(crate) struct Workers {
    shared: Arc<Shared>,
}

/// Whether a request's client has left.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cancel(Arc<AtomicBool>);

impl Cancel {
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    started: Instant,
    most_threads: usize,
    /// Of the threads.
    name: &'static str,
    return_memory: fn(),
}

#[derive(Default)]
struct Queue {
    lines: HashMap<Line, Waiting>,
    n_waiting: usize,
    /// Number of the next job.
    next_number: u64,
    /// Work that the line served last had received before.
    clock: u64,
    n_threads: usize,
    n_busy: usize,
    n_long: usize,
    /// Bytes of what was read since freed memory was given back.
    n_read: usize,
    is_closed: bool,
}

#[derive(Default)]
struct Waiting {
    jobs: Vec<Job>,
    /// Bytes that this line has had read, on the queue's clock.
    had: u64,
}

struct Job {
    line: Line,
    number: u64,
    n_bytes: usize,
    /// Microseconds since the start.
    due: u64,
    work: Box<dyn FnOnce() + Send>,
}

impl Job {
    fn is_long(&self) -> bool {
        self.n_bytes >= SHORT
    }

    /// Bytes that its turn counts for.
    fn cost(&self) -> u64 {
        TURN.max(self.n_bytes as u64)
    }
}

/// Takes a job out of the queue, or tells it, when its client has left.
struct Leaver<'a> {
    shared: &'a Shared,
    line: Line,
    number: u64,
    cancel: Cancel,
}

impl Drop for Leaver<'_> {
    fn drop(&mut self) {
        self.cancel.0.store(true, Ordering::Relaxed);
        let job = self.shared.lock().remove(self.line, self.number);
        drop(job);
    }
}

impl Workers {
    /// Starts a thread at once, so that there is one when memory ends, and others as they are needed: `most_threads` of them
    /// and two at least. `return_memory` gives freed memory back to the system.
    pub(crate) fn new(name: &'static str, most_threads: usize, return_memory: fn()) -> Workers {
        let shared = Shared {
            name,
            queue: Mutex::default(),
            changed: Condvar::new(),
            started: Instant::now(),
            most_threads: most_threads.max(2),
            return_memory,
        };
        let shared = Arc::new(shared);
        // If it cannot be started now, the first request tries again and tells of it.
        let _ = shared.start_thread(&mut shared.lock());
        Workers { shared }
    }

    /// Does `work` of about `n_bytes` when it is the turn of `line`. Work whose client has left is not begun.
    ///
    /// # Errors
    /// The errors of `work`; and 503 where too many wait, or there is no memory or no thread for it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        line: Line,
        n_bytes: usize,
        work: impl FnOnce(&Cancel) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (done, result) = oneshot::channel();
        let cancel = Cancel::default();
        let told = cancel.clone();
        let work = move || {
            let result = match has_memory(n_bytes) {
                true => catch_unwind(AssertUnwindSafe(|| work(&told))).unwrap_or_else(|panic| {
                    tracing::error!(panic = panic_words(&*panic), "reading or rendering a request failed");
                    Err(ApiError::internal("the server failed on this request"))
                }),
                false => Err(ApiError::out_of_memory()),
            };
            let _ = done.send(result);
        };
        let number = self.shared.submit(line, n_bytes, Box::new(work))?;
        let _leaver = Leaver { shared: &self.shared, line, number, cancel };
        // The queue is full, or the server ends.
        result.await.unwrap_or_else(|_| Err(busy()))
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.is_closed = true;
        let lines = std::mem::take(&mut queue.lines);
        drop(queue);
        drop(lines);
        self.shared.changed.notify_all();
    }
}

fn busy() -> ApiError {
    ApiError::unavailable(
        "reading_full",
        format!("{WAITING} requests wait to be read or rendered already"),
        1,
    )
}

/// Whether there is memory to read a request of `n_bytes`: an allocation that fails later would end the program.
fn has_memory(n_bytes: usize) -> bool {
    let mut probe = Vec::<u8>::new();
    let has_memory = probe.try_reserve_exact(n_bytes.saturating_mul(2).saturating_add(HEADROOM)).is_ok();
    std::hint::black_box(&probe);
    has_memory
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_thread(self: &Arc<Self>, queue: &mut Queue) -> std::io::Result<()> {
        let shared = Arc::clone(self);
        std::thread::Builder::new().name(self.name.into()).spawn(move || shared.work())?;
        queue.n_threads += 1;
        Ok(())
    }

    fn submit(
        self: &Arc<Self>,
        line: Line,
        n_bytes: usize,
        work: Box<dyn FnOnce() + Send>,
    ) -> Result<u64, ApiError> {
        let due = self.started.elapsed().as_micros() as u64 + n_bytes as u64;
        let mut queue = self.lock();
        if queue.n_threads < self.most_threads {
            match self.start_thread(&mut queue) {
                Err(error) if queue.n_threads == 0 => {
                    let message = format!("cannot start a thread for the request: {error}");
                    return Err(ApiError::unavailable("out_of_threads", message, 1));
                }
                // Those that there are take the request.
                Ok(()) | Err(_) => {}
            }
        }
        let number = queue.next_number;
        let dropped = queue.enter(Job { line, number, n_bytes, due, work });
        drop(queue);
        // Its client is told as it is dropped.
        drop(dropped);
        self.changed.notify_one();
        Ok(number)
    }

    fn work(&self) {
        let mut queue = self.lock();
        while !queue.is_closed {
            let may_be_long = queue.n_long + 1 < self.most_threads;
            let Some(job) = queue.next(may_be_long) else {
                queue = match queue.n_busy == 0 && queue.n_read >= MUCH {
                    true => self.rest(queue),
                    false => self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
                };
                continue;
            };
            let (line, n_bytes, is_long) = (job.line, job.n_bytes, job.is_long());
            let expected = job.cost();
            queue.n_busy += 1;
            queue.n_long += usize::from(is_long);
            drop(queue);
            let began = Instant::now();
            (job.work)();
            let took = began.elapsed().as_micros() as u64;
            queue = self.lock();
            queue.charge(line, took.saturating_sub(expected));
            queue.n_busy -= 1;
            queue.n_long -= usize::from(is_long);
            queue.n_read = queue.n_read.saturating_add(n_bytes);
            if is_long {
                self.changed.notify_one();
            }
        }
    }

    /// Waits for work, and gives memory back if none comes for a while.
    fn rest<'q>(&'q self, queue: MutexGuard<'q, Queue>) -> MutexGuard<'q, Queue> {
        let (mut queue, timeout) =
            self.changed.wait_timeout(queue, REST).unwrap_or_else(PoisonError::into_inner);
        if !timeout.timed_out() || queue.n_busy > 0 || queue.n_read < MUCH {
            return queue;
        }
        queue.n_read = 0;
        drop(queue);
        (self.return_memory)();
        self.lock()
    }
}

impl Queue {
    /// Puts a job into its line, and returns the one that has no place any more.
    fn enter(&mut self, job: Job) -> Option<Job> {
        let clock = self.clock;
        self.lines.retain(|_, waiting| !waiting.jobs.is_empty() || waiting.had > clock);
        self.next_number += 1;
        self.n_waiting += 1;
        let waiting = self.lines.entry(job.line).or_default();
        waiting.had = waiting.had.max(clock);
        waiting.jobs.push(job);
        if self.n_waiting <= WAITING {
            return None;
        }
        self.n_waiting -= 1;
        let longest = self.lines.values_mut().max_by_key(|waiting| waiting.jobs.len())?;
        let last = (0..longest.jobs.len()).max_by_key(|&i| longest.jobs[i].due)?;
        Some(longest.jobs.swap_remove(last))
    }

    /// The job whose turn it is.
    fn next(&mut self, may_be_long: bool) -> Option<Job> {
        let is_allowed = |job: &Job| may_be_long || !job.is_long();
        let first = |waiting: &Waiting| {
            let allowed = waiting.jobs.iter().enumerate().filter(|(_, job)| is_allowed(job));
            allowed.min_by_key(|(_, job)| (job.due, job.number)).map(|(i, job)| (i, job.due))
        };
        let lines = self.lines.values_mut().filter_map(|waiting| {
            let (i, due) = first(waiting)?;
            Some((waiting, i, due))
        });
        let (waiting, i, _) = lines.min_by_key(|(waiting, _, due)| (waiting.had, *due))?;
        self.clock = self.clock.max(waiting.had);
        let job = waiting.jobs.swap_remove(i);
        waiting.had += job.cost();
        self.n_waiting -= 1;
        Some(job)
    }

    /// Counts what a job took longer than its bytes let expect, in microseconds.
    fn charge(&mut self, line: Line, extra: u64) {
        let waiting = self.lines.entry(line).or_default();
        waiting.had = waiting.had.max(self.clock) + extra;
    }

    fn remove(&mut self, line: Line, number: u64) -> Option<Job> {
        let jobs = &mut self.lines.get_mut(&line)?.jobs;
        let i = jobs.iter().position(|job| job.number == number)?;
        self.n_waiting -= 1;
        Some(jobs.swap_remove(i))
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let n_waiting = self.lock().n_waiting;
        f.debug_struct("Shared").field("n_waiting", &n_waiting).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
