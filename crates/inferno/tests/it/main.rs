//! The program as its users meet it: arguments and pipes in, text and exit codes out.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod bench;
mod bench_serve;
mod chat;
mod chat_terminal;
mod conformance;
mod engine;
mod gpu;
mod hostile;
mod hub;
mod odd_files;
mod quantized;
mod readme;
mod run;
mod serve;
mod settings;
mod synth;
mod tools;
mod windows;

use std::io::Write;
use std::process::{Child, Command, Stdio};

/// What a run of the program left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: Option<i32>,
}

impl Ran {
    /// Stdout of a run that succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout
    }

    /// The message of a run that failed as it should: code 1, nothing on stdout, no panic.
    #[track_caller]
    pub(crate) fn error(self) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (Some(1), ""), "{}", self.stderr);
        self.stderr.strip_prefix("error: ").expect("an error message").trim_end().to_owned()
    }
}

pub(crate) fn start(args: &[&str], stdin: Stdio) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_inferno"));
    // Mesa's drivers complain on stderr where a machine without a screen has none.
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        command.env("XDG_RUNTIME_DIR", std::env::temp_dir());
    }
    // No test asks a hub that is not its own.
    command.env("HF_HUB_OFFLINE", "1").env("HF_HUB_CACHE", "/nowhere");
    command.args(args).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program starts")
}

/// Runs the program with `input` piped in.
pub(crate) fn pipe(input: impl AsRef<[u8]>, args: &[&str]) -> Ran {
    let mut child = start(args, Stdio::piped());
    // It may end without reading: a closed pipe is no failure of the test.
    let _ = child.stdin.take().unwrap().write_all(input.as_ref());
    let output = child.wait_with_output().unwrap();
    Ran {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code(),
    }
}

/// Runs the program with nothing on stdin.
pub(crate) fn inferno(args: &[&str]) -> Ran {
    pipe("", args)
}

pub(crate) fn golden(name: &str) -> String {
    xtask::testing::testdata(&format!("goldens/{name}.gguf")).to_str().unwrap().to_owned()
}
