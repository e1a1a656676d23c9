//! One file's way from the hub to its name: what is missing is asked for, everything is hashed, and only the whole and right
//! content gets its final name.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::Digest;
use ureq::http::StatusCode;

use crate::client::{Client, Described, header};
use crate::error::HubError;
use crate::watch::Watch;

/// Attempts in a row that brought nothing.
const FRUITLESS: u32 = 5;
/// Longest pause that the hub may ask for before it is an error.
const PATIENCE: Duration = Duration::from_secs(120);
const BUFFER: usize = 1 << 20;

/// A file to download.
pub(crate) struct Blob<'a> {
    pub(crate) client: &'a Client,
    pub(crate) repo: &'a str,
    pub(crate) commit: &'a str,
    pub(crate) file: &'a str,
    /// Where the content goes.
    pub(crate) path: PathBuf,
    pub(crate) described: Described,
}

/// A checksum of content as it comes.
enum Hash {
    Sha256(sha2::Sha256),
    /// Of git: over a header with the length and the content.
    Sha1(sha1::Sha1),
}

impl Hash {
    fn new(described: &Described) -> Hash {
        if described.etag.len() == 64 {
            return Hash::Sha256(sha2::Sha256::new());
        }
        let mut hash = sha1::Sha1::new();
        hash.update(format!("blob {}\0", described.size));
        Hash::Sha1(hash)
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Hash::Sha256(hash) => hash.update(bytes),
            Hash::Sha1(hash) => hash.update(bytes),
        }
    }

    /// Adds a file from its current position to its end. Returns the number of bytes.
    fn read(&mut self, file: &mut File, path: &Path, watch: &dyn Watch) -> Result<u64, HubError> {
        let (mut buffer, mut len) = (vec![0; BUFFER], 0);
        loop {
            watch.check()?;
            match file.read(&mut buffer).map_err(HubError::io(path))? {
                0 => return Ok(len),
                n => {
                    self.update(&buffer[..n]);
                    len += n as u64;
                }
            }
        }
    }

    fn finish(self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        match self {
            Hash::Sha256(hash) => hex(&hash.finalize()),
            Hash::Sha1(hash) => hex(&hash.finalize()),
        }
    }
}

/// An unfinished download.
struct Part {
    path: PathBuf,
    file: File,
    len: u64,
    hash: Hash,
}

