//! Writes GGUF files (version 3), holding no more than the header in memory.

use std::io::{self, Write};

use crate::dtype::DType;
use crate::error::FormatError;
use crate::gguf::limits::DEFAULT_ALIGNMENT;
use crate::gguf::{Gguf, header};
use crate::metadata::{Array, Metadata, Value};
use crate::source::Source;

/// A tensor to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTensor {
    /// Its name, unique in the file, 1 to 64 bytes.
    pub name: String,
    /// How its elements are stored.
    pub dtype: DType,
    /// One to four lengths, `dims[0]` that of a row.
    pub dims: Vec<usize>,
}

/// A file cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The operating system refused.
    #[error("cannot write the model")]
    Io(#[from] io::Error),
    /// The metadata or the tensors make a header that [`Gguf`](crate::Gguf) would refuse.
    #[error("the header would not be readable")]
    Unreadable(#[from] FormatError),
    /// All tensors together are larger than a file can be.
    #[error("the tensors up to `{tensor}` have more than 2^64 bytes")]
    TooLarge {
        /// The first tensor that does not fit.
        tensor: String,
    },
    /// Bytes came for another tensor than the one whose turn it is.
    #[error("bytes for tensor `{found}`, expected {expected}")]
    OutOfTurn {
        /// Whose turn it is.
        expected: String,
        /// Which tensor the bytes are for.
        found: String,
    },
    /// A tensor got more bytes than its dimensions say.
    #[error("tensor `{tensor}` has {has} bytes, {found} were to be written")]
    TooManyBytes {
        /// The tensor.
        tensor: String,
        /// Bytes of all its rows.
        has: u64,
        /// Bytes written, those refused included.
        found: u64,
    },
    /// A tensor did not get all its bytes.
    #[error("tensor `{tensor}` has {has} bytes, {found} were written")]
    TooFewBytes {
        /// The tensor.
        tensor: String,
        /// Bytes of all its rows.
        has: u64,
        /// Bytes written.
        found: u64,
    },
}

/// A GGUF file being written: first all names, types and shapes, then the bytes of one tensor after another.
pub struct GgufWriter<W> {
    out: W,
    alignment: u64,
    /// Name and bytes of each tensor.
    tensors: Vec<(String, u64)>,
    /// Whose turn it is, and how many of its bytes are written.
    current: usize,
    written: u64,
}

impl<W: Write> GgufWriter<W> {
    /// Writes the header. The alignment is that of `general.alignment` in `metadata`, or 32.
    pub fn new(mut out: W, metadata: &Metadata, tensors: &[NewTensor]) -> Result<Self, WriteError> {
        let alignment = match metadata.get("general.alignment") {
            Some(&Value::U32(n)) if n > 0 => n.into(),
            _ => DEFAULT_ALIGNMENT, // of anything else the check below says what is wrong
        };
        let bytes = header_bytes(metadata, tensors, alignment)?;
        // What our own reader refuses is not written: one set of rules for both directions.
        let source = Source::Memory(bytes.into());
        let checked = header::read(&source)?;
        let Source::Memory(bytes) = source else { unreachable!("it was made from bytes") };
        out.write_all(&bytes)?;
        let tensors: Vec<_> = checked.tensors.into_iter().map(|t| (t.name, t.n_bytes)).collect();
        let mut writer = GgufWriter { out, alignment, tensors, current: 0, written: 0 };
        if !writer.tensors.is_empty() {
            writer.pad(checked.end)?;
        }
        Ok(writer)
    }

    /// Writes the next bytes of tensor `name`: all of them, or a part, as often as it takes. Tensors
    /// come in the order given to [`GgufWriter::new`].
    pub fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), WriteError> {
        let (tensor, has) = match self.tensors.get(self.current) {
            Some((tensor, has)) if tensor == name => (tensor, *has),
            turn => {
                let expected = turn.map_or("none".into(), |(tensor, _)| format!("`{tensor}`"));
                return Err(WriteError::OutOfTurn { expected, found: name.into() });
            }
        };
        let found = self.written.saturating_add(bytes.len() as u64);
        if found > has {
            return Err(WriteError::TooManyBytes { tensor: tensor.clone(), has, found });
        }
        self.out.write_all(bytes)?;
        self.written = found;
        if found == has {
            self.pad(has)?;
            self.current += 1;
            self.written = 0;
        }
        Ok(())
    }

    /// Ends the file, and gives back what it was written to, flushed. An error if bytes are missing.
    pub fn finish(mut self) -> Result<W, WriteError> {
        if let Some((tensor, has)) = self.tensors.get(self.current) {
            let (tensor, has) = (tensor.clone(), *has);
            return Err(WriteError::TooFewBytes { tensor, has, found: self.written });
        }
        self.out.flush()?;
        Ok(self.out)
    }

    /// Zeros after `n` bytes, up to the alignment.
    fn pad(&mut self, n: u64) -> io::Result<()> {
        let padding = n.next_multiple_of(self.alignment) - n;
        io::copy(&mut io::Read::take(io::repeat(0), padding), &mut self.out)?;
        Ok(())
    }
}

