//! A GGUF model: its metadata, and its tensors with checked places in one or more files.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

mod cursor;
pub(crate) mod header;
mod layout;
pub(crate) mod limits;
mod split;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::dtype::DType;
use crate::error::{FileName, FormatError, shown};
use crate::metadata::Metadata;
use crate::progress::ReadProgress;
use crate::source::Source;

/// An open model. Only its header has been read; tensors are read when asked for.
///
/// What holds for every value of this type: names are unique, each tensor is whole blocks, and its bytes
/// lay inside its file when that was opened, aligned and apart from all others.
pub struct Gguf {
    shards: Vec<Source>,
    version: u32,
    alignment: u64,
    metadata: Metadata,
    tensors: Vec<TensorEntry>,
    index: HashMap<String, usize>,
    progress: Arc<ReadProgress>,
}

/// One tensor's description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorEntry {
    /// The tensor's name, 1 to 64 bytes.
    pub name: String,
    /// How its elements are stored.
    pub dtype: DType,
    /// One to four lengths, none zero, the fastest-moving first: `dims[0]` is the length of a row.
    pub dims: Vec<usize>,
    /// Bytes of all rows.
    pub n_bytes: u64,
    /// Which file it is in.
    shard: usize,
    /// Its first byte in that file.
    start: u64,
}

impl TensorEntry {
    /// Elements in a row.
    pub fn row_len(&self) -> usize {
        self.dims.first().copied().unwrap_or(1)
    }

    /// Rows, over all dimensions but the first.
    pub fn n_rows(&self) -> usize {
        self.dims.iter().skip(1).product()
    }

    /// Elements in all rows.
    pub fn n_elements(&self) -> usize {
        self.dims.iter().product()
    }
}

impl Gguf {
    /// Opens a model file. Given any file of a split model (`x-00002-of-00003.gguf`), opens all of them;
    /// the metadata is the first one's.
    ///
    /// Reads the header alone, and takes no more memory than that has bytes, a few times over.
    /// Padding after the last tensor is accepted, more bytes than that are not: they are no part of the
    /// model, so somebody's mistake or worse.
    pub fn open(path: &Path) -> Result<Gguf, FormatError> {
        let sources = split::paths(path)?.iter().map(|p| Source::open(p)).collect::<Result<Vec<_>, _>>()?;
        Gguf::from_sources(sources)
    }

    /// A model that is part of the program.
    pub fn from_static(bytes: &'static [u8]) -> Result<Gguf, FormatError> {
        Gguf::from_sources(vec![Source::Memory(Cow::Borrowed(bytes))])
    }

