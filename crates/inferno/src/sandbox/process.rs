//! The parent's side of one child process: a message goes in, a message comes back before a deadline, or the
//! reason why none does.

use std::io::{self, Read};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::{child, frames};

/// Wall-clock time a message may take, as a multiple of its deadline in processor time: a machine that is busy
/// with other work does not turn a good template into a slow one.
const WALL_PER_CPU: u32 = 10;
/// Processor time after which a child gets a lower priority, and which it has for good.
const PROMPT_TIME: Duration = Duration::from_millis(50);
const LOWER_PRIORITY: i32 = 5;
/// Time a child that has closed its pipe has to end.
const END_TIME: Duration = Duration::from_secs(1);
/// Bytes of a dead child's stderr that are read.
const LAST_WORDS: u64 = 4096;
/// Bytes of an answer, at most.
const MAX_ANSWER: usize = 1 << 30;

/// The reason why a child gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Death {
    /// The child reached its limit of memory.
    OutOfMemory,
    /// The child reached the end of its stack.
    OutOfStack,
    /// The deadline passed, and it was killed.
    OutOfTime,
    /// The child ended without a word, by a signal perhaps: the status it left.
    Killed(String),
    /// Anything else, in its own words.
    Other(String),
}

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    stderr: ChildStderr,
    asks: Sender<Vec<u8>>,
    answers: Receiver<io::Result<Vec<u8>>>,
    /// Messages answered so far.
    n_answers: usize,
    /// Whether it has a lower priority than other processes.
    is_lowered: bool,
}

impl Process {
    /// Starts a child with `memory` bytes for its data.
    ///
    /// # Errors
    /// The system has no process, descriptor or thread left, or does not let this program start itself.
    pub(super) fn start(memory: u64) -> io::Result<Process> {
        let mut child = command(memory).spawn()?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else { unreachable!("all three are piped") };
        let (asks, taken) = channel();
        let (given, answers) = channel();
        let talk = move || talk(stdin, stdout, &taken, &given);
        let process = Process { child, stderr, asks, answers, n_answers: 0, is_lowered: false };
        std::thread::Builder::new().name("template-pipe".into()).stack_size(64 << 10).spawn(talk)?;
        Ok(process)
    }

