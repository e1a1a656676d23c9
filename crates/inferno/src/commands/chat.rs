//! `inferno chat`: a conversation, line by line.

mod keep;
mod line;
mod settings;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use inferno_text::{ChatRenderer, message};
use serde_json::Value;

use crate::answer::{Answer, Stop};
use crate::commands::note;
use crate::form::Form;
use crate::prompt::read_file;
use crate::session::{Session, template};
use crate::terminal::has_colours;
use crate::{cli, interrupt};
use line::{Line, Said, read_line, uncut};

const HELP: &str = "\
/system TEXT      set the system message, from the next turn on; without TEXT there is none
/file FILE        put the text of FILE behind the next message
/regen            answer the last message again
/undo             forget the last message and its answer
/reset            forget the conversation, but not the system message
/save FILE        write the conversation to a new file, as JSON
/load FILE        go on with a conversation from such a file
/set NAME VALUE   change a setting; without NAME all are shown
/stats            print counts and speeds of the last answer
/help             print this
/exit             end, as Ctrl-D does (also: /quit, /bye, exit)
A line that begins with a space is not a command. Ctrl-C stops an answer.";

/// A conversation and the model that answers.
struct Chat<'a> {
    session: Session<'a>,
    template: Arc<dyn ChatRenderer>,
    form: Form,
    is_verbose: bool,
    system: Option<String>,
    /// Of user and assistant, in turn.
    messages: Vec<Value>,
    /// Texts of files, for the next message.
    attached: Vec<String>,
    /// Since the program began.
    n_answers: u64,
    last: Option<Answer>,
}

