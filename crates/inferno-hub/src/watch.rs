//! Progress of a download, and its end on request.

use std::time::Duration;

use crate::error::HubError;
use crate::listing::RemoteFile;
use crate::name::RepoId;

/// Follows a download. Methods are called from several threads.
pub trait Watch: Sync {
    /// Begins the download of these files.
    fn begin(&self, repo: &RepoId, files: &[RemoteFile]);
    /// File `idx` has `done` bytes.
    fn advance(&self, idx: usize, done: u64);
    /// Something that a user may want to know.
    fn note(&self, text: &str);
    /// # Errors
    /// [`HubError::Cancelled`] if the download is to stop.
    fn check(&self) -> Result<(), HubError>;

    /// Waits, and stops waiting when the download is to stop.
    ///
    /// # Errors
    /// [`HubError::Cancelled`].
    fn wait(&self, time: Duration) -> Result<(), HubError> {
        const STEP: Duration = Duration::from_millis(100);
        let mut left = time;
        while !left.is_zero() {
            self.check()?;
            let step = left.min(STEP);
            std::thread::sleep(step);
            left -= step;
        }
        self.check()
    }
}

/// Follows nothing.
#[derive(Debug)]
pub struct Quiet;

impl Watch for Quiet {
    fn begin(&self, _: &RepoId, _: &[RemoteFile]) {}
    fn advance(&self, _: usize, _: u64) {}
    fn note(&self, _: &str) {}
    fn check(&self) -> Result<(), HubError> {
        Ok(())
    }
}
