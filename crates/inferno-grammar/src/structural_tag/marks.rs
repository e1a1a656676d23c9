//! Texts in which some are control tokens.

use inferno_text::{TokenKind, Tokenizer};
use serde_json::Value;

/// The control tokens of a vocabulary.
pub(super) struct Marks {
    /// Texts and tokens, the longest text first.
    controls: Vec<(String, u32)>,
    /// Tokens that end a generation: an answer is over before them.
    ends: Vec<u32>,
}

impl Marks {
    pub(super) fn new(tokenizer: &Tokenizer) -> Marks {
        let ids = (0..tokenizer.vocab_size() as u32)
            .filter(|&id| tokenizer.token_kind(id) == Some(TokenKind::Control));
        let mut controls: Vec<(String, u32)> = ids
            .filter_map(|id| Some((tokenizer.token_text(id)?.to_owned(), id)))
            .filter(|(text, _)| !text.is_empty())
            .collect();
        controls.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        Marks { controls, ends: tokenizer.end_of_generation().to_vec() }
    }

    /// Where the first control token of `text` begins.
    pub(super) fn control_in(&self, text: &str) -> Option<usize> {
        self.controls.iter().filter_map(|(control, _)| text.find(control.as_str())).min()
    }

    /// `text` as Lark. The answer is over before a token that ends generations.
    pub(super) fn written(&self, text: &str) -> String {
        let (mut items, mut literal, mut rest) = (Vec::new(), String::new(), text);
        while let Some(c) = rest.chars().next() {
            match self.controls.iter().find(|(control, _)| rest.starts_with(control.as_str())) {
                Some((_, id)) if self.ends.contains(id) => break,
                Some((control, id)) => {
                    if !literal.is_empty() {
                        items.push(quoted(&std::mem::take(&mut literal)));
                    }
                    items.push(format!("<[{id}]>"));
                    rest = &rest[control.len()..];
                }
                None => {
                    literal.push(c);
                    rest = &rest[c.len_utf8()..];
                }
            }
        }
        if !literal.is_empty() {
            items.push(quoted(&literal));
        }
        if items.is_empty() { "\"\"".to_owned() } else { items.join(" ") }
    }
}

/// A literal of Lark, whose strings are JSON's.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
