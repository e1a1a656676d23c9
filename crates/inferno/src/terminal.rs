//! Output to terminals: control characters made visible, sizes, colours.

use std::io::IsTerminal;

mod loading;
mod modes;
mod wrap;

pub(crate) use loading::Loading;
pub(crate) use modes::{Typeahead, restore_modes};
pub(crate) use wrap::{entry, fitted, fitted_to_stdout};

/// Columns at the end of a row that a redrawn line leaves free: the terminal echoes Ctrl-C there, and a full row would wrap.
pub(crate) const FREE_COLUMNS: usize = 3;

/// A character that stands for `c` where a terminal would act on `c`; `None` if it only shows it.
fn visible_char(c: char) -> Option<char> {
    Some(match c {
        '\n' | '\t' => return None,
        // The pictures of the C0 controls.
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c))?,
        '\x7f' => '\u{2421}',
        // C1 controls, some of which begin sequences; and what reverses the order of the letters that follow.
        '\u{80}'..='\u{9f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        _ => return None,
    })
}

/// `text` with every control character but newline and tab in a visible form: none moves the cursor, sets colours or a
/// title, or turns the order of letters. The carriage return of `\r\n` goes.
pub(crate) fn visible(text: &str) -> String {
    let mut filter = Filter::default();
    let mut shown = filter.push(text);
    shown += filter.finish();
    shown
}

/// JSON on one line or indented, with all characters escaped that a terminal would act on. Its value stays the same.
pub(crate) fn json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match visible_char(c) {
            Some(_) => escaped += &format!("\\u{:04x}", u32::from(c)),
            None => escaped.push(c),
        }
    }
    escaped
}

/// [`visible`] for text that comes in pieces.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    /// The last piece ended with a carriage return.
    has_return: bool,
}

impl Filter {
    /// Text of `piece`, and of the piece before, that can be shown now.
    pub(crate) fn push(&mut self, piece: &str) -> String {
        let mut shown = String::with_capacity(piece.len());
        for c in piece.chars() {
            if std::mem::take(&mut self.has_return) && c != '\n' {
                shown.push('\u{240d}');
            }
            match c {
                '\r' => self.has_return = true,
                c => shown.push(visible_char(c).unwrap_or(c)),
            }
        }
        shown
    }

    /// Text that is left at the end.
    pub(crate) fn finish(&mut self) -> &'static str {
        if std::mem::take(&mut self.has_return) { "\u{240d}" } else { "" }
    }
}

/// Tells whether the terminal cannot move its cursor or set colours.
pub(crate) fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term == "dumb")
}

/// Tells whether stderr may have colours. See <https://no-color.org>.
pub(crate) fn has_colours() -> bool {
    std::io::stderr().is_terminal() && wants_colours()
}

/// Tells whether a terminal may have colours.
pub(crate) fn wants_colours() -> bool {
    let refuses = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refuses && !is_dumb()
}

/// Columns and rows of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

impl Size {
    /// Of the terminal that stdout is, or else stderr; `None` if neither is one or it does not say.
    #[cfg(unix)]
    pub(crate) fn now() -> Option<Size> {
        let of_stdout = rustix::termios::tcgetwinsize(std::io::stdout());
        let size = of_stdout.or_else(|_| rustix::termios::tcgetwinsize(std::io::stderr())).ok()?;
        let (columns, rows) = (usize::from(size.ws_col), usize::from(size.ws_row));
        (columns > 0).then_some(Size { columns, rows: if rows == 0 { usize::MAX } else { rows } })
    }

    /// This system does not say.
    #[cfg(not(unix))]
    pub(crate) fn now() -> Option<Size> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_its_value() {
        let value = serde_json::json!({ "a\u{9b}b": "\u{1b}[1m\u{202e}é\n\u{7f}" });
        for text in [value.to_string(), format!("{value:#}")] {
            let escaped = json(&text);
            assert!(!escaped.chars().any(|c| visible_char(c).is_some()), "{escaped}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value);
        }
    }

    #[test]
    fn controls_become_visible_and_text_stays() {
        for (text, shown) in [
            ("Grüße, 你好 🐉\n\tx", "Grüße, 你好 🐉\n\tx"),
            ("a\x1b[31mb\x1b]0;t\x07", "a␛[31mb␛]0;t␇"),
            ("\u{9b}2J\u{85}", "\u{fffd}2J\u{fffd}"),
            ("a\r\nb\rc\r", "a\nb␍c␍"),
            ("\r\r\n", "␍\n"),
            ("x\x08\x7f\0", "x␈␡␀"),
            ("\u{202e}abc\u{2066}", "\u{fffd}abc\u{fffd}"),
            ("👩\u{200d}👩", "👩\u{200d}👩"),
        ] {
            assert_eq!(visible(text), shown);
            // In whatever pieces it comes.
            let mut filter = Filter::default();
            let mut pieces: String = text.chars().map(|c| filter.push(&c.to_string())).collect();
            pieces += filter.finish();
            assert_eq!(pieces, shown);
        }
    }
}
