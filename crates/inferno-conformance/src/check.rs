//! A check: its name, the rule's source, and the loss of a client where a server breaks the rule.

use crate::dialect;
use crate::probe::{Probe, Verdict};

/// An API that servers offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenAI's chat completions, and the list of models.
    Chat,
    /// OpenAI's completions.
    Completions,
    /// OpenAI's Responses.
    Responses,
    /// Anthropic's Messages.
    Messages,
    /// Ollama's API.
    Ollama,
    /// Routes of llama-server and vLLM.
    Native,
}

impl Dialect {
    /// All, in the order of reports.
    pub const ALL: [Dialect; 6] = [
        Dialect::Chat,
        Dialect::Completions,
        Dialect::Responses,
        Dialect::Messages,
        Dialect::Ollama,
        Dialect::Native,
    ];

    /// Name in flags and reports, and first word of the names of checks.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Chat => "chat",
            Dialect::Completions => "completions",
            Dialect::Responses => "responses",
            Dialect::Messages => "messages",
            Dialect::Ollama => "ollama",
            Dialect::Native => "native",
        }
    }
}

/// A rule of an API's clients.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Name: the dialect, and words behind dots.
    pub name: &'static str,
    /// The loss of a client where the rule is broken.
    pub loses: &'static str,
    /// Program or document that has the rule.
    pub source: &'static str,
    pub(crate) run: fn(&Probe<'_>) -> Verdict,
}

impl Check {
    pub(crate) const fn new(
        name: &'static str,
        source: &'static str,
        loses: &'static str,
        run: fn(&Probe<'_>) -> Verdict,
    ) -> Check {
        Check { name, loses, source, run }
    }

    /// The API whose rule it is.
    pub fn dialect(&self) -> Dialect {
        let first = self.name.split('.').next().unwrap_or_default();
        Dialect::ALL.into_iter().find(|dialect| dialect.name() == first).unwrap_or(Dialect::Native)
    }

    /// Is this the check, or one of the group, that `pattern` names: `chat.stream.done`, `chat.stream`, `chat`?
    pub fn is_named(&self, pattern: &str) -> bool {
        self.name.strip_prefix(pattern).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

/// A table of checks: name, source and function of each, then the loss of a client.
macro_rules! table {
    ($($name:literal, $source:expr, $run:path: $loses:literal;)*) => {
        &[$($crate::check::Check::new($name, $source, $loses, $run)),*]
    };
}
pub(crate) use table;

/// All checks, dialect by dialect.
pub fn checks() -> Vec<Check> {
    dialect::CHECKS.iter().flat_map(|checks| checks.iter().copied()).collect()
}
