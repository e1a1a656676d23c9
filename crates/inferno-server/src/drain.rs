//! How a server ends: what runs may finish, for a while.

use std::time::Duration;

use tokio::sync::watch;

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// It has not.
    Serving,
    /// Nothing new is begun.
    Draining,
    /// What still runs is told that it is over.
    Over,
}

/// The end, for everybody to watch.
#[derive(Debug)]
pub(crate) struct Drain {
    phase: watch::Sender<Phase>,
}

/// Why a server has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Drained,
    /// Its engine is broken.
    EngineStopped,
}

impl Default for Drain {
    fn default() -> Drain {
        Drain { phase: watch::Sender::new(Phase::Serving) }
    }
}

impl Drain {
    pub(crate) fn is_serving(&self) -> bool {
        *self.phase.borrow() == Phase::Serving
    }

    pub(crate) fn is_over(&self) -> bool {
        *self.phase.borrow() == Phase::Over
    }

    pub(crate) fn begin(&self) {
        self.advance(Phase::Draining);
    }

    pub(crate) fn end(&self) {
        self.advance(Phase::Over);
    }

    fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let is_later = *phase < to;
            *phase = (*phase).max(to);
            is_later
        });
    }

    /// Until nothing new is begun.
    pub(crate) async fn begun(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Until it is over.
    pub(crate) async fn ended(&self) {
        self.reached(Phase::Over).await;
    }

    async fn reached(&self, phase: Phase) {
        // The sender is here: it does not go away.
        let _ = self.phase.subscribe().wait_for(|now| *now >= phase).await;
    }
}

/// Those who still have something to say at the end are given so long to say it.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(1);
