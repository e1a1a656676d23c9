//! The forward pass, once for every family: what is not in a file is not computed.

mod chain;
mod coarse;
mod draft_block;

use std::ops::Range;
use std::sync::Arc;

use inferno_format::Gguf;

use crate::architecture::{Architecture, CacheGroup};
use crate::backend::{Backend, KvShape};
use crate::batch::{Batch, PageId, Want};
use crate::error::{LoadError, StepError};
use crate::ffn::FfnScratch;
use crate::heartbeat::Heartbeat;
use crate::layer::{Pass, Sequences, Stream};
use crate::mixer::MixerScratch;
use crate::model::{Chaining, DraftBlock, KvRoom, Model, PageBytes};
use crate::output::Output;
use crate::per_layer::PerLayerScratch;
use crate::rope::Angles;
use crate::stage::{FfnStage, Stage};
use crate::weights::{Share, Tensors, Weights};
use chain::{Chain, sampling};
use draft_block::Drafting;

/// The layers of a decoder on one backend: all of them, or those of a stage.
pub struct Transformer<B: Backend> {
    arch: Architecture,
    share: Share,
    backend: B,
    weights: Weights<B::Weight>,
    kv: B::KvPool,
    s: Scratch<B::Buffer>,
    /// One per [`Architecture::ropes`].
    angles: Vec<Angles>,
    /// Feed-forward networks on another backend, and the rows that cross.
    elsewhere: Option<Box<dyn FfnStage>>,
    rows: Vec<f32>,
    output: Output,
    chain: Chain,
    /// The model drafts for itself.
    draft: Option<Drafting<B>>,
    /// The backend samples.
    chooses: bool,
    /// Its logits are those of drafts.
    only_drafts: bool,
    heartbeat: Arc<Heartbeat>,
}

/// Where the residual stream comes from.
enum Input<'a> {
    /// The tokens of the batch.
    Tokens,
    /// Rows of the stage before.
    Hidden(&'a [f32]),
    /// In those rows of what the device chose.
    Chosen(Range<usize>),
}

/// Activations of one step.
struct Scratch<T> {
    stream: Stream<T>,
    mixers: MixerScratch<T>,
    ffns: FfnScratch<T>,
    per_layer: Option<PerLayerScratch<T>>,
    logits: T, // (rows that want something, vocab_size)
    chosen: T, // (tokens that the device chooses, 1)
    kept: T,   // (rows of a chain's first step that want logits, vocab_size)
}

impl<B: Backend> Transformer<B> {
    /// Loads all layers of `file` onto `backend`, and makes sure that the file was not changed meanwhile.
    pub fn load(file: &Gguf, arch: Architecture, backend: B, room: &KvRoom) -> Result<Self, LoadError> {
        let mut tensors = Tensors::new(file, &arch);
        let transformer = Transformer::load_share(&mut tensors, Share::whole(&arch), backend, room)?;
        tensors.finish()?;
        Ok(transformer)
    }

    /// Loads the layers of `share` onto `backend`: a stage of a model.
    ///
    /// # Panics
    /// The share has no layers.
    pub fn load_share(
        tensors: &mut Tensors<'_>,
        share: Share,
        mut backend: B,
        room: &KvRoom,
    ) -> Result<Self, LoadError> {
        assert!(!share.layers.is_empty(), "a stage has layers");
        let arch = tensors.architecture().clone();
        share.check(&arch)?;
        let weights = Weights::load(tensors, &share, &mut backend)?;
        assert_eq!(room.n_pages.len(), arch.cache_groups.len(), "every cache group has a number of pages");
        let here = |group: &CacheGroup| {
            let layers = group.layers.iter().copied().filter(|layer| share.layers.contains(layer)).collect();
            CacheGroup { layers, kind: group.kind }
        };
        let groups = arch.cache_groups.iter().map(here).zip(room.n_pages.iter().copied()).collect();
        let kv = backend.kv_pool(&KvShape { groups, kv_type: room.kv_type })?;
        let draft = Drafting::new(&arch, weights.draft_block.is_some(), &mut backend, room)?;
        let layers = &arch.layers[share.layers.clone()];
        let s = Scratch {
            stream: Stream::new(&arch, &mut backend)?,
            mixers: MixerScratch::new(layers.iter().filter_map(|l| l.mixer), &mut backend)?,
            ffns: FfnScratch::new(layers.iter().filter_map(|l| l.ffn), &mut backend)?,
            per_layer: weights.per_layer.as_ref().map(|e| e.scratch(&mut backend)).transpose()?,
            logits: backend.buffer(arch.vocab_size)?,
            chosen: backend.buffer(1)?,
            kept: backend.buffer(arch.vocab_size)?,
        };
        let angles = arch.ropes.iter().map(Angles::new).collect();
        let (output, chain, heartbeat) = (Output::default(), Chain::default(), Arc::default());
        let chooses = backend.device_sampling().is_some();
        let (elsewhere, rows) = (None, Vec::new());
        Ok(Transformer {
            arch,
            share,
            backend,
            weights,
            kv,
            s,
            angles,
            elsewhere,
            rows,
            output,
            chain,
            draft,
            chooses,
            only_drafts: tensors.only_drafts(),
            heartbeat,
        })
    }

