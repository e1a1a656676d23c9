//! A model for tests: a position's "keys and values" are its token and a hash of all tokens up to it, kept in the slots that
//! the batch names, in each cache group. A row verifies what it sees in every group, so a page that is not what it should be,
//! or not there any more, shows. The state of a recurrent layer is the hash of all tokens that it has seen: one that is stale, of
//! another sequence or that has seen a token twice shows too.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use inferno_model::architecture::{Architecture, CacheGroup, CacheKind, NormNames};
use inferno_model::batch::{Batch, PAGE_LEN, PageId, PageTable, Span, Want};
use inferno_model::error::StepError;
use inferno_model::model::{Chaining, Model, PageBytes};
use inferno_model::output::{Output, RowOutput};

pub(crate) const VOCAB: usize = 6;
pub(crate) const CONTEXT: usize = 400;

/// A cache group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    /// Pages, with a window or none.
    Pages(Option<usize>),
    States,
}

impl Group {
    fn cache_group(self) -> CacheGroup {
        match self {
            Group::Pages(window) => CacheGroup::pages(Vec::new(), [1, 1, 1], window),
            Group::States => CacheGroup::states(Vec::new(), 1),
        }
    }
}

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
    /// Panics once, in this step, and computes other logits from then on.
    DamagedAt(u64),
}

/// A position's keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    hash: u64,
    token: u32,
}

/// Content of a page that was never written, or was given back.
const POISON: Entry = Entry { hash: 0xBAD, token: 0xBAD };

/// The KV pool: by cache group and slot.
#[derive(Debug, Clone)]
pub(crate) struct Pool(Arc<Mutex<Vec<Vec<Entry>>>>);

impl Pool {
    /// Overwrites pages that no row may read any more.
    pub(crate) fn poison(&self, group: usize, pages: &[PageId]) {
        let group = &mut self.0.lock().unwrap_or_else(|e| e.into_inner())[group];
        for page in pages {
            group[page.0 as usize * PAGE_LEN..][..PAGE_LEN].fill(POISON);
        }
    }
}

pub(crate) struct Fake {
    arch: Architecture,
    pub(crate) pool: Pool,
    output: Output,
    /// Steps take time here.
    clock: Arc<AtomicU64>,
    n_steps: u64,
    pub(crate) fault: Fault,
    /// Microseconds of a step, beside 3 for each row.
    pub(crate) step_time: u64,
    /// Does it choose tokens as a device does?
    pub(crate) chooses: bool,
    /// As a draft model it prefers the token of the other model in this many of 100 rows.
    pub(crate) agreement: u64,
    chain: Vec<Option<u32>>,
}

impl Fake {
    /// One cache group without a window.
    pub(crate) fn new(n_pages: usize, clock: Arc<AtomicU64>) -> Fake {
        Fake::with_cache(&[Group::Pages(None)], &[n_pages], clock)
    }

    /// Cache groups and their numbers of pages.
    pub(crate) fn with_cache(groups: &[Group], n_pages: &[usize], clock: Arc<AtomicU64>) -> Fake {
        let arch = Architecture {
            family: "fake",
            dim: 1,
            vocab_size: VOCAB,
            context_len: CONTEXT,
            norm_eps: 0.0,
            norms: NormNames::USUAL,
            output_norm: "output_norm.weight",
            embedding_scale: 1.0,
            residual_scale: None,
            logit_scale: None,
            per_layer: None,
            final_softcap: None,
            layers: Vec::new(),
            ropes: Vec::new(),
            cache_groups: groups.iter().map(|group| group.cache_group()).collect(),
            n_draft_layers: 0,
            draft_block: None,
            required: &[],
        };
        let pool = n_pages.iter().map(|n| vec![POISON; n * PAGE_LEN]).collect();
        let pool = Pool(Arc::new(Mutex::new(pool)));
        let (output, chain) = Default::default();
        let (n_steps, fault, step_time, chooses, agreement) = (0, Fault::None, 100, false, 100);
        Fake { arch, pool, output, clock, n_steps, fault, step_time, chooses, agreement, chain }
    }

