//! The whole engine on a fake model: every accepted request ends once, with the tokens it would have got alone.

mod away;
mod chains;
mod disk;
mod drafts;
mod ends;
mod forced;
mod isolation;
mod kept;
mod simulation;
mod stage;
mod states;
mod stories;
mod times;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::core::{Core, Shape, check};
use crate::fake::{self, Fake, Group, Pool, VOCAB};
use crate::request::{Event, Finish, Micros, Refusal, Request, RequestId, Usage};
use crate::sampler::{Chooser, Chosen, History, SampleError, TokenMask};
use crate::scheduler::Limits;
use ends::Ends;
use inferno_model::drafted::Drafted;
use inferno_model::model::Model;

/// An engine with a clock that moves with its steps.
pub(crate) struct World {
    pub(crate) core: Core,
    pub(crate) clock: Arc<AtomicU64>,
    shape: Shape,
    pool: Pool,
    /// A draft model's pool, and the cache group by whose pages it is filled.
    draft_pool: Option<(usize, Pool)>,
    n_requests: u64,
}

/// What has been told of a choice.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Told {
    pub(crate) tokens: Vec<u32>,
    /// Log-probabilities as bits: of the completion, and of the prompt.
    pub(crate) logprobs: Vec<u32>,
    pub(crate) prompt_logprobs: Vec<u32>,
    pub(crate) n_started: usize,
    pub(crate) ends: Vec<(Finish, Usage)>,
}

/// What has been told of a request, by choice.
pub(crate) type Story = Arc<Mutex<Vec<Told>>>;

/// The identity of cache files in these tests.
pub(crate) const IDENTITY: [(&str, u64); 2] = [("build", 1), ("model", 2)];

pub(crate) fn limits(n_pages: usize) -> Limits {
    Limits {
        n_pages: vec![n_pages],
        max_sequences: 4,
        max_rows: 64,
        min_rows: 64,
        max_logits: 16,
        step_target: 1_000,
        aging: 100_000,
        prefix_cache: true,
        max_snapshots: None,
        snapshot_every: 4096,
        draft_tokens: None,
        max_away_bytes: 0,
    }
}

impl World {
    pub(crate) fn new(limits: Limits) -> World {
        World::with_model(limits, |_| {})
    }

    /// A cache group without a window.
    pub(crate) fn with_model(limits: Limits, change: impl FnOnce(&mut Fake)) -> World {
        World::with_cache(limits, &[Group::Pages(None)], change)
    }

    /// Cache groups, of which `limits` has the numbers of pages.
    pub(crate) fn with_cache(limits: Limits, groups: &[Group], change: impl FnOnce(&mut Fake)) -> World {
        let clock = Arc::new(AtomicU64::new(0));
        let mut model = Fake::with_cache(groups, &limits.n_pages, Arc::clone(&clock));
        change(&mut model);
        let pool = model.pool.clone();
        World::of(Box::new(model), limits, clock, (pool, None))
    }

    /// The same with a draft model.
    pub(crate) fn with_draft(
        limits: Limits,
        groups: &[Group],
        change: impl FnOnce(&mut Fake),
        change_draft: impl FnOnce(&mut Fake),
    ) -> World {
        let clock = Arc::new(AtomicU64::new(0));
        let mut model = Fake::with_cache(groups, &limits.n_pages, Arc::clone(&clock));
        change(&mut model);
        let pool = model.pool.clone();
        let group =
            groups.iter().position(|group| *group == Group::Pages(None)).expect("a group of all pages");
        let mut draft = Fake::new(limits.n_pages[group], Arc::clone(&clock));
        draft.step_time = 10;
        change_draft(&mut draft);
        let pools = (pool, Some((group, draft.pool.clone())));
        let drafted = Drafted::new(Box::new(model), Box::new(draft), limits.n_pages[group]);
        World::of(Box::new(drafted.expect("they are a pair")), limits, clock, pools)
    }

    fn of(
        model: Box<dyn Model>,
        limits: Limits,
        clock: Arc<AtomicU64>,
        (pool, draft_pool): (Pool, Option<(usize, Pool)>),
    ) -> World {
        let shape = Shape::of(model.architecture(), &limits.n_pages);
        let now = Arc::clone(&clock);
        let mut core = Core::new(model, limits, Arc::new(move || now.load(Ordering::Relaxed)));
        core.self_test();
        World { core, clock, shape, pool, draft_pool, n_requests: 0 }
    }

    pub(crate) fn submit(&mut self, request: Request) -> Result<(RequestId, Story), Refusal> {
        check(&request, &self.shape)?;
        self.n_requests += 1;
        let id = RequestId(self.n_requests);
        let story: Story = Arc::new(Mutex::new(vec![Told::default(); request.n as usize]));
        let told = Arc::clone(&story);
        let sink = move |event| told.lock().expect("no panic while it is locked").iter_mut().tell(event);
        self.core.submit(id, request, self.now(), Arc::new(sink));
        Ok((id, story))
    }

    /// `next`, another world of the same kind, takes over with what this one has cached, by way of a file; returns the tokens of
    /// its prefixes.
    pub(crate) fn restart(&mut self, mut next: World) -> usize {
        let mut file = Vec::new();
        self.core.save_cache(&mut file, &IDENTITY, [0; 16], u64::MAX).expect("pages can be copied");
        let restored = next.core.restore_cache(&mut file.as_slice(), &IDENTITY).expect("it was just written");
        next.core.scheduler().check();
        next.n_requests = self.n_requests;
        *self = next;
        restored.n_tokens
    }

