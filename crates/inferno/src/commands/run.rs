//! `inferno run`: one prompt, one answer, streamed.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use inferno_model::sample::SampleSpec;
use inferno_text::{ChatTemplate, ControlTokens, Special, Tokenizer, message};

use crate::commands::{print, read_stdin};
use crate::generate::Sequence;
use crate::{cli, load};

/// Set by the first Ctrl-C.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// What a shell reports for a program ended by Ctrl-C.
const EXIT_INTERRUPTED: u8 = 130;

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
    let tokenizer = opened.tokenizer()?;
    let prompt = prompt_tokens(args, &opened, &tokenizer, &text)?;
    let arch = opened.architecture(args.context.map(|n| n as usize))?;
    let context_len = arch.context_len;
    ensure!(
        prompt.len() < context_len,
        "the prompt has {} tokens and the context {context_len} positions: it must leave room for an answer",
        prompt.len()
    );
    let room = context_len - prompt.len();
    let most = args.max_tokens.map_or(room, |n| room.min(n as usize));
    let mut sequence = Sequence::new(opened.model(arch, prompt.len() + most)?, prompt.len() + most);
    let loaded = started.elapsed();
    let seed = args.sampling.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
    let answer = answer(&mut sequence, &tokenizer, &prompt, (most, room), spec(&args.sampling, seed))?;

    if answer.stop == Stop::ContextFull {
        eprintln!("stopped: the context of {context_len} positions is full");
    }
    if args.verbose {
        eprintln!("seed {seed}, loaded in {:.2} s, stopped by {:?}", loaded.as_secs_f64(), answer.stop);
        eprintln!("logits hash {:016x}", answer.logits_hash);
    }
    eprintln!("{}", answer.speeds(prompt.len()));
    Ok(if answer.stop == Stop::Interrupted { ExitCode::from(EXIT_INTERRUPTED) } else { ExitCode::SUCCESS })
}

/// The argument, or stdin if that is piped.
fn prompt_text(args: &cli::Run) -> Result<String> {
    let text = match args.prompt.as_deref() {
        Some(text) if text != "-" => text.to_owned(),
        None if std::io::stdin().is_terminal() => {
            bail!("there is no prompt: give one as an argument (`inferno run \"Hello\"`) or pipe it in")
        }
        _ => {
            let text = read_stdin()?;
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
    template
        .render_tokens(tokenizer, &messages, &Default::default())
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
    logits_hash: u64,
    /// Until the first token, and from there to the last.
    prefill: Duration,
    decode: Duration,
}

impl Answer {
    /// The last line.
    fn speeds(&self, n_prompt: usize) -> String {
        let rate = |n: usize, time: Duration| n as f64 / time.as_secs_f64().max(1e-9);
        let mut line = format!("prompt: {n_prompt} tokens, {:.1} tok/s", rate(n_prompt, self.prefill));
        if self.n_tokens > 1 {
            let decode = rate(self.n_tokens - 1, self.decode);
            line += &format!("; decode: {} tokens, {decode:.1} tok/s", self.n_tokens);
        }
        line
    }
}

/// Streams up to `most` tokens to stdout; `room` is how many the context holds.
fn answer(
    sequence: &mut Sequence,
    tokenizer: &Tokenizer,
    prompt: &[u32],
    (most, room): (usize, usize),
    spec: SampleSpec,
) -> Result<Answer> {
    ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(EXIT_INTERRUPTED.into());
        }
    })
    .context("cannot listen for Ctrl-C")?;
    let go_on = || !INTERRUPTED.load(Ordering::Relaxed);

    let start = Instant::now();
    let mut first = start;
    let mut detokenizer = tokenizer.detokenizer_after(prompt, ControlTokens::Hidden);
    let mut input = prompt.to_vec();
    let (mut n_tokens, mut logits_hash) = (0, 0);
    let stop = loop {
        if n_tokens == most {
            break if most == room { Stop::ContextFull } else { Stop::MaxTokens };
        }
        let Some(next) = sequence.next_token(&input, spec, go_on)? else { break Stop::Interrupted };
        if n_tokens == 0 {
            first = Instant::now();
        }
        n_tokens += 1;
        logits_hash = next.logits_hash;
        if tokenizer.is_end_of_generation(next.token) {
            break Stop::EndOfAnswer;
        }
        print(detokenizer.push(next.token)?.as_bytes())?;
        input.clear();
        input.push(next.token);
    };
    print(format!("{}\n", detokenizer.finish()).as_bytes())?;
    Ok(Answer { stop, n_tokens, logits_hash, prefill: first - start, decode: first.elapsed() })
}
