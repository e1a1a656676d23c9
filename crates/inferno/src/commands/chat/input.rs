//! Where messages and commands come from.

use std::io::Write;

use anyhow::{Context, Result};

use super::commands::unquoted;
use super::editor::{Editor, Entered};
use super::history::History;
use super::line::{Line, read_line, uncut};
use crate::terminal::is_dumb;

/// Source of messages and commands.
pub(super) enum Input {
    Editor(Box<Editor>),
    /// Lines of stdin, and the prompt in front of each.
    Lines(&'static str),
}

impl Input {
    /// Stdin is a terminal or not; `no_history` leaves the user's history alone.
    ///
    /// # Errors
    /// The terminal cannot be used.
    pub(super) fn new(is_terminal: bool, no_history: bool) -> Result<Input> {
        match is_terminal && (cfg!(windows) || !is_dumb()) {
            true => {
                let history = if no_history { None } else { History::of_user() };
                Ok(Input::Editor(Box::new(Editor::new(history)?)))
            }
            false => Ok(Input::Lines(if is_terminal { "> " } else { "" })),
        }
    }

    /// Waits for the next message or command.
    ///
    /// # Errors
    /// Stdin or the terminal fails.
    pub(super) fn read(&mut self) -> Result<Line> {
        match self {
            Input::Editor(editor) => editor.read().map(line_of),
            Input::Lines(prompt) => read_plain(prompt),
        }
    }

    /// Waits for the result of a call of the function `name`, which is no command, whatever it begins with.
    ///
    /// # Errors
    /// Stdin or the terminal fails.
    pub(super) fn read_result(&mut self, name: &str) -> Result<Line> {
        let prompt = format!("result of {name}: ");
        match self {
            Input::Editor(editor) => editor.read_result(&prompt).map(line_of),
            Input::Lines(prompt_of_messages) => {
                read_plain(if prompt_of_messages.is_empty() { "" } else { &prompt })
            }
        }
    }
}

/// An entry of the editor as a line.
fn line_of(entered: Entered) -> Line {
    match entered {
        Entered::Text(text) => {
            // Pasted lines end with a newline.
            let text = text.trim_end_matches('\n');
            match unquoted(text) {
                inner if inner.len() < text.len() => Line::Message(inner.to_owned()),
                _ => Line::Text(text.to_owned()),
            }
        }
        Entered::Cleared(had_text) => Line::Cleared(!had_text),
        Entered::End => Line::End,
    }
}

/// A line of stdin, behind a prompt if it is a terminal.
fn read_plain(prompt: &str) -> Result<Line> {
    // Not on stdout, which has the answers alone.
    let _ = write!(std::io::stderr(), "{prompt}");
    let line = read_line(&mut std::io::stdin().lock()).context("cannot read stdin")?;
    Ok(if prompt.is_empty() { line } else { uncut(line) })
}