impl Blob<'_> {
    /// Downloads what is missing, and gives the content its name. The caller has the lock of the content. `idx` is the file's number
    /// for `watch`.
    pub(crate) fn download(mut self, idx: usize, watch: &dyn Watch) -> Result<(), HubError> {
        let mut part = self.part(watch)?;
        let is_resumed = part.len > 0;
        self.check_room(&part)?;
        watch.advance(idx, part.len);
        match self.fill(&mut part, idx, watch) {
            Ok(()) => {}
            Err(error @ HubError::Long { .. }) => {
                self.discard(&part)?;
                return Err(error);
            }
            Err(error) => return Err(error),
        }
        let found = std::mem::replace(&mut part.hash, Hash::new(&self.described)).finish();
        if found != self.described.etag {
            self.discard(&part)?;
            if !is_resumed {
                let (file, expected) = (self.file.to_owned(), self.described.etag.clone());
                return Err(HubError::Checksum { file, expected, found });
            }
            // What was there before may have been damaged: once more from nothing.
            watch.note(&format!(
                "what was there of `{}` is damaged: it is downloaded from the start",
                self.file
            ));
            return self.download(idx, watch);
        }
        part.file.sync_all().map_err(HubError::io(&part.path))?;
        fs::rename(&part.path, &self.path).map_err(HubError::io(&self.path))?;
        sync_folder(&self.path);
        Ok(())
    }

    /// The unfinished download of this content, hashed as far as it goes; an empty one if there is none.
    fn part(&self, watch: &dyn Watch) -> Result<Part, HubError> {
        let folder = self.path.parent().expect("a blob is in a folder");
        fs::create_dir_all(folder).map_err(HubError::io(folder))?;
        let path = self.path.with_file_name(format!("{}.incomplete", self.described.etag));
        // Nothing is written through a link, which could lead anywhere.
        if path.symlink_metadata().is_ok_and(|found| !found.is_file()) {
            fs::remove_file(&path).map_err(HubError::io(&path))?;
        }
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::custom_flags(
            &mut options,
            rustix::fs::OFlags::NOFOLLOW.bits() as i32,
        );
        let file = options.open(&path);
        let mut part =
            Part { file: file.map_err(HubError::io(&path))?, path, len: 0, hash: Hash::new(&self.described) };
        if part.file.metadata().map_err(HubError::io(&part.path))?.len() > self.described.size {
            part.file.set_len(0).map_err(HubError::io(&part.path))?;
        }
        part.len = part.hash.read(&mut part.file, &part.path, watch)?;
        Ok(part)
    }

    fn discard(&self, part: &Part) -> Result<(), HubError> {
        fs::remove_file(&part.path).map_err(HubError::io(&part.path))
    }

    /// Refuses a file that the disk has no room for, before the first byte.
    fn check_room(&self, part: &Part) -> Result<(), HubError> {
        let folder = self.path.parent().expect("a blob is in a folder");
        let need = self.described.size - part.len;
        match free(folder) {
            Some(free) if free < need => {
                Err(HubError::DiskFull { file: self.file.into(), folder: folder.into(), need, free })
            }
            _ => Ok(()),
        }
    }

    /// Asks for what is missing until nothing is.
    fn fill(&mut self, part: &mut Part, idx: usize, watch: &dyn Watch) -> Result<(), HubError> {
        let mut fruitless = 0;
        while part.len < self.described.size {
            let before = part.len;
            let Err(error) = self.attempt(part, idx, watch) else { continue };
            fruitless = if part.len > before { 1 } else { fruitless + 1 };
            let wait = match &error {
                HubError::Busy { seconds, .. } if Duration::from_secs(*seconds) <= PATIENCE => {
                    Duration::from_secs(*seconds)
                }
                error if error.passes() => Duration::from_secs(1 << fruitless.min(4)) / 2,
                _ => return Err(error),
            };
            if fruitless > FRUITLESS {
                return Err(error);
            }
            watch.note(&format!("{error}; next attempt in {} s", wait.as_secs().max(1)));
            watch.wait(wait)?;
            // Addresses of content are good for a while only.
            let described = self.client.describe(self.repo, self.commit, self.file);
            match described {
                Ok(described) if described.etag == self.described.etag => self.described = described,
                Ok(_) => {
                    let what = format!("the checksum of `{}` changed within a commit", self.file);
                    return Err(HubError::Protocol { host: self.client.host().into(), what });
                }
                Err(error) if error.passes() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// One request for what is missing.
    fn attempt(&self, part: &mut Part, idx: usize, watch: &dyn Watch) -> Result<(), HubError> {
        watch.check()?;
        let (mut response, host) = self.client.open(&self.described.address, part.len)?;
        let size = self.described.size;
        match response.status() {
            // The whole of it, though a part was asked for.
            StatusCode::OK => restart(part, &self.described)?,
            StatusCode::PARTIAL_CONTENT if part.len > 0 => {
                let range = header(&response, "content-range").unwrap_or_default();
                let expected = format!("bytes {}-", part.len);
                if !range.starts_with(&expected)
                    || range.rsplit('/').next().is_some_and(|total| total != "*" && total != size.to_string())
                {
                    let what = format!(
                        "content-range `{}`, expected `{expected}…/{size}`",
                        range.escape_debug().take(80).collect::<String>()
                    );
                    return Err(HubError::Protocol { host, what });
                }
            }
            StatusCode::RANGE_NOT_SATISFIABLE => restart(part, &self.described)?,
            _ => return Err(self.client.refusal(&mut response, &host, self.repo, self.file)),
        }
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            return Err(HubError::Short { file: self.file.into(), expected: size, found: 0 });
        }
        part.file.seek(SeekFrom::Start(part.len)).map_err(HubError::io(&part.path))?;
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; BUFFER];
        loop {
            watch.check()?;
            let n = match body.read(&mut buffer) {
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => 0,
                Err(e) => return Err(self.client.failure(&host, e.into())),
            };
            if n == 0 {
                break;
            }
            if part.len + n as u64 > size {
                return Err(HubError::Long { file: self.file.into(), expected: size });
            }
            part.file.write_all(&buffer[..n]).map_err(|e| self.write_error(e, part))?;
            part.hash.update(&buffer[..n]);
            part.len += n as u64;
            watch.advance(idx, part.len);
        }
        match part.len == size {
            true => Ok(()),
            false => Err(HubError::Short { file: self.file.into(), expected: size, found: part.len }),
        }
    }

    fn write_error(&self, source: std::io::Error, part: &Part) -> HubError {
        let folder = self.path.parent().expect("a blob is in a folder").to_owned();
        match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                let need = self.described.size - part.len;
                HubError::DiskFull { file: self.file.into(), free: free(&folder).unwrap_or(0), folder, need }
            }
            _ => HubError::Io { path: part.path.clone(), source },
        }
    }
}

/// Whether `path` has the whole content: another process may have downloaded it, and a link may lead to anything. Wrong content
/// loses its name; where a link leads nothing is changed.
pub(crate) fn is_whole(path: &Path, described: &Described, watch: &dyn Watch) -> Result<bool, HubError> {
    if path.symlink_metadata().is_err() {
        return Ok(false);
    }
    // Only a file is opened: a pipe would wait for its other end.
    if path.metadata().is_ok_and(|meta| meta.is_file() && meta.len() == described.size) {
        let mut hash = Hash::new(described);
        hash.read(&mut File::open(path).map_err(HubError::io(path))?, path, watch)?;
        if hash.finish() == described.etag {
            return Ok(true);
        }
    }
    watch.note(&format!("`{}` has other content than its name says: it is downloaded again", path.display()));
    fs::remove_file(path).map_err(HubError::io(path))?;
    Ok(false)
}

/// Forgets what there is of a part.
fn restart(part: &mut Part, described: &Described) -> Result<(), HubError> {
    part.file.set_len(0).map_err(HubError::io(&part.path))?;
    (part.len, part.hash) = (0, Hash::new(described));
    Ok(())
}

/// Bytes that the disk of `folder` has left for us; `None` where that is not known.
#[cfg(unix)]
fn free(folder: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(folder).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(not(unix))]
fn free(_folder: &Path) -> Option<u64> {
    None
}

/// Makes a rename last over a loss of power. Not every file system can; the content is whole in any case.
fn sync_folder(path: &Path) {
    if let Some(folder) = path.parent() {
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
}
