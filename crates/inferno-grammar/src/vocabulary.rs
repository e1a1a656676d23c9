//! The tokens of a model as llguidance wants them: a trie of their bytes, and a tokenizer for what is forced.

use std::sync::Arc;

use inferno_text::{Special, TokenKind, Tokenizer};
use toktrie::{INVALID_TOKEN, TokEnv, TokRxInfo, TokTrie, TokenizerEnv};

/// A tokenizer and the trie of its tokens. Control tokens and those that end a generation are no text.
struct Vocabulary {
    tokenizer: Arc<Tokenizer>,
    trie: TokTrie,
}

/// Builds the trie: about 0.1 s and 10 MB for 150,000 tokens.
pub(crate) fn vocabulary(tokenizer: Arc<Tokenizer>) -> TokEnv {
    let ends = tokenizer.end_of_generation();
    let words: Vec<Vec<u8>> = (0..tokenizer.vocab_size() as u32).map(|id| word(&tokenizer, id)).collect();
    let info = TokRxInfo::new(words.len() as u32, ends.first().copied().unwrap_or(INVALID_TOKEN));
    let mut trie = TokTrie::from(&info, &words);
    if !ends.is_empty() {
        trie = trie.with_eos_tokens(ends);
    }
    Arc::new(Vocabulary { tokenizer, trie })
}

/// The bytes of a token in the trie; none for a token that has no place in any answer.
fn word(tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
    let is_end = tokenizer.end_of_generation().contains(&id);
    match tokenizer.token_kind(id) {
        Some(TokenKind::Control) => special(tokenizer, id),
        _ if is_end => special(tokenizer, id),
        Some(TokenKind::Normal | TokenKind::UserDefined | TokenKind::Byte) => {
            let piece = tokenizer.piece(id).unwrap_or_default();
            // The marker's byte is in no UTF-8.
            if piece.first() == Some(&TokTrie::SPECIAL_TOKEN_MARKER) { Vec::new() } else { piece.to_vec() }
        }
        Some(TokenKind::Unknown | TokenKind::Unused) | None => Vec::new(),
    }
}

fn special(tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
    let text = tokenizer.token_text(id).unwrap_or_default();
    [&[TokTrie::SPECIAL_TOKEN_MARKER], text.as_bytes()].concat()
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<u32> {
        self.trie.tokenize_with_greedy_fallback(bytes, |text| {
            self.tokenizer.encode_continuation(text, Special::AsText)
        })
    }
}
