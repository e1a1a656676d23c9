//! JSON as a model writes it, taken character by character.

use std::fmt::Write;

/// Follows a JSON value from its first character to its last.
///
/// Only brackets and strings are followed: a value with other faults is passed on as it is, for its reader to refuse.
/// Line breaks and other control characters in strings, a common fault, are escaped.
#[derive(Debug, Default)]
pub(super) struct JsonText {
    depth: u32,
    in_string: bool,
    escaped: bool,
}

/// State of a value after a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JsonNext {
    /// The value goes on.
    More,
    /// The character was the value's last.
    Done,
    /// The character cannot be in JSON.
    Bad,
}

impl JsonText {
    /// Takes a character of an object, an array or a string, and appends it to `out`.
    pub(super) fn push(&mut self, c: char, out: &mut String) -> JsonNext {
        if self.in_string {
            match c {
                _ if self.escaped => self.escaped = false,
                '\\' => self.escaped = true,
                '"' => self.in_string = false,
                _ => {}
            }
            push_in_string(c, out);
            let is_done = !self.in_string && self.depth == 0;
            return if is_done { JsonNext::Done } else { JsonNext::More };
        }
        match c {
            '"' => self.in_string = true,
            '{' | '[' => self.depth += 1,
            '}' | ']' => self.depth = self.depth.saturating_sub(1),
            _ if c.is_alphanumeric() || c.is_ascii_whitespace() => {}
            ',' | ':' | '+' | '-' | '.' | '_' | '\'' => {}
            _ => return JsonNext::Bad,
        }
        out.push(c);
        if self.depth == 0 && matches!(c, '}' | ']') { JsonNext::Done } else { JsonNext::More }
    }
}

/// A character between quotes of JSON, where only control characters are wrong.
fn push_in_string(c: char, out: &mut String) {
    if c < ' ' { push_escaped(c, out) } else { out.push(c) }
}

/// A character of a text as a JSON string has it.
pub(super) fn push_escaped(c: char, out: &mut String) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if c < ' ' => out.push_str(&format!("\\u{:04x}", c as u32)),
        c => out.push(c),
    }
}

/// A text as a JSON string.
pub(super) fn push_quoted(text: &str, out: &mut String) {
    out.push('"');
    text.chars().for_each(|c| push_escaped(c, out));
    out.push('"');
}

/// A word that stands for a value, as JSON: numbers and constants of JSON and Python; any other is a string.
pub(super) fn push_word(word: &str, out: &mut String) {
    match word {
        "True" | "true" => out.push_str("true"),
        "False" | "false" => out.push_str("false"),
        "None" | "null" => out.push_str("null"),
        _ if is_number(word) => out.push_str(word),
        _ => match word.replace('_', "").parse::<f64>() {
            Ok(number)
                if number.is_finite()
                    && word
                        .starts_with(['.', '+', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) =>
            {
                let _ = write!(out, "{number}");
            }
            _ => push_quoted(word, out),
        },
    }
}

fn is_number(word: &str) -> bool {
    word.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        && serde_json::from_str::<serde_json::Number>(word).is_ok()
}
