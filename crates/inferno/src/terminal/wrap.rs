//! Notes in rows of the terminal's width.

use std::borrow::Cow;
use std::io::IsTerminal;

use unicode_width::UnicodeWidthStr;

use super::Size;

/// `text` as it is written to stderr: in rows, if that is a terminal.
pub(crate) fn fitted(text: &str) -> Cow<'_, str> {
    fitted_to(text, std::io::stderr().is_terminal())
}

/// `text` as it is written to stdout.
pub(crate) fn fitted_to_stdout(text: &str) -> Cow<'_, str> {
    fitted_to(text, std::io::stdout().is_terminal())
}

fn fitted_to(text: &str, is_terminal: bool) -> Cow<'_, str> {
    match Size::now().filter(|_| is_terminal) {
        Some(size) => rows(text, size.columns).into(),
        None => text.into(),
    }
}

/// A line of a list on stdout: `head` in nine columns, and beside it `text`, in rows if stdout is a terminal.
pub(crate) fn entry(head: &str, text: &str) -> String {
    let width =
        Size::now().filter(|_| std::io::stdout().is_terminal()).map_or(usize::MAX, |size| size.columns);
    entry_in(width, head, text)
}

/// Columns in front of the text of an [`entry`].
const HEAD: usize = 11;

fn entry_in(width: usize, head: &str, text: &str) -> String {
    let text = rows(text, width.saturating_sub(HEAD)).replace('\n', &format!("\n{:HEAD$}", ""));
    format!("{head:<9}  {text}\n")
}

/// `text` in rows of `width` columns. A command in backticks stays on one row where a row can hold it, and a longer word, such as
/// an address, stays whole: both can be copied. Indented lines keep their form.
fn rows(text: &str, width: usize) -> String {
    let mut out = String::with_capacity(text.len());
    for (i, line) in text.split('\n').enumerate() {
        if i > 0 {
            out.push('\n');
        }
        if line.starts_with([' ', '\t']) {
            out.push_str(line);
        } else {
            push_rows(&mut out, line, width);
        }
    }
    out
}

fn push_rows(out: &mut String, line: &str, width: usize) {
    // Columns that are filled; `None` before the first unit.
    let mut column = None;
    for unit in units(line, width) {
        let n = unit.width();
        column = Some(match column {
            None => n,
            Some(filled) if filled + 1 + n <= width => {
                out.push(' ');
                filled + 1 + n
            }
            Some(_) => {
                out.push('\n');
                n
            }
        });
        out.push_str(unit);
    }
}

/// The parts of a line between which a row may end: words, and commands in backticks.
fn units(line: &str, width: usize) -> Vec<&str> {
    let mut units = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let end_of_word = |from: usize| rest[from..].find(' ').map_or(rest.len(), |at| from + at);
        let is_open = |end: usize| rest[..end].matches('`').count() % 2 == 1;
        let word = end_of_word(0);
        let mut end = word;
        while is_open(end) && end < rest.len() {
            end = end_of_word(end + 1);
        }
        if is_open(end) || rest[..end].width() > width {
            end = word;
        }
        units.push(&rest[..end]);
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_end_at_blanks_outside_of_commands() {
        let text = "error: `qwen3:9b` is no model; `inferno list --available` lists names, see https://example.org/a/very/long/address";
        assert_eq!(
            rows(text, 40),
            "error: `qwen3:9b` is no model;\n`inferno list --available` lists names,\nsee\nhttps://example.org/a/very/long/address"
        );
        assert_eq!(rows(text, 200), text);
        // A command that no row can hold is wrapped like other words.
        assert_eq!(rows("do `a b c d e f` now", 6), "do `a\nb c d\ne f`\nnow");
        assert_eq!(rows("an odd ` backtick", 6), "an odd\n`\nbacktick");
        assert_eq!(
            rows("one two\n  inferno run x     to ask it\n\nthree", 5),
            "one\ntwo\n  inferno run x     to ask it\n\nthree"
        );
    }

    #[test]
    fn entries_have_their_rows_below_each_other() {
        assert_eq!(entry_in(16, "disk", "a b c d"), "disk       a b c\n           d\n");
        assert_eq!(entry_in(usize::MAX, "", "a b"), "           a b\n");
    }

    #[test]
    fn nothing_but_blanks_between_rows_is_changed() {
        let text = "a  b `c d` ü 你好 `e";
        for width in 1..30 {
            assert_eq!(rows(text, width).replace('\n', " "), text, "{width}");
        }
    }
}