pub(crate) fn chat(args: &cli::Chat) -> Result<ExitCode> {
    let args = &args.answering;
    let (session, (template, form)) = Session::start(args, |opened, tokenizer| {
        let template = template(args, opened, tokenizer)?;
        let source = crate::template::source(args.chat_template.as_ref(), opened);
        let form = Form::new(args, Some(template.profile()), source.as_deref())?;
        Ok((template, form))
    })?;
    session.note_excess(0);
    interrupt::release();
    let mut chat = Chat {
        session,
        template,
        form,
        is_verbose: args.verbose,
        system: args.system.clone(),
        messages: Vec::new(),
        attached: Vec::new(),
        n_answers: 0,
        last: None,
    };

    let mut input = std::io::stdin().lock();
    let is_terminal = input.is_terminal();
    if is_terminal {
        note("/help lists the commands, Ctrl-D ends");
    }
    let prompt = if has_colours() { "\x1b[1;36m>\x1b[0m " } else { "> " };
    let mut all_went_well = true;
    loop {
        if is_terminal {
            // Not on stdout, which has the answers alone.
            let _ = write!(std::io::stderr(), "{prompt}");
        }
        let line = read_line(&mut input).context("cannot read stdin")?;
        match if is_terminal { uncut(line) } else { line } {
            Line::Text(text) => match Said::of(&text) {
                Said::Exit => break,
                said => all_went_well &= chat.hear(said)?,
            },
            Line::Unfit(why) => {
                note(&format!("{why}: this turn is not kept"));
                all_went_well = false;
            }
            Line::End => {
                if is_terminal {
                    note("");
                }
                break;
            }
        }
    }
    // Somebody at a terminal has seen what went wrong.
    Ok(if all_went_well || is_terminal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Chat<'_> {
    /// Carries out a line; `false` if that failed, after printing the reason.
    ///
    /// # Errors
    /// The engine fails, or stdout is closed.
    fn hear(&mut self, said: Said<'_>) -> Result<bool> {
        let done = match said {
            Said::Turn(text) => return self.turn(text),
            Said::Regenerate => return self.regenerate(),
            Said::System("") => {
                self.system = None;
                Ok("there is no system message".into())
            }
            Said::System(text) => {
                self.system = Some(text.to_owned());
                Ok("the system message is set".into())
            }
            Said::Reset => {
                self.messages.clear();
                self.attached.clear();
                Ok("the conversation is forgotten".into())
            }
            Said::Undo => match self.messages.len() {
                0 => Err("nothing to undo: the conversation is empty".into()),
                n => {
                    self.messages.truncate(n - 2);
                    Ok("the last message and its answer are forgotten".into())
                }
            },
            Said::Save(file) => self.save(Path::new(file)).map_err(|e| format!("{e:#}")),
            Said::Load(file) => self.load(Path::new(file)).map_err(|e| format!("{e:#}")),
            Said::File(file) => match read_file(Path::new(file)) {
                Ok(text) => {
                    let n_bytes = text.len();
                    self.attached.push(text);
                    Ok(format!("{n_bytes} bytes of `{file}` go with the next message"))
                }
                Err(e) => Err(format!("{e:#}")),
            },
            Said::Set("", _) => Ok(settings::all(&self.session)),
            Said::Set(name, value) => settings::set(&mut self.session, name, value),
            Said::Stats => Ok(self.stats()),
            Said::Help => Ok(HELP.into()),
            Said::Unknown(command) => Err(format!(
                "there is no command `{}`, `/help` lists those that there are",
                command.escape_debug()
            )),
            Said::Nothing | Said::Exit => return Ok(true),
        };
        let (Ok(text) | Err(text)) = &done;
        note(text);
        Ok(done.is_ok())
    }

    fn stats(&self) -> String {
        let turns = keep::turns(&self.messages);
        let mut text = format!("{turns} in a context of {} positions", self.session.context_len);
        if let Some(answer) = &self.last {
            text += &format!("\n{}\nstopped: {}", answer.speeds(), answer.stop);
        }
        text
    }

    /// Answers, and keeps the turn if there is an answer.
    fn turn(&mut self, text: &str) -> Result<bool> {
        let parts: Vec<&str> =
            std::iter::once(text).chain(self.attached.iter().map(String::as_str)).collect();
        self.messages.push(message("user", &parts.join("\n\n")));
        let answer = self.answer()?;
        self.attached.clear();
        match answer {
            Some(answer) => {
                self.messages.push(answer);
                Ok(true)
            }
            None => {
                self.messages.pop();
                Ok(false)
            }
        }
    }

    /// Answers the last message again; the old answer stays if there is no new one.
    fn regenerate(&mut self) -> Result<bool> {
        let Some(old) = self.messages.pop() else {
            note("nothing to answer again: the conversation is empty");
            return Ok(false);
        };
        let new = self.answer()?;
        let is_new = new.is_some();
        self.messages.push(new.unwrap_or(old));
        Ok(is_new)
    }

    /// Generates an answer; `None` if the prompt did not fit or nothing was generated, after printing the reason.
    fn answer(&mut self) -> Result<Option<Value>> {
        let (prompt, n_dropped) = match self.prompt() {
            Ok(found) => found,
            Err(why) => {
                note(&format!("{why:#}; this turn is not kept, `/reset` forgets those before it"));
                return Ok(None);
            }
        };
        if n_dropped > 0 {
            self.messages.drain(..n_dropped);
            let (n_turns, context_len) = (n_dropped / 2, self.session.context_len);
            let turns = if n_turns == 1 { "turn is" } else { "turns are" };
            note(&format!(
                "the context of {context_len} positions is too short: the oldest {n_turns} {turns} forgotten"
            ));
        }
        interrupt::catch();
        let answer = self.session.answer(prompt, self.n_answers, false, &self.form);
        interrupt::release();
        let answer = answer?;
        self.n_answers += 1;
        if self.is_verbose {
            note(&answer.speeds());
        }
        let is_empty = answer.stop == Stop::Interrupted && answer.usage.n_completion == 0;
        let said = (!is_empty).then(|| answer.message());
        if is_empty {
            note("stopped before the first token: this turn is not kept");
        }
        self.last = Some(answer);
        Ok(said)
    }

    /// The conversation as a prompt, and how many of its oldest messages had to be left out for it to fit with some room for
    /// an answer.
    fn prompt(&self) -> Result<(Vec<u32>, usize)> {
        let context_len = self.session.context_len;
        let room = self.session.max_tokens.unwrap_or(usize::MAX).min(context_len / 4).max(1);
        let mut n_dropped = 0;
        loop {
            let system = self.system.iter().map(|text| message("system", text));
            let messages: Vec<Value> = system.chain(self.messages[n_dropped..].iter().cloned()).collect();
            let prompt = self.form.render(&*self.template, &self.session.tokenizer, &messages)?;
            let is_last = self.messages.len() - n_dropped <= 2;
            if is_last {
                self.session.check("the conversation", &prompt)?;
            }
            if is_last || prompt.len() + room <= context_len {
                return Ok((prompt, n_dropped));
            }
            n_dropped += 2;
        }
    }
}
