//! `inferno chat`: a conversation, line by line.

mod line;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use inferno_text::{ChatRenderer, message};

use crate::answer::Stop;
use crate::commands::note;
use crate::session::{Session, render, template};
use crate::{cli, interrupt};
use line::{Line, Said, read_line};

const HELP: &str = "\
/system TEXT  set the system message, from the next turn on; without TEXT there is none
/reset        forget the conversation, but not the system message
/help         print this
/exit         end, as Ctrl-D does
A line that begins with a space is not a command. Ctrl-C stops an answer.";

/// What has been said, and who answers.
struct Chat<'a> {
    session: Session<'a>,
    template: Arc<dyn ChatRenderer>,
    is_verbose: bool,
    system: Option<String>,
    /// Of user and assistant, in turn.
    messages: Vec<serde_json::Value>,
    /// Since the program began.
    n_answers: u64,
}

pub(crate) fn chat(args: &cli::Chat) -> Result<ExitCode> {
    let args = &args.answering;
    let (session, template) = Session::start(args, template)?;
    interrupt::release();
    let system = args.system.clone();
    let is_verbose = args.verbose;
    let mut chat = Chat { session, template, is_verbose, system, messages: Vec::new(), n_answers: 0 };

    let mut input = std::io::stdin().lock();
    let is_terminal = input.is_terminal();
    if is_terminal {
        note("/help lists the commands, Ctrl-D ends");
    }
    loop {
        if is_terminal {
            // Not on stdout, which has the answers alone.
            let _ = write!(std::io::stderr(), "> ");
        }
        match read_line(&mut input).context("cannot read stdin")? {
            Line::Text(text) => match Said::of(&text) {
                Said::Exit => return Ok(ExitCode::SUCCESS),
                said => chat.hear(said)?,
            },
            Line::Unfit(why) => note(&format!("{why}: this turn is not kept")),
            Line::End => break,
        }
    }
    if is_terminal {
        note("");
    }
    Ok(ExitCode::SUCCESS)
}

impl Chat<'_> {
    fn hear(&mut self, said: Said<'_>) -> Result<()> {
        match said {
            Said::Turn(text) => return self.turn(text),
            Said::System("") => {
                self.system = None;
                note("there is no system message");
            }
            Said::System(text) => {
                self.system = Some(text.to_owned());
                note("the system message is set");
            }
            Said::Reset => {
                self.messages.clear();
                note("the conversation is forgotten");
            }
            Said::Help => note(HELP),
            Said::Unknown(command) => {
                let command = command.escape_debug();
                note(&format!("there is no command `{command}`, only /system TEXT, /reset, /help and /exit"));
            }
            Said::Nothing | Said::Exit => {}
        }
        Ok(())
    }

    /// Answers, and keeps the turn if there is an answer.
    fn turn(&mut self, text: &str) -> Result<()> {
        self.messages.push(message("user", text));
        match self.answer()? {
            Some(answer) => self.messages.push(message("assistant", &answer)),
            None => drop(self.messages.pop()),
        }
        Ok(())
    }

    /// `None` if the conversation was not taken, or nothing came; why has been said.
    fn answer(&mut self) -> Result<Option<String>> {
        let prompt = match self.prompt() {
            Ok(prompt) => prompt,
            Err(why) => {
                note(&format!("{why:#}; this turn is not kept, `/reset` forgets those before it"));
                return Ok(None);
            }
        };
        interrupt::catch();
        let answer = self.session.answer(prompt, self.n_answers);
        interrupt::release();
        let answer = answer?;
        self.n_answers += 1;
        if answer.stop == Stop::ContextFull {
            note("`/reset` forgets the conversation");
        }
        if self.is_verbose {
            note(&answer.speeds());
        }
        if answer.stop == Stop::Interrupted && answer.usage.n_completion == 0 {
            note("nothing was answered: this turn is not kept");
            return Ok(None);
        }
        Ok(Some(answer.text))
    }

    fn prompt(&self) -> Result<Vec<u32>> {
        let system = self.system.iter().map(|text| message("system", text));
        let messages: Vec<_> = system.chain(self.messages.iter().cloned()).collect();
        let prompt = render(&*self.template, &self.session.tokenizer, &messages)?;
        self.session.check("the conversation", &prompt)?;
        Ok(prompt)
    }
}
