//! An answer on a terminal: text as prose, reasoning dimmed and folded, calls of tools by name.

use std::time::Instant;

use inferno_reply::{Part, PartKind};

use super::fold::Fold;
use super::printer::{Last, Thinking, View};
use super::screen::{Screen, Style};
use crate::terminal::{Filter, Size, is_dumb, wants_colours};

/// Formatter of an answer's parts for a terminal.
pub(super) struct Display {
    view: View,
    has_colours: bool,
    body: Body,
    last: Last,
}

/// Formatter of the current part.
enum Body {
    Prose(Screen),
    /// As it comes, with control characters made visible; and whether the row is empty.
    Plain(Filter, bool),
    Fold(Fold),
    /// The word that the model is thinking, which is erased again.
    Word,
}

const WORD: &str = "thinking …";

impl Display {
    pub(super) fn new(mut view: View) -> Display {
        if is_dumb() {
            // Nothing can be erased.
            view.thinking = Thinking::Show;
        }
        let has_colours = wants_colours();
        let body = Body::Plain(Filter::default(), true);
        Display { view, has_colours, body, last: Last::Nothing }
    }

    /// Formats a part.
    pub(super) fn part(&mut self, part: &Part) -> String {
        let kind = Last::of(&part.kind);
        let mut out = String::new();
        let mut text = part.text.as_str();
        if let PartKind::ToolCall { name, .. } = &part.kind {
            out += &self.turn(kind);
            let (bold, normal) = self.style(Style::BOLD | Style::CODE);
            out += &format!("{bold}→ {}{normal} ", crate::terminal::visible(name));
        } else if kind != self.last {
            // Reasoning that is blank is none, and text after reasoning needs no blanks in front.
            let skips = kind == Last::Reasoning || self.last == Last::Reasoning;
            text = if skips { text.trim_start() } else { text };
            if text.is_empty() {
                return out;
            }
            out += &self.turn(kind);
        }
        if text.is_empty() {
            return out;
        }
        let size = Size::now();
        out += &match &mut self.body {
            Body::Prose(screen) => {
                screen.resize(size.map(|size| size.columns));
                screen.push(text)
            }
            Body::Plain(filter, is_at_start) => {
                *is_at_start = text.ends_with('\n');
                filter.push(text)
            }
            Body::Fold(fold) => fold.push(text),
            Body::Word => String::new(),
        };
        out
    }

    /// Ends the last row of the answer.
    pub(super) fn end(&mut self) -> String {
        self.turn(Last::Nothing)
    }

    /// Ends what is being written and begins another kind.
    fn turn(&mut self, kind: Last) -> String {
        let mut out = String::new();
        let from = std::mem::replace(&mut self.last, kind);
        let is_at_start = match &mut self.body {
            Body::Prose(screen) => {
                out += &screen.finish();
                screen.is_at_start()
            }
            Body::Plain(filter, is_at_start) => {
                out += filter.finish();
                *is_at_start
            }
            Body::Fold(fold) => {
                out += &fold.end();
                true
            }
            Body::Word => {
                out += "\r\x1b[K";
                true
            }
        };
        // An empty answer is an empty line.
        if !is_at_start || (from == Last::Nothing && kind == Last::Nothing) {
            out.push('\n');
        }
        let is_between = !matches!((from, kind), (Last::Nothing, _) | (_, Last::Nothing));
        let was_hidden = from == Last::Reasoning && self.view.thinking == Thinking::Hide;
        if is_between && !was_hidden && (from == Last::Reasoning || kind == Last::Reasoning) {
            out.push('\n');
        }
        self.body = match (kind, self.view.thinking) {
            (Last::Reasoning, Thinking::Show) => Body::Prose(self.screen(Style::DIM)),
            (Last::Reasoning, Thinking::Fold) => {
                Body::Fold(Fold::new(Size::now(), self.has_colours, Instant::now()))
            }
            (Last::Reasoning, Thinking::Hide) => {
                let (dim, normal) = self.style(Style::DIM);
                out += &format!("{dim}{WORD}{normal}");
                Body::Word
            }
            (Last::Text, _) if self.view.is_prose => Body::Prose(self.screen(Style::default())),
            // A call has a name in its row.
            _ => Body::Plain(Filter::default(), kind != Last::Call),
        };
        out
    }

    fn screen(&self, base: Style) -> Screen {
        Screen::new(Size::now().map(|size| size.columns), self.has_colours.then_some(base))
    }

    /// Sequences that set a style, and the terminal's own again.
    fn style(&self, style: Style) -> (String, String) {
        match self.has_colours {
            true => (style.sequence(), Style::default().sequence()),
            false => Default::default(),
        }
    }
}
