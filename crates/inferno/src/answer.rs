//! An answer on its way from the engine to stdout.

use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use inferno_engine::{Event, Finish, Handle, Request, Ticket};
use inferno_text::{ControlTokens, Tokenizer};

use crate::commands::print;
use crate::interrupt;

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

/// An answer that has been printed.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) stop: Stop,
    pub(crate) n_tokens: usize,
    pub(crate) logits_hash: Option<u64>,
    n_prompt: usize,
    n_cached: usize,
    /// Until the first token, if it came, and from there to the last.
    prefill: Option<Duration>,
    decode: Duration,
}

impl Answer {
    /// How long prompt and answer were, and how fast; cached tokens took no time.
    pub(crate) fn speeds(&self) -> String {
        let rate = |n: usize, time: Duration| n as f64 / time.as_secs_f64().max(1e-9);
        let cached = match self.n_cached {
            0 => String::new(),
            n => format!(" ({n} cached)"),
        };
        let mut line = format!("prompt: {} tokens{cached}, ", self.n_prompt);
        let Some(prefill) = self.prefill else { return line + "not finished" };
        line += &format!("{:.1} tok/s", rate(self.n_prompt - self.n_cached, prefill));
        if self.n_tokens > 1 {
            let decode = rate(self.n_tokens - 1, self.decode);
            line += &format!("; decode: {} tokens, {decode:.1} tok/s", self.n_tokens);
        }
        line
    }
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
    let start = Instant::now();
    let (mut first, mut last) = (None, None);
    let mut text = String::new();
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
                last = Some(start.elapsed());
                first = first.or(last);
                if !tokenizer.is_end_of_generation(token) {
                    let piece = detokenizer.push(token)?;
                    print(piece.as_bytes())?;
                    text += &piece;
                }
            }
            Ok(Event::Finished { finish, usage, .. }) => {
                let end = detokenizer.finish();
                print(format!("{end}\n").as_bytes())?;
                let stop = match finish {
                    Finish::Stop => Stop::EndOfAnswer,
                    Finish::Length => limit,
                    Finish::Failed(why) => bail!(why),
                    Finish::Cancelled | Finish::Constraint | Finish::Deadline => Stop::Interrupted,
                };
                return Ok(Answer {
                    text: text + &end,
                    stop,
                    n_tokens: usage.n_completion,
                    logits_hash: usage.logits_hash,
                    n_prompt: usage.n_prompt,
                    n_cached: usage.n_cached,
                    prefill: first,
                    decode: last.unwrap_or_default() - first.unwrap_or_default(),
                });
            }
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("the engine has stopped"),
        }
    }
}
