//! A model on the reference backend with one sequence in it.

use std::path::Path;

use inferno_format::Gguf;
use inferno_model::conformance::Sequence;
use inferno_model::error::LoadError;
use inferno_model::model::Model;
use inferno_model::reference::Reference;

/// Loads `file` with room for one sequence of `context_len` positions.
pub(crate) fn load(file: &Gguf, context_len: usize) -> Result<Sequence<Reference>, LoadError> {
    Sequence::new(file, Reference::default(), context_len)
}

pub(crate) fn open(path: &Path, context_len: usize) -> Sequence<Reference> {
    load(&Gguf::open(path).unwrap(), context_len).unwrap()
}

#[test]
fn a_heart_beats_once_per_layer_and_once_for_the_logits_of_every_step() {
    let mut sequence = open(&xtask::testing::testdata("goldens/qwen3.gguf"), 64);
    let heartbeat = sequence.model.heartbeat().unwrap();
    let per_step = sequence.model.architecture().layers.len() as u64 + 1;
    assert_eq!(heartbeat.count(), 0);
    sequence.append(&[9, 8, 7]);
    assert_eq!(heartbeat.count(), per_step);
    sequence.append(&[6]);
    assert_eq!(heartbeat.count(), 2 * per_step);
}
