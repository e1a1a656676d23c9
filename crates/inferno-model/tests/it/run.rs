//! A model on the reference backend with one sequence in it.

use std::path::Path;

use inferno_format::Gguf;
use inferno_model::architecture::Architecture;
use inferno_model::backend::{Backend, KvType};
use inferno_model::batch::{Batch, PAGE_LEN, PageId, Want};
use inferno_model::error::LoadError;
use inferno_model::reference::Reference;
use inferno_model::transformer::{KvRoom, Model, Transformer};

pub(crate) struct Sequence<B: Backend = Reference> {
    pub(crate) model: Transformer<B>,
    pages: Vec<PageId>,
    n_groups: usize,
    len: usize,
}

/// Loads `file` with room for one sequence of `context_len` positions.
pub(crate) fn load(file: &Gguf, context_len: usize) -> Result<Sequence, LoadError> {
    with(file, Reference::default(), context_len)
}

/// The same on that backend.
pub(crate) fn with<B: Backend>(
    file: &Gguf,
    backend: B,
    context_len: usize,
) -> Result<Sequence<B>, LoadError> {
    let arch = Architecture::read(file, None)?;
    let n_pages = context_len.div_ceil(PAGE_LEN);
    let n_groups = arch.cache_groups.len();
    let room = KvRoom { n_pages: vec![n_pages; n_groups], kv_type: KvType::F32 };
    let model = Transformer::load(file, arch, backend, &room)?;
    Ok(Sequence { model, pages: (0..n_pages as u32).map(PageId).collect(), n_groups, len: 0 })
}

pub(crate) fn open(path: &Path, context_len: usize) -> Sequence {
    load(&Gguf::open(path).unwrap(), context_len).unwrap()
}

impl<B: Backend<Weight: Send, Buffer: Send, KvPool: Send> + Send> Sequence<B> {
    /// Appends `tokens` in one step and returns the logits of each: (tokens.len(), vocab_size).
    pub(crate) fn append(&mut self, tokens: &[u32]) -> Vec<Vec<f32>> {
        let mut batch = Batch::default();
        let tables = vec![self.pages.as_slice(); self.n_groups];
        batch.push_each(tokens, self.len, &tables, &vec![Want::Logits; tokens.len()]);
        self.len += tokens.len();
        let output = self.model.step(&batch).unwrap();
        (0..tokens.len()).map(|row| output.logits(row).unwrap().to_vec()).collect()
    }
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
