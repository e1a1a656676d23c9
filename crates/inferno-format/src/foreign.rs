//! Files of other formats, told by their first bytes: what people hand over in place of a GGUF model.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::fmt;

/// Bytes of a file's start that [`Foreign::of`] looks at.
pub(crate) const HEAD: usize = 1024;

/// A file format that is not GGUF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "`Display` has the names")]
pub enum Foreign {
    OldGgml,
    BigEndianGguf,
    Safetensors,
    PyTorch,
    Pickle,
    Onnx,
    TfLite,
    Hdf5,
    Numpy,
    LfsPointer,
    AnnexPointer,
    XetPointer,
    Html,
    Xml,
    Json,
    Pdf,
    Zip,
    Gzip,
    Zstd,
    Xz,
    Bzip2,
    SevenZip,
    Rar,
    Tar,
    Image,
    Sqlite,
    Llamafile,
    Program,
    Zeros,
    Text,
}

/// Formats by the bytes that a file of theirs starts with.
const MAGICS: &[(&[u8], Foreign)] = &[
    (b"lmgg", Foreign::OldGgml),
    (b"fmgg", Foreign::OldGgml),
    (b"tjgg", Foreign::OldGgml),
    (b"algg", Foreign::OldGgml),
    (b"ggml", Foreign::OldGgml),
    (b"ggmf", Foreign::OldGgml),
    (b"ggjt", Foreign::OldGgml),
    (b"ggla", Foreign::OldGgml),
    (b"FUGG", Foreign::BigEndianGguf),
    (b"\x89HDF\r\n\x1a\n", Foreign::Hdf5),
    (b"\x93NUMPY", Foreign::Numpy),
    (b"version https://git-lfs.github.com/", Foreign::LfsPointer),
    (b"version https://hawser.github.com/", Foreign::LfsPointer),
    (b"/annex/objects/", Foreign::AnnexPointer),
    (b"# xet version", Foreign::XetPointer),
    (b"\x1f\x8b", Foreign::Gzip),
    (b"\x28\xb5\x2f\xfd", Foreign::Zstd),
    (b"\xfd7zXZ\0", Foreign::Xz),
    (b"BZh", Foreign::Bzip2),
    (b"7z\xbc\xaf\x27\x1c", Foreign::SevenZip),
    (b"Rar!\x1a\x07", Foreign::Rar),
    (b"\x89PNG\r\n\x1a\n", Foreign::Image),
    (b"\xff\xd8\xff", Foreign::Image),
    (b"GIF8", Foreign::Image),
    (b"SQLite format 3\0", Foreign::Sqlite),
    (b"MZqFpD", Foreign::Llamafile),
    (b"MZ", Foreign::Program),
    (b"\x7fELF", Foreign::Program),
    (b"\xcf\xfa\xed\xfe", Foreign::Program),
    (b"\xca\xfe\xba\xbe", Foreign::Program),
];

impl Foreign {
    /// The format of a file that starts with `head`, its first bytes ([`HEAD`] or all); `None` if unknown.
    pub(crate) fn of(head: &[u8]) -> Option<Foreign> {
        let has = |needle: &[u8]| head.windows(needle.len()).any(|part| part == needle);
        if let Some((_, found)) = MAGICS.iter().find(|(magic, _)| head.starts_with(magic)) {
            return Some(*found);
        }
        if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
            return Some(if has(b"data.pkl") { Foreign::PyTorch } else { Foreign::Zip });
        }
        match *head {
            [0x80, 2..=5, ..] => return Some(Foreign::Pickle),
            // ir_version, then the producer's name as a short text.
            [0x08, 1..=20, 0x12, 1..=40, c, ..] if c.is_ascii_alphabetic() => return Some(Foreign::Onnx),
            _ => {}
        }
        if head.get(4..8) == Some(b"TFL3") {
            return Some(Foreign::TfLite);
        }
        if head.get(257..262) == Some(b"ustar") {
            return Some(Foreign::Tar);
        }
        if is_safetensors(head) {
            return Some(Foreign::Safetensors);
        }
        if !head.is_empty() && head.iter().all(|&byte| byte == 0) {
            return Some(Foreign::Zeros);
        }
        // A PDF reader looks for its mark in the first KiB.
        if has(b"%PDF-") {
            return Some(Foreign::Pdf);
        }
        of_text(head)
    }

    /// Advice to somebody who took the file for a model, as a clause.
    fn advice(self) -> &'static str {
        match self {
            Foreign::OldGgml => {
                "it is from before GGUF (August 2023): download the model as GGUF, or convert it"
            }
            Foreign::BigEndianGguf => "download or convert the little-endian one",
            Foreign::Safetensors | Foreign::PyTorch | Foreign::Pickle | Foreign::Onnx | Foreign::TfLite => {
                "download the model as GGUF (its repository is often named `…-GGUF`), or convert it with llama.cpp's \
                 `convert_hf_to_gguf.py`"
            }
            Foreign::LfsPointer => {
                "it stands for the model: run `git lfs pull` in its repository, or download the file itself"
            }
            Foreign::AnnexPointer => "it stands for the model: run `git annex get` in its repository",
            Foreign::XetPointer => "it stands for the model: download the file itself",
            Foreign::Html | Foreign::Xml => {
                "it is probably an error or login page that was saved in place of the model: download again, from a link \
                 with `/resolve/` and not `/blob/`"
            }
            Foreign::Json => {
                "if it was downloaded, it may be the server's error message or only the model's index"
            }
            Foreign::Text => "if it was downloaded, it may be the server's error message",
            Foreign::Zip
            | Foreign::Gzip
            | Foreign::Zstd
            | Foreign::Xz
            | Foreign::Bzip2
            | Foreign::SevenZip
            | Foreign::Rar
            | Foreign::Tar => "unpack it first, if the model is inside",
            Foreign::Llamafile => "take the GGUF file it was made from, or unpack it (`unzip`)",
            Foreign::Zeros => "probably an unfinished download: download it again",
            Foreign::Hdf5
            | Foreign::Numpy
            | Foreign::Pdf
            | Foreign::Image
            | Foreign::Sqlite
            | Foreign::Program => "name the model's file",
        }
    }
}

