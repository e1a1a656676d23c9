//! An answer on a terminal or in a pipe, part by part.

use std::io::{IsTerminal, Write};

use anyhow::Result;
use inferno_reply::{Part, PartKind};

use super::display::Display;
use crate::commands::print;
use crate::terminal::Filter;

/// Presentation of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    pub(crate) thinking: Thinking,
    /// Whether a terminal gets prose: words wrapped, Markdown styled. Answers in a form of their own are shown as they are.
    pub(crate) is_prose: bool,
}

/// Presentation of the model's reasoning on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thinking {
    /// All of it, dimmed.
    Show,
    /// Its last rows while it is generated, one line in their place when it has ended.
    Fold,
    /// A note that the model is thinking, while it does.
    Hide,
}

/// Prints an answer as it comes.
pub(super) enum Printer {
    Terminal(Box<Display>),
    Pipe(Pipe),
}

/// The kind of what was printed last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    Nothing,
    Text,
    Reasoning,
    Call,
}

impl Last {
    pub(super) fn of(kind: &PartKind) -> Last {
        match kind {
            PartKind::Text => Last::Text,
            PartKind::Reasoning => Last::Reasoning,
            PartKind::ToolCall { .. } | PartKind::Arguments { .. } => Last::Call,
        }
    }
}

impl Printer {
    pub(super) fn new(view: View) -> Printer {
        match std::io::stdout().is_terminal() {
            true => Printer::Terminal(Box::new(Display::new(view))),
            false => Printer::Pipe(Pipe::new(view)),
        }
    }

    /// Prints a part.
    ///
    /// # Errors
    /// Stdout is closed.
    pub(super) fn print(&mut self, part: &Part) -> Result<()> {
        match self {
            Printer::Terminal(display) => print(display.part(part).as_bytes()),
            Printer::Pipe(pipe) => pipe.print(part),
        }
    }

    /// Ends the answer's last line.
    pub(super) fn end(self) -> Result<()> {
        match self {
            Printer::Terminal(mut display) => print(display.end().as_bytes()),
            Printer::Pipe(pipe) => pipe.end(),
        }
    }
}

/// Stdout that is no terminal: text and calls as they are. Reasoning goes to stderr.
pub(super) struct Pipe {
    is_hidden: bool,
    /// Of stderr, if that is a terminal.
    aside: Option<Filter>,
    last: Last,
}

impl Pipe {
    fn new(view: View) -> Pipe {
        let aside = std::io::stderr().is_terminal().then(Filter::default);
        Pipe { is_hidden: view.thinking == Thinking::Hide, aside, last: Last::Nothing }
    }

    fn print(&mut self, part: &Part) -> Result<()> {
        let kind = Last::of(&part.kind);
        if kind == Last::Reasoning && self.is_hidden {
            return Ok(());
        }
        if let PartKind::ToolCall { name, .. } = &part.kind {
            self.turn(kind)?;
            print(format!("→ {name} ").as_bytes())?;
        } else if !part.text.is_empty() && kind != self.last {
            self.turn(kind)?;
        }
        match kind {
            _ if part.text.is_empty() => Ok(()),
            Last::Reasoning => {
                self.write_aside(&part.text);
                Ok(())
            }
            _ => print(part.text.as_bytes()),
        }
    }

    fn end(mut self) -> Result<()> {
        if self.last == Last::Reasoning {
            self.write_aside("\n");
        }
        print(b"\n")
    }

    /// Goes over from one kind of part to another.
    fn turn(&mut self, kind: Last) -> Result<()> {
        match (std::mem::replace(&mut self.last, kind), kind) {
            (Last::Nothing, _) | (_, Last::Nothing | Last::Reasoning) => Ok(()),
            (Last::Reasoning, _) => {
                self.write_aside("\n");
                Ok(())
            }
            _ => print(b"\n"),
        }
    }

    /// Writes to stderr.
    fn write_aside(&mut self, text: &str) {
        let mut err = std::io::stderr().lock();
        let _ = match &mut self.aside {
            Some(filter) => err.write_all(filter.push(text).as_bytes()),
            None => err.write_all(text.as_bytes()),
        };
    }
}
