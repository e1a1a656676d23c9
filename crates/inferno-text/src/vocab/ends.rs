//! Which tokens end a generation. Files do not say it reliably, so, as in llama.cpp (`src/llama-vocab.cpp`),
//! it also goes by what tokens are called.

use inferno_format::Metadata;

use super::fill::{self, FillTokens};
use super::{TokenKind, Vocab};

/// Tokens that end a turn or a text, in the families there are.
const ENDS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];

/// Padding of fill-in-the-middle.
const PADS: &[&str] = &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"];

/// Of the above, what is also HTML. Vocabularies have HTML's tags as tokens (Gemma's, of the kind user-defined), so
/// these go by what the file says of them.
const HTML: &[&str] = &["</s>", "<PRE>"];

/// What the names above start with: `<`, `_`, `[` or `▁`.
const FIRST_BYTES: &[u8] = b"<_[\xe2";

impl Vocab {
    /// Finds the tokens that end a generation, and makes control tokens of those that the file has as something
    /// else. `is_word` says of a token that text can lead to it by merges: then it is text, whatever it looks like.
    pub(crate) fn find_ends(&mut self, m: &Metadata, is_word: impl Fn(&str) -> bool) {
        let mut ends: Vec<u32> = [self.eos, self.eot, self.eom].into_iter().flatten().collect();
        for key in ["fim_pad", "fim_rep", "fim_sep"] {
            let id = m.opt_u32(&format!("tokenizer.ggml.{key}_token_id")).ok().flatten();
            ends.extend(id.filter(|&id| (id as usize) < self.len()));
        }
        self.fill = FillTokens::of_metadata(m, self.len());
        let mut named = [None; 4]; // <|end|>, <|return|>, a call, <|flush|>
        for id in self.ids() {
            let marked = self.texts.get(id).filter(|t| t.first().is_some_and(|b| FIRST_BYTES.contains(b)));
            let Some(text) = marked.and_then(|t| std::str::from_utf8(t).ok()) else { continue };
            // After a token of padding, of a repository or of a file nothing of use comes.
            let is_end = ENDS.contains(&text) || PADS.contains(&text) || fill::starts_file(text);
            if !is_end && !fill::is_part(text) || self.kind(id) == Some(TokenKind::Normal) && is_word(text) {
                continue;
            }
            let is_named = ends.contains(&id) || self.kind(id) == Some(TokenKind::Control);
            if HTML.contains(&text) && !is_named {
                continue;
            }
            self.kinds[id as usize] = TokenKind::Control;
            if is_end {
                ends.push(id);
            }
            self.fill.note(text, id);
            match text {
                "<|end|>" => named[0] = Some(id),
                "<|return|>" => named[1] = Some(id),
                "<|call|>" | "<|calls|>" => named[2] = Some(id),
                "<|flush|>" => named[3] = Some(id),
                _ => {}
            }
        }
        // Where a message ends with one token and a turn with another, the first is no end.
        if let [Some(end), a, Some(_), b] = named
            && (a.is_some() || b.is_some())
        {
            ends.retain(|&id| id != end);
        }
        ends.sort_unstable();
        ends.dedup();
        self.ends = ends;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_starts_with_a_byte_that_is_looked_for() {
        for name in [ENDS, PADS].into_iter().flatten().copied().chain(fill::names()) {
            assert!(FIRST_BYTES.contains(&name.as_bytes()[0]), "{name}");
        }
    }
}
