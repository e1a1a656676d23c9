//! The file that keeps the prefix cache while no server runs (`--cache-file`).
//!
//! It is written beside itself, synced and renamed: whatever ends the program meanwhile, the file is the old one or the new one.

use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufReader, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use inferno_engine::{CacheFileError, CacheFileSummary, Config, Engine, Stopped};
use inferno_model::model::Model;
use inferno_server::random_key;

use super::card;
use crate::cli;
use crate::kv_memory::shown;
use crate::load::{Compute, Opened};

/// Bytes that are read or written at once.
const BUFFER: usize = 1 << 20;

/// A cache file, and what its content depends on.
pub(super) struct CacheFile {
    path: PathBuf,
    max_bytes: u64,
    identity: [(&'static str, u64); 3],
    /// The file's, or another one if there is none.
    salt_key: OnceLock<[u8; 16]>,
}

impl CacheFile {
    /// The file that the flags name, if any. `level` is the instruction set or GPU with the type of keys and values and the
    /// overrides.
    ///
    /// # Errors
    /// Nothing can be written where the file is to be, or the model cannot be read.
    pub(super) fn of(
        args: &cli::Serve,
        opened: &Opened,
        level: &str,
        context_len: usize,
    ) -> Result<Option<CacheFile>> {
        let Some(path) = args.engine.cache_file.clone() else { return Ok(None) };
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let is_directory = fs::metadata(directory).map(|metadata| metadata.is_dir());
        let is_directory = is_directory.with_context(|| {
            format!("cannot write `{}` (`--cache-file`): its directory is not there", path.display())
        })?;
        let is_file = is_directory && !path.is_dir();
        ensure!(is_file, "`{}` is a directory, `--cache-file` expects a file", path.display());
        let compute = Compute { threads: None, ..args.compute.clone() };
        let identity = [
            (
                "build",
                hash((env!("CARGO_PKG_VERSION"), std::env::current_exe().ok().and_then(|exe| stamp(&exe)))),
            ),
            ("model file", hash((card::fingerprint(opened, "")?, opened.path().and_then(stamp)))),
            (
                "device, type of keys and values, context or override",
                hash((level, context_len, format!("{compute:?}"))),
            ),
        ];
        let (max_bytes, salt_key) = (args.engine.cache_file_size, OnceLock::new());
        Ok(Some(CacheFile { path, max_bytes, identity, salt_key }))
    }

    /// Starts an engine with what the file has. A file that is of no use is ignored, with a line that says why.
    pub(super) fn start(&self, model: Box<dyn Model>, config: Config) -> Engine {
        let (began, file) = (Instant::now(), self.path.display().to_string());
        let opened = match File::open(&self.path) {
            Ok(opened) => opened,
            Err(error) => {
                match error.kind() {
                    ErrorKind::NotFound => tracing::info!(file, "there is no cache file yet"),
                    _ => tracing::warn!(file, %error, "the cache file is ignored: it cannot be read"),
                }
                return Engine::start(model, config);
            }
        };
        let reader = Box::new(BufReader::with_capacity(BUFFER, opened));
        let (engine, read) = Engine::start_with_cache(model, config, reader, &self.identity);
        match read {
            Ok(CacheFileSummary { n_tokens, n_bytes, salt_key }) => {
                let _ = self.salt_key.set(salt_key);
                let (size, seconds) = (shown(n_bytes), seconds(began));
                tracing::info!(file, tokens = n_tokens, size, seconds, "read the cache file");
            }
            Err(error) => tracing::warn!(file, "the cache file is ignored: {error}"),
        }
        engine
    }

    /// The key that keeps prefixes of different callers apart, once the engine has started: the same as long as the file is used.
    pub(super) fn salt_key(&self) -> [u8; 16] {
        *self.salt_key.get_or_init(random_key)
    }

    /// Writes what an engine has cached. An error leaves the old file and is logged.
    pub(super) fn save(&self, stopped: &mut Stopped) {
        let (began, file) = (Instant::now(), self.path.display().to_string());
        match self.replace(stopped) {
            Ok(CacheFileSummary { n_tokens, n_bytes, .. }) => {
                let (size, seconds) = (shown(n_bytes), seconds(began));
                tracing::info!(file, tokens = n_tokens, size, seconds, "wrote the cache file");
            }
            Err(error) => tracing::warn!(file, "the cache file could not be written: {error}"),
        }
    }

    fn replace(&self, stopped: &mut Stopped) -> Result<CacheFileSummary, CacheFileError> {
        let partial = self.partial();
        // Locked until it has its name: another server that ends now does without.
        let file = lock(&partial)?;
        let written = self.write(&file, stopped).and_then(|written| {
            fs::rename(&partial, &self.path)?;
            Ok(written)
        });
        match &written {
            Ok(_) => sync_directory(&self.path),
            Err(_) => drop(fs::remove_file(&partial)),
        }
        written
    }

    /// Where the file is until it is whole: one name for all processes, so that those that are killed leave one such file.
    fn partial(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".partial");
        name.into()
    }

    fn write(&self, file: &File, stopped: &mut Stopped) -> Result<CacheFileSummary, CacheFileError> {
        file.set_len(0)?;
        let mut out = BufWriter::with_capacity(BUFFER, file);
        let written = stopped.save_cache(&mut out, &self.identity, self.salt_key(), self.max_bytes)?;
        out.flush()?;
        file.sync_all()?;
        Ok(written)
    }
}

/// Opens a file to write, for this process alone.
fn lock(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // It has the tokens of users' prompts.
        options.mode(0o600);
    }
    let file = options.open(path)?;
    file.try_lock()?;
    Ok(file)
}

/// Makes a rename last, where directories can be synced.
fn sync_directory(path: &Path) {
    #[cfg(unix)]
    {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = File::open(directory.unwrap_or(Path::new(".")));
        // A file system that cannot is no reason to fail.
        let _ = directory.and_then(|directory| directory.sync_all());
    }
    #[cfg(not(unix))]
    let _ = path;
}

/// Length of a file, and when it was last changed; `None` where that is not known.
fn stamp(path: &Path) -> Option<(u64, Option<SystemTime>)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.len(), metadata.modified().ok()))
}

/// The same in every process of a build.
fn hash(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

fn seconds(began: Instant) -> f64 {
    (began.elapsed().as_secs_f64() * 1000.0).round() / 1000.0
}