    /// Has the feed-forward networks of some layers on another backend: those that its [`Share`] leaves out.
    pub fn with_ffns(mut self, elsewhere: Box<dyn FfnStage>) -> Self {
        self.elsewhere = Some(elsewhere);
        self
    }

    /// Panics if a row of `batch`, or one of the `n - 1` after a row that wants a sample, cannot be computed.
    fn check(&self, batch: &Batch, n: usize) {
        assert!(
            batch.tokens().iter().all(|&t| (t as usize) < self.arch.vocab_size),
            "tokens are in the vocabulary"
        );
        let n_steps = |want: &Want| if matches!(want, Want::Sample(_)) { n } else { 1 };
        let ends = batch.positions().iter().zip(batch.wants()).map(|(&p, want)| p as usize + n_steps(want));
        assert!(ends.max() <= Some(self.arch.context_len), "positions are within the context");
    }

    fn fill_angles(&mut self, batch: &Batch) {
        for (angles, rope) in self.angles.iter_mut().zip(&self.arch.ropes) {
            angles.fill(rope, batch.positions());
        }
    }

    /// Runs the layers, from tokens or hidden rows to the residual stream after the last one.
    fn run(&mut self, batch: &Batch, input: Input<'_>) -> Result<(), StepError> {
        self.fill_angles(batch);
        let Transformer { arch: a, backend: b, weights: w, kv, s, angles, elsewhere, rows, .. } = self;
        let (x, table) = (&mut s.stream.x, || w.token_embd.as_ref().expect("the first stage embeds"));
        match input {
            Input::Tokens => b.embed(x, table(), batch.tokens(), a.embedding_scale),
            Input::Hidden(hidden) => b.write(x, hidden),
            Input::Chosen(rows) => {
                sampling(b)?.embed_chosen(x, table(), &s.chosen, rows, a.embedding_scale);
            }
        }
        let mut pass = Pass { b, stream: &mut s.stream, eps: a.norm_eps };
        if let (Some(embeddings), Some(s)) = (&w.per_layer, &mut s.per_layer) {
            embeddings.embed(&mut pass, s, batch.tokens());
        }
        let mut sequences = Sequences { kv, angles, batch };
        for (i, layer) in self.share.layers.clone().zip(&w.layers) {
            layer.forward(&mut pass, &mut sequences, (&mut s.mixers, &mut s.ffns), i);
            if let Some(ffns) = elsewhere.as_mut().filter(|ffns| ffns.has(i)) {
                pass.b.read(&pass.stream.x, rows)?;
                ffns.forward(i, rows)?;
                pass.b.write(&mut pass.stream.x, rows);
            }
            layer.finish(&mut pass, s.per_layer.as_mut(), i - self.share.layers.start);
            self.heartbeat.beat();
        }
        Ok(())
    }

    /// From the residual stream to what the rows of `batch` want.
    fn head(&mut self, batch: &Batch) -> Result<(), StepError> {
        let Transformer { arch: a, backend: b, weights: w, s, output, chain, only_drafts, heartbeat, .. } =
            self;
        heartbeat.beat();
        output.start(batch, a.vocab_size);
        let coarse = w.head().coarse_output.as_ref().filter(|_| *only_drafts);
        let head = OutputHead { norm: &w.head().output_norm, matrix: w.output(), coarse };
        results(b, a, &head, s, (output, &mut chain.numbers), batch)
    }
}

