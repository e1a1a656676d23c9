//! An answer on its way from the engine to stdout.

use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use anyhow::{Result, bail};
use inferno_engine::{Event, Handle, Request, Ticket, Usage};
use inferno_reply::{Delta, FinishReason, PartKind, Reply, ReplyError, ReplyRules, StopReason};
use inferno_text::message;
use serde_json::{Value, json};

use crate::interrupt;
use crate::terminal::Size;

mod display;
mod fold;
mod printer;
mod screen;

use printer::Printer;
pub(crate) use printer::{Thinking, View};

/// Longest time until Ctrl-C is seen.
const INTERRUPT_POLL: Duration = Duration::from_millis(20);

/// Reason for the end of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    EndOfAnswer,
    /// The model's own end, after calls of tools.
    Calls,
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
            Stop::Calls => "tool_calls",
            Stop::MaxTokens | Stop::ContextFull => "length",
            Stop::Interrupted => "interrupted",
        }
    }
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Stop::EndOfAnswer => f.write_str("the model ended its answer"),
            Stop::Calls => f.write_str("the model called tools"),
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
    /// The model's reasoning, where it is told apart.
    pub(crate) reasoning: String,
    /// Tokens of reasoning, marks included.
    pub(crate) n_reasoning: usize,
    pub(crate) calls: Vec<Call>,
    /// All that were generated, the one that ended the answer included.
    pub(crate) tokens: Vec<u32>,
    pub(crate) stop: Stop,
    /// The engine's own counts and times.
    pub(crate) usage: Usage,
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) name: String,
    /// JSON as the model wrote it.
    pub(crate) arguments: String,
}

impl Call {
    /// As OpenAI's API has it.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "id": self.id,
            "type": "function",
            "function": { "name": self.name, "arguments": self.arguments },
        })
    }
}

impl Answer {
    fn new(all: Delta, tokens: Vec<u32>, stop: Stop, usage: Usage, n_reasoning: usize) -> Answer {
        let (mut text, mut reasoning, mut calls) = (String::new(), String::new(), Vec::<Call>::new());
        for part in all.parts {
            match part.kind {
                PartKind::Text => text += &part.text,
                PartKind::Reasoning => reasoning += &part.text,
                PartKind::ToolCall { id, name, .. } => calls.push(Call { id, name, arguments: part.text }),
                PartKind::Arguments { .. } => {
                    if let Some(call) = calls.last_mut() {
                        call.arguments += &part.text;
                    }
                }
            }
        }
        Answer { text, reasoning, n_reasoning, calls, tokens, stop, usage }
    }

    /// The message that later prompts have of it.
    pub(crate) fn message(&self) -> Value {
        let mut message = message("assistant", &self.text);
        if !self.calls.is_empty() {
            message["tool_calls"] = self.calls.iter().map(Call::to_json).collect();
        }
        message
    }

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

/// `text` with its words wrapped to the terminal's width.
pub(crate) fn wrapped(text: &str) -> String {
    let mut screen = screen::Screen::new(Size::now().map(|size| size.columns), None);
    let mut wrapped = screen.push(text);
    wrapped += &screen.finish();
    wrapped
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

/// The end of an answer that has as many tokens as were asked for, and whether its text is printed.
pub(crate) struct Ending {
    /// The reason to give when the answer has as many tokens as were asked for.
    pub(crate) limit: Stop,
    /// `None`: nothing is printed.
    pub(crate) view: Option<View>,
}

/// Streams the answer to a request to stdout, with a newline at its end. Ctrl-C ends the answer.
///
/// # Errors
/// The engine does not take the request or fails, or stdout is closed.
pub(crate) fn stream(
    engine: &Handle,
    mut request: Request,
    rules: &ReplyRules,
    ending: Ending,
) -> Result<Answer> {
    let Ending { limit, view } = ending;
    let (mut reply, stop) = Reply::new(rules, &request.prompt);
    request.stop_conditions = stop.into_iter().collect();
    let (mut all, mut tokens) = (Delta::default(), Vec::new());
    let mut printer = view.map(Printer::new);
    let Ticket { id, events } = engine.submit(request)?;
    let mut was_cancelled = false;
    loop {
        if interrupt::requested() && !was_cancelled {
            engine.cancel(id);
            was_cancelled = true;
        }
        let mut delta = Delta::default();
        let finish = match events.recv_timeout(INTERRUPT_POLL) {
            Ok(Event::Token { token, .. }) => {
                tokens.push(token);
                reply.push(token, None, &mut delta);
                None
            }
            Ok(Event::Finished { finish, usage, .. }) => Some((finish, usage)),
            Ok(_) | Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => bail!("the engine has stopped"),
        };
        let ended = match finish {
            None => None,
            Some((finish, usage)) => {
                let stop = match reply.finish(finish, &mut delta) {
                    Ok(end) => match (end.reason, end.stop) {
                        (FinishReason::Length, _) => limit.clone(),
                        (_, Some(StopReason::String(text))) => Stop::Text(text),
                        (FinishReason::ToolCalls, _) => Stop::Calls,
                        (FinishReason::Stop, _) => Stop::EndOfAnswer,
                    },
                    Err(ReplyError::Cancelled | ReplyError::Deadline) => Stop::Interrupted,
                    Err(ReplyError::Failed(why)) => bail!(why),
                };
                Some((stop, usage))
            }
        };
        if let Some(printer) = &mut printer {
            delta.parts.iter().try_for_each(|part| printer.print(part))?;
        }
        all.append(delta);
        if let Some((stop, usage)) = ended {
            printer.map_or(Ok(()), Printer::end)?;
            return Ok(Answer::new(all, tokens, stop, usage, reply.n_reasoning()));
        }
    }
}
