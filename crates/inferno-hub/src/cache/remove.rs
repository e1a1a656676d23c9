//! Removing models from the cache. Other tools share it: files that are no model of ours stay, and so does content that another
//! process is downloading.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::{Cache, CachedModel, is_hex};
use crate::error::HubError;
use crate::name::RepoId;

impl Cache {
    /// Removes models of a repository from every commit, and content that no file is left of: unfinished downloads too, unless they
    /// go on now. Links are removed, and never the files outside that they lead to. Returns the bytes that this frees.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn remove(&self, repo: &RepoId, models: &[CachedModel]) -> Result<u64, HubError> {
        let root = self.repo(repo);
        let snapshots = root.join("snapshots");
        let mut freed = 0;
        for commit in self.commits(repo) {
            let folder = snapshots.join(commit);
            if folder.is_symlink() {
                continue;
            }
            for file in models.iter().flat_map(|model| &model.files) {
                let path = folder.join(&file.name);
                let Ok(found) = path.symlink_metadata() else { continue };
                freed += if found.is_symlink() { 0 } else { found.len() };
                fs::remove_file(&path).map_err(HubError::io(&path))?;
                remove_empty(path.parent(), &snapshots);
            }
        }
        freed += self.sweep(repo)?;
        if below(&snapshots).is_empty() && below(&root.join("blobs")).is_empty() && root.exists() {
            fs::remove_dir_all(&root).map_err(HubError::io(&root))?;
        }
        Ok(freed)
    }

    /// Removes content that no name links to. Returns its bytes.
    fn sweep(&self, repo: &RepoId) -> Result<u64, HubError> {
        let root = self.repo(repo);
        let linked = || -> Vec<PathBuf> {
            let names = below(&root.join("snapshots"));
            names.iter().filter_map(|path| Some(fs::read_link(path).ok()?.file_name()?.into())).collect()
        };
        let blobs = root.join("blobs");
        let mut freed = 0;
        let Ok(entries) = fs::read_dir(&blobs) else { return Ok(0) };
        for entry in entries {
            let entry = entry.map_err(HubError::io(&blobs))?;
            let name = entry.file_name().into_string().unwrap_or_default();
            let etag = name.split('.').next().unwrap_or_default();
            if !is_hex(etag, 64) && !is_hex(etag, 40) {
                continue;
            }
            // A download holds the lock until its content has a name.
            let Some(_lock) = self.try_lock(repo, etag)? else { continue };
            if !linked().contains(&PathBuf::from(&name)) {
                // Of a link it is the link itself.
                freed += entry.metadata().map_or(0, |data| data.len());
                fs::remove_file(entry.path()).map_err(HubError::io(entry.path()))?;
            }
        }
        Ok(freed)
    }
}

/// Everything below a folder that is no folder.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(below(&entry.path())),
            _ => found.push(entry.path()),
        }
    }
    found
}

/// Removes folders that are empty, from `folder` up to `top`, which stays.
fn remove_empty(mut folder: Option<&Path>, top: &Path) {
    while let Some(at) = folder.filter(|at| *at != top && at.components().all(|c| c != Component::ParentDir))
    {
        if fs::remove_dir(at).is_err() {
            return;
        }
        folder = at.parent();
    }
}
