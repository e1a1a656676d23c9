//! The files of one model, two at a time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::Hub;
use crate::blob::{self, Blob};
use crate::error::HubError;
use crate::listing::RemoteFile;
use crate::name::RepoId;
use crate::watch::Watch;

/// Files that are downloaded at once.
const AT_ONCE: usize = 2;

impl Hub {
    /// Downloads the parts of a model that are not there, two at once; returns the bytes.
    pub(super) fn parts(
        &self,
        repo: &RepoId,
        commit: &str,
        parts: &[RemoteFile],
        watch: &dyn Watch,
    ) -> Result<u64, HubError> {
        let missing = |part: &&RemoteFile| self.cache.find(repo, commit, &part.path).is_none();
        let missing: Vec<RemoteFile> = parts.iter().filter(missing).cloned().collect();
        if missing.is_empty() {
            return Ok(0);
        }
        watch.begin(repo, &missing);
        let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
        let together = Together { watch, has_failed: AtomicBool::new(false) };
        let fails = |error: HubError| {
            let mut failed = failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            // The first error is what the user can do something about.
            failed.get_or_insert(error);
            together.has_failed.store(true, Ordering::Relaxed);
            next.store(missing.len(), Ordering::Relaxed);
        };
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE.min(missing.len()) {
                scope.spawn(|| {
                    while let Some((idx, file)) = {
                        let idx = next.fetch_add(1, Ordering::Relaxed);
                        missing.get(idx).map(|file| (idx, file))
                    } {
                        if let Err(error) = self.part(repo, commit, &file.path, idx, &together) {
                            fails(error);
                        }
                    }
                });
            }
        });
        match failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(missing.iter().map(|file| file.size).sum()),
        }
    }

    fn part(
        &self,
        repo: &RepoId,
        commit: &str,
        file: &str,
        idx: usize,
        watch: &dyn Watch,
    ) -> Result<(), HubError> {
        let described = self.client.describe(repo.as_str(), commit, file)?;
        let etag = described.etag.clone();
        let path = self.cache.blob(repo, &etag);
        let mut is_told = false;
        let _lock = self.cache.lock(repo, &etag, || {
            if !std::mem::replace(&mut is_told, true) {
                watch.note(&format!("another process downloads `{file}`: waiting for it"));
            }
            watch.check()
        })?;
        if blob::is_whole(&path, &described, watch)? {
            watch.advance(idx, described.size);
        } else {
            let blob = Blob { client: &self.client, repo: repo.as_str(), commit, file, path, described };
            blob.download(idx, watch)?;
        }
        self.cache.link(repo, commit, file, &etag).map(|_| ())
    }
}

/// Follows one of several downloads: an error of another stops it.
struct Together<'a> {
    watch: &'a dyn Watch,
    has_failed: AtomicBool,
}

impl Watch for Together<'_> {
    fn begin(&self, repo: &RepoId, files: &[RemoteFile]) {
        self.watch.begin(repo, files);
    }

    fn advance(&self, idx: usize, done: u64) {
        self.watch.advance(idx, done);
    }

    fn note(&self, text: &str) {
        self.watch.note(text);
    }

    fn check(&self) -> Result<(), HubError> {
        match self.has_failed.load(Ordering::Relaxed) {
            true => Err(HubError::Cancelled),
            false => self.watch.check(),
        }
    }

    fn wait(&self, time: Duration) -> Result<(), HubError> {
        const STEP: Duration = Duration::from_secs(1);
        let mut left = time;
        while !left.is_zero() {
            self.check()?;
            let step = left.min(STEP);
            self.watch.wait(step)?;
            left -= step;
        }
        self.check()
    }
}
