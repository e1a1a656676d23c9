//! Literals of Python, and Gemma's, as JSON.

use super::super::json_text::{push_escaped, push_quoted, push_word};

/// Gemma's quotation mark.
const QUOTE: &str = "<|\"|>";

/// Translates one value.
#[derive(Debug, Default)]
pub(super) struct Values {
    is_gemma: bool,
    /// Brackets that are open, and of objects whether a key comes next.
    open: Vec<(Bracket, bool)>,
    word: String,
    string: Option<Quoted>,
    /// Bytes of [`QUOTE`] so far.
    n_quote: usize,
    is_empty: bool,
    /// A comma came, and nothing after it: Python may have one after the last item, JSON not.
    has_comma: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bracket {
    Object,
    Array,
}

#[derive(Debug)]
enum Quoted {
    /// Ends at this character.
    By(char),
    /// After a backslash in a string that ends at this character.
    Escape(char),
    /// In an escape by number: digits so far, how many are wanted, and the string's end.
    Number(String, usize, char),
    /// Ends at [`QUOTE`].
    Gemma,
}

/// State of a value after a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueNext {
    More,
    /// The value ended before the character.
    End,
    Bad,
}

impl Values {
    pub(super) fn python() -> Values {
        Values { is_empty: true, ..Values::default() }
    }

    pub(super) fn gemma() -> Values {
        Values { is_gemma: true, is_empty: true, ..Values::default() }
    }

    pub(super) fn push(&mut self, c: char, out: &mut String) -> ValueNext {
        if let Some(string) = self.string.take() {
            self.push_string(string, c, out);
            return ValueNext::More;
        }
        if self.is_gemma && (self.n_quote > 0 || c == '<') {
            return self.push_quote(c, out);
        }
        match c {
            '"' | '\'' if self.word.is_empty() => {
                self.begin(out);
                out.push('"');
                self.string = Some(Quoted::By(c));
            }
            '{' | '[' | '(' if self.word.is_empty() => {
                self.begin(out);
                let bracket = if c == '{' { Bracket::Object } else { Bracket::Array };
                out.push(if c == '{' { '{' } else { '[' });
                self.open.push((bracket, c == '{'));
                if self.open.len() > 128 {
                    return ValueNext::Bad;
                }
            }
            ',' | '}' | ']' | ')' if self.open.is_empty() => {
                self.end_word(out);
                return if self.is_empty { ValueNext::Bad } else { ValueNext::End };
            }
            '}' | ']' | ')' => {
                self.end_word(out);
                let close = match self.open.pop() {
                    Some((Bracket::Object, _)) if c == '}' => '}',
                    Some((Bracket::Array, _)) if c != '}' => ']',
                    _ => return ValueNext::Bad,
                };
                self.has_comma = false;
                out.push(close);
            }
            ',' => {
                self.end_word(out);
                self.has_comma = true;
                if let Some((Bracket::Object, is_key)) = self.open.last_mut() {
                    *is_key = true;
                }
            }
            ':' if matches!(self.open.last(), Some((Bracket::Object, true))) => {
                self.end_word(out);
                out.push_str(": ");
                if let Some((_, is_key)) = self.open.last_mut() {
                    *is_key = false;
                }
            }
            _ if c.is_whitespace() && self.word.is_empty() => {}
            _ => self.word.push(c),
        }
        ValueNext::More
    }

    /// Before an item.
    fn begin(&mut self, out: &mut String) {
        self.is_empty = false;
        if std::mem::take(&mut self.has_comma) {
            out.push_str(", ");
        }
    }

    fn end_word(&mut self, out: &mut String) {
        let word = std::mem::take(&mut self.word);
        let word = word.trim();
        if word.is_empty() {
            return;
        }
        self.begin(out);
        match self.open.last() {
            Some((Bracket::Object, true)) => push_quoted(word, out),
            _ => push_word(word, out),
        }
    }

    /// A character of [`QUOTE`] outside a string.
    fn push_quote(&mut self, c: char, out: &mut String) -> ValueNext {
        if !QUOTE[self.n_quote..].starts_with(c) || !self.word.is_empty() {
            return ValueNext::Bad;
        }
        self.n_quote += c.len_utf8();
        if self.n_quote == QUOTE.len() {
            self.n_quote = 0;
            self.begin(out);
            out.push('"');
            self.string = Some(Quoted::Gemma);
        }
        ValueNext::More
    }

    fn push_string(&mut self, string: Quoted, c: char, out: &mut String) {
        self.string = match string {
            Quoted::Gemma => self.push_gemma(c, out),
            Quoted::By(end) if c == end => {
                out.push('"');
                None
            }
            Quoted::By(end) if c == '\\' => Some(Quoted::Escape(end)),
            Quoted::By(end) => {
                push_escaped(c, out);
                Some(Quoted::By(end))
            }
            Quoted::Escape(end) => {
                let plain = match c {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'x' => return self.string = Some(Quoted::Number(String::new(), 2, end)),
                    'u' => return self.string = Some(Quoted::Number(String::new(), 4, end)),
                    'U' => return self.string = Some(Quoted::Number(String::new(), 8, end)),
                    '\n' => return self.string = Some(Quoted::By(end)),
                    '\\' | '\'' | '"' => c,
                    // Python keeps the backslash before any other.
                    _ => {
                        push_escaped('\\', out);
                        c
                    }
                };
                push_escaped(plain, out);
                Some(Quoted::By(end))
            }
            Quoted::Number(mut digits, n_digits, end) => {
                digits.push(c);
                if digits.chars().count() < n_digits {
                    return self.string = Some(Quoted::Number(digits, n_digits, end));
                }
                let code = u32::from_str_radix(&digits, 16).ok();
                match code.and_then(char::from_u32) {
                    Some(c) => push_escaped(c, out),
                    // Halves of a pair are JSON's as well.
                    None if code.is_some() && n_digits == 4 => {
                        out.push_str("\\u");
                        out.push_str(&digits);
                    }
                    None => digits.chars().for_each(|c| push_escaped(c, out)),
                }
                Some(Quoted::By(end))
            }
        };
    }

    fn push_gemma(&mut self, c: char, out: &mut String) -> Option<Quoted> {
        if QUOTE[self.n_quote..].starts_with(c) {
            self.n_quote += c.len_utf8();
            if self.n_quote < QUOTE.len() {
                return Some(Quoted::Gemma);
            }
            self.n_quote = 0;
            out.push('"');
            return None;
        }
        // The first character of the mark is in it once.
        QUOTE[..std::mem::take(&mut self.n_quote)].chars().for_each(|c| push_escaped(c, out));
        if c == '<' {
            self.n_quote = 1;
        } else {
            push_escaped(c, out);
        }
        Some(Quoted::Gemma)
    }
}
