//! The same numbers under vLLM's names, for boards and routers that know those.

use inferno_model::batch::PAGE_LEN;

use super::{Generations, MICROS};
use crate::app::App;
use crate::exposition::Page;

pub(super) fn add(app: &App, engine: &inferno_engine::Metrics, g: &Generations, page: &mut Page) {
    let labels = [("model_name", app.card.id()), ("engine", "0")];
    let labels = &labels[..];
    let sequences = engine.sequences;
    let usage = engine.kv_usage();
    page.one(
        "vllm:num_requests_running",
        "gauge",
        "Sequences that run, under vLLM's name.",
        labels,
        sequences.running,
    );
    page.one(
        "vllm:num_requests_waiting",
        "gauge",
        "Sequences that wait in the queue, under vLLM's name.",
        labels,
        sequences.waiting,
    );
    page.head(
        "vllm:num_requests_waiting_by_reason",
        "gauge",
        "Sequences that wait in the queue, under vLLM's name.",
    );
    for (reason, n) in [("capacity", sequences.waiting), ("deferred", 0)] {
        let labels = [labels[0], labels[1], ("reason", reason)];
        page.value("vllm:num_requests_waiting_by_reason", &labels, n);
    }
    page.one("vllm:kv_cache_usage_perc", "gauge", "Share of the KV pool in use, from 0 to 1.", labels, usage);
    page.one(
        "vllm:gpu_cache_usage_perc",
        "gauge",
        "Share of the KV pool in use, from 0 to 1, under its older name.",
        labels,
        usage,
    );
    let (page_len, n_pages) = (PAGE_LEN.to_string(), (app.engine.shape().pool_len / PAGE_LEN).to_string());
    let config = [labels[0], labels[1], ("block_size", &page_len), ("num_gpu_blocks", &n_pages)];
    page.one("vllm:cache_config_info", "gauge", "Size of the KV pool; the value is always 1.", &config, 1);
    let prompt_tokens = engine.prompt_tokens + engine.cache.hit_tokens;
    for (name, value) in [
        ("vllm:prompt_tokens_total", prompt_tokens),
        ("vllm:prompt_tokens_cached_total", engine.cache.hit_tokens),
        ("vllm:generation_tokens_total", engine.completion_tokens),
        ("vllm:prefix_cache_queries_total", engine.cache.looked_up_tokens),
        ("vllm:prefix_cache_hits_total", engine.cache.hit_tokens),
        ("vllm:num_preemptions_total", sequences.preemptions),
        ("vllm:spec_decode_num_drafts_total", engine.drafts),
        ("vllm:spec_decode_num_draft_tokens_total", engine.drafted_tokens),
        ("vllm:spec_decode_num_accepted_tokens_total", engine.accepted_tokens),
    ] {
        page.one(name, "counter", "The count of this name in vLLM, of the same meaning.", labels, value);
    }
    page.head("vllm:request_success_total", "counter", "Choices that ended, by reason.");
    for (reason, n) in [("stop", g.stop), ("length", g.length), ("abort", g.abandoned), ("error", g.failed)] {
        let labels = [labels[0], labels[1], ("finished_reason", reason)];
        page.value("vllm:request_success_total", &labels, n);
    }
    for (name, histogram) in [
        ("vllm:time_to_first_token_seconds", &engine.time_to_first_token),
        ("vllm:inter_token_latency_seconds", &engine.inter_token_latency),
        ("vllm:request_time_per_output_token_seconds", &engine.inter_token_latency),
        ("vllm:e2e_request_latency_seconds", &g.total_time),
        ("vllm:request_queue_time_seconds", &g.queue_time),
        ("vllm:request_prefill_time_seconds", &g.prefill_time),
        ("vllm:request_decode_time_seconds", &g.decode_time),
    ] {
        page.histogram(
            name,
            "The measure of this name in vLLM, of the same meaning and unit.",
            labels,
            histogram,
            MICROS,
        );
    }
    for (name, histogram) in [
        ("vllm:request_prompt_tokens", &g.prompt_tokens),
        ("vllm:request_generation_tokens", &g.completion_tokens),
        ("vllm:request_params_max_tokens", &g.max_tokens),
        ("vllm:request_params_n", &g.n),
    ] {
        page.histogram(
            name,
            "The measure of this name in vLLM, of the same meaning and unit.",
            labels,
            histogram,
            1.0,
        );
    }
}
