//! `GET /metrics`: what the engine counts and what the server does, under our own names and, if wanted, under those of others.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use inferno_engine::{Histogram, TIME_BUCKETS, Usage};
use inferno_reply::FinishReason;

use crate::app::App;
use crate::exposition::Page;
use crate::generation::Totals;

mod llama_server;
mod own;
mod process;
mod vllm;

/// Tokens of prompts and completions.
pub(crate) const TOKEN_BUCKETS: [u64; 18] = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000,
    500_000,
];

/// Reasons for which requests are refused, which have a sample before the first one.
const REFUSALS: [&str; 3] = ["engine_stopped", "key_limit", "rate_limit_exceeded"];

/// What the server has done.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    inside: Mutex<Inside>,
    in_flight: AtomicU64,
}

#[derive(Debug)]
struct Inside {
    /// Answers by (route, method, status).
    answers: BTreeMap<(String, String, u16), u64>,
    /// By route.
    answer_times: BTreeMap<String, Histogram<25>>,
    /// By the name of a key: requests, prompt tokens computed and completion tokens.
    keys: BTreeMap<Arc<str>, [u64; 3]>,
    /// Requests that were not taken, by reason.
    refused: BTreeMap<&'static str, u64>,
    generations: Generations,
}

/// What was generated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Generations {
    pub(crate) stop: u64,
    pub(crate) length: u64,
    pub(crate) failed: u64,
    pub(crate) abandoned: u64,
    pub(crate) cached_tokens: u64,
    /// Tokens of the longest prompt with its completion.
    pub(crate) longest: u64,
    pub(crate) total_time: Histogram<25>,
    pub(crate) first_token_time: Histogram<25>,
    pub(crate) queue_time: Histogram<25>,
    pub(crate) prefill_time: Histogram<25>,
    pub(crate) decode_time: Histogram<25>,
    pub(crate) prompt_tokens: Histogram<18>,
    pub(crate) completion_tokens: Histogram<18>,
    pub(crate) max_tokens: Histogram<18>,
    pub(crate) n: Histogram<18>,
}

impl Default for Inside {
    fn default() -> Inside {
        let (time, tokens) = (Histogram::new(&TIME_BUCKETS), Histogram::new(&TOKEN_BUCKETS));
        Inside {
            answers: BTreeMap::new(),
            answer_times: BTreeMap::new(),
            keys: BTreeMap::new(),
            refused: BTreeMap::new(),
            generations: Generations {
                stop: 0,
                length: 0,
                failed: 0,
                abandoned: 0,
                cached_tokens: 0,
                longest: 0,
                total_time: time,
                first_token_time: time,
                queue_time: time,
                prefill_time: time,
                decode_time: time,
                prompt_tokens: tokens,
                completion_tokens: tokens,
                max_tokens: tokens,
                n: tokens,
            },
        }
    }
}

impl Metrics {
    pub(crate) fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// A request was answered; a stream by its first line.
    pub(crate) fn answer(&self, route: &str, method: &str, status: u16, time: Duration) {
        // Any word may stand where a method does.
        let method = match method {
            "GET" | "POST" | "DELETE" | "OPTIONS" | "HEAD" => method,
            _ => "other",
        };
        let mut inside = self.lock();
        *inside.answers.entry((route.to_owned(), method.to_owned(), status)).or_default() += 1;
        let times = inside.answer_times.entry(route.to_owned());
        times.or_insert_with(|| Histogram::new(&TIME_BUCKETS)).add(micros(time));
    }

    /// A request was not taken.
    pub(crate) fn refuse(&self, why: &'static str) {
        *self.lock().refused.entry(why).or_default() += 1;
    }

    /// A request was handed to the engine.
    pub(crate) fn begin(&self, n: usize, max_tokens: Option<usize>, n_prompt: usize) {
        let generations = &mut self.lock().generations;
        generations.n.add(n as u64);
        generations.max_tokens.add(max_tokens.unwrap_or(0) as u64);
        generations.prompt_tokens.add(n_prompt as u64);
    }

    /// A choice has ended, well or not.
    pub(crate) fn finish_choice(&self, reason: Option<FinishReason>, usage: &Usage) {
        let generations = &mut self.lock().generations;
        *match reason {
            Some(FinishReason::Stop | FinishReason::ToolCalls) => &mut generations.stop,
            Some(FinishReason::Length) => &mut generations.length,
            None => &mut generations.failed,
        } += 1;
        generations.queue_time.add(micros(usage.queued));
        generations.prefill_time.add(micros(usage.prefill));
        generations.decode_time.add(micros(usage.decode));
    }

    /// A request has ended, or nobody waits for it any more.
    pub(crate) fn end(
        &self,
        key: &Arc<str>,
        totals: &Totals,
        time: Duration,
        first_token: Option<Duration>,
        has_ended: bool,
    ) {
        let mut inside = self.lock();
        let counts = inside.keys.entry(Arc::clone(key)).or_default();
        let n_computed = totals.n_prompt.saturating_sub(totals.n_cached);
        for (count, n) in counts.iter_mut().zip([1, n_computed as u64, totals.n_completion as u64]) {
            *count += n;
        }
        let generations = &mut inside.generations;
        generations.abandoned += u64::from(!has_ended);
        generations.cached_tokens += totals.n_cached as u64;
        generations.longest = generations.longest.max((totals.n_prompt + totals.n_completion) as u64);
        generations.completion_tokens.add(totals.n_completion as u64);
        generations.total_time.add(micros(time));
        first_token.into_iter().for_each(|time| generations.first_token_time.add(micros(time)));
    }

    /// Nobody panics with the lock in hand.
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(|e| e.into_inner())
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

pub(crate) async fn page(State(app): State<Arc<App>>) -> Response {
    let mut page = Page::default();
    let engine = app.engine.metrics();
    own::add(&app, &engine, &mut page);
    process::add(&mut page);
    if app.settings.llama_metrics {
        llama_server::add(&engine, &app.metrics.lock().generations, &mut page);
    }
    if app.settings.vllm_metrics {
        vllm::add(&app, &engine, &app.metrics.lock().generations, &mut page);
    }
    let mut response = Response::new(Body::from(page.into_text()));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

const MICROS: f64 = 1e6;
