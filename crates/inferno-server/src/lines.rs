//! Limits of llama-server that end an answer at a line, for completions in editors: its indentation, and the time it took.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use inferno_engine::StopCondition;
use inferno_text::{TokenKind, Tokenizer};

/// Limits that end an answer at a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LineLimits {
    /// Spaces and tabs that each line but the first begins with; 0 is any number.
    pub(crate) n_indent: usize,
    /// Time from the first token on after which the answer ends with its next line break.
    pub(crate) time: Option<Duration>,
}

/// Searches an answer for a line with less indentation than is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Indentation {
    least: usize,
    /// Spaces and tabs at the start of the current line so far; `None` behind them, and in the first line.
    n_blank: Option<usize>,
}

impl Indentation {
    pub(crate) fn new(least: usize) -> Indentation {
        Indentation { least, n_blank: None }
    }

    /// Takes more of the answer's text. Returns the place in `text` at which a line begins with too little indentation, behind
    /// the blanks that it has.
    pub(crate) fn push(&mut self, text: &[u8]) -> Option<usize> {
        if self.least == 0 {
            return None;
        }
        for (at, byte) in text.iter().enumerate() {
            self.n_blank = match (byte, self.n_blank) {
                (b'\n', _) => Some(0),
                (b' ' | b'\t', Some(n)) => Some(n + 1),
                (_, Some(n)) if n < self.least => return Some(at),
                _ => None,
            };
        }
        None
    }
}

/// Ends a completion by its stop strings, which are `inner`, or by its lines.
struct AtLine {
    inner: Option<Box<dyn StopCondition>>,
    tokenizer: Arc<Tokenizer>,
    indentation: Indentation,
    time: Option<Duration>,
    started: Option<Instant>,
    is_over: Arc<AtomicBool>,
}

impl LineLimits {
    /// The stop condition of a choice with these limits beside `inner`, and whether they have ended it.
    pub(crate) fn beside(
        self,
        inner: Option<Box<dyn StopCondition>>,
        tokenizer: &Arc<Tokenizer>,
    ) -> (Box<dyn StopCondition>, Arc<AtomicBool>) {
        let is_over = Arc::<AtomicBool>::default();
        let stop = AtLine {
            inner,
            tokenizer: Arc::clone(tokenizer),
            indentation: Indentation::new(self.n_indent),
            time: self.time,
            started: None,
            is_over: Arc::clone(&is_over),
        };
        (Box::new(stop), is_over)
    }
}

impl StopCondition for AtLine {
    fn commit(&mut self, token: u32) {
        if let Some(inner) = &mut self.inner {
            inner.commit(token);
        }
        let started = *self.started.get_or_insert_with(Instant::now);
        if self.tokenizer.token_kind(token) == Some(TokenKind::Control) {
            return;
        }
        let text = self.tokenizer.piece(token).unwrap_or_default();
        let is_late = self.time.is_some_and(|time| started.elapsed() > time);
        if self.indentation.push(text).is_some() || is_late && text.contains(&b'\n') {
            self.is_over.store(true, Ordering::Release);
        }
    }

    fn finished(&self) -> bool {
        self.is_over.load(Ordering::Acquire) || self.inner.as_ref().is_some_and(|inner| inner.finished())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_less_indentation_ends_where_its_text_begins() {
        for (text, least, end) in [
            ("a\n  b\n c", 2, Some(7)),
            ("a\n\tb\n\n  c\n", 1, None),
            ("a\nb", 1, Some(2)),
            ("a\nb", 0, None),
            // The first line goes on from the prompt.
            ("a", 4, None),
        ] {
            let whole = Indentation::new(least).push(text.as_bytes());
            assert_eq!(whole, end, "{text:?}");
            // However the text is cut into pieces.
            let mut pieces = Indentation::new(least);
            let found = text.bytes().position(|byte| pieces.push(&[byte]).is_some());
            assert_eq!(found, end, "{text:?}");
        }
    }
}
