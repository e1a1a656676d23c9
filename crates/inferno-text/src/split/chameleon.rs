//! Chameleon's pre-tokenizer: names of images and sentinels, white space, digits and punctuation are cut off before words.

use super::stages::{Stage, digits, emit_rest, gpt2, singles};
use crate::class::{PUNCTUATION, of};

pub(super) const CHAMELEON: &[Stage] = &[
    |text, emit| found(text, "<sentinel:", sentinel, emit),
    |text, emit| found(text, "IMGIMG", image, emit),
    spaces,
    digits,
    |text, emit| singles(text, |c| of(c) & PUNCTUATION != 0 || c.is_ascii_punctuation(), emit),
    gpt2,
];

/// `[0-9]+>`: its length.
fn sentinel(rest: &[u8]) -> Option<usize> {
    let n = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    (n > 0 && rest.get(n) == Some(&b'>')).then_some(n + 1)
}

/// `[A-I]{1,4}Z`
fn image(rest: &[u8]) -> Option<usize> {
    let n = rest.iter().take_while(|b| (b'A'..=b'I').contains(*b)).count();
    ((1..=4).contains(&n) && rest.get(n) == Some(&b'Z')).then_some(n + 1)
}

/// Occurrences of `start` with what `rest` takes behind it.
fn found<'t>(
    text: &'t str,
    start: &str,
    rest: impl Fn(&[u8]) -> Option<usize>,
    emit: &mut dyn FnMut(&'t str),
) {
    let (mut from, mut pos) = (0, 0);
    while let Some(at) = text[pos..].find(start).map(|at| pos + at) {
        let after = at + start.len();
        let Some(len) = rest(&text.as_bytes()[after..]) else {
            pos = at + 1;
            continue;
        };
        if at > from {
            emit(&text[from..at]);
        }
        emit(&text[at..after + len]);
        (from, pos) = (after + len, after + len);
    }
    emit_rest(text, from, emit);
}

/// `([\t\n]|    |  )`
fn spaces<'t>(text: &'t str, emit: &mut dyn FnMut(&'t str)) {
    let bytes = text.as_bytes();
    let (mut from, mut pos) = (0, 0);
    while pos < bytes.len() {
        let len = match &bytes[pos..] {
            [b'\t' | b'\n', ..] => 1,
            [b' ', b' ', b' ', b' ', ..] => 4,
            [b' ', b' ', ..] => 2,
            _ => {
                pos += 1;
                continue;
            }
        };
        if pos > from {
            emit(&text[from..pos]);
        }
        emit(&text[pos..pos + len]);
        (from, pos) = (pos + len, pos + len);
    }
    emit_rest(text, from, emit);
}
