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
    picks: Vec<Pick>,
    /// (n, sequences)
    pub(super) numbers: Vec<f32>,
    tokens: Vec<Option<u32>>,
}

impl<B: Backend> Chaining for Transformer<B> {
    fn chain(&mut self, batch: &Batch, n: usize) -> Result<&[Option<u32>], StepError> {
        self.check(batch, n);
        let n_rows = batch.n_rows();
        let mut chain = std::mem::take(&mut self.chain);
        chain.batch.clone_from(batch);
        for i in 0..n {
            let input = match i {
                0 => Input::Tokens,
                _ => Input::Chosen((i - 1) * n_rows..i * n_rows),
            };
            self.run(&chain.batch, input)?;
            let Transformer { arch: a, backend: b, weights: w, s, heartbeat, .. } = self;
            heartbeat.beat();
            b.rms_norm(&mut s.stream.h, &s.stream.x, &w.head().output_norm, a.norm_eps);
            logits(b, a, w, s);
            let wants = chain.batch.wants().iter().zip(chain.batch.positions()).enumerate();
            chain.picks.clear();
            chain.picks.extend(wants.map(|(row, (want, &position))| match want {
                Want::Sample(spec) => Pick::new(row, *spec, position),
                _ => panic!("a row in a chain wants a sample"),
            }));
            sampling(b)?.choose(&mut s.chosen, i * n_rows, n * n_rows, &s.logits, &chain.picks);
            chain.batch.advance();
        }
        let read = self.backend.read(&self.s.chosen, &mut chain.numbers);
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