/// A model with these metadata and tensors and next to none of its weights: what reads shapes reads it like a file. `first` has
/// the bytes of the first tensors; reading another one is [`FormatError::Truncated`].
///
/// # Errors
/// The names, shapes and lengths that [`GgufWriter`] refuses.
pub fn outline(metadata: &Metadata, tensors: &[NewTensor], first: &[Vec<u8>]) -> Result<Gguf, WriteError> {
    let mut begin = Vec::new();
    let mut writer = GgufWriter::new(&mut begin, metadata, tensors)?;
    for (tensor, bytes) in tensors.iter().zip(first) {
        writer.append(&tensor.name, bytes)?;
    }
    let GgufWriter { alignment, tensors, .. } = writer;
    let others = tensors.iter().skip(first.len());
    let n_bytes: u64 = others.map(|(_, n_bytes)| n_bytes.next_multiple_of(alignment)).sum();
    let len = begin.len() as u64 + n_bytes;
    Ok(Gguf::from_header(begin, len)?)
}

fn header_bytes(metadata: &Metadata, tensors: &[NewTensor], alignment: u64) -> Result<Vec<u8>, WriteError> {
    let mut out = Header(Vec::new());
    out.put(b"GGUF");
    out.put(&3u32.to_le_bytes());
    out.count(tensors.len());
    out.count(metadata.len());
    for (key, value) in metadata.iter() {
        out.string(key.as_bytes());
        out.value(value);
    }
    let mut offset = 0u64;
    for t in tensors {
        out.string(t.name.as_bytes());
        out.put(&(t.dims.len() as u32).to_le_bytes());
        t.dims.iter().for_each(|&dim| out.count(dim));
        out.put(&t.dtype.ggml_id().to_le_bytes());
        out.put(&offset.to_le_bytes());
        // A shape without a size gets an error with more to say when the header is checked.
        let dims: Vec<u64> = t.dims.iter().map(|&dim| dim as u64).collect();
        let n_bytes = t.dtype.tensor_bytes(&dims).unwrap_or(0);
        offset = offset
            .checked_add(n_bytes)
            .and_then(|end| end.checked_next_multiple_of(alignment))
            .ok_or_else(|| WriteError::TooLarge { tensor: t.name.clone() })?;
    }
    Ok(out.0)
}

struct Header(Vec<u8>);

impl Header {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn count(&mut self, n: usize) {
        self.put(&(n as u64).to_le_bytes());
    }

    fn string(&mut self, s: &[u8]) {
        self.count(s.len());
        self.put(s);
    }

    fn value(&mut self, value: &Value) {
        self.put(&type_id(value).to_le_bytes());
        match value {
            Value::U8(x) => self.put(&x.to_le_bytes()),
            Value::I8(x) => self.put(&x.to_le_bytes()),
            Value::U16(x) => self.put(&x.to_le_bytes()),
            Value::I16(x) => self.put(&x.to_le_bytes()),
            Value::U32(x) => self.put(&x.to_le_bytes()),
            Value::I32(x) => self.put(&x.to_le_bytes()),
            Value::F32(x) => self.put(&x.to_le_bytes()),
            Value::Bool(x) => self.put(&[u8::from(*x)]),
            Value::String(s) => self.string(s.as_bytes()),
            Value::Bytes(s) => self.string(s),
            Value::Array(a) => self.array(a),
            Value::U64(x) => self.put(&x.to_le_bytes()),
            Value::I64(x) => self.put(&x.to_le_bytes()),
            Value::F64(x) => self.put(&x.to_le_bytes()),
        }
    }

    fn array(&mut self, a: &Array) {
        self.put(&element_type_id(a).to_le_bytes());
        self.count(a.len());
        match a {
            Array::U8(v) => self.put(v),
            Array::I8(v) => v.iter().for_each(|x| self.put(&x.to_le_bytes())),
            Array::U16(v) => v.iter().for_each(|x| self.put(&x.to_le_bytes())),
            Array::I16(v) => v.iter().for_each(|x| self.put(&x.to_le_bytes())),
            Array::U32(v) => v.iter().for_each(|x| self.put(&x.to_le_bytes())),
            Array::I32(v) => v.iter().for_each(|x| self.put(&x.to_le_bytes())),
            Array::F32(v) => v.iter().for_each(|x| self.put(&x.to_le_bytes())),
            Array::Bool(v) => v.iter().for_each(|&x| self.put(&[u8::from(x)])),
            Array::String(v) => v.iter().for_each(|s| self.string(s.as_bytes())),
            Array::Bytes(v) => (0..v.len()).filter_map(|i| v.get(i)).for_each(|s| self.string(s)),
            Array::U64(v) => v.iter().for_each(|x| self.put(&x.to_le_bytes())),
            Array::I64(v) => v.iter().for_each(|x| self.put(&x.to_le_bytes())),
            Array::F64(v) => v.iter().for_each(|x| self.put(&x.to_le_bytes())),
        }
    }
}

fn type_id(value: &Value) -> u32 {
    match value {
        Value::U8(_) => 0,
        Value::I8(_) => 1,
        Value::U16(_) => 2,
        Value::I16(_) => 3,
        Value::U32(_) => 4,
        Value::I32(_) => 5,
        Value::F32(_) => 6,
        Value::Bool(_) => 7,
        Value::String(_) | Value::Bytes(_) => 8,
        Value::Array(_) => 9,
        Value::U64(_) => 10,
        Value::I64(_) => 11,
        Value::F64(_) => 12,
    }
}

fn element_type_id(array: &Array) -> u32 {
    match array {
        Array::U8(_) => 0,
        Array::I8(_) => 1,
        Array::U16(_) => 2,
        Array::I16(_) => 3,
        Array::U32(_) => 4,
        Array::I32(_) => 5,
        Array::F32(_) => 6,
        Array::Bool(_) => 7,
        Array::String(_) | Array::Bytes(_) => 8,
        Array::U64(_) => 10,
        Array::I64(_) => 11,
        Array::F64(_) => 12,
    }
}