    /// Sends a message and waits for its answer. `deadline` is processor time where the system tells it, else
    /// wall-clock time. After an error the child is dead.
    pub(super) fn ask(&mut self, message: Vec<u8>, deadline: Duration) -> Result<Vec<u8>, Death> {
        let begun = Instant::now();
        let spent_before = cpu_time(self.child.id()).unwrap_or_default();
        if self.asks.send(message).is_err() {
            return Err(self.cause_of_death());
        }
        let mut left = deadline.min(PROMPT_TIME);
        loop {
            match self.answers.recv_timeout(left) {
                Ok(Ok(answer)) => {
                    self.n_answers += 1;
                    return Ok(answer);
                }
                Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => return Err(self.cause_of_death()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let spent = cpu_time(self.child.id()).map(|now| now.saturating_sub(spent_before));
            let spent = spent.unwrap_or_else(|| begun.elapsed());
            let wall_left = (deadline * WALL_PER_CPU).saturating_sub(begun.elapsed());
            if spent < PROMPT_TIME.min(deadline) {
                left = (PROMPT_TIME.min(deadline) - spent).min(wall_left);
            } else {
                self.lower_priority();
                left = deadline.saturating_sub(spent).min(wall_left);
            }
            if left.is_zero() {
                self.kill();
                return Err(Death::OutOfTime);
            }
        }
    }

    /// Messages answered so far.
    pub(super) fn n_answers(&self) -> usize {
        self.n_answers
    }

    /// Whether it should be replaced by a child that has a message's usual priority.
    pub(super) fn is_lowered(&self) -> bool {
        self.is_lowered
    }

    /// Leaves the processors to requests that are being answered.
    fn lower_priority(&mut self) {
        #[cfg(unix)]
        if !self.is_lowered {
            // The child leads a process group, which is it alone.
            let group = rustix::process::Pid::from_raw(self.child.id().cast_signed());
            let _ = rustix::process::setpriority_pgrp(group, LOWER_PRIORITY);
        }
        self.is_lowered = true;
    }

    fn cause_of_death(&mut self) -> Death {
        let closed = Instant::now();
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if closed.elapsed() < END_TIME => std::thread::sleep(Duration::from_millis(1)),
                _ => break None,
            }
        };
        self.kill();
        let mut words = Vec::new();
        let _ = (&mut self.stderr).take(LAST_WORDS).read_to_end(&mut words);
        cause(&String::from_utf8_lossy(&words), status)
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Carries messages to the child and answers back, one at a time, until either side is gone.
fn talk(
    mut stdin: ChildStdin,
    mut stdout: ChildStdout,
    asks: &Receiver<Vec<u8>>,
    answers: &Sender<io::Result<Vec<u8>>>,
) {
    for message in asks {
        let sent = frames::write(&mut stdin, &message);
        drop(message);
        let answer = sent.and_then(|()| frames::read(&mut stdout, MAX_ANSWER));
        let answer = answer.and_then(|answer| answer.ok_or_else(|| io::ErrorKind::UnexpectedEof.into()));
        let is_over = answer.is_err();
        if answers.send(answer).is_err() || is_over {
            return;
        }
    }
}

/// This program as a child: the same file even where another has taken its place since, without this process's
/// environment, and out of reach of a terminal's Ctrl-C.
fn command(memory: u64) -> Command {
    let mut command = Command::new(program());
    command.arg(child::COMMAND).arg(memory.to_string());
    command.env_clear().envs(std::env::vars_os().filter(|(name, _)| {
        // The time zone, and what a dynamic linker needs.
        let kept = ["TZ", "TZDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SystemRoot"];
        kept.iter().any(|kept| name == kept)
    }));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        command.arg0("inferno").process_group(0);
    }
    #[cfg(windows)]
    {
        use std::os::windows::process::CommandExt;
        const CREATE_NEW_PROCESS_GROUP: u32 = 0x0000_0200;
        const CREATE_NO_WINDOW: u32 = 0x0800_0000;
        command.creation_flags(CREATE_NEW_PROCESS_GROUP | CREATE_NO_WINDOW);
    }
    command
}

fn program() -> std::path::PathBuf {
    const SELF: &str = "/proc/self/exe";
    match cfg!(target_os = "linux") && std::path::Path::new(SELF).exists() {
        true => SELF.into(),
        false => std::env::current_exe().unwrap_or_else(|_| "inferno".into()),
    }
}

/// Processor time of a process; `None` where the system does not tell.
fn cpu_time(pid: u32) -> Option<Duration> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Fields 14 and 15, counted from 1, of which the second is a name in parentheses: user and system time in ticks
    // of 10 ms.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Duration::from_millis(10 * (user + system)))
}

/// Reads the words that Rust's runtime leaves where memory or stack end.
fn cause(words: &str, status: Option<ExitStatus>) -> Death {
    if words.contains("memory allocation of") {
        return Death::OutOfMemory;
    }
    if words.contains("overflowed its stack") {
        return Death::OutOfStack;
    }
    // STATUS_STACK_OVERFLOW
    if cfg!(windows) && status.and_then(|status| status.code()) == Some(0xC000_00FD_u32.cast_signed()) {
        return Death::OutOfStack;
    }
    match (words.trim(), status) {
        ("", None) => Death::Other("it does not answer".into()),
        ("", Some(status)) => Death::Killed(status.to_string()),
        (words, _) => Death::Other(words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_of_a_process_tell_why_it_died() {
        let cause = |words| cause(words, None);
        assert_eq!(cause("memory allocation of 10666664 bytes failed\n"), Death::OutOfMemory);
        assert_eq!(cause("\nthread 'template' (7) has overflowed its stack\nfatal"), Death::OutOfStack);
        assert_eq!(cause("malloc(): corrupted\n"), Death::Other("malloc(): corrupted".into()));
        assert_eq!(cause(""), Death::Other("it does not answer".into()));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn processor_time_is_counted() {
        let before = cpu_time(std::process::id()).unwrap();
        let begun = Instant::now();
        while cpu_time(std::process::id()).unwrap() <= before {
            assert!(begun.elapsed() < Duration::from_secs(60), "no time passes");
        }
    }
}
