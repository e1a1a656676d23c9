//! The engine without its thread: requests in, steps, events out.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use foldhash::fast::{FixedState, RandomState};
use inferno_model::batch::{Batch, PageId, Want};
use inferno_model::transformer::Model;

use crate::draft::{Drafts, Guesser, PromptLookup, StepCost};
use crate::engine::{SequenceState, Snapshot};
use crate::metrics::Metrics;
use crate::request::{Event, Finish, Micros, Refusal, Request, RequestId, SeqId, Usage};
use crate::sampler::{Chooser, Constraint, History, Sampling, TokenLogprob, TokenMask};
use crate::scheduler::{Arrival, Limits, Plan, PlanSpan, Scheduler};

/// Where a request's events go. It must not block.
pub type Sink = Arc<dyn Fn(Event) + Send + Sync>;

/// The time.
pub(crate) type Clock = Arc<dyn Fn() -> Micros + Send + Sync>;

/// A prompt that made a step fail is refused for so long.
const POISON_TIME: Micros = 60_000_000;

/// Cache groups of a model, at most: families have one or two.
pub(crate) const MAX_GROUPS: usize = 8;

/// One model, and the sequences on it.
pub(crate) struct Core {
    model: Box<dyn Model>,
    clock: Clock,
    scheduler: Scheduler,
    live: HashMap<SeqId, Live, RandomState>,
    requests: HashMap<RequestId, Vec<SeqId>, RandomState>,
    n_sequences: u64,
    drafts: Drafts,
    scratch: Scratch,
    metrics: Metrics,
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
    chosen: Vec<(u32, Option<TokenLogprob>)>,
    chooser: Chooser,
}

/// A choice of a request that has not ended.
struct Live {
    request: RequestId,
    choice_idx: u32,
    sampling: Sampling,
    history: History,
    constraint: Option<(Box<dyn Constraint>, TokenMask)>,
    prompt_logprobs: Option<usize>,
    hash_logits: bool,
    sink: Sink,
    usage: Usage,
    max_tokens: usize,
    submitted: Micros,
    last_token: Option<Micros>,
    /// Tokens of the prompt that events have told of.
    n_scored: usize,
}

/// The model is broken: the self-test fails after a step did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the model failed and does not recover: {cause}")]
pub struct Broken {
    /// The first failure's words.
    pub cause: String,
}

impl Core {
    pub(crate) fn new(model: Box<dyn Model>, limits: Limits, clock: Clock) -> Core {
        assert!(model.architecture().cache_groups.len() <= MAX_GROUPS, "a model has few cache groups");
        Core {
            model,
            clock,
            scheduler: Scheduler::new(limits),
            live: HashMap::default(),
            requests: HashMap::default(),
            n_sequences: 0,
            drafts: Drafts::new(Box::new(PromptLookup)),
            scratch: Scratch::default(),
            metrics: Metrics::default(),
            poisonous: HashMap::default(),
            healthy: None,
            is_tested: false,
        }
    }

    /// Another one guesses, in place of prompt lookup.
    pub(crate) fn guess_with(&mut self, guesser: Box<dyn Guesser>) {
        self.drafts = Drafts::new(guesser);
    }

    pub(crate) fn into_model(self) -> Box<dyn Model> {
        self.model
    }

