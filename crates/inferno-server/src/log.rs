//! Log lines, as text or as JSON, to stderr or to a file. Requests never wait for the log's reader: lines that it does not
//! take in time, and lines that cannot be written, are dropped and counted.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

pub use tracing::level_filters::LevelFilter as Level;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// An object a line.
    Json,
}

/// Bytes that are written at once, about.
const AT_ONCE: usize = 16 << 10;
/// Lines that may wait to be written.
const WAITING: usize = 4096;

static DROPPED: AtomicU64 = AtomicU64::new(0);
static LOG: OnceLock<Log> = OnceLock::new();

/// Lines that were not written.
pub(crate) fn n_dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Logs a text of a user's, as JSON: as a value where lines are JSON.
pub(crate) fn text(request_id: &str, name: &str, value: &serde_json::Value) {
    match LOG.get() {
        Some(Log { format: Format::Json, level, messages, .. }) if *level >= Level::INFO => {
            let mut timestamp = String::new();
            let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
            let line = serde_json::json!({
                "timestamp": timestamp, "level": "INFO", "message": "asked", "request_id": request_id, name: value,
            });
            send(messages, format!("{line}\n").into_bytes());
        }
        Some(Log { format: Format::Json, .. }) => {}
        _ => tracing::info!(request_id, "asked {name}={value}"),
    }
}

/// The log of this process.
#[derive(Debug)]
struct Log {
    format: Format,
    level: Level,
    file: Option<PathBuf>,
    messages: SyncSender<Message>,
}

/// A message to the log's thread.
#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Lines go here from now on.
    File(File),
    /// All lines before are written once this is dropped.
    Flush(#[expect(dead_code, reason = "its end is the message")] SyncSender<()>),
}

/// Sends all that is logged from now on to `file`, which is appended to, or to stderr, through a thread of its own.
///
/// # Errors
/// The file cannot be opened, no thread can be started, or the log has been started before.
pub fn start(format: Format, level: Level, file: Option<&Path>) -> io::Result<()> {
    let mut out: Box<dyn Write + Send> = match file {
        Some(path) => Box::new(open(path)?),
        None => Box::new(io::stderr()),
    };
    let (messages, received) = sync_channel::<Message>(WAITING);
    std::thread::Builder::new().name("log".into()).spawn(move || {
        let mut lines = Vec::new();
        while let Ok(message) = received.recv() {
            let mut next = Some(message);
            // Lines that have come meanwhile go with it.
            while let Some(Message::Line(line)) = next {
                lines.extend(line);
                next = if lines.len() < AT_ONCE { received.try_recv().ok() } else { None };
            }
            write(&mut out, &lines);
            lines.clear();
            match next {
                Some(Message::File(file)) => out = Box::new(file),
                Some(Message::Line(_) | Message::Flush(_)) | None => {}
            }
        }
    })?;
    let lines = Lines(messages.clone());
    let log = Log { format, level, file: file.map(Path::to_owned), messages };
    LOG.set(log).map_err(|_| io::Error::other("the log has been started before"))?;
    let builder = tracing_subscriber::fmt().with_max_level(level).with_target(false).with_ansi(false);
    let builder = builder.with_writer(lines);
    let result = match format {
        Format::Text => builder.try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    result.map_err(io::Error::other)
}

/// Opens the log's file again, for programs that move it away (`logrotate`); its path, or `None` if the log has no file.
///
/// # Errors
/// The file cannot be opened; lines go on to the old one.
pub fn reopen() -> io::Result<Option<&'static Path>> {
    let Some(Log { file: Some(path), messages, .. }) = LOG.get() else { return Ok(None) };
    let file = open(path)?;
    messages.send(Message::File(file)).map_err(io::Error::other)?;
    Ok(Some(path))
}

/// Waits until the lines so far are written, for `time` at most. For the end of the program.
pub fn flush(time: std::time::Duration) {
    let Some(log) = LOG.get() else { return };
    let (sender, written) = sync_channel(0);
    if log.messages.try_send(Message::Flush(sender)).is_ok() {
        let _ = written.recv_timeout(time);
    }
}

/// Hands a line to the log's thread, or counts it if that has too many.
fn send(messages: &SyncSender<Message>, line: Vec<u8>) {
    if messages.try_send(Message::Line(line)).is_err() {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Writes whole lines; those that cannot be written are counted.
fn write(out: &mut dyn Write, lines: &[u8]) {
    let mut left = lines;
    while !left.is_empty() {
        match out.write(left) {
            Ok(n) if n > 0 => left = &left[n..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => {
                let n_lost = left.iter().filter(|byte| **byte == b'\n').count();
                DROPPED.fetch_add(n_lost as u64, Ordering::Relaxed);
                return;
            }
        }
    }
}

struct Lines(SyncSender<Message>);

/// A line that is sent when it is whole.
pub struct Line<'a> {
    bytes: Vec<u8>,
    messages: &'a SyncSender<Message>,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { bytes: Vec::new(), messages: &self.0 }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        send(self.messages, std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes this number of bytes, and then no more.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.0);
            self.0 -= n;
            if n == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(n) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let before = n_dropped();
        write(&mut Full(100), b"one\ntwo\n");
        assert_eq!(n_dropped() - before, 0);
        write(&mut Full(5), b"one\ntwo\nthree\n");
        assert_eq!(n_dropped() - before, 2);
    }
}
