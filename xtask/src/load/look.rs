//! The server before and after a scenario: what requests that are over have left behind.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::Result;
use super::args::POOL_BYTES;
use super::client::Client;
use super::metrics::Metrics;
use super::target::Target;
use super::vitals::Vitals;

/// State of the server at one moment: its metrics, and its process if that is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) metrics: Metrics,
    pub(super) vitals: Option<Vitals>,
}

impl Look {
    pub(super) fn at(target: &Target) -> Result<Look> {
        let mut client = Client::of_single_requests(target);
        Ok(Look { metrics: Metrics::of(&mut client)?, vitals: target.pid.and_then(Vitals::of) })
    }

    pub(super) fn to_json(self) -> Json {
        json!({ "metrics": self.metrics.to_json(), "process": self.vitals.map(Vitals::to_json) })
    }
}

/// The first look that shows nothing left of requests (without `before`: an idle server), or the last one when patience ends.
pub(super) fn settled(target: &Target, before: Option<Look>) -> Result<Look> {
    let end = Instant::now() + target.patience.min(MOST_SETTLING);
    loop {
        let look = Look::at(target)?;
        let is_right = match before {
            None => look.metrics.is_idle(),
            Some(before) => remains(before, look).is_empty(),
        };
        if is_right || Instant::now() >= end {
            return Ok(look);
        }
        sleep(Duration::from_millis(100));
    }
}

const MOST_SETTLING: Duration = Duration::from_secs(30);

/// A connection that was closed a moment ago may still be open on the other side.
const SPARE_FILES: u64 = 4;

/// Memory beyond that at the start: the rest of the pool of keys and values, and this.
const MOST_GROWN: u64 = 64 << 20;

/// Places, pages and memory left behind by requests that are all over.
pub(super) fn remains(before: Look, after: Look) -> Vec<String> {
    let Metrics { running, waiting, held, .. } = after.metrics;
    let mut remains = Vec::new();
    for (n, what) in [(running, "sequences run"), (waiting, "sequences wait"), (held, "pages are held")] {
        if n > 0 {
            remains.push(format!("{n} {what} after all requests"));
        }
    }
    let (pages, left) = (before.metrics.pages(), after.metrics.free + after.metrics.cached);
    if pages != left {
        remains.push(format!("{left} pages are free or cached, {pages} were there at the start"));
    }
    if let (Some(before), Some(after)) = (before.vitals, after.vitals)
        && after.n_files > before.n_files + SPARE_FILES
    {
        remains.push(format!("{} files are open, {} were at the start", after.n_files, before.n_files));
    }
    if let (Some(before), Some(after)) = (before.vitals, after.vitals)
        && after.rss_bytes > before.rss_bytes + POOL_BYTES + MOST_GROWN
    {
        let [after, before] = [after, before].map(|vitals| vitals.rss_bytes >> 20);
        remains.push(format!("{after} MiB are taken, {before} were at the start"));
    }
    remains
}
