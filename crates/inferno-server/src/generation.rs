//! A request in the engine: handed in, watched, and given up when nobody waits for it any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use inferno_engine::{Event, Grammar, Miss, Request, RequestId, Usage};
use inferno_grammar::{Closing, Compiled};
use inferno_reply::{CallSeed, Delta, Ending, FinishReason, Reply, ReplyRules};

use crate::access::{AccessLine, Finishes, Generated};
use crate::app::App;
use crate::dialect::PromptNews;
use crate::error::{ApiError, shown};
use crate::inbox::Inbox;
use crate::keys::{Caller, Pass};
use crate::options::Options;
use crate::registry::Entry;

/// A prompt, and how much may follow it.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) tokens: Vec<u32>,
    pub(crate) max_tokens: usize,
    /// Log-probabilities of the prompt itself, with so many of the best tokens.
    pub(crate) prompt_logprobs: Option<usize>,
    /// See [`Request::borders`].
    pub(crate) borders: Vec<usize>,
}

/// What happened, in the order it happened.
#[derive(Debug)]
pub(crate) enum Update {
    /// News of a prompt.
    Prompt(PromptNews),
    /// More of a choice.
    Parts { choice: usize, delta: Delta },
    /// The end of a choice, with the last of it.
    Finished { choice: usize, delta: Delta, ending: Ending },
    /// The end of everything.
    Failed(ApiError),
}

/// A request in the engine. Dropping it cancels what has not ended.
pub(crate) struct Generation {
    app: Arc<App>,
    caller: Caller,
    inbox: Arc<Inbox>,
    events: Vec<(u32, Event)>,
    entry: Entry,
    line: Arc<AccessLine>,
    finish: Finishes,
    /// Counts against its key's limit until it ends.
    _pass: Pass,
    prompts: Vec<PromptState>,
    /// Choice `c` of prompt `p` is number `p * n + c`.
    choices: Vec<Choice>,
    n: usize,
    n_left: usize,
    options: Options,
    call_seed: CallSeed,
    started: Instant,
    /// When the first choice got its first place in a step.
    begun: Option<Instant>,
    first_token: Option<Instant>,
}

struct Choice {
    reply: Reply,
    /// Whether its grammar closed it early; `None` without a grammar.
    closing: Option<Closing>,
    /// Whether a limit of its lines ended it; `None` without any.
    line_limit: Option<Arc<AtomicBool>>,
}

struct PromptState {
    id: RequestId,
    tokens: Vec<u32>,
    cached: Option<(usize, Miss)>,
    /// The first choice's, whose prefill is the prompt's.
    usage: Option<Usage>,
    n_left: usize,
}

/// What an answer took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) n_prompt: usize,
    pub(crate) n_cached: usize,
    pub(crate) n_completion: usize,
    /// Of the completion's tokens, marks included.
    pub(crate) n_reasoning: usize,
    pub(crate) n_drafted: usize,
    pub(crate) n_accepted: usize,
    /// Microseconds.
    pub(crate) saved_by_drafts: i64,
    pub(crate) queued: Duration,
    pub(crate) prefill: Duration,
    pub(crate) decode: Duration,
}

impl Generation {
    /// Hands all prompts in, or none.
    pub(crate) fn submit(
        app: &Arc<App>,
        caller: Caller,
        (entry, pass, line): (Entry, Pass, Arc<AccessLine>),
        jobs: Vec<Job>,
        options: Options,
    ) -> Result<Generation, ApiError> {
        let inbox = Arc::new(Inbox::default());
        let n = options.n as usize;
        let n_tokens: usize = jobs.iter().map(|job| job.tokens.len()).sum();
        let mut generation = Generation {
            app: Arc::clone(app),
            caller,
            inbox: Arc::clone(&inbox),
            events: Vec::new(),
            entry,
            line,
            finish: Finishes::default(),
            _pass: pass,
            prompts: Vec::with_capacity(jobs.len()),
            choices: Vec::with_capacity(jobs.len() * n),
            n,
            n_left: jobs.len() * n,
            options,
            call_seed: app.new_call_seed(),
            started: Instant::now(),
            begun: None,
            first_token: None,
        };
        let salt =
            app.keyring.salt(&generation.caller, generation.options.cache_salt.as_deref(), &app.settings);
        for (prompt_idx, job) in jobs.into_iter().enumerate() {
            generation.submit_one(prompt_idx, job, salt)?;
        }
        app.metrics.begin(n, generation.options.max_tokens, n_tokens);
        Ok(generation)
    }

