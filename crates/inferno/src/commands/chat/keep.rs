//! Conversations in files.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

use super::conversation::Conversation;
use crate::prompt::read_file;

/// Writes the conversation to a file that is not there yet, or to the one it was saved in or loaded from last; what to say of
/// it.
///
/// # Errors
/// No file is named, it is there already, or it cannot be written.
pub(super) fn save(conversation: &mut Conversation, name: &str) -> Result<String> {
    let path = match (name, &conversation.file) {
        ("", None) => return Err(anyhow!("`/save` takes the name of a new file")),
        ("", Some(path)) => path.clone(),
        (name, _) => expanded(name),
    };
    let text = format!("{:#}\n", conversation.to_json());
    if conversation.file.as_ref() == Some(&path) {
        replace(&path, &text)?;
    } else {
        create(&path, &text)?;
    }
    let said = format!("saved {} in `{}`", conversation.turns(), path.display());
    conversation.file = Some(path);
    Ok(said)
}

/// Reads the conversation of a file.
///
/// # Errors
/// The file cannot be read, or is no conversation.
pub(super) fn load(name: &str) -> Result<Conversation> {
    let path = expanded(name);
    let text = read_file(&path)?;
    let mut conversation = Conversation::from_json(&text)
        .with_context(|| format!("`{}` is not a conversation", path.display()))?;
    conversation.file = Some(path);
    Ok(conversation)
}

fn create(path: &Path, text: &str) -> Result<()> {
    let name = path.display();
    let mut file =
        OpenOptions::new().write(true).create_new(true).open(path).map_err(|e| match e.kind() {
            ErrorKind::AlreadyExists => {
                anyhow!("`{name}` exists and is kept: `/save` takes the name of a new file")
            }
            _ => anyhow!("`{name}`: cannot create: {e}"),
        })?;
    file.write_all(text.as_bytes()).with_context(|| format!("`{name}`: cannot write"))
}

/// Replaces a file at once, or not at all.
fn replace(path: &Path, text: &str) -> Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(format!(".{}.tmp", std::process::id()));
    let new = PathBuf::from(new);
    let written = create(&new, text).and_then(|()| {
        fs::rename(&new, path).with_context(|| format!("`{}`: cannot replace", path.display()))
    });
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

/// A path as it was typed: without quotes around it, and with `~` for the home directory.
pub(super) fn expanded(typed: &str) -> PathBuf {
    let inner = ['"', '\''].iter().find_map(|&quote| typed.strip_prefix(quote)?.strip_suffix(quote));
    let typed = inner.unwrap_or(typed);
    let home = || std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    match typed.strip_prefix('~') {
        Some("") => home().unwrap_or_else(|| typed.into()),
        Some(rest) => match (rest.strip_prefix('/'), home()) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => typed.into(),
        },
        None => typed.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_again_only_by_the_conversation_that_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("talk.json");
        let name = path.to_str().unwrap();
        let mut talk = Conversation::new(Some("Be kind.".into()));
        assert!(save(&mut talk, "").is_err());
        save(&mut talk, &format!("\"{name}\"")).unwrap();
        talk.system = Some("Be brief.".into());
        save(&mut talk, "").unwrap();
        let mut loaded = load(name).unwrap();
        assert_eq!(loaded.system.as_deref(), Some("Be brief."));
        save(&mut loaded, name).unwrap();
        let error = save(&mut Conversation::default(), name).unwrap_err().to_string();
        assert!(error.contains("exists and is kept"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
