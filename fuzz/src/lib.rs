//! Fuzz targets: functions of arbitrary bytes that panic where a promise about foreign input is broken.
//!
//! Each target has an oracle that is stronger than "no panic"; docs/fuzzing.md lists them. Three drivers share the targets: libFuzzer
//! (`fuzz/libfuzzer`, started by `fuzz/run`), the replay of the corpus and a short mutation loop (`tests/it`).
//!
//! Start with [`TARGETS`].
#![forbid(unsafe_code)]

mod panics;
mod target;
mod targets;

pub use panics::{caught_panics, watch_panics};
pub use target::{TARGETS, Target};
