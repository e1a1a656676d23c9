//! Carrying out commands.

use std::path::{Path, PathBuf};

use anyhow::Result;
use inferno_text::Special;

use super::commands::{Kind, Said, help};
use super::input::Input;
use super::{Chat, Next, State, keep};
use crate::commands::note;
use crate::prompt::read_file;

impl Chat<'_> {
    /// Carries out what was entered.
    ///
    /// # Errors
    /// The engine fails, or stdout is closed.
    pub(super) fn hear(&mut self, text: &str, input: &mut Input) -> Result<Next> {
        let (kind, argument) = match Said::of(text) {
            Said::Nothing => return Ok(Next::Go(true)),
            Said::Turn(text) => return self.turn(text, input),
            Said::Refused(why) => {
                note(&why);
                return Ok(Next::Go(false));
            }
            Said::Command(kind, argument) => (kind, argument),
        };
        let conversation = &mut self.state.conversation;
        let done = match kind {
            Kind::Regenerate => return self.regenerate(input),
            Kind::Model if !argument.is_empty() => return Ok(Next::Model(model_named(argument))),
            Kind::Exit => return Ok(Next::End),
            Kind::Model => Ok(self.loaded.session.summary.clone()),
            Kind::System if argument.is_empty() => {
                conversation.system = None;
                Ok("the system message is removed".into())
            }
            Kind::System => {
                conversation.system = Some(argument.to_owned());
                Ok("the system message is set".into())
            }
            Kind::Reset => {
                conversation.reset();
                Ok("the conversation is forgotten".into())
            }
            Kind::Undo => match conversation.undo() {
                true => Ok("the last message and its answer are removed".into()),
                false => Err("nothing to undo: the conversation is empty".into()),
            },
            Kind::Compact => self.compact()?,
            Kind::Save => keep::save(conversation, argument).map_err(|e| format!("{e:#}")),
            Kind::Load => match keep::load(argument) {
                Ok(loaded) => {
                    *conversation = loaded;
                    Ok(format!("loaded {} of `{argument}`", conversation.turns()))
                }
                Err(e) => Err(format!("{e:#}")),
            },
            Kind::File => self.attach(argument),
            Kind::Set => self.state.settings.set(&mut self.loaded.session, argument),
            Kind::Thinking => match &self.state.last {
                Some(answer) if !answer.reasoning.trim().is_empty() => Ok(answer.reasoning.trim().to_owned()),
                _ => Err("the last answer has no reasoning".into()),
            },
            Kind::Stats => Ok(self.stats()),
            Kind::Help => Ok(help()),
        };
        match &done {
            Ok(text) => self.say(text),
            Err(why) => note(why),
        }
        Ok(Next::Go(done.is_ok()))
    }

    /// Attaches the text of a file to the next message.
    fn attach(&mut self, file: &str) -> Result<String, String> {
        let text = read_file(&keep::expanded(file)).map_err(|e| format!("{e:#}"))?;
        let session = &self.loaded.session;
        let n_tokens = session.tokenizer.encode(&text, Special::AsText).len();
        let context_len = session.context_len;
        if n_tokens >= context_len {
            return Err(format!(
                "`{file}` has {n_tokens} tokens and the context {context_len}: nothing is attached (`--context` of `inferno chat` \
                 makes it longer, where the model can)"
            ));
        }
        self.state.conversation.attached.push(text);
        Ok(format!("`{file}` goes with the next message: {n_tokens} tokens"))
    }

    fn stats(&self) -> String {
        let State { conversation, totals, last, n_answers, .. } = &self.state;
        let context_len = self.loaded.session.context_len;
        let mut text = conversation.turns();
        match last {
            None => text += &format!(" in a context of {context_len} tokens"),
            Some(answer) => {
                let usage = &answer.usage;
                let n_used = usage.n_prompt + usage.n_completion;
                let first = (usage.queued + usage.prefill).as_secs_f64();
                text += &format!(
                    ", {n_used} of {context_len} tokens of the context in use\n{}\nfirst token after {first:.2} s; stopped: {}",
                    answer.speeds(),
                    answer.stop
                );
            }
        }
        let answers = if *n_answers == 1 { "answer" } else { "answers" };
        text + &format!(
            "\n{n_answers} {answers} in all: {} prompt tokens, {} of them from the cache; {} generated",
            totals.n_prompt, totals.n_cached, totals.n_completion
        )
    }
}

/// The model of that name; `None` for the one inside the program.
fn model_named(name: &str) -> Option<PathBuf> {
    let path = keep::expanded(name);
    (!name.eq_ignore_ascii_case("ember") || Path::new(&path).exists()).then_some(path)
}
