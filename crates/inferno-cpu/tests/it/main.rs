//! Tests of the CPU backend, one binary.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod conformance;
mod goldens;
mod invariance;
mod rows;
