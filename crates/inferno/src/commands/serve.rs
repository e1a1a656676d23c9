//! `inferno serve`: a model over HTTP.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use inferno_engine::{Config, DiskCache, Engine, Limits, Micros};
use inferno_server::{Defaults, Ended, Parts, Role, Server, Template, log};
use inferno_text::Tokenizer;
use tokio::runtime::{Builder, Runtime};

use crate::commands::{note, print};
use crate::draft::{self, Draft};
use crate::hub::CtrlC;
use crate::kv_memory::{self, KvMemory, shown};
use crate::load::{self, Opened};
use crate::sampling::FromFile;
use crate::template::{self, Found};
use crate::{cli, exit};

mod address;
mod address_space;
mod cache_file;
mod card;
mod library;
mod projector;
mod responses_file;
mod settings;
mod signals;
mod start;

use address::Listen;
pub(crate) use address::chosen_address;
use cache_file::CacheFile;
use responses_file::ResponsesFile;
use signals::Signals;

/// Time for the last log line to be written.
const LAST_LINE: Duration = Duration::from_millis(200);

/// Processors per thread that answers requests. A token takes it some ten microseconds, and less where the same thread has
/// those of all streams.
const PROCESSORS_PER_HTTP_THREAD: usize = 8;
/// Threads beside them for what blocks, such as looks into the engine.
const BLOCKING_THREADS: usize = 4;

/// Memory for cached prefixes that were read from disk and are not in the KV cache yet, at least.
const TRANSIT_BYTES: u64 = 1 << 30;

/// Description of a server without a template.
const WITHOUT: &str = "`/v1/completions` works, `/v1/chat/completions` does not";

pub(crate) fn serve(args: &cli::Serve) -> Result<ExitCode> {
    inferno_cpu::keep_little_memory();
    let settings = settings::settings(args)?;
    address_space::check_before_loading()?;
    settings::start_log(args)?;
    start::warn_of_unknown_variables();
    signals::warn_of_open_file(&args.access);
    let listen = Listen::read(args)?;
    let addresses = listen.addresses()?;
    let needs_key = settings.keys.iter().any(|key| key.role != Role::Scrape);
    if !needs_key && addresses.iter().any(|address| !address.ip().is_loopback()) {
        tracing::warn!("anyone who can reach this address may use it: `--api-key-file` asks for keys");
    }
    let runtime = runtime()?;
    let inside = runtime.enter();
    let signals = Signals::listen();
    // The address comes first: if it cannot be had, there is no use in loading.
    let mut server = Server::bind_all(&addresses, settings).with_context(|| listen.refused())?;
    let (engine, parts, defaults, cache_file) = load(args)?;
    address_space::check_loaded()?;
    server.set_defaults(defaults);
    if let Some(file) = &cache_file {
        server.set_salt_key(file.salt_key());
    }
    let announcement = start::announcement(server.address(), &parts, (needs_key, !args.no_page));
    let serving = server.open(parts);
    let responses = args.limits.responses_file.as_deref();
    let responses = responses.map(|path| ResponsesFile::open(path, serving.control())).transpose()?;
    signals.serving(serving.control(), args);
    // Nobody may read it: it serves all the same.
    let _ = print(announcement.as_bytes());
    let ended = runtime.block_on(serving.until(signals.ended()));
    if let Some(Err(error)) = responses.map(|file| file.write()) {
        tracing::error!("{error:#}");
    }
    if let Some(code) = signals.cut_off() {
        log::flush(LAST_LINE);
        std::process::exit(code);
    }
    let stopped = engine.halt();
    let code = match (ended, stopped) {
        (Ended::Drained, stopped) => {
            // A second signal ends the program in the middle of it, and leaves the file as it was.
            if let (Some(file), Ok(mut stopped)) = (cache_file, stopped) {
                file.save(&mut stopped);
            }
            ExitCode::SUCCESS
        }
        (Ended::EngineStopped, Ok(_)) => ExitCode::from(exit::BROKEN),
        (Ended::EngineStopped, Err(broken)) => {
            note(&format!("error: {broken}"));
            ExitCode::from(exit::BROKEN)
        }
    };
    drop(inside);
    // Streams that are still there have been told that it is over.
    runtime.shutdown_timeout(Duration::from_millis(200));
    log::flush(LAST_LINE);
    Ok(code)
}

fn runtime() -> Result<Runtime> {
    let n_processors = std::thread::available_parallelism().map_or(1, usize::from);
    Builder::new_multi_thread()
        .worker_threads(n_processors.div_ceil(PROCESSORS_PER_HTTP_THREAD))
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("http")
        .enable_all()
        .build()
        .context("cannot start threads")
}

/// Sampling defaults: flags first, then the model's file, whose values are logged.
fn defaults(args: &cli::Serve, opened: &Opened) -> Defaults {
    let flags = args.defaults.wishes();
    if args.defaults.no_model_defaults {
        return flags.resolve();
    }
    let FromFile { wishes, warnings } = FromFile::read(opened.file.metadata());
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let taken = wishes.without(&flags).describe();
    if !taken.is_empty() {
        tracing::info!("sampling defaults of the model: {taken} (`--no-model-defaults` ignores them)");
    }
    flags.or(&wishes).resolve()
}

