//! The crate as others use it: files written, read, split, changed under us; blocks and what they mean.
//! (Malformed files are in `tests/bad_gguf`.)
#![allow(clippy::unwrap_used, reason = "a test")]

mod files;
mod quant;
mod real_files;
mod split;
mod writer;
