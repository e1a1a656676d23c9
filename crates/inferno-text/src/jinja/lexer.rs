//! From a template's source to tokens, as Jinja's lexer with `trim_blocks` and `lstrip_blocks` cuts it.

use super::error::{Fail, Result};
use super::number::parse_float;

/// A token, and the line where it starts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) line: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind {
    /// Text between tags.
    Data(String),
    VariableBegin,
    VariableEnd,
    BlockBegin,
    BlockEnd,
    Name(String),
    Str(String),
    Int(i128),
    Float(f64),
    Op(&'static str),
    End,
}

/// Longest first.
const OPERATORS: [&str; 27] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<",
    "=", ".", ":", "|", ",", ";", "!",
];

pub(super) fn syntax(line: u32, reason: impl Into<String>) -> Fail {
    Fail::Error { line, reason: reason.into() }
}

/// Every line end as `\n`, and none at the end.
fn normalized(source: &str) -> String {
    let mut text = source.replace("\r\n", "\n").replace('\r', "\n");
    if text.ends_with('\n') {
        text.pop();
    }
    text
}

pub(super) fn tokens(source: &str) -> Result<Vec<Token>> {
    let source = normalized(source);
    Lexer { source: &source, pos: 0, line: 1, line_starting: true, tokens: Vec::new() }.run()
}

