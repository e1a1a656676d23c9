//! Is anything else at work on this machine? llama.cpp's threads wait for each other without sleeping, and one that has
//! lost its core to another program costs them most of their speed: such a sample says nothing. On Linux alone; where
//! nothing can be told, all is taken for quiet.

use std::time::{Duration, Instant};

/// Of all processors, what other programs may use during a sample.
const MOST: f64 = 0.05;
/// And this many ticks: time is counted in them.
const SLACK: f64 = 3.0;
/// How long to wait for them, before a sample.
const PATIENCE: Duration = Duration::from_secs(300);
/// How often a sample is taken anew.
const N_TRIES: usize = 3;

/// Ticks of processor time since the machine was started.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Ticks {
    /// Of all programs.
    busy: f64,
    /// And of none.
    all: f64,
}

/// Takes a sample of the program `pid` while nothing else is at work, or says that it could not be had.
pub(super) fn sample<T>(pid: u32, mut take: impl FnMut() -> super::Result<T>) -> super::Result<(T, bool)> {
    for _ in 0..N_TRIES {
        wait(PATIENCE);
        let (sample, was_quiet) = watch(&[pid], &mut take);
        if was_quiet {
            return Ok((sample?, true));
        }
        sample?;
        eprint!(" (disturbed)");
    }
    Ok((take()?, false))
}

/// Does something, and says whether nothing but these programs was at work.
pub(crate) fn watch<T>(pids: &[u32], take: impl FnOnce() -> T) -> (T, bool) {
    let own = || pids.iter().map(|&pid| own_ticks(pid)).sum::<f64>();
    let (before, own_before) = (ticks(), own());
    let taken = take();
    let was_quiet = others(before, ticks(), own() - own_before + SLACK) <= MOST;
    (taken, was_quiet)
}

/// Until nothing is at work, or patience ends.
pub(crate) fn wait(patience: Duration) {
    let start = Instant::now();
    while start.elapsed() < patience {
        let before = ticks();
        std::thread::sleep(Duration::from_millis(300));
        if others(before, ticks(), 0.0) <= MOST {
            return;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Until the program `pid` does nothing, or patience ends: whether it came to rest.
pub(crate) fn settle(pid: u32, patience: Duration) -> bool {
    let start = Instant::now();
    while start.elapsed() < patience {
        let before = own_ticks(pid);
        std::thread::sleep(Duration::from_millis(300));
        if own_ticks(pid) - before <= 1.0 {
            return true;
        }
    }
    false
}

/// The share of all processors that others had.
fn others(before: Option<Ticks>, after: Option<Ticks>, own: f64) -> f64 {
    match (before, after) {
        (Some(before), Some(after)) if after.all > before.all => {
            (after.busy - before.busy - own).max(0.0) / (after.all - before.all)
        }
        _ => 0.0,
    }
}

fn ticks() -> Option<Ticks> {
    parse_ticks(&std::fs::read_to_string("/proc/stat").ok()?)
}

/// The first line: user, nice, system, idle, waiting for a disk, interrupts (two kinds), taken by the host.
fn parse_ticks(text: &str) -> Option<Ticks> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let n: Vec<f64> = line.split_whitespace().take(8).filter_map(|x| x.parse().ok()).collect();
    let &[user, nice, system, idle, waiting, hard, soft, stolen] = &n[..] else { return None };
    let busy = user + nice + system + hard + soft;
    Some(Ticks { busy, all: busy + idle + waiting + stolen })
}

/// Of one program, all its threads.
fn own_ticks(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    parse_own_ticks(&text).unwrap_or(0.0)
}

/// User and system time are the fields 14 and 15; the second field is a name in parentheses, which may hold anything.
fn parse_own_ticks(text: &str) -> Option<f64> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_used_is_what_is_left() {
        let before = parse_ticks("cpu  100 0 10 1000 0 0 0 0 0 0\ncpu0 1 2\n");
        let after = parse_ticks("cpu  290 0 20 1000 0 0 0 0 0 0\n");
        assert_eq!(before, Some(Ticks { busy: 110.0, all: 1110.0 }));
        assert_eq!(others(before, after, 150.0), 0.25);
        assert_eq!(others(before, after, 250.0), 0.0);
        assert_eq!(others(None, after, 0.0), 0.0);
        assert_eq!(parse_ticks("something else"), None);
    }

    #[test]
    fn a_name_may_hold_anything() {
        let text = "42 (a ) b) S 1 1 1 0 -1 0 0 0 0 0 30 12 0 0 20";
        assert_eq!(parse_own_ticks(text), Some(42.0));
        assert_eq!(parse_own_ticks(""), None);
    }
}
