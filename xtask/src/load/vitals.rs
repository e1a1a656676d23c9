//! A process as Linux shows it; elsewhere nothing is known.

use serde_json::{Value as Json, json};

use super::Result;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Vitals {
    /// Resident memory.
    pub(super) rss_bytes: u64,
    pub(super) n_threads: u64,
    pub(super) n_files: u64,
}

impl Vitals {
    pub(super) fn of(pid: u32) -> Option<Vitals> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let n_files = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64;
        Vitals::parse(&status, n_files)
    }

    pub(super) fn parse(status: &str, n_files: u64) -> Option<Vitals> {
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            value.split_whitespace().next()?.parse::<u64>().ok()
        };
        Some(Vitals { rss_bytes: field("VmRSS")? * 1024, n_threads: field("Threads")?, n_files })
    }

    pub(super) fn to_json(self) -> Json {
        json!({ "rss_bytes": self.rss_bytes, "threads": self.n_threads, "files": self.n_files })
    }
}

/// Whether this process may open so many files.
pub(crate) fn check_files(n: usize) -> Result<()> {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    match soft_limit(&limits) {
        Some(limit) if limit < n => {
            Err(format!("{n} open files are needed and {limit} allowed: run `ulimit -n {n}` before"))
        }
        _ => Ok(()),
    }
}

pub(super) fn soft_limit(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}
