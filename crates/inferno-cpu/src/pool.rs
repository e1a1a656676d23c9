//! A thread pool for operations of a few microseconds: one barrier each, threads that spin before they sleep.
//!
//! The caller is one of the threads. A job is a number of tasks, cut into a segment for every thread: a thread takes the
//! tasks of its own from the front, so that neighbouring tasks, which mostly read neighbouring memory, follow each other
//! on one thread; then those of the others from the back. So a thread that the system stops for a while costs one task's
//! time, not its share. A thread that is late joins or not: no thread waits for sleepers.

use std::any::Any;
use std::cell::UnsafeCell;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};

/// How often a thread looks for work before it sleeps: about a tenth of a millisecond.
const SPINS: u32 = 2_000;

/// What a thread does: called with numbers of tasks.
type Task<'a> = dyn Fn(usize) + Sync + 'a;

/// Threads that wait for work.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// `job number << 32 | is open << 31 | threads that work on it`
    state: AtomicU64,
    job: UnsafeCell<Job>,
    /// One per thread; those past a job's number of segments are empty.
    segments: Vec<Segment>,
    /// One per worker: it sleeps or is about to.
    asleep: Vec<AtomicBool>,
    stopped: AtomicBool,
    /// What a task panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

struct Job {
    /// Valid while the job is open or a thread works on it.
    task: *const Task<'static>,
    n_tasks: usize,
    n_segments: usize,
}

/// The tasks of a segment that are left, `first << 32 | end`, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Segment(AtomicU64);

/// The end of a segment that a task is taken from.
#[derive(Debug, Clone, Copy)]
enum End {
    Front,
    Back,
}

impl Segment {
    fn fill(&self, tasks: std::ops::Range<usize>) {
        self.0.store((tasks.start as u64) << 32 | tasks.end as u64, Ordering::Relaxed);
    }

    fn take(&self, from: End) -> Option<usize> {
        let mut tasks = self.0.load(Ordering::Relaxed);
        loop {
            let (first, end) = (tasks >> 32, tasks & u64::from(u32::MAX));
            if first >= end {
                return None;
            }
            let (task, left) = match from {
                End::Front => (first, (first + 1) << 32 | end),
                End::Back => (end - 1, first << 32 | (end - 1)),
            };
            match self.0.compare_exchange_weak(tasks, left, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(task as usize),
                Err(now) => tasks = now,
            }
        }
    }
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Job of {} tasks", self.n_tasks)
    }
}

// SAFETY: `job` is written by the caller of `run` only while no job is open and no thread works, and read by threads
// that have joined an open job; the orderings of `state` put these after one another. The pointer in it is to a
// closure that is `Sync`.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

const OPEN: u64 = 1 << 31;
const ACTIVE: u64 = OPEN - 1;

