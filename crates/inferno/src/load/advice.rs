//! Advice in errors about a path that leads to no model.

use std::path::Path;

use anyhow::{Error, anyhow};
use inferno_format::FormatError;

/// Most files of a folder that are listed.
const LISTED: usize = 5;

/// The error of opening `path`, with what to do about it where that can be guessed.
pub(super) fn with_advice(path: &Path, e: FormatError) -> Error {
    let advice = match &e {
        FormatError::Io { action: "open", source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            missing(path)
        }
        FormatError::NotAFile { found: "a directory", .. } => inside(path),
        FormatError::Truncated { .. } => Some(unfinished(path)),
        // A count that is larger than what is left of the file.
        FormatError::Invalid { field, expected, .. }
            if field.ends_with(" count") && expected.contains("fit the") =>
        {
            Some(unfinished(path))
        }
        FormatError::Invalid { field, .. } if field == "magic" => {
            Some("it is not a GGUF file, whatever its name says".into())
        }
        FormatError::Unsupported { field, found, .. } if field == "version" && found == "1" => {
            Some("it is from before October 2023: download or convert the model again".into())
        }
        _ => None,
    };
    let by_name = has_unfinished_name(path).then(|| "by its name it is an unfinished download".to_owned());
    let error = match e {
        // Its display leaves out what the system said.
        FormatError::Io { .. } => anyhow!("{:#}", Error::new(e)),
        e => Error::new(e),
    };
    match by_name.or(advice) {
        Some(advice) => anyhow!("{error:#}: {advice}"),
        None => error,
    }
}

/// Advice for a file that ends too early.
fn unfinished(path: &Path) -> String {
    match std::fs::metadata(path).map(|meta| meta.len()) {
        Ok(0) => "the file is empty, probably an unfinished download".into(),
        _ => "the file is shorter than its header says: probably an unfinished download, get the rest (`curl -L -C - -O URL`)".into(),
    }
}

/// Tells whether the name has an ending that programs give to files they are still writing.
fn has_unfinished_name(path: &Path) -> bool {
    let endings = ["part", "incomplete", "crdownload", "download", "aria2", "tmp", "partial", "downloading"];
    path.extension()
        .and_then(|e| e.to_str())
        .is_some_and(|e| endings.contains(&e.to_ascii_lowercase().as_str()))
}

fn missing(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Some(match models(folder) {
        Some(files) => format!("the folder has {files}"),
        None => "`inferno list` lists models that are here, and `inferno list --available` those to download"
            .into(),
    })
}

fn inside(folder: &Path) -> Option<String> {
    if let Some(files) = models(folder) {
        return Some(format!("name a file in it, it has {files}"));
    }
    let has_safetensors = names_in(folder).iter().any(|name| name.ends_with(".safetensors"));
    has_safetensors.then(|| {
        "it has a safetensors model: download the GGUF of it, or convert it with llama.cpp's `convert_hf_to_gguf.py`".into()
    })
}

/// The GGUF files of a folder, if it has some.
fn models(folder: &Path) -> Option<String> {
    let mut names = names_in(folder);
    names.retain(|name| name.to_ascii_lowercase().ends_with(".gguf"));
    names.sort_unstable();
    let mut list = names.iter().take(LISTED).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > LISTED {
        list += &format!(" and {} more", names.len() - LISTED);
    }
    (!names.is_empty()).then_some(list)
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
