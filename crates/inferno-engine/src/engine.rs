//! The engine's thread, and the only way to it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use inferno_model::transformer::Model;

use crate::core::{Broken, Core, Shape, Sink, check};
use crate::draft::DraftModel;
use crate::mailbox::{Letter, Mailbox, Post, Wait};
use crate::metrics::Metrics;
use crate::request::{Event, Micros, Refusal, Request, RequestId, SeqId};
use crate::scheduler::Limits;

/// How many may wait, and what a step may take.
#[derive(Debug, Clone)]
pub struct Config {
    /// The scheduler's limits.
    pub limits: Limits,
    /// Requests that wait, at most.
    pub max_waiting: usize,
    /// Tokens of the prompts that wait, at most.
    pub max_waiting_tokens: usize,
}

impl Config {
    /// For a pool of so many pages.
    pub fn new(n_pages: usize) -> Config {
        let limits = Limits {
            n_pages,
            max_sequences: 32,
            max_rows: 512,
            min_rows: 32,
            max_logits: 64,
            step_target: 250_000,
            aging: 10_000_000,
            prefix_cache: true,
        };
        Config { limits, max_waiting: 1024, max_waiting_tokens: 4 << 20 }
    }
}

/// When nothing has come for so long, the engine notes how a healthy model computes.
const IDLE: Duration = Duration::from_secs(1);

/// A running engine. It ends when it is told to, or when it and all handles are gone.
#[derive(Debug)]
pub struct Engine {
    handle: Handle,
    thread: Option<JoinHandle<Result<Box<dyn Model>, Broken>>>,
}

/// A way to an engine, for any thread.
#[derive(Debug, Clone)]
pub struct Handle {
    mailbox: Arc<Mailbox>,
    shape: Shape,
    max_waiting: usize,
    max_waiting_tokens: usize,
}

/// A request that was taken.
#[derive(Debug)]
pub struct Ticket {
    /// Its number, to cancel it.
    pub id: RequestId,
    /// What happens to it; the last event of each choice is its end.
    pub events: Receiver<Event>,
}

/// What the engine holds, for a look inside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// All sequences, by number.
    pub sequences: Vec<SequenceState>,
    /// Pages in the prefix cache.
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
    /// Tokens of the completion so far.
    pub n_completion: usize,
    /// Positions with keys and values.
    pub n_computed: usize,
    /// Pages it holds.
    pub n_pages: usize,
    /// How long it has been here.
    pub age: Duration,
}

impl Engine {
    /// Starts a thread that owns `model`, whose KV pool has as many pages in each cache group as the limits say.
    ///
    /// # Panics
    /// There is no thread to be had.
    pub fn start(model: Box<dyn Model>, config: Config) -> Engine {
        Engine::start_with(model, None, config)
    }

    /// The same with a second model that guesses tokens for the first, and the number of its pages; they have the same
    /// vocabulary. Completions are the same as without it.
    ///
    /// # Panics
    /// There is no thread to be had, or the vocabularies differ in size.
    pub fn start_with_draft(model: Box<dyn Model>, draft: (Box<dyn Model>, usize), config: Config) -> Engine {
        Engine::start_with(model, Some(draft), config)
    }

    fn start_with(model: Box<dyn Model>, draft: Option<(Box<dyn Model>, usize)>, config: Config) -> Engine {
        let arch = model.architecture();
        let pool_len = config.limits.n_pages * inferno_model::batch::PAGE_LEN;
        let shape = Shape { vocab_size: arch.vocab_size, context_len: arch.context_len, pool_len };
        let began = Instant::now();
        let clock = Arc::new(move || began.elapsed().as_micros() as Micros);
        let mut core = Core::new(model, config.limits, clock);
        if let Some((draft, n_pages)) = draft {
            assert_eq!(
                draft.architecture().vocab_size,
                shape.vocab_size,
                "both models have the same vocabulary"
            );
            core.guess_with(Box::new(DraftModel::new(draft, n_pages)));
        }
        let mailbox = Arc::new(Mailbox::default());
        let handle = Handle {
            mailbox: Arc::clone(&mailbox),
            shape,
            max_waiting: config.max_waiting,
            max_waiting_tokens: config.max_waiting_tokens,
        };
        let thread = std::thread::Builder::new().name("engine".into()).spawn(move || run(core, &mailbox));
        Engine { handle, thread: Some(thread.expect("the system has a thread for the engine")) }
    }

    /// A way to it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Ends all requests and the thread, and hands the model back, which another engine may run then.
    ///
    /// # Errors
    /// It had ended before, as the model broke.
    pub fn stop(mut self) -> Result<Box<dyn Model>, Broken> {
        // The thread does not panic: steps and sequences are caught.
        self.end().unwrap_or_else(|| Err(Broken { cause: "the engine's thread panicked".into() }))
    }

