//! The sampler `infill`: what it has to know of a vocabulary.

use std::fmt::Debug;
use std::sync::Arc;

use inferno_model::sample::Candidates;

/// Order of tokens by their texts: those that begin with the text of another. The texts are known to the implementation, never to the engine.
pub trait Prefixes: Debug + Send + Sync {
    /// Does the text of `longer` begin with that of `token`, which is not empty? Control tokens have empty texts.
    fn is_prefix(&self, token: u32, longer: u32) -> bool;
}

/// A vocabulary as llama.cpp's sampler `infill` sees it. For completions in a gap: it ends them early, and keeps few other tokens
/// than those that are probable together with all that go on from them. See [`Candidates::infill`].
#[derive(Debug, Clone)]
pub struct Infill {
    ends: Box<[u32]>,
    end: Option<u32>,
    texts: Arc<dyn Prefixes>,
}

impl Infill {
    /// The most candidates that are compared with one another.
    pub(super) const CANDIDATES: usize = 256;

    /// Of the tokens that end an answer, `ends`, of which `end` is taken where no text is probable.
    pub fn new(ends: &[u32], end: Option<u32>, texts: Arc<dyn Prefixes>) -> Infill {
        Infill { ends: ends.into(), end, texts }
    }

    /// The end that is taken, if `row` (vocab_size,) allows it.
    pub(super) fn end_within(&self, row: &[f32]) -> Option<u32> {
        self.end.filter(|&end| row.get(end as usize).is_some_and(|&logit| logit > f32::NEG_INFINITY))
    }

    pub(super) fn filter(&self, candidates: &mut Candidates<'_>, end: Option<u32>) {
        let is_prefix = |token, longer| self.texts.is_prefix(token, longer);
        candidates.infill(end, |token| self.ends.contains(&token), is_prefix);
    }
}

/// The texts are those of one vocabulary.
impl PartialEq for Infill {
    fn eq(&self, other: &Infill) -> bool {
        let is_same = Arc::ptr_eq(&self.texts, &other.texts);
        (&self.ends, self.end, is_same) == (&other.ends, other.end, true)
    }
}