    /// Notes what the model computes while all is well, to compare with after a failure. It takes a step, and no sequence
    /// may run. It writes to a page that nobody else means: never to a cached one.
    pub(crate) fn self_test(&mut self) {
        self.is_tested = true;
        if let Some(page) = self.scheduler.take_page_alone() {
            self.healthy = self_test(&mut *self.model, page).ok();
            self.scheduler.give_page_back(page);
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
        Metrics {
            sequences: self.scheduler.counts(),
            pages: self.scheduler.cache().page_counts(),
            cache: self.scheduler.cache().counts(),
            ..self.metrics
        }
    }

    /// A look inside.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let now = (self.clock)();
        let state = |s: &crate::scheduler::Sequence| {
            let live = &self.live[&s.id];
            SequenceState {
                id: s.id,
                request: live.request,
                choice_idx: live.choice_idx,
                tenant: s.tenant,
                priority: s.class,
                place: self.scheduler.place(s.id),
                n_prompt: s.n_prompt,
                n_completion: s.tokens.len() - s.n_prompt,
                n_computed: s.n_computed,
                n_pages: s.table.len(),
                age: std::time::Duration::from_micros(now - live.submitted),
            }
        };
        let mut sequences: Vec<SequenceState> = self.scheduler.sequences().map(state).collect();
        sequences.sort_by_key(|s| s.id);
        Snapshot { sequences, n_nodes: self.scheduler.cache().n_nodes() }
    }

    pub(crate) fn clear_cache(&mut self) -> usize {
        self.scheduler.clear_cache()
    }