/// A header's length, and then a JSON object.
fn is_safetensors(head: &[u8]) -> bool {
    let Some((length, rest)) = head.split_first_chunk::<8>() else { return false };
    let fits = (2..1 << 30).contains(&u64::from_le_bytes(*length));
    fits && rest.starts_with(b"{") && rest.get(1).is_some_and(|b| matches!(b, b'"' | b'}' | b' ' | b'\n'))
}

fn of_text(head: &[u8]) -> Option<Foreign> {
    if head.is_empty() {
        return None;
    }
    if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        return Some(Foreign::Text);
    }
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // It may be cut inside of its last character.
        Err(e) if e.error_len().is_none() => std::str::from_utf8(head.get(..e.valid_up_to())?).ok()?,
        Err(_) => return None,
    };
    if text.chars().any(|c| c.is_control() && !c.is_whitespace()) {
        return None;
    }
    let start: String = text.trim_start().chars().take(16).collect::<String>().to_ascii_lowercase();
    let starts = |words: &[&str]| words.iter().any(|word| start.starts_with(word));
    let second = start.chars().skip(1).find(|c| !c.is_whitespace());
    let is_json = match start.chars().next() {
        Some('{') => matches!(second, Some('"' | '}')),
        Some('[') => matches!(second, Some('{' | '[' | '"' | ']')),
        _ => false,
    };
    Some(match () {
        () if starts(&["<!doctype html", "<html", "<head", "<body", "<script", "<!--"]) => Foreign::Html,
        () if starts(&["<?xml"]) => match text.contains("<html") {
            true => Foreign::Html,
            false => Foreign::Xml,
        },
        () if is_json => Foreign::Json,
        () => Foreign::Text,
    })
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Foreign::OldGgml => "an old GGML file",
            Foreign::BigEndianGguf => "a big-endian GGUF file",
            Foreign::Safetensors => "a safetensors file",
            Foreign::PyTorch => "a PyTorch checkpoint",
            Foreign::Pickle => "a Python pickle, as old PyTorch checkpoints are",
            Foreign::Onnx => "an ONNX model",
            Foreign::TfLite => "a TensorFlow Lite model",
            Foreign::Hdf5 => "an HDF5 file",
            Foreign::Numpy => "a NumPy array",
            Foreign::LfsPointer => "a Git LFS pointer",
            Foreign::AnnexPointer => "a git-annex pointer",
            Foreign::XetPointer => "a Xet pointer",
            Foreign::Html => "an HTML page",
            Foreign::Xml => "an XML document",
            Foreign::Json => "JSON text",
            Foreign::Pdf => "a PDF document",
            Foreign::Zip => "a ZIP archive",
            Foreign::Gzip => "gzip-compressed",
            Foreign::Zstd => "zstd-compressed",
            Foreign::Xz => "xz-compressed",
            Foreign::Bzip2 => "bzip2-compressed",
            Foreign::SevenZip => "a 7z archive",
            Foreign::Rar => "a RAR archive",
            Foreign::Tar => "a tar archive",
            Foreign::Image => "an image",
            Foreign::Sqlite => "an SQLite database",
            Foreign::Llamafile => "a llamafile",
            Foreign::Program => "an executable program",
            Foreign::Zeros => "a file that begins with zeros",
            Foreign::Text => "a text file",
        };
        write!(f, "{name}, not a GGUF model; {}", self.advice())
    }
}

#[cfg(test)]
mod tests;
