//! Why a template gives no prompt.

use serde::{Deserialize, Serialize};

/// A template cannot be used, or does not take these messages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum TemplateError {
    /// The template is not Jinja, as far as it is understood here.
    #[error("chat template does not parse: {reason} (line {line})")]
    Syntax {
        /// The line of the template, from 1; 0 if unknown.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The template refuses the messages, in its own words (`raise_exception`).
    #[error("chat template refuses the messages: {reason}")]
    Refused {
        /// The template's words.
        reason: String,
    },
    /// The template does something that cannot be done, often with a field the messages lack.
    #[error("chat template stops at line {line}: {reason}")]
    Stopped {
        /// The line of the template, from 1; 0 if unknown.
        line: usize,
        /// What it could not do.
        reason: String,
    },
    /// The template took too many steps.
    #[error("chat template takes too many steps for these messages")]
    OutOfFuel,
    /// The template wrote too much.
    #[error("chat template writes more than {limit} bytes")]
    OutputTooLong {
        /// The most it may write.
        limit: usize,
    },
    /// The process that rendered the template reached its limit of memory.
    #[error("chat template takes more than {mib} MiB of memory")]
    OutOfMemory {
        /// The limit.
        mib: u64,
    },
    /// The process that rendered the template reached the end of its stack.
    #[error("chat template nests expressions or values too deep")]
    OutOfStack,
    /// The process that rendered the template was ended at its deadline.
    #[error("chat template takes more than {seconds} s")]
    OutOfTime {
        /// The deadline.
        seconds: u64,
    },
    /// The process that rendered the template ended, or gave an answer that is none.
    #[error("the process that renders the chat template failed: {reason}")]
    Crashed {
        /// Its last message.
        reason: String,
    },
    /// No process can be started to render the template in.
    #[error("cannot start the process that renders the chat template: {reason}")]
    NoProcess {
        /// The system's message.
        reason: String,
    },
    /// A message is not an object, or its role is not a short name.
    #[error("message {index} has no `role` of 1 to 64 letters, digits, `_`, `-` and `.`")]
    Role {
        /// Which message, from 0.
        index: usize,
    },
    /// An extra variable is not a string, number, bool or null, or has a name that is spoken for.
    #[error("template variable `{name}` must be a scalar and not one that is set by other means")]
    Variable {
        /// Its name.
        name: String,
    },
}
