//! Time that a grammar may take to be compiled.

use std::time::{Duration, Instant};

/// Limits on the CPU time, and behind it on the wall-clock time, of work on one thread.
///
/// CPU time is the same on an idle machine and on a busy one, so that the same grammar is refused on both or on neither.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    processor: Duration,
    wall: Instant,
}

impl Budget {
    /// A budget of the calling thread, which begins now.
    pub(crate) fn start(processor: Duration, wall: Duration) -> Budget {
        Budget { processor: thread_time() + processor, wall: Instant::now() + wall }
    }

    /// Adds the times of work that does not count.
    pub(crate) fn extend(&mut self, processor: Duration, wall: Duration) {
        self.processor += processor;
        self.wall += wall;
    }

    /// Whether the calling thread, which must be the one of the start, has used up one of the limits.
    pub(crate) fn is_spent(&self) -> bool {
        thread_time() > self.processor || Instant::now() > self.wall
    }
}

/// CPU time of the calling thread.
#[cfg(unix)]
pub(crate) fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Wall-clock time since the first call: where threads have no clock of their own, it counts instead.
#[cfg(not(unix))]
pub(crate) fn thread_time() -> Duration {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    START.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(3600);

    #[cfg(unix)]
    #[test]
    fn a_thread_that_waits_uses_no_processor_time() {
        let budget = Budget::start(SHORT, LONG);
        std::thread::sleep(3 * SHORT);
        assert!(!budget.is_spent());
    }

    #[test]
    fn a_thread_that_works_uses_up_its_processor_time() {
        let start = Instant::now();
        let budget = Budget::start(SHORT, LONG);
        while !budget.is_spent() {
            assert!(start.elapsed() < Duration::from_secs(60), "it worked for a minute");
        }
        // Not to the last microsecond: clocks of processors and of walls differ.
        assert!(start.elapsed() >= SHORT / 2);
    }

    #[test]
    fn the_limit_of_the_clock_on_the_wall_ends_all_waiting() {
        let budget = Budget::start(LONG, SHORT);
        std::thread::sleep(2 * SHORT);
        assert!(budget.is_spent());
    }

    #[test]
    fn work_that_does_not_count_extends_the_limits() {
        let mut budget = Budget::start(LONG, SHORT);
        std::thread::sleep(2 * SHORT);
        budget.extend(Duration::ZERO, LONG);
        assert!(!budget.is_spent());
    }
}
