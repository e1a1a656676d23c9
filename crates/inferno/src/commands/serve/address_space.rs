//! The limit on this process's address space (`ulimit -v`): it has to leave room beside the model. Where it leaves none, an
//! allocation of a few bytes fails later, which ends the program.

use anyhow::{Result, ensure};

use crate::kv_memory::shown;

/// Bytes needed before the model is loaded: the C library reserves 64 MiB for the heap of each of the first threads, and
/// twice as much for a moment. A thread without a heap takes a page and six system calls for every allocation.
const TO_LOAD: u64 = 320 << 20;
/// Bytes needed once it is loaded: stacks of threads that start with the first requests, and a request that is read.
const TO_SERVE: u64 = 48 << 20;

/// Checks the room for threads and for loading. To be called before there are threads.
///
/// # Errors
/// The limit leaves too little.
pub(super) fn check_before_loading() -> Result<()> {
    let Some(AddressSpace { limit, used }) = AddressSpace::of_this_process() else { return Ok(()) };
    let least = used.saturating_add(TO_LOAD);
    ensure!(
        limit >= least,
        "the limit on address space, {}, is too low: a server needs {} beside the model, raise the limit (`ulimit -v`)",
        shown(limit),
        shown(least)
    );
    Ok(())
}

/// Checks the room for requests beside a model that is loaded.
///
/// # Errors
/// The limit leaves too little.
pub(super) fn check_loaded() -> Result<()> {
    let Some(AddressSpace { limit, used }) = AddressSpace::of_this_process() else { return Ok(()) };
    let least = used.saturating_add(TO_SERVE);
    ensure!(
        limit >= least,
        "the limit on address space, {}, is too low: with this model a server needs {}, raise the limit (`ulimit -v`) or \
         ask for less with `--kv-memory`",
        shown(limit),
        shown(least)
    );
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
struct AddressSpace {
    limit: u64,
    used: u64,
}

impl AddressSpace {
    /// `None` where there is no limit, or the system does not say.
    fn of_this_process() -> Option<AddressSpace> {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).ok();
        AddressSpace::parse(&read("limits")?, &read("status")?)
    }

    fn parse(limits: &str, status: &str) -> Option<AddressSpace> {
        let word = |text: &str, name: &str| -> Option<u64> {
            let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
            rest.split_whitespace().next()?.parse().ok()
        };
        Some(AddressSpace { limit: word(limits, "Max address space")?, used: word(status, "VmSize:")? << 10 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_and_what_is_used_are_read() {
        let limits = |soft: &str| {
            format!(
                "Limit    Soft Limit   Hard Limit   Units\nMax address space    {soft}    unlimited    bytes\n"
            )
        };
        let status = "Name:\tinferno\nVmPeak:\t  9000 kB\nVmSize:\t    2048 kB\n";
        let found = AddressSpace::parse(&limits("104857600"), status);
        assert_eq!(found, Some(AddressSpace { limit: 100 << 20, used: 2 << 20 }));
        assert_eq!(AddressSpace::parse(&limits("unlimited"), status), None);
        assert_eq!(AddressSpace::parse("", ""), None);
    }
}
