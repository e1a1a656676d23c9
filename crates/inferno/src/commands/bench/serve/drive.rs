//! One run: requests go in when they are due, and what comes out is timed by whoever receives it.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use inferno_engine::{Config, Engine, Event, Finish, Handle, Metrics, Request, Sampling, Usage};
use inferno_model::model::Model;
use inferno_model::sample::SampleSpec;

use super::schema::Schema;
use super::workload::Workload;
use crate::commands::bench::runner::mix;
use crate::interrupt;

/// How soon Ctrl-C is seen.
const INTERRUPT_POLL: Duration = Duration::from_millis(20);

/// What is sent, and to what engine.
pub(super) struct Load<'a> {
    pub(super) workload: &'a Workload,
    pub(super) config: Config,
    pub(super) spec: SampleSpec,
    pub(super) speculate: bool,
    /// Constrains the answers, which then may end before their limit.
    pub(super) schema: Option<&'a Schema>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Run {
    /// From the first request's arrival to the last token.
    pub(super) seconds: f64,
    /// By arrival.
    pub(super) served: Vec<Served>,
    pub(super) metrics: Metrics,
}

/// One request. Moments are seconds from the start of the run.
#[derive(Debug, Clone, Default)]
pub(super) struct Served {
    pub(super) due: f64,
    pub(super) tokens: Vec<u32>,
    /// Of each token.
    pub(super) received: Vec<f64>,
    pub(super) usage: Usage,
}

/// Runs the load on an engine of its own, and hands the model back. No run if Ctrl-C was pressed.
pub(super) fn drive(model: Box<dyn Model>, load: &Load) -> Result<(Box<dyn Model>, Option<Run>)> {
    let vocab_size = model.architecture().vocab_size;
    let request = |(i, arrival): (usize, &super::workload::Arrival)| Request {
        sampling: Sampling {
            spec: SampleSpec { seed: mix(load.spec.seed ^ i as u64), ..load.spec },
            eos_tokens: load.schema.map(|schema| schema.eos_tokens.clone()).unwrap_or_default(),
            ..Sampling::default()
        },
        grammars: load.schema.map(|schema| schema.grammar(arrival.n_completion)).into_iter().collect(),
        speculate: load.speculate,
        ..Request::new(arrival.tokens(load.spec.seed, vocab_size), arrival.n_completion)
    };
    let requests: Vec<Request> = load.workload.arrivals.iter().enumerate().map(request).collect();
    let due = load.workload.arrivals.iter().map(|a| a.at).collect();
    let engine = Engine::start(model, load.config.clone());
    let run = send_and_receive(&engine.handle(), requests, due, load.schema.is_some())?;
    Ok((engine.stop()?, run))
}

fn send_and_receive(
    engine: &Handle,
    requests: Vec<Request>,
    due: Vec<f64>,
    ends_early: bool,
) -> Result<Option<Run>> {
    let is_end = |finish: &Finish| match finish {
        Finish::Length => true,
        Finish::Stop | Finish::Grammar => ends_early,
        _ => false,
    };
    let (sender, events) = channel();
    let mut served: Vec<Served> = due.into_iter().map(|due| Served { due, ..Served::default() }).collect();
    let mut to_send = requests.into_iter().enumerate().peekable();
    let mut n_ended = 0;
    let mut seconds = 0.0;
    let start = Instant::now();
    while n_ended < served.len() {
        if interrupt::requested() {
            return Ok(None);
        }
        while let Some((i, request)) =
            to_send.next_if(|(i, _)| served[*i].due <= start.elapsed().as_secs_f64())
        {
            let sender = sender.clone();
            engine.submit_to(request, Arc::new(move |event| drop(sender.send((i, event)))))?;
        }
        let next =
            to_send.peek().map_or(f64::INFINITY, |(i, _)| served[*i].due - start.elapsed().as_secs_f64());
        let wait = next.clamp(0.0, INTERRUPT_POLL.as_secs_f64());
        let first = match events.recv_timeout(Duration::from_secs_f64(wait)) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => bail!("the engine has stopped"),
        };
        for (i, event) in std::iter::once(first).chain(events.try_iter()) {
            let now = start.elapsed().as_secs_f64();
            match event {
                Event::Token { token, .. } => {
                    served[i].tokens.push(token);
                    served[i].received.push(now);
                }
                Event::Finished { finish, usage, .. } if is_end(&finish) => {
                    served[i].usage = usage;
                    seconds = now;
                    n_ended += 1;
                }
                Event::Finished { finish, .. } => bail!("request {} ended early: {finish:?}", i + 1),
                _ => {}
            }
        }
    }
    // The answer comes after the last step has been counted.
    engine.snapshot();
    Ok(Some(Run { seconds, served, metrics: engine.metrics() }))
}

