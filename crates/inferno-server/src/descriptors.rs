//! The process's limit on open files, and the connections it leaves room for.

/// Descriptors kept for everything but connections: the listener, the log, files that are read again, child processes,
/// connections that are being closed.
pub(crate) const RESERVED: usize = 24;

/// Places for connections: `wanted`, or as many as the limit on open files allows.
pub(crate) fn places(wanted: usize) -> usize {
    std::fs::read_to_string("/proc/self/limits")
        .ok()
        .and_then(|limits| open_files(&limits))
        .map_or(wanted, |limit| wanted.min(within(limit)))
}

/// The soft limit on open files in the text of `/proc/self/limits`; `None` if there is no limit.
fn open_files(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Connections that fit under a limit of `limit` open files.
fn within(limit: usize) -> usize {
    limit.saturating_sub(RESERVED).max(limit / 3).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_limit_on_open_files_leaves_fewer_places() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max cpu time              unlimited            unlimited            seconds   \n\
                      Max open files            64                   4096                 files     \n";
        assert_eq!(open_files(limits), Some(64));
        assert_eq!(
            open_files("Max open files            unlimited            unlimited            files"),
            None
        );
        assert_eq!(open_files(""), None);
        assert_eq!([within(64), within(30), within(1), within(1 << 20)], [40, 10, 1, (1 << 20) - 24]);
        assert!(places(1) == 1);
    }
}
