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

use aho_corasick::{AhoCorasick, AhoCorasickKind, Anchored, Input, MatchKind, StartKind};

/// U+FDD0.
pub(crate) const MARK: char = '\u{fdd0}';

/// The longest string constant of a template that is left unmarked, in bytes. They are tags and line ends.
const LONGEST_SAFE: usize = 256;
/// The most constants that are left unmarked. A template with more has none: it is not a template for a chat.
const MOST_SAFE: usize = 1000;

/// The texts that must not arise.
#[derive(Debug)]
pub(crate) struct Reserved {
    /// In order.
    texts: Vec<Box<str>>,
    /// Those that end in a sign, backwards, in order.
    backwards: Vec<Box<[u8]>>,
    /// What they start with: the first character, and the second too if the first is one of a word. In order.
    starts: Vec<(char, Option<char>)>,
    longest: usize,
}

impl Reserved {
    /// No two of the texts are the same.
    pub(crate) fn new<'t>(texts: impl Iterator<Item = &'t str>) -> Reserved {
        let mut texts: Vec<Box<str>> = texts.map(Box::from).collect();
        texts.sort_unstable();
        let mut starts: Vec<(char, Option<char>)> = texts
            .iter()
            .filter_map(|text| {
                let mut chars = text.chars();
                let first = chars.next()?;
                Some((first, chars.next().filter(|_| first.is_alphanumeric() || first == '_')))
            })
            .collect();
        starts.sort_unstable();
        starts.dedup();
        let mut backwards: Vec<Box<[u8]>> = texts
            .iter()
            .filter(|text| text.chars().next_back().is_some_and(|c| !c.is_alphanumeric()))
            .map(|text| text.bytes().rev().collect())
            .collect();
        backwards.sort_unstable();
        let longest = texts.iter().map(|text| text.len()).max().unwrap_or(0);
        Reserved { texts, backwards, starts, longest }
    }

    /// Whether one may start as `text` does. The second character may lie beyond its end.
    fn starts_at(&self, text: &str) -> bool {
        let mut chars = text.chars();
        let Some(first) = chars.next() else { return false };
        let from = self.starts.partition_point(|&start| start < (first, None));
        match (self.starts.get(from), chars.next()) {
            (Some(&(c, None)), _) => c == first,
            (Some(&(c, Some(_))), None) => c == first,
            (_, second) => self.starts.binary_search(&(first, second)).is_ok(),
        }
    }

    /// Whether one starts where `text` starts, be it that it ends beyond it.
    fn begins(&self, text: &str) -> bool {
        let after = self.texts.partition_point(|reserved| **reserved < *text);
        self.texts.get(after).is_some_and(|reserved| reserved.starts_with(text))
            || (1..=text.len().min(self.longest))
                .filter_map(|n| text.get(..n))
                .any(|head| self.texts.binary_search_by(|reserved| (**reserved).cmp(head)).is_ok())
    }

    /// Whether `text` starts with the last two or more characters of a longer one.
    fn ends_in_start_of(&self, text: &str) -> bool {
        let ends = text.char_indices().map(|(i, c)| i + c.len_utf8()).skip(1);
        ends.take_while(|&end| end < self.longest).any(|end| {
            let tail: Vec<u8> = text.bytes().take(end).rev().collect();
            let from = self.backwards.partition_point(|reserved| **reserved < *tail);
            // The first may be the tail itself.
            self.backwards[from..]
                .iter()
                .take(2)
                .any(|reserved| reserved.len() > tail.len() && reserved.starts_with(&tail))
        })
    }
}

/// Puts marks into strings.
#[derive(Debug)]
pub(super) struct Marker<'a> {
    reserved: &'a Reserved,
    /// Constants of the template in which no control token can begin.
    safe: Option<AhoCorasick>,
}

impl<'a> Marker<'a> {
    /// `literals` are the constants of the template.
    pub(super) fn new(reserved: &'a Reserved, literals: &[String]) -> Marker<'a> {
        let safe: Vec<&String> = literals.iter().filter(|literal| is_safe(reserved, literal)).collect();
        let safe = (1..=MOST_SAFE).contains(&safe.len()).then(|| {
            AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .start_kind(StartKind::Anchored)
                .kind(Some(AhoCorasickKind::ContiguousNFA))
                .build(safe)
                .expect("their bytes are few enough to be counted")
        });
        Marker { reserved, safe }
    }

    /// `text` with its marks.
    pub(super) fn mark(&self, text: &str) -> String {
        let mut marked = String::with_capacity(text.len() + text.len() / 8);
        let trimmed = text.trim_start();
        let tail = self.reserved.ends_in_start_of(trimmed).then(|| text.len() - trimmed.len());
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let starts = self.reserved.starts_at(rest);
            if starts && let Some(len) = self.safe_at(rest) {
                marked.push_str(&rest[..len]);
                rest = &rest[len..];
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

    /// The length of the longest safe constant that `text` starts with.
    fn safe_at(&self, text: &str) -> Option<usize> {
        let found = self.safe.as_ref()?.find(Input::new(text).anchored(Anchored::Yes))?;
        Some(found.end())
    }
}

/// Whether no control token begins in `literal`, be it that it ends beyond it. And whether it matters.
fn is_safe(reserved: &Reserved, literal: &str) -> bool {
    let suffixes = || literal.char_indices().map(|(i, _)| &literal[i..]);
    (2..=LONGEST_SAFE).contains(&literal.len())
        && literal.chars().nth(1).is_some()
        && suffixes().any(|s| reserved.starts_at(s))
        && !suffixes().any(|s| reserved.starts_at(s) && reserved.begins(s))
}

#[cfg(test)]
mod tests;