struct Lexer<'s> {
    source: &'s str,
    pos: usize,
    line: u32,
    /// Whether what was read last ended a line.
    line_starting: bool,
    tokens: Vec<Token>,
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        &self.source[self.pos..]
    }

    fn advance(&mut self, n: usize) {
        let passed = &self.source[self.pos..self.pos + n];
        self.line += passed.matches('\n').count() as u32;
        self.pos += n;
        if n > 0 {
            self.line_starting = passed.ends_with('\n');
        }
    }

    fn push(&mut self, kind: TokenKind) {
        self.tokens.push(Token { kind, line: self.line });
    }

    fn run(mut self) -> Result<Vec<Token>> {
        loop {
            let rest = self.rest();
            let open = rest
                .match_indices('{')
                .find(|(at, _)| matches!(rest.as_bytes().get(at + 1), Some(b'{' | b'%' | b'#')));
            let Some((at, _)) = open else {
                self.data(rest.len(), rest);
                self.push(TokenKind::End);
                return Ok(self.tokens);
            };
            let kind = rest.as_bytes()[at + 1];
            let sign = rest.as_bytes().get(at + 2).copied();
            let text = &rest[..at];
            let kept = match sign {
                Some(b'-') => text.trim_end_matches(super::unicode::is_space),
                // A variable keeps its place on the line.
                Some(b'+') => text,
                _ if kind != b'{' => {
                    let line = text.rfind('\n').map_or(0, |end| end + 1);
                    let is_blank = text[line..].chars().all(super::unicode::is_space);
                    if (line > 0 || self.line_starting) && is_blank { &text[..line] } else { text }
                }
                _ => text,
            };
            self.data(at, kept);
            let is_signed = match kind {
                b'{' => sign == Some(b'-'),
                _ => matches!(sign, Some(b'-' | b'+')),
            };
            let begin = 2 + usize::from(is_signed);
            match kind {
                b'#' => self.comment(begin)?,
                b'%' if self.raw_len(begin).is_some() => self.raw(begin)?,
                b'%' => {
                    self.push(TokenKind::BlockBegin);
                    self.advance(begin);
                    self.code("%}")?;
                }
                _ => {
                    self.push(TokenKind::VariableBegin);
                    self.advance(begin);
                    self.code("}}")?;
                }
            }
        }
    }

    fn data(&mut self, n: usize, kept: &str) {
        if !kept.is_empty() {
            self.push(TokenKind::Data(kept.to_owned()));
        }
        self.advance(n);
    }

    /// Length of an end of a tag that drops the line end behind it, or all white space: `%}`, `-%}`, `+%}`.
    fn end_len(&self, close: &str, trims: bool) -> Option<usize> {
        let rest = self.rest();
        let spaces = |text: &str| text.len() - text.trim_start_matches(super::unicode::is_space).len();
        if let Some(after) = rest.strip_prefix('-').and_then(|rest| rest.strip_prefix(close)) {
            return Some(1 + close.len() + spaces(after));
        }
        if trims && rest.strip_prefix('+').is_some_and(|rest| rest.starts_with(close)) {
            return Some(1 + close.len());
        }
        let after = rest.strip_prefix(close)?;
        Some(close.len() + usize::from(trims && after.starts_with('\n')))
    }

    fn comment(&mut self, begin: usize) -> Result<()> {
        let line = self.line;
        self.advance(begin);
        let end = self.rest().find("#}").ok_or_else(|| syntax(line, "a comment has no end"))?;
        let signed = end > 0 && matches!(self.rest().as_bytes()[end - 1], b'-' | b'+');
        self.advance(end - usize::from(signed));
        let n = self.end_len("#}", true).unwrap_or(2);
        self.advance(n);
        Ok(())
    }

    /// Length of `raw %}` if that is what comes.
    fn raw_len(&self, begin: usize) -> Option<usize> {
        let spaces = |text: &'s str| text.trim_start_matches(super::unicode::is_space);
        let rest = &self.rest()[begin..];
        let after = spaces(spaces(rest).strip_prefix("raw")?);
        let after = match after.strip_prefix("-%}") {
            Some(after) => spaces(after),
            None => after.strip_prefix("%}")?,
        };
        Some(rest.len() - after.len())
    }

    fn raw(&mut self, begin: usize) -> Result<()> {
        let line = self.line;
        let n = begin + self.raw_len(begin).unwrap_or(0);
        self.advance(n);
        let rest = self.rest();
        let found = rest.match_indices("{%").find_map(|(at, _)| {
            let inside = &rest[at + 2..];
            let sign = inside.chars().next().filter(|c| matches!(c, '-' | '+'));
            let word = inside[usize::from(sign.is_some())..].trim_start_matches(super::unicode::is_space);
            let after = word.strip_prefix("endraw")?.trim_start_matches(super::unicode::is_space);
            ["%}", "-%}", "+%}"]
                .iter()
                .any(|end| after.starts_with(end))
                .then(|| (at, sign, rest.len() - after.len()))
        });
        let (at, sign, close) = found.ok_or_else(|| syntax(line, "a raw block has no end"))?;
        let text = &rest[..at];
        let kept = match sign {
            Some('-') => text.trim_end_matches(super::unicode::is_space),
            Some(_) => text,
            None => {
                let line = text.rfind('\n').map_or(0, |end| end + 1);
                let is_blank = text[line..].chars().all(super::unicode::is_space);
                if (line > 0 || self.line_starting) && is_blank { &text[..line] } else { text }
            }
        };
        self.data(close, kept);
        let n = self.end_len("%}", true).unwrap_or(2);
        self.advance(n);
        Ok(())
    }

    /// The inside of a tag, and its end.
    fn code(&mut self, close: &'static str) -> Result<()> {
        let mut open: Vec<char> = Vec::new();
        let is_block = close == "%}";
        loop {
            let rest = self.rest();
            let Some(c) = rest.chars().next() else {
                return Err(syntax(self.line, format!("a tag has no end: `{close}` is missing")));
            };
            if open.is_empty()
                && let Some(n) = self.end_len(close, is_block)
            {
                self.push(if is_block { TokenKind::BlockEnd } else { TokenKind::VariableEnd });
                self.advance(n);
                return Ok(());
            }
            let n = match c {
                c if super::unicode::is_space(c) => c.len_utf8(),
                '"' | '\'' => self.string(c)?,
                '0'..='9' => self.number()?,
                c if c == '_' || c.is_alphanumeric() => {
                    let n = rest.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(rest.len());
                    self.push(TokenKind::Name(rest[..n].to_owned()));
                    n
                }
                c => {
                    let op = OPERATORS.iter().find(|op| rest.starts_with(**op));
                    let op = op.ok_or_else(|| syntax(self.line, format!("unexpected char {c:?}")))?;
                    match c {
                        '(' => open.push(')'),
                        '[' => open.push(']'),
                        '{' => open.push('}'),
                        ')' | ']' | '}' if open.pop() != Some(c) => {
                            return Err(syntax(self.line, format!("unexpected '{c}'")));
                        }
                        _ => {}
                    }
                    self.push(TokenKind::Op(op));
                    op.len()
                }
            };
            self.advance(n);
        }
    }

    fn number(&mut self) -> Result<usize> {
        let rest = self.rest();
        let digits = |from: usize, is: fn(char) -> bool| {
            let mut end = from;
            let bytes = rest.as_bytes();
            while let Some(&b) = bytes.get(end) {
                let is_gap = b == b'_' && bytes.get(end + 1).is_some_and(|&b| is(char::from(b)));
                if !is(char::from(b)) && !is_gap {
                    break;
                }
                end += 1;
            }
            end
        };
        let radix = match rest.as_bytes() {
            [b'0', b'x' | b'X', ..] => Some((16, (|c| c.is_ascii_hexdigit()) as fn(char) -> bool)),
            [b'0', b'o' | b'O', ..] => Some((8, (|c| ('0'..='7').contains(&c)) as fn(char) -> bool)),
            [b'0', b'b' | b'B', ..] => Some((2, (|c| matches!(c, '0' | '1')) as fn(char) -> bool)),
            _ => None,
        };
        let is_digit: fn(char) -> bool = |c| c.is_ascii_digit();
        let too_large = || syntax(self.line, "an integer does not fit 128 bits");
        if let Some((base, is)) = radix {
            let end = digits(2, is);
            let n = i128::from_str_radix(&rest[2..end].replace('_', ""), base).map_err(|_| too_large())?;
            self.push(TokenKind::Int(n));
            return Ok(end);
        }
        let whole = digits(0, is_digit);
        let mut end = whole;
        let at = |i: usize| rest.as_bytes().get(i).copied().unwrap_or(0);
        if at(end) == b'.' && at(end + 1).is_ascii_digit() {
            end = digits(end + 1, is_digit);
        }
        if matches!(at(end), b'e' | b'E') {
            let sign = usize::from(matches!(at(end + 1), b'+' | b'-'));
            if at(end + 1 + sign).is_ascii_digit() {
                end = digits(end + 1 + sign, is_digit);
            }
        }
        let text = rest[..end].replace('_', "");
        match end == whole {
            true => {
                let n = text.parse().map_err(|_| too_large())?;
                self.push(TokenKind::Int(n));
            }
            false => self.push(TokenKind::Float(parse_float(&text).unwrap_or(0.0))),
        }
        Ok(end)
    }

    fn string(&mut self, quote: char) -> Result<usize> {
        let rest = self.rest();
        let mut chars = rest.char_indices().skip(1);
        let end = loop {
            match chars.next() {
                Some((_, '\\')) => drop(chars.next()),
                Some((at, c)) if c == quote => break at,
                Some(_) => {}
                None => return Err(syntax(self.line, "a string has no end")),
            }
        };
        let text = unescaped(&rest[1..end]).map_err(|reason| syntax(self.line, reason))?;
        self.push(TokenKind::Str(text));
        Ok(end + 1)
    }
}

