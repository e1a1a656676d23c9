//! Models by name: from what `-m` says to a file, downloaded if it has to be.

mod progress;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Result, bail};
use inferno_hub::{Catalog, Fetched, Hub, HubError, ModelName, Settings};
use inferno_model::architecture::Architecture;

use crate::{interrupt, kv_memory};
use progress::Progress;
pub(crate) use progress::clock;

/// The model inside the program, where no file has that name.
const BUILT_IN: &str = "ember";
/// Time between two looks at a download.
const TICK: Duration = Duration::from_millis(100);
/// Time that a download has to end by itself after Ctrl-C.
const PATIENCE: Duration = Duration::from_millis(500);
/// Memory that a model leaves to the system, keys and values and activations: a share of what is free, and bytes.
const LEFT: (u64, u64) = (8, 512 << 20);

/// The meaning of a model's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// The model inside the program.
    BuiltIn,
    /// A file of the user's.
    File(PathBuf),
    /// A file of the cache.
    Cached {
        path: PathBuf,
        /// Names that clients may use: as it was given, then others.
        names: Vec<String>,
    },
}

/// Ctrl-C during a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CtrlC {
    /// Ends the download with [`HubError::Cancelled`].
    Stops,
    /// Is taken care of elsewhere.
    LeftAlone,
}

/// Settings of the environment.
pub(crate) fn settings(is_offline: bool) -> Settings {
    let mut settings = Settings::read(|name| std::env::var(name).ok());
    settings.offline |= is_offline;
    settings
}

/// The file that `model` means: a path, a model in the cache, or one that is downloaded now.
///
/// # Errors
/// The text is no name, or the download fails or is stopped.
pub(crate) fn find(model: &Path, is_offline: bool, ctrl_c: CtrlC) -> Result<Found> {
    // A name has no bytes beyond UTF-8.
    let Some(text) = model.to_str() else { return Ok(Found::File(model.to_owned())) };
    if text.contains(char::is_whitespace) && !text.contains("://") {
        return Ok(Found::File(model.to_owned()));
    }
    if text.eq_ignore_ascii_case(BUILT_IN) && !model.exists() {
        return Ok(Found::BuiltIn);
    }
    let settings = settings(is_offline);
    let name = settings.name(text)?;
    if let ModelName::File(path) = name {
        return Ok(Found::File(path));
    }
    let hub = Hub::new(settings)?;
    let fetched = match hub.find(&name, room())? {
        Some(fetched) => fetched,
        None => {
            if let Some(why) = unusable(&name) {
                bail!("{why}; `inferno pull {name}` downloads it all the same");
            }
            fetch(hub, &name, Wish::Any, ctrl_c)?
        }
    };
    let stem = Path::new(&fetched.file).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let mut names = vec![name.to_string()];
    for other in stem.into_iter().chain([fetched.repo.to_string()]) {
        if !names.contains(&other) {
            names.push(other);
        }
    }
    Ok(Found::Cached { path: fetched.path, names })
}

/// Reason why a model of the catalog cannot answer, as far as the catalog knows.
pub(crate) fn unusable(name: &ModelName) -> Option<String> {
    let ModelName::Alias { name: short, .. } = name else { return None };
    let (model, _) = Catalog::get().find(short).ok()?;
    if model.kind.as_deref() == Some("embedding") {
        return Some(format!("`{name}` is a model for embeddings, and has no answers"));
    }
    let is_known = Architecture::knows(&model.arch);
    (!is_known).then(|| format!("`{name}` is of the family `{}`, which is not supported yet", model.arch))
}

/// Commit of a repository that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Any that is in the cache, or else the newest.
    Any,
    /// The newest.
    Newest,
}

/// Downloads a model with a progress bar on stderr, on a thread of its own: neither a host that says nothing nor a slow disk
/// keeps Ctrl-C waiting. Whatever has come when it is stopped is kept, and the next download goes on from there.
pub(crate) fn fetch(hub: Hub, name: &ModelName, wish: Wish, ctrl_c: CtrlC) -> Result<Fetched> {
    if ctrl_c == CtrlC::Stops {
        interrupt::listen()?;
    }
    let progress = Arc::new(Progress::new());
    let (sender, result) = mpsc::channel();
    let (name, watch) = (name.clone(), Arc::clone(&progress));
    std::thread::spawn(move || {
        let fetched = match wish {
            Wish::Any => hub.get(&name, room(), &*watch),
            Wish::Newest => hub.pull(&name, room(), &*watch),
        };
        // The receiver is gone if the program did not wait.
        let _ = sender.send(fetched);
    });
    let fetched = loop {
        match result.recv_timeout(TICK) {
            Ok(fetched) => break fetched,
            Err(RecvTimeoutError::Disconnected) => panic!("the download ended without a result"),
            Err(RecvTimeoutError::Timeout) => progress.draw(),
        }
        if ctrl_c == CtrlC::Stops && interrupt::requested() {
            progress.cancel();
            break result.recv_timeout(PATIENCE).unwrap_or(Err(HubError::Cancelled));
        }
    };
    progress.end(fetched.is_ok());
    if ctrl_c == CtrlC::Stops {
        interrupt::release();
    }
    Ok(fetched?)
}

/// Bytes of memory that a model may take on this machine; `None` if the system does not say.
pub(crate) fn room() -> Option<u64> {
    let free = kv_memory::available()?;
    Some(free.saturating_sub((free / LEFT.0).max(LEFT.1)))
}

/// Whether an error is that of a download that Ctrl-C has stopped.
pub(crate) fn is_cancelled(e: &anyhow::Error) -> bool {
    matches!(e.downcast_ref(), Some(HubError::Cancelled))
}
