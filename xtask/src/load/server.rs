//! A server that is started here, and ends when it is dropped.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::{Result, STACK, address};

/// A model may have to be read first.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    /// Its stderr.
    log: PathBuf,
}

impl Server {
    /// Starts the program and waits for the line with its address. Its stderr goes to `log`.
    pub(crate) fn start(program: &Path, options: &[String], log: &Path) -> Result<Server> {
        let (mut server, receiver) = Server::spawn(program, options, log)?;
        match receiver.recv_timeout(PATIENCE) {
            Ok(url) => server.address = address::of_url(&url)?,
            Err(RecvTimeoutError::Timeout) => {
                let (name, seconds) = (program.display(), PATIENCE.as_secs());
                return Err(format!("`{name}` printed no address in {seconds} seconds"));
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = server.child.wait().map_or("no status".into(), |status| status.to_string());
                let (name, words) = (program.display(), server.last_words());
                return Err(format!("`{name}` ended without an address: {status}\n{words}"));
            }
        }
        Ok(server)
    }

    /// Starts a program whose options name `address`, and waits until `is_ready` says so.
    pub(crate) fn start_at(
        address: SocketAddr,
        program: &Path,
        options: &[String],
        log: &Path,
        is_ready: impl Fn(SocketAddr) -> bool,
    ) -> Result<Server> {
        let (mut server, _) = Server::spawn(program, options, log)?;
        server.address = address;
        let start = Instant::now();
        while !is_ready(address) {
            if let Some(end) = server.end() {
                return Err(end);
            }
            if start.elapsed() > PATIENCE {
                let (name, seconds) = (program.display(), PATIENCE.as_secs());
                return Err(format!("`{name}` is not ready after {seconds} seconds"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(server)
    }

    /// The program, and the addresses it prints.
    fn spawn(program: &Path, options: &[String], log: &Path) -> Result<(Server, Receiver<String>)> {
        let folder = log.parent().map_or(Ok(()), std::fs::create_dir_all);
        let file = folder.and_then(|()| File::create(log));
        let file = file.map_err(|e| format!("cannot write `{}`: {e}", log.display()))?;
        let name = program.display();
        eprintln!("starting {name} {}", options.join(" "));
        let mut command = Command::new(program);
        command.args(options).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
        let mut child = command.spawn().map_err(|e| format!("cannot run `{name}`: {e}"))?;
        let stdout = child.stdout.take().expect("stdout is a pipe");
        // From here on it ends with us.
        let server = Server { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), log: log.to_owned() };
        let (sender, receiver) = mpsc::channel();
        let reader = std::thread::Builder::new().stack_size(STACK);
        reader.spawn(move || read(stdout, &sender)).map_err(|e| format!("cannot start a thread: {e}"))?;
        Ok((server, receiver))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub(crate) fn end(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(format!("the server ended with {status}\n{}", self.last_words()))
    }

    fn last_words(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends the first address, and reads on so that the program can always write.
fn read(stdout: ChildStdout, addresses: &Sender<String>) {
    for line in BufReader::new(stdout).split(b'\n').map_while(std::result::Result::ok) {
        if let Some(url) = address::in_line(&String::from_utf8_lossy(&line)) {
            // Only the first one is waited for.
            let _ = addresses.send(url.to_owned());
        }
    }
}
