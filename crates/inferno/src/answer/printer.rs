//! An answer on a terminal or in a pipe, part by part.

use std::io::{IsTerminal, Write};

use anyhow::Result;
use inferno_reply::{Part, PartKind};

use crate::commands::print;
use crate::terminal::{Filter, has_colours};

/// Prints an answer as it comes: text and calls to stdout, reasoning dimmed before them. Where stdout is no terminal it has
/// no reasoning, which goes to stderr.
pub(super) struct Printer {
    /// Of a terminal: into pipes and files the text goes as it is.
    filter: Option<Filter>,
    /// Of stderr, if that is a terminal.
    aside: Option<Filter>,
    /// Whether reasoning is dimmed on stdout.
    dims: bool,
    last: Last,
}

/// The kind of what was printed last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Nothing,
    Text,
    Reasoning,
    Call,
}

impl Printer {
    pub(super) fn new() -> Printer {
        let filter = |is_terminal: bool| is_terminal.then(Filter::default);
        Printer {
            filter: filter(std::io::stdout().is_terminal()),
            aside: filter(std::io::stderr().is_terminal()),
            dims: has_colours(),
            last: Last::Nothing,
        }
    }

    /// Prints a part.
    ///
    /// # Errors
    /// Stdout is closed.
    pub(super) fn print(&mut self, part: &Part) -> Result<()> {
        let kind = match &part.kind {
            PartKind::Text => Last::Text,
            PartKind::Reasoning => Last::Reasoning,
            PartKind::ToolCall { .. } | PartKind::Arguments { .. } => Last::Call,
        };
        if let PartKind::ToolCall { name, .. } = &part.kind {
            self.turn(kind)?;
            self.write(&format!("→ {name} "))?;
        } else if !part.text.is_empty() && kind != self.last {
            self.turn(kind)?;
        }
        if part.text.is_empty() {
            return Ok(());
        }
        match (kind, self.filter.is_some()) {
            (Last::Reasoning, false) => {
                write_aside(&mut self.aside, &part.text);
                Ok(())
            }
            _ => self.write(&part.text),
        }
    }

    /// Ends the answer's last line.
    pub(super) fn end(mut self) -> Result<()> {
        match (self.last, self.filter.is_some()) {
            (Last::Reasoning, true) => self.turn(Last::Nothing)?,
            (Last::Reasoning, false) => write_aside(&mut self.aside, "\n"),
            _ => {}
        }
        print(b"\n")
    }

    /// Goes over from one kind of part to another.
    fn turn(&mut self, kind: Last) -> Result<()> {
        let from = std::mem::replace(&mut self.last, kind);
        let on_terminal = self.filter.is_some();
        match (from, kind) {
            (Last::Reasoning, _) if on_terminal && self.dims => print(b"\x1b[0m")?,
            _ => {}
        }
        match (from, kind) {
            (Last::Nothing, _) | (_, Last::Nothing) => {}
            (Last::Reasoning, _) if !on_terminal => write_aside(&mut self.aside, "\n"),
            (_, Last::Reasoning) if !on_terminal => {}
            (Last::Reasoning, _) | (_, Last::Reasoning) => print(b"\n\n")?,
            _ => print(b"\n")?,
        }
        match kind {
            Last::Reasoning if on_terminal && self.dims => print(b"\x1b[2m"),
            _ => Ok(()),
        }
    }

    fn write(&mut self, text: &str) -> Result<()> {
        match &mut self.filter {
            Some(filter) => print(filter.push(text).as_bytes()),
            None => print(text.as_bytes()),
        }
    }
}

/// Writes to stderr.
fn write_aside(filter: &mut Option<Filter>, text: &str) {
    let mut err = std::io::stderr().lock();
    let _ = match filter {
        Some(filter) => err.write_all(filter.push(text).as_bytes()),
        None => err.write_all(text.as_bytes()),
    };
}