    fn is_states(&self, group: usize) -> bool {
        matches!(self.arch.cache_groups[group].kind, CacheKind::State { .. })
    }

    /// The state that a span begins with; `None` without recurrent layers. No other span writes it.
    fn state(&self, pool: &[Vec<Entry>], batch: &Batch, span: &Span) -> Option<u64> {
        let mut found = None;
        for group in (0..pool.len()).filter(|&group| self.is_states(group)) {
            let (before, after) = batch.states(span, group);
            for other in batch.spans().iter().filter(|other| *other != span) {
                let (other_before, other_after) = batch.states(other, group);
                assert!(after != other_after && Some(after) != other_before, "states are of one sequence");
            }
            let hash = before.map_or(0, |page| pool[group][page.0 as usize * PAGE_LEN].hash);
            assert!(hash != POISON.hash, "group {group}: the state before {}", span.start);
            assert!(
                found.is_none_or(|other| other == hash),
                "group {group}: the state before {}",
                span.start
            );
            found = Some(hash);
        }
        found
    }

    /// The hash of all tokens before `position`, verified in every cache group of pages and against the state.
    fn before(
        &self,
        pool: &[Vec<Entry>],
        batch: &Batch,
        span: &Span,
        position: usize,
        state: Option<u64>,
    ) -> u64 {
        let mut found = state.or((position == 0).then_some(0));
        for (group, (shape, entries)) in self.arch.cache_groups.iter().zip(pool).enumerate() {
            if self.is_states(group) {
                continue;
            }
            let start = shape.window().map_or(0, |window| (position + 1).saturating_sub(window));
            let at = |position: usize| entries[batch.slot(span, group, position).0 as usize];
            let follows = |p: usize| {
                let (before, entry) = (at(p - 1).hash, at(p));
                assert_eq!(entry.hash, hash(before, entry.token), "group {group}: {p} of {position}");
            };
            // Every page's first entry and the two around it, and the last.
            for page in start / PAGE_LEN..position.div_ceil(PAGE_LEN) {
                let first = (page * PAGE_LEN).max(start);
                (first.max(start + 1)..(first + 2).min(position)).for_each(follows);
            }
            if start < position {
                let hash = at(position - 1).hash;
                assert!(hash != POISON.hash, "group {group} at {position}");
                assert!(found.is_none_or(|other| other == hash), "group {group} at {position}");
                found = Some(hash);
            }
        }
        found.expect("a group sees more than the row itself")
    }
}

impl Model for Fake {
    fn architecture(&self) -> &Architecture {
        &self.arch
    }

    fn step(&mut self, batch: &Batch) -> Result<&Output, StepError> {
        self.n_steps += 1;
        self.clock.fetch_add(self.step_time + 3 * batch.n_rows() as u64, Ordering::Relaxed);
        match self.fault {
            Fault::PanicOnceAt(step) | Fault::DamagedAt(step) => assert!(self.n_steps != step, "once"),
            Fault::PanicFrom(step) => assert!(self.n_steps < step, "for ever"),
            _ => {}
        }
        let mut hashes = vec![0; batch.n_rows()];
        let mut pool = self.pool.0.lock().unwrap_or_else(|e| e.into_inner());
        for span in batch.spans() {
            let mut state = self.state(&pool, batch, span);
            for row in span.rows.clone() {
                let (position, token) = (batch.positions()[row] as usize, batch.tokens()[row]);
                hashes[row] = hash(self.before(&pool, batch, span, position, state), token);
                state = state.map(|_| hashes[row]);
                assert!(self.fault != Fault::PanicOn(hashes[row]), "this one");
                for (group, entries) in pool.iter_mut().enumerate().filter(|(g, _)| !self.is_states(*g)) {
                    let slot = batch.slot(span, group, position).0 as usize;
                    entries[slot] = Entry { hash: hashes[row], token };
                }
            }
            for (group, entries) in pool.iter_mut().enumerate().filter(|(g, _)| self.is_states(*g)) {
                let (_, after) = batch.states(span, group);
                let hash = state.expect("a model with recurrent layers has states");
                entries[after.0 as usize * PAGE_LEN] = Entry { hash, token: 0 };
            }
        }
        drop(pool);
        let agreement = self.agreement;
        let is_damaged = matches!(self.fault, Fault::DamagedAt(step) if self.n_steps > step);
        self.output.fill(batch, VOCAB, |row, out| {
            logits(hashes[row], batch.tokens()[row], out);
            if is_damaged || hashes[row] / 7 % 100 >= agreement {
                out.rotate_right(1);
            }
        });
        Ok(&self.output)
    }

