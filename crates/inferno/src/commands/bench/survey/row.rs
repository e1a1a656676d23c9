//! A row of a report: what was measured, beside what the device allows.

use serde_json::{Value as Json, json};

use super::{Samples, Work};
use crate::commands::bench::stats::short;
use crate::commands::doctor::Found;

/// Factor of the bound that a step should stay below: dispatches one after the other, and bytes at the rate of a read.
const BOUND: f64 = 1.5;

/// Limits of the device.
#[derive(Debug, Clone, Default)]
pub(super) struct Limits {
    pub(super) device: String,
    pub(super) driver: Option<String>,
    /// Seconds of an empty dispatch; `None` for the processor.
    pub(super) dispatch: Option<f64>,
    /// Bytes per second.
    pub(super) read: f64,
    /// Multiplications and additions per second, and of what.
    pub(super) flop: f64,
    pub(super) matrices: String,
}

impl Limits {
    /// Limits of the selected device, which is the first of several.
    pub(super) fn of(found: &Found) -> Limits {
        if let Some(gpu) = found.limits.first() {
            return Limits {
                device: gpu.name.clone(),
                driver: Some(gpu.driver.clone()),
                dispatch: Some(gpu.dispatch),
                read: gpu.read,
                flop: gpu.flop,
                matrices: gpu.matrices.clone(),
            };
        }
        let (flop, level) = found.matrices.clone().unwrap_or_default();
        Limits {
            device: format!("{}, {level}", found.machine.cpu),
            driver: None,
            dispatch: None,
            read: found.stream,
            flop,
            matrices: "prompts of Q8_0 in layers of the shape of Qwen3 0.6B".into(),
        }
    }
}

/// Work that was measured.
pub(super) struct Measured {
    pub(super) work: Work,
    pub(super) seconds: Samples,
    /// `None` for prompts.
    pub(super) bytes_per_step: Option<f64>,
    /// Operations on weights, in all.
    pub(super) flop: f64,
    /// Of a sample; `None` for the processor.
    pub(super) n_dispatches: Option<f64>,
}

/// A row.
pub(super) struct Row {
    pub(super) model: String,
    pub(super) work: String,
    pub(super) outcome: Result<Measured, String>,
}

/// Name of the work, for people.
pub(super) fn title(work: Work) -> String {
    match work {
        Work::Prompt { n_tokens } => format!("prompt of {n_tokens}"),
        Work::Decode { depth, n_sequences, .. } => {
            let streams =
                if n_sequences == 1 { "one stream".into() } else { format!("{n_sequences} streams") };
            if depth > 0 { format!("{streams} at depth {depth}") } else { streams }
        }
    }
}

impl Row {
    pub(super) fn measured(model: &str, measured: Measured) -> Row {
        Row { model: model.into(), work: title(measured.work), outcome: Ok(measured) }
    }

    pub(super) fn left_out(model: &str, work: &str, why: String) -> Row {
        Row { model: model.into(), work: work.into(), outcome: Err(why) }
    }
}

impl Measured {
    /// Steps of a sample. A prompt is one.
    fn n_steps(&self) -> f64 {
        match self.work {
            Work::Prompt { .. } => 1.0,
            Work::Decode { n_steps, .. } => n_steps as f64,
        }
    }

    pub(super) fn tokens_per_s(&self) -> Samples {
        self.seconds.map(|seconds| self.work.n_tokens() as f64 / seconds)
    }

    /// Seconds of a step.
    fn step(&self) -> f64 {
        self.seconds.median() / self.n_steps()
    }

    fn dispatches(&self) -> Option<f64> {
        self.n_dispatches.map(|n| n / self.n_steps())
    }

    /// Bytes per second over the limit, for steps that read all weights for few rows.
    fn share_of_read(&self, limits: &Limits) -> Option<f64> {
        Some(self.bytes_per_step? / self.step() / limits.read)
    }

    /// Operations per second over the limit.
    fn share_of_matrices(&self, limits: &Limits) -> f64 {
        self.flop / self.seconds.median() / limits.flop
    }

    /// Seconds that a decode step should take at most.
    fn bound(&self, limits: &Limits) -> Option<f64> {
        let launches = self.dispatches().unwrap_or(0.0) * limits.dispatch.unwrap_or(0.0);
        Some(BOUND * (launches + self.bytes_per_step? / limits.read))
    }

    /// Columns of a table after those of model and work.
    pub(super) fn cells(&self, limits: &Limits) -> [String; 6] {
        let none = || "–".to_owned();
        let percent = |share: f64| format!("{} %", short(100.0 * share));
        let milli = |seconds: f64| short(1e3 * seconds);
        [
            self.tokens_per_s().text(short),
            milli(self.step()),
            self.share_of_read(limits).map_or_else(none, percent),
            percent(self.share_of_matrices(limits)),
            self.dispatches().map_or_else(none, |n| format!("{n:.0}")),
            self.bound(limits).map_or_else(none, milli),
        ]
    }

    pub(super) fn to_json(&self, limits: &Limits) -> Json {
        json!({
            "tokens_per_s": self.tokens_per_s().to_json(),
            "seconds_per_step": self.step(),
            "bytes_per_step": self.bytes_per_step,
            "share_of_read": self.share_of_read(limits),
            "share_of_matrices": self.share_of_matrices(limits),
            "dispatches_per_step": self.dispatches(),
            "bound_seconds_per_step": self.bound(limits),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_compared_with_launches_and_bytes() {
        let limits = Limits { dispatch: Some(4e-6), read: 4e12, flop: 500e12, ..Limits::default() };
        let work = Work::Decode { n_steps: 100, depth: 0, n_sequences: 8 };
        let measured = Measured {
            work,
            seconds: Samples(vec![0.2]),
            bytes_per_step: Some(0.8e9),
            flop: 1e12,
            n_dispatches: Some(25_000.0),
        };
        // 250 dispatches take 1 ms, the bytes 0.2 ms.
        assert!((measured.bound(&limits).unwrap() - 1.8e-3).abs() < 1e-9);
        assert_eq!(measured.cells(&limits), ["4000", "2.00", "10.0 %", "1.00 %", "250", "1.80"]);
        assert_eq!(title(work), "8 streams");
        let prompt = Measured {
            work: Work::Prompt { n_tokens: 512 },
            seconds: Samples(vec![0.5]),
            bytes_per_step: None,
            flop: 1e12,
            n_dispatches: None,
        };
        assert_eq!(prompt.cells(&limits), ["1024", "500.0", "–", "0.400 %", "–", "–"]);
    }
}
