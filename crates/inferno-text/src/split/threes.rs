//! Digits in groups of three, counted from the right: `1234567` is `1`, `234`, `567`.

use super::stages::emit_rest;
use crate::class::{CONNECTOR, DIGIT, LETTER, MARK, NUMBER, at};

/// `\d{1,3}(?=(?:\d{3})*\b)`: no group where a letter follows the digits.
pub(super) fn before_no_word<'t>(text: &'t str, emit: &mut dyn FnMut(&'t str)) {
    let ends = |next: u16| next & (LETTER | MARK | CONNECTOR) == 0;
    threes(text, Rule { digits: DIGIT, ends, alone: true }, emit);
}

/// Runs of `\p{N}`, whatever follows.
pub(super) fn numbers<'t>(text: &'t str, emit: &mut dyn FnMut(&'t str)) {
    threes(text, Rule { digits: NUMBER, ends: |_| true, alone: true }, emit);
}

/// `(?=(\d{3})+(?!\d))`: cuts, each before three digits and their multiples.
pub(super) fn cuts<'t>(text: &'t str, emit: &mut dyn FnMut(&'t str)) {
    threes(text, Rule { digits: DIGIT, ends: |_| true, alone: false }, emit);
}

struct Rule {
    /// Class of a digit.
    digits: u16,
    /// Whether a run in front of a character of that class (0: the end) is cut.
    ends: fn(u16) -> bool,
    /// A run is cut off from the text around it.
    alone: bool,
}

fn threes<'t>(text: &'t str, rule: Rule, emit: &mut dyn FnMut(&'t str)) {
    let (mut start, mut pos) = (0, 0);
    while pos < text.len() {
        let (class, len) = at(text, pos);
        if class & rule.digits == 0 {
            pos += len;
            continue;
        }
        let (first, mut n) = (pos, 0);
        let next = loop {
            let (class, len) = at(text, pos);
            if class & rule.digits == 0 {
                break class;
            }
            pos += len;
            n += 1;
        };
        if !(rule.ends)(next) {
            continue;
        }
        for (i, (at, _)) in text[first..pos].char_indices().enumerate() {
            let cut = first + at;
            if cut > start && ((n - i).is_multiple_of(3) || rule.alone && i == 0) {
                emit(&text[start..cut]);
                start = cut;
            }
        }
        if rule.alone {
            emit(&text[start..pos]);
            start = pos;
        }
    }
    emit_rest(text, start, emit);
}
