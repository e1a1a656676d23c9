//! A program that answers every line on its stdin with a line of JSON.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value as Json;

use super::Result;

pub(super) struct Worker {
    name: String,
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Worker {
    pub(super) fn start(program: &Path, arguments: &[String]) -> Result<Worker> {
        let name = program.display().to_string();
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|e| format!("cannot run `{name}`: {e}"))?;
        let stdin = child.stdin.take().expect("stdin is a pipe");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        Ok(Worker { name, child, stdin, stdout })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn ask(&mut self, line: &str) -> Result<Json> {
        // If it is gone, its last words are in what can be read.
        let _ = writeln!(self.stdin, "{line}").and_then(|()| self.stdin.flush());
        self.read()
    }

    pub(super) fn read(&mut self) -> Result<Json> {
        let mut line = String::new();
        let n =
            self.stdout.read_line(&mut line).map_err(|e| format!("cannot read from `{}`: {e}", self.name))?;
        if n == 0 {
            let status = self.child.wait().map_or("an unknown status".into(), |status| status.to_string());
            return Err(format!("`{}` ended early with {status}", self.name));
        }
        let answer: Json = serde_json::from_str(&line)
            .map_err(|_| format!("`{}` says no JSON: {}", self.name, line.trim()))?;
        match answer["error"].as_str() {
            Some(why) => Err(format!("`{}`: {why}", self.name)),
            None => Ok(answer),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended already, then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A number above zero in an answer.
pub(super) fn number(answer: &Json, key: &str) -> Result<f64> {
    let found = answer[key].as_f64().filter(|&x| x > 0.0);
    found.ok_or_else(|| format!("an answer has no number `{key}`: {answer}"))
}

/// A program that exists.
pub(crate) fn program(path: &Path) -> Result<PathBuf> {
    match path.is_file() {
        true => Ok(path.to_owned()),
        false => Err(format!("there is no program `{}`", path.display())),
    }
}
