//! An answer on its way from the engine to stdout.

use std::io::IsTerminal;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use anyhow::{Result, bail};
use inferno_engine::{Event, Finish, Handle, Request, Ticket, Usage};
use inferno_text::{ControlTokens, Tokenizer};

use crate::commands::print;
use crate::interrupt;
use crate::terminal::Filter;

/// How soon Ctrl-C is seen.
const INTERRUPT_POLL: Duration = Duration::from_millis(20);

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    EndOfAnswer,
    MaxTokens,
    ContextFull,
    Interrupted,
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Stop::EndOfAnswer => "the model ended its answer",
            Stop::MaxTokens => "the answer reached `--max-tokens`",
            Stop::ContextFull => "the context is full",
            Stop::Interrupted => "interrupted",
        })
    }
}

/// An answer that has been printed.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) stop: Stop,
    /// The engine's own counts and times.
    pub(crate) usage: Usage,
}

impl Answer {
    /// How long prompt and answer were, and how fast; cached tokens took no time. The times are the engine's: tokens may be
    /// received faster than they were computed.
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

/// Streams the answer to a request to stdout, with a newline at its end. `limit` is what it means if the answer has as many
/// tokens as were asked for. Ctrl-C ends the answer.
///
/// # Errors
/// The engine does not take the request or fails, or stdout is closed.
pub(crate) fn stream(
    engine: &Handle,
    request: Request,
    tokenizer: &Tokenizer,
    limit: Stop,
) -> Result<Answer> {
    let mut text = String::new();
    let mut filter = std::io::stdout().is_terminal().then(Filter::default);
    // Into pipes and files the text goes as it is.
    let mut show = move |piece: &str| match &mut filter {
        Some(filter) => print(filter.push(piece).as_bytes()),
        None => print(piece.as_bytes()),
    };
    let mut detokenizer = tokenizer.detokenizer_after(&request.prompt, ControlTokens::Hidden);
    let Ticket { id, events } = engine.submit(request)?;
    let mut was_cancelled = false;
    loop {
        if interrupt::requested() && !was_cancelled {
            engine.cancel(id);
            was_cancelled = true;
        }
        match events.recv_timeout(INTERRUPT_POLL) {
            Ok(Event::Token { token, .. }) => {
                if !tokenizer.is_end_of_generation(token) {
                    let piece = detokenizer.push(token)?;
                    show(&piece)?;
                    text += &piece;
                }
            }
            Ok(Event::Finished { finish, usage, .. }) => {
                let end = detokenizer.finish();
                show(&format!("{end}\n"))?;
                let stop = match finish {
                    Finish::Stop => Stop::EndOfAnswer,
                    Finish::Length => limit,
                    Finish::Failed(why) => bail!(why),
                    Finish::Cancelled | Finish::Constraint | Finish::Deadline => Stop::Interrupted,
                };
                return Ok(Answer { text: text + &end, stop, usage });
            }
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("the engine has stopped"),
        }
    }
}