    fn submit_one(&mut self, prompt_idx: usize, job: Job, salt: u64) -> Result<(), ApiError> {
        let options = &self.options;
        let rules = options.reply_rules(&self.app);
        let (mut stop_conditions, mut grammars) = (Vec::new(), Vec::<Box<dyn Grammar>>::new());
        for choice_idx in self.choices.len()..self.choices.len() + self.n {
            let rules =
                ReplyRules { call_seed: self.call_seed.of_choice(choice_idx as u64), ..rules.clone() };
            let (reply, stop) = Reply::new(&rules, &job.tokens);
            let (stop, line_limit) = match options.lines {
                Some(lines) => {
                    let (stop, line_limit) = lines.beside(stop, &self.app.text.tokenizer);
                    (Some(stop), Some(line_limit))
                }
                None => (stop, None),
            };
            stop_conditions.extend(stop);
            let (grammar, closing) = options.constrain(job.max_tokens).unzip();
            grammars.extend(grammar);
            self.choices.push(Choice { reply, closing, line_limit });
        }
        let tokens = job.tokens.clone();
        let request = Request {
            n: options.n,
            sampling: options.sampling.clone(),
            priority: options.priority,
            tenant: self.caller.tenant,
            salt,
            borders: job.borders,
            deadline: options.deadline,
            prompt_logprobs: job.prompt_logprobs,
            stop_conditions,
            grammars,
            speculate: self.app.settings.speculate,
            ..Request::new(job.tokens, job.max_tokens)
        };
        let id = self
            .app
            .engine
            .submit_to(request, self.inbox.sink(prompt_idx as u32))
            .map_err(|refusal| self.app.refused(refusal))?;
        self.entry.add(id);
        self.prompts.push(PromptState { id, tokens, cached: None, usage: None, n_left: self.n });
        Ok(())
    }

    /// What happened next; waits for it. Empty only when all has ended. May be dropped at any time.
    pub(crate) async fn next(&mut self, updates: &mut Vec<Update>) {
        while self.n_left > 0 && updates.is_empty() {
            let mut events = std::mem::take(&mut self.events);
            self.inbox.take(&mut events).await;
            for (prompt_idx, event) in events.drain(..) {
                self.apply(prompt_idx as usize, event, updates);
            }
            self.events = events;
        }
    }

    fn apply(&mut self, prompt_idx: usize, event: Event, updates: &mut Vec<Update>) {
        let number = |choice_idx: u32| prompt_idx * self.n + choice_idx as usize;
        match event {
            Event::Started { choice_idx: 0, n_cached, miss } => {
                self.begun.get_or_insert_with(Instant::now);
                self.prompts[prompt_idx].cached = Some((n_cached, miss));
                self.warn_of_early_change(prompt_idx, miss);
                updates.push(Update::Prompt(PromptNews::Progress { prompt_idx, n_done: n_cached }));
            }
            Event::Started { .. } => {}
            Event::Progress { choice_idx: 0, n_done } => {
                updates.push(Update::Prompt(PromptNews::Progress { prompt_idx, n_done }));
            }
            Event::Progress { .. } => {}
            Event::Prompt { choice_idx, logprobs } => {
                let news = PromptNews::Scores { choice: number(choice_idx), logprobs };
                updates.push(Update::Prompt(news));
            }
            Event::Token { choice_idx, token, logprob } => {
                self.first_token.get_or_insert_with(Instant::now);
                let choice = number(choice_idx);
                // Tokens that came together are shown together.
                match updates.last_mut() {
                    Some(Update::Parts { choice: last, delta }) if *last == choice => {
                        self.choices[choice].reply.push(token, logprob, delta);
                    }
                    _ => {
                        let mut delta = Delta::default();
                        self.choices[choice].reply.push(token, logprob, &mut delta);
                        updates.push(Update::Parts { choice, delta });
                    }
                }
            }
            Event::Finished { choice_idx, finish, usage } => {
                let choice = number(choice_idx);
                let mut delta = Delta::default();
                let Choice { reply, closing, line_limit } = &mut self.choices[choice];
                let closed_early = closing.as_ref().is_some_and(Closing::was_needed);
                let ending = reply.finish(finish, &mut delta).map_err(ApiError::ended);
                let is_line_limit = line_limit.as_ref().is_some_and(|limit| limit.load(Ordering::Acquire));
                let ending = ending.map(|ending| match is_line_limit && ending.stop.is_none() {
                    true => Ending { closed_early, reason: FinishReason::Length, ..ending },
                    false => Ending { closed_early, ..ending },
                });
                let prompt = &mut self.prompts[prompt_idx];
                if choice_idx == 0 {
                    prompt.usage = Some(usage);
                }
                prompt.n_left -= 1;
                self.n_left -= 1;
                self.app.metrics.finish_choice(ending.as_ref().ok().map(|e| e.reason), &usage);
                match &ending {
                    Ok(ending) if ending.reason == FinishReason::Length => self.finish.length = true,
                    Ok(_) => self.finish.stop = true,
                    Err(error) => {
                        self.finish.failed = true;
                        self.line.failed(error.code.unwrap_or(error.kind));
                    }
                }
                updates.push(match ending {
                    Ok(ending) => Update::Finished { choice, delta, ending },
                    Err(error) => Update::Failed(error),
                });
            }
        }
    }