    fn now(&self) -> Micros {
        self.clock.load(Ordering::Relaxed)
    }

    /// Until nothing is left to do.
    pub(crate) fn run(&mut self) {
        for _ in 0..100_000 {
            if self.core.is_idle() {
                return;
            }
            self.step();
        }
        panic!("it never ends: {:?}", self.core.snapshot());
    }

    /// A step, after which everything adds up and nothing is left in free pages.
    pub(crate) fn step(&mut self) {
        self.core.step().expect("the model lives");
        let scheduler = self.core.scheduler();
        scheduler.check();
        for group in 0..scheduler.limits().n_pages.len() {
            self.pool.poison(group, scheduler.cache().free_pages(group));
            if let Some((_, pool)) = self.draft_pool.as_ref().filter(|(of, _)| *of == group) {
                pool.poison(0, scheduler.cache().free_pages(group));
            }
        }
    }
}

trait Tell {
    fn tell(self, event: Event);
}

impl<'a, I: Iterator<Item = &'a mut Told>> Tell for I {
    fn tell(mut self, event: Event) {
        let mut of = |choice_idx: u32| self.nth(choice_idx as usize).expect("a choice that was asked for");
        match event {
            Event::Started { choice_idx, .. } => of(choice_idx).n_started += 1,
            Event::Progress { .. } => {}
            Event::Prompt { choice_idx, logprobs } => {
                let bits = logprobs.iter().map(|l| l.logprob.to_bits());
                of(choice_idx).prompt_logprobs.extend(bits);
            }
            Event::Token { choice_idx, token, logprob } => {
                let told = of(choice_idx);
                assert!(told.ends.is_empty(), "nothing comes after the end");
                told.tokens.push(token);
                told.logprobs.extend(logprob.map(|l| l.logprob.to_bits()));
            }
            Event::Finished { choice_idx, finish, usage } => of(choice_idx).ends.push((finish, usage)),
        }
    }
}

/// What a choice gets by definition: token by token, nothing shared, nothing cached.
pub(crate) fn alone(request: &Request, choice_idx: u32) -> Told {
    alone_with(request, Ends::default(), choice_idx)
}

/// The same with a stop condition and a grammar.
pub(crate) fn alone_with(request: &Request, ends: Ends, choice_idx: u32) -> Told {
    let (mut stop, mut grammar) = (ends.stop(), ends.grammar());
    let mut chooser = Chooser::default();
    let mut sampling = request.sampling.clone();
    sampling.spec.choice_idx = choice_idx;
    let mut history = History::new(&sampling, &request.prompt);
    let mut told = Told { n_started: 1, ..Told::default() };
    let (mut hash, mut logits) = (0, [0.0; VOCAB]);
    for (i, &token) in request.prompt.iter().enumerate() {
        hash = fake::hash(hash, token);
        fake::logits(hash, token, &mut logits);
        if let (Some(top), Some(&next)) = (request.prompt_logprobs, request.prompt.get(i + 1)) {
            let scored = chooser.prompt_logprob(&logits, next, top).expect("finite logits");
            told.prompt_logprobs.push(scored.logprob.to_bits());
        }
    }
    let mut finish = Finish::Length;
    for (position, n) in (request.prompt.len() - 1..).zip(0..request.max_tokens) {
        let mut mask = TokenMask::new(VOCAB);
        let mut forced = Vec::new();
        if let Some(grammar) = &mut grammar {
            grammar.forced(&mut forced);
            grammar.mask(&mut mask);
        }
        let position = position as u32;
        let chosen = match (forced.first(), &mut grammar) {
            (Some(&token), _) if !sampling.permits(token, n) || history.is_bad(token, &sampling) => {
                Err(SampleError::NothingAllowed { position })
            }
            (Some(&token), _) => {
                let logprob = chooser.forced_logprob(&logits, token, &sampling);
                logprob.map(|logprob| Chosen { token, logprob })
            }
            (None, grammar) => {
                let chosen = chooser.choose(&logits, position, &sampling, &mut history, Some(&mask), n);
                chosen.map(|Chosen { token, logprob }| match grammar.as_mut().map(|g| g.settle(token)) {
                    Some(settled) if settled != token => {
                        let logprob = chooser.logprob_in_place(&logits, settled, &sampling);
                        Chosen { token: settled, logprob }
                    }
                    _ => Chosen { token, logprob },
                })
            }
        };
        let Ok(chosen) = chosen else {
            finish = Finish::Failed(chosen.expect_err("no token").to_string());
            break;
        };
        history.push(chosen.token);
        if let Some(grammar) = &mut grammar {
            grammar.commit(chosen.token);
        }
        if let Some(stop) = &mut stop {
            stop.commit(chosen.token);
        }
        told.tokens.push(chosen.token);
        told.logprobs.extend(chosen.logprob.map(|l| l.logprob.to_bits()));
        if sampling.ends_at(chosen.token) {
            finish = Finish::Stop;
            break;
        }
        if stop.as_ref().is_some_and(|stop| stop.finished()) {
            finish = Finish::StopCondition;
            break;
        }
        if grammar.as_ref().is_some_and(|grammar| grammar.finished()) {
            finish = Finish::Grammar;
            break;
        }
        hash = fake::hash(hash, chosen.token);
        fake::logits(hash, chosen.token, &mut logits);
    }
    told.ends.push((finish, Usage::default()));
    told
}
