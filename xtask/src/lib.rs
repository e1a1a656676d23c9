//! Checks of the tree, and what the tests of several crates share.
#![forbid(unsafe_code)]

pub mod testing;
pub mod tidy;
