//! Text for a terminal as it comes: words wrapped, light Markdown styled, control characters made visible.
//!
//! All characters of the text are kept, marks of Markdown too, so that copied text is what the model wrote. Added are styles, and
//! newlines in place of the blanks between two words.

use unicode_width::UnicodeWidthStr;

use crate::terminal::Filter;

mod line;
mod row;
mod style;

use line::{Fence, Kind, classify};
use row::Row;
pub(super) use style::Style;

/// Formats text piece by piece. Its output depends on the text and not on the pieces.
#[derive(Debug)]
pub(super) struct Screen {
    /// Style of all text, to which others are added.
    base: Style,
    filter: Filter,
    /// Beginning of the line, until its kind is known.
    head: Option<String>,
    kind: Kind,
    /// Of the block of code that the line is in.
    fence: Option<Fence>,
    marks: Marks,
    row: Row,
}

/// Marks of inline styles.
#[derive(Debug, Default)]
struct Marks {
    is_bold: bool,
    /// Backticks that opened a code span, and close it; 0 outside.
    code: usize,
    /// Equal marks that were read last, which may become more.
    run: Option<(char, usize)>,
    /// The character before them.
    before: Option<char>,
}

impl Screen {
    /// For a terminal of `width` columns. Styles are added to `base`; without it there are none.
    pub(super) fn new(width: Option<usize>, base: Option<Style>) -> Screen {
        Screen {
            base: base.unwrap_or_default(),
            filter: Filter::default(),
            head: Some(String::new()),
            kind: Kind::Text,
            fence: None,
            marks: Marks::default(),
            row: Row::new(width, base.is_some()),
        }
    }

    /// Ends each row with a newline, within words too: for text that is erased again.
    pub(super) fn with_cut_words(mut self) -> Screen {
        self.row.cut_words();
        self
    }

    /// The terminal has another width from now on.
    pub(super) fn resize(&mut self, width: Option<usize>) {
        self.row.resize(width);
    }

    /// Whether nothing stands in the current row.
    pub(super) fn is_at_start(&self) -> bool {
        self.row.is_empty()
    }

    /// Takes the next piece of text and returns what can be written now. A word is held back until its end.
    pub(super) fn push(&mut self, piece: &str) -> String {
        for c in self.filter.push(piece).chars() {
            self.add(c);
        }
        self.row.take()
    }

    /// Returns what was held back, in the terminal's own style at its end.
    pub(super) fn finish(&mut self) -> String {
        for c in self.filter.finish().chars() {
            self.add(c);
        }
        self.decide(true);
        self.end_marks(None);
        self.row.finish();
        self.row.take()
    }

    fn add(&mut self, c: char) {
        if c == '\n' {
            self.end_line();
        } else if let Some(head) = &mut self.head {
            head.push(c);
            self.decide(false);
        } else {
            self.body(c);
        }
    }

    fn end_line(&mut self) {
        self.decide(true);
        self.end_marks(None);
        self.row.end();
        self.kind = Kind::Text;
        self.marks = Marks::default();
        self.head = Some(String::new());
    }

    /// Finds the kind of the line once its beginning says it, or at once if the line `is_complete`.
    fn decide(&mut self, is_complete: bool) {
        let Some(head) = &self.head else { return };
        let Some((kind, n_bytes)) = classify(head, self.fence.as_ref(), is_complete) else { return };
        let Some(head) = self.head.take() else { return };
        let (mark, rest) = head.split_at(n_bytes);
        self.kind = kind;
        if kind == Kind::Text {
            self.row.indent(mark.width());
        }
        if kind == Kind::Fence {
            self.fence = if self.fence.is_none() { Some(Fence::of(mark)) } else { None };
        }
        for c in mark.chars() {
            let style = if c == ' ' { Style::default() } else { Style::MARK };
            // The text behind a mark is not torn from it.
            self.row.push_fixed(c, self.line_style(style));
        }
        for c in rest.chars() {
            self.body(c);
        }
    }

    /// A character behind the mark of its line.
    fn body(&mut self, c: char) {
        match self.kind {
            Kind::Fence => self.row.push_fixed(c, self.line_style(Style::MARK)),
            Kind::Verbatim => {
                let style = if self.fence.is_some() { Style::CODE } else { Style::default() };
                self.row.push_fixed(c, self.line_style(style));
            }
            Kind::Text | Kind::Heading => self.inline(c),
        }
    }

    /// A character of a text with inline styles.
    fn inline(&mut self, c: char) {
        if let Some((mark, n)) = self.marks.run {
            if c == mark {
                self.marks.run = Some((mark, n + 1));
                return;
            }
            self.end_marks(Some(c));
        }
        if c == '`' || (c == '*' && self.marks.code == 0) {
            self.marks.run = Some((c, 1));
            return;
        }
        self.marks.before = Some(c);
        self.row.push(c, self.inline_style());
    }

    /// Writes the marks read last, and begins or ends what they say. `next` is the character behind them.
    fn end_marks(&mut self, next: Option<char>) {
        let Some((mark, n)) = self.marks.run.take() else { return };
        let is_blank = |c: Option<char>| c.is_none_or(char::is_whitespace);
        let marks = &mut self.marks;
        let style = match mark {
            '`' if marks.code == n || marks.code == 0 => {
                marks.code = if marks.code == 0 { n } else { 0 };
                self.line_style(Style::MARK)
            }
            '*' if n >= 2 && !is_blank(if marks.is_bold { marks.before } else { next }) => {
                marks.is_bold = !marks.is_bold;
                self.line_style(Style::MARK)
            }
            _ => self.inline_style(),
        };
        self.marks.before = Some(mark);
        for _ in 0..n {
            self.row.push(mark, style);
        }
    }

    fn inline_style(&self) -> Style {
        let bold = if self.marks.is_bold { Style::BOLD } else { Style::default() };
        let code = if self.marks.code > 0 { Style::CODE } else { Style::default() };
        self.line_style(bold | code)
    }

    /// `style` on the style of the line and of all text.
    fn line_style(&self, style: Style) -> Style {
        let heading = if self.kind == Kind::Heading { Style::BOLD } else { Style::default() };
        self.base | heading | style
    }
}

#[cfg(test)]
mod tests;
