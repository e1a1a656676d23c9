//! Downloads from a hub on this machine, which behaves as badly as asked.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fake;
mod faults;
#[cfg(target_os = "linux")]
mod full_disk;
mod kill;
mod names;
