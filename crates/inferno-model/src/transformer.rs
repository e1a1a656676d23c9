//! The forward pass, once for every family: what is not in a file is not computed.

use std::ops::Range;
use std::sync::Arc;

use inferno_format::Gguf;

use crate::architecture::{Architecture, FfnShape};
use crate::backend::{Attention, Backend, KvShape, KvType, LayerIdx};
use crate::batch::{Batch, Want};
use crate::error::{LoadError, StepError};
use crate::heartbeat::Heartbeat;
use crate::output::{Output, as_token};
use crate::rope::Angles;
use crate::sample::Pick;
use crate::weights::{Ffn, Weights};

/// A model as its callers see it: batches in, what their rows wanted out.
pub trait Model: Send {
    /// The numbers of this model.
    fn architecture(&self) -> &Architecture;
    /// Computes every row of `batch` and stores its keys and values. Batches are checked, not sanitised: a token
    /// or position out of range is a bug in the caller and panics.
    fn step(&mut self, batch: &Batch) -> Result<&Output, StepError>;
    /// What the last step gave.
    fn output(&self) -> &Output;
    /// Are tokens chosen where the logits are? Then rows that want a sample by a spec that
    /// [suits](crate::sample::SampleSpec::suits_devices) need not have logits in the output, and there is [`Model::chain`].
    fn chooses(&self) -> bool {
        false
    }
    /// `n` steps, each with the tokens that the one before has chosen: (n, sequences) tokens, `None` from where no logit is a
    /// number. Every sequence of `batch` has one row, which wants a sample by such a spec, and a page table for `n` positions
    /// from it on. They are the tokens that `n` calls of [`Model::step`] would choose.
    fn chain(&mut self, _batch: &Batch, _n: usize) -> Result<&[Option<u32>], StepError> {
        unreachable!("a model that chooses has this")
    }
    /// It beats once per layer and once before what the rows want, so that who watches can tell a long step from one that
    /// hangs; `None` if it has none. With a device that records first and computes at the end, all beats come before that.
    fn heartbeat(&self) -> Option<Arc<Heartbeat>> {
        None
    }
    /// Beats that one from now on.
    fn beat(&mut self, _heartbeat: Arc<Heartbeat>) {}
}

/// How much room a model gets for keys and values.
#[derive(Debug, Clone)]
pub struct KvRoom {
    /// Pages for each of [`Architecture::cache_groups`].
    pub n_pages: Vec<usize>,
    /// What keys and values are rounded to.
    pub kv_type: KvType,
}

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

/// Activations of one step. `n` is the number of rows.
struct Scratch<T> {
    x: T,      // (n, dim), the residual stream
    h: T,      // (n, dim), normed
    y: T,      // (n, dim), what a half layer adds
    q: T,      // (n, n_heads × head_dim)
    k: T,      // (n, n_kv_heads × head_dim)
    v: T,      // (n, n_kv_heads × head_dim)
    attn: T,   // (n, n_heads × head_dim)
    gate: T,   // (n, ffn_dim)
    up: T,     // (n, ffn_dim)
    router: T, // (n, n_experts)
    logits: T, // (rows that want something, vocab_size)
    chosen: T, // (tokens that the device chooses, 1)
}

