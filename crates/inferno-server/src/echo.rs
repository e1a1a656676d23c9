//! A prompt in front of its completion.

use inferno_text::{TokenKind, TokenSpan, Tokenizer};

use crate::completion::Prompt;

/// The text of a prompt, and where its tokens are in it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Echo {
    text: String,
    n_chars: usize,
    /// (n_tokens,) the character at which each token starts
    offsets: Vec<u32>,
}

impl Echo {
    /// `tokens` are those of `prompt`. A start token in front of them is no part of the text, unless the client wrote it.
    pub(crate) fn new(tokenizer: &Tokenizer, prompt: &Prompt, tokens: &[u32]) -> Echo {
        let starts = tokenizer.add_bos() && tokens.first().copied() == tokenizer.bos();
        let decode = |n_hidden: usize| {
            tokenizer.decode_spans(tokens, n_hidden).expect("a prompt's tokens are the vocabulary's")
        };
        let (text, spans) = decode(usize::from(starts));
        let Prompt::Text(written) = prompt else { return Echo::of(text, &spans) };
        if text == *written {
            return Echo::of(text, &spans);
        }
        if starts {
            let (text, spans) = decode(0);
            if text == *written {
                return Echo::of(text, &spans);
            }
        }
        let offsets = aligned(tokenizer, &text, &spans, written);
        Echo { n_chars: written.chars().count(), text: written.clone(), offsets }
    }

    fn of(text: String, spans: &[TokenSpan]) -> Echo {
        let offsets = spans.iter().map(|span| span.chars.start as u32).collect();
        Echo { n_chars: text.chars().count(), text, offsets }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn n_chars(&self) -> usize {
        self.n_chars
    }

    /// The character of the text at which a token starts.
    pub(crate) fn offset(&self, token_idx: usize) -> usize {
        self.offsets[token_idx] as usize
    }
}

/// Where tokens start in the text that was `written`, which they do not give back to the letter: some vocabularies drop the
/// space behind a control token, or write `<unk>` for what they cannot say.
fn aligned(tokenizer: &Tokenizer, text: &str, spans: &[TokenSpan], written: &str) -> Vec<u32> {
    let decoded: Vec<char> = text.chars().collect();
    let written: Vec<char> = written.chars().collect();
    // decoded:  [ done: has its place in what was written )
    // written:  [ at: the next that has no token yet )
    let (mut done, mut at) = (0usize, 0usize);
    // Bytes of the character at `at` that are unknown tokens.
    let mut n_unknown = 0;
    let mut offsets = Vec::with_capacity(spans.len());
    for TokenSpan { token, chars, .. } in spans {
        if tokenizer.token_kind(*token) == Some(TokenKind::Unknown) {
            offsets.push(at as u32);
            n_unknown += 1;
            if written.get(at).is_some_and(|c| c.len_utf8() <= n_unknown) {
                (at, n_unknown) = (at + 1, 0);
            }
            done = chars.end;
            continue;
        }
        if std::mem::take(&mut n_unknown) > 0 {
            at = (at + 1).min(written.len());
        }
        // A token may begin within the character before.
        let mut start = (chars.start < done).then(|| at.saturating_sub(1));
        for &c in decoded.get(chars.start.max(done)..chars.end).unwrap_or_default() {
            let n_blank = written[at..].iter().take_while(|w| w.is_whitespace()).count();
            if written.get(at) != Some(&c) && written.get(at + n_blank) == Some(&c) {
                at += n_blank;
            }
            start.get_or_insert(at);
            at += usize::from(written.get(at) == Some(&c));
        }
        offsets.push(start.unwrap_or(at) as u32);
        done = done.max(chars.end);
    }
    offsets
}

#[cfg(test)]
mod tests;
