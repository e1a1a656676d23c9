//! Everything that can be wrong with a model file, as one type.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::foreign::Foreign;

/// The file an error is about: its path, or nothing for a model held in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileName(Option<PathBuf>);

impl FileName {
    /// The file at `path`.
    pub fn path(path: &Path) -> FileName {
        FileName(Some(path.to_owned()))
    }

    /// A model held in memory.
    pub fn memory() -> FileName {
        FileName(None)
    }

    /// The path, if there is one.
    pub fn as_path(&self) -> Option<&Path> {
        self.0.as_deref()
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(path) => write!(f, "`{}`", path.display()),
            None => f.write_str("model in memory"),
        }
    }
}

/// A model file cannot be used. Messages hold numbers and names out of the file, names only when they
/// are short and printable; never its content.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The operating system refused.
    #[error("{file}: cannot {action}")]
    Io {
        /// The file.
        file: FileName,
        /// What was tried: `open`, `read`, `stat`.
        action: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// The path leads to something that is no regular file.
    #[error("{file}: expected a regular file, found {found}")]
    NotAFile {
        /// The path given.
        file: FileName,
        /// What is there instead.
        found: &'static str,
    },
    /// The file is of another format.
    #[error("{file}: {found}")]
    NotGguf {
        /// The file.
        file: FileName,
        /// The format that it has.
        found: Foreign,
    },
    /// The file ends before something that it announces.
    #[error("{file}: {field} at byte {offset} needs {needed} bytes, {left} are left")]
    Truncated {
        /// The file.
        file: FileName,
        /// What does not fit.
        field: String,
        /// Where it starts in the file.
        offset: u64,
        /// How many bytes it takes at least (`u64::MAX` if the number does not fit 64 bits).
        needed: u64,
        /// How many bytes the file has from there.
        left: u64,
    },
    /// A value that the format does not allow.
    #[error("{file}: {field} at byte {offset} is {found}, expected {expected}")]
    Invalid {
        /// The file.
        file: FileName,
        /// The value's name.
        field: String,
        /// Where it starts in the file.
        offset: u64,
        /// What the format allows.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// A value the format allows, or once allowed, and that this reader does not support.
    #[error("{file}: {field} at byte {offset} is {found}, which is not supported, expected {expected}")]
    Unsupported {
        /// The file.
        file: FileName,
        /// The value's name.
        field: String,
        /// Where it starts in the file.
        offset: u64,
        /// What is supported.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// A count or a length beyond what this reader accepts from any file.
    #[error("{file}: {field} at byte {offset} is {found}, the limit is {limit}")]
    OverLimit {
        /// The file.
        file: FileName,
        /// The value's name.
        field: String,
        /// Where it starts in the file.
        offset: u64,
        /// The limit.
        limit: u64,
        /// What the file has.
        found: u64,
    },
    /// The files of a split model do not belong together.
    #[error("{file}: {field} is {found}, expected {expected}")]
    Split {
        /// The file that does not fit.
        file: FileName,
        /// What was compared.
        field: String,
        /// What the other files say.
        expected: String,
        /// What this one says.
        found: String,
    },
    /// The file on disk is no longer the one that was opened.
    #[error("{file}: {field} changed since the file was opened")]
    Changed {
        /// The file.
        file: FileName,
        /// What differs.
        field: &'static str,
    },
    /// A read asked for bytes that the tensor does not have.
    #[error("{file}: tensor {tensor} has {has} bytes, asked for {len} from byte {offset}")]
    OutOfTensor {
        /// The file.
        file: FileName,
        /// The tensor, in backquotes.
        tensor: String,
        /// Where the read was to start, from the tensor's first byte.
        offset: u64,
        /// How many bytes were asked for.
        len: u64,
        /// How many bytes the tensor has.
        has: u64,
    },
    /// There is not enough memory for a tensor's bytes.
    #[error("{file}: no memory for {bytes} bytes of tensor {tensor}")]
    OutOfMemory {
        /// The file.
        file: FileName,
        /// The tensor, in backquotes.
        tensor: String,
        /// How many bytes were asked for.
        bytes: u64,
    },
}

/// A name from the file, fit for a message: in backquotes if it is short and printable, else its length.
/// (A damaged length makes a "name" out of whatever follows.)
pub(crate) fn shown(name: &str) -> String {
    let printable = name.chars().all(|c| c == '\'' || c == '"' || c.escape_debug().len() == 1);
    if name.len() <= 64 && printable { format!("`{name}`") } else { format!("({} bytes)", name.len()) }
}
