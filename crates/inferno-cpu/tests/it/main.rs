//! Tests of the CPU backend, one binary.

mod conformance;
mod invariance;
