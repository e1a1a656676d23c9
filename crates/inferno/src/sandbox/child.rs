//! The child's side: takes its limits before it reads anything, and answers messages until its parent is gone.
//!
//! A template of a file may take all memory, all stack or all time, and some end the process that parses them.
//! Here nothing else is lost with it.

use std::io::{self, stdin, stdout};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};

use super::frames;

/// The hidden subcommand that makes this program the child; the argument behind it is the memory in bytes.
pub(super) const COMMAND: &str = "__render-templates";

/// Stack for parsing, rendering and dropping. Real templates need less than 128 KiB; Python's own limit of recursion, for
/// which they were written, is far lower than this one.
const STACK: usize = 1 << 20;
/// Bytes of a message, at most.
const MAX_MESSAGE: usize = 1 << 30;

/// Runs the child if the command line asks for it, with `answer` for every message.
pub(crate) fn run_if_asked(answer: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static) -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != COMMAND {
        return None;
    }
    let memory = args.next().and_then(|memory| memory.to_str()?.parse().ok());
    Some(match run(memory, answer) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            crate::commands::note(&error.to_string());
            ExitCode::FAILURE
        }
    })
}

fn run(memory: Option<u64>, answer: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static) -> io::Result<()> {
    let memory = memory.ok_or_else(|| io::Error::other("this command is the program's own"))?;
    limits::set(memory + STACK as u64)?;
    // Its words travel in the answer; stderr is for those that come right before the end.
    std::panic::set_hook(Box::new(|_| {}));
    let (messages, taken) = channel();
    let work = move || work(&taken, answer);
    std::thread::Builder::new().name("template".into()).stack_size(STACK).spawn(work)?;
    // The end of stdin is the end of the parent: work in progress ends with it.
    while let Some(message) = frames::read(&mut stdin().lock(), MAX_MESSAGE)? {
        if messages.send(message).is_err() {
            break;
        }
    }
    Ok(())
}

fn work(messages: &Receiver<Vec<u8>>, mut answer: impl FnMut(&[u8]) -> Vec<u8>) {
    for message in messages {
        match catch_unwind(AssertUnwindSafe(|| answer(&message))) {
            Ok(answer) if frames::write(&mut stdout().lock(), &answer).is_ok() => {}
            Ok(_) => std::process::exit(1),
            Err(panic) => {
                crate::commands::note(&format!("panic: {}", inferno_engine::panic_words(&*panic)));
                std::process::exit(1);
            }
        }
    }
}

/// Limits of the child's memory and time, and the signals it receives.
#[cfg(unix)]
mod limits {
    use std::io;

    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    use nix::sys::signal::{SigSet, Signal};

    /// Address space beside data: the program itself, and what allocators reserve without using it.
    const RESERVED: u64 = 512 << 20;
    /// Descriptors: the three there are, and files of the time zone.
    const DESCRIPTORS: u64 = 16;

    /// Limits this process to `data` bytes of memory, without files to write and core dumps. The terminal's and the
    /// service manager's signals are left to the parent, which may have answers to finish.
    pub(super) fn set(data: u64) -> io::Result<()> {
        // Where the kernel must kill something for memory, let it be this. It may have no such file.
        #[cfg(target_os = "linux")]
        let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
        limit(Resource::RLIMIT_DATA, data).or_else(unless_linux)?;
        #[cfg(not(target_os = "openbsd"))]
        limit(Resource::RLIMIT_AS, data + RESERVED).or_else(unless_linux)?;
        limit(Resource::RLIMIT_CORE, 0)?;
        limit(Resource::RLIMIT_FSIZE, 0)?;
        limit(Resource::RLIMIT_NOFILE, DESCRIPTORS)?;
        let signals = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGTSTP];
        signals.into_iter().collect::<SigSet>().thread_block()?;
        #[cfg(target_os = "linux")]
        close_inherited();
        Ok(())
    }

    fn limit(resource: Resource, most: u64) -> nix::Result<()> {
        let (_, hard) = getrlimit(resource)?;
        let most = most.min(hard);
        setrlimit(resource, most, most)
    }

    /// Other systems than Linux do not all have limits of memory.
    fn unless_linux(error: nix::Error) -> nix::Result<()> {
        if cfg!(target_os = "linux") { Err(error) } else { Ok(()) }
    }

    /// Closes what the parent's parent left open.
    #[cfg(target_os = "linux")]
    fn close_inherited() {
        let Ok(folder) = std::fs::read_dir("/proc/self/fd") else { return };
        let open: Vec<i32> =
            folder.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
        for descriptor in open.into_iter().filter(|&descriptor| descriptor > 2) {
            // The listing's own is closed by now.
            let _ = nix::unistd::close(descriptor);
        }
    }
}

/// Limits of the child: only time, which the parent measures. Windows has no limits of memory that a process can
/// set itself.
#[cfg(not(unix))]
mod limits {
    pub(super) fn set(_data: u64) -> std::io::Result<()> {
        Ok(())
    }
}
