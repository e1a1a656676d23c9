//! A model with a smaller one beside it that proposes tokens (speculative decoding, <https://arxiv.org/abs/2211.17192>).
//!
//! ```text
//! draft model    t9 → d10    d10 → d11    d11 → d12        one step each, all sequences in it
//! model          t9 d10 d11 d12                            one step, which verifies the proposals
//! ```
//!
//! The draft model stores its keys and values by the pages of the model: pages that are shared, cached, preempted or freed need
//! no further bookkeeping, as `coverage.rs` knows which positions of a page the draft model has. Where it lacks some, as after
//! a prompt or after steps without proposals, it computes them when it is asked next.
//!
//! A draft layer of the model's own (multi-token prediction) takes the draft model's place in the same way: its row at position `p` has
//! token `p + 1`, and the model's hidden row `p`, which is kept by slot.

mod coverage;
mod own_layer;
mod pages;

use std::sync::Arc;

use crate::architecture::{Architecture, CacheKind};
use crate::batch::{Batch, PAGE_LEN, PageId, Want};
use crate::error::StepError;
use crate::heartbeat::Heartbeat;
use crate::model::{Chaining, Drafting, Lead, Model, PageBytes, Proposals};
use crate::output::{Output, RowOutput};
use coverage::Coverage;
use own_layer::HiddenRows;
pub use own_layer::hidden_page_bytes;

/// Rows of a call that the draft model computes of sequences that it is behind, at most: a long prompt is spread over several steps,
/// so that the other sequences of these steps do not wait.
const MOST_BEHIND: usize = 256;
/// Rows of a sequence that do not count: the last accepted draft, and rows that the model itself computes once more.
const ALWAYS_BEHIND: usize = 8;

/// Reasons for which two models are no pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DraftError {
    /// The model keeps pages for no more than a window, or none at all.
    #[error(
        "no layer of a `{family}` model attends to all positions: a draft model needs pages for every position"
    )]
    ModelForgets {
        /// Of the model.
        family: &'static str,
    },
    /// Steps of the draft model update states.
    #[error(
        "a `{family}` model has recurrent layers, whose state cannot take back a rejected draft token: choose a draft model without"
    )]
    DraftHasStates {
        /// Of the draft model.
        family: &'static str,
    },
    /// The model is to draft for itself, and its draft layer is not there.
    #[error("the draft layer is loaded only where one device has all layers of the model")]
    NoLayer,
}

/// A model and its draft model. Its steps are the model's own, to the bit.
pub struct Drafted {
    model: Box<dyn Model>,
    proposer: Proposer,
    group: usize,
    coverage: Coverage,
    /// Placement of the model's pages and bytes of each by cache group, where they can be copied.
    page_bytes: Option<(String, Vec<usize>)>,
    /// Whether the draft model's last step ended well, so that `coverage` holds.
    is_sound: bool,
    proposals: Proposals,
    s: Scratch,
}

/// The source of proposals.
enum Proposer {
    /// Another model.
    Model(Box<dyn Model>),
    /// The model's draft layer.
    OwnLayer(HiddenRows),
}

/// Reused from call to call.
#[derive(Default)]
struct Scratch {
    batch: Batch,
    spans: Vec<DraftSpan>,
    /// Pages that the draft model's step writes.
    pages: Vec<PageId>,
}

/// A lead in a step of the draft model.
struct DraftSpan {
    lead: usize,
    /// Its last row in the batch, and among the rows of the batch that want something.
    row: usize,
    wanted: usize,
    /// Tokens to propose.
    n: usize,
}

/// The cache group of `model` by whose pages `draft` stores its keys and values: one that keeps all positions.
///
/// # Errors
/// The two are no pair.
pub fn group_of(model: &Architecture, draft: &Architecture) -> Result<usize, DraftError> {
    if draft.cache_groups.iter().any(|group| matches!(group.kind, CacheKind::State { .. })) {
        return Err(DraftError::DraftHasStates { family: draft.family });
    }
    let group = model.cache_groups.iter().position(|group| group.window().is_none());
    group.ok_or(DraftError::ModelForgets { family: model.family })
}

impl Drafted {
    /// `model`, whose pool has `n_pages` pages in the group of [`group_of`], and `draft`, whose pool has as many in each of its
    /// groups.
    ///
    /// # Errors
    /// The two are no pair.
    pub fn new(
        model: Box<dyn Model>,
        mut draft: Box<dyn Model>,
        n_pages: usize,
    ) -> Result<Drafted, DraftError> {
        let group = group_of(model.architecture(), draft.architecture())?;
        if let Some(heartbeat) = model.heartbeat() {
            draft.beat(heartbeat);
        }
        let coverage = Coverage::new(n_pages, group, 0);
        Ok(Drafted::with(model, Proposer::Model(draft), group, coverage))
    }

