//! Reads GBNF.

use std::collections::HashMap;

use crate::named_tokens::Find;
use crate::source::GrammarError;

use super::{Expr, Range, Rule, Rules, error};

/// Groups within groups.
const MOST_DEPTH: usize = 100;
const MOST_RULES: usize = 5000;
/// Repetitions that can be asked for, as in llama.cpp.
const MOST_REPETITIONS: u32 = 2000;

struct Parser<'a> {
    rest: &'a str,
    find: &'a Find<'a>,
    line: usize,
    /// Rules by name, with the line of their first mention.
    numbers: HashMap<String, (usize, usize)>,
    /// Definitions by number.
    rules: Vec<Option<Rule>>,
}

/// Reads a grammar.
pub(super) fn parse<'a>(text: &'a str, find: &'a Find<'a>) -> Result<Rules, GrammarError> {
    let mut parser = Parser { rest: text, find, line: 1, numbers: HashMap::new(), rules: Vec::new() };
    parser.skip_space();
    while !parser.rest.is_empty() {
        parser.rule()?;
    }
    let root = match parser.numbers.get("root") {
        Some(&(number, _)) if parser.rules[number].is_some() => number,
        _ => {
            return Err(GrammarError::whole(
                "the grammar has no rule `root`: name the rule of the whole answer so",
            ));
        }
    };
    let mut missing: Vec<_> = parser.numbers.iter().filter(|(_, v)| parser.rules[v.0].is_none()).collect();
    missing.sort_by_key(|(_, v)| v.1);
    if let Some((name, (_, line))) = missing.first() {
        return Err(error(*line, format!("rule `{name}` is not defined: add `{name} ::= …`")));
    }
    let rules = Rules { rules: parser.rules.into_iter().flatten().collect(), root };
    check_ends(&rules)?;
    Ok(rules)
}

