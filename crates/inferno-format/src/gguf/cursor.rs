//! A buffered reader over a source, which knows where it is and what it is reading.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::fmt;
use std::io;

use crate::error::{FileName, FormatError, shown};
use crate::source::Source;

const BUFFER: usize = 64 << 10;

/// The name of a value in the header, for errors; made into text only when one is reported.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    part: &'static str,
    of: Owner<'a>,
}

#[derive(Clone, Copy)]
enum Owner<'a> {
    File,
    Pair(u64),
    Key(&'a str),
    TensorIdx(u64),
    Tensor(&'a str),
}

impl<'a> Field<'a> {
    pub(crate) fn file(part: &'static str) -> Field<'a> {
        Field { part, of: Owner::File }
    }

    /// A part of the `i`-th metadata pair, whose key is not known yet.
    pub(crate) fn pair(part: &'static str, i: u64) -> Field<'a> {
        Field { part, of: Owner::Pair(i) }
    }

    pub(crate) fn key(part: &'static str, key: &'a str) -> Field<'a> {
        Field { part, of: Owner::Key(key) }
    }

    /// A part of the `i`-th tensor, whose name is not known yet.
    pub(crate) fn tensor_idx(part: &'static str, i: u64) -> Field<'a> {
        Field { part, of: Owner::TensorIdx(i) }
    }

    pub(crate) fn tensor(part: &'static str, name: &'a str) -> Field<'a> {
        Field { part, of: Owner::Tensor(name) }
    }
}

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.part)?;
        match self.of {
            Owner::File => Ok(()),
            Owner::Pair(i) => write!(f, " of metadata pair {i}"),
            Owner::Key(key) => write!(f, " of key {}", shown(key)),
            Owner::TensorIdx(i) => write!(f, " of tensor {i}"),
            Owner::Tensor(name) => write!(f, " of tensor {}", shown(name)),
        }
    }
}

/// Reads a source from its start. Nothing is taken before it is known to be there.
pub(crate) struct Cursor<'a> {
    source: &'a Source,
    pos: u64,
    /// Bytes `buffer_start..` of the source.
    buffer: Vec<u8>,
    buffer_start: u64,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(source: &'a Source) -> Cursor<'a> {
        Cursor { source, pos: 0, buffer: Vec::new(), buffer_start: 0 }
    }

    /// Where the next byte is read.
    pub(crate) fn pos(&self) -> u64 {
        self.pos
    }

    /// How many bytes the file has from here.
    pub(crate) fn left(&self) -> u64 {
        self.source.at_hand().saturating_sub(self.pos)
    }

    /// For error messages.
    pub(crate) fn file(&self) -> FileName {
        self.source.name()
    }

    /// The first `n` bytes of the file, or all if it has fewer; none if they cannot be read.
    pub(crate) fn head(&self, n: usize) -> Vec<u8> {
        let mut head = vec![0; self.source.at_hand().min(n as u64) as usize];
        match self.source.read_exact_at(&mut head, 0) {
            Ok(()) => head,
            Err(_) => Vec::new(),
        }
    }

    pub(crate) fn u8(&mut self, field: Field) -> Result<u8, FormatError> {
        Ok(u8::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn u32(&mut self, field: Field) -> Result<u32, FormatError> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn u64(&mut self, field: Field) -> Result<u64, FormatError> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn array<const N: usize>(&mut self, field: Field) -> Result<[u8; N], FormatError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, field)?;
        Ok(bytes)
    }

    /// The next `out.len()` bytes.
    pub(crate) fn fill(&mut self, out: &mut [u8], field: Field) -> Result<(), FormatError> {
        self.expect(out.len() as u64, field)?;
        let n = out.len();
        match self.buffered(n) {
            Some(bytes) => out.copy_from_slice(bytes),
            None if n >= BUFFER => self.read(out, field)?,
            None => {
                let len = self.left().min(BUFFER as u64) as usize;
                let mut buffer = std::mem::take(&mut self.buffer);
                buffer.resize(len, 0);
                self.read(&mut buffer, field)?;
                self.buffer = buffer;
                self.buffer_start = self.pos;
                out.copy_from_slice(self.buffered(n).expect("the buffer was just filled from here"));
            }
        }
        self.pos = self.pos.saturating_add(n as u64);
        Ok(())
    }

    /// An error unless `needed` bytes are left.
    pub(crate) fn expect(&self, needed: u64, field: Field) -> Result<(), FormatError> {
        if needed <= self.left() {
            return Ok(());
        }
        Err(self.truncated(needed, field))
    }

    pub(crate) fn invalid(
        &self,
        field: Field,
        offset: u64,
        expected: impl Into<String>,
        found: impl fmt::Display,
    ) -> FormatError {
        FormatError::Invalid {
            file: self.source.name(),
            field: field.to_string(),
            offset,
            expected: expected.into(),
            found: found.to_string(),
        }
    }

    pub(crate) fn unsupported(
        &self,
        field: Field,
        offset: u64,
        expected: &str,
        found: impl fmt::Display,
    ) -> FormatError {
        FormatError::Unsupported {
            file: self.source.name(),
            field: field.to_string(),
            offset,
            expected: expected.into(),
            found: found.to_string(),
        }
    }

    pub(crate) fn over_limit(&self, field: Field, offset: u64, limit: u64, found: u64) -> FormatError {
        FormatError::OverLimit { file: self.source.name(), field: field.to_string(), offset, limit, found }
    }

    fn truncated(&self, needed: u64, field: Field) -> FormatError {
        FormatError::Truncated {
            file: self.source.name(),
            field: field.to_string(),
            offset: self.pos,
            needed,
            left: self.left(),
        }
    }

    /// The next `n` bytes, if the buffer has them all.
    fn buffered(&self, n: usize) -> Option<&[u8]> {
        let start = usize::try_from(self.pos.checked_sub(self.buffer_start)?).ok()?;
        self.buffer.get(start..start.checked_add(n)?)
    }

    fn read(&self, out: &mut [u8], field: Field) -> Result<(), FormatError> {
        self.source.read_exact_at(out, self.pos).map_err(|e| match e.kind() {
            // The file was cut short after it was opened.
            io::ErrorKind::UnexpectedEof => FormatError::Truncated {
                file: self.source.name(),
                field: field.to_string(),
                offset: self.pos,
                needed: out.len() as u64,
                left: 0,
            },
            _ => FormatError::Io { file: self.source.name(), action: "read", source: e },
        })
    }
}