impl<B: Backend> Transformer<B> {
    /// Loads all weights of `file` onto `backend`.
    pub fn load(file: &Gguf, arch: Architecture, mut backend: B, room: &KvRoom) -> Result<Self, LoadError> {
        let weights = Weights::load(file, &arch, &mut backend)?;
        let (q_dim, kv_dim) = (arch.n_heads * arch.head_dim, arch.n_kv_heads * arch.head_dim);
        assert_eq!(room.n_pages.len(), arch.cache_groups.len(), "every cache group has a number of pages");
        let groups = arch.cache_groups.iter().cloned().zip(room.n_pages.iter().copied()).collect();
        let kv = backend.kv_pool(&KvShape {
            groups,
            n_kv_heads: arch.n_kv_heads,
            head_dim: arch.head_dim,
            kv_type: room.kv_type,
        })?;
        let (ffn_dim, n_experts) = match arch.ffn {
            FfnShape::Dense { ffn_dim } => (ffn_dim, 1),
            FfnShape::Experts { ffn_dim, n_experts, .. } => (ffn_dim, n_experts),
        };
        let s = Scratch {
            x: backend.buffer(arch.dim)?,
            h: backend.buffer(arch.dim)?,
            y: backend.buffer(arch.dim)?,
            q: backend.buffer(q_dim)?,
            k: backend.buffer(kv_dim)?,
            v: backend.buffer(kv_dim)?,
            attn: backend.buffer(q_dim)?,
            gate: backend.buffer(ffn_dim)?,
            up: backend.buffer(ffn_dim)?,
            router: backend.buffer(n_experts)?,
            logits: backend.buffer(arch.vocab_size)?,
            chosen: backend.buffer(1)?,
        };
        let angles = arch.ropes.iter().map(Angles::new).collect();
        let (output, chain, heartbeat) = (Output::default(), Chain::default(), Arc::default());
        Ok(Transformer { arch, backend, weights, kv, s, angles, output, chain, heartbeat })
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
    fn forward(&mut self, batch: &Batch, tokens: Tokens) {
        let Transformer { arch: a, backend: b, weights: w, kv, s, angles, heartbeat, .. } = self;
        for (angles, rope) in angles.iter_mut().zip(&a.ropes) {
            angles.fill(rope, batch.positions());
        }
        match tokens {
            Tokens::InBatch => b.embed(&mut s.x, &w.token_embd, batch.tokens(), a.embedding_scale),
            Tokens::Chosen(rows) => {
                b.embed_chosen(&mut s.x, &w.token_embd, &s.chosen, rows, a.embedding_scale);
            }
        }

        for (i, (l, shape)) in w.layers.iter().zip(&a.layers).enumerate() {
            // Attention: every row looks at its sequence's rows up to itself.
            b.rms_norm(&mut s.h, &s.x, &l.attn_norm, a.norm_eps);
            b.matmul(&mut [&mut s.q, &mut s.k, &mut s.v], &[&l.attn_q, &l.attn_k, &l.attn_v], &s.h);
            add_bias(b, &mut s.q, &l.attn_q_bias);
            add_bias(b, &mut s.k, &l.attn_k_bias);
            add_bias(b, &mut s.v, &l.attn_v_bias);
            if let Some(norm) = &l.attn_q_norm {
                b.head_norm(&mut s.q, norm, a.norm_eps);
            }
            if let Some(norm) = &l.attn_k_norm {
                b.head_norm(&mut s.k, norm, a.norm_eps);
            }
            b.rope(&mut s.q, a.head_dim, &angles[shape.rope_idx]);
            b.rope(&mut s.k, a.head_dim, &angles[shape.rope_idx]);
            let layer = LayerIdx { layer: i, group: shape.group };
            b.store_kv(kv, layer, &s.k, &s.v, batch);
            b.attend(&mut s.attn, &s.q, kv, batch, &attention(a, layer));
            b.matmul(&mut [&mut s.y], &[&l.attn_output], &s.attn);
            add_bias(b, &mut s.y, &l.attn_output_bias);
            add_normed(b, (&mut s.x, &mut s.h, &s.y), &l.post_attention_norm, a.norm_eps);

            // Feed-forward: every row on its own.
            b.rms_norm(&mut s.h, &s.x, &l.ffn_norm, a.norm_eps);
            match &l.ffn {
                Ffn::Dense { ffn_gate, ffn_up, ffn_down } => {
                    b.matmul(&mut [&mut s.gate, &mut s.up], &[ffn_gate, ffn_up], &s.h);
                    b.glu(&mut s.gate, &s.up, a.activation);
                    b.matmul(&mut [&mut s.y], &[ffn_down], &s.gate);
                }
                Ffn::Experts { ffn_gate_inp, experts, routing } => {
                    b.matmul(&mut [&mut s.router], &[ffn_gate_inp], &s.h);
                    b.experts(&mut s.y, &s.h, &s.router, experts.as_ref(), routing, a.activation);
                }
            }
            add_normed(b, (&mut s.x, &mut s.h, &s.y), &l.post_ffw_norm, a.norm_eps);
            heartbeat.beat();
        }
    }

    /// From the residual stream to what the rows of `batch` want.
    fn head(&mut self, batch: &Batch) -> Result<(), StepError> {
        let Transformer { arch: a, backend: b, weights: w, s, output, chain, heartbeat, .. } = self;
        heartbeat.beat();
        output.start(batch, a.dim, a.vocab_size);
        if output.rows().is_empty() {
            return b.finish();
        }
        b.take_rows(&mut s.y, &s.x, output.rows());
        b.rms_norm(&mut s.h, &s.y, &w.output_norm, a.norm_eps);
        if output.any(|want| want != Want::Hidden) {
            logits(b, a, w, s);
            if b.chooses() {
                let picks = output.pick(batch.positions());
                if !picks.is_empty() {
                    b.choose(&mut s.chosen, 0, picks.len(), &s.logits, picks);
                    b.read(&s.chosen, &mut chain.numbers)?;
                    output.picked(&chain.numbers);
                }
            }
            if output.needs_logits() {
                b.read(&s.logits, &mut output.logits)?;
            }
        }
        if output.any(|want| want == Want::Hidden) {
            b.read(&s.h, &mut output.hidden)?;
        }
        output.choose(batch.positions());
        Ok(())
    }
}

/// s.logits, of the rows in s.h.
fn logits<B: Backend>(b: &mut B, a: &Architecture, w: &Weights<B::Weight>, s: &mut Scratch<B::Buffer>) {
    b.matmul(&mut [&mut s.logits], &[w.output.as_ref().unwrap_or(&w.token_embd)], &s.h);
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
        self.forward(batch, Tokens::InBatch);
        self.head(batch)?;
        Ok(&self.output)
    }

