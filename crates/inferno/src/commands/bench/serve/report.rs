//! What a load test came to, for people and as JSON.

use inferno_engine::Metrics;
use serde_json::{Map, Value as Json, json};

use super::drive::{Run, Served, percentile};
use crate::commands::bench::report::table;
use crate::commands::bench::stats::{Samples, short};

/// A way to run the engine, and its runs.
pub(super) struct Measured {
    pub(super) name: String,
    pub(super) runs: Vec<Run>,
}

/// All there is to say.
pub(super) struct Report {
    pub(super) heading: String,
    pub(super) machine: Json,
    pub(super) model: Json,
    pub(super) settings: Json,
    pub(super) workload: Json,
    /// The first is what the others are compared with.
    pub(super) measured: Vec<Measured>,
    /// Whether all ways must give the same tokens, or each its own.
    pub(super) is_same: bool,
}

/// A number of a run. What the second table column calls "× …" is shown for speeds only.
struct Quantity {
    title: &'static str,
    key: &'static str,
    is_speed: bool,
    of: fn(&Run) -> f64,
}

const fn speed(title: &'static str, key: &'static str, of: fn(&Run) -> f64) -> Quantity {
    Quantity { title, key, is_speed: true, of }
}

const fn count(title: &'static str, key: &'static str, of: fn(&Run) -> f64) -> Quantity {
    Quantity { title, key, is_speed: false, of }
}

const QUANTITIES: [Quantity; 22] = [
    speed("duration, s", "seconds", |r| r.seconds),
    speed("prompt tok/s", "prompt_tokens_per_s", |r| total(r, |s| s.usage.n_prompt) / r.seconds),
    speed("completion tok/s", "completion_tokens_per_s", |r| total(r, |s| s.tokens.len()) / r.seconds),
    speed("time to first token p50, ms", "time_to_first_token_ms_p50", |r| first_token(r, 50)),
    speed("… p90", "time_to_first_token_ms_p90", |r| first_token(r, 90)),
    speed("… p99", "time_to_first_token_ms_p99", |r| first_token(r, 99)),
    speed("inter-token latency p50, ms", "inter_token_latency_ms_p50", |r| inter_token(r, 50)),
    speed("… p90", "inter_token_latency_ms_p90", |r| inter_token(r, 90)),
    speed("… p99", "inter_token_latency_ms_p99", |r| inter_token(r, 99)),
    count("prompt tokens from the cache, %", "cache_hit_percent", |r| {
        percent(r.metrics.cache.hit_tokens, r.metrics.cache.looked_up_tokens)
    }),
    count("pages evicted", "evicted_pages", |r| r.metrics.cache.evicted_pages as f64),
    count("tokens drafted", "drafted_tokens", |r| r.metrics.drafted_tokens as f64),
    count("… accepted", "accepted_tokens", |r| r.metrics.accepted_tokens as f64),
    count("tokens forced, %", "forced_percent", |r| {
        percent(r.metrics.forced_tokens, r.metrics.completion_tokens)
    }),
    count("mask mean, µs", "mask_us_mean", |r| {
        r.metrics.mask_time.sum as f64 / r.metrics.mask_time.n() as f64
    }),
    count("masks above 1 ms, %", "masks_above_1_ms_percent", |r| masks_above_1_ms(&r.metrics)),
    count("grammars, % of busy", "grammar_percent", |r| {
        100.0 * r.metrics.grammar_time.as_secs_f64() * 1e6 / r.metrics.busy_time as f64
    }),
    count("preemptions", "preemptions", |r| r.metrics.sequences.preemptions as f64),
    count("steps", "steps", |r| r.metrics.steps as f64),
    count("rows per step", "rows_per_step", |r| {
        r.metrics.step_rows.sum as f64 / r.metrics.step_rows.n() as f64
    }),
    count("busy, % of the duration", "busy_percent", |r| r.metrics.busy_time as f64 / r.seconds / 1e4),
    count("outside the model, % of busy", "overhead_percent", |r| overhead_percent(&r.metrics)),
];

fn total(run: &Run, n: impl Fn(&Served) -> usize) -> f64 {
    run.served.iter().map(n).sum::<usize>() as f64
}

fn first_token(run: &Run, percent: usize) -> f64 {
    1e3 * percentile(&run.times_to_first_token(), percent)
}

fn inter_token(run: &Run, percent: usize) -> f64 {
    1e3 * percentile(&run.inter_token_latencies(), percent)
}

fn percent(part: u64, of: u64) -> f64 {
    100.0 * part as f64 / of as f64
}

/// Scheduling, sampling and events, of the time that steps take.
pub(super) fn overhead_percent(metrics: &Metrics) -> f64 {
    percent(metrics.overhead_time.sum, metrics.step_time.sum)
}

