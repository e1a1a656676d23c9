//! The engine's thread, and the only way to it.

mod handle;
mod pulse;

use std::io::{Read, Write};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use inferno_model::model::Model;

use crate::cache_file::{CacheFileError, CacheFileSummary, CacheIdentity};
use crate::core::{Broken, Core, DiskCache, Shape};
use crate::group::KvGroup;
use crate::mailbox::{Letter, Mailbox, Post, Wait};
use crate::request::{Micros, RequestId};
use crate::scheduler::Limits;
pub use handle::{Handle, Ticket};
pub use pulse::Pulse;
use pulse::Vitals;

/// How many may wait, and what a step may take.
#[derive(Debug, Clone)]
pub struct Config {
    /// The scheduler's limits.
    pub limits: Limits,
    /// Sequences that wait, at most, beside those that may run at once.
    pub max_waiting: usize,
    /// Tokens of the prompts that wait, at most.
    pub max_waiting_tokens: usize,
    /// Test the model and measure its steps before anything else, for estimates that are right from the first request on;
    /// [`Engine::start`] waits for it. Else the model is tested when nothing has come for a second.
    pub self_test: bool,
    /// Threads that compute the masks of grammars while the model computes a step; 0 leaves that to the engine's thread,
    /// between steps. They pay where the model leaves processors idle: on a GPU, or with fewer threads than there are cores.
    pub n_mask_threads: usize,
    /// Where pages go that neither the pool nor memory beside it has room for; `None`: nowhere.
    pub disk: Option<DiskCache>,
}

impl Config {
    /// For a model with a KV pool of `n_pages` pages in each cache group.
    pub fn new(n_pages: Vec<usize>) -> Config {
        let limits = Limits {
            n_pages,
            max_sequences: 32,
            max_rows: 512,
            min_rows: 32,
            max_logits: 64,
            step_target: 250_000,
            aging: 10_000_000,
            prefix_cache: true,
            max_snapshots: None,
            snapshot_every: 4096,
            draft_tokens: None,
            max_away_bytes: 0,
        };
        Config {
            limits,
            max_waiting: 1024,
            max_waiting_tokens: 4 << 20,
            self_test: false,
            n_mask_threads: 0,
            disk: None,
        }
    }
}

/// When nothing has come for so long, the engine notes how a healthy model computes.
const IDLE: Duration = Duration::from_secs(1);

/// Time between two forecasts: each is some microseconds of work for every sequence.
const FORETELL: Micros = 50_000;

/// A running engine. It ends when it is told to, or when it and all handles are gone.
#[derive(Debug)]
pub struct Engine {
    handle: Handle,
    thread: Option<JoinHandle<Result<Core, Broken>>>,
}

/// An engine that has ended, with its model and its prefix cache.
pub struct Stopped {
    core: Core,
}

impl Stopped {
    /// The model, which another engine may run.
    pub fn into_model(self) -> Box<dyn Model> {
        self.core.into_model()
    }

    /// Writes the prefix cache, as much as `max_bytes` suffice for, for [`Engine::start_with_cache`] with the same identity.
    /// `salt_key` is what [salts](crate::Request::salt) depend on, which comes back with it.
    ///
    /// # Errors
    /// `out` takes no more, the device failed, or there is no prefix cache.
    pub fn save_cache(
        &mut self,
        out: &mut dyn Write,
        identity: &CacheIdentity,
        salt_key: [u8; 16],
        max_bytes: u64,
    ) -> Result<CacheFileSummary, CacheFileError> {
        self.core.save_cache(out, identity, salt_key, max_bytes)
    }
}

impl std::fmt::Debug for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stopped")
    }
}

