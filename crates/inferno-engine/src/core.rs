//! The engine without its thread: requests in, steps, events out.

mod admission;
mod away;
mod chain;
mod constraint;
mod deliver;
pub(crate) mod disk;
mod foresee;
mod health;
mod keep;
mod live;
mod mask_threads;
mod propose;
mod snapshot;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use inferno_model::architecture::MAX_CACHE_GROUPS;
use inferno_model::batch::{Batch, PageId, Want};
use inferno_model::model::Model;

use crate::cache::{Move, Room};
use crate::draft::{Drafts, StepCost};
use crate::forecast::{Ending, Experience};
use crate::metrics::Metrics;
use crate::pages::PageCounts;
use crate::request::{Event, Finish, Micros, Refusal, Request, RequestId, SeqId, Usage};
use crate::sampler::{Chooser, History, TokenLogprob};
use crate::scheduler::{Arrival, Limits, Plan, PlanSpan, Scheduler};
pub use admission::Shape;
pub(crate) use admission::check;
use away::Store;
use constraint::Constraint;
pub use disk::DiskCache;
pub use health::{logits_hash, words};
use health::{prompt_hash, self_test, tell};
use live::Live;
use mask_threads::MaskThreads;
pub use snapshot::{SequenceState, Snapshot};

/// Where a request's events go. It must not block.
pub type Sink = Arc<dyn Fn(Event) + Send + Sync>;

/// The time.
pub(crate) type Clock = Arc<dyn Fn() -> Micros + Send + Sync>;

/// A prompt that made a step fail is refused for so long.
const POISON_TIME: Micros = 60_000_000;

/// Cache groups of a model, at most: families have one or two.
pub(crate) const MAX_GROUPS: usize = MAX_CACHE_GROUPS;

/// One model, and the sequences on it.
pub(crate) struct Core {
    model: Box<dyn Model>,
    clock: Clock,
    scheduler: Scheduler,
    live: HashMap<SeqId, Live, RandomState>,
    requests: HashMap<RequestId, Vec<SeqId>, RandomState>,
    n_sequences: u64,
    drafts: Drafts,
    /// Threads for masks, at most; they start with the first grammar.
    n_mask_threads: usize,
    mask_threads: Option<MaskThreads>,
    scratch: Scratch,
    /// Pages that have left the KV pool.
    store: Store,
    metrics: Metrics,
    experience: Experience,
    /// Prompts that made a step fail, and until when they are refused.
    poisonous: HashMap<u64, Micros, RandomState>,
    /// The logits of [`self_test`] when all was well, if it has run and passed.
    healthy: Option<u64>,
    is_tested: bool,
}

/// Reused from step to step.
#[derive(Default)]
struct Scratch {
    plan: Plan,
    batch: Batch,
    tokens: Vec<u32>,
    wants: Vec<Want>,
    /// Spans that take part in all steps of a chain, in the plan's order; empty without one.
    chained: Vec<PlanSpan>,
    /// (steps, chained spans) their tokens
    chain: Vec<Option<u32>>,
    chosen: Vec<(u32, Option<TokenLogprob>)>,
    chooser: Chooser,
    /// Pages with states of a sequence, by cache group end to end.
    state_pages: Vec<PageId>,
}

/// The model is broken: the self-test fails after a step did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the model failed and does not recover: {cause}")]
pub struct Broken {
    /// The first failure's words.
    pub cause: String,
}

impl Core {
    pub(crate) fn new(mut model: Box<dyn Model>, limits: Limits, clock: Clock) -> Core {
        let groups = &model.architecture().cache_groups;
        let n_groups = groups.len();
        assert!(n_groups <= MAX_GROUPS, "a model has few cache groups");
        let (draft_tokens, memory) = (limits.draft_tokens, limits.max_away_bytes);
        let mut scheduler = Scheduler::new(limits, groups);
        if let Some(pages) = model.page_bytes().filter(|_| memory > 0) {
            let page_bytes = (0..n_groups).map(|group| pages.n_bytes(group) as u64).collect();
            scheduler.cache_mut().keep_away(Room { page_bytes, memory, disk: 0, transit: 0 });
        }
        let drafts = match model.drafting() {
            Some(_) => Drafts::with_model(draft_tokens),
            None => Drafts::default(),
        };
        Core {
            model,
            clock,
            scheduler,
            live: HashMap::default(),
            requests: HashMap::default(),
            n_sequences: 0,
            drafts,
            n_mask_threads: 0,
            mask_threads: None,
            scratch: Scratch::default(),
            store: Store::default(),
            metrics: Metrics::default(),
            experience: Experience::default(),
            poisonous: HashMap::default(),
            healthy: None,
            is_tested: false,
        }
    }

