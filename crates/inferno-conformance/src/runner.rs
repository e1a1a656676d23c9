//! All checks in turn, against one server.

use std::time::Instant;

use serde_json::Value;

use crate::check::{Check, Dialect, checks};
use crate::dialect;
use crate::exchange::{Broken, Request, Transport};
use crate::probe::{Probe, Stop, cut};
use crate::report::{Outcome, Report, Row};

/// Requests in a row whose time is over, after which the server counts as one that hangs.
const MOST_LATE: usize = 4;

/// Choice of checks, and values that they need.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Model to ask for; the first of `GET /v1/models` without it.
    pub model: Option<String>,
    /// Dialects to check; empty is all.
    pub dialects: Vec<Dialect>,
    /// Names of checks or groups of checks; empty is all.
    pub only: Vec<String>,
    /// Requests at once in checks of load.
    pub concurrency: usize,
    /// A key is sent with each request.
    pub has_key: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { model: None, dialects: Vec::new(), only: Vec::new(), concurrency: 8, has_key: false }
    }
}

impl Settings {
    /// The checks that are chosen.
    pub fn checks(&self) -> Vec<Check> {
        let is_wanted = |check: &Check| {
            (self.dialects.is_empty() || self.dialects.contains(&check.dialect()))
                && (self.only.is_empty() || self.only.iter().any(|name| check.is_named(name)))
        };
        checks().into_iter().filter(is_wanted).collect()
    }
}

/// No server answers, or its answers cannot be checked at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreachable(pub String);

impl std::fmt::Display for Unreachable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreachable {}

/// Runs the chosen checks, and gives `watch` each row as soon as it is there.
///
/// # Errors
/// The server cannot be reached, now or in the middle, or it lists no model and none is named.
pub fn run(
    transport: &dyn Transport,
    settings: &Settings,
    mut watch: impl FnMut(&Row),
) -> Result<Report, Unreachable> {
    let start = Instant::now();
    let (model, server) = first_look(transport, settings.model.as_deref())?;
    let probe = Probe::new(transport, model.clone(), settings.concurrency.max(2), settings.has_key);
    let mut rows = Vec::new();
    let mut missing: Vec<(Dialect, Option<String>)> = Vec::new();
    for check in settings.checks() {
        let dialect = check.dialect();
        let known = missing.iter().find(|known| known.0 == dialect).map(|known| known.1.clone());
        let absent = match known {
            Some(absent) => absent,
            None => {
                let absent = dialect::absence(&probe, dialect);
                missing.push((dialect, absent.clone()));
                absent
            }
        };
        let row = match absent {
            _ if probe.n_late() >= MOST_LATE => {
                let why = format!("{MOST_LATE} requests in a row did not end in time (`--timeout`)");
                Row::new(&check, Outcome::Skipped(why))
            }
            Some(why) => Row { is_dialect_absent: true, ..Row::new(&check, Outcome::NotOffered(why)) },
            None => row(&check, &probe),
        };
        if probe.is_lost()
            && let Err(Broken::Unreachable(why)) = transport.send(&Request::get("/v1/models"))
        {
            return Err(Unreachable(format!("the server went away in `{}`: {why}", check.name)));
        }
        watch(&row);
        rows.push(row);
    }
    Ok(Report { model, server, rows, took: start.elapsed() })
}

fn row(check: &Check, probe: &Probe<'_>) -> Row {
    let start = Instant::now();
    let verdict = (check.run)(probe);
    let shown = probe.take_last();
    let mut row = Row::new(check, Outcome::Passed);
    row.took = start.elapsed();
    match verdict {
        Ok(()) => {}
        Err(Stop::Skipped(why)) => row.outcome = Outcome::Skipped(why),
        Err(Stop::NotOffered(why)) => row.outcome = Outcome::NotOffered(why),
        Err(Stop::Failed { why, part }) => {
            row.outcome = Outcome::Failed(why);
            row.part = part;
            if let Some((request, answer)) = shown {
                row.request = Some(request);
                row.answer = answer.map(std::rc::Rc::unwrap_or_clone);
            }
        }
    }
    row
}

/// The model to ask for, and the server's name for itself.
fn first_look(
    transport: &dyn Transport,
    model: Option<&str>,
) -> Result<(String, Option<String>), Unreachable> {
    let answer = match transport.send(&Request::get("/v1/models")) {
        Ok(answer) => answer,
        Err(broken) => return Err(Unreachable(broken.to_string())),
    };
    let server = answer.header("server").map(|name| cut(name, 80));
    if let Some(model) = model {
        return Ok((model.to_owned(), server));
    }
    if matches!(answer.status, 401 | 403) {
        let why = format!("the server wants a key ({}): give `--api-key`", answer.status);
        return Err(Unreachable(why));
    }
    let listed = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
    if let Some(id) = listed["data"][0]["id"].as_str() {
        return Ok((id.to_owned(), server));
    }
    // An Ollama without OpenAI's routes lists its models here.
    let tags = transport.send(&Request::get("/api/tags")).ok();
    let tags = tags.and_then(|answer| serde_json::from_slice::<Value>(&answer.body).ok()).unwrap_or_default();
    match tags["models"][0]["name"].as_str() {
        Some(name) => Ok((name.to_owned(), server)),
        None => Err(Unreachable(format!(
            "the server lists no model (GET /v1/models is {}): name one with `--model`",
            answer.status
        ))),
    }
}
