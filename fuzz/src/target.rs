//! The table of targets.

use crate::targets;

/// A function of arbitrary bytes, and how to make bytes for it.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name on the command line, and that of its folder in `corpus/`.
    pub name: &'static str,
    /// Panics where a promise is broken.
    pub check: fn(&[u8]),
    /// Longest input that is worth trying, in bytes.
    pub max_len: usize,
    /// Inputs that are made from other files of the repository, beside those in `corpus/`.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words that inputs are made of.
    pub words: &'static [&'static str],
}

/// All targets.
pub const TARGETS: &[Target] = &[
    targets::gguf::TARGET,
    targets::model::TARGET,
    targets::tokenizer::TARGET,
    targets::template::TARGET,
    targets::messages::TARGET,
    targets::reply::TARGET,
    targets::grammar::TARGET,
    targets::bodies::TARGET,
    targets::http::TARGET,
    targets::cache_file::TARGET,
    targets::hub::TARGET,
];

impl Target {
    /// The target of this name.
    pub fn find(name: &str) -> Option<&'static Target> {
        TARGETS.iter().find(|target| target.name == name)
    }
}