impl Run {
    /// From the moment they were due, sorted.
    pub(super) fn times_to_first_token(&self) -> Vec<f64> {
        sorted(self.served.iter().filter_map(Served::time_to_first_token).collect())
    }

    /// Between two tokens of a request, of all requests, sorted.
    pub(super) fn inter_token_latencies(&self) -> Vec<f64> {
        sorted(self.served.iter().flat_map(Served::inter_token_latencies).collect())
    }

    /// Of all completions: equal hashes are equal tokens.
    pub(super) fn tokens_hash(&self) -> u64 {
        self.served.iter().fold(0, |all, s| mix(all) ^ s.tokens_hash())
    }

    /// The first request, counted from 0, whose completion is another one there.
    pub(super) fn first_difference(&self, other: &Run) -> Option<usize> {
        self.served.iter().zip(&other.served).position(|(a, b)| a.tokens != b.tokens)
    }
}

impl Served {
    pub(super) fn time_to_first_token(&self) -> Option<f64> {
        self.received.first().map(|at| at - self.due)
    }

    pub(super) fn inter_token_latencies(&self) -> impl Iterator<Item = f64> {
        self.received.windows(2).map(|pair| pair[1] - pair[0])
    }

    pub(super) fn tokens_hash(&self) -> u64 {
        self.tokens.iter().fold(self.tokens.len() as u64, |all, &token| mix(all) ^ u64::from(token))
    }
}

fn sorted(mut numbers: Vec<f64>) -> Vec<f64> {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers
}

/// The least number that `percent` of all do not exceed (nearest rank). NaN if there are none.
pub(super) fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (percent * sorted.len()).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_numbers() {
        let numbers = |n: usize| (1..=n).map(|x| x as f64).collect::<Vec<f64>>();
        let of = |n: usize| [50, 90, 99].map(|percent| percentile(&numbers(n), percent));
        assert_eq!(of(100), [50.0, 90.0, 99.0]);
        assert_eq!(of(10), [5.0, 9.0, 10.0]);
        assert_eq!(of(3), [2.0, 3.0, 3.0]);
        assert_eq!(of(1), [1.0; 3]);
        assert!(percentile(&[], 50).is_nan());
        assert_eq!(sorted(vec![3.0, 1.0, 2.0]), numbers(3));
    }

    #[test]
    fn waiting_counts_from_the_moment_a_request_was_due() {
        let served = |due, tokens: &[u32], received: &[f64]| Served {
            due,
            tokens: tokens.into(),
            received: received.into(),
            ..Served::default()
        };
        let all = vec![served(1.0, &[5, 6, 7], &[3.0, 3.5, 5.0]), served(0.0, &[8], &[0.25])];
        let run = |served| Run { seconds: 5.0, served, metrics: Metrics::default() };
        let a = run(all.clone());
        assert_eq!(a.times_to_first_token(), [0.25, 2.0]);
        assert_eq!(a.inter_token_latencies(), [0.5, 1.5]);
        assert_eq!(a.first_difference(&run(all.clone())), None);
        let b = run(vec![all[0].clone(), served(0.0, &[9], &[0.25])]);
        assert_eq!((a.first_difference(&b), a.tokens_hash() == b.tokens_hash()), (Some(1), false));
    }
}
