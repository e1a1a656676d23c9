//! A report as JSON.

use serde_json::{Value, json as object};

use super::{Report, Row, curl};

/// Longest body in a report, in bytes.
const MOST_BYTES: usize = 4 << 20;

/// The report as one JSON object; `url` is the server's address.
///
/// Failures have `request` (with its body as text, cut after 4 MiB) and `response`; keys are in neither.
pub fn json(report: &Report, url: &str, has_key: bool) -> Value {
    let rows: Vec<Value> = report.rows.iter().map(|row| check(row, url, has_key)).collect();
    object!({
        "url": url,
        "model": report.model,
        "server": report.server,
        "seconds": report.took.as_secs_f64(),
        "summary": {
            "passed": report.count("passed"),
            "failed": report.count("failed"),
            "not_offered": report.count("not offered"),
            "skipped": report.count("skipped"),
        },
        "checks": rows,
    })
}

/// A body as text, cut after [`MOST_BYTES`].
fn shown(body: &[u8]) -> String {
    let start = String::from_utf8_lossy(&body[..body.len().min(MOST_BYTES)]);
    match body.len() {
        0..=MOST_BYTES => start.into_owned(),
        n => format!("{start} … ({n} bytes)"),
    }
}

fn check(row: &Row, url: &str, has_key: bool) -> Value {
    let mut value = object!({
        "name": row.name,
        "dialect": row.dialect.name(),
        "outcome": row.outcome.name().replace(' ', "_"),
        "why": row.outcome.why(),
        "loses": row.loses,
        "source": row.source,
        "seconds": row.took.as_secs_f64(),
    });
    if let Some(request) = &row.request {
        let body = request.body.as_deref().map(shown);
        value["request"] = object!({
            "method": request.method,
            "path": request.path,
            "body": body,
            "curl": curl(url, request, has_key),
        });
    }
    if let Some(answer) = &row.answer {
        value["response"] = object!({ "status": answer.status, "part": row.excerpt(20_000) });
    }
    value
}
