//! The part of a vocabulary that templates depend on, and rendered prompts.

use serde::{Deserialize, Serialize};

use crate::bounds::{Bounds, Meter, Stopped};
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
    pub(super) fn push_text(&mut self, text: &str) {
        match self.parts.last_mut() {
            _ if text.is_empty() => {}
            Some(RenderedPart::Text(last)) => last.push_str(text),
            _ => self.parts.push(RenderedPart::Text(text.to_owned())),
        }
    }

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
        let no_limit = self.encode_rendered_within(rendered, Bounds::NONE);
        no_limit.expect("it has no limits but memory, without which nothing goes on")
    }

    /// Tokens of a prompt, as [`encode_rendered`](Self::encode_rendered) has them, within `bounds`.
    ///
    /// # Errors
    /// Those of [`encode_within`](Self::encode_within).
    pub fn encode_rendered_within(
        &self,
        rendered: &Rendered,
        bounds: Bounds<'_>,
    ) -> Result<Vec<u32>, Stopped> {
        let mut meter = Meter::new(bounds);
        let mut ids = Vec::new();
        let least = || {
            let least = |part: &RenderedPart| match part {
                RenderedPart::Token(_) => 1,
                RenderedPart::Text(text) => self.least_tokens(text),
            };
            rendered.parts.iter().map(least).sum()
        };
        if self.begin(rendered.n_bytes(self), least, &mut meter, &mut ids) {
            let parts = self.parts(rendered, &mut meter);
            ids.extend(self.bos().filter(|&bos| self.add_bos() && parts.first() != Some(&Part::Token(bos))));
            self.encode_parts(&parts, true, &mut meter, &mut ids);
            meter.goes_on(ids.len());
        }
        meter.finish().map(|()| ids)
    }

    fn parts<'r>(&self, rendered: &'r Rendered, meter: &mut Meter<'_>) -> Vec<Part<'r>> {
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
                    parts.extend(self.special.partition_within(text, Special::AsText, meter));
                    strips = false;
                }
            }
        }
        parts
    }
}
