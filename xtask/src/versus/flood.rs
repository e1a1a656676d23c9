//! Ten times the requests that a server can answer.

use std::thread::Builder;
use std::time::{Duration, Instant};

use super::Result;
use super::burst::{Heard, burst, hear};
use super::chat::{Answer, Question};
use crate::load::STACK;
use crate::load::arrivals::Arrivals;
use crate::load::figures::{Summary, Times};
use crate::load::target::Target;

/// How far above capacity.
pub(super) const FACTOR: f64 = 10.0;
/// When a client gives up and closes its connection.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// Requests at a time, at most.
pub(super) const MOST_CLIENTS: usize = 4000;

/// What a server did in its window.
#[derive(Debug)]
pub(super) struct Flood {
    /// Requests that ended well within the window, per second.
    pub(super) done_per_s: f64,
    /// Their tokens.
    pub(super) tokens_per_s: f64,
    /// Shares of all requests, whenever they ended.
    pub(super) refused: f64,
    pub(super) failed: f64,
    /// From the request to the end of the refusal.
    pub(super) refusals: Summary,
    /// To the first tokens of all that were served.
    pub(super) first: Summary,
    /// Why the first one failed.
    pub(super) failure: Option<String>,
}

/// All questions at once; the window ends with the last answer.
pub(super) fn at_once(target: &Target, questions: &[Question]) -> Result<Flood> {
    let heard = burst(target, questions, PATIENCE)?;
    let start = heard.iter().map(|heard| heard.begun).min().ok_or("nothing was asked")?;
    Ok(Flood::of(&heard, start, super::burst::seconds(&heard)))
}

/// So many questions per second, for a window of so many seconds.
pub(super) fn stream(
    target: &Target,
    question: impl Fn(u64) -> Question + Sync,
    rate: f64,
    seconds: f64,
) -> Result<Flood> {
    let start = Instant::now() + Duration::from_millis(200);
    let end = start + Duration::from_secs_f64(seconds);
    let arrivals = Arrivals::new(start, rate);
    let n_clients = (rate * seconds).ceil().min(MOST_CLIENTS as f64) as u64;
    let client = |i: u64| {
        let mut heard = Vec::new();
        while arrivals.wait() < end {
            heard.push(hear(target, &question(i << 32 | heard.len() as u64), PATIENCE));
        }
        heard
    };
    let heard: Result<Vec<Vec<Heard>>> = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for i in 0..n_clients {
            let client = &client;
            let thread = Builder::new().stack_size(STACK).spawn_scoped(scope, move || client(i));
            threads.push(thread.map_err(|e| format!("cannot start a thread: {e}"))?);
        }
        threads.into_iter().map(|thread| thread.join().map_err(|_| "a client panicked".into())).collect()
    });
    let heard: Vec<Heard> = heard?.into_iter().flatten().collect();
    let asked = heard.len() as f64 / (rate * seconds);
    match asked < 0.9 {
        true => Err(format!("the clients came to {:.0} % of the requests", 100.0 * asked)),
        false => Ok(Flood::of(&heard, start, seconds)),
    }
}

impl Flood {
    pub(super) fn of(heard: &[Heard], start: Instant, seconds: f64) -> Flood {
        let (mut refusals, mut first) = (Times::default(), Times::default());
        let (mut done, mut tokens, mut failed) = (0, 0, 0);
        let mut failure = None;
        let end = start + Duration::from_secs_f64(seconds);
        for heard in heard {
            match &heard.answer {
                Ok(Answer::Done(seen)) => {
                    first.push(seen.first);
                    if heard.ended <= end {
                        done += 1;
                        tokens += seen.tokens;
                    }
                }
                Ok(Answer::Refused) => refusals.push(heard.ended - heard.begun),
                Err(why) => {
                    failed += 1;
                    failure.get_or_insert_with(|| why.clone());
                }
            }
        }
        let refusals = refusals.summary();
        Flood {
            done_per_s: f64::from(done) / seconds,
            tokens_per_s: tokens as f64 / seconds,
            refused: refusals.n as f64 / heard.len() as f64,
            failed: f64::from(failed) / heard.len() as f64,
            refusals,
            first: first.summary(),
            failure,
        }
    }
}
