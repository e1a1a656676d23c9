//! Vocabularies of the test data that is not in the repository.

use std::path::Path;

use inferno_format::{Gguf, Metadata};
use inferno_text::Tokenizer;

pub(crate) fn metadata(path: &Path) -> Metadata {
    Gguf::open(path).unwrap().metadata().clone()
}

/// Every vocabulary there is, by name.
pub(crate) fn tokenizers() -> Vec<(String, Tokenizer)> {
    let Some(dir) = xtask::testing::data("tokenizers") else { return Vec::new() };
    let mut all = Vec::new();
    for entry in dir.read_dir().unwrap() {
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