/// Loads the weights on all threads, while one makes the vocabulary ready.
fn load(args: &cli::Serve) -> Result<(Engine, Parts, Defaults, Option<CacheFile>)> {
    let began = Instant::now();
    let mut opened = load::open_with(&args.model, CtrlC::LeftAlone)?;
    args.overrides.apply(&mut opened.file, args.context())?;
    let mut arch = opened.architecture(args.context().map(|n| n as usize))?;
    let target = args.compute.target()?;
    let draft = Draft::open(&args.draft, &args.model, &args.compute, CtrlC::LeftAlone, (&opened, &mut arch))?;
    ensure!(
        draft.is_none() || !args.engine.no_speculation,
        "`--draft` has no effect with `--no-speculation`: leave one of them out"
    );
    let runs_on = target.runs_on(&opened);
    let (cli_engine, context_len) = (&args.engine, arch.context_len);
    let memory = KvMemory { sequences: cli_engine.sequences, kv_memory: cli_engine.kv_memory };
    let (space, pages) = draft::room(draft.as_ref(), &arch, runs_on.kv_type, target.kv_space(&opened, &arch));
    let plan = memory.plan_with(&arch, runs_on.kv_type, space, cli_engine.budget.get(), pages)?;
    let definitions = [&*runs_on.level, &*runs_on.numerics, runs_on.kv_type.name()];
    let mut level = definitions.into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>().join(" ");
    if args.overrides.are_given() {
        level += &format!(" {:?}", args.overrides);
    }
    let card = card::card(args, &opened, &arch, &level)?;
    let cache_file = CacheFile::of(args, &opened, &level, context_len)?;
    let cache_ram = cache_ram(cli_engine.cache_ram, kv_memory::total())?;
    let disk = cli_engine.cache_disk.as_ref().map(|disk| disk_cache(disk, cache_ram)).transpose()?;
    start::loading(&opened);
    projector::warn(opened.path());
    let (text, model) = std::thread::scope(|scope| {
        let text = scope.spawn(|| text(args, &opened));
        let model = opened.model(arch, plan.n_pages.clone(), target, None);
        let model = model.and_then(|model| draft::beside(draft, model, &plan.n_pages));
        (text.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), model)
    });
    let ((tokenizer, template), model) = (text?, model?);
    ensure!(tokenizer.vocab_size() > 0, "the vocabulary of `{}` is empty", opened.name);
    let template = match template {
        Found::Usable(template) => Template::Usable(template),
        Found::Unusable(error) => {
            tracing::warn!("{error:#}: {WITHOUT}");
            Template::Unusable(format!("{error:#}"))
        }
        Found::Missing(reason) => {
            tracing::warn!("there is no chat template: {reason}: {WITHOUT}");
            Template::Missing(reason)
        }
    };
    start::loaded(&card, &runs_on, &plan, (context_len, cli_engine.sequences.get()), began.elapsed());
    let defaults = defaults(args, &opened);
    let limits = Limits {
        max_sequences: cli_engine.sequences.get(),
        max_rows: cli_engine.budget.get(),
        step_target: Micros::from(cli_engine.step_target.get()) * 1000,
        prefix_cache: !cli_engine.no_prefix_cache,
        max_snapshots: plan.max_snapshots(),
        draft_tokens: args.draft.draft_tokens.map(usize::from),
        max_away_bytes: cache_ram,
        ..Config::new(plan.n_pages).limits
    };
    let config = Config {
        limits,
        max_waiting: cli_engine.queue.get(),
        max_waiting_tokens: cli_engine.queue_tokens.get(),
        // Estimates of waits are right from the first request on.
        self_test: true,
        n_mask_threads: runs_on.n_mask_threads(),
        disk,
    };
    let engine = match &cache_file {
        Some(file) => file.start(model, config),
        None => Engine::start(model, config),
    };
    let parts = Parts { engine: engine.handle(), tokenizer, template, card };
    Ok((engine, parts, defaults, cache_file))
}

/// Bytes of `--cache-ram`, which are no more than the `total` of the machine.
fn cache_ram(wanted: Option<u64>, total: Option<u64>) -> Result<u64> {
    let wanted = wanted.unwrap_or(0);
    if let Some(total) = total {
        ensure!(
            wanted <= total,
            "`--cache-ram` of {} is more than the memory of this machine, {}: it comes beside the weights and the KV cache",
            shown(wanted),
            shown(total)
        );
    }
    Ok(wanted)
}

/// The file of `--cache-disk`.
fn disk_cache(disk: &cli::CacheDisk, ram_bytes: u64) -> Result<DiskCache> {
    let cli::CacheDisk { directory, max_bytes } = disk;
    let transit_bytes = ram_bytes.max(TRANSIT_BYTES);
    let report = |what: &str| tracing::warn!("--cache-disk: {what}");
    let cache = DiskCache::open(directory, *max_bytes, transit_bytes, report).with_context(|| {
        format!(
            "cannot create a file in `{}` (`--cache-disk`), which has to be a directory that can be written to",
            directory.display()
        )
    })?;
    tracing::info!(directory = %directory.display(), size = shown(*max_bytes), "evicted prefixes go to disk");
    Ok(cache)
}

fn text(args: &cli::Serve, opened: &Opened) -> Result<(Tokenizer, Found)> {
    let tokenizer = opened.tokenizer()?;
    if let Some(warning) = opened.pre_tokenizer_warning(&tokenizer) {
        tracing::warn!("{warning}");
    }
    let max_bytes = args.limits.body_bytes as usize;
    let template = template::find(args.chat_template.as_ref(), opened, &tokenizer, max_bytes)?;
    Ok((tokenizer, template))
}
