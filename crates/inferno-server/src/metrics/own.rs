//! The page under our own names.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Inside, MICROS, REFUSALS};
use crate::app::App;
use crate::exposition::Page;

pub(super) fn add(app: &App, engine: &inferno_engine::Metrics, page: &mut Page) {
    let gauge =
        |name: &str, help: &str, value: f64, page: &mut Page| page.one(name, "gauge", help, &[], value);
    let info = [("version", env!("CARGO_PKG_VERSION")), ("model", app.card.id())];
    page.one(
        "inferno_build_info",
        "gauge",
        "Version and model of the server; the value is always 1.",
        &info,
        1,
    );
    let help = "Time since the server began to take requests, in seconds.";
    gauge("inferno_uptime_seconds", help, app.started.elapsed().as_secs_f64(), page);
    let help = "Whether the engine computes or waits for work: 1, or 0 if it has stopped or stalled.";
    gauge("inferno_healthy", help, f64::from(u8::from(app.health().is_ok())), page);
    let help = "Whether new requests are taken: 1, or 0 while the server drains.";
    gauge("inferno_ready", help, f64::from(u8::from(app.drain.is_serving())), page);

    queue(app, engine, page);
    cache(app, engine, page);
    for (name, help, n) in [
        ("inferno_prompt_tokens_total", "Prompt tokens computed.", engine.prompt_tokens),
        ("inferno_completion_tokens_total", "Completion tokens generated.", engine.completion_tokens),
        (
            "inferno_forced_tokens_total",
            "Completion tokens that a grammar left no choice about, taken without sampling.",
            engine.forced_tokens,
        ),
        (
            "inferno_drafts_total",
            "Drafts verified, each the draft tokens of a sequence in a step.",
            engine.drafts,
        ),
        ("inferno_drafted_tokens_total", "Draft tokens proposed and verified.", engine.drafted_tokens),
        ("inferno_accepted_tokens_total", "Draft tokens accepted.", engine.accepted_tokens),
        (
            "inferno_draft_model_tokens_total",
            "Draft tokens proposed by the draft model and verified.",
            engine.draft_model.proposed,
        ),
        (
            "inferno_draft_model_accepted_tokens_total",
            "Draft tokens of the draft model accepted.",
            engine.draft_model.accepted,
        ),
        ("inferno_draft_model_steps_total", "Steps of the draft model.", engine.draft_model.steps),
        (
            "inferno_draft_model_prefill_tokens_total",
            "Tokens computed by the draft model that it had not proposed, as those of prompts.",
            engine.draft_model.rows_behind,
        ),
        (
            "inferno_draft_model_failures_total",
            "Failures of the draft model; after three of them it is not used.",
            engine.draft_model.failures,
        ),
        ("inferno_steps_total", "Engine steps, each one forward pass over a batch.", engine.steps),
        (
            "inferno_chained_steps_total",
            "Engine steps that followed another one on the device without the host between.",
            engine.chained_steps,
        ),
        (
            "inferno_step_sequences_total",
            "Sequences of all engine steps: a sequence counts once for each step with rows of it.",
            engine.step_sequences,
        ),
        (
            "inferno_engine_restarts_total",
            "Engine steps that failed, after which the engine started over.",
            engine.restarts,
        ),
    ] {
        page.one(name, "counter", help, &[], n);
    }
    let help = "Time spent in the draft model, in seconds.";
    let seconds = engine.draft_model.time as f64 / 1e6;
    page.one("inferno_draft_model_seconds_total", "counter", help, &[], seconds);
    let help = "Time that drafts have saved, estimated from the times of steps, in seconds; below 0 if they cost more than they saved.";
    gauge("inferno_draft_saved_seconds", help, engine.saved_by_drafts as f64 / 1e6, page);
    page.head("inferno_finished_total", "counter", "Sequences that ended, by reason.");
    let finished = engine.finished;
    for (reason, n) in [
        ("stop", finished.stop),
        ("length", finished.length),
        ("stop_string", finished.stop_condition),
        ("grammar", finished.grammar),
        ("cancelled", finished.cancelled),
        ("deadline", finished.deadline),
        ("failed", finished.failed),
    ] {
        page.value("inferno_finished_total", &[("reason", reason)], n);
    }
    for (name, help, histogram) in [
        ("inferno_step_seconds", "Duration of engine steps, in seconds.", &engine.step_time),
        (
            "inferno_step_overhead_seconds",
            "Time of engine steps outside of the model: scheduling, sampling and events, in seconds.",
            &engine.overhead_time,
        ),
        (
            "inferno_mask_seconds",
            "Time to compute the mask of a grammar for one token, in seconds.",
            &engine.mask_time,
        ),
        (
            "inferno_queue_seconds",
            "Time of sequences from submission to their first step, in seconds.",
            &engine.queue_time,
        ),
        (
            "inferno_time_to_first_token_seconds",
            "Time of sequences from submission to their first token, in seconds.",
            &engine.time_to_first_token,
        ),
        (
            "inferno_inter_token_seconds",
            "Time between two tokens of a sequence, in seconds.",
            &engine.inter_token_latency,
        ),
    ] {
        page.histogram(name, help, &[], histogram, MICROS);
    }
    page.histogram("inferno_step_rows", "Rows of the batches of engine steps.", &[], &engine.step_rows, 1.0);
    connections(app, page);
    requests(&app.metrics.lock(), load(&app.metrics.in_flight), page);
}

