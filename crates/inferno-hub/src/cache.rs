//! The cache on disk, in the layout of the hub's own tools:
//!
//! ```text
//! models--owner--name/refs/main                  the commit, 40 hexadecimal digits
//!                     blobs/ETAG                 the content
//!                     snapshots/COMMIT/FILE      a link to ../../blobs/ETAG, folders kept
//! .locks/models--owner--name/ETAG.lock
//! ```

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::HubError;
use crate::listing::{self, RemoteFile, RemoteModel};
use crate::name::{ModelName, RepoId, is_plain};

mod remove;

/// The cache's folder.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

/// A model in the cache: one file, or all parts of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedModel {
    /// Where it came from.
    pub repo: RepoId,
    /// The parts in order; the first one is opened.
    pub files: Vec<CachedFile>,
    /// No other model of the repository in the cache has its quant.
    is_only: bool,
}

/// A file in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedFile {
    /// Its name in the repository, with folders.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    /// When it was downloaded.
    pub modified: Option<SystemTime>,
}

impl CachedModel {
    /// The model without where it is.
    pub fn remote(&self) -> RemoteModel {
        let part = |file: &CachedFile| RemoteFile { path: file.name.clone(), size: file.size };
        RemoteModel { parts: self.files.iter().map(part).collect() }
    }

    /// The name that means this model and no other: `owner/name:QUANT`, or with the file where two have that quant.
    pub fn name(&self) -> ModelName {
        let model = self.remote();
        let tag = if self.is_only { model.quant() } else { model.name().to_owned() };
        ModelName::Repo { repo: self.repo.clone(), tag: Some(tag) }
    }

