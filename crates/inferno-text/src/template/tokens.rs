//! The part of a vocabulary that templates depend on, and rendered prompts.

use serde::{Deserialize, Serialize};

use crate::special::{Part, Special};
use crate::tokenizer::Tokenizer;
use crate::vocab::TokenKind;

/// Texts of the tokens that a template can write: everything it needs of a vocabulary, apart from the
/// [`Tokenizer`] and ready to be sent to another process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateTokens {
    /// Control and unknown tokens, which only a template's own text may become. Those whose text is not UTF-8 are
    /// left out.
    pub reserved: Vec<(u32, String)>,
    /// `bos_token` of templates.
    pub bos: Option<String>,
    /// `eos_token` of templates.
    pub eos: Option<String>,
    /// `unk_token` of templates.
    pub unknown: Option<String>,
}

impl TemplateTokens {
    pub(crate) fn of(tokenizer: &Tokenizer) -> TemplateTokens {
        let text = |id: Option<u32>| id.and_then(|id| tokenizer.token_text(id)).map(str::to_owned);
        let is_reserved =
            |id: u32| matches!(tokenizer.token_kind(id), Some(TokenKind::Control | TokenKind::Unknown));
        let reserved = tokenizer.vocab.ids().filter(|&id| is_reserved(id));
        TemplateTokens {
            reserved: reserved.filter_map(|id| Some((id, text(Some(id))?))).collect(),
            bos: text(tokenizer.bos()),
            eos: text(tokenizer.eos()),
            unknown: text(tokenizer.unknown()),
        }
    }
}

/// A prompt as a template wrote it: control tokens, and plain text between them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rendered {
    /// In order; no two texts follow each other, and none is empty.
    pub parts: Vec<RenderedPart>,
}

/// A part of a [`Rendered`] prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RenderedPart {
    /// A control or unknown token that the template itself wrote.
    Token(u32),
    /// Text of the template or of the messages. A control token's name in it is text.
    Text(String),
}

impl Rendered {
    /// The prompt as text, to look at. It does not show which control tokens are the template's, so that its
    /// tokens may differ from those of [`Tokenizer::encode_rendered`].
    pub fn text(&self, tokenizer: &Tokenizer) -> String {
        let text = |part| match part {
            &RenderedPart::Token(id) => tokenizer.token_text(id).unwrap_or_default(),
            RenderedPart::Text(text) => text,
        };
        self.parts.iter().map(text).collect()
    }

    /// Plain text alone, which is where probes look for theirs.
    pub(super) fn probe_text(&self) -> String {
        let text = |part| match part {
            &RenderedPart::Token(_) => "",
            RenderedPart::Text(text) => text.as_str(),
        };
        self.parts.iter().map(text).collect()
    }

    /// Length of [`text`](Self::text) in bytes.
    pub fn n_bytes(&self, tokenizer: &Tokenizer) -> usize {
        let len = |part| match part {
            &RenderedPart::Token(id) => tokenizer.token_text(id).map_or(0, str::len),
            RenderedPart::Text(text) => text.len(),
        };
        self.parts.iter().map(len).sum()
    }
}

impl Tokenizer {
    /// The part of the vocabulary that chat templates need.
    pub fn template_tokens(&self) -> TemplateTokens {
        TemplateTokens::of(self)
    }

    /// Tokens of a prompt. [`bos`](Self::bos) is added in front if the model wants one and the template did not
    /// write it.
    pub fn encode_rendered(&self, rendered: &Rendered) -> Vec<u32> {
        let mut parts = Vec::with_capacity(rendered.parts.len());
        let mut strips = false;
        for part in &rendered.parts {
            match part {
                &RenderedPart::Token(id) => {
                    parts.push(Part::Token(id));
                    strips = self.special.strips_right(id);
                }
                RenderedPart::Text(text) => {
                    let text = if strips { crate::special::without_leading_space(text) } else { text };
                    parts.extend(self.special.partition(text, Special::AsText));
                    strips = false;
                }
            }
        }
        let mut ids = Vec::with_capacity(self.vocab.len().min(1024));
        ids.extend(self.bos().filter(|&bos| self.add_bos() && parts.first() != Some(&Part::Token(bos))));
        self.encode_parts(&parts, &mut ids);
        ids
    }
}
