//! One sequence on one model: a prompt in chunks, then token by token.

use anyhow::Result;
use inferno_model::batch::{Batch, PAGE_LEN, PageId, Want};
use inferno_model::output::{Output, RowOutput};
use inferno_model::sample::SampleSpec;
use inferno_model::transformer::Model;

/// Rows of a prompt per step: small enough that Ctrl-C is answered soon.
const CHUNK: usize = 64;

/// A sequence and the pages it fills, from page 0 on.
pub(crate) struct Sequence {
    model: Box<dyn Model>,
    pages: Vec<PageId>,
    n_groups: usize,
    batch: Batch,
    len: usize,
}

impl Sequence {
    /// A sequence of at most `n_positions` on a model with room for them.
    pub(crate) fn new(model: Box<dyn Model>, n_positions: usize) -> Sequence {
        let pages = (0..n_positions.div_ceil(PAGE_LEN)).map(|p| PageId(p as u32)).collect();
        let n_groups = model.architecture().cache_groups.len();
        Sequence { model, pages, n_groups, batch: Batch::default(), len: 0 }
    }

    /// Appends `tokens`, each wanting what `wants` has for it.
    pub(crate) fn append(&mut self, tokens: &[u32], wants: &[Want]) -> Result<&Output> {
        let tables = vec![self.pages.as_slice(); self.n_groups];
        self.batch.clear();
        self.batch.push_each(tokens, self.len, &tables, wants);
        self.len += tokens.len();
        Ok(self.model.step(&self.batch)?)
    }

    /// Appends `tokens` in chunks as long as `go_on` says so, and chooses the token that follows them.
    /// `None` if it was stopped.
    pub(crate) fn next_token(
        &mut self,
        tokens: &[u32],
        spec: SampleSpec,
        go_on: impl Fn() -> bool,
    ) -> Result<Option<Next>> {
        let n_chunks = tokens.chunks(CHUNK).len();
        for (i, chunk) in tokens.chunks(CHUNK).enumerate() {
            if !go_on() {
                return Ok(None);
            }
            let mut wants = vec![Want::Nothing; chunk.len()];
            let last = chunk.len() - 1;
            if i + 1 < n_chunks {
                self.append(chunk, &wants)?;
                continue;
            }
            wants[last] = Want::Sample(spec);
            let output = self.append(chunk, &wants)?;
            if let (Some(RowOutput::Token(token)), Some(logits)) = (output.get(last), output.logits(last)) {
                return Ok(Some(Next { token, logits_hash: hash(logits) }));
            }
        }
        Ok(None)
    }
}

/// A chosen token.
pub(crate) struct Next {
    pub(crate) token: u32,
    /// Of the logits it was chosen from: equal on every machine that computes the same bits.
    pub(crate) logits_hash: u64,
}

/// FNV-1a (64 bits) over the little-endian bytes.
fn hash(logits: &[f32]) -> u64 {
    let bytes = logits.iter().flat_map(|x| x.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}
