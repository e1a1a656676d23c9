//! Compiles grammars for one vocabulary, and keeps those that were asked for lately.

use std::sync::Arc;
use std::time::Duration;

use inferno_text::Tokenizer;

use crate::constraint::Constraint;
use crate::source::{GrammarError, GrammarSource};

/// Limits of one grammar, and of all that are kept.
#[derive(Debug, Clone)]
pub struct CompilerLimits {
    /// Bytes of a schema or grammar.
    pub source_bytes: usize,
    /// Time to compile one.
    pub compile_time: Duration,
    /// Bytes of the compiled grammars that are kept, about.
    pub cached_bytes: usize,
}

impl Default for CompilerLimits {
    fn default() -> CompilerLimits {
        CompilerLimits {
            source_bytes: 256 << 10,
            compile_time: Duration::from_secs(2),
            cached_bytes: 64 << 20,
        }
    }
}

/// Compiles grammars for the vocabulary of one model.
#[derive(Debug)]
pub struct Compiler {
    _tokenizer: Arc<Tokenizer>,
    _limits: CompilerLimits,
}

/// A compiled grammar: shared by all choices of all requests that ask for it.
#[derive(Debug)]
pub struct Compiled {
    _private: (),
}

impl Compiler {
    /// Reads the vocabulary once.
    pub fn new(tokenizer: Arc<Tokenizer>, limits: CompilerLimits) -> Compiler {
        Compiler { _tokenizer: tokenizer, _limits: limits }
    }

    /// The compiled form of `source`, from the cache if it is there. It may take long: not for a thread that has sockets.
    ///
    /// # Errors
    /// The source is malformed, cannot be kept, or takes more than the limits.
    pub fn compile(&self, source: &GrammarSource) -> Result<Arc<Compiled>, GrammarError> {
        let reason = format!("grammars are not supported: {source:?}");
        Err(GrammarError { path: String::new(), reason })
    }
}

impl Compiled {
    /// Tokens of the shortest answer that it takes, the token that ends it included.
    pub fn shortest(&self) -> usize {
        0
    }

    /// Keywords of the schema that are not enforced, by name and place.
    pub fn unenforced(&self) -> &[String] {
        &[]
    }

    /// The constraint of one answer of at most `max_tokens` tokens. It ends within them if they are no fewer than
    /// [`shortest`](Self::shortest).
    pub fn constrain(&self, max_tokens: usize) -> Constraint {
        Constraint::new(max_tokens)
    }
}
