//! A sequence as the scheduler knows it.

use inferno_model::batch::PAGE_LEN;

use crate::cache::{NodeId, Stop};
use crate::pages::Table;
use crate::queue::Waiting;
use crate::request::{Micros, SeqId};

/// Borders of a sequence, at most: each cuts a step.
const MAX_BORDERS: usize = 32;

/// A sequence: its tokens, pages and place.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub(crate) id: SeqId,
    /// Prompt and completion.
    pub(crate) tokens: Vec<u32>,
    pub(crate) n_prompt: usize,
    /// Tokens it can have at most.
    pub(crate) max_len: usize,
    /// Positions with keys and values.
    pub(crate) n_computed: usize,
    /// Positions that were computed, some of which recurrent layers have to compute once more: see
    /// [`Scheduler::commit`](super::Scheduler::commit).
    pub(super) n_seen: usize,
    /// Position of the first decode row: of the last token that was sampled, or of the prompt's last one. Forced tokens may
    /// follow it.
    pub(super) decodes_from: usize,
    /// By cache group.
    pub(crate) tables: Vec<Table>,
    /// The nodes of its first pages, those that are in the tree.
    pub(super) path: Vec<NodeId>,
    pub(crate) salt: u64,
    pub(crate) tenant: u32,
    pub(crate) class: i32,
    pub(crate) arrived: Micros,
    pub(crate) deadline: Option<Micros>,
    /// Rows of the prompt whose logits are wanted and have not been seen are not taken from the cache.
    pub(crate) scored: Option<usize>,
    /// Whether a grammar may force tokens of it.
    pub(super) is_constrained: bool,
    pub(crate) n_preemptions: u32,
    /// Must steps with it have nobody else? It was in one that failed.
    pub(crate) alone_until: usize,
    /// Are all pages it can need reserved? It was preempted often enough.
    pub(super) is_pinned: bool,
    /// It waits until that sequence has so many nodes.
    pub(super) waits_for: Option<(SeqId, usize)>,
    /// While it waits for pages from disk: [`n_arrived`](crate::cache::KvCache::n_arrived) when it last looked.
    pub(super) waits_for_disk: Option<u64>,
    pub(super) is_running: bool,
    /// When it was last admitted, as a count.
    pub(super) admitted: u64,
    /// Of the first admission: tokens that were cached, and why not more.
    pub(crate) first_match: Option<(usize, Stop)>,
    /// Pages after which prompts are likely to resume, beside its prompt's end: a model with recurrent layers keeps its state
    /// there.
    pub(super) borders: Vec<usize>,
}

impl Sequence {
    /// Whether nothing is left to compute but the last sampled token and the forced ones after it.
    pub(crate) fn is_decoding(&self) -> bool {
        self.n_computed >= self.decodes_from
    }

    /// The last page boundary before its last token: where what is known of it now could be resumed.
    pub(super) fn last_boundary(&self) -> usize {
        (self.tokens.len() - 1) / PAGE_LEN * PAGE_LEN
    }

    /// Pages of the prompt after which the same prompt resumes, with another end or another seed.
    pub(super) fn resumes_at(&self) -> usize {
        (self.n_prompt - 1) / PAGE_LEN
    }

    /// Tokens, of the first `limit`, that are `other`'s too.
    pub(super) fn tokens_in_common(&self, other: &Sequence, limit: usize) -> usize {
        let pairs = other.tokens[..limit].iter().zip(&self.tokens);
        pairs.take_while(|(a, b)| a == b).count()
    }

    /// Rows of its next decode step that are there in any case: those to be computed once more, and the decode row.
    pub(super) fn n_own_rows(&self) -> usize {
        self.n_seen.saturating_sub(self.n_computed) + 1
    }

    /// Whether all is computed that it can have.
    pub(super) fn has_all(&self) -> bool {
        let has_tokens = self.tokens.len() == self.max_len;
        // The last token of a completion is never computed.
        has_tokens && self.n_computed + usize::from(self.max_len > self.n_prompt) >= self.max_len
    }

    /// Notes that prompts are likely to resume after `n` pages.
    pub(super) fn add_border(&mut self, n: usize) {
        if n > 0 && !self.borders.contains(&n) && self.borders.len() < MAX_BORDERS {
            self.borders.push(n);
        }
    }

    pub(super) fn waiting(&self) -> Waiting {
        let n_tokens = self.tokens.len();
        Waiting { id: self.id, tenant: self.tenant, class: self.class, arrived: self.arrived, n_tokens }
    }

    /// Tokens that may come from the cache: never the last, as its row is what says how to go on.
    pub(super) fn cacheable(&self) -> usize {
        let last = self.tokens.len() - 1;
        self.scored.map_or(last, |scored| scored.min(last))
    }
}

/// What a new sequence comes with.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) id: SeqId,
    pub(crate) tokens: Vec<u32>,
    pub(crate) max_len: usize,
    pub(crate) salt: u64,
    pub(crate) tenant: u32,
    pub(crate) class: i32,
    pub(crate) now: Micros,
    pub(crate) deadline: Option<Micros>,
    pub(crate) scored: bool,
    pub(crate) is_constrained: bool,
    /// See [`Request::borders`](crate::Request::borders).
    pub(crate) borders: Vec<usize>,
}