/// Escapes as in Python's strings.
fn unescaped(text: &str) -> std::result::Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let Some(c) = after.chars().next() else { return Err("a string ends with `\\`".into()) };
        let mut n = c.len_utf8();
        let hex = |digits: usize| {
            let code = after.get(1..=digits).filter(|code| code.bytes().all(|b| b.is_ascii_hexdigit()));
            let code = code.and_then(|code| u32::from_str_radix(code, 16).ok()).and_then(char::from_u32);
            code.ok_or_else(|| format!("`\\{c}` in a string lacks {digits} digits of a character"))
        };
        match c {
            '\n' => {}
            '\\' | '\'' | '"' => out.push(c),
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            'a' => out.push('\x07'),
            'b' => out.push('\x08'),
            'f' => out.push('\x0c'),
            'v' => out.push('\x0b'),
            '0'..='7' => {
                n = after.bytes().take(3).take_while(|b| (b'0'..=b'7').contains(b)).count();
                let code = u32::from_str_radix(&after[..n], 8).ok().and_then(char::from_u32);
                out.push(code.unwrap_or_default());
            }
            'x' => {
                out.push(hex(2)?);
                n = 3;
            }
            'u' => match (hex(4), after.get(5..11)) {
                (Ok(code), _) => {
                    out.push(code);
                    n = 5;
                }
                // A pair of surrogates is one character.
                (Err(reason), low) => {
                    let unit = |code: Option<&str>| code.and_then(|code| u16::from_str_radix(code, 16).ok());
                    let low = low.and_then(|low| low.strip_prefix("\\u"));
                    let units = unit(after.get(1..5)).zip(unit(low));
                    let pair = units.and_then(|(high, low)| char::decode_utf16([high, low]).next()?.ok());
                    out.push(pair.ok_or(reason)?);
                    n = 11;
                }
            },
            'U' => {
                out.push(hex(8)?);
                n = 9;
            }
            _ => {
                out.push('\\');
                out.push(c);
            }
        }
        rest = &after[n..];
    }
    out.push_str(rest);
    Ok(out)
}
