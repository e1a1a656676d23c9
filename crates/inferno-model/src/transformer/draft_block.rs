//! The draft layer of a model, which predicts the token after the next one (multi-token prediction).
//!
//! ```text
//! x = eh_proj × [enorm(embedding of token p + 1) ; hnorm(hidden row p)]   →   layer   →   shared_head_norm   →   output
//! ```
//!
//! Hidden row `p` is the model's own after its output norm, or the draft layer's after its norm.

use super::{OutputHead, Scratch, Transformer, results};
use crate::architecture::{Architecture, CacheGroup};
use crate::backend::{Backend, Branch, KvShape, MatmulAdd, NormMatmul};
use crate::batch::Batch;
use crate::error::{BackendError, StepError};
use crate::layer::{Pass, Sequences, Stream};
use crate::model::{DraftBlock, KvRoom};
use crate::output::Output;

/// Keys, values and activations of the draft layer.
pub(super) struct Drafting<B: Backend> {
    kv: B::KvPool,
    normed: B::Buffer, // (n, dim), hidden rows
    output: Output,
}

impl<B: Backend> Drafting<B> {
    /// `None` for a model that does not draft.
    pub(super) fn new(
        arch: &Architecture,
        has_weights: bool,
        backend: &mut B,
        room: &KvRoom,
    ) -> Result<Option<Self>, BackendError> {
        let Some(block) = arch.draft_block.as_ref().filter(|_| has_weights) else { return Ok(None) };
        let group = CacheGroup { layers: vec![LAYER], kind: block.kind };
        let groups = vec![(group, room.n_pages[block.group])];
        let kv = backend.kv_pool(&KvShape { groups, kv_type: room.kv_type })?;
        Ok(Some(Drafting { kv, normed: backend.buffer(arch.dim)?, output: Output::default() }))
    }
}

/// The layer's number in its own pool.
const LAYER: usize = 0;

impl<B: Backend> DraftBlock for Transformer<B> {
    fn hidden(&mut self, out: &mut Vec<f32>) -> Result<(), StepError> {
        let Transformer { arch: a, backend: b, weights: w, s: Scratch { stream, .. }, .. } = self;
        b.rms_norm(&mut stream.h, &stream.x, &w.head().output_norm, a.norm_eps);
        b.read(&stream.h, out)
    }

    fn draft_step(
        &mut self,
        batch: &Batch,
        hidden: &[f32],
        out: &mut Vec<f32>,
    ) -> Result<&Output, StepError> {
        self.check(batch, 1);
        self.fill_angles(batch);
        let Transformer { arch: a, backend: b, weights: w, s, angles, chain, heartbeat, draft, .. } = self;
        const HAS: &str = "a model that drafts has a draft layer";
        let (w, draft) = (&*w, draft.as_mut().expect(HAS));
        let block = w.draft_block.as_ref().expect(HAS);
        let table = block.embed_tokens.as_ref().or(w.token_embd.as_ref()).expect("a whole model embeds");
        let (Stream { x, h, y, .. }, eps) = (&mut s.stream, a.norm_eps);
        b.embed(y, table, batch.tokens(), a.embedding_scale);
        b.norm_matmul(NormMatmul {
            outs: &mut [&mut *x],
            weights: &[&block.embedding_proj],
            normed: &mut *h,
            x: &*y,
            norm: Some(&block.enorm),
            eps,
        });
        b.write(y, hidden);
        b.rms_norm(&mut draft.normed, y, &block.hnorm, eps);
        let branch = Branch { x, y, h, bias: None, norm: None, eps, scale: None };
        b.matmul_add(MatmulAdd { input: &draft.normed, weight: &block.hidden_proj, branch });
        let mut pass = Pass { b, stream: &mut s.stream, eps };
        let mut sequences = Sequences { kv: &mut draft.kv, angles, batch };
        block.layer.forward(&mut pass, &mut sequences, (&mut s.mixers, &mut s.ffns), LAYER);
        block.layer.finish(&mut pass, None, LAYER);
        heartbeat.beat();
        let norm = block.shared_head_norm.as_ref().unwrap_or(&w.head().output_norm);
        let matrix = block.shared_head_head.as_ref().unwrap_or_else(|| w.output());
        let output = &mut draft.output;
        output.start(batch, a.vocab_size);
        let coarse = w.head().coarse_output.as_ref().filter(|_| block.shared_head_head.is_none());
        let head = OutputHead { norm, matrix, coarse };
        results(b, a, &head, s, (output, &mut chain.numbers), batch)?;
        out.clear();
        if !output.rows().is_empty() {
            b.read(&s.stream.h, out)?;
        }
        Ok(output)
    }
}
