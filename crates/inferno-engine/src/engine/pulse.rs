//! What can be seen of the engine's thread without its help.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use inferno_model::heartbeat::Heartbeat;

/// The thread's signs of life. One that is stepping and has not beaten for long hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pulse {
    /// Beats of the model, and one at the start and one at the end of every step.
    pub beats: u64,
    /// Is it busy with a step and the letters before it? Else it waits for letters.
    pub is_stepping: bool,
}

/// What the thread shows while it works.
#[derive(Debug)]
pub(super) struct Vitals {
    own: Heartbeat,
    model: Option<Arc<Heartbeat>>,
    is_stepping: AtomicBool,
}

impl Vitals {
    pub(super) fn new(model: Option<Arc<Heartbeat>>) -> Vitals {
        Vitals { own: Heartbeat::default(), model, is_stepping: AtomicBool::new(false) }
    }

    /// A step begins, and lasts as long as what this gives.
    pub(super) fn step(&self) -> Step<'_> {
        self.own.beat();
        // Who sees the step sees its first beat too: else it would seem to last since the one before.
        self.is_stepping.store(true, Ordering::Release);
        Step(self)
    }

    pub(super) fn pulse(&self) -> Pulse {
        let is_stepping = self.is_stepping.load(Ordering::Acquire);
        let beats = self.own.count() + self.model.as_ref().map_or(0, |heart| heart.count());
        Pulse { beats, is_stepping }
    }
}

/// A step that goes on.
pub(super) struct Step<'a>(&'a Vitals);

impl Drop for Step<'_> {
    fn drop(&mut self) {
        self.0.is_stepping.store(false, Ordering::Release);
        self.0.own.beat();
    }
}