/// Share of the masks that took longer than a millisecond.
fn masks_above_1_ms(metrics: &Metrics) -> f64 {
    let masks = &metrics.mask_time;
    let up_to = masks.ends().iter().zip(&masks.counts).filter(|(end, _)| **end <= 1_000).map(|(_, n)| n);
    percent(masks.n() - up_to.sum::<u64>(), masks.n())
}

impl Measured {
    fn samples(&self, quantity: &Quantity) -> Samples {
        Samples(self.runs.iter().map(quantity.of).collect())
    }

    fn to_json(&self, first: &Measured) -> Json {
        let mut numbers = Map::new();
        for quantity in &QUANTITIES {
            let samples = self.samples(quantity);
            let mut json = samples.to_json();
            if quantity.is_speed {
                json["over_the_first"] = samples.over(&first.samples(quantity)).to_json();
            }
            numbers.insert(quantity.key.into(), json);
        }
        let runs = self.runs.iter().map(|run| {
            let requests: Vec<Json> = run.served.iter().map(served_json).collect();
            json!({ "seconds": run.seconds, "tokens_hash": hex(run.tokens_hash()), "requests": requests })
        });
        json!({ "name": self.name, "numbers": numbers, "runs": runs.collect::<Vec<_>>() })
    }
}

fn served_json(s: &Served) -> Json {
    json!({
        "due_s": s.due,
        "prompt_tokens": s.usage.n_prompt,
        "cached_tokens": s.usage.n_cached,
        "completion_tokens": s.tokens.len(),
        "drafted_tokens": s.usage.n_drafted,
        "accepted_tokens": s.usage.n_accepted,
        "forced_tokens": s.usage.n_forced,
        "preemptions": s.usage.n_preemptions,
        "time_to_first_token_s": s.time_to_first_token(),
        "inter_token_s": s.inter_token_latencies().collect::<Vec<_>>(),
        "tokens_hash": hex(s.tokens_hash()),
    })
}

pub(super) fn hex(hash: u64) -> String {
    format!("{hash:016x}")
}

impl Report {
    /// Where completions are not what they are in the first run: of all, or of the same way to run the engine.
    pub(super) fn first_difference(&self) -> Option<String> {
        let of_all = self.measured.first()?;
        for measured in &self.measured {
            let first_measured = if self.is_same { of_all } else { measured };
            let first = first_measured.runs.first()?;
            for (repeat, run) in measured.runs.iter().enumerate() {
                if let Some(i) = run.first_difference(first) {
                    let (name, first_name) = (&measured.name, &first_measured.name);
                    return Some(format!(
                        "completions differ: request {}, with {name} in repeat {}, is not what it is with {first_name} in \
                         repeat 1",
                        i + 1,
                        repeat + 1
                    ));
                }
            }
        }
        None
    }

    pub(super) fn to_json(&self) -> Json {
        let first = self.measured.first();
        let variants = self
            .measured
            .iter()
            .zip(std::iter::repeat(first))
            .map(|(m, first)| m.to_json(first.unwrap_or(m)));
        json!({
            "inferno": env!("CARGO_PKG_VERSION"),
            "machine": self.machine,
            "model": self.model,
            "settings": self.settings,
            "workload": self.workload,
            "tokens_equal": self.first_difference().is_none(),
            "variants": variants.collect::<Vec<_>>(),
        })
    }

    pub(super) fn to_text(&self) -> String {
        let mut rows = vec![vec![String::new()]];
        rows[0].extend(self.measured.iter().map(|m| m.name.clone()));
        for quantity in &QUANTITIES {
            let first = self.measured.first().map(|m| m.samples(quantity)).unwrap_or_default();
            let cells = self.measured.iter().enumerate().map(|(i, m)| {
                let samples = m.samples(quantity);
                match i {
                    0 => samples.text(number),
                    _ if quantity.is_speed => {
                        format!("{}  × {}", number(samples.median()), samples.over(&first).text(short))
                    }
                    _ => number(samples.median()),
                }
            });
            rows.push(std::iter::once(quantity.title.to_owned()).chain(cells).collect());
        }
        let hashes = self.measured.iter().filter_map(|m| m.runs.first()).map(|run| hex(run.tokens_hash()));
        rows.push(std::iter::once("hash of the completions".to_owned()).chain(hashes).collect());
        format!("{}\n\n{}", self.heading, table(&rows))
    }
}

/// Counts as they are, the rest with the digits that matter.
fn number(x: f64) -> String {
    match x {
        _ if !x.is_finite() => "-".into(),
        _ if x.fract() == 0.0 => format!("{x:.0}"),
        _ => short(x),
    }
}
