//! Answers that a schema constrains, beside answers of the same lengths without one.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use inferno_engine::Grammar;
use inferno_grammar::{Compiled, Compiler, CompilerLimits, GrammarSource};
use inferno_text::Tokenizer;

use super::drive::Run;
use super::workload::{Arrival, Part, Workload};

/// Tokens of every prompt: few, so that the time is the answers'.
const N_PROMPT: usize = 16;

/// A compiled schema, for the vocabulary of the model.
pub(super) struct Schema {
    compiled: Arc<Compiled>,
    /// Tokens that end an answer.
    pub(super) eos_tokens: Vec<u32>,
}

impl Schema {
    /// Reads and compiles the schema in the file at `path`.
    pub(super) fn read(path: &Path, tokenizer: Tokenizer) -> Result<Schema> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let what = || format!("cannot use `{}` as a schema", path.display());
        let schema = serde_json::from_str(&text).with_context(what)?;
        let eos_tokens = tokenizer.end_of_generation().to_vec();
        let compiler = Compiler::new(Arc::new(tokenizer), CompilerLimits::default());
        let compiled = compiler.compile(&GrammarSource::JsonSchema(schema)).with_context(what)?;
        Ok(Schema { compiled, eos_tokens })
    }

    /// The grammar of an answer of up to `max_tokens`.
    pub(super) fn grammar(&self, max_tokens: usize) -> Box<dyn Grammar> {
        Box::new(self.compiled.constrain(max_tokens))
    }

    /// Requests whose answers have `max_tokens` at most, and no fewer than the schema needs.
    pub(super) fn arrivals(&self, n_requests: usize, max_tokens: usize) -> Vec<Arrival> {
        let n_completion = max_tokens.max(self.compiled.shortest());
        let parts = |id| vec![Part { id, end: N_PROMPT }];
        (0..n_requests as u64).map(|id| Arrival { at: 0.0, parts: parts(id), n_completion }).collect()
    }
}

/// The same requests, with the lengths of the answers in `run`.
pub(super) fn with_lengths_of(workload: &Workload, run: &Run) -> Workload {
    let mut workload = workload.clone();
    for (arrival, served) in workload.arrivals.iter_mut().zip(&run.served) {
        arrival.n_completion = served.tokens.len();
    }
    workload
}
