//! What was measured, for people and as JSON.

use std::fmt::Write;

use inferno_model::profile::OpTime;
use serde_json::{Value as Json, json};

use super::machine::Machine;
use super::plan::Work;
use super::runner::Sample;
use super::stats::{Samples, short};

/// All there is to say.
pub(super) struct Report {
    pub(super) machine: Machine,
    pub(super) model: Json,
    /// Name of the file, and what else a person wants to know of the run.
    pub(super) heading: String,
    pub(super) settings: Json,
    pub(super) stream_bytes: usize,
    /// What bytes per second are compared with.
    pub(super) limit: &'static str,
    pub(super) measured: Vec<Measured>,
}

/// One measurement over all repeats.
pub(super) struct Measured {
    pub(super) work: Work,
    /// Mean over the steps; `None` for prompts.
    pub(super) bytes_per_step: Option<f64>,
    pub(super) seconds: Samples,
    /// Bytes per second of the streaming reads just before and just after each sample, the faster one.
    pub(super) stream: Samples,
    pub(super) logits_hashes: Vec<u64>,
    pub(super) profile: Vec<OpTime>,
}

impl Measured {
    pub(super) fn new(work: Work, bytes_per_step: Option<f64>) -> Measured {
        let (seconds, stream) = (Samples::default(), Samples::default());
        Measured { work, bytes_per_step, seconds, stream, logits_hashes: Vec::new(), profile: Vec::new() }
    }

    pub(super) fn push(&mut self, sample: Sample, stream: f64, profile: Vec<OpTime>) {
        self.seconds.0.push(sample.seconds);
        self.stream.0.push(stream);
        self.logits_hashes.push(sample.logits_hash);
        for time in profile {
            match self.profile.iter_mut().find(|t| t.op == time.op) {
                Some(sum) => sum.add(&time),
                None => self.profile.push(time),
            }
        }
        self.profile.sort_by_key(|t| std::cmp::Reverse(t.time));
    }

    pub(super) fn tokens_per_s(&self) -> Samples {
        self.seconds.map(|s| self.work.n_tokens() as f64 / s)
    }

    /// What the steps read.
    fn bytes_per_s(&self) -> Option<Samples> {
        let Work::Decode { n_steps, .. } = self.work else { return None };
        self.bytes_per_step.map(|bytes| self.seconds.map(|s| bytes * n_steps as f64 / s))
    }

    /// All repeats gave the same logits.
    fn is_steady(&self) -> bool {
        self.logits_hashes.windows(2).all(|pair| pair[0] == pair[1])
    }

    fn hash(&self) -> String {
        match self.logits_hashes.first() {
            Some(hash) if self.is_steady() => format!("{hash:016x}"),
            Some(_) => "DIFFERENT BETWEEN REPEATS".into(),
            None => String::new(),
        }
    }

    /// `limit`: bytes per second of the fastest streaming read of all.
    fn to_json(&self, limit: f64) -> Json {
        let hashes = || self.logits_hashes.iter().map(|h| format!("{h:016x}")).collect::<Vec<_>>();
        let mut all = json!({
            "name": self.work.name(),
            "kind": match self.work { Work::Prompt { .. } => "prompt", Work::Decode { .. } => "decode" },
            "tokens": self.work.n_tokens(),
            "depth": self.work.depth(),
            "sequences": self.work.n_sequences(),
            "seconds": self.seconds.0,
            "tokens_per_s": self.tokens_per_s().to_json(),
            "logits_hash": if self.is_steady() { self.hash().into() } else { Json::from(hashes()) },
        });
        if let (Some(bytes), Some(rate)) = (self.bytes_per_step, self.bytes_per_s()) {
            all["bytes_per_step"] = bytes.into();
            all["gb_per_s"] = rate.map(|x| x / 1e9).to_json();
            all["stream_gb_per_s"] = self.stream.map(|x| x / 1e9).to_json();
            all["share_of_stream"] = rate.map(|x| x / limit).to_json();
        }
        if !self.profile.is_empty() {
            all["profile"] = self.profile.iter().map(op_json).collect();
        }
        all
    }

    fn profile_text(&self) -> String {
        let total: f64 = self.seconds.0.iter().sum();
        let mut out = format!("\n{}: where the time goes\n", self.work.name());
        let mut line = |op: &str, n_calls: &str, seconds: f64, rate: &str| {
            let share = 100.0 * seconds / total;
            let _ =
                writeln!(out, "  {op:24} {n_calls:>9} {:>10.2} ms {share:>5.1} % {rate:>9}", 1e3 * seconds);
        };
        let mut rest = total;
        for t in &self.profile {
            let seconds = t.time.as_secs_f64();
            rest -= seconds;
            let rate =
                if t.flop > 0.0 { format!("{:.1} GFLOP/s", t.flop / seconds / 1e9) } else { String::new() };
            line(&op_name(t), &t.n_calls.to_string(), seconds, &rate);
        }
        line("between operations", "", rest, "");
        let sum = |count: fn(&OpTime) -> u64| self.profile.iter().map(count).sum::<u64>();
        let (n_timed, n_calls) = (sum(|t| t.n_timed), sum(|t| t.n_calls));
        if n_timed < n_calls {
            let steps = match self.work {
                Work::Prompt { .. } => String::new(),
                Work::Decode { n_steps, .. } => format!(" in {} steps", n_steps * self.seconds.0.len()),
            };
            let _ =
                writeln!(out, "  {n_timed} of {n_calls} kernels{steps} were timed and stand for the others");
        }
        out
    }
}

