//! An answer on its way from the engine to stdout.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use anyhow::{Result, bail};
use inferno_engine::{Event, Finish, Handle, Request, Ticket, Usage};
use inferno_reply::{CompletionText, TextRules};
use inferno_text::{ControlTokens, StopStrings, StopText, Tokenizer};

use crate::commands::print;
use crate::interrupt;
use crate::terminal::Filter;

/// Longest time until Ctrl-C is seen.
const INTERRUPT_POLL: Duration = Duration::from_millis(20);

/// Reason for the end of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    EndOfAnswer,
    Text(String),
    MaxTokens,
    ContextFull,
    Interrupted,
}

impl Stop {
    /// As OpenAI's API has it, and a word of ours for what cannot happen there.
    pub(crate) fn finish_reason(&self) -> &'static str {
        match self {
            Stop::EndOfAnswer | Stop::Text(_) => "stop",
            Stop::MaxTokens | Stop::ContextFull => "length",
            Stop::Interrupted => "interrupted",
        }
    }
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Stop::EndOfAnswer => f.write_str("the model ended its answer"),
            Stop::Text(text) => write!(f, "the stop string {text:?}"),
            Stop::MaxTokens => f.write_str("the answer reached `--max-tokens`"),
            Stop::ContextFull => f.write_str("the context is full"),
            Stop::Interrupted => f.write_str("interrupted"),
        }
    }
}

/// An answer that is complete.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) text: String,
    /// All that were generated, the one that ended the answer included.
    pub(crate) tokens: Vec<u32>,
    pub(crate) stop: Stop,
    /// The engine's own counts and times.
    pub(crate) usage: Usage,
}

impl Answer {
    /// Lengths and speeds of prompt and answer; cached tokens took no time. The times are the engine's: tokens may be received
    /// faster than they were computed.
    pub(crate) fn speeds(&self) -> String {
        let usage = &self.usage;
        let cached = match usage.n_cached {
            0 => String::new(),
            n => format!(" ({n} cached)"),
        };
        let mut line = format!("prompt: {} tokens{cached}, ", usage.n_prompt);
        if usage.n_completion == 0 {
            return line + "not finished";
        }
        line += &rate(usage.n_prompt - usage.n_cached, usage.prefill);
        if usage.n_completion > 1 {
            let decode = rate(usage.n_completion - 1, usage.decode);
            line += &format!("; decode: {} tokens, {decode}", usage.n_completion);
        }
        line
    }
}

/// Tokens per second; times too short to be measured have none.
fn rate(n: usize, time: Duration) -> String {
    match per_second(n, time) {
        Some(rate) => format!("{rate:.1} tok/s"),
        None => "too short to measure".into(),
    }
}

/// `n` tokens in `time` as a speed; `None` below a clock's resolution.
pub(crate) fn per_second(n: usize, time: Duration) -> Option<f64> {
    (time >= Duration::from_micros(1)).then(|| n as f64 / time.as_secs_f64())
}

/// Conditions that end an answer beside the model's own end, and whether its text is printed.
pub(crate) struct Ending {
    pub(crate) stops: Arc<[String]>,
    /// The reason to give when the answer has as many tokens as were asked for.
    pub(crate) limit: Stop,
    /// Nothing is printed.
    pub(crate) is_silent: bool,
}

/// Text that is printed as it comes, or not at all.
struct Printer {
    is_silent: bool,
    /// Of a terminal: into pipes and files the text goes as it is.
    filter: Option<Filter>,
}

impl Printer {
    fn new(is_silent: bool) -> Printer {
        Printer { is_silent, filter: std::io::stdout().is_terminal().then(Filter::default) }
    }

    fn print(&mut self, text: &str) -> Result<()> {
        match &mut self.filter {
            _ if self.is_silent => Ok(()),
            Some(filter) => print(filter.push(text).as_bytes()),
            None => print(text.as_bytes()),
        }
    }
}

/// Streams the answer to a request to stdout, with a newline at its end. Ctrl-C ends the answer.
///
/// # Errors
/// The engine does not take the request or fails, or stdout is closed.
pub(crate) fn stream(
    engine: &Handle,
    mut request: Request,
    tokenizer: &Arc<Tokenizer>,
    ending: Ending,
) -> Result<Answer> {
    let Ending { stops: strings, limit, is_silent } = ending;
    let rules = TextRules {
        tokenizer: Arc::clone(tokenizer),
        control: ControlTokens::Hidden,
        stops: StopStrings::new(Arc::clone(&strings), StopText::Dropped),
        min_tokens: request.sampling.min_tokens,
        silent: tokenizer.end_of_generation().into(),
    };
    let (mut decoder, stop) = CompletionText::new(&rules, &request.prompt);
    request.stop_conditions = stop.into_iter().collect();
    // Text is not printed by places of tokens.
    let (mut text, mut spans) = (String::new(), Vec::new());
    let mut tokens = Vec::new();
    let mut printer = Printer::new(is_silent);
    let Ticket { id, events } = engine.submit(request)?;
    let mut was_cancelled = false;
    loop {
        if interrupt::requested() && !was_cancelled {
            engine.cancel(id);
            was_cancelled = true;
        }
        match events.recv_timeout(INTERRUPT_POLL) {
            Ok(Event::Token { token, .. }) => {
                tokens.push(token);
                let n_before = text.len();
                decoder.push(token, &mut text, &mut spans);
                spans.clear();
                printer.print(&text[n_before..])?;
            }
            Ok(Event::Finished { finish, usage, .. }) => {
                let n_before = text.len();
                decoder.finish(&mut text, &mut spans);
                printer.print(&format!("{}\n", &text[n_before..]))?;
                let stop = match finish {
                    Finish::Stop => Stop::EndOfAnswer,
                    Finish::Length => limit,
                    Finish::Failed(why) => bail!(why),
                    Finish::StopCondition => match decoder.matched() {
                        Some(i) => Stop::Text(strings[i].clone()),
                        None => Stop::EndOfAnswer,
                    },
                    Finish::Grammar => Stop::EndOfAnswer,
                    Finish::Cancelled | Finish::Deadline => Stop::Interrupted,
                };
                return Ok(Answer { text, tokens, stop, usage });
            }
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("the engine has stopped"),
        }
    }
}