    /// Bytes of all parts.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

/// The lock of one blob, held until it is dropped.
#[derive(Debug)]
pub(crate) struct BlobLock(#[allow(dead_code, reason = "dropping it opens the lock")] File);

impl Cache {
    /// The cache in `root`, which need not exist.
    pub fn new(root: PathBuf) -> Cache {
        Cache { root }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn repo(&self, repo: &RepoId) -> PathBuf {
        self.root.join(repo.folder())
    }

    /// The commit that `main` means, as far as the cache knows.
    pub(crate) fn commit(&self, repo: &RepoId) -> Option<String> {
        let commit = fs::read_to_string(self.repo(repo).join("refs/main")).ok()?;
        Some(commit.trim().to_owned()).filter(|commit| is_hex(commit, 40))
    }

    /// Where a file of a commit is, or would be.
    fn snapshot(&self, repo: &RepoId, commit: &str, file: &str) -> PathBuf {
        self.repo(repo).join("snapshots").join(commit).join(file)
    }

    /// A file of a commit, if it is there as a whole.
    pub(crate) fn find(&self, repo: &RepoId, commit: &str, file: &str) -> Option<PathBuf> {
        Some(self.snapshot(repo, commit, file)).filter(|path| path.is_file())
    }

    /// Where the content with that checksum is, or will be.
    pub(crate) fn blob(&self, repo: &RepoId, etag: &str) -> PathBuf {
        self.repo(repo).join("blobs").join(etag)
    }

    /// Waits until no other process downloads that content; calls `wait` five times a second until then.
    pub(crate) fn lock(
        &self,
        repo: &RepoId,
        etag: &str,
        mut wait: impl FnMut() -> Result<(), HubError>,
    ) -> Result<BlobLock, HubError> {
        loop {
            match self.try_lock(repo, etag)? {
                Some(lock) => return Ok(lock),
                None => wait()?,
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// The lock of a content; `None` while another process has it.
    fn try_lock(&self, repo: &RepoId, etag: &str) -> Result<Option<BlobLock>, HubError> {
        let folder = self.root.join(".locks").join(repo.folder());
        fs::create_dir_all(&folder).map_err(HubError::io(&folder))?;
        let path = folder.join(format!("{etag}.lock"));
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(HubError::io(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(BlobLock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            // Some network disks have no locks: one process at a time is then up to the user.
            Err(TryLockError::Error(e)) if e.kind() == std::io::ErrorKind::Unsupported => {
                Ok(Some(BlobLock(file)))
            }
            Err(TryLockError::Error(source)) => Err(HubError::Io { path, source }),
        }
    }

    /// Gives a blob its name in a commit.
    pub(crate) fn link(
        &self,
        repo: &RepoId,
        commit: &str,
        file: &str,
        etag: &str,
    ) -> Result<PathBuf, HubError> {
        debug_assert!(is_plain(file) && is_hex(commit, 40));
        let path = self.snapshot(repo, commit, file);
        let folder = path.parent().expect("a file of a snapshot is in a folder");
        fs::create_dir_all(folder).map_err(HubError::io(folder))?;
        let up = "../".repeat(2 + file.matches('/').count());
        let temporary = folder.join(temporary_name());
        link(&self.blob(repo, etag), &format!("{up}blobs/{etag}"), &temporary)
            .map_err(HubError::io(&temporary))?;
        fs::rename(&temporary, &path).map_err(HubError::io(&path))?;
        Ok(path)
    }

    /// Remembers which commit `main` is.
    pub(crate) fn set_commit(&self, repo: &RepoId, commit: &str) -> Result<(), HubError> {
        let folder = self.repo(repo).join("refs");
        fs::create_dir_all(&folder).map_err(HubError::io(&folder))?;
        let temporary = folder.join(temporary_name());
        let write = || {
            let mut file = File::create(&temporary)?;
            file.write_all(commit.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, folder.join("main"))
        };
        write().map_err(HubError::io(&temporary))
    }

    /// The models in the cache, by name.
    ///
    /// # Errors
    /// The folder is there and cannot be read.
    pub fn list(&self) -> Result<Vec<CachedModel>, HubError> {
        let mut models: Vec<CachedModel> = self.repos()?.iter().flat_map(|repo| self.models(repo)).collect();
        models.sort_by(|a, b| (&a.repo, &a.files[0].name).cmp(&(&b.repo, &b.files[0].name)));
        Ok(models)
    }

    /// Repositories with unfinished downloads, and the bytes that have come.
    ///
    /// # Errors
    /// The folder is there and cannot be read.
    pub fn unfinished(&self) -> Result<Vec<(RepoId, u64)>, HubError> {
        let mut found = Vec::new();
        for repo in self.repos()? {
            let entries = fs::read_dir(self.repo(&repo).join("blobs")).into_iter().flatten().flatten();
            let parts = entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(".incomplete"));
            let bytes: u64 = parts.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum();
            if bytes > 0 {
                found.push((repo, bytes));
            }
        }
        Ok(found)
    }

    /// Repositories that have a folder.
    fn repos(&self) -> Result<Vec<RepoId>, HubError> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(HubError::Io { path: self.root.clone(), source }),
        };
        let mut repos = Vec::new();
        for entry in entries {
            let folder = entry.map_err(HubError::io(&self.root))?.file_name();
            repos.extend(folder.to_str().and_then(RepoId::of_folder));
        }
        repos.sort();
        Ok(repos)
    }

    /// The whole models of a repository, by name. If several commits have one it is that of the commit that `main` means, or of
    /// the newest.
    pub fn models(&self, repo: &RepoId) -> Vec<CachedModel> {
        let mut models: Vec<CachedModel> = Vec::new();
        for commit in self.commits(repo) {
            let mut files = Vec::new();
            collect(&self.repo(repo).join("snapshots").join(commit), "", 0, &mut files);
            let remote: Vec<RemoteFile> = files
                .iter()
                .map(|file: &CachedFile| RemoteFile { path: file.name.clone(), size: file.size })
                .collect();
            for model in listing::models(&remote) {
                let is_new = models.iter().all(|other| other.files[0].name != model.name());
                let of_part = |part: &RemoteFile| files.iter().find(|file| file.name == part.path).cloned();
                if is_new {
                    let files = model.parts.iter().filter_map(of_part).collect();
                    models.push(CachedModel { repo: repo.clone(), files, is_only: true });
                }
            }
        }
        models.sort_by(|a, b| a.files[0].name.cmp(&b.files[0].name));
        let quants: Vec<String> =
            models.iter().map(|model| model.remote().quant().to_ascii_lowercase()).collect();
        for (model, quant) in models.iter_mut().zip(&quants) {
            model.is_only = quants.iter().filter(|other| *other == quant).count() == 1;
        }
        models
    }

    /// The commits of a repository that have files here: that of `main` first, then the newest.
    fn commits(&self, repo: &RepoId) -> Vec<String> {
        let main = self.commit(repo);
        let entries = fs::read_dir(self.repo(repo).join("snapshots")).into_iter().flatten().flatten();
        let mut commits: Vec<(bool, Option<SystemTime>, String)> = entries
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok().filter(|name| is_hex(name, 40))?;
                Some((main.as_ref() == Some(&name), entry.metadata().ok()?.modified().ok(), name))
            })
            .collect();
        commits.sort();
        commits.into_iter().rev().map(|(.., name)| name).collect()
    }
}

/// A name that no other thread or process uses now.
fn temporary_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
    format!(".{}.{now}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Whether `text` is that many hexadecimal digits in lower case.
pub(crate) fn is_hex(text: &str, n: usize) -> bool {
    text.len() == n && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Adds the GGUF files below `folder`; links that lead nowhere are left out.
fn collect(folder: &Path, prefix: &str, depth: usize, files: &mut Vec<CachedFile>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Some(name) = entry.file_name().to_str().map(|name| format!("{prefix}{name}")) else { continue };
        let Ok(data) = fs::metadata(entry.path()) else { continue };
        if data.is_dir() && depth < 4 {
            collect(&entry.path(), &format!("{name}/"), depth + 1, files);
        } else if data.is_file() && name.to_ascii_lowercase().ends_with(".gguf") {
            files.push(CachedFile {
                name,
                path: entry.path(),
                size: data.len(),
                modified: data.modified().ok(),
            });
        }
    }
}

#[cfg(unix)]
fn link(_blob: &Path, target: &str, path: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, path)
}

/// Without links the name is the content itself.
#[cfg(not(unix))]
fn link(blob: &Path, _target: &str, path: &Path) -> std::io::Result<()> {
    fs::hard_link(blob, path).or_else(|_| fs::copy(blob, path).map(|_| ()))
}