/// Refuses rules that no text of finite length fits.
fn check_ends(rules: &Rules) -> Result<(), GrammarError> {
    let mut ends = vec![false; rules.rules.len()];
    loop {
        let mut changed = false;
        for (i, rule) in rules.rules.iter().enumerate() {
            if !ends[i] && has_end(&rule.body, &ends) {
                ends[i] = true;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    let Some(mut at) = ends.iter().position(|ends| !ends) else { return Ok(()) };
    // The first such rule may only need others: those that need themselves are to blame.
    let mut seen = Vec::new();
    while !seen.contains(&at) {
        seen.push(at);
        at = endless_rule(&rules.rules[at].body, &ends).unwrap_or(at);
    }
    let Rule { name, line, .. } = &rules.rules[at];
    Err(error(*line, format!("rule `{name}` needs itself without end: add an alternative without it")))
}

/// A rule without end that `expr` names.
fn endless_rule(expr: &Expr, ends: &[bool]) -> Option<usize> {
    match expr {
        Expr::Class(_) | Expr::Token(_) => None,
        Expr::Rule(i) => Some(*i).filter(|i| !ends[*i]),
        Expr::Seq(items) | Expr::Or(items) => items.iter().find_map(|e| endless_rule(e, ends)),
        Expr::Repeat(inner, least, _) => {
            if *least == 0 {
                None
            } else {
                endless_rule(inner, ends)
            }
        }
    }
}

fn has_end(expr: &Expr, ends: &[bool]) -> bool {
    match expr {
        Expr::Class(ranges) => !ranges.is_empty(),
        Expr::Token(ranges) => !ranges.is_empty(),
        Expr::Rule(i) => ends[*i],
        Expr::Seq(items) => items.iter().all(|e| has_end(e, ends)),
        Expr::Or(items) => items.iter().any(|e| has_end(e, ends)),
        Expr::Repeat(inner, least, _) => *least == 0 || has_end(inner, ends),
    }
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn advance(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        if c == '\n' {
            self.line += 1;
        }
        Some(c)
    }

    fn take(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Skips white space, ends of lines and comments.
    fn skip_space(&mut self) {
        while let Some(c) = self.peek() {
            if c == '#' {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.rest = &self.rest[end..];
            } else if c.is_ascii_whitespace() || c == '\u{feff}' {
                self.advance();
            } else {
                break;
            }
        }
    }

    /// The name that comes next; empty if none does.
    fn name(&self) -> &str {
        let is_end = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_');
        &self.rest[..self.rest.find(is_end).unwrap_or(self.rest.len())]
    }

    /// Does a definition come next? It ends the rule before it.
    fn at_definition(&self) -> bool {
        let name = self.name();
        !name.is_empty() && self.rest[name.len()..].trim_start().starts_with("::=")
    }

    fn number(&mut self, name: &str) -> usize {
        if let Some((number, _)) = self.numbers.get(name) {
            return *number;
        }
        self.numbers.insert(name.to_owned(), (self.rules.len(), self.line));
        self.rules.push(None);
        self.rules.len() - 1
    }

    fn rule(&mut self) -> Result<(), GrammarError> {
        let line = self.line;
        let name = self.name().to_owned();
        if name.is_empty() || !self.at_definition() {
            let found = self.peek().map_or(String::new(), |c| format!(", not `{c}`"));
            return Err(error(line, format!("a rule begins with `name ::=`{found}")));
        }
        self.rest = &self.rest[name.len()..];
        self.skip_space();
        self.take("::=");
        let number = self.number(&name);
        if self.rules.len() > MOST_RULES {
            return Err(error(line, format!("the grammar has more than {MOST_RULES} rules: simplify it")));
        }
        let body = self.alternates(0)?;
        match self.peek() {
            None => {}
            Some(_) if self.at_definition() => {}
            Some(')') => return Err(error(self.line, "`)` closes no group: remove it")),
            Some(c) => return Err(error(self.line, format!("`{c}` begins nothing that a rule can have"))),
        }
        if self.rules[number].is_some() {
            return Err(error(line, format!("rule `{name}` is defined twice: keep one definition")));
        }
        self.rules[number] = Some(Rule { name, line, body });
        Ok(())
    }

    fn alternates(&mut self, depth: usize) -> Result<Expr, GrammarError> {
        if depth > MOST_DEPTH {
            return Err(error(self.line, "groups are nested too deeply: name some as rules"));
        }
        let mut all = vec![self.sequence(depth)?];
        while self.take("|") {
            all.push(self.sequence(depth)?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Expr::Or(all) })
    }

    fn sequence(&mut self, depth: usize) -> Result<Expr, GrammarError> {
        let mut items: Vec<Expr> = Vec::new();
        loop {
            self.skip_space();
            let line = self.line;
            let item = match self.peek() {
                Some('"') => self.literal()?,
                Some('[') => self.class()?,
                Some('.') => {
                    self.advance();
                    Expr::Class(vec![('\0', char::MAX)])
                }
                Some('(') => {
                    self.advance();
                    let inner = self.alternates(depth + 1)?;
                    if !self.take(")") {
                        return Err(error(line, "a group is not closed: add `)`"));
                    }
                    inner
                }
                Some('*' | '+' | '?' | '{') => {
                    return Err(error(line, "a repetition comes after what it repeats"));
                }
                Some('<' | '!') => self.token()?,
                _ if self.name().is_empty() || self.at_definition() => break,
                _ => {
                    let name = self.name().to_owned();
                    let number = self.number(&name);
                    self.rest = &self.rest[name.len()..];
                    Expr::Rule(number)
                }
            };
            items.push(self.repetitions(item)?);
        }
        Ok(if items.len() == 1 { items.remove(0) } else { Expr::Seq(items) })
    }

    /// `item` with the repetitions behind it.
    fn repetitions(&mut self, mut item: Expr) -> Result<Expr, GrammarError> {
        loop {
            self.skip_space();
            let (least, most) = match self.peek() {
                Some('*') => (0, None),
                Some('+') => (1, None),
                Some('?') => (0, Some(1)),
                Some('{') => self.counts()?,
                _ => return Ok(item),
            };
            self.advance();
            item = match most {
                Some(0) => Expr::Seq(Vec::new()),
                _ => Expr::Repeat(Box::new(item), least, most),
            };
        }
    }

    /// Reads `{m}`, `{m,}`, `{,n}` or `{m,n}` up to its brace.
    fn counts(&mut self) -> Result<(u32, Option<u32>), GrammarError> {
        let line = self.line;
        let malformed = || error(line, "a repetition is malformed: write `{m}`, `{m,}` or `{m,n}`");
        let end = self.rest.find('}').ok_or_else(malformed)?;
        let inner = &self.rest[1..end];
        let number = |text: &str| -> Result<u32, GrammarError> {
            let number: u64 = text.trim().parse().map_err(|_| malformed())?;
            if number > u64::from(MOST_REPETITIONS) {
                return Err(error(line, format!("a repetition has more than {MOST_REPETITIONS}: lower it")));
            }
            Ok(number as u32)
        };
        let counts = match inner.split_once(',') {
            None => {
                let count = number(inner)?;
                (count, Some(count))
            }
            Some((least, most)) => {
                let least = if least.trim().is_empty() { 0 } else { number(least)? };
                (least, if most.trim().is_empty() { None } else { Some(number(most)?) })
            }
        };
        if counts.1.is_some_and(|most| most < counts.0) {
            return Err(error(line, "a repetition's second number is less than its first: swap them"));
        }
        let n_lines = inner.matches('\n').count();
        self.line += n_lines;
        self.rest = &self.rest[end..];
        Ok(counts)
    }

    fn literal(&mut self) -> Result<Expr, GrammarError> {
        let line = self.line;
        self.advance();
        let mut items = Vec::new();
        loop {
            match self.peek() {
                None | Some('\n') => return Err(error(line, "a literal is not closed: add `\"`")),
                Some('"') => break,
                Some(_) => {
                    let c = self.character()?;
                    items.push(Expr::Class(vec![(c, c)]));
                }
            }
        }
        self.advance();
        Ok(if items.len() == 1 { items.remove(0) } else { Expr::Seq(items) })
    }

    /// Reads a token: `<[5]>` by its number, `<think>` by its text; with `!` in front all others.
    fn token(&mut self) -> Result<Expr, GrammarError> {
        let name = &self.rest[usize::from(self.rest.starts_with('!'))..];
        let end = name.find(['>', '\n']).filter(|&end| name[end..].starts_with('>'));
        let (Some(end), true) = (end, name.starts_with('<')) else {
            return Err(error(
                self.line,
                "a token is malformed: write `<[number]>` or `<text>`, with `!` for others",
            ));
        };
        let (written, rest) = self.rest.split_at(self.rest.len() - name.len() + end + 1);
        let tokens = (self.find)(written).map_err(|reason| error(self.line, reason))?;
        self.rest = rest;
        Ok(Expr::Token(tokens))
    }

    fn class(&mut self) -> Result<Expr, GrammarError> {
        let line = self.line;
        self.advance();
        let is_negated = self.take("^");
        let mut ranges: Vec<Range> = Vec::new();
        loop {
            match self.peek() {
                None | Some('\n') => return Err(error(line, "a class is not closed: add `]`")),
                Some(']') => break,
                Some(_) => {}
            }
            let first = self.character()?;
            let is_range = self.rest.starts_with('-') && !self.rest.starts_with("-]");
            let mut last = first;
            if is_range {
                self.advance();
                if matches!(self.peek(), None | Some('\n')) {
                    return Err(error(line, "a class is not closed: add `]`"));
                }
                last = self.character()?;
            }
            if last < first {
                return Err(error(line, format!("range `{first}-{last}` is empty: swap its ends")));
            }
            ranges.push((first, last));
        }
        self.advance();
        if ranges.is_empty() {
            return Err(error(line, "a class has no characters: add some"));
        }
        let ranges = merged(ranges);
        let ranges = if is_negated { negated(&ranges) } else { ranges };
        if ranges.is_empty() {
            return Err(error(line, "a class excludes all characters: allow some"));
        }
        Ok(Expr::Class(ranges))
    }

    /// A character of a literal or class; escapes as in llama.cpp.
    fn character(&mut self) -> Result<char, GrammarError> {
        let line = self.line;
        let unfinished = || error(line, "an escape is not finished");
        let c = self.advance().ok_or_else(unfinished)?;
        if c != '\\' {
            return Ok(c);
        }
        let n_digits = match self.advance().ok_or_else(unfinished)? {
            'n' => return Ok('\n'),
            'r' => return Ok('\r'),
            't' => return Ok('\t'),
            c @ ('\\' | '"' | '[' | ']' | '^' | '-' | '/' | '\'' | '.') => return Ok(c),
            'x' => 2,
            'u' => 4,
            'U' => 8,
            c => return Err(error(line, format!("`\\{c}` is not an escape: write `\\\\` for a backslash"))),
        };
        let digits = self.rest.get(..n_digits).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = digits.and_then(|d| u32::from_str_radix(d, 16).ok());
        let code =
            code.ok_or_else(|| error(line, format!("an escape needs {n_digits} hexadecimal digits")))?;
        self.rest = &self.rest[n_digits..];
        char::from_u32(code)
            .ok_or_else(|| error(line, format!("an escape names U+{code:04X}, which is not a character")))
    }
}

/// The same characters, with ranges in order and apart.
fn merged(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut merged: Vec<Range> = Vec::new();
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1 || next(before.1) == Some(first) => {
                before.1 = before.1.max(last)
            }
            _ => merged.push((first, last)),
        }
    }
    merged
}

/// All other characters.
fn negated(ranges: &[Range]) -> Vec<Range> {
    let mut others = Vec::new();
    let mut from = Some('\0');
    for &(first, last) in ranges {
        if let Some(from) = from
            && from < first
            && let Some(before) = previous(first)
        {
            others.push((from, before));
        }
        from = next(last);
    }
    others.extend(from.map(|from| (from, char::MAX)));
    others
}

fn next(c: char) -> Option<char> {
    (c..=char::MAX).nth(1)
}

fn previous(c: char) -> Option<char> {
    ('\0'..c).next_back()
}
