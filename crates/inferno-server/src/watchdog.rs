//! Watches that the model moves. A step that stands still cannot be ended from outside: all that is left is to say so, and
//! after a while to end the program, so that whoever started it starts it again.
//!
//! It counts its own looks, not the time: a program that was stopped as a whole (SIGSTOP, a suspended machine) has not
//! looked either.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use inferno_engine::Pulse;

use crate::app::App;

/// Time between two looks, at most.
const LOOK: Duration = Duration::from_millis(250);

/// A thread that looks.
#[derive(Debug)]
pub(crate) struct Watchdog {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    pub(crate) fn start(app: &Arc<App>) -> Watchdog {
        let stop = Arc::new(AtomicBool::new(false));
        let (app, told) = (Arc::clone(app), Arc::clone(&stop));
        let thread = std::thread::Builder::new().name("watchdog".into()).spawn(move || watch(&app, &told));
        Watchdog { stop, thread: thread.ok() }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

fn watch(app: &App, stop: &AtomicBool) {
    let (stall, hang) = (app.settings.stall, app.settings.hang);
    let look = LOOK.min(stall / 4);
    let mut still = Still::default();
    while !stop.load(Ordering::Relaxed) {
        std::thread::park_timeout(look);
        let time = look * still.look(app.engine.pulse());
        let is_stalled = time >= stall;
        if app.stalled.swap(is_stalled, Ordering::Relaxed) != is_stalled {
            if is_stalled {
                tracing::error!(ms = time.as_millis() as u64, "no progress: the engine step may be stuck");
            } else {
                tracing::warn!("the engine step makes progress again");
            }
        }
        if time >= hang {
            // The log may hang as well.
            eprintln!("inferno: a step of the model has not moved for {} s: ending", time.as_secs());
            std::process::abort();
        }
    }
}

/// How long nothing has moved.
#[derive(Debug, Default)]
struct Still {
    beats: u64,
    n_looks: u32,
}

impl Still {
    /// Looks in a row at the same beat of the same step.
    fn look(&mut self, pulse: Pulse) -> u32 {
        let stands_still = pulse.is_stepping && pulse.beats == self.beats;
        self.n_looks = if stands_still { self.n_looks + 1 } else { 0 };
        self.beats = pulse.beats;
        self.n_looks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_step_that_does_not_move_counts() {
        let mut still = Still::default();
        let looks = [(1, true), (1, true), (1, true), (2, true), (2, true), (2, false), (2, true), (2, true)];
        let counts = looks.map(|(beats, is_stepping)| still.look(Pulse { beats, is_stepping }));
        assert_eq!(counts, [0, 1, 2, 0, 1, 0, 1, 2]);
    }
}
