//! A library that is preloaded into a server, compiled from `shim.c`: it shifts the wall clock and fails an allocation.

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::stage::{Setup, Stage, write};
use crate::load::Result;

const SOURCE: &str = include_str!("shim.c");

/// Words of the file that the library reads, in the order of `struct words` in `shim.c`.
#[derive(Debug, Clone, Copy)]
enum Word {
    ClockOffset,
    LeastSize,
    FailAt,
    Counted,
    FailedSize,
}

/// The library, and the file that tells it what to do.
pub(super) struct Shim {
    library: PathBuf,
    words: PathBuf,
}

/// Whether there is a compiler, and a C library whose functions can be replaced.
pub(super) fn can_preload() -> Result<()> {
    if !cfg!(all(target_os = "linux", target_env = "gnu")) {
        return Err("the library that is preloaded is for Linux with glibc".into());
    }
    let mut cc = Command::new("cc");
    match cc.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        _ => Err("there is no compiler `cc`".into()),
    }
}

impl Shim {
    /// Compiles the library, which does nothing until it is told to.
    pub(super) fn new(stage: &Stage) -> Result<Shim> {
        let [library, words, source] = ["shim.so", "shim.words", "shim.c"].map(|name| stage.path(name));
        write(&source, SOURCE.as_bytes())?;
        let mut cc = Command::new("cc");
        cc.args(["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"]).args([&library, &source]);
        match cc.status() {
            Ok(status) if status.success() => {}
            other => return Err(format!("cannot compile `{}`: {other:?}", source.display())),
        }
        write(&words, &[0; 4096])?;
        Ok(Shim { library, words })
    }

    /// A server with the library in it.
    pub(super) fn setup(&self, options: &[&str]) -> Setup {
        let before =
            format!("LD_PRELOAD='{}' FAULTS_WORDS='{}'", self.library.display(), self.words.display());
        Setup { before, ..Setup::with(options) }
    }

    /// Sets the wall clock to the system's and `seconds` more.
    pub(super) fn shift_clock(&self, seconds: i64) -> Result<()> {
        self.set(Word::ClockOffset, seconds)
    }

    /// Lets an allocation fail: number `n` from now on of those of at least `least_size` bytes.
    pub(super) fn fail(&self, n: usize, least_size: usize) -> Result<()> {
        self.fail_none()?;
        self.set(Word::Counted, 0)?;
        self.set(Word::FailedSize, 0)?;
        self.set(Word::LeastSize, least_size as i64)?;
        self.set(Word::FailAt, n as i64)
    }

    /// Lets no further allocation fail.
    pub(super) fn fail_none(&self) -> Result<()> {
        self.set(Word::FailAt, 0)
    }

    /// Bytes of the allocation that failed, if one did.
    pub(super) fn failed_size(&self) -> Result<Option<i64>> {
        let mut bytes = [0; 8];
        let file = OpenOptions::new().read(true).open(&self.words);
        let read = file.and_then(|mut file| {
            file.seek(SeekFrom::Start(8 * Word::FailedSize as u64))?;
            file.read_exact(&mut bytes)
        });
        read.map_err(|e| format!("cannot read `{}`: {e}", self.words.display()))?;
        Ok(Some(i64::from_ne_bytes(bytes)).filter(|&size| size > 0))
    }

    fn set(&self, word: Word, value: i64) -> Result<()> {
        // The server has a map of the file, so that it sees the word at once.
        let file = OpenOptions::new().write(true).open(&self.words);
        let written = file.and_then(|mut file| {
            file.seek(SeekFrom::Start(8 * word as u64))?;
            file.write_all(&value.to_ne_bytes())
        });
        written.map_err(|e| format!("cannot write `{}`: {e}", self.words.display()))
    }
}
