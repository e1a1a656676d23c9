//! The file of kept responses (`--responses-file`): read at the start, written at the end.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use inferno_server::Control;

/// The file, and the server whose responses it has.
pub(super) struct ResponsesFile {
    path: PathBuf,
    control: Control,
}

impl ResponsesFile {
    /// Reads the file into the server. One that is not there is made at the end.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else than kept responses.
    pub(super) fn open(path: &Path, control: Control) -> Result<ResponsesFile> {
        match File::open(path) {
            Ok(file) => {
                let loaded = control.load_responses(BufReader::new(file));
                let n = loaded.with_context(|| {
                    format!("cannot read responses from `{}` (`--responses-file`)", path.display())
                })?;
                tracing::info!(responses = n, "kept responses read from `{}`", path.display());
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot read `{}` (`--responses-file`)", path.display()));
            }
        }
        Ok(ResponsesFile { path: path.to_owned(), control })
    }

    /// Writes the server's responses into a new file, which takes the place of the old one.
    ///
    /// # Errors
    /// The new file cannot be written.
    pub(super) fn write(&self) -> Result<()> {
        let mut name = self.path.clone().into_os_string();
        name.push(".new");
        let new = PathBuf::from(name);
        let written = self.write_to(&new).and_then(|()| Ok(fs::rename(&new, &self.path)?));
        written.with_context(|| format!("cannot write kept responses to `{}`", self.path.display()))
    }

    fn write_to(&self, path: &Path) -> Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        // Conversations are their users' own.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut out = BufWriter::new(options.open(path)?);
        self.control.save_responses(&mut out)?;
        out.flush()?;
        Ok(())
    }
}
