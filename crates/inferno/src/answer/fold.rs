//! Reasoning on a terminal: its last rows while it comes, one line when it has ended.

use std::collections::VecDeque;
use std::time::Instant;

use super::screen::{Screen, Style};
use crate::terminal::Size;

/// Most rows that are shown.
const ROWS: usize = 8;

/// A window of a few rows at the bottom of what was written.
pub(super) struct Fold {
    screen: Screen,
    /// Rows above the cursor that belong to the window, without their newlines.
    rows: VecDeque<String>,
    /// The row of the cursor.
    row: String,
    /// Most rows above the cursor.
    most: usize,
    has_colours: bool,
    began: Instant,
}

impl Fold {
    pub(super) fn new(size: Option<Size>, has_colours: bool, began: Instant) -> Fold {
        let rows = size.map_or(usize::MAX, |size| size.rows);
        Fold {
            // Rows must be counted: each ends with a newline.
            screen: Screen::new(size.map(|size| size.columns), None).with_cut_words(),
            rows: VecDeque::new(),
            row: String::new(),
            most: ROWS.min(rows.saturating_sub(2)).saturating_sub(1),
            has_colours,
            began,
        }
    }

    /// Formats a piece of reasoning.
    pub(super) fn push(&mut self, text: &str) -> String {
        let text = self.screen.push(text);
        self.write(&text)
    }

    /// Replaces the window by one line.
    pub(super) fn end(&mut self) -> String {
        let (dim, normal) = self.dimmed();
        let seconds = self.began.elapsed().as_secs_f64();
        format!("{}{dim}▸ thought for {seconds:.1} s{normal}\n", erase(self.rows.len()))
    }

    fn write(&mut self, text: &str) -> String {
        let (dim, normal) = self.dimmed();
        let mut out = dim.clone();
        for c in text.chars() {
            if c != '\n' {
                self.row.push(c);
                out.push(c);
                continue;
            }
            self.rows.push_back(std::mem::take(&mut self.row));
            out.push('\n');
            if self.rows.len() > self.most {
                let n_above = self.rows.len();
                self.rows.pop_front();
                out += &erase(n_above);
                for row in &self.rows {
                    out += row;
                    out.push('\n');
                }
            }
        }
        out + &normal
    }

    fn dimmed(&self) -> (String, String) {
        match self.has_colours {
            true => (Style::DIM.sequence(), Style::default().sequence()),
            false => Default::default(),
        }
    }
}

/// Moves `n` rows up and clears from there to the end of the screen.
fn erase(n: usize) -> String {
    match n {
        0 => "\r\x1b[J".into(),
        n => format!("\x1b[{n}A\r\x1b[J"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_shows_the_last_rows_and_ends_as_one_line() {
        let size = Size { columns: 10, rows: 5 };
        let mut fold = Fold::new(Some(size), false, Instant::now());
        assert_eq!(fold.push("one two three four "), "one two\nthree four");
        // The row of the cursor and two above it are the most.
        let erase = "\x1b[3A\r\x1b[J";
        assert_eq!(fold.push("x\ny\nz"), format!("\nx\n{erase}three four\nx\ny\n{erase}x\ny\n"));
        assert!(fold.end().starts_with("\x1b[2A\r\x1b[J▸ thought for 0."));
    }
}
