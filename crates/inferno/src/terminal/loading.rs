//! Progress of loading a model, on a terminal.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use inferno_format::ReadProgress;

use super::{FREE_COLUMNS, Size, is_dumb, visible};
use crate::answer::wrapped;
use crate::interrupt;
use crate::kv_memory::shown;

/// Time between two updates of the line.
const UPDATE: Duration = Duration::from_millis(100);

/// A line on the terminal while a model is loaded, with its size and the share that is read. It is replaced by a summary at the
/// end, and erased if loading fails. Ctrl-C stops loading, if it does not end the program. Where stderr is no terminal there is none.
pub(crate) struct Loading {
    line: Option<Line>,
}

/// The line that is shown, and the thread that updates it.
struct Line {
    end: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Loading {
    /// Shows the line for a model of `n_bytes`, and updates it from `progress`.
    pub(crate) fn start(name: &str, n_bytes: u64, progress: Arc<ReadProgress>) -> Loading {
        if !std::io::stderr().is_terminal() {
            return Loading { line: None };
        }
        let text = format!("loading {} ({}) …", visible(name), shown(n_bytes));
        let _ = write!(std::io::stderr(), "{text}");
        let (end, ended) = channel();
        let update = move || {
            let mut last = None;
            while matches!(ended.recv_timeout(UPDATE), Err(RecvTimeoutError::Timeout)) {
                if interrupt::requested() {
                    progress.stop();
                }
                // A tensor that is read twice must not make it more than all.
                let percent = (progress.n_read() * 100 / n_bytes.max(1)).min(99);
                if !is_dumb() && last != Some(percent) {
                    let line = clipped(&format!("{text} {percent} %"), Size::now());
                    let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
                    last = Some(percent);
                }
            }
        };
        // Without a thread the line just stays as it is.
        let thread = std::thread::Builder::new().name("loading".into()).spawn(update).ok();
        Loading { line: Some(Line { end, thread }) }
    }

    /// Replaces the line by `summary`.
    pub(crate) fn end(self, summary: &str) {
        if self.line.is_some() {
            drop(self);
            let _ = writeln!(std::io::stderr(), "{}", wrapped(summary));
        }
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        let Some(Line { end, thread }) = self.line.take() else { return };
        drop(end);
        if let Some(thread) = thread {
            let _ = thread.join();
        }
        let erase = if is_dumb() { "\n" } else { "\r\x1b[K" };
        let _ = write!(std::io::stderr(), "{erase}");
    }
}

/// The end of `line` that fits one row of the terminal.
fn clipped(line: &str, size: Option<Size>) -> String {
    let columns = size.map_or(usize::MAX, |size| size.columns.saturating_sub(FREE_COLUMNS));
    let n_chars = line.chars().count();
    line.chars().skip(n_chars.saturating_sub(columns)).collect()
}
