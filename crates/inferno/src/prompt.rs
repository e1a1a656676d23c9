//! The text of a prompt: words of the command line, files, and what is piped in.

use std::io::{BufRead, ErrorKind, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::commands::{MAX_PROMPT_BYTES, note};

/// A pipe beside a prompt is waited for in silence for this long.
const QUIET: Duration = Duration::from_secs(2);
/// A pipe beside a prompt has to bring its first byte, or its end, before this.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sources of a prompt.
#[derive(Debug, Default)]
pub(crate) struct Parts<'a> {
    /// Words that are joined by spaces; a last one of `-` stands for stdin, whatever it is.
    pub(crate) words: &'a [String],
    /// Files, each put behind a blank line.
    pub(crate) files: &'a [PathBuf],
}

impl Parts<'_> {
    /// The parts that are not blank, with a blank line between each two: words, files, stdin if it is no terminal.
    ///
    /// # Errors
    /// All is blank, not text or too long; or stdin is a pipe that brings nothing and has no end.
    pub(crate) fn text(&self) -> Result<String> {
        let text = self.join(|part| !part.trim().is_empty())?;
        ensure!(!text.is_empty(), "the prompt is empty");
        Ok(text)
    }

    /// As [`Parts::text`], with blank parts as they are. It is empty if an empty prompt was given.
    ///
    /// # Errors
    /// As [`Parts::text`], except that the text may be blank.
    pub(crate) fn raw_text(&self) -> Result<String> {
        self.join(|part| !part.is_empty())
    }

    fn join(&self, is_kept: impl Fn(&str) -> bool) -> Result<String> {
        let (words, is_stdin_named) = match self.words.split_last() {
            Some((last, words)) if last == "-" => (words, true),
            _ => (self.words, false),
        };
        let mut parts = vec![words.join(" ")];
        for file in self.files {
            parts.push(read_file(file)?);
        }
        let is_alone = parts.iter().all(|part| part.trim().is_empty());
        if is_stdin_named || !std::io::stdin().is_terminal() {
            let has_deadline = !is_stdin_named && !is_alone;
            parts.push(read_stdin(has_deadline.then_some(PATIENCE))?);
        } else if is_alone && words.is_empty() && self.files.is_empty() {
            bail!("there is no prompt: give one as an argument (`inferno run \"Hello\"`) or pipe it in");
        }
        parts.retain(|part| is_kept(part));
        let text = parts.join("\n\n");
        ensure!(
            text.len() as u64 <= MAX_PROMPT_BYTES,
            "the prompt has {} bytes, at most {MAX_PROMPT_BYTES} (16 MiB) are read",
            text.len()
        );
        Ok(text)
    }
}

/// The text of a file, without the newline at its end.
///
/// # Errors
/// The file cannot be read, is no text, or is longer than a prompt may be.
pub(crate) fn read_file(path: &Path) -> Result<String> {
    let name = path.display();
    let file = std::fs::File::open(path).with_context(|| format!("`{name}`: cannot open"))?;
    let is_folder = file.metadata().is_ok_and(|meta| meta.is_dir());
    ensure!(!is_folder, "`{name}` is a directory, expected a text file");
    let text = read_text(file, &format!("`{name}`"))?;
    if let Some(at) = text.find('\0') {
        bail!("`{name}` is not text: byte {at} is zero");
    }
    Ok(text)
}

/// All of `from`, which messages call `name`, without one newline at its end.
///
/// # Errors
/// The source cannot be read, is no UTF-8, or is longer than a prompt may be.
pub(crate) fn read_text(from: impl Read, name: &str) -> Result<String> {
    let mut bytes = Vec::new();
    from.take(MAX_PROMPT_BYTES + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {name}"))?;
    ensure!(
        bytes.len() as u64 <= MAX_PROMPT_BYTES,
        "{name} has more than {MAX_PROMPT_BYTES} bytes (16 MiB), which is the longest prompt that is read"
    );
    let mut text = String::from_utf8(bytes)
        .map_err(|e| anyhow!("{name} is not UTF-8 at byte {}", e.utf8_error().valid_up_to()))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

/// Messages of the thread that reads stdin.
enum Heard {
    /// The first byte, or the end.
    Something,
    /// All of it.
    All(Result<String>),
}

/// Stdin, to its end. If nothing comes before the deadline, neither text nor the end, it is an error: stdin may be a pipe
/// that was only inherited, but an answer without what is in it may be a wrong one.
fn read_stdin(deadline: Option<Duration>) -> Result<String> {
    let (sender, heard) = mpsc::channel();
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        // Interruptions and errors come again in what reads all.
        while matches!(stdin.fill_buf(), Err(e) if e.kind() == ErrorKind::Interrupted) {}
        // The receiver is gone if the wait has ended in an error.
        let _ = sender.send(Heard::Something);
        let _ = sender.send(Heard::All(read_text(stdin, "stdin")));
    });
    let Some(deadline) = deadline else { return all(&heard) };
    let started = Instant::now();
    if matches!(heard.recv_timeout(QUIET.min(deadline)), Err(RecvTimeoutError::Timeout)) {
        note(
            "waiting for text from stdin, which is a pipe; its end (Ctrl-D) or `</dev/null` makes the prompt stand alone",
        );
        let left = deadline.saturating_sub(started.elapsed());
        if matches!(heard.recv_timeout(left), Err(RecvTimeoutError::Timeout)) {
            bail!(
                "stdin is a pipe on which nothing came for {} seconds: add `</dev/null` to answer the prompt alone, or `-` \
                 behind the prompt to wait for as long as it takes",
                deadline.as_secs()
            );
        }
    }
    all(&heard)
}

fn all(heard: &Receiver<Heard>) -> Result<String> {
    loop {
        match heard.recv() {
            Ok(Heard::Something) => {}
            Ok(Heard::All(text)) => return text,
            Err(_) => bail!("cannot read stdin"),
        }
    }
}
