//! Vocabularies of the test data that is not in the repository.

use std::path::Path;

use inferno_format::{Gguf, Metadata};
use inferno_text::{Tokenizer, TokenizerError};

pub(crate) fn metadata(path: &Path) -> Metadata {
    Gguf::open(path).unwrap().metadata().clone()
}

/// The vocabularies of the data, by name.
pub(crate) fn tokenizers() -> Vec<(String, Tokenizer)> {
    in_folder("tokenizers")
}

/// The same of a folder of the data, without those whose kind is not implemented.
pub(crate) fn in_folder(name: &str) -> Vec<(String, Tokenizer)> {
    let Some(dir) = xtask::testing::data(name) else { return Vec::new() };
    let mut all = Vec::new();
    for entry in dir.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap();
        if let Some(name) = file.strip_suffix("-vocab.gguf") {
            match Tokenizer::from_metadata(&metadata(&path)) {
                Ok(tokenizer) => all.push((name.to_owned(), tokenizer)),
                Err(TokenizerError::UnsupportedModel { found }) if found == "bert" => {}
                Err(error) => panic!("{name}: {error}"),
            }
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(!all.is_empty());
    all
}
