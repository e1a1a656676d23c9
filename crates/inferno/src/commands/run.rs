//! `inferno run`: one prompt, one answer, streamed.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use inferno_engine::{Config, Engine, Event, Finish, Handle, Limits, Request, Sampling, Ticket};
use inferno_model::batch::PAGE_LEN;
use inferno_model::sample::SampleSpec;
use inferno_text::{ChatTemplate, ControlTokens, RenderOptions, Special, Tokenizer, message};

use crate::commands::{note, print, read_stdin};
use crate::{cli, interrupt, load};

/// Longer prompts fit no context.
const MAX_PROMPT_BYTES: u64 = 16 << 20;

/// Rows of the prompt per step: enough that reading the weights costs little, few enough that Ctrl-C is answered soon.
const CHUNK: usize = 128;

/// How soon Ctrl-C is seen.
const INTERRUPT_POLL: Duration = Duration::from_millis(20);

/// The most tokens of an answer, and what it means to reach them.
#[derive(Debug, Clone, Copy)]
struct Limit {
    n_tokens: usize,
    stop: Stop,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    EndOfAnswer,
    MaxTokens,
    ContextFull,
    Interrupted,
}

pub(crate) fn run(args: &cli::Run) -> Result<ExitCode> {
    let started = Instant::now();
    let text = prompt_text(args)?;
    let opened = load::open(args.model.model.as_deref())?;
    let arch = opened.architecture(args.context.map(|n| n as usize))?;
    let context_len = arch.context_len;
    // Keys and values take memory when they are written: there is room for the whole context.
    let n_pages = context_len.div_ceil(PAGE_LEN);
    // While one thread makes the vocabulary ready, the others load the weights.
    let (text, model) = std::thread::scope(|scope| {
        let text = scope.spawn(|| -> Result<_> {
            let tokenizer = opened.tokenizer()?;
            let prompt = prompt_tokens(args, &opened, &tokenizer, &text)?;
            Ok((tokenizer, prompt))
        });
        let model = opened.model(arch, n_pages, &args.compute, None);
        (text.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), model)
    });
    let ((tokenizer, prompt), model) = (text?, model?);
    ensure!(
        !prompt.is_empty(),
        "the prompt has no tokens: the vocabulary or the chat template leaves nothing of it"
    );
    ensure!(
        prompt.len() < context_len,
        "the prompt has {} tokens and the context {context_len} positions: it must leave room for an answer",
        prompt.len()
    );
    let room = context_len - prompt.len();
    let limit = match args.max_tokens {
        Some(n) if n as usize <= room => Limit { n_tokens: n as usize, stop: Stop::MaxTokens },
        _ => Limit { n_tokens: room, stop: Stop::ContextFull },
    };
    let config = Config::new(n_pages);
    let limits = Limits { max_sequences: 1, max_rows: CHUNK, ..config.limits };
    let engine = Engine::start(model, Config { limits, ..config });
    let loaded = started.elapsed();
    let seed = args.sampling.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
    interrupt::listen()?;
    if args.verbose {
        note(&format!("seed {seed}, loaded in {:.2} s", loaded.as_secs_f64()));
    }
    let request = Request {
        sampling: Sampling {
            spec: spec(&args.sampling, seed),
            eos_tokens: tokenizer.end_of_generation().to_vec(),
            ..Sampling::default()
        },
        hash_logits: args.verbose,
        ..Request::new(prompt.clone(), limit.n_tokens)
    };
    let answer = answer(&engine.handle(), request, &tokenizer, &prompt, limit)?;

    if answer.stop == Stop::ContextFull {
        note(&format!("stopped: the context of {context_len} positions is full"));
    }
    if args.verbose {
        let hash = answer.logits_hash.map_or(String::new(), |hash| format!(", logits hash {hash:016x}"));
        note(&format!("stopped by {:?}{hash}", answer.stop));
    }
    note(&answer.speeds(prompt.len()));
    Ok(match answer.stop {
        Stop::Interrupted => ExitCode::from(interrupt::EXIT_CODE),
        _ => ExitCode::SUCCESS,
    })
}

