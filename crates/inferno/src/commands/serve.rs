//! `inferno serve`: a model over HTTP.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use inferno_engine::{Config, Engine, Limits, Micros};
use inferno_server::{Card, Ended, Parts, Server};
use inferno_text::{ChatRenderer, Tokenizer};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

use crate::cli;
use crate::commands::{note, print};
use crate::kv_memory::KvMemory;
use crate::load::{self, Opened};

mod card;
mod settings;

/// The engine is broken: whoever started the program should start it again (`EX_SOFTWARE` of sysexits.h).
const BROKEN: u8 = 70;

/// Processors per thread that answers requests. A token takes it some ten microseconds, and less where the same thread has
/// those of all streams.
const PROCESSORS_PER_HTTP_THREAD: usize = 8;
/// Threads that read large requests, beside them.
const READING_THREADS: usize = 4;

pub(crate) fn serve(args: &cli::Serve) -> Result<ExitCode> {
    let settings = settings::settings(args)?;
    settings::start_log(args)?;
    let (host, port) = (args.host, args.port);
    if !host.is_loopback() && settings.keys.is_empty() {
        note("warning: anyone who can reach this address may use it: `--api-key` asks for a key");
    }
    let runtime = runtime()?;
    let inside = runtime.enter();
    let stop = Stop::listen();
    // The address comes first: if it cannot be had, there is no use in loading.
    let server = Server::bind((host, port).into(), settings)
        .with_context(|| format!("cannot listen on {host} port {port} (`--port` chooses another one)"))?;
    let (engine, parts) = load(args)?;
    let announcement = announcement(&server, &parts.card);
    let serving = server.open(parts);
    stop.is_asked_first();
    // Nobody may read it: it serves all the same.
    let _ = print(announcement.as_bytes());
    let ended = runtime.block_on(serving.until(stop.requested()));
    drop(inside);
    // Streams that are still there have been told that it is over.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    let code = match (ended, engine.stop()) {
        (Ended::Drained, _) => ExitCode::SUCCESS,
        (Ended::EngineStopped, Ok(_)) => ExitCode::from(BROKEN),
        (Ended::EngineStopped, Err(broken)) => {
            note(&format!("error: {broken}"));
            ExitCode::from(BROKEN)
        }
    };
    Ok(code)
}

fn runtime() -> Result<Runtime> {
    let n_processors = std::thread::available_parallelism().map_or(1, usize::from);
    Builder::new_multi_thread()
        .worker_threads(n_processors.div_ceil(PROCESSORS_PER_HTTP_THREAD))
        .max_blocking_threads(READING_THREADS)
        .thread_name("http")
        .enable_all()
        .build()
        .context("cannot start threads")
}

/// Loads the weights on all threads, while one makes the vocabulary ready.
fn load(args: &cli::Serve) -> Result<(Engine, Parts)> {
    let opened = load::open(args.model.as_deref())?;
    let arch = opened.architecture(args.context.map(|n| n as usize))?;
    let target = args.compute.target()?;
    let runs_on = target.runs_on(&opened);
    let (cli_engine, context_len) = (&args.engine, arch.context_len);
    let memory = KvMemory { sequences: cli_engine.sequences, kv_memory: cli_engine.kv_memory };
    let plan = memory.plan(&arch, runs_on.kv_type, target.kv_space(&opened, &arch))?;
    let card = card::card(args, &opened, &arch, &format!("{} {}", runs_on.level, runs_on.kv_type.name()))?;
    let (text, model) = std::thread::scope(|scope| {
        let text = scope.spawn(|| text(&opened));
        let model = opened.model(arch, plan.n_pages, target, None);
        (text.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), model)
    });
    let ((tokenizer, template), model) = (text?, model?);
    ensure!(tokenizer.vocab_size() > 0, "the vocabulary of `{}` is empty", opened.name);
    if template.is_none() {
        note(
            "warning: the model has no chat template: `/v1/completions` works, `/v1/chat/completions` does not",
        );
    }
    tracing::info!("{plan}; context {context_len}, {} sequences at once", cli_engine.sequences);
    let limits = Limits {
        max_sequences: cli_engine.sequences.get(),
        max_rows: cli_engine.budget.get(),
        step_target: Micros::from(cli_engine.step_target.get()) * 1000,
        prefix_cache: !cli_engine.no_prefix_cache,
        ..Config::new(plan.n_pages).limits
    };
    let config = Config {
        limits,
        max_waiting: cli_engine.queue.get(),
        max_waiting_tokens: cli_engine.queue_tokens.get(),
    };
    let engine = Engine::start(model, config);
    let parts = Parts { engine: engine.handle(), tokenizer, template, card, n_pages: plan.n_pages };
    Ok((engine, parts))
}

fn text(opened: &Opened) -> Result<(Tokenizer, Option<Arc<dyn ChatRenderer>>)> {
    let tokenizer = opened.tokenizer()?;
    let template = crate::session::file_template(opened, &tokenizer)?;
    Ok((tokenizer, template))
}

/// Where it is, and how to ask it something.
fn announcement(server: &Server, card: &Card) -> String {
    let mut address = server.address();
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            [127, 0, 0, 1].into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    let Card { names, dtype, .. } = card;
    let name = &names[0];
    format!(
        "serving `{name}` ({dtype}) at http://{address}\n\n\
         curl http://{address}/v1/chat/completions -H 'Content-Type: application/json' \\\n  \
         -d '{{\"model\": \"{name}\", \"messages\": [{{\"role\": \"user\", \"content\": \"Tell me a story about a dragon.\"}}]}}'\n"
    )
}

/// SIGTERM and Ctrl-C: the first asks for an end, the second is one.
struct Stop {
    asked: Arc<Notify>,
    is_serving: Arc<AtomicBool>,
}

impl Stop {
    /// From here on both are heard; until [`Stop::is_asked_first`] the first ends the program too.
    fn listen() -> Stop {
        let stop = Stop { asked: Arc::default(), is_serving: Arc::default() };
        let (asked, is_serving) = (Arc::clone(&stop.asked), Arc::clone(&stop.is_serving));
        tokio::spawn(async move {
            let code = signal().await;
            if !is_serving.load(Ordering::Relaxed) {
                std::process::exit(if code == SIGTERM_CODE { 0 } else { code });
            }
            asked.notify_one();
            std::process::exit(signal().await);
        });
        stop
    }

    /// From here on the first asks for an end.
    fn is_asked_first(&self) {
        self.is_serving.store(true, Ordering::Relaxed);
    }

    /// Until it has.
    async fn requested(&self) {
        self.asked.notified().await;
    }
}

const SIGTERM_CODE: i32 = 143;

/// Waits for a signal, and says what a shell would report for it.
#[cfg(unix)]
async fn signal() -> i32 {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => SIGTERM_CODE,
        _ = interrupt.recv() => crate::interrupt::EXIT_CODE.into(),
    }
}

/// Waits for Ctrl-C, and says what a shell would report for it.
#[cfg(not(unix))]
async fn signal() -> i32 {
    match tokio::signal::ctrl_c().await {
        Ok(()) => crate::interrupt::EXIT_CODE.into(),
        Err(_) => std::future::pending().await,
    }
}
