//! The forward pass, once for every family: what is not in a file is not computed.

use std::ops::Range;
use std::sync::Arc;

use inferno_format::Gguf;

use crate::architecture::{Architecture, CacheKind};
use crate::backend::{Backend, DeviceSampling, KvShape};
use crate::batch::{Batch, Want};
use crate::error::{LoadError, StepError};
use crate::ffn::FfnScratch;
use crate::heartbeat::Heartbeat;
use crate::layer::{Pass, Stream};
use crate::mixer::MixerScratch;
pub use crate::model::{Chaining, KvRoom, Model};
use crate::output::{Output, as_token};
use crate::rope::Angles;
use crate::sample::Pick;
use crate::weights::Weights;

/// A decoder on one backend.
pub struct Transformer<B: Backend> {
    arch: Architecture,
    backend: B,
    weights: Weights<B::Weight>,
    kv: B::KvPool,
    s: Scratch<B::Buffer>,
    /// One per [`Architecture::ropes`].
    angles: Vec<Angles>,
    output: Output,
    chain: Chain,
    /// The backend samples.
    chooses: bool,
    heartbeat: Arc<Heartbeat>,
}

/// Of steps that follow each other on the device.
#[derive(Default)]
struct Chain {
    /// The current one's batch.
    batch: Batch,
    picks: Vec<Pick>,
    /// (n, sequences)
    numbers: Vec<f32>,
    tokens: Vec<Option<u32>>,
}

/// Where a step's tokens are.
enum Tokens {
    /// In the batch.
    InBatch,
    /// In those rows of what the device chose.
    Chosen(Range<usize>),
}

/// Activations of one step.
struct Scratch<T> {
    stream: Stream<T>,
    mixers: MixerScratch<T>,
    ffns: FfnScratch<T>,
    logits: T, // (rows that want something, vocab_size)
    chosen: T, // (tokens that the device chooses, 1)
}

impl<B: Backend> Transformer<B> {
    /// Loads all weights of `file` onto `backend`.
    pub fn load(file: &Gguf, arch: Architecture, mut backend: B, room: &KvRoom) -> Result<Self, LoadError> {
        let weights = Weights::load(file, &arch, &mut backend)?;
        assert_eq!(room.n_pages.len(), arch.cache_groups.len(), "every cache group has a number of pages");
        let groups = arch.cache_groups.iter().cloned().zip(room.n_pages.iter().copied()).collect();
        let CacheKind::Pages { n_kv_heads, key_width: head_dim, .. } = arch.cache_groups[0].kind;
        let kv = backend.kv_pool(&KvShape { groups, n_kv_heads, head_dim, kv_type: room.kv_type })?;
        let s = Scratch {
            stream: Stream::new(arch.dim, &mut backend)?,
            mixers: MixerScratch::new(arch.layers.iter().filter_map(|l| l.mixer), &mut backend)?,
            ffns: FfnScratch::new(arch.layers.iter().filter_map(|l| l.ffn), &mut backend)?,
            logits: backend.buffer(arch.vocab_size)?,
            chosen: backend.buffer(1)?,
        };
        let angles = arch.ropes.iter().map(Angles::new).collect();
        let (output, chain, heartbeat) = (Output::default(), Chain::default(), Arc::default());
        let chooses = backend.device_sampling().is_some();
        Ok(Transformer { arch, backend, weights, kv, s, angles, output, chain, chooses, heartbeat })
    }

    /// Panics if a row of `batch`, or one of the `n - 1` after it, cannot be computed.
    fn check(&self, batch: &Batch, n: usize) {
        assert!(
            batch.tokens().iter().all(|&t| (t as usize) < self.arch.vocab_size),
            "tokens are in the vocabulary"
        );
        assert!(
            batch.positions().iter().all(|&p| p as usize + n <= self.arch.context_len),
            "positions are within the context"
        );
    }

