//! Failures of templates.

/// Reason a template stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fail {
    /// `raise_exception`, with the template's words.
    Raised(String),
    /// More steps than allowed.
    OutOfFuel,
    /// More output than allowed.
    OutputTooLong,
    /// Something that cannot be done, and the line of the template if known.
    Error { line: u32, reason: String },
}

pub(crate) type Result<T, E = Fail> = std::result::Result<T, E>;

/// An error whose line is found on its way out.
pub(crate) fn error(reason: impl Into<String>) -> Fail {
    Fail::Error { line: 0, reason: reason.into() }
}

/// A limit of one operation.
pub(crate) fn refused(what: &str) -> Fail {
    error(format!("{what} in one call"))
}

impl Fail {
    /// The same with a line, if it has none.
    pub(crate) fn at(self, line: u32) -> Fail {
        match self {
            Fail::Error { line: 0, reason } => Fail::Error { line, reason },
            other => other,
        }
    }
}