    /// Takes a request that [`check`] allows.
    pub(crate) fn submit(&mut self, id: RequestId, request: Request, sink: Sink) {
        let now = (self.clock)();
        let Request { prompt, max_tokens, n, sampling, priority, tenant, salt, deadline, .. } = request;
        let poison = self.poisonous.get(&prompt_hash(&prompt)).is_some_and(|&until| now < until);
        let mut constraints = request.constraints.into_iter();
        let vocab_size = self.model.architecture().vocab_size;
        for choice_idx in 0..n {
            let usage = Usage { n_prompt: prompt.len(), ..Usage::default() };
            if poison {
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
                constraint: constraints.next().map(|c| (c, TokenMask::new(vocab_size))),
                prompt_logprobs: request.prompt_logprobs,
                hash_logits: request.hash_logits,
                sink: Arc::clone(&sink),
                usage,
                max_tokens,
                submitted: now,
                last_token: None,
                n_scored: 1,
            };
            self.live.insert(seq, live);
            self.requests.entry(id).or_default().push(seq);
            if request.speculate {
                self.drafts.add(seq);
            }
            self.scheduler.add(Arrival {
                id: seq,
                tokens: prompt.clone(),
                max_len: prompt.len() + max_tokens,
                salt,
                tenant,
                class: priority,
                now,
                deadline: deadline
                    .map(|d| now.saturating_add(Micros::try_from(d.as_micros()).unwrap_or(Micros::MAX))),
                scored: request.prompt_logprobs.is_some(),
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
        let mut scratch = std::mem::take(&mut self.scratch);
        let cost = self.scheduler.budget().cost().map(|(base, per_row)| StepCost { base, per_row });
        self.drafts.next = cost.map(|cost| (cost, self.scheduler.counts().running));
        self.scheduler.plan(start, &mut self.drafts, &mut scratch.plan);
        let started = scratch.plan.started.iter();
        let lost: Vec<_> =
            started.filter_map(|&seq| self.start(seq, start).err().map(|why| (seq, why))).collect();
        let mut result = Ok(());
        if !scratch.plan.spans.is_empty() {
            self.fill(&mut scratch);
            let before = (self.clock)();
            let Core { model, .. } = self;
            // A step that panics leaves nothing behind that counts: see `restart`.
            let output = catch_unwind(AssertUnwindSafe(|| model.step(&scratch.batch).map(|_| ())));
            let after = (self.clock)();
            match output {
                Ok(Ok(())) => {
                    self.deliver(&mut scratch, after);
                    self.scheduler.observe(&scratch.plan, after - before);
                    let took = (self.clock)() - start;
                    self.metrics.steps += 1;
                    self.metrics.add_starts(scratch.plan.started.len(), took);
                    self.metrics.step_time.add(took);
                    self.metrics.overhead_time.add(took - (after - before));
                    self.metrics.step_rows.add(scratch.plan.n_rows as u64);
                    self.metrics.prompt_tokens += scratch.plan.n_prompt_rows as u64;
                }
                Ok(Err(error)) => result = self.restart(&scratch.plan, &error.to_string()),
                Err(panic) => result = self.restart(&scratch.plan, &words(&*panic)),
            }
        }
        self.scratch = scratch;
        lost.into_iter().for_each(|(seq, why)| self.finish(seq, Finish::Failed(why)));
        result
    }

    /// A choice runs for the first time. Its part of the step is planned already: if it cannot be told, it ends after it.
    fn start(&mut self, seq: SeqId, now: Micros) -> Result<(), String> {
        let (Some(live), Some(sequence)) = (self.live.get_mut(&seq), self.scheduler.get(seq)) else {
            return Ok(());
        };
        let Some((n_cached, miss)) = sequence.first_match else { return Ok(()) };
        live.usage.n_cached = n_cached;
        self.metrics.queue_time.add(now - live.submitted);
        tell(&live.sink, Event::Started { choice_idx: live.choice_idx, n_cached, miss })
    }

    /// The batch of a plan.
    fn fill(&self, scratch: &mut Scratch) {
        let Scratch { plan, batch, tokens, wants, .. } = scratch;
        let n_groups = self.model.architecture().cache_groups.len();
        batch.clear();
        for span in &plan.spans {
            let sequence = self.scheduler.get(span.id).expect("a plan is of sequences there are");
            let live = &self.live[&span.id];
            tokens.clear();
            tokens.extend_from_slice(&sequence.tokens[span.rows.clone()]);
            tokens.extend_from_slice(&plan.drafts[span.drafts.clone()]);
            wants.clear();
            let scores = live.prompt_logprobs.is_some();
            let want = |row: usize| {
                let is_last = row + 1 == sequence.tokens.len() && live.max_tokens > 0;
                let is_scored = scores && row + 1 < sequence.n_prompt && row + 1 >= live.n_scored;
                if is_last || is_scored { Want::Logits } else { Want::Nothing }
            };
            wants.extend(span.rows.clone().map(want));
            wants.resize(tokens.len(), Want::Logits);
            // A page id stands for a page in every group.
            let tables = [sequence.table.as_slice(); MAX_GROUPS];
            batch.push_each(tokens, span.rows.start, &tables[..n_groups], wants);
        }
    }

    /// Gives every sequence its part of the step.
    fn deliver(&mut self, scratch: &mut Scratch, now: Micros) {
        let mut first_row = 0;
        for i in 0..scratch.plan.spans.len() {
            let span = scratch.plan.spans[i].clone();
            let n_rows = span.rows.len() + span.drafts.len();
            // What goes wrong with one sequence ends that one.
            let end = catch_unwind(AssertUnwindSafe(|| self.deliver_span(&span, first_row, scratch, now)));
            first_row += n_rows;
            match end {
                Ok(None) => {}
                Ok(Some(finish)) => self.finish(span.id, finish),
                Err(panic) => self.finish(span.id, Finish::Failed(words(&*panic))),
            }
        }
    }

    /// Chooses a sequence's tokens, of which there may be more than one if its guesses were right.
    fn deliver_span(
        &mut self,
        span: &PlanSpan,
        first_row: usize,
        scratch: &mut Scratch,
        now: Micros,
    ) -> Option<Finish> {
        let Scratch { plan, tokens, chosen, chooser, .. } = scratch;
        let output = self.model.output();
        let sequence = self.scheduler.get(span.id)?;
        let live = self.live.get_mut(&span.id)?;
        let row_of = |position: usize| first_row + position - span.rows.start;
        live.score(
            span,
            sequence.tokens.as_slice(),
            sequence.n_prompt,
            &|p| output.logits(row_of(p)),
            chooser,
        );

        chosen.clear();
        let is_last = span.rows.end == sequence.tokens.len();
        let mut finish = None;
        if is_last && live.max_tokens > 0 {
            let drafts = &plan.drafts[span.drafts.clone()];
            for (i, position) in (span.rows.end - 1..span.rows.end + drafts.len()).enumerate() {
                let logits = output.logits(row_of(position)).expect("a row that wants logits has them");
                match live.choose(logits, position, chooser) {
                    Ok((token, logprob)) => {
                        chosen.push((token, logprob));
                        finish = live.finish_after(token);
                        if finish.is_some() && live.hash_logits {
                            live.usage.logits_hash = Some(logits_hash(logits));
                        }
                        if finish.is_some() || drafts.get(i) != Some(&token) {
                            break;
                        }
                    }
                    Err(why) => {
                        finish = Some(why);
                        break;
                    }
                }
            }
        } else if is_last {
            finish = Some(Finish::Length);
        }
        tokens.clear();
        tokens.extend(chosen.iter().map(|c| c.0));
        let n_computed = span.rows.len() + tokens.len().saturating_sub(1);
        let is_prefill = span.rows.start < sequence.n_prompt;
        self.scheduler.commit(span.id, n_computed, tokens);
        if !span.drafts.is_empty() {
            let (n_drafted, n_accepted) = (span.drafts.len(), tokens.len().saturating_sub(1));
            let len = self.scheduler.get(span.id).map_or(0, |s| s.tokens.len());
            self.drafts.learn(span.id, n_drafted, n_accepted, len);
            live.usage.n_drafted += n_drafted;
            live.usage.n_accepted += n_accepted;
            self.metrics.drafted_tokens += n_drafted as u64;
            self.metrics.accepted_tokens += n_accepted as u64;
        }
        if is_prefill {
            let n_done = span.rows.end.min(live.usage.n_prompt);
            (live.sink)(Event::Progress { choice_idx: live.choice_idx, n_done });
        }
        for (token, logprob) in chosen.drain(..) {
            match live.last_token.replace(now) {
                None => self.metrics.time_to_first_token.add(now - live.submitted),
                Some(before) => self.metrics.inter_token_latency.add(now - before),
            }
            self.metrics.completion_tokens += 1;
            (live.sink)(Event::Token { choice_idx: live.choice_idx, token, logprob });
        }
        finish
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
        match self_test(&mut *self.model, PageId(0)) {
            Ok(hash) if self.healthy.is_none_or(|healthy| hash == healthy) => Ok(()),
            _ => {
                self.fail_all("the model has failed and the engine stops");
                Err(Broken { cause: cause.to_owned() })
            }
        }
    }
}

impl Live {
    /// Tells the log-probabilities of the prompt's tokens that follow this step's rows.
    fn score<'a>(
        &mut self,
        span: &PlanSpan,
        tokens: &[u32],
        n_prompt: usize,
        logits: &dyn Fn(usize) -> Option<&'a [f32]>,
        chooser: &mut Chooser,
    ) {
        let Some(top) = self.prompt_logprobs else { return };
        let positions = (self.n_scored - 1).max(span.rows.start)..span.rows.end.min(n_prompt - 1);
        if positions.is_empty() {
            return;
        }
        self.n_scored = positions.end + 1;
        let logprobs = positions
            .map(|p| {
                let logits = logits(p).expect("a row that wants logits has them");
                chooser.prompt_logprob(logits, tokens[p + 1], top)
            })
            .collect();
        (self.sink)(Event::Prompt { choice_idx: self.choice_idx, logprobs });
    }

    /// The token after the row at `position`.
    fn choose(
        &mut self,
        logits: &[f32],
        position: usize,
        chooser: &mut Chooser,
    ) -> Result<(u32, Option<TokenLogprob>), Finish> {
        if logits[0].is_nan() && logits.iter().all(|x| x.is_nan()) {
            return Err(Finish::Failed(
                "the model's logits are no numbers: its weights are damaged, or overflow".into(),
            ));
        }
        let mut mask = None;
        if let Some((constraint, allowed)) = &mut self.constraint {
            if constraint.finished() {
                return Err(Finish::Constraint);
            }
            allowed.allow_all();
            constraint.mask(allowed);
            mask = Some(&*allowed);
        }
        let position = u32::try_from(position).expect("positions fit u32");
        let chosen = chooser
            .choose(logits, position, &self.sampling, &self.history, mask, self.usage.n_completion)
            .map_err(|e| Finish::Failed(e.to_string()))?;
        self.history.push(chosen.token);
        self.usage.n_completion += 1;
        if let Some((constraint, _)) = &mut self.constraint {
            constraint.commit(chosen.token);
        }
        Ok((chosen.token, chosen.logprob))
    }

    /// Is that the last one?
    fn finish_after(&self, token: u32) -> Option<Finish> {
        if self.sampling.ends_at(token) {
            return Some(Finish::Stop);
        }
        if self.constraint.as_ref().is_some_and(|(constraint, _)| constraint.finished()) {
            return Some(Finish::Constraint);
        }
        (self.usage.n_completion == self.max_tokens).then_some(Finish::Length)
    }
}

/// Can the model take it at all?
pub(crate) fn check(request: &Request, model: &Shape) -> Result<(), Refusal> {
    let Request { prompt, max_tokens, n, sampling, constraints, .. } = request;
    let Shape { vocab_size, context_len, pool_len } = *model;
    if prompt.is_empty() {
        return Err(Refusal::EmptyPrompt);
    }
    if let Some(&token) = prompt.iter().find(|t| **t as usize >= vocab_size) {
        return Err(Refusal::UnknownToken { token, vocab_size });
    }
    if *n == 0 || !constraints.is_empty() && constraints.len() != *n as usize {
        return Err(Refusal::Choices { n: *n, n_constraints: constraints.len() });
    }
    if *max_tokens == 0 && request.prompt_logprobs.is_none() {
        return Err(Refusal::NothingWanted);
    }
    sampling.validate(vocab_size)?;
    let needed = prompt.len().saturating_add(*max_tokens);
    if needed > context_len {
        return Err(Refusal::Context { n_prompt: prompt.len(), max_tokens: *max_tokens, context_len });
    }
    if needed > pool_len {
        return Err(Refusal::NeverFits { needed, most: pool_len });
    }
    Ok(())
}

/// What of the model limits requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Tokens there are.
    pub vocab_size: usize,
    /// Positions of a sequence.
    pub context_len: usize,
    /// Positions of the KV pool.
    pub pool_len: usize,
}

/// The logits of one row at the start of a page, as a hash.
fn self_test(model: &mut dyn Model, page: PageId) -> Result<u64, String> {
    let n_groups = model.architecture().cache_groups.len();
    let mut batch = Batch::default();
    let table: &[PageId] = &[page];
    batch.push(&[0], 0, &[table; MAX_GROUPS][..n_groups], Want::Logits);
    let step = catch_unwind(AssertUnwindSafe(|| match model.step(&batch) {
        Ok(output) => Ok(logits_hash(output.logits(0).expect("the row wants logits"))),
        Err(e) => Err(e.to_string()),
    }));
    step.unwrap_or_else(|panic| Err(words(&*panic)))
}

/// FNV-1a (64 bits) over the little-endian bytes: equal on every machine that computes the same bits.
pub fn logits_hash(logits: &[f32]) -> u64 {
    let bytes = logits.iter().flat_map(|x| x.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

fn prompt_hash(prompt: &[u32]) -> u64 {
    use std::hash::BuildHasher;
    FixedState::default().hash_one(prompt)
}

/// Tells an event; if that panics, what it says.
fn tell(sink: &Sink, event: Event) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| sink(event))).map_err(|panic| words(&*panic))
}

/// What a panic says.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without words".into())
}
