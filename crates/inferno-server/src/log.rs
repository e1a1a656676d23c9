//! Log lines, as text or as JSON, to stderr. Nobody waits for whoever reads them: if they do not, lines are dropped and
//! counted.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

pub use tracing::level_filters::LevelFilter as Level;
use tracing_subscriber::fmt::MakeWriter;

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

/// Lines that nobody took.
pub(crate) fn n_dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Sends all that is logged from now on to stderr, through a thread of its own.
///
/// # Errors
/// There is no thread to be had, or the log is kept already.
pub fn start(format: Format, level: Level) -> io::Result<()> {
    let (lines, received) = sync_channel::<Vec<u8>>(WAITING);
    std::thread::Builder::new().name("log".into()).spawn(move || {
        while let Ok(mut lines) = received.recv() {
            // What has come meanwhile goes with it.
            while lines.len() < AT_ONCE
                && let Ok(line) = received.try_recv()
            {
                lines.extend(line);
            }
            let _ = io::stderr().write_all(&lines);
        }
    })?;
    let builder = tracing_subscriber::fmt().with_max_level(level).with_target(false).with_ansi(false);
    let builder = builder.with_writer(Lines(lines));
    let result = match format {
        Format::Text => builder.try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    result.map_err(io::Error::other)
}

struct Lines(SyncSender<Vec<u8>>);

/// A line that is sent when it is whole.
pub struct Line<'a> {
    bytes: Vec<u8>,
    lines: &'a SyncSender<Vec<u8>>,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { bytes: Vec::new(), lines: &self.0 }
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
        if self.lines.try_send(std::mem::take(&mut self.bytes)).is_err() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }
}