fn op_name(t: &OpTime) -> String {
    match t.op.shape {
        Some((from, to)) => format!("{} {from} → {to}", t.op.name),
        None => t.op.name.into(),
    }
}

fn op_json(t: &OpTime) -> Json {
    json!({
        "operation": op_name(t),
        "calls": t.n_calls,
        "timed": t.n_timed,
        "seconds": t.time.as_secs_f64(),
        "gflop_per_s": (t.flop > 0.0).then(|| t.flop / t.time.as_secs_f64() / 1e9),
    })
}

impl Report {
    pub(super) fn to_json(&self) -> Json {
        let limit = self.stream().most();
        json!({
            "inferno": env!("CARGO_PKG_VERSION"),
            "machine": self.machine.to_json(),
            "model": self.model,
            "settings": self.settings,
            "stream": { "what": self.limit, "bytes": self.stream_bytes, "gb_per_s": self.stream().map(|x| x / 1e9).to_json() },
            "measurements": self.measured.iter().map(|m| m.to_json(limit)).collect::<Vec<_>>(),
        })
    }

    /// The streaming reads beside all measurements.
    fn stream(&self) -> Samples {
        Samples(self.measured.iter().flat_map(|m| m.stream.0.iter().copied()).collect())
    }

    pub(super) fn to_text(&self) -> String {
        let limit = self.stream().most();
        let share = format!("% of {}", self.limit);
        let mut rows = vec![["", "tok/s", "GB/s", &share, "hash of logits"].map(String::from)];
        for m in &self.measured {
            let (mut rate, mut share) = (String::new(), String::new());
            if let Some(bytes) = m.bytes_per_s() {
                rate = bytes.map(|x| x / 1e9).text(short);
                let percent = bytes.map(|x| 100.0 * x / limit);
                share = match percent.median() {
                    // No memory gives that much: the weights are read from the cache.
                    ABOVE_MEMORY.. => "fits the cache".into(),
                    _ => percent.text(|x| format!("{x:.0}")),
                };
            }
            rows.push([m.work.name(), m.tokens_per_s().text(short), rate, share, m.hash()]);
        }
        // A limit is the most that was seen: what is slower was disturbed.
        let read = short(limit / 1e9);
        rows.push([self.limit.into(), String::new(), read, String::new(), String::new()]);
        let mut out = self.heading.clone() + "\n\n" + &table(&rows);
        for m in self.measured.iter().filter(|m| !m.profile.is_empty()) {
            out += &m.profile_text();
        }
        out
    }
}

/// Percent of the fastest streaming read that no memory gives: another moment's may be a little faster than all that were
/// measured.
const ABOVE_MEMORY: f64 = 110.0;

/// Columns as wide as they need; the first is a name.
pub(in crate::commands) fn table<R: AsRef<[String]>>(rows: &[R]) -> String {
    let n_columns = rows.first().map_or(0, |row| row.as_ref().len());
    let width = |i: usize| rows.iter().map(|row| row.as_ref()[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..n_columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let cells = row.as_ref().iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("   ");
        out += line.trim_end();
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decode_is_compared_with_the_fastest_read() {
        let mut m = Measured::new(Work::Decode { n_steps: 4, depth: 0, n_sequences: 2 }, Some(1e9));
        m.push(Sample { seconds: 1.0, logits_hash: 7 }, 8e9, Vec::new());
        m.push(Sample { seconds: 0.5, logits_hash: 7 }, 10e9, Vec::new());
        assert_eq!(m.tokens_per_s().0, [8.0, 16.0]);
        let json = m.to_json(10e9);
        assert_eq!(json["share_of_stream"]["samples"], json!([0.4, 0.8]));
        assert_eq!(json["stream_gb_per_s"]["samples"], json!([8.0, 10.0]));
        assert_eq!(json["logits_hash"], "0000000000000007");
        m.push(Sample { seconds: 0.5, logits_hash: 8 }, 10e9, Vec::new());
        assert_eq!(m.hash(), "DIFFERENT BETWEEN REPEATS");
    }

    #[test]
    fn columns_are_as_wide_as_they_need() {
        let rows =
            [["".into(), "tok/s".into()], ["prompt 5".into(), "1 … 2".into()], ["x".into(), "".into()]];
        assert_eq!(table(&rows), "           tok/s\nprompt 5   1 … 2\nx\n");
    }
}
