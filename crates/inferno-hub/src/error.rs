//! Errors, each of which says what to do next.

use std::path::PathBuf;

/// A model that could not be found or downloaded.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are what the messages say")]
pub enum HubError {
    #[error("`{name}` is not a model name: {expected}")]
    Name { name: String, expected: &'static str },
    #[error("`{name}` is not a file here and no model's name{}; `inferno list --available` lists the names, and \
             `owner/repository:QUANT` takes any repository of the hub", near_to(.near))]
    UnknownAlias { name: String, near: Vec<String> },
    #[error("`{what}` is not in the cache ({cache}), and `--offline` (or HF_HUB_OFFLINE) forbids a download")]
    Offline { what: String, cache: PathBuf },
    #[error(
        "cannot reach {host}: {source}. Check the network, HTTPS_PROXY and HF_ENDPOINT; `--offline` works with what is there"
    )]
    Connect { host: String, source: Box<ureq::Error> },
    #[error(
        "{host} answers nothing for {seconds} s; what has come is kept, and the same command goes on from there"
    )]
    Stalled { host: String, seconds: u64 },
    #[error(
        "{repo} is gated{}: log in and accept its terms at {page}, make a token at {tokens}, and set HF_TOKEN to it",
        if *.has_token { ", and the token in use (HF_TOKEN, or that of `hf auth login`) has no access to it" } else { "" }
    )]
    Gated { repo: String, page: String, tokens: String, has_token: bool },
    #[error(
        "{repo} does not exist on {host}, or is private: check the spelling, or set HF_TOKEN to {} that may read it",
        if *.has_token { "another token" } else { "a token" }
    )]
    NoRepo { repo: String, host: String, has_token: bool },
    #[error("the token (HF_TOKEN) may not read {repo}: give it the permission to read, or take another one")]
    Forbidden { repo: String },
    #[error("{repo} has no revision `{revision}`")]
    NoRevision { repo: String, revision: String },
    #[error("{repo} has no file `{file}`")]
    NoFile { repo: String, file: String },
    #[error("{repo} has no GGUF file{}", found_there(.found))]
    NoModel { repo: String, found: Vec<String> },
    #[error("{repo} has no quant `{tag}`: it has {}", .known.join(", "))]
    NoQuant { repo: String, tag: String, known: Vec<String> },
    #[error(
        "no quant of {repo} fits into the {} of memory that are free: the smallest is {quant} of {}. `{repo}:{quant}` takes it \
         all the same",
        shown(*.room), shown(*.size)
    )]
    NothingFits { repo: String, quant: String, size: u64, room: u64 },
    #[error("`{file}` was removed from the cache by another process")]
    Removed { file: String },
    #[error("{host} asks for a pause of {seconds} s (too many requests); HF_TOKEN raises the limit")]
    Busy { host: String, seconds: u64 },
    #[error("{host} answers {status}{}", behind(.message))]
    Status { host: String, status: u16, message: String },
    #[error("{host} answers what is not the hub's protocol: {what}")]
    Protocol { host: String, what: String },
    #[error(
        "{host} redirects to {target}, which is not one of the hub's own hosts; if it is yours, name it in INFERNO_HUB_HOSTS"
    )]
    Redirect { host: String, target: String },
    #[error(
        "`{file}` ends after {found} of {expected} bytes, again and again; the same command goes on from there"
    )]
    Short { file: String, expected: u64, found: u64 },
    #[error("`{file}` is longer than the {expected} bytes that the hub declares; nothing of it is kept")]
    Long { file: String, expected: u64 },
    #[error("the checksum of `{file}` is wrong: {found}, expected {expected}; nothing of it is kept")]
    Checksum { file: String, expected: String, found: String },
    #[error(
        "`{file}` needs {} more and the disk of {folder} has {}: make room, or set HF_HOME to a folder on another disk",
        shown(*.need), shown(*.free)
    )]
    DiskFull { file: String, folder: PathBuf, need: u64, free: u64 },
    #[error("`{path}`: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("the download was cancelled; what has come is kept, and the same command goes on from there")]
    Cancelled,
}

impl HubError {
    /// Turns an error of the file system at `path` into one of ours.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> HubError {
        let path = path.into();
        move |source| HubError::Io { path, source }
    }

    /// Whether the same request may succeed a little later.
    pub(crate) fn passes(&self) -> bool {
        match self {
            HubError::Connect { .. } | HubError::Stalled { .. } | HubError::Short { .. } => true,
            HubError::Status { status, .. } => matches!(status, 403 | 408 | 500..=599),
            _ => false,
        }
    }
}

/// Bytes for people, in units of a thousand, as hubs have it.
pub(crate) fn shown(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

fn near_to(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!(", the nearest are {}", names.join(", ")) }
}

fn found_there(files: &[String]) -> String {
    match files {
        [] => String::new(),
        files => format!(", but {}: look for a repository whose name ends in `-GGUF`", files.join(", ")),
    }
}

fn behind(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}
