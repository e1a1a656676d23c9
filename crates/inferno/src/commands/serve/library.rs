//! Models of the hub and the cache for clients of the server: downloads and removals.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};
use inferno_hub::{Hub, HubError, ModelName, RemoteFile, RepoId, Watch};
use inferno_server::Library;

use crate::commands::models;
use crate::hub::{room, settings};

/// The hub and the cache.
#[derive(Debug)]
pub(super) struct Models {
    /// Downloads nothing.
    pub(super) is_offline: bool,
}

impl Models {
    /// The hub, and a name of a model there. A path of this machine is none: clients may not name files.
    fn named(&self, text: &str) -> Result<(Hub, ModelName)> {
        let settings = settings(self.is_offline);
        let name = settings.name(text)?;
        if matches!(name, ModelName::File(_)) {
            bail!("`{}` is not the name of a model of the hub", text.escape_debug());
        }
        Ok((Hub::new(settings)?, name))
    }

    fn download(&self, text: &str, progress: &(dyn Fn(u64, u64) -> bool + Sync)) -> Result<()> {
        let (hub, name) = self.named(text)?;
        let progress =
            Progress { files: Mutex::default(), told: progress, is_cancelled: AtomicBool::new(false) };
        hub.pull(&name, room(), &progress)?;
        Ok(())
    }

    fn delete(&self, text: &str) -> Result<()> {
        let (hub, name) = self.named(text)?;
        let models = models::in_cache(&hub, &name)?;
        let (repo, _) = Hub::repository(&name)?;
        hub.cache().remove(&repo, &models)?;
        Ok(())
    }
}

impl Library for Models {
    fn pull(&self, name: &str, progress: &(dyn Fn(u64, u64) -> bool + Sync)) -> Result<(), String> {
        self.download(name, progress).map_err(|error| format!("{error:#}"))
    }

    fn remove(&self, name: &str) -> Result<(), String> {
        self.delete(name).map_err(|error| format!("{error:#}"))
    }
}

/// A download that a client follows.
struct Progress<'a> {
    /// By file: bytes that have come, and all.
    files: Mutex<Vec<(u64, u64)>>,
    told: &'a (dyn Fn(u64, u64) -> bool + Sync),
    is_cancelled: AtomicBool,
}

impl Watch for Progress<'_> {
    fn begin(&self, _repo: &RepoId, files: &[RemoteFile]) {
        let all = files.iter().map(|file| (0, file.size)).collect();
        *self.files.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }

    fn advance(&self, idx: usize, done: u64) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = files.get_mut(idx) {
            file.0 = done;
        }
        let sums = files.iter().fold((0, 0), |sums, file| (sums.0 + file.0, sums.1 + file.1));
        drop(files);
        if !(self.told)(sums.0, sums.1) {
            self.is_cancelled.store(true, Ordering::Relaxed);
        }
    }

    fn note(&self, text: &str) {
        tracing::info!("{text}");
    }

    fn check(&self) -> Result<(), HubError> {
        match self.is_cancelled.load(Ordering::Relaxed) {
            true => Err(HubError::Cancelled),
            false => Ok(()),
        }
    }
}
