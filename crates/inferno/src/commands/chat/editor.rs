//! The line editor of a terminal.

use std::cell::Cell;

use anyhow::{Context as _, Result};
use rustyline::completion::{Completer, Pair};
use rustyline::config::BellStyle;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Behavior, Cmd, CompletionType, Config, Context, Helper, KeyCode, KeyEvent, Modifiers};

use super::commands::is_open;
use super::completion::candidates;
use super::history::{ENTRIES, History};
use crate::commands::note;
use crate::terminal::wants_colours;

/// Reads messages and commands from the terminal, which is in raw mode meanwhile.
pub(super) struct Editor {
    inner: rustyline::Editor<Assistant, MemHistory>,
    history: Option<History>,
    prompt: (&'static str, &'static str),
}

/// Result of reading from the terminal.
#[derive(Debug, PartialEq)]
pub(super) enum Entered {
    Text(String),
    /// Ctrl-C, and whether there was anything to clear.
    Cleared(bool),
    End,
}

impl Editor {
    /// An editor with the entries of `history`, which gets the new ones.
    ///
    /// # Errors
    /// The terminal cannot be used.
    pub(super) fn new(mut history: Option<History>) -> Result<Editor> {
        let config = Config::builder()
            // Stdout has the answers, and may be a file.
            .behavior(Behavior::PreferTerm)
            .completion_type(CompletionType::List)
            .bell_style(BellStyle::None)
            .max_history_size(ENTRIES)
            .context("the history cannot have its size")?
            .build();
        let mut inner = rustyline::Editor::with_history(config.clone(), MemHistory::with_config(&config))
            .context("cannot use the terminal")?;
        inner.set_helper(Some(Assistant { is_empty: Cell::new(true) }));
        inner.bind_sequence(KeyEvent(KeyCode::Enter, Modifiers::ALT), Cmd::Newline);
        let entries = history.as_mut().map_or(Ok(Vec::new()), History::read);
        match (entries, &history) {
            (Ok(entries), _) => {
                for entry in entries {
                    // Entries without meaning are left out.
                    let _ = inner.add_history_entry(entry);
                }
            }
            (Err(e), Some(history)) => {
                note(&format!("cannot read the history `{}`: {e}", history.path().display()))
            }
            (Err(_), None) => {}
        }
        let prompt = ("> ", if wants_colours() { "\x1b[1;36m>\x1b[0m " } else { "> " });
        Ok(Editor { inner, history, prompt })
    }

    /// Waits for the next entry.
    ///
    /// # Errors
    /// The terminal fails.
    pub(super) fn read(&mut self) -> Result<Entered> {
        let entered = self.read_behind(self.prompt)?;
        if let Entered::Text(text) = &entered {
            self.remember(text);
        }
        Ok(entered)
    }

    /// Waits for an entry behind another prompt, which the history is not given.
    ///
    /// # Errors
    /// The terminal fails.
    pub(super) fn read_result(&mut self, prompt: &str) -> Result<Entered> {
        let styled = if wants_colours() { format!("\x1b[1;36m{prompt}\x1b[0m") } else { prompt.to_owned() };
        self.read_behind((prompt, &styled))
    }

    fn read_behind(&mut self, prompt: (&str, &str)) -> Result<Entered> {
        if let Some(assistant) = self.inner.helper() {
            assistant.is_empty.set(true);
        }
        match self.inner.readline(&prompt) {
            Ok(text) => Ok(Entered::Text(text)),
            Err(ReadlineError::Eof) => Ok(Entered::End),
            Err(ReadlineError::Interrupted) => {
                let is_empty = self.inner.helper().is_some_and(|assistant| assistant.is_empty.get());
                Ok(Entered::Cleared(!is_empty))
            }
            Err(e) => Err(e).context("cannot read from the terminal"),
        }
    }

    fn remember(&mut self, text: &str) {
        if text.trim().is_empty() {
            return;
        }
        // It is in memory, and may be too long for it.
        let _ = self.inner.add_history_entry(text);
        if let Some(history) = &mut self.history
            && let Err(e) = history.add(text)
        {
            note(&format!("cannot write the history `{}`: {e}", history.path().display()));
            self.history = None;
        }
    }
}

/// Help with what is being entered.
struct Assistant {
    /// Whether the line is empty.
    is_empty: Cell<bool>,
}

impl Helper for Assistant {}
impl Highlighter for Assistant {}

impl Hinter for Assistant {
    type Hint = String;

    /// Records whether the line is empty; there are no hints.
    fn hint(&self, line: &str, _: usize, _: &Context<'_>) -> Option<String> {
        self.is_empty.set(line.is_empty());
        None
    }
}

impl Validator for Assistant {
    /// Enter begins a new line where triple quotes are open.
    fn validate(&self, context: &mut ValidationContext) -> rustyline::Result<ValidationResult> {
        Ok(match is_open(context.input()) {
            true => ValidationResult::Incomplete,
            false => ValidationResult::Valid(None),
        })
    }
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, found) = candidates(&line[..pos]);
        let pair = |(display, replacement)| Pair { display, replacement };
        Ok((start, found.into_iter().map(pair).collect()))
    }
}
