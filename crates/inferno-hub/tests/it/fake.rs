//! Clients of a hub on loopback.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use inferno_hub::{Hub, HubError, ModelName, RemoteFile, RepoId, Settings, Watch};
pub(crate) use xtask::testing::hub::{Behaviour, COMMIT, Fake, REPO, content, sha256};

/// A client of a hub with a cache in `folder`.
pub(crate) fn hub(fake: &Fake, folder: &Path) -> Hub {
    Hub::new(settings(fake, folder)).unwrap()
}

pub(crate) fn settings(fake: &Fake, folder: &Path) -> Settings {
    Settings {
        endpoint: fake.address.clone(),
        token: Some("hf_secret".into()),
        token_source: None,
        cache: folder.to_owned(),
        offline: false,
        hosts: Vec::new(),
    }
}

pub(crate) fn name(text: &str) -> ModelName {
    ModelName::parse(text).unwrap()
}

/// Remembers what it is told, and cancels at a byte if asked to.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) notes: Mutex<Vec<String>>,
    pub(crate) begun: Mutex<Vec<String>>,
    pub(crate) done: AtomicUsize,
    pub(crate) cancel_at: Option<usize>,
}

impl Watch for Told {
    fn begin(&self, _: &RepoId, files: &[RemoteFile]) {
        self.begun.lock().unwrap().extend(files.iter().map(|file| file.path.clone()));
    }

    fn advance(&self, _: usize, done: u64) {
        self.done.store(done as usize, Ordering::Relaxed);
    }

    fn note(&self, text: &str) {
        self.notes.lock().unwrap().push(text.to_owned());
    }

    fn check(&self) -> Result<(), HubError> {
        match self.cancel_at.is_some_and(|at| self.done.load(Ordering::Relaxed) >= at) {
            true => Err(HubError::Cancelled),
            false => Ok(()),
        }
    }

    /// Tests wait for nothing.
    fn wait(&self, _: Duration) -> Result<(), HubError> {
        self.check()
    }
}

/// All that is in `folder` under a final name, with the content.
pub(crate) fn finals(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if path.is_dir() {
            found.extend(finals(&path));
        } else if !name.ends_with(".incomplete") && !name.ends_with(".lock") && !name.starts_with('.') {
            found.push((name, std::fs::read(&path).unwrap_or_default()));
        }
    }
    found.sort();
    found
}
