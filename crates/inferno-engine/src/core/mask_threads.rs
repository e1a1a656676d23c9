//! Masks beside the device: while it computes a step, other threads compute what the grammars have to say about its tokens.
//!
//! The engine's thread lends them the grammars of the sequences in the step, and has them back before it samples. A mask
//! depends on the tokens before alone, so where it is computed changes nothing.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::constraint::Constraint;
use crate::request::SeqId;

/// A grammar that is lent.
type Lent = (SeqId, Box<Constraint>);

/// Threads that prepare grammars for the next token. They end when this is dropped.
#[derive(Debug)]
pub(super) struct MaskThreads {
    jobs: Sender<Lent>,
    done: Receiver<Lent>,
    lent: Vec<SeqId>,
}

impl MaskThreads {
    /// Starts up to `n` threads; `None` if there is not one to be had.
    pub(super) fn start(n: usize) -> Option<MaskThreads> {
        let (jobs, lent) = channel::<Lent>();
        let (prepared, done) = channel();
        let lent = Arc::new(Mutex::new(lent));
        let mut n_started = 0;
        for _ in 0..n {
            let (lent, prepared) = (Arc::clone(&lent), prepared.clone());
            let thread = std::thread::Builder::new().name("masks".into());
            n_started += usize::from(thread.spawn(move || work(&lent, &prepared)).is_ok());
        }
        (n_started > 0).then_some(MaskThreads { jobs, done, lent: Vec::new() })
    }

    /// Lends a grammar out; hands it back if no thread takes it.
    pub(super) fn lend(&mut self, id: SeqId, constraint: Box<Constraint>) -> Result<(), Box<Constraint>> {
        self.jobs.send((id, constraint)).map_err(|lent| lent.0.1)?;
        self.lent.push(id);
        Ok(())
    }

    /// Waits for all that were lent and gives each to `back`. Returns the sequences of those that were lost.
    pub(super) fn take_back(&mut self, mut back: impl FnMut(SeqId, Box<Constraint>)) -> Vec<SeqId> {
        for _ in 0..self.lent.len() {
            let Ok((id, constraint)) = self.done.recv() else { break };
            self.lent.retain(|other| *other != id);
            back(id, constraint);
        }
        std::mem::take(&mut self.lent)
    }
}

fn work(lent: &Mutex<Receiver<Lent>>, done: &Sender<Lent>) {
    loop {
        let next = lent.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((id, mut constraint)) = next else { return };
        constraint.prepare();
        if done.send((id, constraint)).is_err() {
            return;
        }
    }
}