/// The argument, or stdin if that is piped.
fn prompt_text(args: &cli::Run) -> Result<String> {
    let text = match args.prompt.as_deref() {
        Some(text) if text != "-" => text.to_owned(),
        None if std::io::stdin().is_terminal() => {
            bail!("there is no prompt: give one as an argument (`inferno run \"Hello\"`) or pipe it in")
        }
        _ => {
            let text = read_stdin(MAX_PROMPT_BYTES)?;
            text.strip_suffix('\n').map_or(text.as_str(), |t| t.strip_suffix('\r').unwrap_or(t)).to_owned()
        }
    };
    ensure!(!text.is_empty(), "the prompt is empty");
    Ok(text)
}

fn prompt_tokens(
    args: &cli::Run,
    opened: &load::Opened,
    tokenizer: &Tokenizer,
    text: &str,
) -> Result<Vec<u32>> {
    if args.raw {
        let bos = tokenizer.bos().filter(|_| tokenizer.add_bos());
        return Ok(bos.into_iter().chain(tokenizer.encode(text, Special::Recognise)).collect());
    }
    let template = ChatTemplate::from_metadata(opened.file.metadata())
        .with_context(|| format!("cannot use the chat template of `{}`", opened.name))?
        .with_context(|| format!("`{}` has no chat template, `--raw` continues text without", opened.name))?;
    let system = args.system.iter().map(|text| ("system", text.as_str()));
    let messages: Vec<_> = system.chain([("user", text)]).map(|(role, text)| message(role, text)).collect();
    // Room for any prompt that is read: whether it fits the context is said in tokens.
    let options = RenderOptions { max_bytes: 4 * text.len() + (4 << 20), ..RenderOptions::default() };
    template
        .render_tokens(tokenizer, &messages, &options)
        .context("the chat template does not take this prompt")
}

fn spec(sampling: &cli::Sampling, seed: u64) -> SampleSpec {
    SampleSpec {
        top_k: sampling.top_k as usize,
        top_p: sampling.top_p,
        min_p: sampling.min_p,
        temperature: sampling.temperature,
        seed,
        choice_idx: 0,
    }
}

struct Answer {
    stop: Stop,
    n_tokens: usize,
    /// Until the first token, if it came, and from there to the last.
    prefill: Option<Duration>,
    decode: Duration,
    logits_hash: Option<u64>,
}

impl Answer {
    /// The last line.
    fn speeds(&self, n_prompt: usize) -> String {
        let rate = |n: usize, time: Duration| n as f64 / time.as_secs_f64().max(1e-9);
        let Some(prefill) = self.prefill else { return format!("prompt: {n_prompt} tokens, not finished") };
        let mut line = format!("prompt: {n_prompt} tokens, {:.1} tok/s", rate(n_prompt, prefill));
        if self.n_tokens > 1 {
            let decode = rate(self.n_tokens - 1, self.decode);
            line += &format!("; decode: {} tokens, {decode:.1} tok/s", self.n_tokens);
        }
        line
    }
}

/// Streams an answer to stdout.
fn answer(
    engine: &Handle,
    request: Request,
    tokenizer: &Tokenizer,
    prompt: &[u32],
    limit: Limit,
) -> Result<Answer> {
    let start = Instant::now();
    let (mut first, mut last) = (None, None);
    let mut detokenizer = tokenizer.detokenizer_after(prompt, ControlTokens::Hidden);
    let Ticket { id, events } = engine.submit(request)?;
    let mut was_cancelled = false;
    loop {
        if interrupt::requested() && !was_cancelled {
            engine.cancel(id);
            was_cancelled = true;
        }
        match events.recv_timeout(INTERRUPT_POLL) {
            Ok(Event::Token { token, .. }) => {
                last = Some(start.elapsed());
                first = first.or(last);
                if !tokenizer.is_end_of_generation(token) {
                    print(detokenizer.push(token)?.as_bytes())?;
                }
            }
            Ok(Event::Finished { finish, usage, .. }) => {
                print(format!("{}\n", detokenizer.finish()).as_bytes())?;
                let stop = match finish {
                    Finish::Stop => Stop::EndOfAnswer,
                    Finish::Length => limit.stop,
                    Finish::Failed(why) => bail!(why),
                    Finish::Cancelled | Finish::Constraint | Finish::Deadline => Stop::Interrupted,
                };
                let decode = last.unwrap_or_default() - first.unwrap_or_default();
                let (n_tokens, logits_hash) = (usage.n_completion, usage.logits_hash);
                return Ok(Answer { stop, n_tokens, prefill: first, decode, logits_hash });
            }
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("the engine has stopped"),
        }
    }
}
