//! The prefix cache as a file: nodes of the tree, parents first, with the bytes of their pages.
//!
//! ```text
//! header   magic | version | identity | length of a page, cache groups | key of salts | number of records | checksum
//! record   parent | times resumed | groups with a page | salt | tokens | for each such group: tenant, worth, time, bytes | checksum
//! ```
//!
//! Numbers are little-endian. Bytes of a page mean something to the same model, build and device only: the identity says which, and
//! a file of another identity is not read. A record is verified before any of it is used; its number is in its checksum.

use std::io::{self, Read, Write};

use inferno_model::batch::{PAGE_LEN, PageId};
use inferno_model::error::StepError;

use crate::cache::{CopiedNode, CopiedPage, Place, Worth};
use crate::group::Kind;

const MAGIC: [u8; 8] = *b"INFCACHE";
const VERSION: u32 = 1;

/// Bytes of a record before those of its pages.
const HEAD: usize = 4 + 1 + 4 + 8 + 4 * PAGE_LEN;
/// Bytes of a page beside its content.
const PAGE_HEAD: usize = 4 + 1 + 8;
/// Parent of a child of the root.
const ROOT: u32 = u32::MAX;

/// Everything that the content of a cache file depends on, part by part: a name for messages, and a hash.
pub type CacheIdentity = [(&'static str, u64)];

/// Content of a cache file, as far as it was written or used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheFileSummary {
    /// Tokens of the prefixes.
    pub n_tokens: usize,
    /// Bytes of the file.
    pub n_bytes: u64,
    /// The key that salts of requests are hashed with, so that they are the same in the next process. It keeps the prefixes of
    /// callers apart, and is secret.
    pub salt_key: [u8; 16],
}

/// Reasons for which a cache file cannot be written or used.
#[derive(Debug, thiserror::Error)]
pub enum CacheFileError {
    /// The file cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Another file.
    #[error("it is not a cache file")]
    Magic,
    /// A file of an older or newer build.
    #[error("it has version {found} of the format, expected {}", VERSION)]
    Version {
        /// Its version.
        found: u32,
    },
    /// The file belongs to another model, build or device.
    #[error("it was written with another {what}")]
    Identity {
        /// The part of the [`CacheIdentity`] that differs.
        what: &'static str,
    },
    /// The file ends too early.
    #[error("it is truncated: it ends in record {record} of {n_records}")]
    Truncated {
        /// The record that is not all there.
        record: u64,
        /// As many as its header says.
        n_records: u64,
    },
    /// A checksum is wrong, or records contradict each other.
    #[error("it is damaged: record {record} of {n_records} is not what was written")]
    Damaged {
        /// The first record with a fault.
        record: u64,
        /// As many as its header says.
        n_records: u64,
    },
    /// Its first bytes are not what was written.
    #[error("it is damaged: its header is not what was written")]
    Header,
    /// Nothing is cached.
    #[error("the prefix cache is off")]
    NoCache,
    /// The model keeps its pages where they cannot be copied.
    #[error("pages of this model cannot be copied")]
    NoPages,
    /// The device failed while pages were copied.
    #[error(transparent)]
    Device(#[from] StepError),
}

/// The form of a file: its identity, and of every cache group what it keeps and the bytes of a page.
pub(crate) struct Layout {
    pub(crate) identity: Vec<(&'static str, u64)>,
    pub(crate) groups: Vec<(Kind, usize)>,
}

impl Layout {
    /// Bytes of a page, by cache group.
    pub(crate) fn page_bytes(&self) -> Vec<u64> {
        self.groups.iter().map(|(_, n_bytes)| *n_bytes as u64).collect()
    }

    fn header(&self, salt_key: [u8; 16], n_records: u64) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        put(&mut out, VERSION.to_le_bytes());
        put(&mut out, (self.identity.len() as u32).to_le_bytes());
        self.identity.iter().for_each(|(_, hash)| put(&mut out, hash.to_le_bytes()));
        put(&mut out, (PAGE_LEN as u32).to_le_bytes());
        put(&mut out, (self.groups.len() as u32).to_le_bytes());
        for (kind, n_bytes) in &self.groups {
            put(&mut out, u32::from(kind.is_states()).to_le_bytes());
            put(&mut out, (*n_bytes as u64).to_le_bytes());
        }
        put(&mut out, salt_key);
        put(&mut out, n_records.to_le_bytes());
        let sum = checksum(0, &out);
        put(&mut out, sum.to_le_bytes());
        out
    }

    fn header_len(&self) -> usize {
        self.header([0; 16], 0).len()
    }

    /// Reads a header; the key of salts, and the number of records.
    fn read_header(&self, input: &mut dyn Read) -> Result<([u8; 16], u64), CacheFileError> {
        let mut found = vec![0; self.header_len()];
        let n = read_up_to(input, &mut found)?;
        let mut fields = Fields(&found[..n]);
        if fields.take::<8>() != Some(MAGIC) {
            return Err(CacheFileError::Magic);
        }
        match fields.u32() {
            Some(VERSION) => {}
            Some(found) => return Err(CacheFileError::Version { found }),
            None => return Err(CacheFileError::Header),
        }
        if fields.u32() != Some(self.identity.len() as u32) {
            return Err(CacheFileError::Header);
        }
        for &(what, hash) in &self.identity {
            match fields.u64() {
                Some(found) if found == hash => {}
                Some(_) => return Err(CacheFileError::Identity { what }),
                None => return Err(CacheFileError::Header),
            }
        }
        // The key of salts, the number of records and the checksum are its last bytes.
        let mut last = Fields(&found[found.len() - 32..]);
        let (Some(salt_key), Some(n_records)) = (last.take::<16>(), last.u64()) else {
            return Err(CacheFileError::Header);
        };
        if n < found.len() || self.header(salt_key, n_records) != found {
            return Err(CacheFileError::Header);
        }
        Ok((salt_key, n_records))
    }

    /// Writes nodes, and their pages as `read_page` gives them; returns the number of bytes.
    pub(crate) fn write(
        &self,
        out: &mut dyn Write,
        salt_key: [u8; 16],
        nodes: &[CopiedNode],
        mut read_page: impl FnMut(usize, Place, &mut [u8]) -> Result<(), StepError>,
    ) -> Result<u64, CacheFileError> {
        let header = self.header(salt_key, nodes.len() as u64);
        out.write_all(&header)?;
        let mut n_bytes = header.len() as u64;
        let mut record = Vec::new();
        for (number, node) in (0..).zip(nodes) {
            record.clear();
            let parent = node.parent.map_or(ROOT, |parent| parent as u32);
            put(&mut record, parent.to_le_bytes());
            record.push(node.n_resumed);
            let has_page = node.pages.iter().enumerate().filter(|(_, page)| page.is_some());
            put(&mut record, has_page.fold(0u32, |mask, (group, _)| mask | 1 << group).to_le_bytes());
            put(&mut record, node.salt.to_le_bytes());
            node.tokens.iter().for_each(|token| put(&mut record, token.to_le_bytes()));
            for (group, page) in node.pages.iter().enumerate() {
                let Some(CopiedPage { place, tenant, worth, left }) = *page else { continue };
                put(&mut record, tenant.to_le_bytes());
                record.push(u8::from(worth == Worth::Resume));
                put(&mut record, left.to_le_bytes());
                let start = record.len();
                record.resize(start + self.groups[group].1, 0);
                read_page(group, place, &mut record[start..])?;
            }
            let sum = checksum(number + 1, &record);
            put(&mut record, sum.to_le_bytes());
            out.write_all(&record)?;
            n_bytes += record.len() as u64;
        }
        Ok(n_bytes)
    }

    /// Reads a file: `take` gets every node, with the bytes of its pages by cache group, once they are verified. It says
    /// whether the node can be. Returns the number of bytes and the key of salts.
    pub(crate) fn read(
        &self,
        input: &mut dyn Read,
        mut take: impl FnMut(&CopiedNode, &[Option<&[u8]>]) -> Result<bool, StepError>,
    ) -> Result<(u64, [u8; 16]), CacheFileError> {
        let (salt_key, n_records) = self.read_header(input)?;
        let mut n_bytes = self.header_len() as u64;
        let mut record = Vec::new();
        for number in 0..n_records {
            let damaged = || CacheFileError::Damaged { record: number, n_records };
            let mut fill = |part: &mut [u8]| match read_up_to(input, part) {
                Ok(n) if n < part.len() => Err(CacheFileError::Truncated { record: number, n_records }),
                Ok(_) => Ok(()),
                Err(e) => Err(e.into()),
            };
            record.clear();
            record.resize(HEAD, 0);
            fill(&mut record)?;
            let mut fields = Fields(&record);
            let parent = fields.u32().ok_or_else(damaged)?;
            let n_resumed = fields.u8().ok_or_else(damaged)?;
            let mask = fields.u32().ok_or_else(damaged)?;
            let salt = fields.u64().ok_or_else(damaged)?;
            let mut tokens = Box::new([0; PAGE_LEN]);
            for token in tokens.iter_mut() {
                *token = fields.u32().ok_or_else(damaged)?;
            }
            let has_page = |group: usize| mask >> group & 1 == 1;
            let pages = self.groups.iter().enumerate().filter(|(group, _)| has_page(*group));
            let n_page_bytes: usize = pages.map(|(_, (_, n_bytes))| PAGE_HEAD + n_bytes).sum();
            record.resize(HEAD + n_page_bytes + 8, 0);
            fill(&mut record[HEAD..])?;
            let (body, sum) = record.split_at(HEAD + n_page_bytes);
            if sum != checksum(number + 1, body).to_le_bytes() {
                return Err(damaged());
            }
            let mut fields = Fields(&body[HEAD..]);
            let (mut pages, mut bytes) = (Vec::new(), Vec::new());
            for (group, (_, n_bytes)) in self.groups.iter().enumerate() {
                if !has_page(group) {
                    pages.push(None);
                    bytes.push(None);
                    continue;
                }
                let tenant = fields.u32().ok_or_else(damaged)?;
                let worth = if fields.u8() == Some(1) { Worth::Resume } else { Worth::Passed };
                let left = fields.u64().ok_or_else(damaged)?;
                pages.push(Some(CopiedPage { place: Place::Pool(PageId(0)), tenant, worth, left }));
                bytes.push(Some(fields.bytes(*n_bytes).ok_or_else(damaged)?));
            }
            let parent = (parent != ROOT).then_some(parent as usize);
            if !take(&CopiedNode { parent, salt, tokens, n_resumed, pages }, &bytes)? {
                return Err(damaged());
            }
            n_bytes += record.len() as u64;
        }
        Ok((n_bytes, salt_key))
    }
}

fn put<const N: usize>(out: &mut Vec<u8>, bytes: [u8; N]) {
    out.extend_from_slice(&bytes);
}

/// Fills `out` as far as there are bytes; returns how many there were.
fn read_up_to(input: &mut dyn Read, out: &mut [u8]) -> io::Result<usize> {
    let mut n = 0;
    while n < out.len() {
        match input.read(&mut out[n..]) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(n)
}

/// A checksum for accidents, of parts of a cache file: words of eight bytes, each a step that loses nothing, so that a wrong word
/// always shows. `seed` is 0 for the header, and one more than its number for a record.
pub fn checksum(seed: u64, bytes: &[u8]) -> u64 {
    let step = |sum: u64, word: u64| {
        let mixed = (sum ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed ^ mixed >> 32
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let sum =
        words.iter().fold(step(seed, bytes.len() as u64), |sum, word| step(sum, u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    step(sum, u64::from_le_bytes(last))
}

/// Bytes that are left to read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (first, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(first)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}