    fn end(&mut self) -> Option<Result<Box<dyn Model>, Broken>> {
        self.handle.mailbox.stop();
        self.thread.take().and_then(|thread| thread.join().ok())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

impl Handle {
    /// Hands a request in; its events come through a channel without an end.
    ///
    /// # Errors
    /// It cannot be served, or not now.
    pub fn submit(&self, request: Request) -> Result<Ticket, Refusal> {
        let (sender, events) = channel();
        // Nobody listens any more: the request goes on until it is cancelled.
        let id = self.submit_to(request, Arc::new(move |event| drop(sender.send(event))))?;
        Ok(Ticket { id, events })
    }

    /// Hands a request in; `sink` gets its events on the engine's thread and must not block.
    ///
    /// # Errors
    /// It cannot be served, or not now.
    pub fn submit_to(&self, request: Request, sink: Sink) -> Result<RequestId, Refusal> {
        check(&request, &self.shape)?;
        let (n, n_tokens) = (request.n as usize, request.n as usize * request.prompt.len());
        if n > self.max_waiting {
            return Err(Refusal::Choices { n: request.n, n_constraints: request.constraints.len() });
        }
        self.mailbox.submit(request, sink, |load| {
            let retry_after = load.retry_after();
            let (n_waiting, n_waiting_tokens) = (load.n_waiting + n, load.n_waiting_tokens + n_tokens);
            if n_waiting > self.max_waiting {
                return Err(Refusal::QueueFull {
                    n_waiting: load.n_waiting,
                    most: self.max_waiting,
                    retry_after,
                });
            }
            if n_waiting_tokens > self.max_waiting_tokens && n_waiting > 1 {
                let most = self.max_waiting_tokens;
                return Err(Refusal::QueueTokens { n_tokens: load.n_waiting_tokens, most, retry_after });
            }
            Ok(())
        })
    }

    /// Gives a request up: within one step it has ended and its pages are free.
    pub fn cancel(&self, id: RequestId) {
        self.mailbox.send(Letter::Cancel(id));
    }

    /// Forgets all cached pages that no sequence holds.
    pub fn clear_cache(&self) {
        self.mailbox.send(Letter::ClearCache);
    }

    /// The counters after the last step.
    pub fn metrics(&self) -> Metrics {
        self.mailbox.metrics()
    }

    /// What the engine holds now; empty if it has stopped.
    pub fn snapshot(&self) -> Snapshot {
        let (sender, receiver) = channel();
        self.mailbox.send(Letter::Inspect(sender));
        receiver.recv().unwrap_or_default()
    }

    /// Has the engine ended?
    pub fn is_stopped(&self) -> bool {
        self.mailbox.is_stopped()
    }

    /// What limits requests.
    pub fn shape(&self) -> Shape {
        self.shape
    }
}

/// The thread: letters, then a step, as long as there is something to do.
fn run(mut core: Core, mailbox: &Mailbox) -> Result<Box<dyn Model>, Broken> {
    let _closer = Closer(mailbox);
    let mut letters = Vec::new();
    let result = loop {
        mailbox.publish(core.metrics());
        let wait = match (core.is_idle(), core.is_tested()) {
            (false, _) => Wait::No,
            (true, false) => Wait::For(IDLE),
            (true, true) => Wait::Long,
        };
        match mailbox.take(&mut letters, wait) {
            Post::Letters => {}
            Post::Nothing => core.self_test(),
            Post::Stop => break Ok(()),
        }
        for letter in letters.drain(..) {
            match letter {
                Letter::Request(id, request, sink) => core.submit(id, *request, sink),
                Letter::Cancel(id) => core.cancel(id),
                Letter::ClearCache => drop(core.clear_cache()),
                Letter::Inspect(sender) => drop(sender.send(core.snapshot())),
            }
        }
        if let Err(broken) = core.step() {
            break Err(broken);
        }
    };
    core.fail_all("the engine has stopped");
    mailbox.publish(core.metrics());
    // Requests that came meanwhile end too.
    for letter in mailbox.close() {
        if let Letter::Request(id, request, sink) = letter {
            core.submit(id, *request, sink);
        }
    }
    core.fail_all("the engine has stopped");
    result.map(|()| core.into_model())
}

/// If the thread panics, which is a bug: nobody waits for it for ever, as all that it has is dropped.
struct Closer<'a>(&'a Mailbox);

impl Drop for Closer<'_> {
    fn drop(&mut self) {
        drop(self.0.close());
    }
}

#[cfg(test)]
mod tests;
