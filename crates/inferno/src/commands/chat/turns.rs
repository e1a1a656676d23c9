//! Answers of a chat: prompts that fit, the same question again, summaries.

use std::io::{IsTerminal, Write};

use anyhow::Result;
use inferno_text::message;
use serde_json::Value;

use super::conversation::turns;
use super::input::Input;
use super::{Chat, Loaded, Next};
use crate::answer::Stop;
use crate::commands::note;
use crate::form::Form;
use crate::interrupt;
use crate::terminal::{Typeahead, is_dumb};

/// Asks for a summary, and stands in front of it afterwards.
const SUMMARIZE: &str = "Summarize our conversation so far in a few sentences. Keep names, numbers, decisions and open \
                         questions.";
/// Longest summary.
const SUMMARY_TOKENS: usize = 512;
/// Room that a summary needs at least.
const LEAST_ROOM: usize = 32;

impl Chat<'_> {
    /// Answers a message, and keeps both if there is an answer. Results of the calls in it come from `input`.
    pub(super) fn turn(&mut self, text: &str, input: &mut Input) -> Result<Next> {
        self.state.conversation.ask(text);
        let answered = self.answer("this turn was dropped")?;
        let conversation = &mut self.state.conversation;
        match answered {
            Answered::With(answer) => {
                conversation.push(answer);
                conversation.attached.clear();
                self.go_on(input)
            }
            Answered::Nothing => {
                conversation.take_last();
                Ok(Next::Go(false))
            }
            Answered::Refused => {
                conversation.take_last();
                conversation.attached.clear();
                Ok(Next::Go(false))
            }
        }
    }

    /// Answers the last message again; the old answer stays if there is no new one.
    pub(super) fn regenerate(&mut self, input: &mut Input) -> Result<Next> {
        let Some(old) = self.state.conversation.take_last() else {
            note("nothing to answer again: the conversation is empty");
            return Ok(Next::Go(false));
        };
        match self.answer("the old answer stays")? {
            Answered::With(answer) => {
                self.state.conversation.push(answer);
                self.go_on(input)
            }
            Answered::Nothing | Answered::Refused => {
                self.state.conversation.push(old);
                Ok(Next::Go(false))
            }
        }
    }

    /// Generates an answer to the conversation, and prints it. `lost` says what becomes of the turn where there is none.
    pub(super) fn answer(&mut self, lost: &str) -> Result<Answered> {
        let context_len = self.loaded.session.context_len;
        let room = self.loaded.session.max_tokens.unwrap_or(usize::MAX).min(context_len / 4).max(1);
        let (prompt, n_dropped) = match self.prompt(&self.loaded.form, room, None) {
            Ok(found) => found,
            Err(why) => {
                note(&format!("{why:#}; {lost}"));
                return Ok(Answered::Refused);
            }
        };
        if n_dropped > 0 {
            self.state.conversation.drop_oldest(n_dropped);
            self.say(&format!(
                "the context of {context_len} tokens is full: the oldest {} left out from now on (`/save` still has them, `/compact` \
                 summarizes turns before they are left out)",
                if n_dropped == 1 { "turn is".into() } else { format!("{} are", turns(n_dropped)) },
            ));
        }
        self.catch();
        let typeahead = self.state.is_terminal.then(Typeahead::start).flatten();
        let thinking = self.state.settings.thinking;
        let answer =
            self.loaded.session.answer(prompt, self.state.n_answers, Some(thinking), &self.loaded.form);
        drop(typeahead);
        self.release();
        let answer = answer?;
        self.state.n_answers += 1;
        self.state.totals.add(&answer.usage);
        if self.state.is_verbose {
            note(&answer.speeds());
        }
        let is_empty =
            answer.stop == Stop::Interrupted && answer.text.trim().is_empty() && answer.calls.is_empty();
        let answered = match is_empty {
            true => Answered::Nothing,
            false => Answered::With(answer.message()),
        };
        if is_empty {
            let when = if answer.n_reasoning == 0 { "before the first token" } else { "while thinking" };
            self.say(&format!("stopped {when}; {lost}"));
        } else if answer.stop == Stop::Interrupted && self.state.is_terminal {
            self.say("stopped; `/regenerate` answers again, `/undo` removes the turn");
        }
        if self.state.is_terminal {
            // A blank line between an answer and the next message.
            note("");
        }
        self.state.last = Some(answer);
        Ok(answered)
    }

    /// The conversation as a prompt, and the number of oldest turns left out to make room for an answer of `room` tokens. If
    /// there is an `ask`, it replaces the newest turn.
    ///
    /// Where some must go, half of the context is made free: the prefix cache serves the turns until it is full again.
    fn prompt(&self, form: &Form, room: usize, ask: Option<&str>) -> Result<(Vec<u32>, usize)> {
        let session = &self.loaded.session;
        let context_len = session.context_len;
        let mut limit = context_len.saturating_sub(room);
        let (n_replaced, n_least) =
            if ask.is_some() { (self.state.conversation.n_newest(), 2) } else { (0, 1) };
        let mut n_dropped = 0;
        loop {
            let mut messages = self.state.conversation.prompt(n_dropped);
            messages.truncate(messages.len() - n_replaced);
            messages.extend(ask.map(|ask| message("user", ask)));
            let prompt = form.render(&*self.loaded.template, &session.tokenizer, &messages)?;
            let is_last = self.state.conversation.n_in_prompt() - n_dropped <= n_least;
            if is_last {
                session.check("the conversation", &prompt)?;
            }
            if is_last || prompt.len() <= limit {
                return Ok((prompt, n_dropped));
            }
            limit = limit.min(context_len / 2);
            n_dropped += 1;
        }
    }

    /// Replaces all turns but the newest by a summary that the model makes.
    ///
    /// # Errors
    /// The engine fails. The inner error is a reason to leave the conversation as it is.
    pub(super) fn compact(&mut self) -> Result<Result<String, String>> {
        if self.state.conversation.n_in_prompt() <= 1 {
            return Ok(Err("nothing to summarize: the conversation has no turn before the last one".into()));
        }
        let n_older = self.state.conversation.n_in_prompt() - 1;
        let form = self.loaded.form.plain();
        let prompt = match self.prompt(&form, LEAST_ROOM, Some(SUMMARIZE)) {
            // Turns for which there is no room are no part of the summary, and go.
            Ok((prompt, _)) => prompt,
            Err(why) => return Ok(Err(format!("{why:#}; the conversation is unchanged"))),
        };
        let session = &mut self.loaded.session;
        let max_tokens = session.max_tokens.replace(SUMMARY_TOKENS.min(session.context_len - prompt.len()));
        let status = Status::show("summarizing …");
        self.catch();
        let typeahead = self.state.is_terminal.then(Typeahead::start).flatten();
        let answer = self.loaded.session.answer(prompt, self.state.n_answers, None, &form);
        drop(typeahead);
        drop(status);
        self.release();
        self.loaded.session.max_tokens = max_tokens;
        let answer = answer?;
        self.state.n_answers += 1;
        self.state.totals.add(&answer.usage);
        let summary = answer.text.trim();
        if answer.stop == Stop::Interrupted || summary.is_empty() {
            let why = if summary.is_empty() { "the summary is empty" } else { "stopped" };
            return Ok(Err(format!("{why}; the conversation is unchanged")));
        }
        let before = self.n_tokens(&self.state.conversation.prompt(0))?;
        let compact = self.state.conversation.with_summary(SUMMARIZE, summary);
        let after = self.n_tokens(&compact.prompt(0))?;
        if after >= before {
            return Ok(Err(format!(
                "the summary is no shorter ({after} tokens in place of {before}); the conversation is unchanged"
            )));
        }
        self.state.conversation = compact;
        let n_saved = before - after;
        Ok(Ok(format!(
            "{summary}\n\n{} replaced by this summary: {after} tokens in place of {before}, {n_saved} saved",
            if n_older == 1 { "1 turn is".into() } else { format!("{} are", turns(n_older)) },
        )))
    }

    fn n_tokens(&self, messages: &[Value]) -> Result<usize> {
        let Loaded { session, template, form, .. } = &self.loaded;
        Ok(form.render(&**template, &session.tokenizer, messages)?.len())
    }

    /// Ctrl-C stops what begins now. On a terminal it does so since the message was entered.
    fn catch(&self) {
        if !self.state.is_terminal {
            interrupt::catch();
        }
    }

    /// Ends the effect of [`catch`](Self::catch).
    fn release(&self) {
        if !self.state.is_terminal {
            interrupt::release();
        }
    }
}

/// Outcome of generating an answer.
pub(super) enum Answered {
    With(Value),
    /// Stopped before there was any text.
    Nothing,
    /// The prompt did not fit.
    Refused,
}

/// A word on the terminal while something is done, erased at its end.
struct Status;

impl Status {
    /// `None` where nothing can be erased.
    fn show(text: &str) -> Option<Status> {
        let can_erase = std::io::stderr().is_terminal() && !is_dumb();
        can_erase.then(|| {
            let _ = write!(std::io::stderr(), "{text}");
            Status
        })
    }
}

impl Drop for Status {
    fn drop(&mut self) {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
}
