//! The same numbers under llama-server's names, for boards that know those.

use super::{Generations, MICROS};
use crate::exposition::Page;

pub(super) fn add(engine: &inferno_engine::Metrics, g: &Generations, page: &mut Page) {
    let seconds = |sum: u64| sum as f64 / MICROS;
    let rate = |n: u64, of: f64| if of > 0.0 { n as f64 / of } else { 0.0 };
    let (prefill, decode) = (seconds(g.prefill_time.sum), seconds(g.decode_time.sum));
    let counters = [
        ("prompt_tokens_total", "Prompt tokens computed", engine.prompt_tokens as f64),
        (
            "prompt_tokens_cached_total",
            "Prompt tokens found in the prefix cache",
            engine.cache.hit_tokens as f64,
        ),
        ("prompt_seconds_total", "Time of prompts, in seconds", prefill),
        ("tokens_predicted_total", "Completion tokens generated", engine.completion_tokens as f64),
        ("tokens_predicted_seconds_total", "Time of completions, in seconds", decode),
        ("n_decode_total", "Engine steps", engine.steps as f64),
        ("n_tokens_max", "Tokens of the longest prompt with its completion", g.longest as f64),
        ("spec_decode_num_drafts_total", "Drafts verified", engine.drafts as f64),
        ("spec_decode_num_draft_tokens_total", "Draft tokens verified", engine.drafted_tokens as f64),
        ("spec_decode_num_accepted_tokens_total", "Draft tokens accepted", engine.accepted_tokens as f64),
    ];
    let sequences = engine.sequences;
    let gauges = [
        (
            "prompt_tokens_seconds",
            "Prompt tokens per second, on average",
            rate(engine.prompt_tokens, prefill),
        ),
        (
            "predicted_tokens_seconds",
            "Completion tokens per second, on average",
            rate(engine.completion_tokens, decode),
        ),
        ("requests_processing", "Sequences that run", sequences.running as f64),
        ("requests_deferred", "Sequences that wait in the queue", sequences.waiting as f64),
        (
            "n_busy_slots_per_decode",
            "Sequences of an engine step, on average",
            rate(engine.step_sequences, engine.steps as f64),
        ),
    ];
    let counters = counters.map(|metric| ("counter", metric));
    let gauges = gauges.map(|metric| ("gauge", metric));
    for (kind, (name, help, value)) in counters.into_iter().chain(gauges) {
        let help = format!("{help}, under llama-server's name.");
        page.one(&format!("llamacpp:{name}"), kind, &help, &[], value);
    }
}