    fn chooses(&self) -> bool {
        self.backend.chooses()
    }

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
            self.forward(&chain.batch, tokens);
            let Transformer { arch: a, backend: b, weights: w, s, heartbeat, .. } = self;
            heartbeat.beat();
            b.rms_norm(&mut s.h, &s.x, &w.output_norm, a.norm_eps);
            logits(b, a, w, s);
            let wants = chain.batch.wants().iter().zip(chain.batch.positions()).enumerate();
            chain.picks.clear();
            chain.picks.extend(wants.map(|(row, (want, &position))| match want {
                Want::Sample(spec) => Pick::new(row, *spec, position),
                _ => panic!("a row in a chain wants a sample"),
            }));
            b.choose(&mut s.chosen, i * n_rows, n * n_rows, &s.logits, &chain.picks);
            chain.batch.advance();
        }
        let read = self.backend.read(&self.s.chosen, &mut chain.numbers);
        chain.tokens.clear();
        chain.tokens.extend(chain.numbers.iter().map(|&number| as_token(number)));
        self.chain = chain;
        read.map(|()| self.chain.tokens.as_slice())
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

fn attention(a: &Architecture, layer: LayerIdx) -> Attention {
    Attention {
        layer,
        n_heads: a.n_heads,
        n_kv_heads: a.n_kv_heads,
        head_dim: a.head_dim,
        scale: a.attn_scale,
        softcap: a.attn_softcap,
        window: a.layers[layer.layer].window,
    }
}

fn add_bias<B: Backend>(b: &mut B, x: &mut B::Buffer, bias: &Option<B::Weight>) {
    if let Some(bias) = bias {
        b.add_bias(x, bias);
    }
}

/// x += norm(y), or x += y where the family has no norm there; `h` is scratch.
fn add_normed<B: Backend>(
    b: &mut B,
    (x, h, y): (&mut B::Buffer, &mut B::Buffer, &B::Buffer),
    norm: &Option<B::Weight>,
    eps: f32,
) {
    match norm {
        Some(norm) => {
            b.rms_norm(h, y, norm, eps);
            b.add(x, h);
        }
        None => b.add(x, y),
    }
}