fn queue(app: &App, engine: &inferno_engine::Metrics, page: &mut Page) {
    let sequences = engine.sequences;
    page.one("inferno_sequences_running", "gauge", "Sequences that run.", &[], sequences.running);
    page.one(
        "inferno_sequences_waiting",
        "gauge",
        "Sequences that wait in the queue.",
        &[],
        sequences.waiting,
    );
    let help = "Prompt tokens of the sequences that wait in the queue.";
    page.one("inferno_waiting_tokens", "gauge", help, &[], sequences.waiting_tokens);
    let help = "Estimated time in the queue of a request that comes now, in seconds.";
    let wait = app.engine.wait_estimate().as_secs_f64();
    page.one("inferno_queue_wait_estimate_seconds", "gauge", help, &[], wait);
    let help = "Sequences that lost their KV pages to others.";
    page.one("inferno_preemptions_total", "counter", help, &[], sequences.preemptions);
}

fn cache(app: &App, engine: &inferno_engine::Metrics, page: &mut Page) {
    let help = "Pages of the KV pool, each of 32 positions, by state; the sum over its cache groups.";
    page.head("inferno_kv_pages", "gauge", help);
    let pages = engine.pages;
    for (state, n) in [("free", pages.free), ("cached", pages.cached), ("held", pages.held)] {
        page.value("inferno_kv_pages", &[("state", state)], n);
    }
    let help = "Pages of a cache group of the KV pool, by state. Rows see `window` positions in its layers, or all; with window=\"state\" \
         a page is the state of recurrent layers, of a sequence (held) or a snapshot.";
    page.head("inferno_kv_group_pages", "gauge", help);
    for (i, (group, pages)) in app.engine.kv_groups().iter().zip(&engine.group_pages).enumerate() {
        let all = if group.is_state { "state" } else { "all" };
        let (group_idx, window) = (i.to_string(), group.window.map_or(all.into(), |n| n.to_string()));
        for (state, n) in [("free", pages.free), ("cached", pages.cached), ("held", pages.held)] {
            let labels = [("group", &*group_idx), ("window", &*window), ("state", state)];
            page.value("inferno_kv_group_pages", &labels, n);
        }
    }
    let help = "Share of the KV pool's pages that sequences hold, from 0 to 1, of the cache group that is the fullest.";
    page.one("inferno_kv_usage_ratio", "gauge", help, &[], engine.kv_usage());
    let cache = engine.cache;
    for (name, help, n) in [
        (
            "inferno_prefix_cache_lookup_tokens_total",
            "Prompt tokens looked up in the prefix cache.",
            cache.looked_up_tokens,
        ),
        (
            "inferno_prefix_cache_hit_tokens_total",
            "Prompt tokens found in the prefix cache.",
            cache.hit_tokens,
        ),
        (
            "inferno_prefix_cache_evicted_pages_total",
            "Cached KV pages evicted to make room.",
            cache.evicted_pages,
        ),
        (
            "inferno_prefix_cache_pages_out_total",
            "Evicted KV pages that were kept outside the KV pool (--cache-ram, --cache-disk).",
            cache.pages_out,
        ),
        (
            "inferno_prefix_cache_pages_back_total",
            "KV pages that came back into the KV pool as a prompt asked for them.",
            cache.pages_back,
        ),
    ] {
        page.one(name, "counter", help, &[], n);
    }
    let help = "Size of the KV pages in memory beside the KV pool (--cache-ram) in bytes.";
    page.one("inferno_prefix_cache_away_bytes", "gauge", help, &[], cache.away_bytes);
    let help = "Size of the KV pages on disk (--cache-disk) in bytes.";
    page.one("inferno_prefix_cache_disk_bytes", "gauge", help, &[], cache.disk_bytes);
}