    /// Computes masks on up to `n` threads of their own while the model computes a step.
    pub(crate) fn with_mask_threads(self, n: usize) -> Core {
        Core { n_mask_threads: n, ..self }
    }

    pub(crate) fn into_model(self) -> Box<dyn Model> {
        self.model
    }

    /// Notes what the model computes while all is well, to compare with after a failure. It takes a step, and no sequence
    /// may run. It writes to a page that nobody else means: never to a cached one.
    pub(crate) fn self_test(&mut self) {
        self.is_tested = true;
        if let Some(pages) = self.scheduler.take_pages_alone() {
            // What was in these pages may have to go elsewhere.
            self.healthy = self.move_pages().ok().and_then(|()| self_test(&mut *self.model, &pages).ok());
            self.scheduler.give_pages_back(&pages);
        }
    }

    pub(crate) fn is_tested(&self) -> bool {
        self.is_tested
    }

    /// Has it nothing to do?
    pub(crate) fn is_idle(&self) -> bool {
        self.scheduler.is_idle()
    }

    #[cfg(test)]
    pub(crate) fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    pub(crate) fn metrics(&self) -> Metrics {
        let cache = self.scheduler.cache();
        let mut group_pages = [PageCounts::default(); MAX_GROUPS];
        group_pages.iter_mut().zip(0..cache.n_groups()).for_each(|(n, group)| *n = cache.page_counts(group));
        Metrics {
            sequences: self.scheduler.counts(),
            pages: group_pages.into_iter().sum(),
            group_pages,
            cache: cache.counts(),
            ..self.metrics
        }
    }

    pub(crate) fn clear_cache(&mut self) -> usize {
        self.scheduler.clear_cache()
    }

    /// Takes a request that [`check`] allows and that was handed in at `submitted`.
    pub(crate) fn submit(&mut self, id: RequestId, request: Request, submitted: Micros, sink: Sink) {
        let now = (self.clock)();
        // Read on another thread, from a clock that may differ by a little there.
        let submitted = submitted.min(now);
        let Request { prompt, max_tokens, n, sampling, priority, tenant, salt, deadline, .. } = request;
        let poison = self.poisonous.get(&prompt_hash(&prompt)).is_some_and(|&until| now < until);
        let mut stops = request.stop_conditions.into_iter();
        let is_constrained = !request.grammars.is_empty();
        let mut grammars = request.grammars.into_iter();
        let vocab_size = self.model.architecture().vocab_size;
        // Mirostat's state goes from token to token.
        let speculates = request.speculate && sampling.mirostat().is_none();
        for choice_idx in 0..n {
            let usage = Usage { n_prompt: prompt.len(), ..Usage::default() };
            if poison {
                let usage = Usage { queued: Duration::from_micros(now - submitted), ..usage };
                let finish = Finish::Failed(Refusal::Poisonous.to_string());
                let _ = tell(&sink, Event::Finished { choice_idx, finish, usage });
                continue;
            }
            self.n_sequences += 1;
            let seq = SeqId(self.n_sequences);
            let mut sampling = sampling.clone();
            sampling.spec.choice_idx = choice_idx;
            let live = Live {
                request: id,
                choice_idx,
                history: History::new(&sampling, &prompt),
                sampling,
                stop: stops.next(),
                constraint: grammars.next().map(|grammar| Box::new(Constraint::new(grammar, vocab_size))),
                prompt_logprobs: request.prompt_logprobs,
                hash_logits: request.hash_logits,
                sink: Arc::clone(&sink),
                usage,
                max_tokens,
                submitted,
                started: None,
                last_token: None,
                n_scored: 1,
            };
            self.live.insert(seq, live);
            self.requests.entry(id).or_default().push(seq);
            if speculates {
                self.drafts.add(seq);
            }
            self.scheduler.add(Arrival {
                id: seq,
                tokens: prompt.clone(),
                max_len: prompt.len() + max_tokens,
                salt,
                tenant,
                class: priority,
                now: submitted,
                deadline: deadline.map(|d| {
                    submitted.saturating_add(Micros::try_from(d.as_micros()).unwrap_or(Micros::MAX))
                }),
                scored: request.prompt_logprobs.is_some(),
                is_constrained,
                borders: request.borders.clone(),
            });
        }
    }

