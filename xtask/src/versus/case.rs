//! What is compared.

use super::Result;
use crate::peer::samples::Samples;

pub(super) const ANSWER_TOKENS: usize = 64;
pub(super) const N_WARM: usize = 8;
pub(super) const SHORT_ANSWER: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    /// So many clients at once, with prompts of their own.
    Streams(usize),
    SharedPrefix,
    Overload,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) unit: Unit,
    /// A ratio to reach, and one to go on to: ours over theirs.
    pub(super) bars: Option<[f64; 2]>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Unit {
    /// Per second: more is better.
    Rate,
    /// Milliseconds: less is better.
    Time,
    /// Of all requests; no ratios of it.
    Share,
}

/// What a case came to: samples of each metric, one per round.
pub(super) struct Outcome {
    pub(super) ours: Vec<Samples>,
    pub(super) theirs: Vec<Samples>,
    pub(super) note: String,
    /// Samples during which other programs were at work.
    pub(super) n_disturbed: usize,
}

const fn metric(name: &'static str, unit: Unit) -> Metric {
    Metric { name, unit, bars: None }
}

const STREAMS: [Metric; 3] = [
    metric("tokens/s", Unit::Rate),
    metric("time to first token, median", Unit::Time),
    metric("time to first token, max", Unit::Time),
];

const STREAMS_8: [Metric; 3] = [
    Metric { bars: Some([3.0, 5.0]), ..STREAMS[0] },
    Metric { bars: Some([0.25, 0.125]), ..STREAMS[1] },
    STREAMS[2],
];

const SHARED_PREFIX: [Metric; 3] = [
    metric("warm: tokens/s", Unit::Rate),
    metric("warm: time to first token, median", Unit::Time),
    metric("cold: time to first token", Unit::Time),
];

const OVERLOAD: [Metric; 7] = [
    metric("requests/s done", Unit::Rate),
    metric("tokens/s of those", Unit::Rate),
    metric("refused", Unit::Share),
    metric("given up by the client, or failed", Unit::Share),
    metric("refusal, p99", Unit::Time),
    metric("served: time to first token, median", Unit::Time),
    metric("served: time to first token, p99", Unit::Time),
];

impl Case {
    pub(super) const ALL: [Case; 5] =
        [Case::Streams(1), Case::Streams(8), Case::Streams(32), Case::SharedPrefix, Case::Overload];

    pub(super) fn name(self) -> String {
        match self {
            Case::Streams(n) => format!("streams-{n}"),
            Case::SharedPrefix => "shared-prefix".into(),
            Case::Overload => "overload".into(),
        }
    }

    pub(super) fn named(name: &str) -> Result<Case> {
        let found = Case::ALL.into_iter().find(|case| case.name() == name);
        found.ok_or_else(|| format!("there is no case `{name}`, `--list` has the names"))
    }

    pub(super) fn title(self) -> String {
        match self {
            Case::Streams(n) => format!("{n} at once, 112-token prompts, {ANSWER_TOKENS} tokens each"),
            Case::SharedPrefix => format!("a long prefix, then {N_WARM} at once that share it"),
            Case::Overload => "10 times too many".into(),
        }
    }

    /// Requests that are answered at the same time.
    pub(super) fn n_streams(self) -> usize {
        match self {
            Case::Streams(n) => n,
            Case::SharedPrefix => N_WARM,
            Case::Overload => super::rival::N_SEQUENCES,
        }
    }

    /// The first one is a rate.
    pub(super) fn metrics(self) -> &'static [Metric] {
        match self {
            Case::Streams(8) => &STREAMS_8,
            Case::Streams(_) => &STREAMS,
            Case::SharedPrefix => &SHARED_PREFIX,
            Case::Overload => &OVERLOAD,
        }
    }
}

/// No two samples of a server have the same prompts.
pub(super) fn seed(case: Case, round: usize) -> u64 {
    let at = Case::ALL.iter().position(|&other| other == case).expect("all cases are there");
    (at as u64 + 1) << 32 | round as u64
}