    /// From tokens to the residual stream after the last layer.
    fn forward(&mut self, batch: &Batch, tokens: Tokens) -> Result<(), StepError> {
        let Transformer { arch: a, backend: b, weights: w, kv, s, angles, heartbeat, .. } = self;
        for (angles, rope) in angles.iter_mut().zip(&a.ropes) {
            angles.fill(rope, batch.positions());
        }
        let x = &mut s.stream.x;
        match tokens {
            Tokens::InBatch => b.embed(x, &w.token_embd, batch.tokens(), a.embedding_scale),
            Tokens::Chosen(rows) => {
                sampling(b)?.embed_chosen(x, &w.token_embd, &s.chosen, rows, a.embedding_scale);
            }
        }
        let mut pass = Pass { b, stream: &mut s.stream, kv, angles, batch, eps: a.norm_eps };
        for (i, layer) in w.layers.iter().enumerate() {
            layer.forward(&mut pass, (&mut s.mixers, &mut s.ffns), i);
            heartbeat.beat();
        }
        Ok(())
    }

    /// From the residual stream to what the rows of `batch` want.
    fn head(&mut self, batch: &Batch) -> Result<(), StepError> {
        let Transformer { arch: a, backend: b, weights: w, s, output, chain, heartbeat, .. } = self;
        heartbeat.beat();
        output.start(batch, a.vocab_size);
        if output.rows().is_empty() {
            return b.finish();
        }
        b.take_rows(&mut s.stream.y, &s.stream.x, output.rows());
        b.rms_norm(&mut s.stream.h, &s.stream.y, &w.output_norm, a.norm_eps);
        logits(b, a, w, s);
        if let Some(sampling) = b.device_sampling() {
            let picks = output.pick(batch.positions());
            if !picks.is_empty() {
                sampling.choose(&mut s.chosen, 0, picks.len(), &s.logits, picks);
                b.read(&s.chosen, &mut chain.numbers)?;
                output.picked(&chain.numbers);
            }
        }
        if output.needs_logits() {
            b.read(&s.logits, &mut output.logits)?;
        }
        output.choose(batch.positions());
        Ok(())
    }
}

/// s.logits, of the rows in s.stream.h.
fn logits<B: Backend>(b: &mut B, a: &Architecture, w: &Weights<B::Weight>, s: &mut Scratch<B::Buffer>) {
    b.matmul(&mut [&mut s.logits], &[w.output.as_ref().unwrap_or(&w.token_embd)], &s.stream.h);
    if let Some(cap) = a.final_softcap {
        b.softcap(&mut s.logits, cap);
    }
}

impl<B: Backend + Send> Model for Transformer<B>
where
    B::Weight: Send,
    B::Buffer: Send,
    B::KvPool: Send,
{
    fn architecture(&self) -> &Architecture {
        &self.arch
    }

    fn step(&mut self, batch: &Batch) -> Result<&Output, StepError> {
        self.check(batch, 1);
        self.forward(batch, Tokens::InBatch)?;
        self.head(batch)?;
        Ok(&self.output)
    }

    fn chooses(&self) -> bool {
        self.chooses
    }

    fn chaining(&mut self) -> Option<&mut dyn Chaining> {
        if self.chooses { Some(self) } else { None }
    }

    fn output(&self) -> &Output {
        &self.output
    }

    fn heartbeat(&self) -> Option<Arc<Heartbeat>> {
        Some(Arc::clone(&self.heartbeat))
    }

    fn beat(&mut self, heartbeat: Arc<Heartbeat>) {
        self.heartbeat = heartbeat;
    }
}

impl<B: Backend> Chaining for Transformer<B> {
    fn chain(&mut self, batch: &Batch, n: usize) -> Result<&[Option<u32>], StepError> {
        self.check(batch, n);
        let n_rows = batch.n_rows();
        let mut chain = std::mem::take(&mut self.chain);
        chain.batch.clone_from(batch);
        for i in 0..n {
            let tokens = match i {
                0 => Tokens::InBatch,
                _ => Tokens::Chosen((i - 1) * n_rows..i * n_rows),
            };
            self.forward(&chain.batch, tokens)?;
            let Transformer { arch: a, backend: b, weights: w, s, heartbeat, .. } = self;
            heartbeat.beat();
            b.rms_norm(&mut s.stream.h, &s.stream.x, &w.output_norm, a.norm_eps);
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
fn sampling<B: Backend>(b: &mut B) -> Result<&mut dyn DeviceSampling<B::Weight, B::Buffer>, StepError> {
    b.device_sampling().ok_or_else(|| StepError { what: "this device leaves sampling to the host".into() })
}
