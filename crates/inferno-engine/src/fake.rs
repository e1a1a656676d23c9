//! A model of thirty lines for tests: a position's "keys and values" are a hash of all tokens up to it, kept in the slots
//! that the batch names. A token depends on all before it, so a page that is not what it should be shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use inferno_model::architecture::{Architecture, CacheGroup};
use inferno_model::batch::{Batch, PAGE_LEN};
use inferno_model::error::StepError;
use inferno_model::output::{Output, RowOutput};
use inferno_model::transformer::{Chaining, Model};

pub(crate) const VOCAB: usize = 6;
pub(crate) const CONTEXT: usize = 400;

/// What a fake does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// It panics on a row with this hash of all tokens up to it.
    PanicOn(u64),
    /// It panics once, in this step.
    PanicOnceAt(u64),
    /// It panics from this step on.
    PanicFrom(u64),
}

pub(crate) struct Fake {
    arch: Architecture,
    /// By slot.
    kv: Vec<u64>,
    output: Output,
    /// Steps take time here.
    clock: Arc<AtomicU64>,
    n_steps: u64,
    pub(crate) fault: Fault,
    /// Does it choose tokens as a device does?
    pub(crate) chooses: bool,
    chain: Vec<Option<u32>>,
}

impl Fake {
    pub(crate) fn new(n_pages: usize, clock: Arc<AtomicU64>) -> Fake {
        let arch = Architecture {
            family: "fake",
            dim: 1,
            vocab_size: VOCAB,
            context_len: CONTEXT,
            norm_eps: 0.0,
            embedding_scale: 1.0,
            final_softcap: None,
            layers: Vec::new(),
            ropes: Vec::new(),
            cache_groups: vec![CacheGroup::pages(Vec::new(), [1, 1, 1], None)],
            required: &[],
        };
        let kv = vec![0xBAD; n_pages * PAGE_LEN];
        let (output, chain) = Default::default();
        Fake { arch, kv, output, clock, n_steps: 0, fault: Fault::None, chooses: false, chain }
    }
}

impl Model for Fake {
    fn architecture(&self) -> &Architecture {
        &self.arch
    }

    fn step(&mut self, batch: &Batch) -> Result<&Output, StepError> {
        self.n_steps += 1;
        self.clock.fetch_add(100 + 3 * batch.n_rows() as u64, Ordering::Relaxed);
        match self.fault {
            Fault::PanicOnceAt(step) => assert!(self.n_steps != step, "once"),
            Fault::PanicFrom(step) => assert!(self.n_steps < step, "for ever"),
            _ => {}
        }
        let mut hashes = vec![0; batch.n_rows()];
        for span in batch.spans() {
            for row in span.rows.clone() {
                let position = batch.positions()[row] as usize;
                let before = match position {
                    0 => 0,
                    _ => self.kv[batch.slot(span, 0, position - 1).0 as usize],
                };
                hashes[row] = hash(before, batch.tokens()[row]);
                assert!(self.fault != Fault::PanicOn(hashes[row]), "this one");
                self.kv[batch.slot(span, 0, position).0 as usize] = hashes[row];
            }
        }
        self.output.fill(batch, VOCAB, |row, out| logits(hashes[row], batch.tokens()[row], out));
        Ok(&self.output)
    }

    fn output(&self) -> &Output {
        &self.output
    }

    fn chooses(&self) -> bool {
        self.chooses
    }

    fn chaining(&mut self) -> Option<&mut dyn Chaining> {
        if self.chooses { Some(self) } else { None }
    }
}

impl Chaining for Fake {
    fn chain(&mut self, batch: &Batch, n: usize) -> Result<&[Option<u32>], StepError> {
        let mut tokens: Vec<u32> = batch.tokens().to_vec();
        let mut chain = Vec::new();
        for i in 0..n {
            let mut step = Batch::default();
            for (span, (&token, &want)) in batch.spans().iter().zip(tokens.iter().zip(batch.wants())) {
                step.push(&[token], span.start + i, &[batch.page_table(span, 0)], want);
            }
            self.step(&step)?;
            for (row, token) in tokens.iter_mut().enumerate() {
                let Some(RowOutput::Token(next)) = self.output.get(row) else { panic!("a row samples") };
                *token = next;
                chain.push(Some(next));
            }
        }
        self.chain = chain;
        Ok(&self.chain)
    }
}

/// Of a prefix, from that of the one before and its last token.
pub(crate) fn hash(before: u64, token: u32) -> u64 {
    let mut x = (before ^ u64::from(token + 1)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x ^= x >> 29;
    x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x ^ x >> 32
}

/// Mostly the next token in a circle, so that guesses are sometimes right; every bit depends on the whole prefix.
pub(crate) fn logits(hash: u64, token: u32, out: &mut [f32]) {
    for (t, x) in out.iter_mut().enumerate() {
        *x = (hash >> (8 * t) & 0xFF) as f32 / 64.0;
    }
    out[(token as usize + 1) % VOCAB] += 3.0;
}
