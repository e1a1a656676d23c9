//! External test data: `INFERNO_DATA`, or `../shared/data` beside the checkout.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use inferno_format::{Gguf, Metadata};
use inferno_text::Tokenizer;

/// The data directory. Without it says so on stderr, past the test harness's capture, or fails if
/// `INFERNO_REQUIRE` has `data` in it.
pub(crate) fn dir() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let dir = std::env::var_os("INFERNO_DATA").map_or_else(beside, PathBuf::from);
    if dir.join("tokenizers").is_dir() {
        return Some(dir);
    }
    let required = std::env::var("INFERNO_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|r| r == "data"), "INFERNO_REQUIRE has `data`, and there is none");
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("SKIPPED: {test}: no data directory (set INFERNO_DATA)\n");
    std::io::stderr().lock().write_all(line.as_bytes()).expect("stderr is open");
    None
}

pub(crate) fn metadata(path: &Path) -> Metadata {
    Gguf::open(path).unwrap().metadata().clone()
}

/// Every vocabulary there is, by name.
pub(crate) fn tokenizers() -> Vec<(String, Tokenizer)> {
    let Some(dir) = dir() else { return Vec::new() };
    let mut all = Vec::new();
    for entry in dir.join("tokenizers").read_dir().unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap();
        if let Some(name) = file.strip_suffix("-vocab.gguf") {
            all.push((name.to_owned(), Tokenizer::from_metadata(&metadata(&path)).unwrap()));
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(!all.is_empty());
    all
}
