//! Limits of one grammar, and of all that are kept.

use std::time::Duration;

use llguidance::api::ParserLimits;
use serde_json::Value;

use crate::source::{GrammarError, GrammarSource};

/// Limits of one grammar, and of all that are kept.
#[derive(Debug, Clone)]
pub struct CompilerLimits {
    /// Bytes of a schema or grammar.
    pub source_bytes: usize,
    /// Values within values in a schema, and brackets within brackets in a grammar.
    pub depth: usize,
    /// Values in a schema.
    pub nodes: usize,
    /// Maximum CPU time to compile a grammar.
    pub compile_time: Duration,
    /// Maximum wall-clock time to compile a grammar, for machines too busy to give it CPU time.
    pub compile_wall_time: Duration,
    /// Bytes of the compiled grammars that are kept, about.
    pub cached_bytes: usize,
    /// Number of the compiled grammars that are kept.
    pub cached_grammars: usize,
}

impl Default for CompilerLimits {
    fn default() -> CompilerLimits {
        CompilerLimits {
            source_bytes: 256 << 10,
            depth: 64,
            nodes: 50_000,
            compile_time: Duration::from_secs(2),
            compile_wall_time: Duration::from_secs(30),
            cached_bytes: 64 << 20,
            cached_grammars: 256,
        }
    }
}

impl CompilerLimits {
    /// The limits of llguidance: some 20 ms to build the lexer, and some 20 ms for a mask.
    pub(super) fn parser(&self) -> ParserLimits {
        ParserLimits { max_lexer_states: 20_000, verbose_errors: false, ..ParserLimits::default() }
    }

    /// Checks size and nesting before anything recursive has the source.
    pub(super) fn check_source(&self, source: &GrammarSource) -> Result<(), GrammarError> {
        match source {
            GrammarSource::JsonObject => Ok(()),
            GrammarSource::JsonSchema(value) => self.check_value("schema", value),
            GrammarSource::StructuralTag(value) => self.check_value("structural tag", value),
            GrammarSource::Regex(text) => self.check_text("regular expression", text),
            GrammarSource::Gbnf(text)
            | GrammarSource::Lark(text)
            | GrammarSource::Calls { lark: text, .. } => self.check_text("grammar", text),
            GrammarSource::Choice(choices) => {
                self.check_bytes("list of choices", choices.iter().map(|c| c.len() + 4).sum())
            }
        }
    }

    fn check_bytes(&self, what: &str, n_bytes: usize) -> Result<(), GrammarError> {
        if n_bytes > self.source_bytes {
            let most = self.source_bytes;
            return Err(GrammarError::whole(format!("the {what} has more than {most} bytes: simplify it")));
        }
        Ok(())
    }

    fn check_text(&self, what: &str, text: &str) -> Result<(), GrammarError> {
        self.check_bytes(what, text.len())?;
        // Brackets in texts and classes count too: no more than a stricter limit.
        let mut depth = 0_usize;
        for byte in text.bytes() {
            match byte {
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > 4 * self.depth {
                return Err(GrammarError::whole(format!("the {what} is nested too deeply: simplify it")));
            }
        }
        Ok(())
    }

    /// Checks bytes, nesting and number of a value's parts.
    pub(super) fn check_value(&self, what: &str, value: &Value) -> Result<(), GrammarError> {
        let (mut n_nodes, mut n_bytes) = (0_usize, 0_usize);
        let mut todo = vec![(value, 0)];
        while let Some((value, depth)) = todo.pop() {
            n_nodes += 1;
            n_bytes += match value {
                Value::String(text) => text.len() + 2,
                Value::Object(map) => map.keys().map(|k| k.len() + 4).sum(),
                Value::Number(number) => number.as_str().len(),
                _ => 4,
            };
            self.check_bytes(what, n_bytes)?;
            if depth > self.depth {
                let most = self.depth;
                return Err(GrammarError::whole(format!(
                    "the {what} is nested more than {most} deep: simplify it"
                )));
            }
            if n_nodes > self.nodes {
                let most = self.nodes;
                return Err(GrammarError::whole(format!(
                    "the {what} has more than {most} values: simplify it"
                )));
            }
            match value {
                Value::Array(items) => todo.extend(items.iter().map(|v| (v, depth + 1))),
                Value::Object(map) => todo.extend(map.values().map(|v| (v, depth + 1))),
                _ => {}
            }
        }
        Ok(())
    }
}
