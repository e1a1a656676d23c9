//! Where a model's bytes come from: a file read at positions, or memory.
//!
//! Nothing is mapped: a file that changes or shrinks under us gives an error, never a signal.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::borrow::Cow;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::{FileName, FormatError};

/// The bytes of one GGUF file.
pub(crate) enum Source {
    Memory(Cow<'static, [u8]>),
    /// The first bytes of a file that has `len` in all.
    Header {
        bytes: Vec<u8>,
        len: u64,
    },
    File(OpenFile),
}

/// A regular file, and what identified it when it was opened.
pub(crate) struct OpenFile {
    path: PathBuf,
    file: File,
    stamp: Stamp,
}

/// What tells one state of a file from another. Two writes within one tick of the file system's clock
/// that leave the length alone look the same.
#[derive(PartialEq)]
struct Stamp {
    len: u64,
    modified: Option<SystemTime>,
    /// Device and inode; zeros where the system has none.
    identity: (u64, u64),
}

impl Source {
    /// Opens a regular file. Anything else (a pipe, a device, a directory) is refused before it is
    /// opened, as opening may block or have an effect.
    pub(crate) fn open(path: &Path) -> Result<Source, FormatError> {
        let io = |action| move |source| FormatError::Io { file: FileName::path(path), action, source };
        let regular = |meta: &fs::Metadata| match kind(meta) {
            None => Ok(()),
            Some(found) => Err(FormatError::NotAFile { file: FileName::path(path), found }),
        };
        regular(&fs::metadata(path).map_err(io("open"))?)?;
        let file = File::open(path).map_err(io("open"))?;
        let meta = file.metadata().map_err(io("stat"))?;
        regular(&meta)?; // it may have been swapped in between
        Ok(Source::File(OpenFile { path: path.to_owned(), file, stamp: Stamp::of(&meta) }))
    }

    /// How many bytes there were at open.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Source::Memory(bytes) => bytes.len() as u64,
            Source::Header { len, .. } => *len,
            Source::File(file) => file.stamp.len,
        }
    }

    /// Bytes that can be read: all, or of a header those that are there.
    pub(crate) fn at_hand(&self) -> u64 {
        match self {
            Source::Header { bytes, .. } => bytes.len() as u64,
            _ => self.len(),
        }
    }

    /// How many bytes there are now; as many as at open if the system does not say.
    pub(crate) fn len_now(&self) -> u64 {
        match self {
            Source::Memory(bytes) => bytes.len() as u64,
            Source::Header { bytes, .. } => bytes.len() as u64,
            Source::File(open) => open.file.metadata().map_or(open.stamp.len, |meta| meta.len()),
        }
    }

    /// For error messages.
    pub(crate) fn name(&self) -> FileName {
        match self {
            Source::Memory(_) | Source::Header { .. } => FileName::memory(),
            Source::File(file) => FileName::path(&file.path),
        }
    }

    /// Fills `out` from byte `offset`; `UnexpectedEof` if there are not enough bytes.
    pub(crate) fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Source::Memory(bytes) => copy_at(bytes, out, offset),
            Source::Header { bytes, .. } => copy_at(bytes, out, offset),
            Source::File(file) => read_exact_at(&file.file, out, offset),
        }
    }

    /// The path still leads to the same file, with the same length and time of change.
    pub(crate) fn verify_unchanged(&self) -> Result<(), FormatError> {
        let Source::File(open) = self else { return Ok(()) };
        let changed = |field| Err(FormatError::Changed { file: self.name(), field });
        let now = match fs::metadata(&open.path) {
            Ok(meta) => Stamp::of(&meta),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return changed("existence"),
            Err(source) => return Err(FormatError::Io { file: self.name(), action: "stat", source }),
        };
        if now.identity != open.stamp.identity {
            return changed("identity");
        }
        if now.len != open.stamp.len {
            return changed("length");
        }
        if now.modified != open.stamp.modified {
            return changed("time of change");
        }
        Ok(())
    }
}

fn copy_at(bytes: &[u8], out: &mut [u8], offset: u64) -> io::Result<()> {
    let start = usize::try_from(offset).ok();
    let end = start.and_then(|s| s.checked_add(out.len()));
    let range = start.zip(end).and_then(|(s, e)| bytes.get(s..e));
    out.copy_from_slice(range.ok_or(io::ErrorKind::UnexpectedEof)?);
    Ok(())
}

impl Stamp {
    fn of(meta: &fs::Metadata) -> Stamp {
        #[cfg(unix)]
        let identity = {
            use std::os::unix::fs::MetadataExt;
            (meta.dev(), meta.ino())
        };
        #[cfg(not(unix))]
        let identity = (0, 0);
        Stamp { len: meta.len(), modified: meta.modified().ok(), identity }
    }
}

/// `None` for a regular file, else what it is.
fn kind(meta: &fs::Metadata) -> Option<&'static str> {
    if meta.is_file() {
        return None;
    }
    if meta.is_dir() {
        return Some("a directory");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let t = meta.file_type();
        if t.is_fifo() {
            return Some("a pipe");
        }
        if t.is_char_device() || t.is_block_device() {
            return Some("a device");
        }
        if t.is_socket() {
            return Some("a socket");
        }
    }
    Some("something else")
}

#[cfg(unix)]
fn read_exact_at(file: &File, out: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, out: &mut [u8], offset: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    let mut filled = 0usize;
    while let Some(rest) = out.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.seek_read(rest, offset.saturating_add(filled as u64)) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => filled = filled.saturating_add(n),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
