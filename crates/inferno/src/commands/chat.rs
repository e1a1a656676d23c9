//! `inferno chat`: a conversation with a model.

mod commands;
mod completion;
mod conversation;
mod editor;
mod hear;
mod history;
mod input;
mod keep;
mod line;
mod results;
mod settings;
mod signals;
mod turns;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use inferno_engine::Usage;
use inferno_text::ChatRenderer;

use crate::answer::{Answer, wrapped};
use crate::cli::{Answering, ModelFile};
use crate::commands::note;
use crate::form::Form;
use crate::session::{Session, template};
use crate::terminal::Typeahead;
use crate::{cli, interrupt, load};
use conversation::Conversation;
use input::Input;
use line::Line;
use settings::Settings;

/// A conversation and the model that answers.
struct Chat<'a> {
    loaded: Loaded<'a>,
    state: State,
}

/// A model, and the form of its prompts and answers.
struct Loaded<'a> {
    session: Session<'a>,
    template: Arc<dyn ChatRenderer>,
    form: Form,
    /// Name it was asked for by; `None` for the model inside the program.
    model: Option<PathBuf>,
}

/// State that is kept when the model changes.
struct State {
    conversation: Conversation,
    settings: Settings,
    /// Since the program began.
    n_answers: u64,
    totals: Totals,
    last: Option<Answer>,
    is_terminal: bool,
    is_verbose: bool,
}

/// Tokens of all answers.
#[derive(Debug, Default)]
struct Totals {
    n_prompt: usize,
    n_cached: usize,
    n_completion: usize,
}

impl Totals {
    fn add(&mut self, usage: &Usage) {
        self.n_prompt += usage.n_prompt;
        self.n_cached += usage.n_cached;
        self.n_completion += usage.n_completion;
    }
}

/// Consequence of a message or command.
enum Next {
    /// Another one. `false` if this one failed, which was said.
    Go(bool),
    /// The same with another model.
    Model(Option<PathBuf>),
    End,
}

pub(crate) fn chat(args: &cli::Chat) -> Result<ExitCode> {
    let is_terminal = std::io::stdin().is_terminal();
    let typeahead = is_terminal.then(Typeahead::start).flatten();
    if is_terminal {
        signals::restore_at_sigterm();
    }
    let answering = &args.answering;
    let loaded = Loaded::open(answering, answering.model.model.clone())?;
    drop(typeahead);
    loaded.session.note_excess(0);
    let state = State {
        conversation: Conversation::new(answering.system.clone()),
        settings: Settings::new(),
        n_answers: 0,
        totals: Totals::default(),
        last: None,
        is_terminal,
        is_verbose: answering.verbose,
    };
    let mut chat = Chat { loaded, state };
    let mut input = Input::new(is_terminal, args.no_history)?;
    if is_terminal {
        // From here on Ctrl-C never ends the program.
        interrupt::catch_all();
        chat.say("`/help` lists the commands, Ctrl-D ends");
    }
    let mut all_went_well = true;
    loop {
        let entered = input.read()?;
        if is_terminal {
            // Whatever is pressed from here on is meant for what begins now.
            interrupt::catch_all();
        }
        let next = match entered {
            Line::Text(text) => chat.hear(&text, &mut input)?,
            Line::Message(text) if text.trim().is_empty() => Next::Go(true),
            Line::Message(text) => chat.turn(&text, &mut input)?,
            Line::Unfit(why) => {
                note(&format!("{why}: this turn was dropped"));
                Next::Go(false)
            }
            Line::Cleared(was_empty) => {
                if was_empty {
                    chat.say("Ctrl-D or `/exit` ends");
                }
                Next::Go(true)
            }
            Line::End => Next::End,
        };
        match next {
            Next::Go(went_well) => all_went_well &= went_well,
            Next::Model(model) => {
                let (now, went_well) = chat.with_model(answering, model)?;
                chat = now;
                all_went_well &= went_well;
            }
            Next::End => break,
        }
    }
    // Somebody at a terminal has seen what went wrong.
    Ok(if all_went_well || is_terminal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl<'a> Loaded<'a> {
    fn open(args: &'a Answering, model: Option<PathBuf>) -> Result<Loaded<'a>> {
        let (session, (template, form)) = Session::open(args, model.as_deref(), |opened, tokenizer| {
            let template = template(args, opened, tokenizer)?;
            let source = crate::template::source(args.chat_template.as_ref(), opened);
            let form = Form::new(args, Some(template.profile()), source.as_deref())?;
            Ok((template, form))
        })?;
        Ok(Loaded { session, template, form, model })
    }
}

impl<'a> Chat<'a> {
    /// The same chat with another model, and whether it is that. The old model is unloaded first, as memory may not hold both;
    /// it is loaded again if the new one fails to load or Ctrl-C stops its loading.
    ///
    /// # Errors
    /// The old model cannot be loaded any more.
    fn with_model(self, args: &'a Answering, model: Option<PathBuf>) -> Result<(Chat<'a>, bool)> {
        // Most of what can be wrong with a file shows here, and costs nothing.
        let named = ModelFile { model: model.clone(), ..args.model.clone() };
        if let Err(why) = load::open(&named).and_then(|opened| opened.architecture(None)) {
            note(&format!("{why:#}; the model is still {}", self.loaded.session.model));
            return Ok((self, false));
        }
        let Chat { loaded: Loaded { model: old, session, template, form }, state } = self;
        drop((session, template, form));
        let typeahead = state.is_terminal.then(Typeahead::start).flatten();
        let catch = || if state.is_terminal { interrupt::catch_all() } else { interrupt::release() };
        catch();
        let (loaded, is_new) = match Loaded::open(args, model) {
            Ok(loaded) => (loaded, true),
            Err(why) => {
                match interrupt::requested() {
                    true => note("loading was stopped; back to the model before"),
                    false => note(&format!("{why:#}; back to the model before")),
                }
                loop {
                    catch();
                    match Loaded::open(args, old.clone()) {
                        Err(_) if interrupt::requested() => {}
                        loaded => break (loaded?, false),
                    }
                }
            }
        };
        drop(typeahead);
        catch();
        let mut chat = Chat { loaded, state };
        chat.state.settings.apply(&mut chat.loaded.session);
        Ok((chat, is_new))
    }

    /// Prints a message of the program, apart from those of the model.
    fn say(&self, text: &str) {
        let text = crate::terminal::visible(&self.fitted(text));
        let (dim, normal) = if crate::terminal::has_colours() { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        let _ = writeln!(std::io::stderr(), "{dim}{text}{normal}");
    }

    /// `text` with its words wrapped, if it goes to a terminal.
    fn fitted(&self, text: &str) -> String {
        if std::io::stderr().is_terminal() { wrapped(text) } else { text.to_owned() }
    }
}