    fn page_bytes(&mut self) -> Option<&mut dyn PageBytes> {
        Some(self)
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

/// Bytes of a position's keys and values.
const ENTRY_BYTES: usize = 12;
/// Bytes of a page.
pub(crate) const PAGE_BYTES: usize = PAGE_LEN * ENTRY_BYTES;

impl PageBytes for Fake {
    fn placement(&self) -> String {
        "fake".into()
    }

    fn n_bytes(&self, _: usize) -> usize {
        PAGE_BYTES
    }

    fn read(&mut self, group: usize, page: PageId, out: &mut [u8]) -> Result<(), StepError> {
        let pool = self.pool.0.lock().unwrap_or_else(|e| e.into_inner());
        let entries = &pool[group][page.0 as usize * PAGE_LEN..][..PAGE_LEN];
        for (entry, out) in entries.iter().zip(out.as_chunks_mut::<ENTRY_BYTES>().0) {
            out[..8].copy_from_slice(&entry.hash.to_le_bytes());
            out[8..].copy_from_slice(&entry.token.to_le_bytes());
        }
        Ok(())
    }

    fn write(&mut self, group: usize, page: PageId, bytes: &[u8]) -> Result<(), StepError> {
        let mut pool = self.pool.0.lock().unwrap_or_else(|e| e.into_inner());
        let entries = &mut pool[group][page.0 as usize * PAGE_LEN..][..PAGE_LEN];
        for (entry, bytes) in entries.iter_mut().zip(bytes.as_chunks::<ENTRY_BYTES>().0) {
            let (hash, token) = bytes.split_first_chunk().expect("twelve bytes");
            let token = token.first_chunk().expect("four bytes");
            *entry = Entry { hash: u64::from_le_bytes(*hash), token: u32::from_le_bytes(*token) };
        }
        Ok(())
    }
}

impl Chaining for Fake {
    fn chain(&mut self, batch: &Batch, n: usize) -> Result<&[Option<u32>], StepError> {
        self.step(batch)?;
        let mut chain = Vec::new();
        let n_groups = self.arch.cache_groups.len();
        let is_chained = |span: &&Span| matches!(batch.wants()[span.rows.start], Want::Sample(_));
        for span in batch.spans().iter().filter(is_chained) {
            assert_eq!(span.rows.len(), 1, "a sequence in a chain has a row");
            chain.push(token_of(&self.output, span.rows.start));
        }
        let n_chained = chain.len();
        let first = std::mem::take(&mut self.output);
        for i in 1..n {
            let mut step = Batch::default();
            for (span_idx, span) in batch.spans().iter().filter(is_chained).enumerate() {
                let token = chain[(i - 1) * n_chained + span_idx].expect("logits are numbers");
                let tables: Vec<PageTable> = (0..n_groups).map(|g| batch.page_table(span, g)).collect();
                step.push(&[token], span.start + i, &tables, batch.wants()[span.rows.start]);
            }
            self.step(&step)?;
            chain.extend((0..n_chained).map(|row| token_of(&self.output, row)));
        }
        // Only its rows that want logits count.
        self.output = first;
        self.chain = chain;
        Ok(&self.chain)
    }
}

fn token_of(output: &Output, row: usize) -> Option<u32> {
    match output.get(row) {
        Some(RowOutput::Token(token)) => Some(token),
        other => panic!("a row in a chain samples, not {other:?}"),
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