fn load(n: &AtomicU64) -> u64 {
    n.load(Ordering::Relaxed)
}

fn connections(app: &App, page: &mut Page) {
    let traffic = &app.traffic;
    page.one("inferno_connections", "gauge", "Open connections.", &[], load(&traffic.connections));
    for (name, help, n) in [
        ("inferno_connections_accepted_total", "Connections accepted.", load(&traffic.accepted)),
        (
            "inferno_connections_refused_total",
            "Connections closed at once because there were too many.",
            load(&traffic.refused),
        ),
        (
            "inferno_connections_evicted_total",
            "Connections without a request closed to make room for others.",
            load(&traffic.evicted),
        ),
        (
            "inferno_log_lines_dropped_total",
            "Log lines that were not written because no reader took them or writing failed.",
            crate::log::n_dropped(),
        ),
    ] {
        page.one(name, "counter", help, &[], n);
    }
    let help = "Memory of requests being read and of answers being written, in bytes.";
    page.one("inferno_request_memory_bytes", "gauge", help, &[], app.room.used());
}

fn requests(inside: &Inside, n_in_flight: u64, page: &mut Page) {
    let help = "HTTP requests without the first line of an answer.";
    page.one("inferno_http_requests_in_flight", "gauge", help, &[], n_in_flight);
    let help = "HTTP requests answered, by route, method and status.";
    page.head("inferno_http_requests_total", "counter", help);
    for ((route, method, status), n) in &inside.answers {
        let status = status.to_string();
        let labels = [("route", route.as_str()), ("method", method), ("status", &status)];
        page.value("inferno_http_requests_total", &labels, n);
    }
    let name = "inferno_http_first_line_seconds";
    let help = "Time from the head of an HTTP request to the first line of its answer, by route, in seconds.";
    page.head(name, "histogram", help);
    for (route, times) in &inside.answer_times {
        page.buckets(name, &[("route", route)], times, MICROS);
    }
    page.head("inferno_refused_total", "counter", "Requests that were not taken, by reason.");
    for reason in REFUSALS.iter().filter(|reason| !inside.refused.contains_key(**reason)) {
        page.value("inferno_refused_total", &[("reason", reason)], 0);
    }
    for (reason, n) in &inside.refused {
        page.value("inferno_refused_total", &[("reason", reason)], n);
    }
    for (i, (name, help)) in [
        ("inferno_key_requests_total", "Requests that generated text, by the name of their key."),
        ("inferno_key_prompt_tokens_total", "Prompt tokens computed, by the name of the key."),
        ("inferno_key_completion_tokens_total", "Completion tokens generated, by the name of the key."),
    ]
    .into_iter()
    .enumerate()
    {
        page.head(name, "counter", help);
        for (key, counts) in &inside.keys {
            page.value(name, &[("key", key)], counts[i]);
        }
    }
    let g = &inside.generations;
    let help = "Requests whose client left before the end.";
    page.one("inferno_requests_abandoned_total", "counter", help, &[], g.abandoned);
    let help = "Time of requests from submission to the engine to their end, in seconds.";
    page.histogram("inferno_request_seconds", help, &[], &g.total_time, MICROS);
    let help = "Prompt tokens of requests.";
    page.histogram("inferno_request_prompt_tokens", help, &[], &g.prompt_tokens, 1.0);
    let help = "Completion tokens of requests.";
    page.histogram("inferno_request_completion_tokens", help, &[], &g.completion_tokens, 1.0);
}
