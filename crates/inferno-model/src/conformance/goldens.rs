//! Whole models against oracles.

use inferno_format::Gguf;

use crate::architecture::Architecture;
use crate::backend::{Backend, KvType};
use crate::batch::{Batch, PAGE_LEN, PageId, Want};
use crate::error::LoadError;
use crate::model::{KvRoom, Model};
use crate::sample::{argmax, top_k};
use crate::transformer::Transformer;

/// What every logit may differ from float64.
pub const GOLDEN_TOLERANCE: f32 = 2e-4;
/// A greedy step whose two best logits are closer than this may go either way.
const NEAR_TIE: f32 = 1e-3;

/// A model with one sequence in it.
pub struct Sequence<B: Backend> {
    /// The model.
    pub model: Transformer<B>,
    pages: Vec<PageId>,
    n_groups: usize,
    len: usize,
}

impl<B: Backend<Weight: Send, Buffer: Send, KvPool: Send> + Send> Sequence<B> {
    /// Loads `file` with room for one sequence of `context_len` positions, whose keys and values are not rounded.
    pub fn new(file: &Gguf, backend: B, context_len: usize) -> Result<Self, LoadError> {
        let arch = Architecture::read(file, None)?;
        let n_pages = context_len.div_ceil(PAGE_LEN);
        let n_groups = arch.cache_groups.len();
        let room = KvRoom { n_pages: vec![n_pages; n_groups], kv_type: KvType::F32 };
        let model = Transformer::load(file, arch, backend, &room)?;
        Ok(Sequence { model, pages: (0..n_pages as u32).map(PageId).collect(), n_groups, len: 0 })
    }

    /// Appends `tokens` in one step and returns the logits of each: (tokens.len(), vocab_size).
    pub fn append(&mut self, tokens: &[u32]) -> Vec<Vec<f32>> {
        let mut batch = Batch::default();
        let tables = vec![self.pages.as_slice(); self.n_groups];
        batch.push_each(tokens, self.len, &tables, &vec![Want::Logits; tokens.len()]);
        self.len += tokens.len();
        let output = self.model.step(&batch).expect("a step");
        (0..tokens.len()).map(|row| output.logits(row).expect("wanted").to_vec()).collect()
    }
}

/// Runs a prompt, compares the logits of some positions, and goes on greedily: as the oracle does.
///
/// # Panics
/// A logit is off by more than [`GOLDEN_TOLERANCE`], or a greedy token is another one.
pub fn check_golden<B: Backend<Weight: Send, Buffer: Send, KvPool: Send> + Send>(
    file: &Gguf,
    backend: B,
    prompt: &[u32],
    logits: &[(usize, Vec<f32>)],
    greedy: &[u32],
) {
    if let Err(error) = compare_golden(file, backend, &Oracle { prompt, logits, greedy }, GOLDEN_TOLERANCE) {
        panic!("{error}");
    }
}

/// The oracle's view of a model.
#[derive(Debug, Clone, Copy)]
pub struct Oracle<'a> {
    /// Tokens.
    pub prompt: &'a [u32],
    /// Logits of some of its positions: (position, one per token).
    pub logits: &'a [(usize, Vec<f32>)],
    /// Tokens that a greedy choice continues the prompt with.
    pub greedy: &'a [u32],
}

/// As [`check_golden`]: the largest difference of a logit.
///
/// # Errors
/// The file does not load, a logit is off by more than `tolerance`, or a greedy token is another one.
pub fn compare_golden<B: Backend<Weight: Send, Buffer: Send, KvPool: Send> + Send>(
    file: &Gguf,
    backend: B,
    oracle: &Oracle<'_>,
    tolerance: f32,
) -> Result<f32, String> {
    let Oracle { prompt, logits, greedy } = *oracle;
    let mut sequence =
        Sequence::new(file, backend, prompt.len() + greedy.len()).map_err(|error| error.to_string())?;
    let found = sequence.append(prompt);
    let mut largest = 0.0f32;
    for (position, expected) in logits {
        let found = &found[*position];
        if found.len() != expected.len() {
            return Err(format!("{} logits instead of {}", found.len(), expected.len()));
        }
        // A NaN is no smaller than anything.
        let off = found.iter().zip(expected).map(|(found, expected)| (found - expected).abs());
        let worst = off.fold(0.0f32, |worst, off| if off <= worst { worst } else { off });
        if worst.is_nan() || worst > tolerance {
            return Err(format!("position {position}: a logit is off by {worst}"));
        }
        largest = largest.max(worst);
    }
    let mut last = found.last().expect("a prompt has tokens").clone();
    let mut best = Vec::new();
    for (step, &token) in greedy.iter().enumerate() {
        top_k(&last, 2, &mut best);
        let is_near = argmax(&last) == token || best[0].1 - best[1].1 < NEAR_TIE.max(2.0 * tolerance);
        if !is_near {
            return Err(format!("greedy step {step} gives {} instead of {token}", best[0].0));
        }
        last = sequence.append(&[token]).remove(0);
    }
    Ok(largest)
}
