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
//! - Where a string starts with the end of a control token, a mark breaks that, for templates whose own text might
//!   supply the beginning. And where all of a string is the inside of one, for templates that put it between
//!   brackets, as Qwen3-Coder's does with the keys of a tool's schema (`'<' ~ key ~ '>'`). Words that the template
//!   itself knows are left alone: it could not find them otherwise, and roles make control tokens in this way.

use std::collections::HashSet;
use std::sync::OnceLock;

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
    /// What is left of each behind each of its characters, in order: which text, and from where. Made when first
    /// asked for, as it takes 0.2 s where sounds are control tokens (28,000; 2 shared cores).
    tails: OnceLock<Vec<(u32, u32)>>,
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
        let longest = texts.iter().map(|text| text.len()).max().unwrap_or(0);
        Reserved { texts, tails: OnceLock::new(), starts, longest }
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

    /// Whether `text` starts with the last two or more characters of a longer one, which ends in a sign.
    fn ends_in_start_of(&self, text: &str) -> bool {
        let ends = text.char_indices().map(|(i, c)| (i + c.len_utf8(), c)).skip(1);
        ends.take_while(|&(end, _)| end < self.longest)
            .any(|(end, last)| !last.is_alphanumeric() && self.first_tail(&text[..end]) == Some(&text[..end]))
    }

    /// Whether one holds `text`, and has something before it.
    fn has_inside(&self, text: &str) -> bool {
        text.len() < self.longest && self.first_tail(text).is_some_and(|tail| tail.starts_with(text))
    }

    /// The first tail, in order, that is not before `text`.
    fn first_tail(&self, text: &str) -> Option<&str> {
        let tails = self.tails.get_or_init(|| tails(&self.texts));
        let at = tails.partition_point(|&at| tail(&self.texts, at) < text);
        tails.get(at).map(|&at| tail(&self.texts, at))
    }
}

fn tails(texts: &[Box<str>]) -> Vec<(u32, u32)> {
    let mut tails: Vec<(u32, u32)> = (0..)
        .zip(texts)
        .flat_map(|(text, chars)| chars.char_indices().skip(1).map(move |(at, _)| (text, at as u32)))
        .collect();
    tails.sort_unstable_by(|&a, &b| tail(texts, a).cmp(tail(texts, b)));
    tails
}

fn tail(texts: &[Box<str>], (text, at): (u32, u32)) -> &str {
    &texts[text as usize][at as usize..]
}

/// Puts marks into strings.
#[derive(Debug)]
pub(super) struct Marker<'a> {
    reserved: &'a Reserved,
    /// Constants of the template in which no control token can begin.
    safe: Option<AhoCorasick>,
    /// What the template may ask for or compare with, in lower case.
    words: &'a HashSet<String>,
}

impl<'a> Marker<'a> {
    /// `literals` are the constants of the template, `words` those and what else it knows, in lower case.
    pub(super) fn new(reserved: &'a Reserved, literals: &[String], words: &'a HashSet<String>) -> Marker<'a> {
        let safe: Vec<&String> = literals.iter().filter(|literal| is_safe(reserved, literal)).collect();
        let safe = (1..=MOST_SAFE).contains(&safe.len()).then(|| {
            AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .start_kind(StartKind::Anchored)
                .kind(Some(AhoCorasickKind::ContiguousNFA))
                .build(safe)
                .expect("their bytes are few enough to be counted")
        });
        Marker { reserved, safe, words }
    }

    /// `text` with its marks.
    pub(super) fn mark(&self, text: &str) -> String {
        let mut marked = String::with_capacity(text.len() + text.len() / 8);
        let trimmed = text.trim_start();
        let is_part = self.reserved.ends_in_start_of(trimmed) || self.is_inside(trimmed.trim_end());
        let part = is_part.then(|| text.len() - trimmed.len());
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let starts = self.reserved.starts_at(rest);
            let at = text.len() - rest.len();
            if starts
                && part != Some(at)
                && let Some(len) = self.safe_at(rest)
            {
                marked.push_str(&rest[..len]);
                rest = &rest[len..];
                continue;
            }
            marked.push(c);
            rest = &rest[c.len_utf8()..];
            if starts || part == Some(at) {
                marked.push(MARK);
            }
        }
        marked
    }

    /// Whether all of `text` is what a control token has inside, and no word of the template.
    fn is_inside(&self, text: &str) -> bool {
        self.reserved.has_inside(text) && !self.words.contains(&text.to_lowercase())
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