impl Pool {
    /// A pool of `n_threads`, of which the caller of [`Pool::run`] is one. Fails if the system gives no threads.
    pub(crate) fn new(n_threads: NonZeroUsize) -> std::io::Result<Pool> {
        fn nothing(_: usize) {}
        let n_workers = n_threads.get() - 1;
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            job: UnsafeCell::new(Job { task: &nothing, n_tasks: 0, n_segments: 0 }),
            segments: (0..n_threads.get()).map(|_| Segment::default()).collect(),
            asleep: (0..n_workers).map(|_| AtomicBool::new(false)).collect(),
            stopped: AtomicBool::new(false),
            panic: Mutex::new(None),
        });
        let mut pool = Pool { shared: Arc::clone(&shared), workers: Vec::new() };
        for i in 0..n_workers {
            let shared = Arc::clone(&shared);
            let builder = thread::Builder::new().name(format!("inferno-{}", i + 1));
            pool.workers.push(builder.spawn(move || shared.work(i))?);
        }
        Ok(pool)
    }

    /// How many threads there are, the caller included.
    pub(crate) fn n_threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `task` with every number below `n_tasks` once, on all threads, and returns when all calls have. If one
    /// panics, so does this.
    pub(crate) fn run(&mut self, n_tasks: usize, task: &Task<'_>) {
        if n_tasks <= 1 || self.workers.is_empty() {
            (0..n_tasks).for_each(task);
            return;
        }
        assert!(u32::try_from(n_tasks).is_ok(), "{n_tasks} tasks");
        let shared = &*self.shared;
        let n_segments = n_tasks.min(self.n_threads());
        let number = shared.state.load(Ordering::Relaxed) >> 32;
        // SAFETY: the state is closed and without threads (we have waited for that below), `&mut self` keeps other
        // callers away. The lifetime is forgotten, but we return only when no thread can use the pointer any more.
        unsafe {
            let task = std::mem::transmute::<*const Task<'_>, *const Task<'static>>(task);
            *shared.job.get() = Job { task, n_tasks, n_segments };
        }
        for (i, segment) in shared.segments[..n_segments].iter().enumerate() {
            segment.fill(i * n_tasks / n_segments..(i + 1) * n_tasks / n_segments);
        }
        shared.state.store((number + 1) << 32 | OPEN, Ordering::SeqCst);
        for (asleep, worker) in shared.asleep.iter().zip(&self.workers) {
            if asleep.load(Ordering::SeqCst) && asleep.swap(false, Ordering::SeqCst) {
                wake(worker.thread());
            }
        }
        shared.take_tasks(0);
        shared.state.fetch_and(!OPEN, Ordering::Relaxed);
        let mut spins = 0;
        while shared.state.load(Ordering::Acquire) & ACTIVE != 0 {
            pause(&mut spins);
        }
        let panic = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// [`Pool::run`] over ranges of about equal length that cover `0..n`: several for every thread, so that the fast
    /// ones do more, and none shorter than `least`.
    pub(crate) fn run_ranges(
        &mut self,
        n: usize,
        least: usize,
        task: &(dyn Fn(std::ops::Range<usize>) + Sync),
    ) {
        const PER_THREAD: usize = 8;
        self.run_equal(n, (PER_THREAD * self.n_threads()).min(n / least.max(1)).max(1), task);
    }

    /// [`Pool::run`] over `n_ranges` of about equal length that cover `0..n`.
    pub(crate) fn run_equal(
        &mut self,
        n: usize,
        n_ranges: usize,
        task: &(dyn Fn(std::ops::Range<usize>) + Sync),
    ) {
        self.run(n_ranges, &|i| {
            let range = i * n / n_ranges..(i + 1) * n / n_ranges;
            if !range.is_empty() {
                task(range);
            }
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            wake(worker.thread());
            // It has not panicked: tasks are caught.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// What worker `i` does all its life.
    fn work(&self, i: usize) {
        let mut seen = 0;
        let mut spins = 0;
        while !self.stopped.load(Ordering::SeqCst) {
            let state = self.state.load(Ordering::SeqCst);
            if state >> 32 != seen && state & OPEN != 0 {
                let joined =
                    self.state.compare_exchange_weak(state, state + 1, Ordering::Acquire, Ordering::Relaxed);
                if joined.is_ok() {
                    seen = state >> 32;
                    self.take_tasks(i + 1);
                    self.state.fetch_sub(1, Ordering::Release);
                    spins = 0;
                }
            } else if spins < SPINS {
                pause(&mut spins);
            } else {
                // Say that we sleep, then look once more: whoever opens a job after that look sees the flag.
                self.asleep[i].store(true, Ordering::SeqCst);
                let state = self.state.load(Ordering::SeqCst);
                let work = state >> 32 != seen && state & OPEN != 0;
                if !work && !self.stopped.load(Ordering::SeqCst) {
                    thread::park();
                }
                self.asleep[i].store(false, Ordering::SeqCst);
                spins = 0;
            }
        }
    }

    /// Works on the current job, which thread `thread` has joined or opened, until no task is left.
    fn take_tasks(&self, thread: usize) {
        // SAFETY: a joined job is not replaced until this thread has left it.
        let (task, n_segments) = unsafe { (&*(*self.job.get()).task, (*self.job.get()).n_segments) };
        let result = catch_unwind(AssertUnwindSafe(|| {
            for i in 0..n_segments {
                let (segment, from) =
                    (&self.segments[(thread + i) % n_segments], if i == 0 { End::Front } else { End::Back });
                while let Some(i) = segment.take(from) {
                    task(i);
                }
            }
        }));
        if let Err(panic) = result {
            // Nobody needs the tasks that are left.
            self.segments.iter().for_each(|segment| segment.fill(0..0));
            *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
        }
    }
}

fn wake(thread: &Thread) {
    thread.unpark();
}

/// Waits a moment; after many, lets other threads run, as there may be more of them than processors.
fn pause(spins: &mut u32) {
    *spins = spins.saturating_add(1);
    if spins.is_multiple_of(256) {
        thread::yield_now();
    } else {
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    fn pool(n: usize) -> Pool {
        Pool::new(NonZeroUsize::new(n).unwrap()).unwrap()
    }

    #[test]
    fn every_task_runs_once_whatever_the_number_of_threads() {
        for n_threads in [1, 2, 3, 8] {
            let mut pool = pool(n_threads);
            for round in 0..2000 {
                let n_tasks = round % 23;
                let counts: Vec<AtomicUsize> = (0..n_tasks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(n_tasks, &|i| {
                    counts[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
                if round % 500 == 0 {
                    thread::sleep(Duration::from_millis(5)); // long enough that the workers sleep
                }
            }
        }
    }

    #[test]
    fn ranges_cover_everything_once() {
        let mut pool = pool(3);
        for (n, least) in [(0, 1), (1, 1), (5, 2), (1000, 1), (1000, 400)] {
            let counts: Vec<AtomicUsize> = (0..n).map(|_| AtomicUsize::new(0)).collect();
            pool.run_ranges(n, least, &|range| {
                range.for_each(|i| {
                    counts[i].fetch_add(1, Ordering::Relaxed);
                });
            });
            assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_works_on() {
        let mut pool = pool(3);
        let result = catch_unwind(AssertUnwindSafe(|| pool.run(50, &|i| assert_ne!(i, 17, "seventeen"))));
        assert!(result.is_err());
        let count = AtomicUsize::new(0);
        pool.run(50, &|_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.load(Ordering::Relaxed), 50);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn idle_threads_use_no_processor() {
        let mut pool = pool(3);
        // Other tests have pools at the same time: what counts are this one's threads, each of which takes a task.
        let (together, stats) = (std::sync::Barrier::new(3), Mutex::new(Vec::new()));
        pool.run(3, &|_| {
            together.wait();
            let thread = std::fs::read_link("/proc/thread-self").unwrap();
            stats.lock().unwrap().push(std::path::Path::new("/proc").join(thread).join("stat"));
        });
        let stats = stats.into_inner().unwrap();
        let caller = std::path::Path::new("/proc").join(std::fs::read_link("/proc/thread-self").unwrap());
        let workers: Vec<_> = stats.iter().filter(|stat| !stat.starts_with(&caller)).collect();
        assert_eq!((stats.len(), workers.len()), (3, 2));
        thread::sleep(Duration::from_millis(100));
        let ticks = || -> u64 {
            // Fields 14 and 15 of `stat`, two after the name in parentheses.
            let of_worker = |stat: &&std::path::PathBuf| {
                let stat = std::fs::read_to_string(stat).unwrap();
                let after = stat.rsplit_once(')').unwrap().1;
                after.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().unwrap()).sum::<u64>()
            };
            workers.iter().map(of_worker).sum()
        };
        let before = ticks();
        thread::sleep(Duration::from_millis(500));
        assert_eq!(ticks(), before, "processor time while idle");
        drop(pool);
    }
}
