//! Texts of Lark in which some are control tokens.

use inferno_text::{TokenKind, Tokenizer};
use serde_json::Value;
use toktrie::TokTrie;

/// A part of a mark.
enum Part {
    Text(String),
    Control(u32),
}

/// Control tokens by their texts.
pub(crate) struct Marks {
    /// Texts and tokens, the longest text first.
    controls: Vec<(String, u32)>,
    /// Tokens that end a generation: an answer is over before them.
    ends: Vec<u32>,
}

impl Marks {
    /// `controls`: texts and their tokens, in any order.
    pub(crate) fn new(controls: impl Iterator<Item = (String, u32)>, tokenizer: &Tokenizer) -> Marks {
        let mut controls: Vec<_> = controls.filter(|(text, _)| !text.is_empty()).collect();
        controls.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        Marks { controls, ends: tokenizer.end_of_generation().to_vec() }
    }

    /// All control tokens of a vocabulary.
    pub(crate) fn of_vocabulary(tokenizer: &Tokenizer) -> Marks {
        let ids = (0..tokenizer.vocab_size() as u32)
            .filter(|&id| tokenizer.token_kind(id) == Some(TokenKind::Control));
        Marks::new(ids.filter_map(|id| Some((tokenizer.token_text(id)?.to_owned(), id))), tokenizer)
    }

    /// Where the first control token of `text` begins.
    pub(crate) fn control_in(&self, text: &str) -> Option<usize> {
        self.controls.iter().filter_map(|(control, _)| text.find(control.as_str())).min()
    }

    /// `text` as Lark, up to a token that ends generations: the answer is over before it.
    pub(crate) fn to_end(&self, text: &str) -> String {
        self.written(text, &self.ends)
    }

    /// `text` as Lark, with tokens that end generations.
    pub(crate) fn whole(&self, text: &str) -> String {
        self.written(text, &[])
    }

    /// The bytes of `text`, up to a token that ends generations, as llguidance writes them: a control token is `FF`, and its
    /// number in brackets.
    pub(crate) fn bytes(&self, text: &str) -> Vec<u8> {
        let bytes_of = |part: Part| match part {
            Part::Text(text) => text.into_bytes(),
            Part::Control(id) => [&[TokTrie::SPECIAL_TOKEN_MARKER], format!("[{id}]").as_bytes()].concat(),
        };
        self.parts(text, &self.ends).into_iter().flat_map(bytes_of).collect()
    }

    fn written(&self, text: &str, ends: &[u32]) -> String {
        let lark_of = |part: &Part| match part {
            Part::Text(text) => quoted(text),
            Part::Control(id) => format!("<[{id}]>"),
        };
        let items: Vec<String> = self.parts(text, ends).iter().map(lark_of).collect();
        if items.is_empty() { "\"\"".to_owned() } else { items.join(" ") }
    }

    /// Texts and control tokens of `text`, up to one of `ends`.
    fn parts(&self, text: &str, ends: &[u32]) -> Vec<Part> {
        let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), text);
        while let Some(c) = rest.chars().next() {
            match self.controls.iter().find(|(control, _)| rest.starts_with(control.as_str())) {
                Some((_, id)) if ends.contains(id) => break,
                Some((control, id)) => {
                    if !literal.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut literal)));
                    }
                    parts.push(Part::Control(*id));
                    rest = &rest[control.len()..];
                }
                None => {
                    literal.push(c);
                    rest = &rest[c.len_utf8()..];
                }
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        parts
    }
}

/// A literal of Lark, whose strings are JSON's.
pub(crate) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A text as a regular expression between slashes has it.
pub(crate) fn literal(text: &str) -> String {
    text.chars().map(|c| format!("\\x{{{:X}}}", u32::from(c))).collect()
}