/// The tensors of an output head.
struct OutputHead<'a, W> {
    norm: &'a W,
    matrix: &'a W,
    /// The matrix in fewer bits, for drafts.
    coarse: Option<&'a W>,
}

/// From the residual stream to what the rows of `output` want. `numbers` is scratch for tokens of a device. `s.stream.h` (rows of the output, dim) has the normed rows afterwards.
fn results<B: Backend>(
    b: &mut B,
    a: &Architecture,
    head: &OutputHead<'_, B::Weight>,
    s: &mut Scratch<B::Buffer>,
    (output, numbers): (&mut Output, &mut Vec<f32>),
    batch: &Batch,
) -> Result<(), StepError> {
    if output.rows().is_empty() {
        return b.finish();
    }
    b.take_rows(&mut s.stream.y, &s.stream.x, output.rows());
    b.rms_norm(&mut s.stream.h, &s.stream.y, head.norm, a.norm_eps);
    logits(b, a, head.coarse.unwrap_or(head.matrix), s);
    if let Some(sampling) = b.device_sampling() {
        let picks = output.pick(batch.positions());
        if !picks.is_empty() {
            sampling.choose(&mut s.chosen, 0, picks.len(), &s.logits, picks);
            b.read(&s.chosen, numbers)?;
            output.picked(numbers);
        }
    }
    if output.needs_logits() {
        b.read(&s.logits, &mut output.logits)?;
        if head.coarse.is_some() {
            coarse::sharpen(b, a, head.matrix, s, &mut output.logits)?;
        }
    }
    output.choose(batch.positions());
    Ok(())
}

/// s.logits, of the rows in s.stream.h, by an output matrix.
fn logits<B: Backend>(b: &mut B, a: &Architecture, matrix: &B::Weight, s: &mut Scratch<B::Buffer>) {
    b.matmul(&mut [&mut s.logits], &[matrix], &s.stream.h);
    if let Some(scale) = a.logit_scale {
        b.scale(&mut s.logits, scale);
    }
    if let Some(cap) = a.final_softcap {
        b.softcap(&mut s.logits, cap);
    }
}

impl<B: Backend + Send> Stage for Transformer<B>
where
    B::Weight: Send,
    B::Buffer: Send,
    B::KvPool: Send,
{
    fn forward(
        &mut self,
        batch: &Batch,
        hidden: Option<&[f32]>,
        out: &mut Vec<f32>,
    ) -> Result<(), StepError> {
        self.check(batch, 1);
        self.run(batch, hidden.map_or(Input::Tokens, Input::Hidden))?;
        self.backend.read(&self.s.stream.x, out)
    }

    fn step_from(&mut self, batch: &Batch, hidden: &[f32]) -> Result<&Output, StepError> {
        self.check(batch, 1);
        self.run(batch, Input::Hidden(hidden))?;
        self.head(batch)?;
        Ok(&self.output)
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
        self.run(batch, Input::Tokens)?;
        self.head(batch)?;
        Ok(&self.output)
    }

    fn chooses(&self) -> bool {
        self.chooses
    }

    fn chaining(&mut self) -> Option<&mut dyn Chaining> {
        // The host looks up per-layer embeddings by tokens.
        let Weights { token_embd, per_layer, .. } = &self.weights;
        if self.chooses && token_embd.is_some() && per_layer.is_none() { Some(self) } else { None }
    }

    fn draft_block(&mut self) -> Option<&mut dyn DraftBlock> {
        if self.draft.is_some() { Some(self) } else { None }
    }

    fn page_bytes(&mut self) -> Option<&mut dyn PageBytes> {
        Some(self)
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

impl<B: Backend> PageBytes for Transformer<B> {
    fn placement(&self) -> String {
        format!("{} {:?}", std::any::type_name::<B>(), self.share)
    }

    fn n_bytes(&self, group: usize) -> usize {
        self.backend.page_bytes(&self.kv, group)
    }

    fn read(&mut self, group: usize, page: PageId, out: &mut [u8]) -> Result<(), StepError> {
        self.backend.read_page(&self.kv, group, page, out)
    }

    fn write(&mut self, group: usize, page: PageId, bytes: &[u8]) -> Result<(), StepError> {
        self.backend.write_page(&mut self.kv, group, page, bytes)
    }
}
