//! Results of a run, and their forms for machines.

use std::time::Duration;

use crate::check::{Check, Dialect};
use crate::exchange::{Answer, Request};

mod curl;
mod json;
mod junit;
mod table;

pub use curl::curl;
pub use json::json;
pub use junit::junit;
pub use table::Table;

/// Result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The rule holds.
    Passed,
    /// The rule is broken, and how.
    Failed(String),
    /// The server has no such API or feature, and says so.
    NotOffered(String),
    /// Nothing could be told, and why.
    Skipped(String),
}

impl Outcome {
    /// `passed`, `failed`, `not offered` or `skipped`.
    pub fn name(&self) -> &'static str {
        match self {
            Outcome::Passed => "passed",
            Outcome::Failed(_) => "failed",
            Outcome::NotOffered(_) => "not offered",
            Outcome::Skipped(_) => "skipped",
        }
    }

    /// The reason, if there is one to tell.
    pub fn why(&self) -> Option<&str> {
        match self {
            Outcome::Passed => None,
            Outcome::Failed(why) | Outcome::NotOffered(why) | Outcome::Skipped(why) => Some(why),
        }
    }
}

/// A check with its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Name of the check.
    pub name: &'static str,
    /// Its API.
    pub dialect: Dialect,
    /// The loss of a client where the rule is broken.
    pub loses: &'static str,
    /// Program or document that has the rule.
    pub source: &'static str,
    /// The result.
    pub outcome: Outcome,
    /// The server has none of the dialect, so that nothing was asked.
    pub is_dialect_absent: bool,
    /// Time of all of the check's requests.
    pub took: Duration,
    /// The request that shows the failure.
    pub request: Option<Request>,
    /// The answer to it.
    pub answer: Option<Answer>,
    /// The part of the answer that shows the failure; its start without it.
    pub part: Option<String>,
}

impl Row {
    pub(crate) fn new(check: &Check, outcome: Outcome) -> Row {
        Row {
            name: check.name,
            dialect: check.dialect(),
            loses: check.loses,
            source: check.source,
            outcome,
            is_dialect_absent: false,
            took: Duration::ZERO,
            request: None,
            answer: None,
            part: None,
        }
    }

    /// The part of the answer that shows a failure, at most `n` characters.
    pub fn excerpt(&self, n: usize) -> Option<String> {
        let text = self.part.clone().or_else(|| self.answer.as_ref().map(Answer::text))?;
        Some(crate::probe::cut(text.trim(), n))
    }
}

/// Results of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Model that was asked for.
    pub model: String,
    /// The header `server`.
    pub server: Option<String>,
    /// Checks in order.
    pub rows: Vec<Row>,
    /// Time of the whole run.
    pub took: Duration,
}

impl Report {
    /// Number of rows with an outcome of this name.
    pub fn count(&self, outcome: &str) -> usize {
        self.rows.iter().filter(|row| row.outcome.name() == outcome).count()
    }

    /// Rows of a dialect.
    pub fn of(&self, dialect: Dialect) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.dialect == dialect)
    }

    /// `96 passed, 2 failed, 14 not offered, 4 skipped`.
    pub fn summary(&self) -> String {
        let counts = ["passed", "failed", "not offered", "skipped"].map(|name| (self.count(name), name));
        let shown = counts.iter().filter(|count| count.0 > 0 || count.1 == "passed");
        shown.map(|(n, name)| format!("{n} {name}")).collect::<Vec<_>>().join(", ")
    }
}
