//! History of messages and commands, kept between runs: one JSON string per line, the newest last.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Entries that are kept.
pub(super) const ENTRIES: usize = 1000;
/// Bytes at the end of the file that are read.
const MAX_BYTES: u64 = 4 << 20;
/// Longer entries are not kept.
const MAX_ENTRY: usize = 64 << 10;

/// The history file.
#[derive(Debug)]
pub(super) struct History {
    path: PathBuf,
    /// The newest entry, which is not written twice.
    last: Option<String>,
}

impl History {
    /// The user's own file: `inferno/chat_history.jsonl` in the directory for state of the XDG base directories. `None` if there
    /// is no such directory.
    pub(super) fn of_user() -> Option<History> {
        let path = state_dir(|name| std::env::var_os(name))?.join("inferno").join("chat_history.jsonl");
        Some(History { path, last: None })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the entries, oldest first. A file that has grown long is cut.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub(super) fn read(&mut self) -> io::Result<Vec<String>> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(MAX_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes)?;
        // Lines that are no entries, as a part of one at the beginning, are left out.
        let entry = |line: &[u8]| serde_json::from_slice::<String>(line).ok();
        let mut entries: Vec<String> = bytes.split(|&byte| byte == b'\n').filter_map(entry).collect();
        let is_long = entries.len() > 2 * ENTRIES || len > MAX_BYTES;
        entries.drain(..entries.len().saturating_sub(ENTRIES));
        if is_long {
            self.replace(&entries)?;
        }
        self.last = entries.last().cloned();
        Ok(entries)
    }

    /// Adds an entry at once: chats that run at the same time share the file, and none need end well.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn add(&mut self, entry: &str) -> io::Result<()> {
        if entry.len() > MAX_ENTRY || self.last.as_deref() == Some(entry) {
            return Ok(());
        }
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut options = private();
        options.append(true).create(true).open(&self.path)?.write_all(line(entry).as_bytes())?;
        self.last = Some(entry.to_owned());
        Ok(())
    }

    fn replace(&self, entries: &[String]) -> io::Result<()> {
        let new = self.path.with_extension(format!("{}.tmp", std::process::id()));
        let lines: String = entries.iter().map(|entry| line(entry)).collect();
        private().write(true).create_new(true).open(&new)?.write_all(lines.as_bytes())?;
        fs::rename(&new, &self.path)
    }
}

fn line(entry: &str) -> String {
    serde_json::Value::from(entry).to_string() + "\n"
}

/// For a file that only its owner may read.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// The user's directory for state, by the XDG Base Directory Specification; on Windows that for local data.
fn state_dir(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if cfg!(windows) {
        return absolute("LOCALAPPDATA");
    }
    absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_several_lines_come_back_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let new = || History { path: folder.path().join("a/b/history"), last: None };
        assert_eq!(new().read().unwrap(), [""; 0]);
        let mut one = new();
        for entry in ["one", "two\nlines \"quoted\"", "two\nlines \"quoted\"", "Grüße"] {
            one.add(entry).unwrap();
        }
        one.add(&"x".repeat(MAX_ENTRY + 1)).unwrap();
        // What is no entry is left alone.
        private().append(true).open(one.path()).unwrap().write_all(b"{\n\xff\n").unwrap();
        assert_eq!(new().read().unwrap(), ["one", "two\nlines \"quoted\"", "Grüße"]);
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::mode(&one.path().metadata().unwrap().permissions());
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_long_file_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let mut history = History { path: folder.path().join("history"), last: None };
        let lines: String = (0..2 * ENTRIES + 1).map(|i| line(&i.to_string())).collect();
        fs::write(&history.path, lines).unwrap();
        let entries = history.read().unwrap();
        assert_eq!((entries.len(), entries[ENTRIES - 1].as_str()), (ENTRIES, "2000"));
        assert_eq!(fs::read_to_string(&history.path).unwrap().lines().count(), ENTRIES);
    }

    #[cfg(unix)]
    #[test]
    fn the_state_directory_is_that_of_xdg() {
        let dir = |vars: &[(&str, &str)]| {
            state_dir(|name| vars.iter().find(|(var, _)| *var == name).map(|(_, value)| value.into()))
        };
        assert_eq!(dir(&[("XDG_STATE_HOME", "/s"), ("HOME", "/h")]), Some("/s".into()));
        assert_eq!(dir(&[("XDG_STATE_HOME", "s"), ("HOME", "/h")]), Some("/h/.local/state".into()));
        assert_eq!(dir(&[]), None);
    }
}