    /// A model held in memory.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Gguf, FormatError> {
        Gguf::from_sources(vec![Source::Memory(Cow::Owned(bytes))])
    }

    /// A model of which only the header is at hand: the first bytes of a file of `len` bytes, up to where its tensors begin
    /// or beyond. Metadata and tensors are described as in the whole file; reading a tensor is [`FormatError::Truncated`].
    pub fn from_header(header: Vec<u8>, len: u64) -> Result<Gguf, FormatError> {
        Gguf::from_headers(vec![(header, len)])
    }

    /// The same of a split model: the beginning and the length of each of its files, in order.
    pub fn from_headers(headers: Vec<(Vec<u8>, u64)>) -> Result<Gguf, FormatError> {
        Gguf::from_sources(headers.into_iter().map(|(bytes, len)| Source::Header { bytes, len }).collect())
    }

    /// Reads the header in the first bytes of a file of `len` bytes, which may be one of a split model.
    ///
    /// # Errors
    /// `bytes` are no header, or end before the header does.
    pub fn check_header(bytes: Vec<u8>, len: u64) -> Result<(), FormatError> {
        let source = Source::Header { bytes, len };
        let header = header::read(&source)?;
        layout::place(&source, 0, header).map(drop)
    }

    fn from_sources(shards: Vec<Source>) -> Result<Gguf, FormatError> {
        let mut model = Gguf {
            shards: Vec::new(),
            version: 0,
            alignment: limits::DEFAULT_ALIGNMENT,
            metadata: Metadata::default(),
            tensors: Vec::new(),
            index: HashMap::new(),
            progress: Arc::default(),
        };
        for (no, source) in shards.iter().enumerate() {
            let mut header = header::read(source)?;
            split::check(source.name(), &header.metadata, no, shards.len())?;
            if no == 0 {
                model.version = header.version;
                model.alignment = header.alignment;
                model.metadata = std::mem::take(&mut header.metadata);
            }
            model.add(source, layout::place(source, no, header)?)?;
        }
        if let Some(first) = shards.first() {
            split::check_total(first.name(), &model.metadata, model.tensors.len())?;
        }
        model.shards = shards;
        Ok(model)
    }

    fn add(&mut self, source: &Source, tensors: Vec<TensorEntry>) -> Result<(), FormatError> {
        for t in tensors {
            if self.index.insert(t.name.clone(), self.tensors.len()).is_some() {
                return Err(split::duplicate(source.name(), &t.name));
            }
            self.tensors.push(t);
        }
        if self.tensors.len() as u64 > limits::MAX_TENSORS {
            return Err(split::too_many(source.name(), limits::MAX_TENSORS, self.tensors.len()));
        }
        Ok(())
    }

    /// The metadata, of the first file if there are several.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The metadata, to change what this model says of itself before anything reads it. The file stays as it is, and
    /// tensors stay where they are.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }

    /// The version of the format, 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// What every tensor's place in the first file is a multiple of.
    pub fn alignment(&self) -> u64 {
        self.alignment
    }

    /// All tensors, in the order of the files.
    pub fn tensors(&self) -> &[TensorEntry] {
        &self.tensors
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&TensorEntry> {
        self.index.get(name).and_then(|&i| self.tensors.get(i))
    }

    /// All bytes of a tensor of this model.
    pub fn read(&self, t: &TensorEntry) -> Result<Vec<u8>, FormatError> {
        let mut bytes = Vec::new();
        let n = usize::try_from(t.n_bytes).ok().filter(|&n| bytes.try_reserve_exact(n).is_ok());
        let Some(n) = n else {
            let (file, tensor) = (self.file_of(t), shown(&t.name));
            return Err(FormatError::OutOfMemory { file, tensor, bytes: t.n_bytes });
        };
        bytes.resize(n, 0);
        self.read_at(t, 0, &mut bytes)?;
        Ok(bytes)
    }

    /// Fills `out` with a tensor's bytes from `offset` on, counted from the tensor's first byte.
    /// A file cut short since it was opened is [`FormatError::Truncated`].
    pub fn read_at(&self, t: &TensorEntry, offset: u64, out: &mut [u8]) -> Result<(), FormatError> {
        let len = out.len() as u64;
        let source = self.shards.get(t.shard);
        let start = t.start.checked_add(offset);
        let inside = offset.checked_add(len).is_some_and(|end| end <= t.n_bytes);
        let (Some(source), Some(start), true) = (source, start, inside) else {
            let (file, tensor) = (self.file_of(t), shown(&t.name));
            return Err(FormatError::OutOfTensor { file, tensor, offset, len, has: t.n_bytes });
        };
        if self.progress.is_stopped() {
            let stopped = io::Error::new(io::ErrorKind::Interrupted, "reading was stopped");
            return Err(FormatError::Io { file: source.name(), action: "read", source: stopped });
        }
        self.progress.add(len);
        source.read_exact_at(out, start).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => FormatError::Truncated {
                file: source.name(),
                field: cursor::Field::tensor("data", &t.name).to_string(),
                offset: start,
                needed: len,
                left: source.len_now().saturating_sub(start),
            },
            _ => FormatError::Io { file: source.name(), action: "read", source: e },
        })
    }

    /// Bytes of tensors read so far, for another thread to watch or to stop.
    pub fn progress(&self) -> Arc<ReadProgress> {
        Arc::clone(&self.progress)
    }

    /// Every path still leads to the file that was opened, with the same length and time of change: call it
    /// when all tensors are read, as what was read is only then known to be one state of the file.
    pub fn verify_unchanged(&self) -> Result<(), FormatError> {
        self.shards.iter().try_for_each(Source::verify_unchanged)
    }

    /// Bytes of all files.
    pub fn file_bytes(&self) -> u64 {
        self.shards.iter().map(Source::len).fold(0, u64::saturating_add)
    }

    fn file_of(&self, t: &TensorEntry) -> FileName {
        self.shards.get(t.shard).map_or_else(FileName::memory, Source::name)
    }
}

/// Sizes alone: a model's content has no place in a log.
impl fmt::Debug for Gguf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gguf")
            .field("version", &self.version)
            .field("n_files", &self.shards.len())
            .field("n_tensors", &self.tensors.len())
            .field("n_kv", &self.metadata.len())
            .finish_non_exhaustive()
    }
}
