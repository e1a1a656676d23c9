//! `GET /metrics`: what the engine counts and what the server does, under our own names and, if wanted, under vLLM's.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use inferno_engine::{Histogram, TIME_BUCKETS, Usage};

use crate::app::App;
use crate::choice::FinishReason;
use crate::exposition::Page;
use crate::generation::Totals;

mod vllm;

/// Tokens of prompts and completions.
pub(crate) const TOKEN_BUCKETS: [u64; 18] = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000,
    500_000,
];

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
    answer_time: Histogram<25>,
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
            answer_time: time,
            refused: BTreeMap::new(),
            generations: Generations {
                stop: 0,
                length: 0,
                failed: 0,
                abandoned: 0,
                cached_tokens: 0,
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
        inside.answer_time.add(micros(time));
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
            Some(FinishReason::Stop) => &mut generations.stop,
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
        totals: &Totals,
        time: Duration,
        first_token: Option<Duration>,
        has_ended: bool,
    ) {
        let generations = &mut self.lock().generations;
        generations.abandoned += u64::from(!has_ended);
        generations.cached_tokens += totals.n_cached as u64;
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
    own(&app, &engine, &mut page);
    if app.settings.vllm_metrics {
        vllm::add(&app, &engine, &app.metrics.lock().generations, &mut page);
    }
    let mut response = Response::new(Body::from(page.into_text()));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

const MICROS: f64 = 1e6;

fn own(app: &App, engine: &inferno_engine::Metrics, page: &mut Page) {
    let info = [("version", env!("CARGO_PKG_VERSION")), ("model", app.card.id())];
    page.one("inferno_build_info", "gauge", "Always 1.", &info, 1);
    page.one("inferno_uptime_seconds", "counter", "Since the start.", &[], app.started.elapsed().as_secs());
    let is_healthy = u8::from(app.health().is_ok());
    page.one("inferno_healthy", "gauge", "1 if the engine computes, or waits for work.", &[], is_healthy);
    let is_ready = u8::from(app.drain.is_serving());
    page.one("inferno_ready", "gauge", "1 if requests are taken.", &[], is_ready);

    let sequences = engine.sequences;
    page.one("inferno_sequences_running", "gauge", "Sequences that run.", &[], sequences.running);
    page.one("inferno_sequences_waiting", "gauge", "Sequences that wait.", &[], sequences.waiting);
    let help = "Prompt tokens of sequences that wait.";
    page.one("inferno_waiting_tokens", "gauge", help, &[], sequences.waiting_tokens);
    page.one(
        "inferno_preemptions_total",
        "counter",
        "Sequences that lost their pages.",
        &[],
        sequences.preemptions,
    );
    page.head("inferno_kv_pages", "gauge", "Pages of keys and values.");
    for (state, n) in
        [("free", engine.pages.free), ("cached", engine.pages.cached), ("held", engine.pages.held)]
    {
        page.value("inferno_kv_pages", &[("state", state)], n);
    }
    let usage = engine.pages.held as f64 / app.n_pages.max(1) as f64;
    page.one("inferno_kv_usage_ratio", "gauge", "Pages in use, of all.", &[], usage);
    let cache = engine.cache;
    let help = "Prompt tokens that were looked up in the prefix cache.";
    page.one("inferno_prefix_cache_lookup_tokens_total", "counter", help, &[], cache.looked_up_tokens);
    let help = "Prompt tokens that were found in the prefix cache.";
    page.one("inferno_prefix_cache_hit_tokens_total", "counter", help, &[], cache.hit_tokens);
    let help = "Cached pages that made room.";
    page.one("inferno_prefix_cache_evicted_pages_total", "counter", help, &[], cache.evicted_pages);
    page.one("inferno_prompt_tokens_total", "counter", "Prompt tokens computed.", &[], engine.prompt_tokens);
    page.one("inferno_completion_tokens_total", "counter", "Tokens chosen.", &[], engine.completion_tokens);
    page.one("inferno_drafted_tokens_total", "counter", "Guesses verified.", &[], engine.drafted_tokens);
    page.one(
        "inferno_accepted_tokens_total",
        "counter",
        "Guesses that were right.",
        &[],
        engine.accepted_tokens,
    );
    page.one("inferno_steps_total", "counter", "Steps of the engine.", &[], engine.steps);
    let what = "Steps that followed another one on the device, without the engine between.";
    page.one("inferno_chained_steps_total", "counter", what, &[], engine.chained_steps);
    page.one("inferno_engine_restarts_total", "counter", "Steps that failed.", &[], engine.restarts);
    page.head("inferno_finished_total", "counter", "Sequences by how they ended.");
    let finished = engine.finished;
    for (reason, n) in [
        ("stop", finished.stop),
        ("length", finished.length),
        ("constraint", finished.constraint),
        ("cancelled", finished.cancelled),
        ("deadline", finished.deadline),
        ("failed", finished.failed),
    ] {
        page.value("inferno_finished_total", &[("reason", reason)], n);
    }
    for (name, help, histogram) in [
        ("inferno_step_seconds", "Steps.", &engine.step_time),
        ("inferno_step_overhead_seconds", "Of a step what is not the model's.", &engine.overhead_time),
        ("inferno_queue_seconds", "From submission to the first step.", &engine.queue_time),
        (
            "inferno_time_to_first_token_seconds",
            "From submission to the first token.",
            &engine.time_to_first_token,
        ),
        ("inferno_inter_token_seconds", "Between two tokens of a sequence.", &engine.inter_token_latency),
    ] {
        page.histogram(name, help, &[], histogram, MICROS);
    }
    page.histogram("inferno_step_rows", "Rows of a step.", &[], &engine.step_rows, 1.0);
    server(app, page);
}

fn server(app: &App, page: &mut Page) {
    let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
    let metrics = &app.metrics;
    let in_flight = load(&metrics.in_flight);
    page.one("inferno_http_requests_in_flight", "gauge", "Requests without an answer.", &[], in_flight);
    page.one("inferno_connections", "gauge", "Open connections.", &[], load(&app.traffic.connections));
    page.one(
        "inferno_connections_total",
        "counter",
        "Connections accepted.",
        &[],
        load(&app.traffic.accepted),
    );
    let help = "Connections closed at once, as there were too many.";
    page.one("inferno_connections_refused_total", "counter", help, &[], load(&app.traffic.refused));
    let help = "Connections without a request that made room for others.";
    page.one("inferno_connections_evicted_total", "counter", help, &[], load(&app.traffic.evicted));
    let help = "Bytes of requests that are being read and of answers that are being written.";
    page.one("inferno_request_memory_bytes", "gauge", help, &[], app.room.used());
    let help = "Lines that were not written, as nobody took them.";
    page.one("inferno_log_lines_dropped_total", "counter", help, &[], crate::log::n_dropped());
    let inside = metrics.lock();
    page.head("inferno_http_requests_total", "counter", "Answers by route, method and status.");
    for ((route, method, status), n) in &inside.answers {
        let status = status.to_string();
        let labels = [("route", route.as_str()), ("method", method), ("status", &status)];
        page.value("inferno_http_requests_total", &labels, n);
    }
    let help = "Until the first line of an answer.";
    page.histogram("inferno_http_request_seconds", help, &[], &inside.answer_time, MICROS);
    page.head("inferno_refused_total", "counter", "Requests that were not taken.");
    for (reason, n) in &inside.refused {
        page.value("inferno_refused_total", &[("reason", reason)], n);
    }
    let g = &inside.generations;
    let help = "Requests that nobody waited for any more.";
    page.one("inferno_requests_abandoned_total", "counter", help, &[], g.abandoned);
    page.histogram("inferno_request_seconds", "Requests in the engine.", &[], &g.total_time, MICROS);
    page.histogram("inferno_request_prompt_tokens", "Tokens of prompts.", &[], &g.prompt_tokens, 1.0);
    page.histogram(
        "inferno_request_completion_tokens",
        "Tokens of completions.",
        &[],
        &g.completion_tokens,
        1.0,
    );
}
