//! Many questions at the same moment.

use std::sync::RwLock;
use std::thread::Builder;
use std::time::{Duration, Instant};

use super::Result;
use super::chat::{self, Answer, Question, Seen};
use crate::load::STACK;
use crate::load::figures::{Summary, Times};
use crate::load::target::Target;

/// One request and what became of it; an error is a request that failed.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) begun: Instant,
    pub(super) ended: Instant,
    pub(super) answer: Result<Answer>,
}

/// A client for each question; each waits at most `patience` for the whole answer.
pub(super) fn burst(target: &Target, questions: &[Question], patience: Duration) -> Result<Vec<Heard>> {
    let gate = RwLock::new(());
    let ask = |question: &Question| {
        drop(gate.read());
        hear(target, question, patience)
    };
    std::thread::scope(|scope| {
        let closed = gate.write();
        let mut threads = Vec::new();
        for question in questions {
            let ask = &ask;
            let thread = Builder::new().stack_size(STACK).spawn_scoped(scope, move || ask(question));
            threads.push(thread.map_err(|e| format!("cannot start a thread: {e}"))?);
        }
        drop(closed);
        threads.into_iter().map(|thread| thread.join().map_err(|_| "a client panicked".into())).collect()
    })
}

pub(super) fn hear(target: &Target, question: &Question, patience: Duration) -> Heard {
    let begun = Instant::now();
    let answer = chat::chat(target, question, begun + patience);
    Heard { begun, ended: Instant::now(), answer }
}

/// What a burst came to of which every request must be answered.
#[derive(Debug)]
pub(super) struct Answered {
    /// From the first request to the last byte.
    pub(super) seconds: f64,
    /// Of all answers.
    pub(super) tokens: u64,
    /// To the first tokens.
    pub(super) first: Summary,
}

impl Answered {
    pub(super) fn of(heard: &[Heard], n_tokens: usize) -> Result<Answered> {
        let (mut first, mut tokens) = (Times::default(), 0);
        for heard in heard {
            let seen = heard.done()?;
            if seen.tokens != n_tokens as u64 {
                return Err(format!("an answer has {} of {n_tokens} tokens", seen.tokens));
            }
            first.push(seen.first);
            tokens += seen.tokens;
        }
        Ok(Answered { seconds: seconds(heard), tokens, first: first.summary() })
    }

    pub(super) fn tokens_per_s(&self) -> f64 {
        self.tokens as f64 / self.seconds
    }
}

impl Heard {
    /// Of a request that must be answered.
    pub(super) fn done(&self) -> Result<Seen> {
        match &self.answer {
            Ok(Answer::Done(seen)) => Ok(*seen),
            Ok(Answer::Refused) => Err("a request was refused".into()),
            Err(why) => Err(why.clone()),
        }
    }
}

/// From the first request to the end of the last.
pub(super) fn seconds(heard: &[Heard]) -> f64 {
    let begun = heard.iter().map(|heard| heard.begun).min();
    let ended = heard.iter().map(|heard| heard.ended).max();
    begun.zip(ended).map_or(0.0, |(begun, ended)| (ended - begun).as_secs_f64())
}