    /// `model`, which drafts for itself and whose pool has `n_pages` pages in the
    /// [group](crate::architecture::DraftBlockShape::group) of its draft layer.
    ///
    /// # Errors
    /// The draft layer is not loaded.
    pub fn with_own_layer(mut model: Box<dyn Model>, n_pages: usize) -> Result<Drafted, DraftError> {
        let arch = model.architecture();
        let (dim, block) = (arch.dim, arch.draft_block.as_ref().ok_or(DraftError::NoLayer)?);
        let group = block.group;
        if model.draft_block().is_none() {
            return Err(DraftError::NoLayer);
        }
        let proposer = Proposer::OwnLayer(HiddenRows::new(n_pages, dim, group));
        Ok(Drafted::with(model, proposer, group, Coverage::new(n_pages, group, 1)))
    }

    fn with(mut model: Box<dyn Model>, proposer: Proposer, group: usize, coverage: Coverage) -> Drafted {
        let (proposals, s) = Default::default();
        let groups = 0..model.architecture().cache_groups.len();
        let page_bytes = model.page_bytes().map(|pages| {
            let n_bytes = groups.map(|group| pages.n_bytes(group)).collect();
            (pages.placement(), n_bytes)
        });
        Drafted { model, proposer, group, coverage, page_bytes, is_sound: true, proposals, s }
    }