    /// Ends all choices of a request and frees what they have.
    pub(crate) fn cancel(&mut self, id: RequestId) {
        for seq in self.requests.get(&id).cloned().unwrap_or_default() {
            self.finish(seq, Finish::Cancelled);
        }
    }

    /// Ends everything.
    pub(crate) fn fail_all(&mut self, why: &str) {
        let mut all: Vec<SeqId> = self.live.keys().copied().collect();
        all.sort_unstable();
        all.into_iter().for_each(|seq| self.finish(seq, Finish::Failed(why.to_owned())));
    }

    /// One step.
    ///
    /// # Errors
    /// The model failed, and fails its self-test too. All requests have ended.
    pub(crate) fn step(&mut self) -> Result<(), Broken> {
        let start = (self.clock)();
        for seq in self.scheduler.expired(start) {
            self.finish(seq, Finish::Deadline);
        }
        self.hear_disk(None);
        let mut scratch = std::mem::take(&mut self.scratch);
        let budget = self.scheduler.budget();
        let measured = budget.row_times();
        let cost = budget.cost().map(|(base, per_row)| StepCost { base, per_row, measured });
        self.drafts.start_step(cost.map(|cost| (cost, self.scheduler.counts().running)));
        self.scheduler.plan(start, &mut self.drafts, &mut scratch.plan);
        let started = scratch.plan.started.iter();
        let lost: Vec<_> =
            started.filter_map(|&seq| self.start(seq, start).err().map(|why| (seq, why))).collect();
        let mut result = Ok(());
        if !scratch.plan.spans.is_empty() {
            // Before the draft model is asked: what it has of a page ends when the page gets other content.
            let moved = self.move_pages();
            self.propose(&mut scratch.plan);
            for span in scratch.plan.spans.iter().filter(|span| span.drafts.is_empty()) {
                self.scheduler.settle_spares(span.id, true);
            }
            let n = self.chain_len(&scratch.plan, &mut scratch.chained);
            self.fill(&mut scratch);
            self.lend_constraints(&scratch.plan);
            let before = (self.clock)();
            let moved = moved.and_then(|()| self.move_pages());
            let (Core { model, .. }, Scratch { batch, chain, .. }) = (&mut *self, &mut scratch);
            // A step that panics leaves nothing behind that counts: see `restart`.
            let output = catch_unwind(AssertUnwindSafe(|| {
                moved?;
                match model.chaining() {
                    Some(chaining) if n > 1 => {
                        chaining.chain(batch, n).map(|tokens| chain.extend_from_slice(tokens))
                    }
                    _ => model.step(batch).map(|_| ()),
                }
            }));
            let after = (self.clock)();
            self.take_back_constraints();
            match output {
                Ok(Ok(())) => {
                    self.deliver(&mut scratch, after);
                    let each = (after - before) / n as u64;
                    let took = ((self.clock)() - start) / n as u64;
                    self.metrics.busy_time += took * n as u64;
                    let Plan { n_decoding, n_prompt_rows, .. } = scratch.plan;
                    let n_chained = scratch.chained.len();
                    self.metrics.step_sequences += (scratch.plan.spans.len() + (n - 1) * n_chained) as u64;
                    self.experience.speed.observe(n_decoding, n_prompt_rows, took);
                    for i in 0..n {
                        if i == 1 {
                            (scratch.plan.n_rows, scratch.plan.n_decoding) = (n_chained, n_chained);
                            scratch.plan.n_forced_rows = 0;
                        }
                        self.scheduler.observe(&scratch.plan, each);
                        self.metrics.step_time.add(took);
                        self.metrics.overhead_time.add(took.saturating_sub(each));
                        self.metrics.step_rows.add(scratch.plan.n_rows as u64);
                    }
                    self.metrics.steps += n as u64;
                    self.metrics.chained_steps += n as u64 - 1;
                    self.metrics.prompt_tokens += scratch.plan.n_prompt_rows as u64;
                }
                Ok(Err(error)) => result = self.restart(&scratch.plan, &error.to_string()),
                Err(panic) => result = self.restart(&scratch.plan, &words(&*panic)),
            }
        }
        if scratch.plan.spans.is_empty() {
            self.hear_disk((!self.scheduler.is_idle()).then_some(away::WAIT));
        }
        if result.is_ok()
            && let Err(error) = self.move_pages()
        {
            result = self.restart(&scratch.plan, &error.to_string());
        }
        self.scratch = scratch;
        lost.into_iter().for_each(|(seq, why)| self.finish(seq, Finish::Failed(why)));
        result
    }

