//! A look inside.

use std::collections::HashMap;
use std::time::Duration;

use foldhash::fast::RandomState;

use super::Core;
use crate::request::{RequestId, SeqId};
use crate::scheduler::Sequence;

/// What the engine holds, for a look inside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// All sequences, by number.
    pub sequences: Vec<SequenceState>,
    /// Runs of 32 tokens in the prefix cache.
    pub n_nodes: usize,
}

/// A sequence in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceState {
    /// Its number.
    pub id: SeqId,
    /// Its request.
    pub request: RequestId,
    /// Which of the request's choices.
    pub choice_idx: u32,
    /// Whose it is.
    pub tenant: u32,
    /// Its class.
    pub priority: i32,
    /// How many wait before it; `None` if it runs.
    pub place: Option<usize>,
    /// Tokens of the prompt.
    pub n_prompt: usize,
    /// Of them, found in the cache when it first started.
    pub n_cached: usize,
    /// Tokens of the completion so far.
    pub n_completion: usize,
    /// Tokens of prompt and completion, at most.
    pub max_len: usize,
    /// Positions with keys and values.
    pub n_computed: usize,
    /// Pages it holds, in all cache groups.
    pub n_pages: usize,
    /// How often it lost its pages to others.
    pub n_preemptions: u32,
    /// How long it has been here.
    pub age: Duration,
    /// Time until its first token, about; `None` if it runs.
    pub eta: Option<Duration>,
}

impl Core {
    /// A look inside.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let now = (self.clock)();
        let places = self.scheduler.places();
        let mut etas: HashMap<SeqId, Duration, RandomState> = HashMap::default();
        self.foresee(|id, turn| {
            etas.insert(id, Duration::from_micros(turn.first_token));
        });
        let state = |s: &Sequence| {
            let live = &self.live[&s.id];
            SequenceState {
                id: s.id,
                request: live.request,
                choice_idx: live.choice_idx,
                tenant: s.tenant,
                priority: s.class,
                place: places.get(&s.id).copied(),
                n_prompt: s.n_prompt,
                n_cached: live.usage.n_cached,
                n_completion: s.tokens.len() - s.n_prompt,
                max_len: s.max_len,
                n_computed: s.n_computed,
                n_pages: s.tables.iter().map(|table| table.held().count()).sum(),
                n_preemptions: s.n_preemptions,
                age: Duration::from_micros(now - live.submitted),
                eta: etas.get(&s.id).copied(),
            }
        };
        let mut sequences: Vec<SequenceState> = self.scheduler.sequences().map(state).collect();
        sequences.sort_by_key(|s| s.id);
        Snapshot { sequences, n_nodes: self.scheduler.cache().n_nodes() }
    }
}
