//! `inferno serve` as its operators meet it: signals, files, pipes that nobody reads, and what curl shows.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

mod curl;
mod drafts;
#[cfg(unix)]
mod kept;
#[cfg(target_os = "linux")]
mod limits;
mod logs;
mod names;
mod setup;
#[cfg(unix)]
mod signals;
mod templates;

/// Nothing a test waits for takes longer, unless it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that runs.
pub(crate) struct Served {
    child: Child,
    /// Host and port.
    pub(crate) address: String,
    stderr: Arc<Mutex<String>>,
    stdout: BufReader<ChildStdout>,
}

/// Starts a server on any free port.
fn serve(args: &[&str]) -> Served {
    serve_at("0", args)
}

fn serve_at(port: &str, args: &[&str]) -> Served {
    let mut command = Command::new(env!("CARGO_BIN_EXE_inferno"));
    command.args(["serve", "--port", port]).args(args);
    listening(command)
}

/// Starts one, waits for its address and collects what it says.
pub(crate) fn listening(command: Command) -> Served {
    let (served, stderr) = unread(command);
    let mut stderr = BufReader::new(stderr);
    let said = Arc::clone(&served.stderr);
    std::thread::spawn(move || {
        let mut line = String::new();
        while stderr.read_line(&mut line).is_ok_and(|n| n > 0) {
            said.lock().unwrap().push_str(&line);
            line.clear();
        }
    });
    assert_eq!(served.get("/ready").0, 200);
    served
}

/// The same, whose stderr nobody reads.
fn unread(mut command: Command) -> (Served, std::process::ChildStderr) {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let address = line.trim_end().rsplit_once("http://").map(|parts| parts.1.to_owned());
    let mut stderr = child.stderr.take().unwrap();
    let Some(address) = address else {
        let mut said = String::new();
        let _ = stderr.read_to_string(&mut said);
        panic!("it does not serve: {said}");
    };
    (Served { child, address, stderr: Arc::default(), stdout }, stderr)
}

impl Served {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Status and everything else of an answer.
    fn ask(&self, request: &str) -> (u16, String) {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        (answer[9..12].parse().unwrap(), answer)
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.get_with(path, "")
    }

    pub(crate) fn get_with(&self, path: &str, headers: &str) -> (u16, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Connection: close\r\n\r\n"))
    }

    /// A stream of so many tokens whose first bytes have come.
    fn stream(&self, n: usize, max_tokens: usize) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(story(n, max_tokens).as_bytes()).unwrap();
        stream.read_exact(&mut [0; 300]).unwrap();
        stream
    }

    /// Waits until its log has these words; the log goes another way than answers.
    #[track_caller]
    fn says(&self, words: &str) {
        wait_until(|| self.stderr.lock().unwrap().contains(words));
    }

    /// Waits for the end.
    fn ended(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "it still runs");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[cfg(unix)]
    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }
}

/// Waits for something that will be so before long.
#[track_caller]
fn wait_until(is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "it is still not so");
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request for a stream.
fn story(n: usize, max_tokens: usize) -> String {
    let body = format!(
        "{{\"prompt\": \"Once\", \"max_tokens\": {max_tokens}, \"n\": {n}, \"ignore_eos\": true, \"stream\": true, \
         \"temperature\": 1.0}}"
    );
    let length = body.len();
    format!(
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}
