//! A sequence as the scheduler knows it.

use crate::cache::{NodeId, Stop};
use crate::pages::Table;
use crate::queue::Waiting;
use crate::request::{Micros, SeqId};

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
    pub(super) is_running: bool,
    /// When it was last admitted, as a count.
    pub(super) admitted: u64,
    /// Of the first admission: tokens that were cached, and why not more.
    pub(crate) first_match: Option<(usize, Stop)>,
}

impl Sequence {
    /// Whether nothing is left to compute but the last sampled token and the forced ones after it.
    pub(crate) fn is_decoding(&self) -> bool {
        self.n_computed >= self.decodes_from
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
}