    /// The first step of the draft model: rows of each sequence up to its last token, as far as it may be behind. `s.spans` are
    /// those that propose a token.
    fn plan_first(&mut self, leads: &[Lead<'_>], vocab_size: usize) {
        let Drafted { model, proposer, coverage, proposals, s, .. } = self;
        let (context_len, n_groups) = proposer.room(model.architecture());
        let shift = coverage.shift();
        let (mut left, mut n_wanted) = (MOST_BEHIND, 0);
        s.batch.clear();
        s.spans.clear();
        s.pages.clear();
        for (i, lead) in leads.iter().enumerate() {
            assert_eq!(lead.pages.first_page, 0, "pages for every position");
            let last = lead.tokens.len() - 1;
            let n = lead.n.min(context_len.saturating_sub(last));
            let start = coverage.first_gap(lead.pages, lead.n_computed.saturating_sub(shift)) + shift;
            let Some(n_behind) = last.checked_sub(start) else { continue };
            let n_behind = if n_behind <= ALWAYS_BEHIND { n_behind } else { n_behind.min(left) };
            let is_there = start + n_behind == last;
            let rows = start..start + n_behind + usize::from(is_there);
            if n == 0
                || rows.is_empty()
                || lead.tokens[rows.clone()].iter().any(|&t| t as usize >= vocab_size)
            {
                continue;
            }
            let positions = rows.start - shift..rows.end - shift;
            let pages = lead.pages.range(positions.start / PAGE_LEN..positions.end.div_ceil(PAGE_LEN));
            // Sequences that share a page are not behind on it in the same step.
            if pages.iter().any(|page| s.pages.contains(page)) {
                continue;
            }
            s.pages.extend_from_slice(pages);
            left = left.saturating_sub(n_behind);
            proposals.n_behind += n_behind;
            let want = if is_there { Want::Sample(lead.spec) } else { Want::Nothing };
            s.batch.push(&lead.tokens[rows], positions.start, &vec![lead.pages; n_groups], want);
            let (row, n) = (s.batch.n_rows() - 1, if is_there { n } else { 0 });
            s.spans.push(DraftSpan { lead: i, row, wanted: n_wanted, n });
            n_wanted += usize::from(is_there);
        }
    }

    /// Steps of the draft model until every lead has its proposals.
    fn run(&mut self, leads: &[Lead<'_>], vocab_size: usize) -> Result<(), StepError> {
        self.plan_first(leads, vocab_size);
        let Drafted { model, proposer, coverage, proposals, s, .. } = self;
        let Scratch { batch, spans, .. } = s;
        if batch.n_rows() == 0 {
            return Ok(());
        }
        let output = match proposer {
            Proposer::Model(draft) => draft.step(batch)?,
            Proposer::OwnLayer(hidden) => hidden.step_from_model(&mut **model, batch)?,
        };
        proposals.n_steps += 1;
        coverage.add(batch, |span| leads[spans[span].lead].n_computed);
        spans.retain(|span| {
            let token = sampled(output, span.row).filter(|&token| (token as usize) < vocab_size);
            proposals.tokens[span.lead].extend(token);
            token.is_some() && span.n > 1
        });
        while !self.s.spans.is_empty() {
            self.go_on(leads, vocab_size)?;
        }
        Ok(())
    }

    /// The next step, or several in a row where the device samples, for the sequences that lack proposals.
    fn go_on(&mut self, leads: &[Lead<'_>], vocab_size: usize) -> Result<(), StepError> {
        let Drafted { model, proposer, coverage, proposals, s, .. } = self;
        let Scratch { batch, spans, .. } = s;
        let (_, n_groups) = proposer.room(model.architecture());
        batch.clear();
        for span in spans.iter() {
            let (lead, proposed) = (&leads[span.lead], &proposals.tokens[span.lead]);
            let token = *proposed.last().expect("the first step proposed one");
            let position = lead.tokens.len() - 1 + proposed.len() - coverage.shift();
            batch.push(&[token], position, &vec![lead.pages; n_groups], Want::Sample(lead.spec));
        }
        let suits = spans.iter().all(|span| leads[span.lead].spec.suits_devices());
        let n_left = spans.iter().map(|span| span.n - proposals.tokens[span.lead].len()).min();
        let n_spans = spans.len();
        let all = |output: &Output| (0..n_spans).map(|row| sampled(output, row)).collect();
        let tokens: Vec<Option<u32>> = match proposer {
            Proposer::Model(draft) => match (draft.chaining(), n_left) {
                (Some(chaining), Some(n @ 2..)) if suits => chaining.chain(batch, n)?.to_vec(),
                _ => all(draft.step(batch)?),
            },
            Proposer::OwnLayer(hidden) => {
                let before = spans.iter().map(|span| span.wanted);
                all(hidden.step_from_layer(&mut **model, batch, before)?)
            }
        };
        proposals.n_steps += tokens.len() / n_spans;
        for (i, span) in spans.iter_mut().enumerate() {
            span.wanted = i;
            let (lead, proposed) = (&leads[span.lead], &mut proposals.tokens[span.lead]);
            for &token in tokens[i..].iter().step_by(n_spans) {
                let last = *proposed.last().expect("the first step proposed one");
                coverage.add_ahead(lead.pages, lead.tokens.len() - 1 + proposed.len(), last);
                match token.filter(|&token| (token as usize) < vocab_size) {
                    Some(token) => proposed.push(token),
                    None => {
                        span.n = 0;
                        break;
                    }
                }
            }
        }
        spans.retain(|span| proposals.tokens[span.lead].len() < span.n);
        Ok(())
    }
}

impl Proposer {
    /// Positions of a sequence, at most, and page tables of a span.
    fn room(&self, model: &Architecture) -> (usize, usize) {
        match self {
            Proposer::Model(draft) => {
                (draft.architecture().context_len, draft.architecture().cache_groups.len())
            }
            Proposer::OwnLayer(_) => (model.context_len, 1),
        }
    }

    /// Tokens that it knows.
    fn vocab_size(&self, model: &Architecture) -> usize {
        match self {
            Proposer::Model(draft) => draft.architecture().vocab_size.min(model.vocab_size),
            Proposer::OwnLayer(_) => model.vocab_size,
        }
    }
}

/// The token that was sampled for a row, if it wanted one and there is one.
fn sampled(output: &Output, row: usize) -> Option<u32> {
    match output.get(row) {
        Some(RowOutput::Token(token)) => Some(token),
        _ => None,
    }
}

impl Drafting for Drafted {
    fn group(&self) -> usize {
        self.group
    }

    fn draft(&mut self, leads: &[Lead<'_>]) -> Result<&Proposals, StepError> {
        let vocab_size = self.proposer.vocab_size(self.model.architecture());
        if !std::mem::replace(&mut self.is_sound, false) {
            self.coverage.forget();
        }
        let Proposals { tokens, n_steps, n_behind } = &mut self.proposals;
        (*n_steps, *n_behind) = (0, 0);
        tokens.iter_mut().for_each(Vec::clear);
        tokens.resize_with(leads.len(), Vec::new);
        self.run(leads, vocab_size)?;
        self.is_sound = true;
        Ok(&self.proposals)
    }
}

impl Model for Drafted {
    fn architecture(&self) -> &Architecture {
        self.model.architecture()
    }

    fn step(&mut self, batch: &Batch) -> Result<&Output, StepError> {
        self.coverage.cut(batch, 1);
        self.model.step(batch)?;
        if let Proposer::OwnLayer(hidden) = &mut self.proposer {
            hidden.keep(&mut *self.model, batch)?;
        }
        Ok(self.model.output())
    }

    fn output(&self) -> &Output {
        self.model.output()
    }

    fn chooses(&self) -> bool {
        self.model.chooses()
    }

    fn chaining(&mut self) -> Option<&mut dyn Chaining> {
        // Hidden rows of a chain's steps do not come to the host.
        let can_chain = matches!(self.proposer, Proposer::Model(_)) && self.model.chaining().is_some();
        if can_chain { Some(self) } else { None }
    }

    fn drafting(&mut self) -> Option<&mut dyn Drafting> {
        Some(self)
    }

    fn page_bytes(&mut self) -> Option<&mut dyn PageBytes> {
        if self.page_bytes.is_some() { Some(self) } else { None }
    }

    fn heartbeat(&self) -> Option<Arc<Heartbeat>> {
        self.model.heartbeat()
    }

    fn beat(&mut self, heartbeat: Arc<Heartbeat>) {
        if let Proposer::Model(draft) = &mut self.proposer {
            draft.beat(Arc::clone(&heartbeat));
        }
        self.model.beat(heartbeat);
    }
}

impl Chaining for Drafted {
    fn chain(&mut self, batch: &Batch, n: usize) -> Result<&[Option<u32>], StepError> {
        self.coverage.cut(batch, n);
        let Some(chaining) = self.model.chaining() else {
            return Err(StepError { what: "the model cannot chain steps".into() });
        };
        chaining.chain(batch, n)
    }
}