    /// Warns of prompts whose early part differs in every request.
    fn warn_of_early_change(&self, prompt_idx: usize, miss: Miss) {
        let (Caller { name, tenant, .. }, tokens) = (&self.caller, &self.prompts[prompt_idx].tokens);
        if let Some(at) = self.app.early_changes.note(*tenant, tokens, miss) {
            tracing::warn!(
                key = &**name,
                token = at,
                prompt_tokens = tokens.len(),
                "several prompts in a row differ at this token and go on alike: something early in them changes with \
                 every request, such as a time or an id, and the prefix cache ends there; move it to the end of the prompt"
            );
        }
    }

    /// Events that wait to be taken.
    pub(crate) fn n_pending(&self) -> usize {
        self.inbox.len()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.n_left == 0
    }

    /// Has any choice a token?
    pub(crate) fn has_begun(&self) -> bool {
        self.first_token.is_some()
    }

    /// Tokens that a choice has made so far.
    pub(crate) fn n_tokens(&self, choice: usize) -> usize {
        self.choices[choice].reply.n_tokens()
    }

    pub(crate) fn n_choices(&self) -> usize {
        self.choices.len()
    }

    /// Choices of each prompt.
    pub(crate) fn n(&self) -> usize {
        self.n
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// Parts of the request that are not followed: keywords of a schema, and tokens of prompts.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let keywords = self.options.grammar.as_deref().map(Compiled::unenforced).unwrap_or_default();
        [keywords, &*self.options.notes].concat()
    }

    pub(crate) fn app(&self) -> &Arc<App> {
        &self.app
    }

    pub(crate) fn prompt_tokens(&self, prompt_idx: usize) -> &[u32] {
        &self.prompts[prompt_idx].tokens
    }

    /// How many tokens of a prompt were cached, and why not more; of the first prompt.
    pub(crate) fn cached(&self) -> Option<(usize, Miss)> {
        self.prompts.first()?.cached
    }

    /// The first request that waits for its first place in a step.
    pub(crate) fn waiting(&self) -> Option<RequestId> {
        let waits = |prompt: &&PromptState| prompt.cached.is_none() && prompt.n_left > 0;
        self.prompts.iter().find(waits).map(|prompt| prompt.id)
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// What it has taken so far. A prompt counts once, however many choices it has.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals {
            n_prompt: self.prompts.iter().map(|p| p.tokens.len()).sum(),
            n_cached: self.prompts.iter().filter_map(|p| p.cached).map(|c| c.0).sum(),
            n_completion: self.choices.iter().map(|choice| choice.reply.n_tokens()).sum(),
            n_reasoning: self.choices.iter().map(|choice| choice.reply.n_reasoning()).sum(),
            ..Totals::default()
        };
        for usage in self.prompts.iter().filter_map(|p| p.usage) {
            totals.n_drafted += usage.n_drafted;
            totals.n_accepted += usage.n_accepted;
            totals.saved_by_drafts += usage.saved_by_drafts;
            totals.queued = totals.queued.max(usage.queued);
            totals.prefill = totals.prefill.max(usage.prefill);
            totals.decode = totals.decode.max(usage.decode);
        }
        totals
    }
}

impl Generation {
    /// Totals of one choice so far, its prompt counted whole.
    pub(crate) fn totals_of(&self, choice: usize) -> Totals {
        if self.choices.len() == 1 {
            return self.totals_so_far();
        }
        let prompt = &self.prompts[choice / self.n];
        let usage = prompt.usage.unwrap_or_default();
        Totals {
            n_prompt: prompt.tokens.len(),
            n_cached: prompt.cached.map_or(0, |cached| cached.0),
            n_completion: self.choices[choice].reply.n_tokens(),
            n_drafted: usage.n_drafted,
            n_accepted: usage.n_accepted,
            saved_by_drafts: usage.saved_by_drafts,
            queued: usage.queued,
            prefill: usage.prefill,
            decode: usage.decode,
            ..Totals::default()
        }
    }

    /// The totals so far; times are the server's own until the engine reports them.
    pub(crate) fn totals_so_far(&self) -> Totals {
        let totals = self.totals();
        let Some(begun) = self.begun.filter(|_| !self.has_ended()) else { return totals };
        let first_token = self.first_token.unwrap_or_else(Instant::now);
        Totals {
            queued: begun - self.started,
            prefill: first_token - begun,
            decode: first_token.elapsed(),
            ..totals
        }
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        for prompt in self.prompts.iter().filter(|prompt| prompt.n_left > 0) {
            self.app.engine.cancel(prompt.id);
        }
        if self.prompts.len() * self.n < self.n_left {
            // It was not taken: whoever asked is told, and nothing was done.
            return;
        }
        let totals = self.totals();
        let first_token = self.first_token.map(|at| at - self.started);
        self.app.metrics.end(
            &self.caller.name,
            &totals,
            self.started.elapsed(),
            first_token,
            self.has_ended(),
        );
        self.app
            .keyring
            .spend(&self.caller, (totals.n_prompt - totals.n_cached + totals.n_completion) as u64);
        let model = self.options.model.as_deref().map_or_else(|| self.app.card.id().to_owned(), shown);
        self.line.generated(Generated {
            model,
            is_stream: self.options.stream.is_some(),
            finish: Finishes { abandoned: !self.has_ended(), ..self.finish },
            totals,
            first_token,
        });
    }
}
