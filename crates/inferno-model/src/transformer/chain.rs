//! Steps in a row on the device, without the host between them.

use super::{Input, Transformer, logits};
use crate::backend::{Backend, DeviceSampling};
use crate::batch::{Batch, Want};
use crate::error::StepError;
use crate::model::Chaining;
use crate::output::as_token;
use crate::sample::Pick;

/// Of steps that follow each other on the device.
#[derive(Default)]
pub(super) struct Chain {
    /// The current one's batch.
    batch: Batch,
    /// Rows of the batch that want something.
    rows: Vec<usize>,
    picks: Vec<Pick>,
    /// Rows of the first step's logits that come to the host.
    kept: Vec<usize>,
    /// (n, sequences)
    pub(super) numbers: Vec<f32>,
    tokens: Vec<Option<u32>>,
}

impl<B: Backend> Chaining for Transformer<B> {
    fn chain(&mut self, batch: &Batch, n: usize) -> Result<&[Option<u32>], StepError> {
        self.check(batch, n);
        let n_chained = batch.wants().iter().filter(|want| matches!(want, Want::Sample(_))).count();
        let mut chain = std::mem::take(&mut self.chain);
        chain.batch.clone_from(batch);
        for i in 0..n {
            let input = match i {
                0 => Input::Tokens,
                _ => Input::Chosen((i - 1) * n_chained..i * n_chained),
            };
            self.run(&chain.batch, input)?;
            let Transformer { arch: a, backend: b, weights: w, s, heartbeat, .. } = self;
            heartbeat.beat();
            let Chain { batch, rows, picks, kept, .. } = &mut chain;
            rows.clear();
            rows.extend((0..batch.n_rows()).filter(|&row| batch.wants()[row] != Want::Nothing));
            let norm = &w.head().output_norm;
            if rows.len() == batch.n_rows() {
                b.rms_norm(&mut s.stream.h, &s.stream.x, norm, a.norm_eps);
            } else {
                b.take_rows(&mut s.stream.y, &s.stream.x, rows);
                b.rms_norm(&mut s.stream.h, &s.stream.y, norm, a.norm_eps);
            }
            logits(b, a, w.output(), s);
            picks.clear();
            kept.clear();
            for (at, &row) in rows.iter().enumerate() {
                match batch.wants()[row] {
                    Want::Sample(spec) => picks.push(Pick::new(at, spec, batch.positions()[row])),
                    _ => kept.push(at),
                }
            }
            sampling(b)?.choose(&mut s.chosen, i * n_chained, n * n_chained, &s.logits, picks);
            if !kept.is_empty() {
                b.take_rows(&mut s.kept, &s.logits, kept);
            }
            batch.keep_sampled();
            batch.advance();
        }
        let Transformer { arch, backend, s, output, .. } = self;
        let mut read = backend.read(&s.chosen, &mut chain.numbers);
        output.start_where(batch, arch.vocab_size, |want| want == Want::Logits);
        if !output.rows().is_empty() {
            read = read.and_then(|()| backend.read(&s.kept, &mut output.logits));
        }
        chain.tokens.clear();
        chain.tokens.extend(chain.numbers.iter().map(|&number| as_token(number)));
        self.chain = chain;
        read.map(|()| self.chain.tokens.as_slice())
    }
}

/// The backend's sampling, where a caller has made sure that it has one.
pub(super) fn sampling<B: Backend>(
    b: &mut B,
) -> Result<&mut dyn DeviceSampling<B::Weight, B::Buffer>, StepError> {
    b.device_sampling().ok_or_else(|| StepError { what: "this device leaves sampling to the host".into() })
}
