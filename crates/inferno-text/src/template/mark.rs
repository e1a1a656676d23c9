//! How messages are kept from producing control tokens.
//!
//! Jinja does not say which part of its output came from where. So before rendering, a mark (U+FDD0, a code point
//! that is never a character) is put into every string of the messages wherever a control token could start;
//! the marked output is then searched for control tokens, and only what is left has the marks taken out and is
//! turned into tokens, as plain text. A control token found is then the template's alone:
//!
//! - A mark stands behind *every* occurrence of a character that starts a control token, not just behind whole
//!   control tokens. So nothing that begins in a message can become one: not by running on into the template's text
//!   or another message, and not by a template that takes a piece out of the middle.
//! - Templates look for tags in messages (`'</think>' in content`). A string constant of the template is left
//!   unmarked in a message, if no control token can begin inside it.
//! - Where a message starts with the end of a control token, a mark breaks that, for templates whose own text might
//!   supply the beginning.

/// U+FDD0.
pub(crate) const MARK: char = '\u{fdd0}';

/// Puts marks into strings.
#[derive(Debug)]
pub(super) struct Marker<'a> {
    reserved: &'a [&'a str],
    /// What control tokens start with: the first character, and the second too if the first is one of a word.
    starts: Vec<(char, Option<char>)>,
    /// Constants of the template in which no control token can begin.
    safe: Vec<&'a str>,
}

impl<'a> Marker<'a> {
    /// `reserved` are the texts that must not arise, `literals` the constants of the template.
    pub(super) fn new(reserved: &'a [&'a str], literals: &'a [String]) -> Marker<'a> {
        let mut starts: Vec<(char, Option<char>)> = reserved
            .iter()
            .filter_map(|text| {
                let mut chars = text.chars();
                let first = chars.next()?;
                Some((first, chars.next().filter(|_| first.is_alphanumeric() || first == '_')))
            })
            .collect();
        starts.sort_unstable();
        starts.dedup();
        let mut marker = Marker { reserved, starts, safe: Vec::new() };
        marker.safe = literals.iter().map(String::as_str).filter(|literal| marker.is_safe(literal)).collect();
        marker
    }

    /// `text` with its marks.
    pub(super) fn mark(&self, text: &str) -> String {
        let mut marked = String::with_capacity(text.len() + text.len() / 8);
        let tail = self.tail_at_start(text);
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let starts = self.starts_at(rest);
            if starts && let Some(literal) = self.safe.iter().find(|literal| rest.starts_with(**literal)) {
                marked.push_str(literal);
                rest = &rest[literal.len()..];
                continue;
            }
            let at = text.len() - rest.len();
            marked.push(c);
            rest = &rest[c.len_utf8()..];
            if starts || tail == Some(at) {
                marked.push(MARK);
            }
        }
        marked
    }

    /// Whether a control token may start as `text` does. The second character may lie beyond its end.
    fn starts_at(&self, text: &str) -> bool {
        let mut chars = text.chars();
        let (first, second) = (chars.next(), chars.next());
        self.starts.iter().any(|&(a, b)| Some(a) == first && (b.is_none() || second.is_none() || b == second))
    }

    /// Whether no control token begins in `literal`, be it that it ends beyond it.
    fn is_safe(&self, literal: &str) -> bool {
        let suffixes = || literal.char_indices().map(|(i, _)| &literal[i..]);
        let begins = |suffix: &str| {
            self.starts_at(suffix)
                && self.reserved.iter().any(|text| text.starts_with(suffix) || suffix.starts_with(text))
        };
        literal.chars().nth(1).is_some() && suffixes().any(|s| self.starts_at(s)) && !suffixes().any(begins)
    }

    /// Where `text`, but for white space, starts with the last two or more characters of a control token.
    fn tail_at_start(&self, text: &str) -> Option<usize> {
        let trimmed = text.trim_start();
        let is_tail = |reserved: &str| {
            reserved.chars().next_back().is_some_and(|c| !c.is_alphanumeric())
                && reserved
                    .char_indices()
                    .skip(1)
                    .any(|(i, c)| reserved.len() > i + c.len_utf8() && trimmed.starts_with(&reserved[i..]))
        };
        self.reserved.iter().any(|text| is_tail(text)).then(|| text.len() - trimmed.len())
    }
}
