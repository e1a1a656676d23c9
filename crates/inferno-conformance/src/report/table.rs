//! A report for people: a line for each check, more for a failure.

use super::{Outcome, Report, Row, curl};
use crate::check::Dialect;

/// Longest part of an answer that is shown, in characters.
const EXCERPT: usize = 600;

/// Prints rows as they come, grouped by dialect.
#[derive(Debug)]
pub struct Table {
    url: String,
    has_key: bool,
    open: Option<Dialect>,
}

impl Table {
    /// `url` is the server's address, for `curl` lines.
    pub fn new(url: &str, has_key: bool) -> Table {
        Table { url: url.to_owned(), has_key, open: None }
    }

    /// The lines of the next row; empty for all but the first row of a dialect that the server does not have.
    pub fn row(&mut self, row: &Row) -> String {
        let mut text = String::new();
        let is_first = self.open.replace(row.dialect) != Some(row.dialect);
        if is_first {
            text += &format!("{}\n", row.dialect.name());
        }
        if row.is_dialect_absent {
            return if is_first {
                text + &format!("  --    not offered: {}\n", shown(&row.outcome))
            } else {
                text
            };
        }
        text += &match &row.outcome {
            Outcome::Passed => format!("  ok    {}\n", row.name),
            Outcome::Failed(why) => format!("  FAIL  {}: {}\n        {why}\n", row.name, row.loses),
            Outcome::NotOffered(why) => format!("  --    {}: not offered, {why}\n", row.name),
            Outcome::Skipped(why) => format!("  skip  {}: {why}\n", row.name),
        };
        if matches!(row.outcome, Outcome::Failed(_)) {
            text += &format!("        rule: {}\n", row.source);
            if let Some(request) = &row.request {
                text += &format!("        {}\n", curl(&self.url, request, self.has_key));
            }
            if let Some(part) = row.excerpt(EXCERPT) {
                let status = row.answer.as_ref().map_or(0, |answer| answer.status);
                text += &format!("        {status}: {}\n", part.replace('\n', "\n        "));
            }
        }
        text
    }

    /// The end: numbers for each dialect, and of all.
    pub fn summary(&self, report: &Report) -> String {
        let mut text =
            format!("\n{:<13}{:>8}{:>8}{:>13}{:>9}\n", "", "passed", "failed", "not offered", "skipped");
        for dialect in Dialect::ALL {
            let n = |name: &str| report.of(dialect).filter(|row| row.outcome.name() == name).count();
            if report.of(dialect).next().is_some() {
                let counts = (n("passed"), n("failed"), n("not offered"), n("skipped"));
                text += &format!(
                    "{:<13}{:>8}{:>8}{:>13}{:>9}\n",
                    dialect.name(),
                    counts.0,
                    counts.1,
                    counts.2,
                    counts.3
                );
            }
        }
        text + &format!(
            "\n{} in {:.1} s: {}, model {}\n",
            report.summary(),
            report.took.as_secs_f64(),
            self.url,
            report.model
        )
    }
}

fn shown(outcome: &Outcome) -> &str {
    outcome.why().unwrap_or_default()
}
