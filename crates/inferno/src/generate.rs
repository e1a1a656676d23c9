//! One sequence on one model: a prompt in chunks, then token by token.

use anyhow::Result;
use inferno_model::batch::{Batch, PAGE_LEN, PageId, Want};
use inferno_model::output::{Output, RowOutput};
use inferno_model::sample::SampleSpec;
use inferno_model::transformer::Model;

/// Rows of a prompt per step: enough that reading the weights costs little, few enough that Ctrl-C is answered soon.
const CHUNK: usize = 128;

/// A sequence and the pages it fills, from page 0 on.
pub(crate) struct Sequence {
    model: Box<dyn Model>,
    pages: Vec<PageId>,
    n_groups: usize,
    batch: Batch,
    len: usize,
    last_logits: Vec<f32>,
}

impl Sequence {
    /// A sequence of at most `n_positions` on a model with room for them.
    pub(crate) fn new(model: Box<dyn Model>, n_positions: usize) -> Sequence {
        let pages = (0..n_positions.div_ceil(PAGE_LEN)).map(|p| PageId(p as u32)).collect();
        let n_groups = model.architecture().cache_groups.len();
        Sequence { model, pages, n_groups, batch: Batch::default(), len: 0, last_logits: Vec::new() }
    }

    /// Appends `tokens`, each wanting what `wants` has for it.
    pub(crate) fn append(&mut self, tokens: &[u32], wants: &[Want]) -> Result<&Output> {
        let tables = vec![self.pages.as_slice(); self.n_groups];
        self.batch.clear();
        self.batch.push_each(tokens, self.len, &tables, wants);
        self.len += tokens.len();
        Ok(self.model.step(&self.batch)?)
    }

    /// Appends `tokens`, of which there is at least one, in chunks as long as `go_on` says so, and chooses the
    /// token that follows them. `None` if it was stopped.
    pub(crate) fn next_token(
        &mut self,
        tokens: &[u32],
        spec: SampleSpec,
        go_on: impl Fn() -> bool,
    ) -> Result<Option<u32>> {
        let start_of_last = (tokens.len() - 1) / CHUNK * CHUNK;
        let (before, last) = tokens.split_at(start_of_last);
        for chunk in before.chunks(CHUNK) {
            if !go_on() {
                return Ok(None);
            }
            self.append(chunk, &[Want::Nothing; CHUNK][..chunk.len()])?;
        }
        if !go_on() {
            return Ok(None);
        }
        let mut wants = [Want::Nothing; CHUNK];
        wants[last.len() - 1] = Want::Sample(spec);
        let row = last.len() - 1;
        let output = self.append(last, &wants[..last.len()])?;
        let (Some(RowOutput::Token(token)), Some(logits)) = (output.get(row), output.logits(row)) else {
            unreachable!("a row that wants a token gets one")
        };
        let logits = logits.to_vec();
        self.last_logits = logits;
        Ok(Some(token))
    }

    /// The logits the last token was chosen from; empty before the first.
    pub(crate) fn last_logits(&self) -> &[f32] {
        &self.last_logits
    }
}

/// FNV-1a (64 bits) over the little-endian bytes: equal on every machine that computes the same bits.
pub(crate) fn hash(logits: &[f32]) -> u64 {
    let bytes = logits.iter().flat_map(|x| x.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}
