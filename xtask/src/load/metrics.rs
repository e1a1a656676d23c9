//! What the server says of itself at `/metrics`, in the text format of Prometheus.

use serde_json::{Value as Json, json};

use super::Result;
use super::client::Client;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Metrics {
    pub(super) running: u64,
    pub(super) waiting: u64,
    pub(super) free: u64,
    pub(super) cached: u64,
    pub(super) held: u64,
    /// Requests whose client left before the end, so far.
    pub(super) abandoned: u64,
    /// Tokens of answers, so far.
    pub(super) tokens: u64,
}

impl Metrics {
    pub(super) fn of(client: &mut Client) -> Result<Metrics> {
        Metrics::parse(&client.get("/metrics")?)
    }

    pub(super) fn parse(text: &str) -> Result<Metrics> {
        let number = |name: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            let found = found.and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
            found.map(|x| x as u64).ok_or_else(|| format!("`/metrics` has no number `{name}`"))
        };
        Ok(Metrics {
            running: number("inferno_sequences_running")?,
            waiting: number("inferno_sequences_waiting")?,
            free: number("inferno_kv_pages{state=\"free\"}")?,
            cached: number("inferno_kv_pages{state=\"cached\"}")?,
            held: number("inferno_kv_pages{state=\"held\"}")?,
            abandoned: number("inferno_requests_abandoned_total")?,
            tokens: number("inferno_completion_tokens_total")?,
        })
    }

    /// Pages of the pool.
    pub(super) fn pages(&self) -> u64 {
        self.free + self.cached + self.held
    }

    pub(super) fn is_idle(&self) -> bool {
        self.running + self.waiting + self.held == 0
    }

    pub(super) fn to_json(self) -> Json {
        let Metrics { running, waiting, free, cached, held, abandoned, tokens } = self;
        json!({
            "running": running, "waiting": waiting, "free": free, "cached": cached, "held": held,
            "abandoned": abandoned, "tokens": tokens,
        })
    }
}
