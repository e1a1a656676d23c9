//! Logits of drafts: by an output matrix in fewer bits, and of the best tokens once more by the model's own.

use super::Scratch;
use crate::architecture::Architecture;
use crate::backend::Backend;
use crate::error::StepError;
use crate::sample::top_k;

/// Number of best tokens whose logits are computed once more: the right one is hardly ever behind them.
const N_BEST: usize = 32;

/// Replaces the logits of the best tokens of each row of `logits` (n, vocab_size) by those of the output matrix `exact`. `s.stream.h`
/// (n, dim) has the normed rows.
pub(super) fn sharpen<B: Backend>(
    b: &mut B,
    a: &Architecture,
    exact: &B::Weight,
    s: &mut Scratch<B::Buffer>,
    logits: &mut [f32],
) -> Result<(), StepError> {
    let (mut hidden, mut rows, mut best) = (Vec::new(), Vec::new(), Vec::new());
    b.read(&s.stream.h, &mut hidden)?;
    for (hidden, logits) in hidden.chunks_exact(a.dim).zip(logits.chunks_exact_mut(a.vocab_size)) {
        top_k(logits, N_BEST, &mut best);
        let tokens: Vec<u32> = best.iter().map(|&(token, _)| token).collect();
        b.embed(&mut s.stream.y, exact, &tokens, 1.0);
        b.read(&s.stream.y, &mut rows)?;
        for (token, row) in tokens.into_iter().zip(rows.chunks_exact(a.dim)) {
            let product: f32 = row.iter().zip(hidden).map(|(w, x)| w * x).sum();
            let logit = product * a.logit_scale.unwrap_or(1.0);
            let logit = a.final_softcap.map_or(logit, |cap| cap * (logit / cap).tanh());
            logits[token as usize] = logit;
        }
    }
    Ok(())
}