    /// Has masks computed while the model computes the step, where there are threads for it.
    fn lend_constraints(&mut self, plan: &Plan) {
        if self.n_mask_threads == 0 {
            return;
        }
        for span in &plan.spans {
            let (Some(live), Some(sequence)) = (self.live.get_mut(&span.id), self.scheduler.get(span.id))
            else {
                continue;
            };
            let is_last = span.rows.end == sequence.tokens.len();
            let Some(constraint) = live.constraint.take_if(|c| is_last && !c.is_prepared()) else { continue };
            if self.mask_threads.is_none() {
                self.mask_threads = MaskThreads::start(self.n_mask_threads);
            }
            live.constraint = match &mut self.mask_threads {
                Some(threads) => threads.lend(span.id, constraint).err(),
                None => Some(constraint),
            };
        }
    }

    fn take_back_constraints(&mut self) {
        let Core { mask_threads: Some(threads), live, .. } = self else { return };
        let lost = threads.take_back(|id, constraint| {
            if let Some(live) = live.get_mut(&id) {
                live.constraint = Some(constraint);
            }
        });
        for id in lost {
            self.finish(id, Finish::Failed("the thread with its grammar has ended".into()));
        }
    }

    /// A choice runs for the first time. Its part of the step is planned already: if it cannot be told, it ends after it.
    fn start(&mut self, seq: SeqId, now: Micros) -> Result<(), String> {
        let (Some(live), Some(sequence)) = (self.live.get_mut(&seq), self.scheduler.get(seq)) else {
            return Ok(());
        };
        let Some((n_cached, miss)) = sequence.first_match else { return Ok(()) };
        live.usage.n_cached = n_cached;
        live.start(now);
        self.experience.found(live.usage.n_prompt, n_cached);
        self.metrics.queue_time.add(now - live.submitted);
        tell(&live.sink, Event::Started { choice_idx: live.choice_idx, n_cached, miss })
    }

    /// The end of a choice, told once.
    fn finish(&mut self, seq: SeqId, finish: Finish) {
        let sequence = self.scheduler.remove(seq);
        self.drafts.remove(seq);
        let Some(mut live) = self.live.remove(&seq) else { return };
        if let Some(choices) = self.requests.get_mut(&live.request) {
            choices.retain(|other| *other != seq);
            if choices.is_empty() {
                self.requests.remove(&live.request);
            }
        }
        live.end((self.clock)());
        let n = live.usage.n_completion;
        let has_ended = !matches!(finish, Finish::Length | Finish::Failed(_));
        if has_ended && n > 0 && live.ending() == Ending::Anywhere {
            self.experience.lengths.end(n);
        }
        live.usage.n_preemptions = sequence.map_or(0, |s| s.n_preemptions);
        self.metrics.finished.add(&finish);
        let event = Event::Finished { choice_idx: live.choice_idx, finish, usage: live.usage };
        // Nobody can be told if this fails too.
        let _ = tell(&live.sink, event);
    }

    /// After a step that failed: all that was computed is forgotten, and the step's sequences try again one by one, without
    /// guesses. One that fails then is to blame.
    fn restart(&mut self, plan: &Plan, cause: &str) -> Result<(), Broken> {
        self.metrics.restarts += 1;
        let blamed = self.scheduler.alone(plan);
        self.scheduler.restart(plan);
        self.scheduler.cache_mut().moves().retain(|one| matches!(one, Move::Forget(_)));
        self.store.clear();
        if let Some(id) = blamed {
            let now = (self.clock)();
            self.poisonous.retain(|_, until| *until > now);
            if let Some(sequence) = self.scheduler.get(id) {
                let prompt = &sequence.tokens[..sequence.n_prompt];
                self.poisonous.insert(prompt_hash(prompt), now + POISON_TIME);
            }
            self.finish(id, Finish::Failed(format!("the model failed on this sequence: {cause}")));
        }
        // Nothing is cached and nobody runs: any page will do.
        let pages = [PageId(0); MAX_GROUPS];
        let n_groups = self.scheduler.cache().n_groups();
        match self_test(&mut *self.model, &pages[..n_groups]) {
            Ok(hash) if self.healthy.is_none_or(|healthy| hash == healthy) => Ok(()),
            _ => {
                self.fail_all("the model has failed and the engine stops");
                Err(Broken { cause: cause.to_owned() })
            }
        }
    }
}
