//! Downloads from a hub on this machine, which behaves as badly as asked.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fake;
mod faults;
mod kill;
mod names;