/// A file with a prefix cache, and its identity.
type CacheFile = (Box<dyn Read + Send>, Vec<(&'static str, u64)>);

impl Engine {
    /// Starts a thread that owns `model`, whose KV pool has as many pages in each cache group as the limits say.
    ///
    /// # Panics
    /// There is no thread to be had.
    pub fn start(model: Box<dyn Model>, config: Config) -> Engine {
        Engine::launch(model, config, None).0
    }

    /// As [`start`](Engine::start), with the prefix cache that [`Stopped::save_cache`] has written to `file`: prompts find it as
    /// if it had never left memory. The result says how much of it there is, or why nothing of it could be used; the engine runs
    /// either way.
    ///
    /// # Panics
    /// There is no thread to be had.
    pub fn start_with_cache(
        model: Box<dyn Model>,
        config: Config,
        file: Box<dyn Read + Send>,
        identity: &CacheIdentity,
    ) -> (Engine, Result<CacheFileSummary, CacheFileError>) {
        let (engine, restored) = Engine::launch(model, config, Some((file, identity.to_vec())));
        (engine, restored.unwrap_or(Err(CacheFileError::NoCache)))
    }

    /// Starts the thread; what came of the cache file, if there was one.
    fn launch(
        model: Box<dyn Model>,
        config: Config,
        file: Option<CacheFile>,
    ) -> (Engine, Option<Result<CacheFileSummary, CacheFileError>>) {
        let arch = model.architecture();
        let shape = Shape::of(arch, &config.limits.n_pages);
        let groups = arch.cache_groups.iter().zip(&config.limits.n_pages);
        let kv_groups = groups.map(|(group, &n_pages)| KvGroup::new(group, n_pages)).collect();
        let vitals = Arc::new(Vitals::new(model.heartbeat()));
        let began = Instant::now();
        let clock = Arc::new(move || micros_since(began));
        let max_sequences = config.limits.max_sequences;
        let core = Core::new(model, config.limits, clock);
        let mut core = core.with_mask_threads(config.n_mask_threads);
        if let Some(disk) = &config.disk {
            core = core.with_disk(disk);
        }
        let mailbox = Arc::new(Mailbox::default());
        let handle = Handle {
            mailbox: Arc::clone(&mailbox),
            vitals: Arc::clone(&vitals),
            began,
            shape,
            kv_groups,
            max_waiting: config.max_waiting,
            max_sequences,
            max_waiting_tokens: config.max_waiting_tokens,
        };
        let thread = std::thread::Builder::new().name("engine".into());
        let (sender, is_ready) = std::sync::mpsc::sync_channel(1);
        let thread = thread.spawn(move || {
            if config.self_test {
                let _step = vitals.step();
                core.measure();
            }
            let restored = file.map(|(mut file, identity)| core.restore_cache(&mut *file, &identity));
            mailbox.foretell(core.forecast(RequestId(0)));
            // The starter waits for it.
            let _ = sender.send(restored);
            run(core, &mailbox, &vitals)
        });
        let thread = thread.expect("the system has a thread for the engine");
        // A thread that panicked sends nothing.
        let restored = is_ready.recv().unwrap_or_default();
        (Engine { handle, thread: Some(thread) }, restored)
    }

    /// A way to it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Ends all requests and the thread, and hands the model back, which another engine may run then.
    ///
    /// # Errors
    /// The engine had ended before, as the model broke.
    pub fn stop(self) -> Result<Box<dyn Model>, Broken> {
        self.halt().map(Stopped::into_model)
    }

    /// Ends all requests and the thread, and hands over what it had.
    ///
    /// # Errors
    /// The engine had ended before, as the model broke.
    pub fn halt(mut self) -> Result<Stopped, Broken> {
        // The thread does not panic: steps and sequences are caught.
        let ended =
            self.end().unwrap_or_else(|| Err(Broken { cause: "the engine's thread panicked".into() }));
        ended.map(|core| Stopped { core })
    }

    fn end(&mut self) -> Option<Result<Core, Broken>> {
        self.handle.mailbox.stop();
        self.thread.take().and_then(|thread| thread.join().ok())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// The engine's time.
fn micros_since(began: Instant) -> Micros {
    began.elapsed().as_micros() as Micros
}

/// The thread: letters, then a step, as long as there is something to do.
fn run(mut core: Core, mailbox: &Mailbox, vitals: &Vitals) -> Result<Core, Broken> {
    let _closer = Closer(mailbox);
    let mut letters = Vec::new();
    let (mut last, mut foretold) = (RequestId(0), 0);
    let result = loop {
        mailbox.publish(core.metrics());
        let now = core.now();
        if core.is_idle() || now >= foretold + FORETELL {
            mailbox.foretell(core.forecast(last));
            foretold = now;
        }
        let wait = match (core.is_idle(), core.is_tested()) {
            (false, _) => Wait::No,
            (true, false) => Wait::For(IDLE),
            (true, true) => Wait::Long,
        };
        let post = mailbox.take(&mut letters, wait);
        let _step = vitals.step();
        match post {
            Post::Letters => {}
            Post::Nothing => core.self_test(),
            Post::Stop => break Ok(()),
        }
        for letter in letters.drain(..) {
            match letter {
                Letter::Request(id, request, at, sink) => {
                    last = id;
                    core.submit(id, *request, at, sink);
                }
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
        if let Letter::Request(id, request, at, sink) = letter {
            core.submit(id, *request, at, sink);
        }
    }
    core.fail_all("the engine has stopped");
    result.map(|()| core)
}

/// If the thread panics, which is a bug: nobody waits for it for ever, as all that it has is dropped.
struct Closer<'a>(&'a Mailbox);

impl Drop for Closer<'_> {
    fn drop(&mut self) {
        drop(self.0.close());
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
