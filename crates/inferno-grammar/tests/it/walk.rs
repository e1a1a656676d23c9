//! Vocabularies, and walks of texts through masks.

use std::sync::Arc;

use inferno_engine::{Grammar, TokenMask};
use inferno_format::{Array, Gguf, Metadata, Strings, Value};
use inferno_grammar::{Compiled, Compiler, CompilerLimits, GrammarError, GrammarSource};
use inferno_text::{Special, Tokenizer};

/// A vocabulary of all bytes, some words of JSON, and the end.
pub(crate) fn small_tokenizer() -> Arc<Tokenizer> {
    small_tokenizer_with(&[])
}

/// The same, with these control tokens.
pub(crate) fn small_tokenizer_with(controls: &[&str]) -> Arc<Tokenizer> {
    small_tokenizer_ending("<|end|>", controls)
}

/// The same, with this token as the end.
pub(crate) fn small_tokenizer_ending(end_text: &str, controls: &[&str]) -> Arc<Tokenizer> {
    // GPT-2's characters for bytes.
    let printable = |b: u32| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut other = 256;
    let mut tokens: Vec<String> = Vec::new();
    for byte in 0..256 {
        let code = if printable(byte) {
            byte
        } else {
            other += 1;
            other - 1
        };
        tokens.push(char::from_u32(code).unwrap().to_string());
    }
    let merges = [
        "{ \"", "\" :", "Ġ \"", "\" ,", "\" }", "n a", "na m", "nam e", "t r", "tr u", "tru e", "Ġ {", "[ ]",
        "{ }", "\" \"", "1 2",
    ];
    for merge in merges {
        tokens.push(merge.replace(' ', ""));
    }
    tokens.push(end_text.to_owned());
    let end = tokens.len() as u32 - 1;
    let mut kinds = vec![1; tokens.len()];
    kinds[end as usize] = 3;
    for control in controls {
        tokens.push((*control).to_owned());
        kinds.push(3);
    }
    let strings = |texts: &[String]| Value::Array(Array::String(texts.iter().collect::<Strings>()));
    let mut m = Metadata::default();
    m.set("tokenizer.ggml.model", Value::String("gpt2".into()));
    m.set("tokenizer.ggml.tokens", strings(&tokens));
    m.set("tokenizer.ggml.merges", strings(&merges.map(str::to_owned)));
    m.set("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)));
    m.set("tokenizer.ggml.eos_token_id", Value::U32(end));
    Arc::new(Tokenizer::from_metadata(&m).unwrap())
}

/// Qwen3's vocabulary: 151,936 tokens; `None`, said aloud, where there is no data.
pub(crate) fn qwen3() -> Option<Arc<Tokenizer>> {
    let path = xtask::testing::data("tokenizers")?.join("qwen3-vocab.gguf");
    let metadata = Gguf::open(&path).unwrap().metadata().clone();
    Some(Arc::new(Tokenizer::from_metadata(&metadata).unwrap()))
}

/// A compiler, and walks through what it compiles.
pub(crate) struct Walker {
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) compiler: Compiler,
}

impl Walker {
    pub(crate) fn new(tokenizer: Arc<Tokenizer>) -> Walker {
        let compiler = Compiler::new(tokenizer.clone(), CompilerLimits::default());
        Walker { tokenizer, compiler }
    }

    pub(crate) fn small() -> Walker {
        Walker::new(small_tokenizer())
    }

    pub(crate) fn compile(&self, source: &GrammarSource) -> Result<Arc<Compiled>, GrammarError> {
        self.compiler.compile(source)
    }

    /// Whether these tokens as a whole are an answer.
    pub(crate) fn takes(&self, compiled: &Compiled, tokens: &[u32]) -> bool {
        let mut constraint = compiled.constrain(1 << 20);
        let mut mask = TokenMask::new(self.tokenizer.vocab_size());
        for &token in tokens {
            mask.allow_all();
            constraint.mask(&mut mask);
            if constraint.finished() || constraint.failure().is_some() || !mask.is_allowed(token) {
                return false;
            }
            constraint.commit(token);
        }
        if constraint.finished() {
            return true;
        }
        mask.allow_all();
        constraint.mask(&mut mask);
        self.tokenizer.end_of_generation().iter().any(|&end| mask.is_allowed(end))
    }

    /// Whether `text` as a whole is an answer: its tokens are allowed one by one, and so is its end.
    pub(crate) fn accepts(&self, compiled: &Compiled, text: &str) -> Result<(), String> {
        let mut constraint = compiled.constrain(1 << 20);
        let mut mask = TokenMask::new(self.tokenizer.vocab_size());
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            if constraint.finished() {
                return Err(format!("the answer is over before {:?}", String::from_utf8_lossy(rest)));
            }
            mask.allow_all();
            constraint.mask(&mut mask);
            if let Some(failure) = constraint.failure() {
                return Err(failure.to_owned());
            }
            let token = self
                .next_token(&mask, rest)
                .ok_or_else(|| format!("not allowed: {:?}", String::from_utf8_lossy(rest)))?;
            rest = &rest[self.tokenizer.piece(token).unwrap().len()..];
            constraint.commit(token);
        }
        if constraint.finished() {
            return Ok(());
        }
        mask.allow_all();
        constraint.mask(&mut mask);
        let ends = self.tokenizer.end_of_generation();
        match ends.iter().any(|&end| mask.is_allowed(end)) {
            true => Ok(()),
            false => Err("the answer is not over at the end of the text".to_owned()),
        }
    }

    /// The token that a model would write, or the longest one that is allowed.
    fn next_token(&self, mask: &TokenMask, rest: &[u8]) -> Option<u32> {
        let near = &rest[..rest.len().min(64)];
        let near = near.utf8_chunks().next().map(|chunk| chunk.valid()).unwrap_or_default();
        let first = self.tokenizer.encode_continuation(near, Special::AsText).first().copied();
        let fits = |token: u32| {
            let piece = self.tokenizer.piece(token).unwrap_or_default();
            !piece.is_empty() && rest.starts_with(piece) && mask.is_allowed(token)
        };
        if let Some(token) = first.filter(|&token| fits(token)) {
            return Some(token);
        }
        (0..self.tokenizer.vocab_size() as u32)
            .filter(|&token| fits(token))
            .max_by_key(|&token| self.tokenizer.piece(token).map(<[u8]>::len))
    }
}
