//! `inferno conformance`: a server against the rules of its clients.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use inferno_conformance::{Check, Http, Settings, Table, checks, json, junit, run};

use super::{note, print};
use crate::{cli, exit, terminal};

pub(crate) fn conformance(args: &cli::Conformance) -> Result<ExitCode> {
    let settings = Settings {
        model: args.served_model.clone(),
        dialects: args.dialect.clone(),
        only: args.only.clone(),
        concurrency: args.concurrency.into(),
        has_key: args.api_key.is_some(),
    };
    if let Some(name) = args.only.iter().find(|name| !checks().iter().any(|check| check.is_named(name))) {
        bail!("there is no check `{}`: `inferno conformance --list` prints their names", name.escape_debug());
    }
    let chosen = settings.checks();
    if chosen.is_empty() {
        bail!("`--only` and `--dialect` together leave no check");
    }
    let Some(url) = args.url.as_deref().filter(|_| !args.list) else {
        print(list(&chosen).as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    };
    // A server may be given several keys where a client has one.
    let key = args.api_key.as_deref().and_then(|keys| keys.split(',').next());
    let server = Http::new(url, key, Duration::from_secs(args.timeout)).map_err(anyhow::Error::msg)?;
    let is_shown = args.json.as_deref() != Some(Path::new("-"));
    let mut table = Table::new(server.base(), key.is_some());
    let mut printed = Ok(());
    let report = run(&server, &settings, |row| {
        if is_shown && printed.is_ok() {
            printed = print(terminal::visible(&table.row(row)).as_bytes());
        }
    });
    printed?;
    let report = match report {
        Ok(report) => report,
        Err(e) => {
            note(&format!("error: {}: {e}", server.base()));
            return Ok(ExitCode::from(exit::USAGE));
        }
    };
    if is_shown {
        print(terminal::visible(&table.summary(&report)).as_bytes())?;
    }
    if let Some(path) = &args.json {
        let text = format!("{:#}\n", json(&report, server.base(), key.is_some()));
        if is_shown {
            write(path, &text)?;
        } else {
            print(terminal::json(&text).as_bytes())?;
        }
    }
    if let Some(path) = &args.junit {
        write(path, &junit(&report, server.base(), key.is_some()))?;
    }
    Ok(if report.count("failed") > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

/// A line for each check, and one for the loss of a client.
fn list(checks: &[Check]) -> String {
    let line = |check: &Check| format!("{:<36}{}\n    {}\n", check.name, check.source, check.loses);
    checks.iter().map(line).collect()
}
