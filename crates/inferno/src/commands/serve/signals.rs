//! Signals: SIGTERM and Ctrl-C end the server, SIGHUP makes it read its files again.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use inferno_server::{Control, log};
use tokio::sync::Notify;

use super::settings;
use crate::{cli, exit};

/// Time for the server to end after a second signal.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time for the last log line.
const LAST_LINE: Duration = Duration::from_millis(200);

/// A signal's request. The code is what a shell reports for a program that the signal ended.
#[derive(Debug, Clone, Copy)]
enum Asked {
    End { name: &'static str, code: i32 },
    Reload,
}

/// Signals as they come: the first that ends drains the server, the second cuts off what still runs.
pub(super) struct Signals {
    ended: Arc<Notify>,
    reload: Arc<Notify>,
    /// Before the server runs the first signal ends the program.
    is_serving: Arc<AtomicBool>,
    control: Arc<OnceLock<Control>>,
    /// Exit code of the second signal; 0 before it.
    cut_off: Arc<AtomicI32>,
}

impl Signals {
    /// Listens from here on, in the runtime that this is called from.
    pub(super) fn listen() -> Signals {
        let signals = Signals {
            ended: Arc::default(),
            reload: Arc::default(),
            is_serving: Arc::default(),
            control: Arc::default(),
            cut_off: Arc::default(),
        };
        let Signals { ended, reload, is_serving, control, cut_off } = &signals;
        let (ended, reload) = (Arc::clone(ended), Arc::clone(reload));
        let (is_serving, control, cut_off) =
            (Arc::clone(is_serving), Arc::clone(control), Arc::clone(cut_off));
        let mut sources = Sources::new();
        tokio::spawn(async move {
            let mut is_ending = false;
            loop {
                let (name, code) = match sources.next().await {
                    Asked::Reload => {
                        reload.notify_one();
                        continue;
                    }
                    Asked::End { name, code } => (name, code),
                };
                if !is_serving.load(Ordering::Relaxed) {
                    tracing::info!(signal = name, "stopped: before the model was loaded");
                    log::flush(LAST_LINE);
                    std::process::exit(if code == i32::from(exit::TERMINATED) { 0 } else { code });
                }
                if !is_ending {
                    is_ending = true;
                    tracing::info!(signal = name, "told to stop");
                    ended.notify_one();
                    continue;
                }
                if cut_off.swap(code, Ordering::Relaxed) != 0 {
                    std::process::exit(code);
                }
                if let Some(control) = control.get() {
                    control.cut_off();
                }
                // The server ends now; if it does not, the program does.
                tokio::spawn(async move {
                    tokio::time::sleep(PATIENCE).await;
                    std::process::exit(code);
                });
            }
        });
        signals
    }

    /// The server runs: from here on the first signal drains it, and SIGHUP reads its files again.
    pub(super) fn serving(&self, control: Control, args: &cli::Serve) {
        let _ = self.control.set(control.clone());
        self.is_serving.store(true, Ordering::Relaxed);
        let (reload, access) = (Arc::clone(&self.reload), args.access.clone());
        tokio::spawn(async move {
            loop {
                reload.notified().await;
                let (control, access) = (control.clone(), access.clone());
                let _ = tokio::task::spawn_blocking(move || reload_files(&control, &access)).await;
            }
        });
    }

    /// Exit code of a second signal, if one has come: then nothing more is waited for.
    pub(super) fn cut_off(&self) -> Option<i32> {
        Some(self.cut_off.load(Ordering::Relaxed)).filter(|code| *code != 0)
    }

    /// Waits for the first signal that ends the server.
    pub(super) async fn ended(&self) {
        self.ended.notified().await;
    }
}

/// Reads the key file and opens the log file again. Keys that cannot be read leave the old ones in force.
fn reload_files(control: &Control, access: &cli::Access) {
    let log_file = match log::reopen() {
        Ok(file) => file,
        Err(error) => {
            tracing::error!(%error, "SIGHUP: the log file cannot be opened again, lines go on to the old one");
            None
        }
    };
    let log_file = log_file.map(|file| file.display().to_string());
    let Some(file) = &access.api_key_file else {
        match log_file {
            Some(log_file) => tracing::info!(log_file, "SIGHUP: opened the log file again"),
            None => tracing::warn!("SIGHUP: nothing to read again, as there is no `--api-key-file`"),
        }
        return;
    };
    match settings::keys(access) {
        Ok(keys) => {
            let changes = control.replace_keys(keys);
            tracing::info!(
                key_file = %file.display(),
                keys = changes.n_keys,
                added = changes.n_added,
                removed = changes.n_removed,
                log_file,
                "SIGHUP: read the keys again"
            );
            warn_of_open_file(access);
        }
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), log_file, "SIGHUP: the keys are unchanged");
        }
    }
}

/// Warns if any user of the machine can read the keys.
pub(super) fn warn_of_open_file(access: &cli::Access) {
    let Some(file) = &access.api_key_file else { return };
    if settings::is_open_to_others(file) {
        let file = file.display().to_string();
        tracing::warn!(file, "every user of this machine can read the keys: `chmod o= FILE` closes the file");
    }
}

/// Whether a hangup means that the user's terminal has closed: then no operator waits for files to be read again.
fn is_on_terminal() -> bool {
    std::io::stdin().is_terminal() || std::io::stderr().is_terminal()
}

#[cfg(unix)]
struct Sources {
    /// Terminate, interrupt, hangup; `None` if the system does not deliver signals.
    all: Option<[tokio::signal::unix::Signal; 3]>,
    is_on_terminal: bool,
}

#[cfg(unix)]
impl Sources {
    fn new() -> Sources {
        use tokio::signal::unix::{SignalKind, signal};
        let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
        let all = match kinds.map(signal) {
            [Ok(terminate), Ok(interrupt), Ok(hangup)] => Some([terminate, interrupt, hangup]),
            _ => None,
        };
        // Asked now: once the terminal has closed it is none any more.
        Sources { all, is_on_terminal: is_on_terminal() }
    }

    async fn next(&mut self) -> Asked {
        let Some([terminate, interrupt, hangup]) = &mut self.all else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => Asked::End { name: "SIGTERM", code: exit::TERMINATED.into() },
            _ = interrupt.recv() => Asked::End { name: "SIGINT", code: exit::INTERRUPTED.into() },
            _ = hangup.recv() => match self.is_on_terminal {
                true => Asked::End { name: "SIGHUP", code: exit::HANGUP.into() },
                false => Asked::Reload,
            },
        }
    }
}

#[cfg(not(unix))]
struct Sources;

#[cfg(not(unix))]
impl Sources {
    fn new() -> Sources {
        Sources
    }

    async fn next(&mut self) -> Asked {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Asked::End { name: "Ctrl-C", code: exit::INTERRUPTED.into() },
            Err(_) => std::future::pending().await,
        }
    }
}
