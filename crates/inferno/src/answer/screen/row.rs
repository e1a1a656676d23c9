//! Rows of a terminal: words that begin a new row where they do not fit.

use unicode_width::UnicodeWidthChar;

use super::style::Style;

/// Columns between two tab stops.
const TAB: usize = 8;

/// The row of the screen that is being written.
#[derive(Debug)]
pub(super) struct Row {
    /// Columns of the terminal; `usize::MAX` if unknown.
    width: usize,
    has_styles: bool,
    /// Whether words longer than a row are cut into rows here; else the terminal does it, and copies them as one word.
    cuts: bool,
    /// Columns in front of a row that a word begins.
    indent: usize,
    /// Columns that are filled.
    column: usize,
    /// Blanks that are written if the next word fits into the row.
    blanks: String,
    /// A word that may have to begin a new row, with its styles.
    word: String,
    word_width: usize,
    /// The word is longer than a row and is written as it comes.
    is_long: bool,
    /// Last style that was written, or is part of `word`.
    style: Style,
    out: String,
}

impl Row {
    pub(super) fn new(width: Option<usize>, has_styles: bool) -> Row {
        let mut row = Row {
            width: usize::MAX,
            has_styles,
            cuts: false,
            indent: 0,
            column: 0,
            blanks: String::new(),
            word: String::new(),
            word_width: 0,
            is_long: false,
            style: Style::default(),
            out: String::new(),
        };
        row.resize(width);
        row
    }

    pub(super) fn cut_words(&mut self) {
        self.cuts = true;
    }

    pub(super) fn resize(&mut self, width: Option<usize>) {
        self.width = width.map_or(usize::MAX, |width| width.max(2));
    }

    /// Rows that words begin are indented by `n` columns, and by half of the width at most.
    pub(super) fn indent(&mut self, n: usize) {
        self.indent = n.min(self.width / 2);
    }

    /// Whether the row is empty.
    pub(super) fn is_empty(&self) -> bool {
        self.column == 0
    }

    /// Adds a character of a word, or a blank between two.
    pub(super) fn push(&mut self, c: char, style: Style) {
        if c == ' ' || c == '\t' {
            self.end_word();
            self.blanks.push(c);
            return;
        }
        let width = c.width().unwrap_or(0);
        // Chinese and Japanese have no blanks: a row may end between any two characters that are not joined.
        if width == 2 && !self.word.ends_with('\u{200d}') {
            self.end_word();
        }
        if self.is_long {
            self.push_fixed(c, style);
            return;
        }
        if self.has_styles && self.style != style {
            self.word += &style.sequence();
            self.style = style;
        }
        self.word.push(c);
        self.word_width += width;
        if self.word_width > self.width.saturating_sub(self.indent) {
            // The word fits no row: it begins one, and goes on where it is.
            if self.column > self.indent {
                self.break_row();
            }
            self.blanks.clear();
            self.is_long = true;
            self.word_width = 0;
            let word = std::mem::take(&mut self.word);
            self.write_long(&word);
        }
    }

    /// Adds a character that stays in this row.
    pub(super) fn push_fixed(&mut self, c: char, style: Style) {
        self.set(style);
        let width = if c == '\t' { after(self.column, c) - self.column } else { c.width().unwrap_or(0) };
        self.advance(width);
        self.out.push(c);
    }

    /// Ends the row.
    pub(super) fn end(&mut self) {
        self.end_word();
        self.write_blanks();
        self.out.push('\n');
        self.column = 0;
        self.indent = 0;
    }

    /// Writes what is held back, and sets the terminal's own style.
    pub(super) fn finish(&mut self) {
        self.end_word();
        self.write_blanks();
        self.set(Style::default());
    }

    /// Takes what can be written now.
    pub(super) fn take(&mut self) -> String {
        std::mem::take(&mut self.out)
    }

    /// Writes a word of more than a row, with its styles.
    fn write_long(&mut self, word: &str) {
        let mut is_style = false;
        for c in word.chars() {
            match c {
                '\x1b' => is_style = true,
                'm' if is_style => is_style = false,
                _ if is_style => {}
                c => self.advance(c.width().unwrap_or(0)),
            }
            self.out.push(c);
        }
    }

    fn end_word(&mut self) {
        self.is_long = false;
        if self.word.is_empty() {
            return;
        }
        let end = self.column.saturating_add(self.blanks_width()).saturating_add(self.word_width);
        if end <= self.width {
            self.write_blanks();
        } else {
            self.blanks.clear();
            if self.column > self.indent {
                self.break_row();
            }
        }
        self.out += &std::mem::take(&mut self.word);
        self.column += std::mem::take(&mut self.word_width);
    }

    fn blanks_width(&self) -> usize {
        self.blanks.chars().fold(self.column, after) - self.column
    }

    fn write_blanks(&mut self) {
        if self.column.saturating_add(self.blanks_width()) <= self.width {
            self.column += self.blanks_width();
            self.out += &self.blanks;
        }
        self.blanks.clear();
    }

    fn break_row(&mut self) {
        self.out.push('\n');
        self.out.extend(std::iter::repeat_n(' ', self.indent));
        self.column = self.indent;
    }

    /// Goes on by `width` columns, into the next row if need be.
    fn advance(&mut self, width: usize) {
        if self.column + width > self.width {
            if self.cuts {
                self.out.push('\n');
            }
            self.column = 0;
        }
        self.column += width;
    }

    fn set(&mut self, style: Style) {
        if self.has_styles && self.style != style {
            self.out += &style.sequence();
            self.style = style;
        }
    }
}

/// The column behind a character at `column`.
fn after(column: usize, c: char) -> usize {
    if c == '\t' { (column / TAB + 1) * TAB } else { column + 1 }
}
