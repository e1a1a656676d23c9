//! Models split over several files: `name-00001-of-00003.gguf` and so on.
//!
//! Source: `gguf-split` in llama.cpp (`llama_split_path`, keys `split.no`, `split.count`,
//! `split.tensors.count`).
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::fmt;
use std::path::{Path, PathBuf};

use super::limits::MAX_SHARDS;
use crate::error::{FileName, FormatError};
use crate::metadata::Metadata;

/// A path of the form `PREFIX-NNNNN-of-NNNNN.gguf`.
struct ShardName<'a> {
    directory: &'a Path,
    prefix: &'a str,
    count: u32,
}

impl<'a> ShardName<'a> {
    fn parse(path: &'a Path) -> Option<ShardName<'a>> {
        let name = path.file_name()?.to_str()?.strip_suffix(".gguf")?;
        let (rest, count) = name.rsplit_once("-of-")?;
        let (prefix, no) = rest.rsplit_once('-')?;
        let digits = |s: &str| s.len() == 5 && s.bytes().all(|b| b.is_ascii_digit());
        if !digits(count) || !digits(no) {
            return None;
        }
        let (no, count): (u32, u32) = (no.parse().ok()?, count.parse().ok()?);
        let directory = path.parent()?;
        (1 <= no && no <= count).then_some(ShardName { directory, prefix, count })
    }

    fn path(&self, no: u32) -> PathBuf {
        let shown_no = no.saturating_add(1);
        self.directory.join(format!("{}-{shown_no:05}-of-{:05}.gguf", self.prefix, self.count))
    }
}

/// The files of the model that `path` belongs to, in order; `path` itself if its name is not a shard's.
pub(crate) fn paths(path: &Path) -> Result<Vec<PathBuf>, FormatError> {
    match ShardName::parse(path) {
        Some(name) if name.count > MAX_SHARDS => Err(mismatch(
            FileName::path(path),
            "number of files in the name",
            format!("at most {MAX_SHARDS}"),
            name.count,
        )),
        Some(name) if name.count > 1 => Ok((0..name.count).map(|no| name.path(no)).collect()),
        _ => Ok(vec![path.to_owned()]),
    }
}

/// `metadata` of file `no` of `count` agrees that it is that.
pub(crate) fn check(file: FileName, metadata: &Metadata, no: usize, count: usize) -> Result<(), FormatError> {
    let found_count = number(&file, metadata, "split.count")?.unwrap_or(1).max(1);
    if count == 1 && found_count > 1 {
        let expected = format!("`NAME-00001-of-{found_count:05}.gguf`, as the model has several files");
        return Err(mismatch(file, "file name", expected, "another"));
    }
    if found_count != count as u64 {
        return Err(mismatch(file, "key `split.count`", count, found_count));
    }
    let found_no = number(&file, metadata, "split.no")?.unwrap_or(0);
    if found_no != no as u64 {
        return Err(mismatch(file, "key `split.no`", no, found_no));
    }
    Ok(())
}

/// All files together have as many tensors as the first one says.
pub(crate) fn check_total(file: FileName, metadata: &Metadata, n_tensors: usize) -> Result<(), FormatError> {
    match number(&file, metadata, "split.tensors.count")? {
        Some(expected) if expected != n_tensors as u64 => {
            Err(mismatch(file, "number of tensors in all files", expected, n_tensors))
        }
        _ => Ok(()),
    }
}

/// Two files have a tensor of the same name.
pub(crate) fn duplicate(file: FileName, name: &str) -> FormatError {
    let found = format!("{}, which an earlier file has too", crate::error::shown(name));
    mismatch(file, "name of a tensor", "a name of its own", found)
}

/// All files together have too many tensors.
pub(crate) fn too_many(file: FileName, limit: u64, found: usize) -> FormatError {
    mismatch(file, "number of tensors up to this file", format!("at most {limit}"), found)
}

fn number(file: &FileName, metadata: &Metadata, key: &'static str) -> Result<Option<u64>, FormatError> {
    let unfit = |_| {
        let found = metadata.get(key).map_or("nothing".into(), |v| v.to_string());
        mismatch(file.clone(), &format!("key `{key}`"), "an integer", found)
    };
    Ok(metadata.opt_u32(key).map_err(unfit)?.map(u64::from))
}

fn mismatch(
    file: FileName,
    field: &str,
    expected: impl fmt::Display,
    found: impl fmt::Display,
) -> FormatError {
    let (expected, found) = (expected.to_string(), found.to_string());
    FormatError::Split { file, field: field.into(), expected, found }
}
